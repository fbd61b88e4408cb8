-- The fold again, at a fifth of its cost: reports are read once, and a message is written once, from its state and what is new of it.

-- The side list follows in one pass. Without the settings a plan may be kept that reads all of it: it was small when the plan was made.
CREATE OR REPLACE FUNCTION whatsapp_logs.follow_update() RETURNS trigger LANGUAGE plpgsql
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT day, direction, channel, message_type, status, sum(n)
    FROM (
        SELECT (created_at AT TIME ZONE 'UTC')::date AS day, direction, channel, message_type, status, -1 AS n FROM before
        UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, 1 FROM after
    ) AS moved
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0;

    MERGE INTO whatsapp_logs.rare_statuses AS r USING after AS a ON r.message_id = a.id
    WHEN MATCHED AND NOT whatsapp_logs.is_rare(a.status) THEN DELETE
    WHEN MATCHED AND ((r.status, r.message_type) <> (a.status, a.message_type) OR r.error_code IS DISTINCT FROM a.error_code)
        THEN UPDATE SET status = a.status, message_type = a.message_type, error_code = a.error_code
    WHEN NOT MATCHED AND whatsapp_logs.is_rare(a.status)
        THEN INSERT (message_id, status, created_at, message_type, error_code)
             VALUES (a.id, a.status, a.created_at, a.message_type, a.error_code);
    RETURN NULL;
END $$;

-- Who has parked reports is asked at every call, of a table in which next to nobody has.
CREATE INDEX status_events_parked_sid ON whatsapp_logs.status_events (provider_id) WHERE message_id IS NULL;
COMMENT ON INDEX whatsapp_logs.status_events_parked_sid IS 'Did anything come of this message before we knew it?';

CREATE OR REPLACE FUNCTION whatsapp_logs.fold(ids bigint[]) RETURNS SETOF bigint LANGUAGE sql AS $$
    -- A message's state is the fold over all its events: the greatest status, each time once. Returns the ids whose state moved.
    WITH told AS (
        SELECT e.message_id,
               max(e.status) AS status,
               min(e.happened_at) FILTER (WHERE e.status = 'sent') AS sent_at,
               min(e.happened_at) FILTER (WHERE e.status IN ('delivered', 'read')) AS delivered_at,
               min(e.happened_at) FILTER (WHERE e.status = 'read') AS read_at,
               min(e.happened_at) FILTER (WHERE e.status IN ('failed', 'undelivered', 'canceled')) AS failed_at,
               -- Only a failure's reason is one: what a report of something else says beside it is not.
               (array_agg(e.error_code ORDER BY e.status DESC, e.id)
                   FILTER (WHERE e.error_code IS NOT NULL AND e.status IN ('failed', 'undelivered', 'canceled')))[1] AS error_code,
               (array_agg(e.error_message ORDER BY e.status DESC, e.error_code IS NULL, e.id)
                   FILTER (WHERE e.error_message IS NOT NULL AND e.status IN ('failed', 'undelivered', 'canceled')))[1]
                   AS error_message
        FROM whatsapp_logs.status_events AS e
        WHERE e.message_id = ANY (ids) AND e.status IS NOT NULL
        GROUP BY e.message_id
    ), state AS (
        SELECT m.id, m.status AS old_status, GREATEST(m.status, t.status) AS status,
               COALESCE(m.sent_at, t.sent_at) AS sent_at,
               COALESCE(m.delivered_at, t.delivered_at) AS delivered_at,
               COALESCE(m.read_at, t.read_at) AS read_at,
               GREATEST(m.status, t.status) IN ('failed', 'undelivered', 'canceled') AS is_failure,
               COALESCE(m.failed_at, t.failed_at) AS failed_at,
               COALESCE(t.error_code, m.error_code) AS error_code,
               COALESCE(t.error_message, m.error_message) AS error_message
        FROM whatsapp_logs.messages AS m JOIN told AS t ON t.message_id = m.id
    ), next AS (
        -- A failure that proof of receipt overtook is history: it stays in the events, not in the message.
        SELECT id, status, sent_at, delivered_at, read_at,
               CASE WHEN is_failure THEN failed_at END AS failed_at,
               CASE WHEN is_failure THEN error_code END AS error_code,
               CASE WHEN is_failure THEN error_message END AS error_message
        FROM state
    ), written AS (
        UPDATE whatsapp_logs.messages AS m
        SET status = n.status, sent_at = n.sent_at, delivered_at = n.delivered_at, read_at = n.read_at,
            failed_at = n.failed_at, error_code = n.error_code, error_message = n.error_message,
            updated_at = clock_timestamp()
        FROM next AS n
        WHERE m.id = n.id
          AND (m.status, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.error_code, m.error_message)
              IS DISTINCT FROM (n.status, n.sent_at, n.delivered_at, n.read_at, n.failed_at, n.error_code, n.error_message)
        RETURNING m.id
    )
    SELECT id FROM written
