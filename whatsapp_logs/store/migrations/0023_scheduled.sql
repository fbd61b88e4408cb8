-- Messages for later: they stand as scheduled, and the side list knows when each is due, so that what is coming is read in its order.

ALTER TABLE whatsapp_logs.rare_statuses ADD COLUMN send_at timestamptz;
CREATE INDEX rare_statuses_coming ON whatsapp_logs.rare_statuses (send_at, message_id) WHERE status = 'scheduled';
COMMENT ON INDEX whatsapp_logs.rare_statuses_coming IS 'A page of what is coming, soonest first; which of it is overdue.';

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, count(*)
    FROM added GROUP BY 1, 2, 3, 4, 5;

    INSERT INTO whatsapp_logs.rare_statuses (message_id, status, created_at, message_type, error_code, send_at)
    SELECT id, status, created_at, message_type, error_code, send_at FROM added WHERE whatsapp_logs.is_rare(status);

    INSERT INTO whatsapp_logs.addresses (address, grams)
    SELECT address, whatsapp_logs.grams(whatsapp_logs.digits(address))
    FROM (SELECT DISTINCT CASE direction WHEN 'inbound' THEN sender ELSE recipient END AS address FROM added) AS seen
    WHERE address IS NOT NULL
      AND NOT EXISTS (SELECT FROM whatsapp_logs.addresses AS known WHERE known.address = seen.address)
    ORDER BY address  -- one order for all writers, so that they cannot deadlock
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

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
    WHEN MATCHED AND ((r.status, r.message_type) <> (a.status, a.message_type) OR r.error_code IS DISTINCT FROM a.error_code
                      OR r.send_at IS DISTINCT FROM a.send_at)
        THEN UPDATE SET status = a.status, message_type = a.message_type, error_code = a.error_code, send_at = a.send_at
    WHEN NOT MATCHED AND whatsapp_logs.is_rare(a.status)
        THEN INSERT (message_id, status, created_at, message_type, error_code, send_at)
             VALUES (a.id, a.status, a.created_at, a.message_type, a.error_code, a.send_at);
    RETURN NULL;
END $$;

-- What waited for its time until now stood as queued. The side list follows.
UPDATE whatsapp_logs.messages AS m SET status = 'scheduled'
FROM whatsapp_logs.rare_statuses AS r
WHERE r.message_id = m.id AND r.status = 'queued' AND m.send_at > now() AND m.claimed_at IS NULL AND m.provider_id IS NULL;
