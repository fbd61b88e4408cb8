-- What may be sent to whom: each customer's last word to us, what they agreed to, the templates, and the way by which a message left.

ALTER TABLE whatsapp_logs.messages
    ADD COLUMN path                text NOT NULL DEFAULT 'single',  -- single, reply, bot, again, scheduled, campaign, renewal
    ADD COLUMN confirmed           text[],                          -- doubts of the gate that a person has seen and answered
    ADD COLUMN timezone            text,                            -- the recipient's, where it is known better than by the number
    ADD COLUMN template_version_id bigint,
    ADD COLUMN campaign_id         bigint;

-- One row per customer and number of ours; moved by every message of theirs, and by those of ours that begin a conversation.
CREATE TABLE whatsapp_logs.contacts (
    address           text NOT NULL,
    our_number        text NOT NULL,
    last_inbound_at   timestamptz,               -- the provider's time: opens the window of 24 hours
    last_initiated_at timestamptz,               -- our last message outside a window: counts against the daily limit
    PRIMARY KEY (address, our_number)
) WITH (fillfactor = 80);
CREATE INDEX contacts_initiated ON whatsapp_logs.contacts (our_number, last_initiated_at) WHERE last_initiated_at IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.contacts_initiated IS 'How many customers did this number write to first within a day?';
INSERT INTO whatsapp_logs.contacts (address, our_number, last_inbound_at)
SELECT sender, recipient, max(created_at) FROM whatsapp_logs.messages
WHERE direction = 'inbound' AND created_at > now() - interval '2 days' AND sender IS NOT NULL AND erased_at IS NULL
GROUP BY sender, recipient;

CREATE TABLE whatsapp_logs.consent_events (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address     text NOT NULL,                   -- E.164 or a WhatsApp user id, without prefix
    client_id   text,                            -- as the portal calls them, where it is known
    kind        text NOT NULL CHECK (kind IN ('opt_in', 'opt_out')),
    scope       text NOT NULL DEFAULT 'all' CHECK (scope IN ('all', 'marketing')),
    source      text NOT NULL,                   -- stop_word, start_word, opt_out_type, error_21610, error_63014, staff, import
    wording     text,                            -- what they wrote, or what they agreed to
    message_id  bigint REFERENCES whatsapp_logs.messages (id),
    recorded_by text NOT NULL,                   -- a member of staff, or twilio, or the customer
    happened_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE whatsapp_logs.consent_events IS 'Append-only: who agreed to what, or asked us to stop, when and in which words. The latest of a scope holds.';
CREATE INDEX consent_events_address ON whatsapp_logs.consent_events (address, scope, happened_at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.consent_events_address IS 'May we write to this number, and about what?';
CREATE INDEX consent_events_client ON whatsapp_logs.consent_events (client_id, id DESC) WHERE client_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.consent_events_client IS 'What has this client agreed to?';
CREATE INDEX consent_events_at ON whatsapp_logs.consent_events (happened_at DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.consent_events_at IS 'A page of the ledger, newest first.';
CREATE UNIQUE INDEX consent_events_message ON whatsapp_logs.consent_events (message_id, source) WHERE message_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.consent_events_message IS 'A message that told us so has told it once.';
CREATE TRIGGER keep_consent_events BEFORE UPDATE OR DELETE ON whatsapp_logs.consent_events
    FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_all_consent_events BEFORE TRUNCATE ON whatsapp_logs.consent_events
    FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();

CREATE TABLE whatsapp_logs.templates (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,                   -- Twilio's friendly_name: small letters, digits, underscores
    language    text NOT NULL DEFAULT 'en',
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz,
    archived_by text,
    UNIQUE (name, language)
);
CREATE TABLE whatsapp_logs.template_versions (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    template_id      bigint NOT NULL REFERENCES whatsapp_logs.templates (id),
    version          integer NOT NULL,
    content_sid      text UNIQUE,                -- HX and 32 digits; NULL until Twilio has it
    content_type     text NOT NULL,              -- twilio/text, twilio/media, twilio/quick-reply and others
    body             text NOT NULL,
    media_url        text,                       -- of a twilio/media template, with its placeholder
    media_variable   text,                       -- the placeholder that takes the media link's path
    actions          jsonb NOT NULL DEFAULT '[]',
    variables        jsonb NOT NULL DEFAULT '[]', -- in order: {"key": "1", "name": "client name", "sample": "Asha Example"}
    category         text NOT NULL DEFAULT 'UTILITY', -- UTILITY, MARKETING, AUTHENTICATION; as approved, once it is
    approval         text NOT NULL DEFAULT 'draft',   -- draft, unsubmitted, received, pending, approved, rejected, paused, disabled, deleted
    rejection_reason text,
    created_by       text NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    submitted_by     text,
    submitted_at     timestamptz,
    decided_at       timestamptz,                -- when the approval last changed
    checked_at       timestamptz,                -- when Twilio was last asked
    UNIQUE (template_id, version)
);
COMMENT ON TABLE whatsapp_logs.template_versions IS 'What a template said, version by version: content never changes, what Twilio thinks of it does.';
ALTER TABLE whatsapp_logs.messages ADD CONSTRAINT messages_template_version
    FOREIGN KEY (template_version_id) REFERENCES whatsapp_logs.template_versions (id) NOT VALID;

CREATE OR REPLACE FUNCTION whatsapp_logs.grant_to(wanted name) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found   record;
    allowed text;
BEGIN
    INSERT INTO whatsapp_logs.granted_roles (role) VALUES (wanted) ON CONFLICT DO NOTHING;
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA whatsapp_logs FROM %I', wanted);
    EXECUTE format('GRANT USAGE ON SCHEMA whatsapp_logs TO %I', wanted);
    FOR found IN SELECT oid, relname FROM pg_class WHERE relnamespace = 'whatsapp_logs'::regnamespace AND relkind IN ('r', 'p') LOOP
        allowed := CASE
            WHEN found.relname IN ('migrations', 'granted_roles', 'erased_days') THEN 'SELECT'
            -- What a trigger keeps from being changed is append-only for whoever works with the log, too.
            WHEN EXISTS (SELECT FROM pg_trigger WHERE tgrelid = found.oid AND tgname LIKE 'keep\_%') THEN 'SELECT, INSERT'
            WHEN found.relname LIKE 'procrastinate%' OR found.relname IN (
                'count_deltas', 'counts', 'count_totals', 'rare_statuses', 'addresses', 'refused_calls', 'self_tests', 'phone_searches'
            ) THEN 'SELECT, INSERT, UPDATE, DELETE'
            ELSE 'SELECT, INSERT, UPDATE'
        END;
        EXECUTE format('GRANT %s ON whatsapp_logs.%I TO %I', allowed, found.relname, wanted);
        -- Row-level security keeps out whoever is granted a table by mistake; whom we grant it, sees every row.
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = found.oid AND polname = wanted AND polcmd = '*') THEN
            EXECUTE format('DROP POLICY IF EXISTS %I ON whatsapp_logs.%I', wanted, found.relname);
            EXECUTE format('CREATE POLICY %I ON whatsapp_logs.%I TO %I USING (true) WITH CHECK (true)', wanted, found.relname, wanted);
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA whatsapp_logs TO %I', wanted);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA whatsapp_logs TO %I', wanted);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION whatsapp_logs.grant_to(name) FROM %I', wanted);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON public.whatsapp_logs TO %I', wanted);
END $$;
