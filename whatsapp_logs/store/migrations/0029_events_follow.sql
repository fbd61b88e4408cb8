-- PostgreSQL looked each event's message up again, an eighth of what writing a report costs. What that look-up promised is kept where
-- it costs nothing: `record` and the statements that write messages take an event's message from the row itself, and a message that
-- has a history can be neither deleted nor numbered anew.
ALTER TABLE whatsapp_logs.status_events DROP CONSTRAINT status_events_message_id_fkey;
COMMENT ON COLUMN whatsapp_logs.status_events.message_id IS
    'The message (whatsapp_logs.messages); NULL while nobody knows it. A message with events cannot be deleted: follow_delete.';

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_delete() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM removed AS gone JOIN whatsapp_logs.status_events AS e ON e.message_id = gone.id) THEN
        RAISE EXCEPTION 'a message that has a history cannot be deleted' USING
            ERRCODE = 'foreign_key_violation', HINT = 'Erase what it says of a person instead: whatsapp_logs.erase.';
    END IF;
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, -count(*)
    FROM removed GROUP BY 1, 2, 3, 4, 5;
    DELETE FROM whatsapp_logs.rare_statuses AS r USING removed AS gone WHERE r.message_id = gone.id;
    RETURN NULL;
END $$;

CREATE FUNCTION whatsapp_logs.refuse_new_ids() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a message keeps its id: its history and its callbacks know it by it' USING ERRCODE = 'foreign_key_violation';
END $$;
CREATE TRIGGER refuse_new_ids BEFORE UPDATE OF id ON whatsapp_logs.messages
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.refuse_new_ids();
