-- The same columns, in the same order.
COPY whatsapp_logs.messages (id, direction, message_type, recipient, sender, body, status, provider_id, error_code, error_message,
    price, price_unit, num_segments, created_by, claimed_at, sent_at, delivered_at, read_at, failed_at, client_id, policy_id,
    created_at, updated_at)
FROM STDIN (FORMAT binary)
