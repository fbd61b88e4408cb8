-- Roles that the office may change: sets of rights, by the rights' short names. What each is at the beginning stands here.

CREATE TABLE roles (
    role        text PRIMARY KEY CHECK (role ~ '^[a-z0-9]([a-z0-9 -]{0,28}[a-z0-9])?$'),
    rights      text[] NOT NULL CHECK ('see' = ANY (rights)),   -- a name that the program does not know gives nothing
    is_built_in boolean NOT NULL DEFAULT false,                 -- stays, even when nobody has it
    changed_at  timestamptz NOT NULL DEFAULT now(),
    changed_by  text                                            -- a user name; nobody has changed it yet where it is empty
);
INSERT INTO roles (role, is_built_in, rights) VALUES
    ('administrator', true, '{see,numbers,texts,refresh,send,export,access_log,administer,edit_clients,manage_people}'),
    ('agent',         true, '{see,numbers,texts,refresh,send,edit_clients}'),
    ('compliance',    true, '{see,numbers,texts,export,access_log}'),
    ('viewer',        true, '{see}');

ALTER TABLE people
    DROP CONSTRAINT people_role_check,
    ADD CONSTRAINT people_role_fkey FOREIGN KEY (role) REFERENCES roles (role) ON UPDATE CASCADE;

-- What roles were: only ever added to.
CREATE TABLE role_changes (
    change_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at    timestamptz NOT NULL DEFAULT now(),
    changed_by    text NOT NULL,
    role          text NOT NULL,
    rights_before text[],           -- none: the role was made
    rights_after  text[]            -- none: it was deleted
);
CREATE FUNCTION keep_role_changes() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION 'role_changes is only ever added to';
END $$;
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON role_changes
    FOR EACH STATEMENT EXECUTE FUNCTION keep_role_changes();

-- Supabase shows `public` to the web: nothing of this may be read there.
DO $$
DECLARE stranger text;
BEGIN
    FOREACH stranger IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = stranger) THEN
            EXECUTE format('REVOKE ALL ON roles, role_changes FROM %I', stranger);
        END IF;
    END LOOP;
END $$;