$$;

CREATE OR REPLACE FUNCTION whatsapp_logs.record(reports jsonb, told_by text, at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (n bigint, to_message bigint, is_new boolean, changed boolean) LANGUAGE plpgsql AS $$
-- reports: array of {message_id?, provider_id?, status?, provider_status, error_code?, error_message?, happened_at?, price?,
-- sent_at?, price_unit?, num_segments?, payload?}. Answers one row per report, in order: its message (NULL = parked), whether it told
-- anything new, whether the message's state moved. Each statement below sees what others committed while it waited for its lock.
#variable_conflict use_column
DECLARE
    sids     text[];
    ids      bigint[];
    adopting bigint[] := '{}';
    moved    bigint[] := '{}';
    moment   timestamptz;
BEGIN
    SELECT COALESCE(array_agg(DISTINCT r.provider_id) FILTER (WHERE r.provider_id IS NOT NULL), '{}'),
           COALESCE(array_agg(DISTINCT r.message_id) FILTER (WHERE r.message_id IS NOT NULL), '{}')
    INTO sids, ids FROM jsonb_to_recordset(reports) AS r (message_id bigint, provider_id text);

    -- Two reports of one SID, or a report and the row it belongs to, meet here: without this lock an early report is lost.
    PERFORM pg_advisory_xact_lock(k.key)
    FROM (SELECT DISTINCT hashtextextended(sid, 0) AS key FROM unnest(sids) AS sid ORDER BY 1) AS k;
    moment := clock_timestamp();

    -- A report that carries our own id brings the SID with it, even before the create call has answered.
    PERFORM m.id FROM whatsapp_logs.messages AS m
    WHERE m.id = ANY (ids) AND m.provider_id IS NULL ORDER BY m.id FOR NO KEY UPDATE;
    IF FOUND AND sids <> '{}' THEN
        UPDATE whatsapp_logs.messages AS m
        SET provider_id = r.provider_id, unconfirmed_at = NULL, wait_reason = NULL, retry_at = NULL, updated_at = moment
        FROM (SELECT DISTINCT ON (message_id) message_id, provider_id
              FROM (SELECT DISTINCT ON (provider_id) r.message_id, r.provider_id
                    FROM jsonb_to_recordset(reports) AS r (message_id bigint, provider_id text)
                    JOIN whatsapp_logs.messages AS waiting ON waiting.id = r.message_id AND waiting.provider_id IS NULL
                    WHERE r.provider_id IS NOT NULL
                    ORDER BY provider_id, message_id) AS claimed  -- two messages of a batch cannot both have one SID
              ORDER BY message_id, provider_id) AS r
        WHERE m.id = r.message_id AND m.provider_id IS NULL
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS other WHERE other.provider_id = r.provider_id);
    END IF;

    IF EXISTS (SELECT FROM whatsapp_logs.status_events AS e WHERE e.message_id IS NULL AND e.provider_id = ANY (sids)) THEN
        WITH adopted AS (
            UPDATE whatsapp_logs.status_events AS e SET message_id = m.id
            FROM whatsapp_logs.messages AS m
            WHERE m.provider_id = ANY (sids) AND e.provider_id = m.provider_id AND e.message_id IS NULL
            RETURNING m.id
        )
        SELECT COALESCE(array_agg(DISTINCT a.id), '{}') INTO adopting FROM adopted AS a;
        SELECT COALESCE(array_agg(f), '{}') INTO moved FROM whatsapp_logs.fold(adopting) AS f;
    END IF;

    RETURN QUERY
    WITH told AS MATERIALIZED (
        SELECT r.n, COALESCE(by_sid.id, by_id.id) AS id, r.provider_id, r.status::whatsapp_logs.status AS status, r.provider_status,
               r.error_code, r.error_message, COALESCE(r.happened_at, at) AS happened_at, r.sent_at, r.price,
               upper(r.price_unit) AS price_unit, NULLIF(r.num_segments, 0) AS num_segments, r.payload,
               -- Nobody else can write an event of these SIDs just now; the unique index would refuse it.
               NOT EXISTS (SELECT FROM whatsapp_logs.status_events AS e
                           WHERE e.provider_id = r.provider_id AND e.provider_status = r.provider_status
                             AND COALESCE(e.error_code, '') = COALESCE(r.error_code, '')) AS is_new
        FROM ROWS FROM (jsonb_to_recordset(reports) AS (message_id bigint, provider_id text, status text, provider_status text,
                 error_code text, error_message text, happened_at timestamptz, sent_at timestamptz, price numeric, price_unit text,
                 num_segments integer, payload jsonb)) WITH ORDINALITY
             AS r (message_id, provider_id, status, provider_status, error_code, error_message, happened_at, sent_at, price,
                   price_unit, num_segments, payload, n)
        LEFT JOIN whatsapp_logs.messages AS by_sid ON by_sid.provider_id = r.provider_id
        LEFT JOIN whatsapp_logs.messages AS by_id ON by_id.id = r.message_id AND r.provider_id IS NULL
    ), inserted AS (
        INSERT INTO whatsapp_logs.status_events
            (message_id, provider_id, status, provider_status, error_code, error_message, source, happened_at, received_at, payload)
        SELECT id, provider_id, status, provider_status, error_code, error_message, told_by, happened_at, at, COALESCE(payload, '{}')
        FROM (SELECT DISTINCT ON (provider_id, provider_status, COALESCE(error_code, ''), CASE WHEN provider_id IS NULL THEN n END) *
              FROM told WHERE is_new
              ORDER BY provider_id, provider_status, COALESCE(error_code, ''), CASE WHEN provider_id IS NULL THEN n END, n) AS once
        ORDER BY n
    ), news AS (
        -- What `fold` finds in a message's events, of these alone; and facts beside the status: price and segments come late, a lost
        -- `sent` is told by what came after it.
        SELECT id,
               max(status) AS status,
               COALESCE(min(happened_at) FILTER (WHERE status = 'sent'), min(sent_at)) AS sent_at,
               min(happened_at) FILTER (WHERE status IN ('delivered', 'read')) AS delivered_at,
               min(happened_at) FILTER (WHERE status = 'read') AS read_at,
               min(happened_at) FILTER (WHERE status IN ('failed', 'undelivered', 'canceled')) AS failed_at,
               (array_agg(error_code ORDER BY status DESC, n)
                   FILTER (WHERE error_code IS NOT NULL AND status IN ('failed', 'undelivered', 'canceled')))[1] AS error_code,
               (array_agg(error_message ORDER BY status DESC, error_code IS NULL, n)
                   FILTER (WHERE error_message IS NOT NULL AND status IN ('failed', 'undelivered', 'canceled')))[1] AS error_message,
               max(price) AS price, max(price_unit) AS price_unit, max(num_segments) AS num_segments,
               bool_or(is_new) OR told_by IN ('refresh', 'reconcile')  -- which check even when they tell nothing new
                   OR num_nonnulls(min(sent_at), max(price), max(price_unit), max(num_segments)) > 0 AS is_worth_writing
        FROM told WHERE id IS NOT NULL GROUP BY id ORDER BY id  -- in one order for all batches, so that they cannot deadlock
    ), written AS (
        UPDATE whatsapp_logs.messages AS m
        SET (status, sent_at, delivered_at, read_at, failed_at, error_code, error_message, price, price_unit, num_segments,
             last_status_check, updated_at) = (
            SELECT x.status, x.sent_at, x.delivered_at, x.read_at, x.failed_at, x.error_code, x.error_message, x.price, x.price_unit,
                   x.num_segments, CASE WHEN told_by IN ('refresh', 'reconcile') THEN at ELSE m.last_status_check END,
                   CASE WHEN x IS DISTINCT FROM ROW (m.status, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.error_code,
                                                     m.error_message, m.price, m.price_unit, m.num_segments)
                        THEN moment ELSE m.updated_at END
            FROM (
                -- A failure that proof of receipt overtook is history: it stays in the events, not in the message.
                SELECT GREATEST(m.status, t.status) AS status,
                       COALESCE(m.sent_at, t.sent_at) AS sent_at,
                       COALESCE(m.delivered_at, t.delivered_at) AS delivered_at,
                       COALESCE(m.read_at, t.read_at) AS read_at,
                       CASE WHEN f.is_failure THEN COALESCE(m.failed_at, t.failed_at) END AS failed_at,
                       CASE WHEN f.is_failure THEN
                           CASE WHEN t.status > m.status THEN COALESCE(t.error_code, m.error_code)
                                ELSE COALESCE(m.error_code, t.error_code) END END AS error_code,
                       CASE WHEN f.is_failure THEN
                           CASE WHEN t.status > m.status OR (m.error_code IS NULL AND t.error_code IS NOT NULL)
                                THEN COALESCE(t.error_message, m.error_message)
                                ELSE COALESCE(m.error_message, t.error_message) END END AS error_message,
                       COALESCE(t.price, m.price) AS price,
                       COALESCE(t.price_unit, m.price_unit) AS price_unit,
                       COALESCE(t.num_segments, m.num_segments) AS num_segments
                FROM (SELECT GREATEST(m.status, t.status) IN ('failed', 'undelivered', 'canceled') AS is_failure) AS f
            ) AS x)
        FROM news AS t
        WHERE m.id = t.id AND t.is_worth_writing
        RETURNING m.id, m.updated_at = moment AS has_changed
    )
    SELECT t.n, t.id, t.is_new, COALESCE(w.has_changed, false) OR COALESCE(t.id = ANY (moved), false)
    FROM told AS t LEFT JOIN written AS w ON w.id = t.id
    ORDER BY t.n;
END $$;
