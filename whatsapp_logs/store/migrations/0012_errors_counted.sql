-- The messages of one error are counted in the index alone.

CREATE INDEX rare_statuses_reason ON whatsapp_logs.rare_statuses (error_code, created_at DESC, message_id DESC) INCLUDE (status)
    WHERE error_code IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.rare_statuses_reason IS 'A page of the messages that failed for one reason, and how many they are.';
DROP INDEX whatsapp_logs.rare_statuses_error;
