-- What the log's triggers would have derived from the messages, their events, and the first portal's rows.
INSERT INTO whatsapp_logs.counts (day, direction, channel, message_type, status, n)
SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, count(*)
FROM whatsapp_logs.messages GROUP BY 1, 2, 3, 4, 5;

INSERT INTO whatsapp_logs.count_totals (direction, channel, message_type, status, n)
SELECT direction, channel, message_type, status, sum(n) FROM whatsapp_logs.counts GROUP BY 1, 2, 3, 4;

INSERT INTO whatsapp_logs.rare_statuses (message_id, status, created_at, message_type, error_code)
SELECT id, status, created_at, message_type, error_code FROM whatsapp_logs.messages WHERE whatsapp_logs.is_rare(status);

INSERT INTO whatsapp_logs.addresses (address, grams)
SELECT address, whatsapp_logs.grams(whatsapp_logs.digits(address))
FROM (SELECT DISTINCT CASE direction WHEN 'inbound' THEN sender ELSE recipient END AS address FROM whatsapp_logs.messages) AS seen;

-- Reports without their raw form: what that weighs is measured by itself (docs/scale.md).
INSERT INTO whatsapp_logs.status_events (message_id, provider_id, status, provider_status, error_code, error_message, source,
                                         happened_at, received_at)
SELECT m.id, CASE WHEN e.status <> 'queued' THEN m.provider_id END, e.status::whatsapp_logs.status, e.status,
       CASE WHEN e.is_end THEN m.error_code END, CASE WHEN e.is_end THEN m.error_message END, e.source, e.at, e.at
FROM whatsapp_logs.messages AS m
CROSS JOIN LATERAL (VALUES
    ('queued', m.created_at, 'send', false), ('sending', m.claimed_at, 'send', false), ('sent', m.sent_at, 'callback', false),
    ('delivered', m.delivered_at, 'callback', false), ('read', m.read_at, 'callback', false),
    (m.status::text, m.failed_at, 'callback', true)) AS e (status, at, source, is_end)
WHERE e.at IS NOT NULL AND m.direction = 'outbound';

INSERT INTO first_portal.whatsapp_logs (message_sid, policy_id, client_id, phone_number, message_type, message_content, status,
    error_code, error_message, sent_at, delivered_at, read_at, created_by, created_at, updated_at)
SELECT COALESCE(provider_id, 'none' || id), policy_id, client_id, recipient, message_type, body, status, error_code, error_message,
       created_at, delivered_at, read_at, created_by, created_at, updated_at
FROM whatsapp_logs.messages WHERE direction = 'outbound' ORDER BY id;
