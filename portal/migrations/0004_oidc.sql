-- Single sign-on: which account of an OpenID provider is whose. Linked once, for good; the provider creates nobody.

CREATE TABLE oidc_links (
    issuer    text NOT NULL,
    subject   text NOT NULL,                -- the provider's own, never reassigned name of the account
    user_id   integer NOT NULL REFERENCES people (user_id) ON DELETE CASCADE,
    linked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, issuer)                -- one account per person and provider: a second one takes nobody over
);

ALTER TABLE sign_ins
    ADD COLUMN is_multi_factor boolean NOT NULL DEFAULT false;  -- the provider has asked for a second factor itself

-- Supabase shows `public` to the web: nothing of this may be read there.
DO $$
DECLARE stranger text;
BEGIN
    FOREACH stranger IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = stranger) THEN
            EXECUTE format('REVOKE ALL ON oidc_links FROM %I', stranger);
        END IF;
    END LOOP;
END $$;
