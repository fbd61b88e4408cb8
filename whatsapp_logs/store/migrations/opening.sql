-- WhatsApp Logs: the database's schema. Safe to run again: each step is applied once, and all missing steps or none.
-- Needs PostgreSQL 15 or newer, no extension. Run it as the role that owns the portal's tables (Supabase: postgres).
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL client_min_messages = notice;
SET LOCAL check_function_bodies = off;
SET LOCAL statement_timeout = 0;
SET LOCAL row_security = off;   -- an import that a policy would shorten fails instead
SET LOCAL timezone = 'UTC';     -- old times without a zone are read as UTC
DO $$ BEGIN PERFORM pg_advisory_xact_lock(7423901552); END $$;  -- two migrators: one waits for the other
SET LOCAL lock_timeout = '30s';  -- the portal's own work does not queue up behind us for ever

DO $preflight$
DECLARE
    newest integer := 0;
    needed text[] := '{}';
BEGIN
    IF current_setting('server_version_num')::integer < 150000 THEN
        RAISE EXCEPTION 'This database is PostgreSQL %. WhatsApp Logs needs PostgreSQL 15 or newer.', current_setting('server_version');
    END IF;
    IF EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('whatsapp_logs') AND relname = 'migrations') THEN
        EXECUTE 'SELECT COALESCE(max(version), 0) FROM whatsapp_logs.migrations' INTO newest;
    END IF;
    IF newest > {newest} THEN
        RAISE EXCEPTION 'The database has schema %, newer than this program''s {newest}. Update the program.', newest;
    ELSIF newest = {newest} THEN
        RETURN;
    END IF;

    IF NOT has_database_privilege(current_database(), 'CREATE') AND to_regnamespace('whatsapp_logs') IS NULL THEN
        needed := needed || format('CREATE ON DATABASE %I', current_database());
    END IF;
    IF NOT has_schema_privilege('public', 'CREATE') THEN
        needed := needed || 'CREATE ON SCHEMA public'::text;
    END IF;
    needed := needed || ARRAY(
        SELECT format('%s ON public.%I', privilege, relname)
        FROM pg_class, unnest(ARRAY['SELECT', 'REFERENCES']) AS privilege
        WHERE relnamespace = 'public'::regnamespace AND relname IN ('clients', 'policies') AND relkind IN ('r', 'p')
          AND NOT has_table_privilege(oid, privilege)
        ORDER BY relname, privilege
    ) || ARRAY(
        SELECT 'the ownership of ' || thing
        FROM (SELECT 'public.whatsapp_logs' AS thing, relowner AS owner FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relname = 'whatsapp_logs'
              UNION ALL
              SELECT 'the schema whatsapp_logs', nspowner FROM pg_namespace WHERE nspname = 'whatsapp_logs') AS owned
        WHERE NOT pg_has_role(owner, 'USAGE')
    );
    IF needed <> '{}' THEN
        RAISE EXCEPTION 'The role % may not set up the log. It lacks: %.', current_user, array_to_string(needed, ', ')
            USING ERRCODE = 'insufficient_privilege', HINT = 'Run it as the role that owns the portal''s tables.';
    END IF;
END $preflight$;

DO $begin$ BEGIN
    IF to_regnamespace('whatsapp_logs') IS NULL THEN
        CREATE SCHEMA whatsapp_logs;
    END IF;
    IF to_regclass('whatsapp_logs.migrations') IS NULL THEN
        CREATE TABLE whatsapp_logs.migrations (
            version    integer PRIMARY KEY,
            name       text NOT NULL,
            checksum   text NOT NULL,
            note       text,                      -- what the step found and did here
            applied_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END $begin$;
