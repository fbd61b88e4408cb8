-- Who has looked: every message and document opened, every search for somebody, every export. What is written there stays.

CREATE TABLE whatsapp_logs.accesses (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    person     text NOT NULL,
    act        text NOT NULL CHECK (act IN ('opened', 'document', 'link', 'searched', 'listed', 'exported', 'access_log')),
    message_id bigint,                        -- no foreign key: who looked is known when the message is gone
    subjects   text[] NOT NULL DEFAULT '{}',  -- whom it was about: client:7, policy:9, number:<keyed digest>
    about      jsonb NOT NULL DEFAULT '{}',   -- how it was asked: filter, format; never a number, a name or a text
    address    text                           -- from where
);
COMMENT ON TABLE whatsapp_logs.accesses IS 'Append-only: who has looked at what, when, from where.';

CREATE INDEX accesses_at ON whatsapp_logs.accesses (at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.accesses_at IS 'A page of the access log, newest first.';
CREATE INDEX accesses_person ON whatsapp_logs.accesses (person, at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.accesses_person IS 'What has somebody looked at; and has the same look just been written down?';
CREATE INDEX accesses_message ON whatsapp_logs.accesses (message_id, at DESC) WHERE message_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.accesses_message IS 'Who has opened this message.';
CREATE INDEX accesses_subjects ON whatsapp_logs.accesses USING gin (subjects);
COMMENT ON INDEX whatsapp_logs.accesses_subjects IS 'Who has looked at this client''s messages, this policy''s, this number''s.';
CREATE INDEX accesses_exported ON whatsapp_logs.accesses (at) WHERE act = 'exported';
COMMENT ON INDEX whatsapp_logs.accesses_exported IS 'Which exports may have held somebody''s messages.';

CREATE FUNCTION whatsapp_logs.keep_accesses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER keep_accesses BEFORE UPDATE OR DELETE ON whatsapp_logs.accesses
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_all_accesses BEFORE TRUNCATE ON whatsapp_logs.accesses
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();
