-- PostgreSQL looked each event's message up again, an eighth of what writing a report costs. `record` and the statements that write
-- messages, which are all that write events, take an event's message from its row; and a message that has a history can be neither
-- deleted nor numbered anew, by triggers that cost no other write anything.
ALTER TABLE whatsapp_logs.status_events DROP CONSTRAINT status_events_message_id_fkey;
COMMENT ON COLUMN whatsapp_logs.status_events.message_id IS
    'The message (whatsapp_logs.messages); NULL while nobody knows it. A message with events cannot be deleted: follow_delete.';

-- As its owner, who sees every event, whoever deletes.
CREATE OR REPLACE FUNCTION whatsapp_logs.follow_delete() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Who is just recording a report of it has read its row: what they write has to be seen here.
    PERFORM pg_advisory_xact_lock(k.key)
    FROM (SELECT DISTINCT hashtextextended(provider_id, 0) AS key FROM removed WHERE provider_id IS NOT NULL ORDER BY 1) AS k;
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
    RAISE EXCEPTION 'a message keeps its id and its place: its history knows it by them (% refused)', TG_OP
        USING ERRCODE = 'foreign_key_violation';
END $$;
-- Not called keep_*: that name makes a table append-only for the roles that work with the log (grant_to).
CREATE TRIGGER refuse_new_ids BEFORE UPDATE OF id ON whatsapp_logs.messages
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.refuse_new_ids();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON whatsapp_logs.messages
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.refuse_new_ids();
