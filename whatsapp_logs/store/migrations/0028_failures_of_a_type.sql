-- The failures of one type were looked for among all messages of that type, or among all failures: both grow with the log.
-- A message enters this index once, when it has failed; who writes a status that is none of these pays nothing.
CREATE INDEX rare_statuses_failed_type ON whatsapp_logs.rare_statuses (message_type, status, created_at DESC, message_id DESC)
    WHERE status IN ('failed', 'undelivered', 'canceled');
COMMENT ON INDEX whatsapp_logs.rare_statuses_failed_type IS 'A page of the failures of one type.';
