-- What somebody searches for is kept here for half a day, and a word for it travels in addresses: no number in an address or a cookie.

CREATE TABLE whatsapp_logs.phone_searches (
    token   text PRIMARY KEY,
    person  text NOT NULL,
    phone   text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX phone_searches_made ON whatsapp_logs.phone_searches (made_at);
COMMENT ON INDEX whatsapp_logs.phone_searches_made IS 'Which searches are over and forgotten?';
CREATE INDEX phone_searches_person ON whatsapp_logs.phone_searches (person, made_at DESC);
COMMENT ON INDEX whatsapp_logs.phone_searches_person IS 'Has somebody searched for the same just now?';

CREATE OR REPLACE FUNCTION whatsapp_logs.grant_to(wanted name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found   record;
    allowed text;
BEGIN
    INSERT INTO whatsapp_logs.granted_roles (role) VALUES (wanted) ON CONFLICT DO NOTHING;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA whatsapp_logs FROM %I', wanted);
    EXECUTE format('GRANT USAGE ON SCHEMA whatsapp_logs TO %I', wanted);
    FOR found IN SELECT oid, relname FROM pg_class WHERE relnamespace = 'whatsapp_logs'::regnamespace AND relkind IN ('r', 'p') LOOP
        allowed := CASE
            WHEN found.relname IN ('migrations', 'granted_roles') THEN 'SELECT'
            WHEN found.relname IN ('status_events', 'accesses', 'erasures') THEN 'SELECT, INSERT'
            WHEN found.relname LIKE 'procrastinate%' OR found.relname IN (
                'count_deltas', 'counts', 'count_totals', 'rare_statuses', 'addresses', 'refused_calls', 'self_tests', 'phone_searches'
            ) THEN 'SELECT, INSERT, UPDATE, DELETE'
            ELSE 'SELECT, INSERT, UPDATE'
        END;
        EXECUTE format('GRANT %s ON whatsapp_logs.%I TO %I', allowed, found.relname, wanted);
        -- Row-level security keeps out whoever is granted a table by mistake; whom we grant it, sees every row.
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = found.oid AND polname = wanted AND polcmd = '*') THEN
            EXECUTE format('DROP POLICY IF EXISTS %I ON whatsapp_logs.%I', wanted, found.relname);
            EXECUTE format('CREATE POLICY %I ON whatsapp_logs.%I TO %I USING (true) WITH CHECK (true)', wanted, found.relname, wanted);
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA whatsapp_logs TO %I', wanted);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA whatsapp_logs TO %I', wanted);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION whatsapp_logs.grant_to(name) FROM %I', wanted);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON public.whatsapp_logs TO %I', wanted);
END $$;
