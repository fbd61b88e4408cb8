-- The old table's name: a view with the specification's 18 columns that takes what code of versions 1.0 to 1.2 writes.

-- Times are naive UTC as they were, so that old code can go on comparing them with naive datetimes.
CREATE VIEW public.whatsapp_logs WITH (security_invoker = true) AS
SELECT m.id AS log_id,
       m.provider_id::character varying AS message_sid,
       m.policy_id,
       m.client_id,
       m.recipient::character varying AS phone_number,
       m.message_type::character varying AS message_type,
       m.body AS message_content,
       m.media_url,
       m.status::text::character varying AS status,
       m.error_code::character varying AS error_code,
       m.error_message,
       m.sent_at AT TIME ZONE 'UTC' AS sent_at,
       m.delivered_at AT TIME ZONE 'UTC' AS delivered_at,
       m.read_at AT TIME ZONE 'UTC' AS read_at,
       m.last_status_check AT TIME ZONE 'UTC' AS last_status_check,
       m.created_by::character varying AS created_by,
       m.created_at AT TIME ZONE 'UTC' AS created_at,
       m.updated_at AT TIME ZONE 'UTC' AS updated_at
FROM whatsapp_logs.messages AS m
WHERE m.direction = 'outbound' AND m.channel = 'whatsapp';
COMMENT ON VIEW public.whatsapp_logs IS
    'The log as versions 1.0 to 1.2 had it: outbound WhatsApp messages, times in UTC. INSERT and UPDATE are reports; rows are never deleted.';
ALTER VIEW public.whatsapp_logs ALTER COLUMN status SET DEFAULT 'queued';
ALTER VIEW public.whatsapp_logs ALTER COLUMN sent_at SET DEFAULT (now() AT TIME ZONE 'UTC');
ALTER VIEW public.whatsapp_logs ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC');
ALTER VIEW public.whatsapp_logs ALTER COLUMN updated_at SET DEFAULT (now() AT TIME ZONE 'UTC');

-- The triggers act as their owner, so that who may write the view needs no right on the tables behind it.
CREATE FUNCTION whatsapp_logs.record_old_row(message_id bigint, sid text, word text, code text, explanation text,
                                             sent timestamp, delivered timestamp, read timestamp, at timestamptz)
RETURNS void LANGUAGE sql AS $$
    SELECT whatsapp_logs.record(
        COALESCE(jsonb_agg(to_jsonb(r) || jsonb_strip_nulls(jsonb_build_object(
            'provider_id', sid, 'message_id', CASE WHEN sid IS NULL THEN message_id END))), '[]'), 'import')
    FROM whatsapp_logs.old_reports(word, code, explanation, sent AT TIME ZONE 'UTC', delivered AT TIME ZONE 'UTC',
                                   read AT TIME ZONE 'UTC', at) AS r
$$;

CREATE FUNCTION whatsapp_logs.insert_old_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_id bigint := COALESCE(NEW.log_id, nextval(pg_get_serial_sequence('whatsapp_logs.messages', 'id')));
BEGIN
    IF NEW.message_sid IS NULL OR NEW.phone_number IS NULL OR NEW.message_type IS NULL THEN
        RAISE EXCEPTION 'message_sid, phone_number and message_type of whatsapp_logs must not be NULL.' USING ERRCODE = 'not_null_violation';
    END IF;
    -- The SID's lock comes before the row, as in record: there the reports that came before their row are adopted.
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.message_sid, 0));
    INSERT INTO whatsapp_logs.messages (
        id, message_type, recipient, body, media_url, status, provider, provider_id, policy_id, client_id, created_by,
        sent_at, last_status_check, created_at)
    OVERRIDING SYSTEM VALUE
    VALUES (new_id, NEW.message_type, whatsapp_logs.plain_address(NEW.phone_number), NEW.message_content, NEW.media_url,
            COALESCE(whatsapp_logs.known_status(NEW.status), 'queued'),
            CASE WHEN whatsapp_logs.is_twilio_sid(NEW.message_sid) THEN 'twilio' ELSE 'unknown' END, NEW.message_sid,
            NEW.policy_id, NEW.client_id, NEW.created_by, NEW.sent_at AT TIME ZONE 'UTC',
            NEW.last_status_check AT TIME ZONE 'UTC', COALESCE(NEW.created_at AT TIME ZONE 'UTC', now()));
    PERFORM whatsapp_logs.record_old_row(new_id, NEW.message_sid, COALESCE(NEW.status, 'queued'), NEW.error_code, NEW.error_message,
                                         NEW.sent_at, NEW.delivered_at, NEW.read_at, clock_timestamp());
    SELECT v.* INTO NEW FROM public.whatsapp_logs AS v WHERE v.log_id = new_id;
    RETURN NEW;
