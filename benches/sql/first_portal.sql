-- The first portal's table, for comparison.
CREATE SCHEMA first_portal;
CREATE TABLE first_portal.whatsapp_logs (
    log_id serial PRIMARY KEY, message_sid varchar(100) NOT NULL, policy_id integer, client_id integer,
    phone_number varchar(20) NOT NULL, message_type varchar(50) NOT NULL, message_content text, media_url text,
    status varchar(50) DEFAULT 'queued', error_code varchar(20), error_message text, sent_at timestamp DEFAULT CURRENT_TIMESTAMP,
    delivered_at timestamp, read_at timestamp, last_status_check timestamp, created_by varchar(100),
    created_at timestamp DEFAULT CURRENT_TIMESTAMP, updated_at timestamp DEFAULT CURRENT_TIMESTAMP
);
