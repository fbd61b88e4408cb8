-- The fold: the only way a status gets in, for callbacks, refreshes, sends, imports and the old table's view alike.

CREATE FUNCTION whatsapp_logs.fold(ids bigint[]) RETURNS SETOF bigint LANGUAGE sql AS $$
    -- A message's state is the fold over all its events: the greatest status, each time once. Returns the ids whose state moved.
    WITH told AS (
        SELECT e.message_id,
               max(e.status) AS status,
               min(e.happened_at) FILTER (WHERE e.status = 'sent') AS sent_at,
               min(e.happened_at) FILTER (WHERE e.status IN ('delivered', 'read')) AS delivered_at,
               min(e.happened_at) FILTER (WHERE e.status = 'read') AS read_at,
               min(e.happened_at) FILTER (WHERE e.status IN ('failed', 'undelivered', 'canceled')) AS failed_at,
               (array_agg(e.error_code ORDER BY e.status DESC, e.id) FILTER (WHERE e.error_code IS NOT NULL))[1] AS error_code,
               (array_agg(e.error_message ORDER BY e.status DESC, e.error_code IS NULL, e.id)
                   FILTER (WHERE e.error_message IS NOT NULL))[1] AS error_message
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

CREATE FUNCTION whatsapp_logs.record(reports jsonb, told_by text, at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (n bigint, to_message bigint, is_new boolean, changed boolean) LANGUAGE plpgsql AS $$
-- reports: array of {message_id?, provider_id?, status?, provider_status, error_code?, error_message?, happened_at?, price?,
-- sent_at?, price_unit?, num_segments?, payload?}. Answers one row per report, in order: its message (NULL = parked), whether it told
-- anything new, whether the message's state moved. Each statement below sees what others committed while it waited for its lock.
#variable_conflict use_column
DECLARE
    sids  text[] := ARRAY(SELECT DISTINCT r ->> 'provider_id' FROM jsonb_array_elements(reports) AS r
                          WHERE r ->> 'provider_id' IS NOT NULL);
    ids   bigint[] := ARRAY(SELECT DISTINCT (r ->> 'message_id')::bigint FROM jsonb_array_elements(reports) AS r
                            WHERE r ->> 'message_id' IS NOT NULL);
    fresh text[];
    moved bigint[];
BEGIN
    -- Two reports of one SID, or a report and the row it belongs to, meet here: without this lock an early report is lost.
    PERFORM pg_advisory_xact_lock(k.key)
    FROM (SELECT DISTINCT hashtextextended(sid, 0) AS key FROM unnest(sids) AS sid ORDER BY 1) AS k;
    PERFORM m.id FROM whatsapp_logs.messages AS m
    WHERE m.id = ANY (ids) OR m.provider_id = ANY (sids) ORDER BY m.id FOR NO KEY UPDATE;

    -- A report that carries our own id brings the SID with it, even before the create call has answered.
    UPDATE whatsapp_logs.messages AS m
    SET provider_id = r.provider_id, unconfirmed_at = NULL, wait_reason = NULL, retry_at = NULL, updated_at = clock_timestamp()
    FROM (SELECT DISTINCT ON (message_id) message_id, provider_id
          FROM (SELECT DISTINCT ON (provider_id) r.message_id, r.provider_id
                FROM jsonb_to_recordset(reports) AS r (message_id bigint, provider_id text)
                JOIN whatsapp_logs.messages AS waiting ON waiting.id = r.message_id AND waiting.provider_id IS NULL
                WHERE r.provider_id IS NOT NULL
                ORDER BY provider_id, message_id) AS claimed  -- two messages of a batch cannot both have one SID
          ORDER BY message_id, provider_id) AS r
    WHERE m.id = r.message_id AND m.provider_id IS NULL
      AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS other WHERE other.provider_id = r.provider_id);

    WITH inserted AS (
        INSERT INTO whatsapp_logs.status_events
            (message_id, provider_id, status, provider_status, error_code, error_message, source, happened_at, received_at, payload)
        SELECT COALESCE(by_sid.id, by_id.id), r.provider_id, r.status::whatsapp_logs.status, r.provider_status, r.error_code,
               r.error_message, told_by, COALESCE(r.happened_at, at), at, COALESCE(r.payload, '{}')
        FROM jsonb_to_recordset(reports) AS r (message_id bigint, provider_id text, status text, provider_status text,
             error_code text, error_message text, happened_at timestamptz, payload jsonb)
        LEFT JOIN whatsapp_logs.messages AS by_sid ON by_sid.provider_id = r.provider_id
        LEFT JOIN whatsapp_logs.messages AS by_id ON by_id.id = r.message_id AND r.provider_id IS NULL
        ON CONFLICT DO NOTHING
        RETURNING concat_ws(' ', COALESCE(provider_id, message_id::text), provider_status, error_code) AS key
    )
    SELECT COALESCE(array_agg(i.key), '{}') INTO fresh FROM inserted AS i;

    UPDATE whatsapp_logs.status_events AS e SET message_id = m.id
    FROM whatsapp_logs.messages AS m
    WHERE m.provider_id = ANY (sids) AND e.provider_id = m.provider_id AND e.message_id IS NULL;

    SELECT COALESCE(array_agg(m.id), '{}') INTO ids FROM whatsapp_logs.messages AS m
    WHERE m.id = ANY (ids) OR m.provider_id = ANY (sids);
    SELECT COALESCE(array_agg(f), '{}') INTO moved FROM whatsapp_logs.fold(ids) AS f;

    -- Facts beside the status: price and segments come late, a lost `sent` is told by what came after it, and a refresh is a check
    -- even when it told nothing new.
    WITH facts AS (
        SELECT id, min(sent_at) AS sent_at, max(price) AS price, max(upper(price_unit)) AS price_unit, NULLIF(max(num_segments), 0) AS num_segments
        FROM (
            SELECT COALESCE(by_sid.id, by_id.id) AS id, r.sent_at, r.price, r.price_unit, r.num_segments
            FROM jsonb_to_recordset(reports)
                AS r (message_id bigint, provider_id text, sent_at timestamptz, price numeric, price_unit text, num_segments integer)
            LEFT JOIN whatsapp_logs.messages AS by_sid ON by_sid.provider_id = r.provider_id
            LEFT JOIN whatsapp_logs.messages AS by_id ON by_id.id = r.message_id AND r.provider_id IS NULL
        ) AS placed
        WHERE id IS NOT NULL
        GROUP BY id
    ), next AS (
        SELECT m.id, COALESCE(m.sent_at, f.sent_at) AS sent_at, COALESCE(f.price, m.price) AS price, COALESCE(f.price_unit, m.price_unit) AS price_unit,
               COALESCE(f.num_segments, m.num_segments) AS num_segments,
               (COALESCE(m.sent_at, f.sent_at), COALESCE(f.price, m.price), COALESCE(f.price_unit, m.price_unit),
                COALESCE(f.num_segments, m.num_segments))
                   IS DISTINCT FROM (m.sent_at, m.price, m.price_unit, m.num_segments) AS differs
        FROM facts AS f JOIN whatsapp_logs.messages AS m USING (id)
    ), written AS (
        UPDATE whatsapp_logs.messages AS m
        SET sent_at = x.sent_at, price = x.price, price_unit = x.price_unit, num_segments = x.num_segments,
            last_status_check = CASE WHEN told_by IN ('refresh', 'reconcile') THEN at ELSE m.last_status_check END,
            updated_at = CASE WHEN x.differs THEN clock_timestamp() ELSE m.updated_at END
        FROM next AS x
        WHERE m.id = x.id AND (x.differs OR told_by IN ('refresh', 'reconcile'))
        RETURNING m.id, x.differs
    )
    SELECT moved || COALESCE(array_agg(w.id) FILTER (WHERE w.differs), '{}') INTO moved FROM written AS w;

    RETURN QUERY
    SELECT r.n, COALESCE(by_sid.id, by_id.id), r.key = ANY (fresh), COALESCE(COALESCE(by_sid.id, by_id.id) = ANY (moved), false)
    FROM (SELECT e.n, e.r ->> 'provider_id' AS provider_id, (e.r ->> 'message_id')::bigint AS message_id,
                 concat_ws(' ', COALESCE(e.r ->> 'provider_id', e.r ->> 'message_id'), e.r ->> 'provider_status', e.r ->> 'error_code') AS key
          FROM jsonb_array_elements(reports) WITH ORDINALITY AS e (r, n)) AS r
    LEFT JOIN whatsapp_logs.messages AS by_sid ON by_sid.provider_id = r.provider_id
    LEFT JOIN whatsapp_logs.messages AS by_id ON by_id.id = r.message_id AND r.provider_id IS NULL
    ORDER BY r.n;
END $$;
