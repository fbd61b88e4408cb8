-- The bot's questions with buttons and lists: the shapes that Twilio keeps for them. And who is writing an answer just now.

-- One row per shape: so many lines of text, so many choices. Nothing personal: every word is a field of the message that uses it.
CREATE TABLE whatsapp_logs.interactive_contents (
    name        text PRIMARY KEY,
    content     jsonb NOT NULL,    -- as it is given to Twilio's Content API
    content_sid text UNIQUE,       -- Twilio's id; NULL until it is made, and its questions are sent as text
    wanted_at   timestamptz NOT NULL DEFAULT now(),
    tried_at    timestamptz,
    problem     text               -- why Twilio does not take it
);
CREATE INDEX interactive_contents_wanted ON whatsapp_logs.interactive_contents (name) WHERE content_sid IS NULL;
COMMENT ON INDEX whatsapp_logs.interactive_contents_wanted IS 'Which shapes are to be made?';

-- One row per conversation and person: when they last wrote on an answer; the row is used again, '-infinity' once it is sent.
CREATE TABLE whatsapp_logs.answering_now (
    conversation_id bigint NOT NULL REFERENCES whatsapp_logs.conversations (id),
    person          text NOT NULL,
    written_at      timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, person)
) WITH (fillfactor = 70);
