-- The catalogue of templates: what Twilio said of each version and when, and how often one is used.

CREATE TABLE whatsapp_logs.template_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version_id bigint NOT NULL REFERENCES whatsapp_logs.template_versions (id),
    approval   text NOT NULL,                    -- what it was from then on
    category   text NOT NULL,
    reason     text,                             -- of a rejection, in WhatsApp's words
    told_by    text NOT NULL,                    -- twilio, or the member of staff who submitted it
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE whatsapp_logs.template_events IS 'Append-only: how a version''s approval and category changed, and when we heard of it.';
CREATE INDEX template_events_version ON whatsapp_logs.template_events (version_id, id);
COMMENT ON INDEX whatsapp_logs.template_events_version IS 'What became of this version of a template?';
CREATE TRIGGER keep_template_events BEFORE UPDATE OR DELETE ON whatsapp_logs.template_events
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_all_template_events BEFORE TRUNCATE ON whatsapp_logs.template_events
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();

-- One row: when Twilio was last asked for its templates.
CREATE TABLE whatsapp_logs.template_sync (
    id         boolean PRIMARY KEY DEFAULT true CHECK (id),
    asked_at   timestamptz,                      -- the last attempt
    asked_by   text,                             -- a member of staff; NULL for the clock
    checked_at timestamptz,                      -- the last one that was answered
    listed     integer,                          -- how many templates that answer held
    problem    text,                             -- why the last attempt had no answer
    wanted_at  timestamptz                       -- a message failed because of its template: ask at once
);
INSERT INTO whatsapp_logs.template_sync DEFAULT VALUES;

ALTER TABLE whatsapp_logs.template_versions
    ADD CONSTRAINT template_versions_lists CHECK (jsonb_typeof(variables) = 'array' AND jsonb_typeof(actions) = 'array');
CREATE UNIQUE INDEX template_versions_draft ON whatsapp_logs.template_versions (template_id) WHERE approval = 'draft';
COMMENT ON INDEX whatsapp_logs.template_versions_draft IS 'A template has one draft, which becomes its next version.';

-- A version is written once, with its message: the index costs no later update anything (HOT).
CREATE INDEX messages_template_version ON whatsapp_logs.messages (template_version_id, created_at DESC)
    WHERE template_version_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.messages_template_version IS 'How often was this template used lately, and when last?';
