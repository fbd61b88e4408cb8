-- Its indexes and its trigger.
ALTER TABLE first_portal.whatsapp_logs ADD UNIQUE (message_sid);
CREATE INDEX ON first_portal.whatsapp_logs (policy_id);
CREATE INDEX ON first_portal.whatsapp_logs (client_id);
CREATE INDEX ON first_portal.whatsapp_logs (phone_number);
CREATE INDEX ON first_portal.whatsapp_logs (status);
CREATE INDEX ON first_portal.whatsapp_logs (message_type);
CREATE INDEX ON first_portal.whatsapp_logs (sent_at);
CREATE FUNCTION first_portal.touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.updated_at = CURRENT_TIMESTAMP; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON first_portal.whatsapp_logs FOR EACH ROW EXECUTE FUNCTION first_portal.touch();
