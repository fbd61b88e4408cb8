-- What belongs together: a failed message and its repetition, a customer's answers and their number.

CREATE INDEX messages_resend_of ON whatsapp_logs.messages (resend_of) WHERE resend_of IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.messages_resend_of IS 'Was this failed message sent again, and as which one?';
CREATE INDEX messages_inbound ON whatsapp_logs.messages (created_at DESC, id DESC) WHERE direction = 'inbound';
COMMENT ON INDEX whatsapp_logs.messages_inbound IS 'A page of what customers wrote, newest first: a few rows among millions sent.';
CREATE INDEX messages_sender ON whatsapp_logs.messages (sender, created_at DESC, id DESC) WHERE direction = 'inbound';
COMMENT ON INDEX whatsapp_logs.messages_sender IS 'A customer''s latest answers.';
