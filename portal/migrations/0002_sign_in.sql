-- Signing in: invitations, a second factor, and sign-ins that end when nobody is there.

ALTER TABLE people
    ADD COLUMN last_sign_in_at timestamptz,
    ADD COLUMN removed_at      timestamptz;     -- may no longer sign in; the user name stays theirs in the log

ALTER TABLE sign_ins
    -- Names a sign-in on a page; its token is known to nobody but its browser.
    ADD COLUMN sign_in_id     integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN address        text NOT NULL DEFAULT 'unknown',
    ADD COLUMN browser        text NOT NULL DEFAULT '',             -- its own words (User-Agent)
    ADD COLUMN seen_at        timestamptz NOT NULL DEFAULT now(),   -- when somebody last did something, to the minute
    ADD COLUMN confirmed_at   timestamptz NOT NULL DEFAULT now(),   -- when the password was last entered
    ADD COLUMN waits_for_code boolean NOT NULL DEFAULT false;       -- the password was right; the second factor is due
UPDATE sign_ins SET confirmed_at = started_at;
CREATE INDEX sign_ins_person ON sign_ins (user_id);
COMMENT ON INDEX sign_ins_person IS 'Where is somebody signed in? End all of these.';

-- The way in for whoever has no password, or has forgotten it: one open link per person, good for one use.
CREATE TABLE invitations (
    user_id    integer PRIMARY KEY REFERENCES people (user_id) ON DELETE CASCADE,
    token_hash bytea NOT NULL UNIQUE,
    made_at    timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

-- Time-based codes (RFC 6238). The secret is kept as it is: whoever can read this table can make codes, but needs the password too.
CREATE TABLE second_factors (
    user_id    integer PRIMARY KEY REFERENCES people (user_id) ON DELETE CASCADE,
    secret     text,                            -- in use; none until a code of the new one was right
    new_secret text,                            -- being set up
    last_step  bigint NOT NULL DEFAULT 0,       -- of the last code that was used: each is good once
    since      timestamptz
);

CREATE TABLE recovery_codes (
    user_id   integer NOT NULL REFERENCES people (user_id) ON DELETE CASCADE,
    code_hash bytea NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);

-- Supabase shows `public` to the web: nothing of this may be read there.
DO $$
DECLARE stranger text;
BEGIN
    FOREACH stranger IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = stranger) THEN
            EXECUTE format('REVOKE ALL ON invitations, second_factors, recovery_codes FROM %I', stranger);
        END IF;
    END LOOP;
END $$;
