-- Campaigns: a table of recipients becomes messages that one runner hands over at the sender's rate.

CREATE TABLE whatsapp_logs.campaigns (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL,
    state               text NOT NULL DEFAULT 'draft' CHECK (state IN ('draft', 'waiting', 'running', 'paused', 'done', 'canceled')),
    message_type        text NOT NULL DEFAULT 'general',
    template_version_id bigint REFERENCES whatsapp_logs.template_versions (id),
    columns             jsonb NOT NULL DEFAULT '[]',   -- the headers of the office's own table, in order
    mapping             jsonb NOT NULL DEFAULT '{}',   -- {"to": column, "fields": {"1": {"column": n} | {"text": ...}}}
    upload              integer NOT NULL DEFAULT 0,    -- which of the campaign's tables counts: a new one supersedes
    source              text,                          -- the file's name, or the filter in words
    audience            jsonb,                         -- the filter over clients and policies, if it was one
    content_sha256      bytea,                         -- of the table's cells, whatever kind of file it came as
    recipients          integer NOT NULL DEFAULT 0,    -- rows of the table that counts
    forecast            jsonb,                         -- what the last check found, in counts
    checked_at          timestamptz,
    tested_at           timestamptz,
    test_message_id     bigint REFERENCES whatsapp_logs.messages (id),
    retry_of            bigint REFERENCES whatsapp_logs.campaigns (id),
    created_by          text NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    changed_by          text NOT NULL,                 -- whoever chose table, template or fields last
    changed_at          timestamptz NOT NULL DEFAULT now(),
    asked_by            text,
    asked_at            timestamptz,
    released_by         text,
    released_at         timestamptz,
    queued_up_to        integer NOT NULL DEFAULT 0,    -- rows up to here have become messages, or were left out
    stopped_by          text,                          -- whoever paused or canceled it
    ended_at            timestamptz
);
COMMENT ON TABLE whatsapp_logs.campaigns IS 'Bulk sends: what, to how many, who asked, who released, how far.';
CREATE INDEX campaigns_content ON whatsapp_logs.campaigns (content_sha256) WHERE content_sha256 IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.campaigns_content IS 'Was this very table sent before?';
CREATE INDEX campaigns_running ON whatsapp_logs.campaigns (id) WHERE state = 'running';
COMMENT ON INDEX whatsapp_logs.campaigns_running IS 'What the runner works at.';
CREATE INDEX campaigns_retry ON whatsapp_logs.campaigns (retry_of) WHERE retry_of IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.campaigns_retry IS 'The campaigns that tried the failed ones of another again.';

CREATE TABLE whatsapp_logs.campaign_recipients (
    campaign_id bigint NOT NULL REFERENCES whatsapp_logs.campaigns (id),
    upload      integer NOT NULL,
    position    integer NOT NULL,                      -- the row's number in the table, the first one under the headers is 1
    cells       jsonb NOT NULL,                        -- as uploaded
    address     text,                                  -- E.164; NULL before the check, and for a number that is none
    client_id   text,
    policy_id   text,
    variables   jsonb,
    problem     text,                                  -- why it is left out: a code and a sentence
    reason      text,
    resend_of   bigint,                                -- the failed message that this one tries again
    message_id  bigint REFERENCES whatsapp_logs.messages (id),
    due_at      timestamptz,                           -- since when, or from when on, its message waits for the runner
    PRIMARY KEY (campaign_id, upload, position)
) WITH (fillfactor = 80);
CREATE INDEX campaign_recipients_due ON whatsapp_logs.campaign_recipients (campaign_id, due_at, position) WHERE due_at IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.campaign_recipients_due IS 'The next messages to hand over.';
CREATE INDEX campaign_recipients_problem ON whatsapp_logs.campaign_recipients (campaign_id, upload, position) WHERE problem IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.campaign_recipients_problem IS 'The rows that are left out.';
CREATE INDEX campaign_recipients_address ON whatsapp_logs.campaign_recipients (address) WHERE address IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.campaign_recipients_address IS 'Where does a number that is to be erased stand?';
CREATE INDEX campaign_recipients_message ON whatsapp_logs.campaign_recipients (message_id) WHERE message_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.campaign_recipients_message IS 'The row that a message came from.';

-- Whoever holds a number's row may hand campaigns' messages over from it: two campaigns share the rate that the number has.
CREATE TABLE whatsapp_logs.senders (
    our_number   text PRIMARY KEY,
    runner       uuid,
    heartbeat_at timestamptz,
    resume_at    timestamptz,                          -- nothing is handed over before: the provider is busy, or the day's limit reached
    reason       text,
    failures     integer NOT NULL DEFAULT 0            -- answers in a row that say "not now"
);

ALTER TABLE whatsapp_logs.messages ADD CONSTRAINT messages_campaign
    FOREIGN KEY (campaign_id) REFERENCES whatsapp_logs.campaigns (id) NOT VALID;
CREATE INDEX messages_campaign ON whatsapp_logs.messages (campaign_id, created_at DESC, id DESC) WHERE campaign_id IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.messages_campaign IS 'A campaign''s messages, newest first; how many stand where.';

-- Erases what the tables of campaigns say of these numbers; a message that still waits keeps what it needs until it has left.
CREATE FUNCTION whatsapp_logs.erase_campaign_rows(addresses text[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    erased integer;
BEGIN
    UPDATE whatsapp_logs.campaign_recipients AS r
    SET cells = '[]', address = 'erased', client_id = NULL, policy_id = NULL, variables = NULL,
        reason = CASE WHEN r.problem IS NULL THEN NULL ELSE 'Erased.' END
    WHERE r.address = ANY (addresses) AND r.due_at IS NULL
      AND NOT EXISTS (SELECT FROM whatsapp_logs.campaigns AS c WHERE c.id = r.campaign_id AND c.upload = r.upload AND r.message_id IS NULL
                      AND r.problem IS NULL AND c.state IN ('waiting', 'running', 'paused'));
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$;

-- Erases the tables of campaigns that ended, or that nobody touched, before then; the messages keep what the log keeps of them.
CREATE FUNCTION whatsapp_logs.erase_campaign_tables(before timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    erased integer;
BEGIN
    UPDATE whatsapp_logs.campaign_recipients AS r
    SET cells = '[]', address = CASE WHEN r.address IS NULL THEN NULL ELSE 'erased' END, client_id = NULL, policy_id = NULL,
        variables = NULL, reason = CASE WHEN r.problem IS NULL THEN NULL ELSE 'Erased.' END
    FROM whatsapp_logs.campaigns AS c
    WHERE c.id = r.campaign_id AND r.cells <> '[]' AND r.due_at IS NULL
      AND (c.ended_at < before OR (c.state = 'draft' AND c.changed_at < before) OR (r.upload < c.upload AND c.changed_at < before));
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $$;
