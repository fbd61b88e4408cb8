-- The table of versions 1.0 to 1.2: imported row for row, then kept aside.

CREATE FUNCTION whatsapp_logs.known_status(word text) RETURNS whatsapp_logs.status
    -- Our status for a provider's word, as message.py has it; NULL for a word that nobody has told us of.
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE lower(btrim(word))
        WHEN 'accepted' THEN 'queued'::whatsapp_logs.status WHEN 'partially_delivered' THEN 'sent' WHEN 'receiving' THEN 'received'
        WHEN 'cancelled' THEN 'canceled' WHEN 'scheduled' THEN 'scheduled' WHEN 'queued' THEN 'queued'
        WHEN 'sending' THEN 'sending' WHEN 'sent' THEN 'sent' WHEN 'canceled' THEN 'canceled' WHEN 'failed' THEN 'failed'
        WHEN 'undelivered' THEN 'undelivered' WHEN 'delivered' THEN 'delivered' WHEN 'read' THEN 'read'
        WHEN 'received' THEN 'received' END;

CREATE FUNCTION whatsapp_logs.plain_address(written text) RETURNS text
    -- 'whatsapp:+44 7700 900123' is +447700900123; what is no number with its country code stays as it was written.
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN (
        SELECT CASE WHEN bare ~ '^(\+|00)[0-9 ().-]+$' THEN regexp_replace(regexp_replace(bare, '^00', '+'), '[^+0-9]', '', 'g')
                    ELSE bare END
        FROM (SELECT btrim(regexp_replace(btrim(written), '^whatsapp:', '', 'i')) AS bare) AS address
    );

CREATE FUNCTION whatsapp_logs.is_twilio_sid(sid text) RETURNS boolean
    -- The old table had to have a SID for attempts that got none; portals made some up.
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN COALESCE(sid ~ '^(SM|MM)[0-9a-fA-F]{32}$', false);

CREATE FUNCTION whatsapp_logs.old_reports(
    word text, code text, explanation text, sent timestamptz, delivered timestamptz, read timestamptz, at timestamptz)
RETURNS TABLE (status whatsapp_logs.status, provider_status text, error_code text, error_message text, happened_at timestamptz)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- What the old table's columns say, as reports: its status word, and the other moments it has a time for. Its sent_at is the
    -- time of writing by default, so it is a report of 'sent' only where the word says that the message went out.
    SELECT k.status, lower(btrim(word)), code, explanation,
           COALESCE(CASE k.status WHEN 'sent' THEN sent WHEN 'delivered' THEN delivered WHEN 'read' THEN read END, at)
    FROM (SELECT whatsapp_logs.known_status(word) AS status) AS k WHERE word IS NOT NULL
    UNION ALL
    SELECT 'sent', 'sent', NULL, NULL, sent
    WHERE sent IS NOT NULL AND whatsapp_logs.known_status(word) IN ('undelivered', 'delivered', 'read')
    UNION ALL
    SELECT 'delivered', 'delivered', NULL, NULL, delivered
    WHERE delivered IS NOT NULL AND whatsapp_logs.known_status(word) IS DISTINCT FROM 'delivered'
    UNION ALL
    SELECT 'read', 'read', NULL, NULL, read
    WHERE read IS NOT NULL AND whatsapp_logs.known_status(word) IS DISTINCT FROM 'read'
$$;

CREATE FUNCTION whatsapp_logs.read_old_table() RETURNS void LANGUAGE plpgsql AS $read$
-- Copies public.whatsapp_logs, whichever of its columns it has and whatever their types, to whatsapp_logs.old_rows.
DECLARE
    has    name[] := ARRAY(SELECT attname FROM pg_attribute WHERE attrelid = 'public.whatsapp_logs'::regclass
                           AND attnum > 0 AND NOT attisdropped);
    wanted text;
    portal record;
    joins  text := '';
    keys   text := '';
