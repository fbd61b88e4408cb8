-- What failed to reach some numbers is found without looking at what did reach them. The index holds failures only, so a message that
-- arrives never touches it (its updates stay heap-only); and that a failure has its moment is promised, not only so by habit.

UPDATE whatsapp_logs.messages AS m SET failed_at = m.updated_at
FROM whatsapp_logs.rare_statuses AS r
WHERE r.status IN ('failed', 'undelivered', 'canceled') AND m.id = r.message_id AND m.failed_at IS NULL;
ALTER TABLE whatsapp_logs.messages ADD CONSTRAINT messages_failure_has_a_time
    CHECK (failed_at IS NOT NULL OR status NOT IN ('failed', 'undelivered', 'canceled'));

CREATE INDEX messages_failed_to ON whatsapp_logs.messages (recipient, created_at DESC, id DESC)
    WHERE failed_at IS NOT NULL AND direction = 'outbound';
COMMENT ON INDEX whatsapp_logs.messages_failed_to IS 'What failed to reach some numbers.';
