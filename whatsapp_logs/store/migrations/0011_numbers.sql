-- A number's messages are found in the index alone: what we sent to it is all that the index holds.

CREATE INDEX messages_sent_to ON whatsapp_logs.messages (recipient, created_at DESC, id DESC) WHERE direction = 'outbound';
COMMENT ON INDEX whatsapp_logs.messages_sent_to IS 'A page of some numbers'' messages, from this index alone; a number''s last message.';
DROP INDEX whatsapp_logs.messages_recipient;