BEGIN
    IF NOT has @> '{message_sid,phone_number}' THEN
        RAISE EXCEPTION 'public.whatsapp_logs is not the log of version 1.0 to 1.2: it has no columns message_sid and phone_number.'
            USING HINT = 'Rename it and run this again.';
    END IF;
    SELECT string_agg(CASE WHEN name = ANY (has) THEN format('o.%I::%s AS %1$I', name, type)
                           ELSE format('NULL::%2$s AS %1$I', name, type) END, ', ')
    INTO wanted
    FROM unnest('{log_id,message_sid,policy_id,client_id,phone_number,message_type,message_content,media_url,status,error_code,
                  error_message,created_by}'::text[],
                '{sent_at,delivered_at,read_at,last_status_check,created_at,updated_at}'::text[]) AS t (words, times),
         LATERAL (VALUES (words, 'text'), (times, 'timestamptz')) AS c (name, type)
    WHERE name IS NOT NULL;

    -- A key that the portal no longer has becomes NULL; what it was stays in the event's payload.
    FOR portal IN
        SELECT a.attname AS name, f.confrelid::regclass AS target, k.attname AS key
        FROM pg_attribute AS a
        LEFT JOIN pg_constraint AS f ON f.contype = 'f' AND f.conrelid = a.attrelid AND f.conkey = ARRAY[a.attnum]
                                    AND f.conparentid = 0  -- a partitioned table is pointed to partition by partition as well
        LEFT JOIN pg_attribute AS k ON k.attrelid = f.confrelid AND k.attnum = f.confkey[1]
        WHERE a.attrelid = 'whatsapp_logs.messages'::regclass AND a.attname IN ('client_id', 'policy_id')
    LOOP
        joins := joins || COALESCE(format(' LEFT JOIN %s AS %I ON %2$I.%I::text = r.%I',
                                          portal.target, portal.name || '_owner', portal.key, portal.name), '');
        keys := keys || COALESCE(format(', %I.%I AS known_%s', portal.name || '_owner', portal.key, portal.name),
                                 format(', r.%I AS known_%1$s', portal.name));
    END LOOP;
    EXECUTE format($table$
        CREATE TABLE whatsapp_logs.old_rows AS
        WITH o AS (SELECT %s FROM public.whatsapp_logs AS o),
        r AS (
            SELECT o.*, row_number() OVER (ORDER BY created_at, message_sid) AS place,
                   log_id ~ '^[1-9][0-9]{0,17}$' AND row_number() OVER (PARTITION BY log_id) = 1 AS has_own_id,
                   NULLIF(btrim(message_sid), '') IS NOT NULL
                       AND row_number() OVER (PARTITION BY message_sid ORDER BY created_at) = 1 AS has_own_sid,
                   COALESCE(updated_at, last_status_check, created_at, sent_at, now()) AS at
            FROM o
        )
        -- Bookmarks and notes name a log_id, so it stays the message's number if it can.
        SELECT r.*, CASE WHEN bool_and(COALESCE(has_own_id, false)) OVER () AND used.up_to = 0 THEN log_id::bigint
                         ELSE used.up_to + place END AS id%s
        FROM (SELECT COALESCE(max(id), 0) AS up_to FROM whatsapp_logs.messages) AS used, r%s
    $table$, wanted, keys, joins);
END $read$;