END $$;
CREATE TRIGGER insert_old_row INSTEAD OF INSERT ON public.whatsapp_logs
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.insert_old_row();

CREATE FUNCTION whatsapp_logs.update_old_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
-- Statuses and their times are reports: the fold decides, so nothing known is ever taken back. What was sent to whom stays.
DECLARE
    changed text[];
BEGIN
    NEW.phone_number := whatsapp_logs.plain_address(NEW.phone_number);
    changed := ARRAY(SELECT n.key FROM jsonb_each(to_jsonb(NEW)) AS n JOIN jsonb_each(to_jsonb(OLD)) AS o USING (key)
                     WHERE n.value <> o.value ORDER BY n.key);
    -- A made-up SID may give way to the real one, nothing else.
    IF changed && '{log_id,phone_number,message_type,message_content,media_url,created_by,created_at}'
       OR ('message_sid' = ANY (changed) AND (NEW.message_sid IS NULL OR whatsapp_logs.is_twilio_sid(OLD.message_sid))) THEN
        RAISE EXCEPTION 'whatsapp_logs keeps what was sent to whom: % of message % cannot be changed.',
            array_to_string(changed, ', '), OLD.log_id USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.message_sid, 0));  -- before the row, as in record
    IF changed && '{message_sid,policy_id,client_id,sent_at,last_status_check}' THEN
        UPDATE whatsapp_logs.messages AS m
        SET provider_id = NEW.message_sid,
            provider = CASE WHEN NOT 'message_sid' = ANY (changed) THEN m.provider
                            WHEN whatsapp_logs.is_twilio_sid(NEW.message_sid) THEN 'twilio' ELSE 'unknown' END,
            policy_id = NEW.policy_id, client_id = NEW.client_id,
            sent_at = COALESCE(NEW.sent_at AT TIME ZONE 'UTC', m.sent_at),
            last_status_check = COALESCE(NEW.last_status_check AT TIME ZONE 'UTC', m.last_status_check),
            updated_at = clock_timestamp()
        WHERE m.id = OLD.log_id;
    END IF;
    IF changed && '{message_sid,status,error_code,error_message,delivered_at,read_at}' THEN
        PERFORM whatsapp_logs.record_old_row(
            OLD.log_id, NEW.message_sid,
            CASE WHEN changed && '{message_sid,status,error_code,error_message}' THEN NEW.status END,
            NEW.error_code, NEW.error_message, NULL,
            CASE WHEN 'delivered_at' = ANY (changed) THEN NEW.delivered_at END,
            CASE WHEN 'read_at' = ANY (changed) THEN NEW.read_at END, clock_timestamp());
    END IF;
    SELECT v.* INTO NEW FROM public.whatsapp_logs AS v WHERE v.log_id = OLD.log_id;
    RETURN NEW;
END $$;
CREATE TRIGGER update_old_row INSTEAD OF UPDATE ON public.whatsapp_logs
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.update_old_row();

CREATE FUNCTION whatsapp_logs.keep_old_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Messages are evidence: message % is not deleted.', OLD.log_id USING ERRCODE = 'object_not_in_prerequisite_state';
END $$;
CREATE TRIGGER keep_old_row INSTEAD OF DELETE ON public.whatsapp_logs
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_old_row();

-- Who could use the old table can use its view; everybody else's grants are the portal's business.
DO $grants$
DECLARE
    former record;
BEGIN
    FOR former IN
        SELECT quote_ident(r.rolname) AS role, string_agg(DISTINCT a.privilege_type, ', ') AS privileges
        FROM aclexplode(NULLIF(current_setting('whatsapp_logs.grants', true), '')::aclitem[]) AS a
        JOIN pg_roles AS r ON r.oid = a.grantee
        WHERE r.rolname NOT IN ('anon', 'authenticated') AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE')
        GROUP BY r.rolname
    LOOP
        EXECUTE format('GRANT %s ON public.whatsapp_logs TO %s', former.privileges, former.role);
        EXECUTE format('GRANT USAGE ON SCHEMA whatsapp_logs TO %s', former.role);
        EXECUTE format('GRANT SELECT ON whatsapp_logs.messages TO %s', former.role);
    END LOOP;
END $grants$;
