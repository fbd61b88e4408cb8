-- The failures of one type were looked for among all messages of that type, or among all failures: both grow with the log.
-- A message enters this index once, when it has failed; who writes a status that is none of these pays nothing.
-- In the order in which a report takes them, so that neither waits for the other for ever.
LOCK TABLE whatsapp_logs.status_events, whatsapp_logs.messages, whatsapp_logs.rare_statuses IN ACCESS EXCLUSIVE MODE;
CREATE INDEX rare_statuses_failed_type ON whatsapp_logs.rare_statuses (message_type, status, created_at DESC, message_id DESC)
    WHERE status IN ('failed', 'undelivered', 'canceled');
COMMENT ON INDEX whatsapp_logs.rare_statuses_failed_type IS 'A page of the failures of one type.';