CREATE FUNCTION whatsapp_logs.import_old_rows() RETURNS text LANGUAGE plpgsql AS $import$
-- Writes whatsapp_logs.old_rows to the log; returns what there is to tell of it.
DECLARE
    ids  bigint[] := ARRAY(SELECT id FROM whatsapp_logs.old_rows);
    zone text := (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone');  -- as it was before this script
BEGIN
    INSERT INTO whatsapp_logs.messages (
        id, message_type, recipient, body, media_url, status, provider, provider_id, error_code, error_message, policy_id, client_id,
        created_by, sent_at, delivered_at, read_at, failed_at, last_status_check, created_at, updated_at)
    OVERRIDING SYSTEM VALUE
    SELECT r.id, COALESCE(r.message_type, 'general'), COALESCE(NULLIF(whatsapp_logs.plain_address(r.phone_number), ''), 'unknown'),
           r.message_content, r.media_url, COALESCE(k.status, 'queued'),
           CASE WHEN has_own_sid AND whatsapp_logs.is_twilio_sid(r.message_sid) THEN 'twilio' ELSE 'unknown' END,
           CASE WHEN has_own_sid THEN r.message_sid ELSE 'IMPORTED_' || r.id END,
           CASE WHEN has_failed THEN r.error_code END, CASE WHEN has_failed THEN r.error_message END,
           r.known_policy_id, r.known_client_id, r.created_by, r.sent_at, r.delivered_at, r.read_at,
           CASE WHEN has_failed THEN r.at END, r.last_status_check, COALESCE(r.created_at, r.at), r.at
    FROM whatsapp_logs.old_rows AS r,
         LATERAL (SELECT whatsapp_logs.known_status(r.status) AS status) AS k,
         LATERAL (SELECT k.status IN ('failed', 'undelivered', 'canceled') AS has_failed) AS f
    ORDER BY r.id;
    PERFORM setval(pg_get_serial_sequence('whatsapp_logs.messages', 'id'), max(id)) FROM whatsapp_logs.messages HAVING max(id) > 0;

    -- What the row became otherwise than it was stands in the payload.
    INSERT INTO whatsapp_logs.status_events (
        message_id, provider_id, status, provider_status, error_code, error_message, source, happened_at, payload)
    SELECT m.id, m.provider_id, e.status, e.provider_status, e.error_code, e.error_message, 'import', e.happened_at,
           jsonb_strip_nulls(jsonb_build_object(
               'log_id', r.log_id,
               'message_sid', NULLIF(r.message_sid, m.provider_id),
               'phone_number', NULLIF(r.phone_number, m.recipient),
               'status', NULLIF(r.status, e.provider_status),
               'client_id', NULLIF(r.client_id, m.client_id::text),
               'policy_id', NULLIF(r.policy_id, m.policy_id::text)))
    FROM whatsapp_logs.old_rows AS r JOIN whatsapp_logs.messages AS m USING (id),
         LATERAL whatsapp_logs.old_reports(COALESCE(NULLIF(btrim(r.status), ''), 'unknown'), r.error_code, r.error_message,
                                           r.sent_at, r.delivered_at, r.read_at, r.at) AS e
    ORDER BY m.id, e.happened_at, e.status;

    -- Rows that contradict themselves (failed, but with a time of delivery) are settled by the one rule.
    PERFORM whatsapp_logs.fold(ids);
    UPDATE whatsapp_logs.messages AS m SET updated_at = r.at
    FROM whatsapp_logs.old_rows AS r WHERE m.id = r.id AND m.updated_at <> r.at;

    IF cardinality(ids) <> (SELECT count(*) FROM whatsapp_logs.messages WHERE id = ANY (ids)) THEN
        RAISE EXCEPTION 'Not every row of public.whatsapp_logs was imported; nothing has been changed.';
    END IF;
    RETURN (
        SELECT concat_ws(', ', count(*) || ' rows imported',
            NULLIF(count(*) FILTER (WHERE client_id IS NOT NULL AND known_client_id IS NULL), 0) || ' of clients that are gone',
            NULLIF(count(*) FILTER (WHERE policy_id IS NOT NULL AND known_policy_id IS NULL), 0) || ' of policies that are gone',
            NULLIF(count(*) FILTER (WHERE whatsapp_logs.known_status(status) IS NULL), 0) || ' with a status word unknown to us',
            NULLIF(count(*) FILTER (WHERE NOT has_own_sid), 0) || ' without a SID of their own',
            'times without a zone read as UTC' || CASE WHEN zone NOT IN ('UTC', 'Etc/UTC', 'GMT')
                                                       THEN format(' (this database''s own zone is %s)', zone) ELSE '' END)
        FROM whatsapp_logs.old_rows);
END $import$;

CREATE FUNCTION whatsapp_logs.set_old_table_aside() RETURNS text LANGUAGE plpgsql AS $aside$
-- Renames public.whatsapp_logs and closes it; returns its new name.
DECLARE
    old   regclass := 'public.whatsapp_logs';
    aside text := 'whatsapp_logs_before_migration';
    item  text;
BEGIN
    WHILE to_regclass('public.' || aside) IS NOT NULL LOOP
        aside := 'whatsapp_logs_before_migration_' || (COALESCE(substring(aside FROM '_([0-9]+)$'), '1')::integer + 1);
    END LOOP;
    EXECUTE format('ALTER TABLE public.whatsapp_logs RENAME TO %I', aside);
    EXECUTE format('COMMENT ON TABLE %s IS %L', old, 'The log of version 1.0 to 1.2 as it was before it was imported on '
                   || now()::date || '. Nothing reads it; keep it as evidence.');
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', old);
    FOR item IN
        SELECT format('REVOKE ALL ON %s FROM %s', thing, web)
        FROM (SELECT 'TABLE ' || old AS thing
              UNION ALL
              SELECT 'SEQUENCE ' || s.oid::regclass FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
              WHERE d.classid = 'pg_class'::regclass AND d.refobjid = old AND d.deptype IN ('a', 'i')) AS things,
             (SELECT 'PUBLIC' AS web UNION ALL SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')) AS webs
    LOOP
        EXECUTE item;
    END LOOP;
    -- A foreign key would let a deleted client take the evidence with it, or forbid deleting the client.
    FOR item IN SELECT conname FROM pg_constraint WHERE conrelid = old AND contype = 'f' AND conparentid = 0 LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', old, item);
    END LOOP;
    FOR item IN
        SELECT DISTINCT 'view ' || r.ev_class::regclass FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = old AND r.ev_class <> old
        UNION ALL
        SELECT 'table ' || conrelid::regclass FROM pg_constraint WHERE confrelid = old AND contype = 'f' AND conrelid <> old
    LOOP
        RAISE WARNING 'The % still refers to the old table, now public.%: make it refer to the log.', item, aside;
    END LOOP;
    RETURN aside;
END $aside$;

DO $old$
DECLARE
    kind "char" := (SELECT relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname = 'whatsapp_logs');
    told text;
BEGIN
    IF kind IN ('r', 'p') THEN
        LOCK TABLE public.whatsapp_logs IN ACCESS EXCLUSIVE MODE;  -- who writes now waits, and then meets the view
        ALTER TABLE public.whatsapp_logs NO FORCE ROW LEVEL SECURITY;
        PERFORM whatsapp_logs.read_old_table();
        told := whatsapp_logs.import_old_rows();
        DROP TABLE whatsapp_logs.old_rows;
        ANALYZE whatsapp_logs.messages, whatsapp_logs.status_events, whatsapp_logs.rare_statuses, whatsapp_logs.addresses;
        PERFORM set_config('whatsapp_logs.grants', relacl::text, true)  -- for the view of the next step
        FROM pg_class WHERE oid = 'public.whatsapp_logs'::regclass;
        told := format('public.whatsapp_logs: %s; the old table is now public.%s.', told, whatsapp_logs.set_old_table_aside());
        RAISE NOTICE '%', told;
        PERFORM set_config('whatsapp_logs.note', told, true);
    ELSIF kind IS NOT NULL THEN
        RAISE EXCEPTION 'public.whatsapp_logs exists already, and is not a table of version 1.0 to 1.2.'
            USING HINT = 'Rename it and run this again.';
    END IF;
END $old$;
DROP FUNCTION whatsapp_logs.read_old_table();
DROP FUNCTION whatsapp_logs.import_old_rows();
DROP FUNCTION whatsapp_logs.set_old_table_aside();
