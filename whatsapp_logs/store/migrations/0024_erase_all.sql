-- Erasing reaches what is kept beside messages: contacts, conversations, tables of campaigns. Consent stays: it is why we do not write again.

CREATE OR REPLACE FUNCTION whatsapp_logs.erase(ids bigint[], unlink boolean) RETURNS integer
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
    WHERE f.id = ANY (files) AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.media_id = f.id)
      AND NOT EXISTS (SELECT FROM whatsapp_logs.message_media AS m WHERE m.media_id = f.id);
    -- What is known of a number goes with its last message.
    places := ARRAY(
        SELECT place FROM unnest(places) AS place
        WHERE NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.recipient = place AND m.direction = 'outbound')
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.sender = place AND m.direction = 'inbound'));
    DELETE FROM whatsapp_logs.addresses WHERE address = ANY (places);
    DELETE FROM whatsapp_logs.contacts WHERE address = ANY (places);
    PERFORM whatsapp_logs.erase_conversations(places);
    PERFORM whatsapp_logs.erase_campaign_rows(places);
    INSERT INTO whatsapp_logs.erased_days AS e (message_type, day, n)
    SELECT message_type, (created_at AT TIME ZONE 'UTC')::date, count(*) FROM whatsapp_logs.messages WHERE id = ANY (chosen)
    GROUP BY 1, 2 ORDER BY 1, 2  -- one order for all, so that nobody deadlocks
    ON CONFLICT (message_type, day) DO UPDATE SET n = e.n + EXCLUDED.n;
    RETURN cardinality(chosen);
END $$;
