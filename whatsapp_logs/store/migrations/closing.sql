
-- Whatever the database grants by default, nothing of the log is open to everybody or to Supabase's roles of the web.
DO $close$
DECLARE
    web   text;
    kind  text;
    plain text;
BEGIN
    IF NOT EXISTS (SELECT FROM whatsapp_logs.migrations WHERE applied_at = now()) THEN
        RETURN;  -- nothing was applied just now
    END IF;
    FOR web IN SELECT 'PUBLIC' UNION ALL SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        FOREACH kind IN ARRAY ARRAY['TABLES', 'SEQUENCES', 'ROUTINES'] LOOP
            EXECUTE format('REVOKE ALL ON ALL %s IN SCHEMA whatsapp_logs FROM %s', kind, web);
        END LOOP;
        EXECUTE format('REVOKE ALL ON SCHEMA whatsapp_logs FROM %s', web);
        EXECUTE format('REVOKE ALL ON public.whatsapp_logs FROM %s', web);
    END LOOP;
    FOR plain IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'whatsapp_logs'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'migrations'  -- no secret, and asked first
    LOOP
        EXECUTE format('ALTER TABLE whatsapp_logs.%I ENABLE ROW LEVEL SECURITY', plain);
    END LOOP;
    -- Who was given the old table reads the messages through its view: their grant is the owner's word, and stays worth what it was.
    FOR plain IN
        SELECT r.rolname FROM pg_class AS c, aclexplode(c.relacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE c.oid = 'whatsapp_logs.messages'::regclass AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
          AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = r.rolname)
    LOOP
        EXECUTE format('CREATE POLICY %I ON whatsapp_logs.messages FOR SELECT TO %I USING (true)', plain, plain);
    END LOOP;
    PERFORM whatsapp_logs.grant_to(role) FROM whatsapp_logs.granted_roles WHERE role IN (SELECT rolname FROM pg_roles);
END $close$;
COMMIT;

SELECT version, name, applied_at, note FROM whatsapp_logs.migrations ORDER BY version;
