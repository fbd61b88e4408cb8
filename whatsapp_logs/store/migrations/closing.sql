
-- Whatever the database grants by default, nothing of the log is open to everybody or to Supabase's roles of the web.
DO $close$
DECLARE
    web  text;
    kind text;
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
END $close$;
COMMIT;

SELECT version, name, applied_at, note FROM whatsapp_logs.migrations ORDER BY version;
