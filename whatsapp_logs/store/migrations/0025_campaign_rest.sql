-- What a sender hands over counts against its rate, singles too; rows of campaigns' tables are reached by an erasure before they are
-- sent; a large table is checked by the worker.

ALTER TABLE whatsapp_logs.senders
    ADD COLUMN free_at timestamptz;              -- the next message may leave then: whoever hands one over moves it on by 1/rate second

CREATE INDEX messages_timed_to ON whatsapp_logs.messages (recipient, send_at) WHERE send_at IS NOT NULL AND direction = 'outbound';
COMMENT ON INDEX whatsapp_logs.messages_timed_to IS 'What is due to a number, or left, within a day, however long ago it was asked for.';

ALTER TABLE whatsapp_logs.campaigns
    ADD COLUMN check_asked_at timestamptz,               -- since when its rows are being checked; NULL where nobody does
    ADD COLUMN checked_up_to  integer NOT NULL DEFAULT 0;  -- rows up to here have been, in the check that is under way

ALTER TABLE whatsapp_logs.erasures
    ADD COLUMN campaign_rows integer NOT NULL DEFAULT 0;  -- of campaigns' tables

CREATE INDEX campaign_recipients_client ON whatsapp_logs.campaign_recipients (client_id) WHERE client_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.campaign_recipients_client IS 'Where does a client who is to be erased stand?';
CREATE INDEX campaign_recipients_unread ON whatsapp_logs.campaign_recipients (campaign_id, upload, position)
    WHERE address IS NULL AND client_id IS NULL AND cells <> '[]';
COMMENT ON INDEX whatsapp_logs.campaign_recipients_unread IS 'Rows whose number nobody has read yet, or could: they are searched digit by digit.';

-- Where a client stands in the tables of campaigns: by the portal's id; by number, where a row is linked to nobody; in cells, where
-- no number was read yet. `may_go` is false for what is held, or still to be handed over as a message.
CREATE FUNCTION whatsapp_logs.campaign_rows_of(client text, numbers text[])
RETURNS TABLE (campaign_id bigint, upload integer, "position" integer, may_go boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH found AS (
        SELECT r.campaign_id, r.upload, r.position FROM whatsapp_logs.campaign_recipients AS r
        WHERE r.client_id = client
        UNION
        SELECT r.campaign_id, r.upload, r.position FROM whatsapp_logs.campaign_recipients AS r
        WHERE r.address = ANY (numbers) AND r.client_id IS NULL
        UNION
        SELECT r.campaign_id, r.upload, r.position
        FROM whatsapp_logs.campaign_recipients AS r CROSS JOIN LATERAL jsonb_array_elements_text(r.cells) AS cell
        WHERE r.address IS NULL AND r.client_id IS NULL AND r.cells <> '[]'
          AND right(regexp_replace(cell, '[^0-9]', '', 'g'), 9) IN (
              SELECT right(regexp_replace(number, '[^0-9]', '', 'g'), 9) FROM unnest(numbers) AS number
              WHERE length(regexp_replace(number, '[^0-9]', '', 'g')) >= 9)
    )
    SELECT f.campaign_id, f.upload, f.position,
           r.due_at IS NULL AND coalesce(m.status NOT IN ('scheduled', 'queued', 'sending'), true)
               AND NOT whatsapp_logs.is_held(client, NULL) AND NOT whatsapp_logs.is_held(r.client_id, r.policy_id)
    FROM found AS f JOIN whatsapp_logs.campaign_recipients AS r USING (campaign_id, upload, position)
    LEFT JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
$$;

-- Erases these rows. One that is no message yet is left out from now on: nobody writes to whom was erased.
CREATE FUNCTION whatsapp_logs.erase_campaign_rows_of(client text, numbers text[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    erased integer;
BEGIN
    -- The runner holds a campaign while it makes messages of its rows: whoever is first, the other sees what was done.
    PERFORM FROM whatsapp_logs.campaigns AS c
    WHERE c.id IN (SELECT f.campaign_id FROM whatsapp_logs.campaign_rows_of(client, numbers) AS f)
    ORDER BY c.id FOR NO KEY UPDATE;
    UPDATE whatsapp_logs.campaign_recipients AS r
    SET cells = '[]', address = 'erased', client_id = NULL, policy_id = NULL, variables = NULL,
        problem = CASE WHEN r.message_id IS NULL THEN coalesce(r.problem, 'erased') ELSE r.problem END,
        reason = CASE WHEN r.message_id IS NULL OR r.problem IS NOT NULL THEN 'Erased.' END
    FROM whatsapp_logs.campaign_rows_of(client, numbers) AS f
    WHERE f.may_go AND r.campaign_id = f.campaign_id AND r.upload = f.upload AND r.position = f.position;
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$;
