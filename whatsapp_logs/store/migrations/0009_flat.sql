-- Flat at any size: totals that a card reads at once, a side list that knows type and error, and an index for rare types.

-- Cards read this and the deltas: some dozens of rows, however many days and messages the log holds. `counts` keeps the days.
CREATE TABLE whatsapp_logs.count_totals (
    direction    text NOT NULL,
    channel      text NOT NULL,
    message_type text NOT NULL,
    status       whatsapp_logs.status NOT NULL,
    n            bigint NOT NULL,
    PRIMARY KEY (direction, channel, message_type, status)
);
INSERT INTO whatsapp_logs.count_totals (direction, channel, message_type, status, n)
SELECT direction, channel, message_type, status, sum(n) FROM whatsapp_logs.counts GROUP BY 1, 2, 3, 4;

-- A page of one error's messages, or of failed messages of one type, must not look at rows that it does not show.
ALTER TABLE whatsapp_logs.rare_statuses ADD COLUMN message_type text, ADD COLUMN error_code text;
UPDATE whatsapp_logs.rare_statuses AS r SET message_type = m.message_type, error_code = m.error_code
FROM whatsapp_logs.messages AS m WHERE m.id = r.message_id;
ALTER TABLE whatsapp_logs.rare_statuses ALTER COLUMN message_type SET NOT NULL;
CREATE INDEX rare_statuses_error ON whatsapp_logs.rare_statuses (error_code, created_at DESC, message_id DESC)
    WHERE error_code IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.rare_statuses_error IS 'A page of the messages that failed for one reason.';

CREATE INDEX messages_type ON whatsapp_logs.messages (message_type, created_at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.messages_type IS 'A page of a type that is rare: walking the time index would look at all others.';

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_insert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, count(*)
    FROM added GROUP BY 1, 2, 3, 4, 5;

    INSERT INTO whatsapp_logs.rare_statuses (message_id, status, created_at, message_type, error_code)
    SELECT id, status, created_at, message_type, error_code FROM added WHERE whatsapp_logs.is_rare(status);

    INSERT INTO whatsapp_logs.addresses (address, grams)
    SELECT address, whatsapp_logs.grams(whatsapp_logs.digits(address))
    FROM (SELECT DISTINCT CASE direction WHEN 'inbound' THEN sender ELSE recipient END AS address FROM added) AS seen
    WHERE address IS NOT NULL
      AND NOT EXISTS (SELECT FROM whatsapp_logs.addresses AS known WHERE known.address = seen.address)
    ORDER BY address  -- one order for all writers, so that they cannot deadlock
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_update() RETURNS trigger LANGUAGE plpgsql AS $$
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

    INSERT INTO whatsapp_logs.rare_statuses (message_id, status, created_at, message_type, error_code)
    SELECT a.id, a.status, a.created_at, a.message_type, a.error_code FROM after AS a
    WHERE whatsapp_logs.is_rare(a.status)
      AND NOT EXISTS (SELECT FROM whatsapp_logs.rare_statuses AS r
                      WHERE r.message_id = a.id AND r.status = a.status AND r.message_type = a.message_type
                        AND r.error_code IS NOT DISTINCT FROM a.error_code)
    ON CONFLICT (message_id) DO UPDATE
    SET status = EXCLUDED.status, message_type = EXCLUDED.message_type, error_code = EXCLUDED.error_code;
    RETURN NULL;
END $$;
