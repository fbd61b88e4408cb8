-- Conversations: what each customer has said to us, where they stand with the bot, who waits for a person, and what they have sent.

-- One row per customer and number of ours. What the bot remembers of them stands here, so that any worker goes on where another ended.
CREATE TABLE whatsapp_logs.conversations (
    id                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address            text NOT NULL,            -- as in messages.sender; 'erased:' and the id once it is erased
    our_number         text NOT NULL,
    profile_name       text,                     -- what the customer calls themselves on WhatsApp: proves nothing
    client_id          text,                     -- whose number it is, as the portal says: proves nothing either
    last_inbound_id    bigint REFERENCES whatsapp_logs.messages (id),
    last_inbound_at    timestamptz NOT NULL,
    bot                jsonb NOT NULL DEFAULT '{}',  -- step, menu, what its numbers mean, identity; see whatsapp_logs/bot.py
    handed_over_at     timestamptz,              -- since then a person answers, and the bot is silent
    handed_over_to     text,                     -- who has taken it; NULL while nobody has
    handed_over_reason text,
    waiting_since      timestamptz,              -- since then the customer waits for a person's answer
    updated_at         timestamptz NOT NULL DEFAULT now(),
    UNIQUE (address, our_number)
) WITH (fillfactor = 80);
CREATE INDEX conversations_latest ON whatsapp_logs.conversations (last_inbound_at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.conversations_latest IS 'A page of conversations, the latest first (keyset).';
CREATE INDEX conversations_waiting ON whatsapp_logs.conversations (waiting_since, id) WHERE waiting_since IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.conversations_waiting IS 'Who waits for a person, the longest first?';

INSERT INTO whatsapp_logs.conversations (address, our_number, last_inbound_id, last_inbound_at)
SELECT sender, recipient, max(id), max(created_at) FROM whatsapp_logs.messages
WHERE direction = 'inbound' AND sender IS NOT NULL AND erased_at IS NULL
GROUP BY sender, recipient
ORDER BY max(created_at);

-- One row per message of a customer since then: what kind it was, and what became of it. It is answered, or handed over, once.
CREATE TABLE whatsapp_logs.turns (
    message_id      bigint PRIMARY KEY REFERENCES whatsapp_logs.messages (id),
    conversation_id bigint NOT NULL REFERENCES whatsapp_logs.conversations (id),
    kind            text NOT NULL DEFAULT 'text',  -- text, button, file, location, sticker
    payload         text,                          -- of the button or the list's line: ours, or a template's
    replied_sid     text,                          -- the message that it is a reply to
    opt_out_type    text,                          -- Twilio's, where it has answered STOP, START or HELP itself
    received_at     timestamptz NOT NULL,
    done_at         timestamptz,
    outcome         text                           -- answered, handed_over, for_staff, stopped, too_old, too_fast, error
);
CREATE INDEX turns_due ON whatsapp_logs.turns (conversation_id, message_id) WHERE done_at IS NULL;
COMMENT ON INDEX whatsapp_logs.turns_due IS 'What has this customer written that nobody has looked at?';
CREATE INDEX turns_trouble ON whatsapp_logs.turns (done_at) WHERE outcome IN ('error', 'too_fast');
COMMENT ON INDEX whatsapp_logs.turns_trouble IS 'Has the bot failed lately, or talked to a robot?';

-- The files of a customer's message: fetched from the provider by a job, kept in `media`.
CREATE TABLE whatsapp_logs.message_media (
    message_id   bigint NOT NULL REFERENCES whatsapp_logs.messages (id),
    place        smallint NOT NULL,             -- 0, 1, 2 and so on, as in the webhook
    url          text,                          -- at the provider; NULL once it is erased
    claimed_type text,                          -- what the sender says that it is; what it is tells media.content_type
    media_id     uuid REFERENCES whatsapp_logs.media (id) ON DELETE SET NULL,
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'stored', 'failed', 'erased')),
    problem      text,                          -- why it is not there yet, for people
    attempts     integer NOT NULL DEFAULT 0,
    next_try_at  timestamptz,                   -- when it is tried again by itself; NULL where that would be of no use
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (message_id, place)
);
CREATE INDEX message_media_missing ON whatsapp_logs.message_media (updated_at) WHERE state IN ('waiting', 'failed');
COMMENT ON INDEX whatsapp_logs.message_media_missing IS 'Which files have we not got?';
CREATE INDEX message_media_file ON whatsapp_logs.message_media (media_id) WHERE media_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.message_media_file IS 'Does a customer''s message still need this document?';

-- Whatever erases a message (a rule, a request) erases the files that came with it, however many.
CREATE FUNCTION whatsapp_logs.erase_files_of_message() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    files uuid[];
BEGIN
    SELECT array_agg(media_id) INTO files FROM whatsapp_logs.message_media WHERE message_id = NEW.id AND media_id IS NOT NULL;
    UPDATE whatsapp_logs.message_media
    SET state = 'erased', media_id = NULL, url = NULL, problem = NULL, next_try_at = NULL, updated_at = clock_timestamp()
    WHERE message_id = NEW.id;
    DELETE FROM whatsapp_logs.media AS f
    WHERE f.id = ANY (files) AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.media_id = f.id)
      AND NOT EXISTS (SELECT FROM whatsapp_logs.message_media AS m WHERE m.media_id = f.id);
    UPDATE whatsapp_logs.turns SET payload = NULL WHERE message_id = NEW.id AND payload IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER erase_files AFTER UPDATE OF erased_at ON whatsapp_logs.messages
    FOR EACH ROW WHEN (OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL AND NEW.direction = 'inbound')
    EXECUTE FUNCTION whatsapp_logs.erase_files_of_message();

-- Erases who these conversations were with and what the bot remembers of them; returns how many. Their messages are erased by `erase`.
CREATE FUNCTION whatsapp_logs.erase_conversations(addresses text[]) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH erased AS (
        UPDATE whatsapp_logs.conversations AS c
        SET address = 'erased:' || c.id, profile_name = NULL, client_id = NULL, bot = '{}', handed_over_reason = NULL,
            waiting_since = NULL, updated_at = clock_timestamp()
        WHERE c.address = ANY (addresses) AND c.address NOT LIKE 'erased:%'
        RETURNING 1
    )
    SELECT count(*)::integer FROM erased
$$;
