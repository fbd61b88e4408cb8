-- The side list follows its messages by their triggers alone, without PostgreSQL looking each message up again.
-- Its rows are made from the very rows of the statement that wrote the messages; the look-up was a tenth of a campaign's queueing.
ALTER TABLE whatsapp_logs.rare_statuses DROP CONSTRAINT rare_statuses_message_id_fkey;

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, -count(*)
    FROM removed GROUP BY 1, 2, 3, 4, 5;
    DELETE FROM whatsapp_logs.rare_statuses AS r USING removed AS gone WHERE r.message_id = gone.id;
    RETURN NULL;
END $$;
