-- A role of its own for the running program: it reads and writes the log, and cannot change its history, its schema, or who has looked.

CREATE TABLE whatsapp_logs.granted_roles (
    role       name PRIMARY KEY,
    granted_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE whatsapp_logs.granted_roles IS 'Who works with the log; every migration grants anew what its new tables need.';

-- Reports of messages that were not known yet are adopted by UPDATE: by these functions alone, whoever calls them.
ALTER FUNCTION whatsapp_logs.record(jsonb, text, timestamptz) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION whatsapp_logs.fold(bigint[]) SECURITY DEFINER SET search_path = pg_catalog, pg_temp;

CREATE FUNCTION whatsapp_logs.grant_to(wanted name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found   record;
    allowed text;
BEGIN
    INSERT INTO whatsapp_logs.granted_roles (role) VALUES (wanted) ON CONFLICT DO NOTHING;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA whatsapp_logs FROM %I', wanted);
    EXECUTE format('GRANT USAGE ON SCHEMA whatsapp_logs TO %I', wanted);
    FOR found IN SELECT oid, relname FROM pg_class WHERE relnamespace = 'whatsapp_logs'::regnamespace AND relkind IN ('r', 'p') LOOP
        allowed := CASE
            WHEN found.relname IN ('migrations', 'granted_roles', 'erased_days') THEN 'SELECT'
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
