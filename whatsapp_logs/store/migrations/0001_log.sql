-- The log: messages, what providers said of them, and what is derived so that no reader ever counts rows.

CREATE TYPE whatsapp_logs.status AS ENUM (
    -- The order is the rule "only forward"; proof of receipt outranks a report of failure.
    'scheduled', 'queued', 'sending', 'sent', 'canceled', 'failed', 'undelivered', 'delivered', 'read', 'received'
);

-- Documents that we send or were sent. A provider fetches them through an expiring link; people through a signed-in page.
CREATE TABLE whatsapp_logs.media (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    content      bytea NOT NULL,
    content_type text NOT NULL,
    filename     text NOT NULL,
    sha256       bytea NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE whatsapp_logs.messages (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    direction         text NOT NULL DEFAULT 'outbound' CHECK (direction IN ('outbound', 'inbound')),
    channel           text NOT NULL DEFAULT 'whatsapp',
    message_type      text NOT NULL DEFAULT 'general',
    recipient         text NOT NULL,              -- E.164 or a WhatsApp user id, never with a channel prefix
    sender            text,
    body              text,
    media_url         text,
    media_id          uuid REFERENCES whatsapp_logs.media (id),
    template_sid      text,
    template_name     text,
    media_variable    text,                       -- the template's placeholder that takes the media link
    variables         jsonb,
    status            whatsapp_logs.status NOT NULL DEFAULT 'queued',
    provider          text NOT NULL DEFAULT 'twilio',
    provider_id       text,                       -- Twilio SID; NULL until the provider has the message
    error_code        text,
    error_message     text,
    price             numeric,                    -- with the provider's sign: Twilio's are negative
    price_unit        text,
    num_segments      integer,
    created_by        text,
    request_key       text,
    send_at           timestamptz,
    claimed_at        timestamptz,                -- a worker is handing it over, or has
    unconfirmed_at    timestamptz,                -- the provider's answer was lost
    attempts          integer NOT NULL DEFAULT 0,
    retry_at          timestamptz,
    wait_reason       text,
    sent_at           timestamptz,
    delivered_at      timestamptz,
    read_at           timestamptz,
    failed_at         timestamptz,
    last_status_check timestamptz,
    resend_of         bigint REFERENCES whatsapp_logs.messages (id),
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
-- No index holds status or a time that changes: status updates stay heap-only (94-99 % instead of 3 %).
CREATE UNIQUE INDEX messages_provider_id ON whatsapp_logs.messages (provider_id);
COMMENT ON INDEX whatsapp_logs.messages_provider_id IS 'Which message does this callback or refreshed SID belong to?';
CREATE UNIQUE INDEX messages_request_key ON whatsapp_logs.messages (request_key) WHERE request_key IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.messages_request_key IS 'Was this very request queued before?';
CREATE INDEX messages_created ON whatsapp_logs.messages (created_at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.messages_created IS 'A page of the log, newest first (keyset).';
CREATE INDEX messages_recipient ON whatsapp_logs.messages (recipient, created_at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.messages_recipient IS 'A page of one or a few numbers'' messages; a number''s last message.';

-- Append-only evidence: every report a provider (or we) made of a message. message_id NULL = parked: nobody knows the SID yet.
CREATE TABLE whatsapp_logs.status_events (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id      bigint REFERENCES whatsapp_logs.messages (id),
    provider_id     text,
    status          whatsapp_logs.status,         -- NULL: a word of the provider's that is unknown to us
    provider_status text NOT NULL,
    error_code      text,
    error_message   text,
    source          text NOT NULL CHECK (source IN ('send', 'callback', 'refresh', 'reconcile', 'import')),
    happened_at     timestamptz NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now(),
    payload         jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX status_events_once ON whatsapp_logs.status_events (provider_id, provider_status, COALESCE(error_code, ''))
    WHERE provider_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.status_events_once IS 'A report told twice (a repeated callback, a refresh) is one event.';
CREATE INDEX status_events_message ON whatsapp_logs.status_events (message_id, id);
COMMENT ON INDEX whatsapp_logs.status_events_message IS 'A message''s timeline, and the fold over it.';
CREATE INDEX status_events_parked ON whatsapp_logs.status_events (received_at) WHERE message_id IS NULL;
COMMENT ON INDEX whatsapp_logs.status_events_parked IS 'Reports of messages nobody knows, newest last.';

CREATE FUNCTION whatsapp_logs.keep_status_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.message_id IS NULL AND NEW.message_id IS NOT NULL
       AND to_jsonb(NEW) - 'message_id' = to_jsonb(OLD) - 'message_id' THEN
        RETURN NEW;  -- a parked report is adopted by its message; nothing else ever changes
    END IF;
    RAISE EXCEPTION 'whatsapp_logs.status_events is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER keep_status_events BEFORE UPDATE OR DELETE ON whatsapp_logs.status_events
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_status_events();
CREATE TRIGGER keep_all_status_events BEFORE TRUNCATE ON whatsapp_logs.status_events
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_status_events();

-- Counts: rolled up per day, plus deltas written by every change in its own transaction. base + deltas is exact at every moment
-- and no two writers ever wait for the same row.
CREATE TABLE whatsapp_logs.counts (
    day          date NOT NULL,
    direction    text NOT NULL,
    channel      text NOT NULL,
    message_type text NOT NULL,
    status       whatsapp_logs.status NOT NULL,
    n            bigint NOT NULL,
    PRIMARY KEY (day, direction, channel, message_type, status)
);
CREATE TABLE whatsapp_logs.count_deltas (
    day          date NOT NULL,
    direction    text NOT NULL,
    channel      text NOT NULL,
    message_type text NOT NULL,
    status       whatsapp_logs.status NOT NULL,
    n            bigint NOT NULL
);

-- The narrow side list: messages that are not (yet) delivered or read. Finds the pending and the failed among millions.
CREATE TABLE whatsapp_logs.rare_statuses (
    message_id bigint PRIMARY KEY REFERENCES whatsapp_logs.messages (id) ON DELETE CASCADE,
    status     whatsapp_logs.status NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX rare_statuses_page ON whatsapp_logs.rare_statuses (status, created_at DESC, message_id DESC);
COMMENT ON INDEX whatsapp_logs.rare_statuses_page IS 'A page of failed or pending messages; what a refresh has to ask about.';

-- Each address once, with the 3-grams of its digits: finds any part of a number without an extension.
CREATE FUNCTION whatsapp_logs.digits(address text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN regexp_replace(address, '[^0-9]', '', 'g');
CREATE FUNCTION whatsapp_logs.grams(digits text) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    ARRAY(SELECT DISTINCT substr(digits, place, 3) FROM generate_series(1, length(digits) - 2) AS place);
CREATE TABLE whatsapp_logs.addresses (
    address text PRIMARY KEY,
    digits  text NOT NULL GENERATED ALWAYS AS (regexp_replace(address, '[^0-9]', '', 'g')) STORED,
    grams   text[] NOT NULL
);
CREATE INDEX addresses_grams ON whatsapp_logs.addresses USING gin (grams);
COMMENT ON INDEX whatsapp_logs.addresses_grams IS 'Which numbers contain these digits?';

CREATE FUNCTION whatsapp_logs.is_rare(status whatsapp_logs.status) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN status NOT IN ('delivered', 'read', 'received');

-- Whoever writes messages, the derived tables follow in the same transaction, set by set.
CREATE FUNCTION whatsapp_logs.follow_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, count(*)
    FROM added GROUP BY 1, 2, 3, 4, 5;

    INSERT INTO whatsapp_logs.rare_statuses (message_id, status, created_at)
    SELECT id, status, created_at FROM added WHERE whatsapp_logs.is_rare(status);

    INSERT INTO whatsapp_logs.addresses (address, grams)
    SELECT address, whatsapp_logs.grams(whatsapp_logs.digits(address))
    FROM (SELECT DISTINCT CASE direction WHEN 'inbound' THEN sender ELSE recipient END AS address FROM added) AS seen
    WHERE address IS NOT NULL
      AND NOT EXISTS (SELECT FROM whatsapp_logs.addresses AS known WHERE known.address = seen.address)
    ORDER BY address  -- one order for all writers, so that they cannot deadlock
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER follow_insert AFTER INSERT ON whatsapp_logs.messages
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.follow_insert();

CREATE FUNCTION whatsapp_logs.follow_update() RETURNS trigger LANGUAGE plpgsql AS $$
-- Nothing here joins `before` with `after`: such a plan, made for one row and kept, is quadratic in a thousand.
DECLARE
    common bigint[] := ARRAY(SELECT id FROM after WHERE NOT whatsapp_logs.is_rare(status));
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT day, direction, channel, message_type, status, sum(n)
    FROM (
        SELECT (created_at AT TIME ZONE 'UTC')::date AS day, direction, channel, message_type, status, -1 AS n FROM before
        UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, 1 FROM after
    ) AS moved
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0;

    DELETE FROM whatsapp_logs.rare_statuses WHERE message_id = ANY (common);

    INSERT INTO whatsapp_logs.rare_statuses (message_id, status, created_at)
    SELECT a.id, a.status, a.created_at FROM after AS a
    WHERE whatsapp_logs.is_rare(a.status)
      AND NOT EXISTS (SELECT FROM whatsapp_logs.rare_statuses AS r WHERE r.message_id = a.id AND r.status = a.status)
    ON CONFLICT (message_id) DO UPDATE SET status = EXCLUDED.status;
    RETURN NULL;
END $$;
CREATE TRIGGER follow_update AFTER UPDATE ON whatsapp_logs.messages
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.follow_update();

CREATE FUNCTION whatsapp_logs.follow_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, -count(*)
    FROM removed GROUP BY 1, 2, 3, 4, 5;
    RETURN NULL;
END $$;
CREATE TRIGGER follow_delete AFTER DELETE ON whatsapp_logs.messages
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.follow_delete();

-- "Refresh all": one run at a time; its progress survives a closed page and a restarted worker.
CREATE TABLE whatsapp_logs.refreshes (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_by   text,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    found        integer,                         -- messages to ask about; NULL until counted
    asked        integer NOT NULL DEFAULT 0,
    changed      integer NOT NULL DEFAULT 0,
    failed       integer NOT NULL DEFAULT 0,
    taken_at     timestamptz,                     -- a worker has begun it
    problem      text,                            -- why it stopped early, in words
    cancel_asked boolean NOT NULL DEFAULT false,
    finished_at  timestamptz
);
CREATE UNIQUE INDEX refreshes_one ON whatsapp_logs.refreshes ((true)) WHERE finished_at IS NULL;
COMMENT ON INDEX whatsapp_logs.refreshes_one IS 'A second click joins the run that is under way.';
