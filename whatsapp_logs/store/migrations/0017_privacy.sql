-- What is erased when, what is held, and for whom: texts, numbers and documents go; that a message went, when, and what became of it stays.

ALTER TABLE whatsapp_logs.messages ADD COLUMN erased_at timestamptz;

CREATE TABLE whatsapp_logs.retention_rules (
    message_type text PRIMARY KEY,
    months       integer CHECK (months BETWEEN 1 AND 600),  -- NULL: for good
    set_by       text NOT NULL,
    set_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE whatsapp_logs.retention_rules IS 'How long texts, numbers and documents of a type are kept; a type without a rule is kept.';

CREATE TABLE whatsapp_logs.erased_days (
    message_type text NOT NULL,
    day          date NOT NULL,              -- UTC, of created_at
    n            integer NOT NULL,
    PRIMARY KEY (message_type, day)
);
COMMENT ON TABLE whatsapp_logs.erased_days IS
    'How many of a day''s messages are erased: beside the daily counts it tells which days hold more, whatever was held, imported or still on its way.';

CREATE TABLE whatsapp_logs.legal_holds (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id  text,
    policy_id  text,
    reason     text NOT NULL,
    placed_by  text NOT NULL,
    placed_at  timestamptz NOT NULL DEFAULT now(),
    lifted_by  text,
    lifted_at  timestamptz,
    CHECK (num_nonnulls(client_id, policy_id) = 1)
);
CREATE INDEX legal_holds_client ON whatsapp_logs.legal_holds (client_id) WHERE lifted_at IS NULL;
COMMENT ON INDEX whatsapp_logs.legal_holds_client IS 'Is this client''s message held?';
CREATE INDEX legal_holds_policy ON whatsapp_logs.legal_holds (policy_id) WHERE lifted_at IS NULL;
COMMENT ON INDEX whatsapp_logs.legal_holds_policy IS 'Is this policy''s message held?';

CREATE TABLE whatsapp_logs.erasures (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind     text NOT NULL CHECK (kind IN ('retention', 'request')),
    what     text NOT NULL,                  -- a message type, or whom it was about as client:7
    reason   text,
    person   text NOT NULL,
    erased   integer NOT NULL,
    held     integer NOT NULL
);
COMMENT ON TABLE whatsapp_logs.erasures IS 'What was erased, by whom and why; never what it said.';
CREATE TRIGGER keep_erasures BEFORE UPDATE OR DELETE ON whatsapp_logs.erasures
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_all_erasures BEFORE TRUNCATE ON whatsapp_logs.erasures
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();

CREATE OR REPLACE FUNCTION whatsapp_logs.keep_status_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.message_id IS NULL AND NEW.message_id IS NOT NULL
       AND to_jsonb(NEW) - 'message_id' = to_jsonb(OLD) - 'message_id' THEN
        RETURN NEW;  -- a parked report is adopted by its message
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.payload = '{"erased": true}' AND NEW.error_message IS NULL
       AND to_jsonb(NEW) - '{payload,error_message}'::text[] = to_jsonb(OLD) - '{payload,error_message}'::text[] THEN
        RETURN NEW;  -- what it said of a person is erased; that it was said, when and by whom, never changes
    END IF;
    RAISE EXCEPTION 'whatsapp_logs.status_events is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE FUNCTION whatsapp_logs.is_held(client text, policy text) RETURNS boolean LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM whatsapp_logs.legal_holds AS h WHERE h.lifted_at IS NULL AND h.client_id = client)
    OR EXISTS (SELECT FROM whatsapp_logs.legal_holds AS h WHERE h.lifted_at IS NULL AND h.policy_id = policy);

-- Erases what these messages said and to whom, unless they are held or still to be sent; `unlink` takes client and policy away too.
CREATE FUNCTION whatsapp_logs.erase(ids bigint[], unlink boolean) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    chosen bigint[];
    files  uuid[];
    places text[];
BEGIN
    SELECT array_agg(m.id), array_agg(m.media_id) FILTER (WHERE m.media_id IS NOT NULL),
           array_agg(DISTINCT CASE m.direction WHEN 'inbound' THEN m.sender ELSE m.recipient END)
    INTO chosen, files, places
    FROM (SELECT * FROM whatsapp_logs.messages WHERE id = ANY (ids) AND erased_at IS NULL ORDER BY id FOR NO KEY UPDATE) AS m
    WHERE m.status NOT IN ('scheduled', 'queued', 'sending') AND NOT whatsapp_logs.is_held(m.client_id::text, m.policy_id::text);
    IF chosen IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE whatsapp_logs.messages AS m
    SET recipient = CASE m.direction WHEN 'inbound' THEN m.recipient ELSE 'erased' END,
        sender = CASE m.direction WHEN 'inbound' THEN 'erased' ELSE m.sender END,
        body = NULL, media_url = NULL, media_id = NULL, variables = NULL, error_message = NULL, wait_reason = NULL, request_key = NULL,
        client_id = CASE WHEN unlink THEN NULL ELSE m.client_id END, policy_id = CASE WHEN unlink THEN NULL ELSE m.policy_id END,
        erased_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE m.id = ANY (chosen);
    UPDATE whatsapp_logs.status_events SET payload = '{"erased": true}', error_message = NULL
    WHERE message_id = ANY (chosen) AND (payload <> '{"erased": true}' OR error_message IS NOT NULL);
    DELETE FROM whatsapp_logs.media AS f
    WHERE f.id = ANY (files) AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.media_id = f.id);
    DELETE FROM whatsapp_logs.addresses AS a
    WHERE a.address = ANY (places)
      AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.recipient = a.address AND m.direction = 'outbound')
      AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.sender = a.address AND m.direction = 'inbound');
    INSERT INTO whatsapp_logs.erased_days AS e (message_type, day, n)
    SELECT message_type, (created_at AT TIME ZONE 'UTC')::date, count(*) FROM whatsapp_logs.messages WHERE id = ANY (chosen)
    GROUP BY 1, 2 ORDER BY 1, 2  -- one order for all, so that nobody deadlocks
    ON CONFLICT (message_type, day) DO UPDATE SET n = e.n + EXCLUDED.n;
    RETURN cardinality(chosen);
END $$;

CREATE INDEX messages_media ON whatsapp_logs.messages (media_id) WHERE media_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.messages_media IS 'Does any message still need this document?';
CREATE INDEX messages_erased ON whatsapp_logs.messages (erased_at) WHERE erased_at IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.messages_erased IS 'What was erased lately: reports that came since are erased too.';

-- Reports that arrived after their message was erased, and reports of unknown messages older than `before`, lose what they say.
CREATE FUNCTION whatsapp_logs.erase_reports(before timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    late   integer;
    parked integer := 0;
BEGIN
    UPDATE whatsapp_logs.status_events AS e SET payload = '{"erased": true}', error_message = NULL
    FROM whatsapp_logs.messages AS m
    WHERE m.erased_at > now() - interval '60 days' AND e.message_id = m.id AND (e.payload <> '{"erased": true}' OR e.error_message IS NOT NULL);
    GET DIAGNOSTICS late = ROW_COUNT;
    UPDATE whatsapp_logs.messages SET error_message = NULL
    WHERE erased_at > now() - interval '60 days' AND error_message IS NOT NULL;
    IF before IS NOT NULL THEN
        UPDATE whatsapp_logs.status_events SET payload = '{"erased": true}', error_message = NULL
        WHERE message_id IS NULL AND received_at < before AND (payload <> '{"erased": true}' OR error_message IS NOT NULL);
        GET DIAGNOSTICS parked = ROW_COUNT;
    END IF;
    RETURN late + parked;
END $$;
