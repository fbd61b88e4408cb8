-- The schema of WhatsApp Logs as a migrated database has it. Generated, for reading: what is applied are the migrations.
--     python run_whatsapp_migration.py --describe > docs/schema.sql
-- Left out: the functions and triggers of the job queue, which are procrastinate's.

CREATE TYPE whatsapp_logs.status AS ENUM (
    'scheduled',
    'queued',
    'sending',
    'sent',
    'canceled',
    'failed',
    'undelivered',
    'delivered',
    'read',
    'received'
);

CREATE TYPE whatsapp_logs.procrastinate_job_event_type AS ENUM (
    'deferred',
    'started',
    'deferred_for_retry',
    'failed',
    'succeeded',
    'cancelled',
    'abort_requested',
    'aborted',
    'scheduled',
    'retried'
);

CREATE TYPE whatsapp_logs.procrastinate_job_status AS ENUM (
    'todo',
    'doing',
    'succeeded',
    'failed',
    'cancelled',
    'aborting',
    'aborted'
);

CREATE TABLE whatsapp_logs.accesses (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    person text NOT NULL,
    act text NOT NULL,
    message_id bigint,
    subjects text[] DEFAULT '{}'::text[] NOT NULL,
    about jsonb DEFAULT '{}'::jsonb NOT NULL,
    address text,
    CONSTRAINT accesses_pkey PRIMARY KEY (id),
    CONSTRAINT accesses_act_check CHECK ((act = ANY (ARRAY['opened'::text, 'document'::text, 'link'::text, 'searched'::text, 'listed'::text, 'exported'::text, 'access_log'::text])))
);
CREATE INDEX accesses_act ON whatsapp_logs.accesses USING btree (act, at DESC, id DESC);
    -- Who has exported, who has used a link; and which exports may have held somebody's messages.
CREATE INDEX accesses_at ON whatsapp_logs.accesses USING btree (at DESC, id DESC);
    -- A page of the access log, newest first.
CREATE INDEX accesses_message ON whatsapp_logs.accesses USING btree (message_id, at DESC) WHERE (message_id IS NOT NULL);
    -- Who has opened this message.
CREATE INDEX accesses_person ON whatsapp_logs.accesses USING btree (person, at DESC, id DESC);
    -- What has somebody looked at; and has the same look just been written down?
CREATE INDEX accesses_subjects ON whatsapp_logs.accesses USING gin (subjects);
    -- Who has looked at this client's messages, this policy's, this number's.
CREATE TRIGGER keep_accesses BEFORE DELETE OR UPDATE ON whatsapp_logs.accesses FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_all_accesses BEFORE TRUNCATE ON whatsapp_logs.accesses FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();

CREATE TABLE whatsapp_logs.addresses (
    address text NOT NULL,
    digits text GENERATED ALWAYS AS (regexp_replace(address, '[^0-9]'::text, ''::text, 'g'::text)) STORED NOT NULL,
    grams text[] NOT NULL,
    CONSTRAINT addresses_pkey PRIMARY KEY (address)
);
CREATE INDEX addresses_grams ON whatsapp_logs.addresses USING gin (grams);
    -- Which numbers contain these digits?

CREATE TABLE whatsapp_logs.answering_now (
    conversation_id bigint NOT NULL,
    person text NOT NULL,
    written_at timestamp with time zone NOT NULL,
    CONSTRAINT answering_now_pkey PRIMARY KEY (conversation_id, person),
    CONSTRAINT answering_now_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES whatsapp_logs.conversations(id)
) WITH (fillfactor=70);

CREATE TABLE whatsapp_logs.api_tokens (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    name text NOT NULL,
    token_hash bytea NOT NULL,
    rights text[] NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    last_used_at timestamp with time zone,
    last_used_from text,
    revoked_at timestamp with time zone,
    revoked_by text,
    CONSTRAINT api_tokens_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX api_tokens_hash ON whatsapp_logs.api_tokens USING btree (token_hash);
    -- Whose token a call carries.

CREATE TABLE whatsapp_logs.campaign_recipients (
    campaign_id bigint NOT NULL,
    upload integer NOT NULL,
    "position" integer NOT NULL,
    cells jsonb NOT NULL,
    address text,
    client_id text,
    policy_id text,
    variables jsonb,
    problem text,
    reason text,
    resend_of bigint,
    message_id bigint,
    due_at timestamp with time zone,
    CONSTRAINT campaign_recipients_pkey PRIMARY KEY (campaign_id, upload, "position"),
    CONSTRAINT campaign_recipients_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES whatsapp_logs.campaigns(id),
    CONSTRAINT campaign_recipients_message_id_fkey FOREIGN KEY (message_id) REFERENCES whatsapp_logs.messages(id)
) WITH (fillfactor=80);
CREATE INDEX campaign_recipients_address ON whatsapp_logs.campaign_recipients USING btree (address) WHERE (address IS NOT NULL);
    -- Where does a number that is to be erased stand?
CREATE INDEX campaign_recipients_client ON whatsapp_logs.campaign_recipients USING btree (client_id) WHERE (client_id IS NOT NULL);
    -- Where does a client who is to be erased stand?
CREATE INDEX campaign_recipients_due ON whatsapp_logs.campaign_recipients USING btree (campaign_id, due_at, "position") WHERE (due_at IS NOT NULL);
    -- The next messages to hand over.
CREATE INDEX campaign_recipients_message ON whatsapp_logs.campaign_recipients USING btree (message_id) WHERE (message_id IS NOT NULL);
    -- The row that a message came from.
CREATE INDEX campaign_recipients_problem ON whatsapp_logs.campaign_recipients USING btree (campaign_id, upload, "position") WHERE (problem IS NOT NULL);
    -- The rows that are left out.
CREATE INDEX campaign_recipients_unread ON whatsapp_logs.campaign_recipients USING btree (campaign_id, upload, "position") WHERE ((address IS NULL) AND (client_id IS NULL) AND (cells <> '[]'::jsonb));
    -- Rows whose number nobody has read yet, or could: they are searched digit by digit.

CREATE TABLE whatsapp_logs.campaigns (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    name text NOT NULL,
    state text DEFAULT 'draft'::text NOT NULL,
    message_type text DEFAULT 'general'::text NOT NULL,
    template_version_id bigint,
    columns jsonb DEFAULT '[]'::jsonb NOT NULL,
    mapping jsonb DEFAULT '{}'::jsonb NOT NULL,
    upload integer DEFAULT 0 NOT NULL,
    source text,
    audience jsonb,
    content_sha256 bytea,
    recipients integer DEFAULT 0 NOT NULL,
    forecast jsonb,
    checked_at timestamp with time zone,
    tested_at timestamp with time zone,
    test_message_id bigint,
    retry_of bigint,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    asked_by text,
    asked_at timestamp with time zone,
    released_by text,
    released_at timestamp with time zone,
    queued_up_to integer DEFAULT 0 NOT NULL,
    stopped_by text,
    ended_at timestamp with time zone,
    check_asked_at timestamp with time zone,
    checked_up_to integer DEFAULT 0 NOT NULL,
    prepared_by text[] DEFAULT '{}'::text[] NOT NULL,
    CONSTRAINT campaigns_pkey PRIMARY KEY (id),
    CONSTRAINT campaigns_state_check CHECK ((state = ANY (ARRAY['draft'::text, 'waiting'::text, 'running'::text, 'paused'::text, 'done'::text, 'canceled'::text]))),
    CONSTRAINT campaigns_retry_of_fkey FOREIGN KEY (retry_of) REFERENCES whatsapp_logs.campaigns(id),
    CONSTRAINT campaigns_template_version_id_fkey FOREIGN KEY (template_version_id) REFERENCES whatsapp_logs.template_versions(id),
    CONSTRAINT campaigns_test_message_id_fkey FOREIGN KEY (test_message_id) REFERENCES whatsapp_logs.messages(id)
);
CREATE INDEX campaigns_content ON whatsapp_logs.campaigns USING btree (content_sha256) WHERE (content_sha256 IS NOT NULL);
    -- Was this very table sent before?
CREATE INDEX campaigns_retry ON whatsapp_logs.campaigns USING btree (retry_of) WHERE (retry_of IS NOT NULL);
    -- The campaigns that tried the failed ones of another again.
CREATE INDEX campaigns_running ON whatsapp_logs.campaigns USING btree (id) WHERE (state = 'running'::text);
    -- What the runner works at.

CREATE TABLE whatsapp_logs.consent_events (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    address text NOT NULL,
    client_id text,
    kind text NOT NULL,
    scope text DEFAULT 'all'::text NOT NULL,
    source text NOT NULL,
    wording text,
    message_id bigint,
    recorded_by text NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT consent_events_pkey PRIMARY KEY (id),
    CONSTRAINT consent_events_kind_check CHECK ((kind = ANY (ARRAY['opt_in'::text, 'opt_out'::text]))),
    CONSTRAINT consent_events_scope_check CHECK ((scope = ANY (ARRAY['all'::text, 'marketing'::text]))),
    CONSTRAINT consent_events_message_id_fkey FOREIGN KEY (message_id) REFERENCES whatsapp_logs.messages(id)
);
CREATE INDEX consent_events_address ON whatsapp_logs.consent_events USING btree (address, scope, happened_at DESC, id DESC);
    -- May we write to this number, and about what?
CREATE INDEX consent_events_at ON whatsapp_logs.consent_events USING btree (happened_at DESC, id DESC);
    -- A page of the ledger, newest first.
CREATE INDEX consent_events_client ON whatsapp_logs.consent_events USING btree (client_id, id DESC) WHERE (client_id IS NOT NULL);
    -- What has this client agreed to?
CREATE UNIQUE INDEX consent_events_message ON whatsapp_logs.consent_events USING btree (message_id, source) WHERE (message_id IS NOT NULL);
    -- A message that told us so has told it once.
CREATE TRIGGER keep_all_consent_events BEFORE TRUNCATE ON whatsapp_logs.consent_events FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_consent_events BEFORE DELETE OR UPDATE ON whatsapp_logs.consent_events FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();

CREATE TABLE whatsapp_logs.contacts (
    address text NOT NULL,
    our_number text NOT NULL,
    last_inbound_at timestamp with time zone,
    last_initiated_at timestamp with time zone,
    CONSTRAINT contacts_pkey PRIMARY KEY (address, our_number)
) WITH (fillfactor=80);
CREATE INDEX contacts_initiated ON whatsapp_logs.contacts USING btree (our_number, last_initiated_at) WHERE (last_initiated_at IS NOT NULL);
    -- How many customers did this number write to first within a day?

CREATE TABLE whatsapp_logs.conversations (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    address text NOT NULL,
    our_number text NOT NULL,
    profile_name text,
    client_id text,
    last_inbound_id bigint,
    last_inbound_at timestamp with time zone NOT NULL,
    bot jsonb DEFAULT '{}'::jsonb NOT NULL,
    handed_over_at timestamp with time zone,
    handed_over_to text,
    handed_over_reason text,
    waiting_since timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT conversations_pkey PRIMARY KEY (id),
    CONSTRAINT conversations_address_our_number_key UNIQUE (address, our_number),
    CONSTRAINT conversations_last_inbound_id_fkey FOREIGN KEY (last_inbound_id) REFERENCES whatsapp_logs.messages(id)
) WITH (fillfactor=80);
CREATE INDEX conversations_latest ON whatsapp_logs.conversations USING btree (last_inbound_at DESC, id DESC);
    -- A page of conversations, the latest first (keyset).
CREATE INDEX conversations_waiting ON whatsapp_logs.conversations USING btree (waiting_since, id) WHERE (waiting_since IS NOT NULL);
    -- Who waits for a person, the longest first?

CREATE TABLE whatsapp_logs.count_deltas (
    day date NOT NULL,
    direction text NOT NULL,
    channel text NOT NULL,
    message_type text NOT NULL,
    status whatsapp_logs.status NOT NULL,
    n bigint NOT NULL
);

CREATE TABLE whatsapp_logs.count_totals (
    direction text NOT NULL,
    channel text NOT NULL,
    message_type text NOT NULL,
    status whatsapp_logs.status NOT NULL,
    n bigint NOT NULL,
    CONSTRAINT count_totals_pkey PRIMARY KEY (direction, channel, message_type, status)
);

CREATE TABLE whatsapp_logs.counts (
    day date NOT NULL,
    direction text NOT NULL,
    channel text NOT NULL,
    message_type text NOT NULL,
    status whatsapp_logs.status NOT NULL,
    n bigint NOT NULL,
    CONSTRAINT counts_pkey PRIMARY KEY (day, direction, channel, message_type, status)
);

CREATE TABLE whatsapp_logs.erased_days (
    message_type text NOT NULL,
    day date NOT NULL,
    n integer NOT NULL,
    CONSTRAINT erased_days_pkey PRIMARY KEY (message_type, day)
);

CREATE TABLE whatsapp_logs.erasures (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    kind text NOT NULL,
    what text NOT NULL,
    reason text,
    person text NOT NULL,
    erased integer NOT NULL,
    held integer NOT NULL,
    campaign_rows integer DEFAULT 0 NOT NULL,
    CONSTRAINT erasures_pkey PRIMARY KEY (id),
    CONSTRAINT erasures_kind_check CHECK ((kind = ANY (ARRAY['retention'::text, 'request'::text])))
);
CREATE TRIGGER keep_all_erasures BEFORE TRUNCATE ON whatsapp_logs.erasures FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_erasures BEFORE DELETE OR UPDATE ON whatsapp_logs.erasures FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();

CREATE TABLE whatsapp_logs.granted_roles (
    role name NOT NULL,
    granted_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT granted_roles_pkey PRIMARY KEY (role)
);

CREATE TABLE whatsapp_logs.interactive_contents (
    name text NOT NULL,
    content jsonb NOT NULL,
    content_sid text,
    wanted_at timestamp with time zone DEFAULT now() NOT NULL,
    tried_at timestamp with time zone,
    problem text,
    CONSTRAINT interactive_contents_pkey PRIMARY KEY (name),
    CONSTRAINT interactive_contents_content_sid_key UNIQUE (content_sid)
);
CREATE INDEX interactive_contents_wanted ON whatsapp_logs.interactive_contents USING btree (name) WHERE (content_sid IS NULL);
    -- Which shapes are to be made?

CREATE TABLE whatsapp_logs.legal_holds (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    client_id text,
    policy_id text,
    reason text NOT NULL,
    placed_by text NOT NULL,
    placed_at timestamp with time zone DEFAULT now() NOT NULL,
    lifted_by text,
    lifted_at timestamp with time zone,
    CONSTRAINT legal_holds_pkey PRIMARY KEY (id),
    CONSTRAINT legal_holds_check CHECK ((num_nonnulls(client_id, policy_id) = 1))
);
CREATE INDEX legal_holds_client ON whatsapp_logs.legal_holds USING btree (client_id) WHERE (lifted_at IS NULL);
    -- Is this client's message held?
CREATE INDEX legal_holds_policy ON whatsapp_logs.legal_holds USING btree (policy_id) WHERE (lifted_at IS NULL);
    -- Is this policy's message held?

CREATE TABLE whatsapp_logs.media (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    content bytea NOT NULL,
    content_type text NOT NULL,
    filename text NOT NULL,
    sha256 bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT media_pkey PRIMARY KEY (id)
);

CREATE TABLE whatsapp_logs.message_media (
    message_id bigint NOT NULL,
    place smallint NOT NULL,
    url text,
    claimed_type text,
    media_id uuid,
    state text DEFAULT 'waiting'::text NOT NULL,
    problem text,
    attempts integer DEFAULT 0 NOT NULL,
    next_try_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT message_media_pkey PRIMARY KEY (message_id, place),
    CONSTRAINT message_media_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'stored'::text, 'failed'::text, 'erased'::text]))),
    CONSTRAINT message_media_media_id_fkey FOREIGN KEY (media_id) REFERENCES whatsapp_logs.media(id) ON DELETE SET NULL,
    CONSTRAINT message_media_message_id_fkey FOREIGN KEY (message_id) REFERENCES whatsapp_logs.messages(id)
);
CREATE INDEX message_media_file ON whatsapp_logs.message_media USING btree (media_id) WHERE (media_id IS NOT NULL);
    -- Does a customer's message still need this document?
CREATE INDEX message_media_missing ON whatsapp_logs.message_media USING btree (updated_at) WHERE (state = ANY (ARRAY['waiting'::text, 'failed'::text]));
    -- Which files have we not got?

CREATE TABLE whatsapp_logs.messages (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    direction text DEFAULT 'outbound'::text NOT NULL,
    channel text DEFAULT 'whatsapp'::text NOT NULL,
    message_type text DEFAULT 'general'::text NOT NULL,
    recipient text NOT NULL,
    sender text,
    body text,
    media_url text,
    media_id uuid,
    template_sid text,
    template_name text,
    media_variable text,
    variables jsonb,
    status whatsapp_logs.status DEFAULT 'queued'::whatsapp_logs.status NOT NULL,
    provider text DEFAULT 'twilio'::text NOT NULL,
    provider_id text,
    error_code text,
    error_message text,
    price numeric,
    price_unit text,
    num_segments integer,
    created_by text,
    request_key text,
    send_at timestamp with time zone,
    claimed_at timestamp with time zone,
    unconfirmed_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    retry_at timestamp with time zone,
    wait_reason text,
    sent_at timestamp with time zone,
    delivered_at timestamp with time zone,
    read_at timestamp with time zone,
    failed_at timestamp with time zone,
    last_status_check timestamp with time zone,
    resend_of bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    client_id integer,
    policy_id integer,
    erased_at timestamp with time zone,
    path text DEFAULT 'single'::text NOT NULL,
    confirmed text[],
    timezone text,
    template_version_id bigint,
    campaign_id bigint,
    CONSTRAINT messages_pkey PRIMARY KEY (id),
    CONSTRAINT messages_direction_check CHECK ((direction = ANY (ARRAY['outbound'::text, 'inbound'::text]))),
    CONSTRAINT messages_failure_has_a_time CHECK (((failed_at IS NOT NULL) OR (status <> ALL (ARRAY['failed'::whatsapp_logs.status, 'undelivered'::whatsapp_logs.status, 'canceled'::whatsapp_logs.status])))),
    CONSTRAINT messages_campaign FOREIGN KEY (campaign_id) REFERENCES whatsapp_logs.campaigns(id) NOT VALID,
    CONSTRAINT messages_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.clients(client_id) ON DELETE SET NULL,
    CONSTRAINT messages_media_id_fkey FOREIGN KEY (media_id) REFERENCES whatsapp_logs.media(id),
    CONSTRAINT messages_policy_id_fkey FOREIGN KEY (policy_id) REFERENCES public.policies(policy_id) ON DELETE SET NULL,
    CONSTRAINT messages_resend_of_fkey FOREIGN KEY (resend_of) REFERENCES whatsapp_logs.messages(id),
    CONSTRAINT messages_template_version FOREIGN KEY (template_version_id) REFERENCES whatsapp_logs.template_versions(id) NOT VALID
) WITH (fillfactor=80);
CREATE INDEX messages_campaign ON whatsapp_logs.messages USING btree (campaign_id, created_at DESC, id DESC) WHERE (campaign_id IS NOT NULL);
    -- A campaign's messages, newest first; how many stand where.
CREATE INDEX messages_client ON whatsapp_logs.messages USING btree (client_id, created_at DESC, id DESC) WHERE (client_id IS NOT NULL);
    -- A client's messages, newest first; clearing them when a client is deleted.
CREATE INDEX messages_created ON whatsapp_logs.messages USING btree (created_at DESC, id DESC);
    -- A page of the log, newest first (keyset).
CREATE INDEX messages_erased ON whatsapp_logs.messages USING btree (erased_at) WHERE (erased_at IS NOT NULL);
    -- What was erased lately: reports that came since are erased too.
CREATE INDEX messages_failed_to ON whatsapp_logs.messages USING btree (recipient, created_at DESC, id DESC) WHERE ((failed_at IS NOT NULL) AND (direction = 'outbound'::text));
    -- What failed to reach some numbers.
CREATE INDEX messages_inbound ON whatsapp_logs.messages USING btree (created_at DESC, id DESC) WHERE (direction = 'inbound'::text);
    -- A page of what customers wrote, newest first: a few rows among millions sent.
CREATE INDEX messages_media ON whatsapp_logs.messages USING btree (media_id) WHERE (media_id IS NOT NULL);
    -- Does any message still need this document?
CREATE INDEX messages_policy ON whatsapp_logs.messages USING btree (policy_id, created_at DESC, id DESC) WHERE (policy_id IS NOT NULL);
    -- A policy's messages, newest first; clearing them when a policy is deleted.
CREATE UNIQUE INDEX messages_provider_id ON whatsapp_logs.messages USING btree (provider_id);
    -- Which message does this callback or refreshed SID belong to?
CREATE UNIQUE INDEX messages_request_key ON whatsapp_logs.messages USING btree (request_key) WHERE (request_key IS NOT NULL);
    -- Was this very request queued before?
CREATE INDEX messages_resend_of ON whatsapp_logs.messages USING btree (resend_of) WHERE (resend_of IS NOT NULL);
    -- Was this failed message sent again, and as which one?
CREATE INDEX messages_send_at ON whatsapp_logs.messages USING btree (send_at) WHERE (send_at IS NOT NULL);
    -- Which scheduled messages belong to the day that is reconciled?
CREATE INDEX messages_sender ON whatsapp_logs.messages USING btree (sender, created_at DESC, id DESC) WHERE (direction = 'inbound'::text);
    -- A customer's latest answers.
CREATE INDEX messages_sent_to ON whatsapp_logs.messages USING btree (recipient, created_at DESC, id DESC) WHERE (direction = 'outbound'::text);
    -- A page of some numbers' messages, from this index alone; a number's last message.
CREATE INDEX messages_template_version ON whatsapp_logs.messages USING btree (template_version_id, created_at DESC) WHERE (template_version_id IS NOT NULL);
    -- How often was this template used lately, and when last?
CREATE INDEX messages_timed_to ON whatsapp_logs.messages USING btree (recipient, send_at) WHERE ((send_at IS NOT NULL) AND (direction = 'outbound'::text));
    -- What is due to a number, or left, within a day, however long ago it was asked for.
CREATE INDEX messages_type ON whatsapp_logs.messages USING btree (message_type, created_at DESC, id DESC);
    -- A page of a type that is rare: walking the time index would look at all others.
CREATE TRIGGER erase_files AFTER UPDATE OF erased_at ON whatsapp_logs.messages FOR EACH ROW WHEN (((old.erased_at IS NULL) AND (new.erased_at IS NOT NULL) AND (new.direction = 'inbound'::text))) EXECUTE FUNCTION whatsapp_logs.erase_files_of_message();
CREATE TRIGGER follow_delete AFTER DELETE ON whatsapp_logs.messages REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.follow_delete();
CREATE TRIGGER follow_insert AFTER INSERT ON whatsapp_logs.messages REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.follow_insert();
CREATE TRIGGER follow_update AFTER UPDATE ON whatsapp_logs.messages REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.follow_update();
CREATE TRIGGER refuse_new_ids BEFORE UPDATE OF id ON whatsapp_logs.messages FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.refuse_new_ids();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON whatsapp_logs.messages FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.refuse_new_ids();

CREATE TABLE whatsapp_logs.migrations (
    version integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    note text,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT migrations_pkey PRIMARY KEY (version)
);

CREATE TABLE whatsapp_logs.phone_searches (
    token text NOT NULL,
    person text NOT NULL,
    phone text NOT NULL,
    made_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT phone_searches_pkey PRIMARY KEY (token)
);
CREATE INDEX phone_searches_made ON whatsapp_logs.phone_searches USING btree (made_at);
    -- Which searches are over and forgotten?
CREATE INDEX phone_searches_person ON whatsapp_logs.phone_searches USING btree (person, made_at DESC);
    -- Has somebody searched for the same just now?

CREATE TABLE whatsapp_logs.rare_statuses (
    message_id bigint NOT NULL,
    status whatsapp_logs.status NOT NULL,
    created_at timestamp with time zone NOT NULL,
    message_type text NOT NULL,
    error_code text,
    send_at timestamp with time zone,
    CONSTRAINT rare_statuses_pkey PRIMARY KEY (message_id)
);
CREATE INDEX rare_statuses_coming ON whatsapp_logs.rare_statuses USING btree (send_at, message_id) WHERE (status = 'scheduled'::whatsapp_logs.status);
    -- A page of what is coming, soonest first; which of it is overdue.
CREATE INDEX rare_statuses_failed_type ON whatsapp_logs.rare_statuses USING btree (message_type, status, created_at DESC, message_id DESC) WHERE (status = ANY (ARRAY['failed'::whatsapp_logs.status, 'undelivered'::whatsapp_logs.status, 'canceled'::whatsapp_logs.status]));
    -- A page of the failures of one type.
CREATE INDEX rare_statuses_page ON whatsapp_logs.rare_statuses USING btree (status, created_at DESC, message_id DESC);
    -- A page of failed or pending messages; what a refresh has to ask about.
CREATE INDEX rare_statuses_reason ON whatsapp_logs.rare_statuses USING btree (error_code, created_at DESC, message_id DESC) INCLUDE (status) WHERE (error_code IS NOT NULL);
    -- A page of the messages that failed for one reason, and how many they are.

CREATE TABLE whatsapp_logs.reconciliation_differences (
    reconciliation_id bigint NOT NULL,
    provider_id text NOT NULL,
    kind text NOT NULL,
    message_id bigint,
    ours text,
    theirs text,
    CONSTRAINT reconciliation_differences_pkey PRIMARY KEY (reconciliation_id, kind, provider_id),
    CONSTRAINT reconciliation_differences_kind_check CHECK ((kind = ANY (ARRAY['imported'::text, 'attached'::text, 'held_back'::text, 'unknown_to_provider'::text, 'status'::text, 'price'::text]))),
    CONSTRAINT reconciliation_differences_message_id_fkey FOREIGN KEY (message_id) REFERENCES whatsapp_logs.messages(id) ON DELETE SET NULL,
    CONSTRAINT reconciliation_differences_reconciliation_id_fkey FOREIGN KEY (reconciliation_id) REFERENCES whatsapp_logs.reconciliations(id) ON DELETE CASCADE
);
CREATE INDEX reconciliation_differences_imported ON whatsapp_logs.reconciliation_differences USING btree (message_id) WHERE (kind = 'imported'::text);
    -- Was this message found at the provider, and when?

CREATE TABLE whatsapp_logs.reconciliations (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    day date NOT NULL,
    started_by text,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    taken_at timestamp with time zone,
    heartbeat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    asked integer DEFAULT 0 NOT NULL,
    problem text,
    retry_at timestamp with time zone,
    finished_at timestamp with time zone,
    theirs integer,
    ours integer,
    equal integer,
    imported integer,
    attached integer,
    unknown_to_provider integer,
    status_differed integer,
    price_differed integer,
    prices_learnt integer,
    other_senders integer,
    CONSTRAINT reconciliations_pkey PRIMARY KEY (id)
);
CREATE INDEX reconciliations_day ON whatsapp_logs.reconciliations USING btree (day DESC, id DESC);
    -- The list of days; the last result of each.
CREATE UNIQUE INDEX reconciliations_one ON whatsapp_logs.reconciliations USING btree (day) WHERE (finished_at IS NULL);
    -- Asking for a day again joins the run under way.

CREATE TABLE whatsapp_logs.refreshes (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    started_by text,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    found integer,
    asked integer DEFAULT 0 NOT NULL,
    changed integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    taken_at timestamp with time zone,
    problem text,
    cancel_asked boolean DEFAULT false NOT NULL,
    finished_at timestamp with time zone,
    CONSTRAINT refreshes_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX refreshes_one ON whatsapp_logs.refreshes USING btree ((true)) WHERE (finished_at IS NULL);
    -- A second click joins the run that is under way.

CREATE TABLE whatsapp_logs.refused_calls (
    hour timestamp with time zone NOT NULL,
    route text NOT NULL,
    reason text NOT NULL,
    n bigint NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT refused_calls_pkey PRIMARY KEY (hour, route, reason)
);

CREATE TABLE whatsapp_logs.retention_rules (
    message_type text NOT NULL,
    months integer,
    set_by text NOT NULL,
    set_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT retention_rules_pkey PRIMARY KEY (message_type),
    CONSTRAINT retention_rules_months_check CHECK (((months >= 1) AND (months <= 600)))
);

CREATE TABLE whatsapp_logs.self_tests (
    nonce text NOT NULL,
    begun_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    heard_at timestamp with time zone,
    worked_at timestamp with time zone,
    CONSTRAINT self_tests_pkey PRIMARY KEY (nonce)
);

CREATE TABLE whatsapp_logs.senders (
    our_number text NOT NULL,
    runner uuid,
    heartbeat_at timestamp with time zone,
    resume_at timestamp with time zone,
    reason text,
    failures integer DEFAULT 0 NOT NULL,
    free_at timestamp with time zone,
    CONSTRAINT senders_pkey PRIMARY KEY (our_number)
);

CREATE TABLE whatsapp_logs.status_events (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    message_id bigint,
    provider_id text,
    status whatsapp_logs.status,
    provider_status text NOT NULL,
    error_code text,
    error_message text,
    source text NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT status_events_pkey PRIMARY KEY (id),
    CONSTRAINT status_events_source_check CHECK ((source = ANY (ARRAY['send'::text, 'callback'::text, 'refresh'::text, 'reconcile'::text, 'import'::text])))
);
CREATE INDEX status_events_message ON whatsapp_logs.status_events USING btree (message_id, id);
    -- A message's timeline, and the fold over it.
CREATE UNIQUE INDEX status_events_once ON whatsapp_logs.status_events USING btree (provider_id, provider_status, COALESCE(error_code, ''::text)) WHERE (provider_id IS NOT NULL);
    -- A report told twice (a repeated callback, a refresh) is one event.
CREATE INDEX status_events_parked ON whatsapp_logs.status_events USING btree (received_at) WHERE (message_id IS NULL);
    -- Reports of messages nobody knows, newest last.
CREATE INDEX status_events_parked_sid ON whatsapp_logs.status_events USING btree (provider_id) WHERE (message_id IS NULL);
    -- Did anything come of this message before we knew it?
CREATE INDEX status_events_unknown ON whatsapp_logs.status_events USING btree (received_at) WHERE (status IS NULL);
    -- Has the provider used words that are unknown here?
CREATE TRIGGER keep_all_status_events BEFORE TRUNCATE ON whatsapp_logs.status_events FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_status_events();
CREATE TRIGGER keep_status_events BEFORE DELETE OR UPDATE ON whatsapp_logs.status_events FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_status_events();

CREATE TABLE whatsapp_logs.template_events (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    version_id bigint NOT NULL,
    approval text NOT NULL,
    category text NOT NULL,
    reason text,
    told_by text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT template_events_pkey PRIMARY KEY (id),
    CONSTRAINT template_events_version_id_fkey FOREIGN KEY (version_id) REFERENCES whatsapp_logs.template_versions(id)
);
CREATE INDEX template_events_version ON whatsapp_logs.template_events USING btree (version_id, id);
    -- What became of this version of a template?
CREATE TRIGGER keep_all_template_events BEFORE TRUNCATE ON whatsapp_logs.template_events FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_logs.keep_accesses();
CREATE TRIGGER keep_template_events BEFORE DELETE OR UPDATE ON whatsapp_logs.template_events FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_accesses();

CREATE TABLE whatsapp_logs.template_sync (
    id boolean DEFAULT true NOT NULL,
    asked_at timestamp with time zone,
    asked_by text,
    checked_at timestamp with time zone,
    listed integer,
    problem text,
    wanted_at timestamp with time zone,
    CONSTRAINT template_sync_pkey PRIMARY KEY (id),
    CONSTRAINT template_sync_id_check CHECK (id)
);

CREATE TABLE whatsapp_logs.template_versions (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    template_id bigint NOT NULL,
    version integer NOT NULL,
    content_sid text,
    content_type text NOT NULL,
    body text NOT NULL,
    media_url text,
    media_variable text,
    actions jsonb DEFAULT '[]'::jsonb NOT NULL,
    variables jsonb DEFAULT '[]'::jsonb NOT NULL,
    category text DEFAULT 'UTILITY'::text NOT NULL,
    approval text DEFAULT 'draft'::text NOT NULL,
    rejection_reason text,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    submitted_by text,
    submitted_at timestamp with time zone,
    decided_at timestamp with time zone,
    checked_at timestamp with time zone,
    CONSTRAINT template_versions_pkey PRIMARY KEY (id),
    CONSTRAINT template_versions_content_sid_key UNIQUE (content_sid),
    CONSTRAINT template_versions_lists CHECK (((jsonb_typeof(variables) = 'array'::text) AND (jsonb_typeof(actions) = 'array'::text))),
    CONSTRAINT template_versions_template_id_version_key UNIQUE (template_id, version),
    CONSTRAINT template_versions_template_id_fkey FOREIGN KEY (template_id) REFERENCES whatsapp_logs.templates(id)
);
CREATE UNIQUE INDEX template_versions_draft ON whatsapp_logs.template_versions USING btree (template_id) WHERE (approval = 'draft'::text);
    -- A template has one draft, which becomes its next version.

CREATE TABLE whatsapp_logs.templates (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    name text NOT NULL,
    language text DEFAULT 'en'::text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    archived_at timestamp with time zone,
    archived_by text,
    CONSTRAINT templates_pkey PRIMARY KEY (id),
    CONSTRAINT templates_name_language_key UNIQUE (name, language)
);

CREATE TABLE whatsapp_logs.turns (
    message_id bigint NOT NULL,
    conversation_id bigint NOT NULL,
    kind text DEFAULT 'text'::text NOT NULL,
    payload text,
    replied_sid text,
    opt_out_type text,
    received_at timestamp with time zone NOT NULL,
    done_at timestamp with time zone,
    outcome text,
    CONSTRAINT turns_pkey PRIMARY KEY (message_id),
    CONSTRAINT turns_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES whatsapp_logs.conversations(id),
    CONSTRAINT turns_message_id_fkey FOREIGN KEY (message_id) REFERENCES whatsapp_logs.messages(id)
);
CREATE INDEX turns_due ON whatsapp_logs.turns USING btree (conversation_id, message_id) WHERE (done_at IS NULL);
    -- What has this customer written that nobody has looked at?
CREATE INDEX turns_trouble ON whatsapp_logs.turns USING btree (done_at) WHERE (outcome = ANY (ARRAY['error'::text, 'too_fast'::text]));
    -- Has the bot failed lately, or talked to a robot?

CREATE TABLE whatsapp_logs.procrastinate_events (
    id bigint DEFAULT nextval('whatsapp_logs.procrastinate_events_id_seq'::regclass) NOT NULL,
    job_id bigint NOT NULL,
    type whatsapp_logs.procrastinate_job_event_type,
    at timestamp with time zone DEFAULT now(),
    CONSTRAINT procrastinate_events_pkey PRIMARY KEY (id),
    CONSTRAINT procrastinate_events_job_id_fkey FOREIGN KEY (job_id) REFERENCES whatsapp_logs.procrastinate_jobs(id) ON DELETE CASCADE
);
CREATE INDEX procrastinate_events_job_id_fkey_v1 ON whatsapp_logs.procrastinate_events USING btree (job_id);

CREATE TABLE whatsapp_logs.procrastinate_jobs (
    id bigint DEFAULT nextval('whatsapp_logs.procrastinate_jobs_id_seq'::regclass) NOT NULL,
    queue_name character varying(128) NOT NULL,
    task_name character varying(128) NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    lock text,
    queueing_lock text,
    args jsonb DEFAULT '{}'::jsonb NOT NULL,
    status whatsapp_logs.procrastinate_job_status DEFAULT 'todo'::whatsapp_logs.procrastinate_job_status NOT NULL,
    scheduled_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    abort_requested boolean DEFAULT false NOT NULL,
    worker_id bigint,
    CONSTRAINT procrastinate_jobs_pkey PRIMARY KEY (id),
    CONSTRAINT check_not_todo_abort_requested CHECK ((NOT ((status = 'todo'::whatsapp_logs.procrastinate_job_status) AND (abort_requested = true)))),
    CONSTRAINT procrastinate_jobs_worker_id_fkey FOREIGN KEY (worker_id) REFERENCES whatsapp_logs.procrastinate_workers(id) ON DELETE SET NULL
);
CREATE INDEX idx_procrastinate_jobs_worker_not_null ON whatsapp_logs.procrastinate_jobs USING btree (worker_id) WHERE ((worker_id IS NOT NULL) AND (status = 'doing'::whatsapp_logs.procrastinate_job_status));
CREATE INDEX procrastinate_jobs_id_lock_idx_v1 ON whatsapp_logs.procrastinate_jobs USING btree (id, lock) WHERE (status = ANY (ARRAY['todo'::whatsapp_logs.procrastinate_job_status, 'doing'::whatsapp_logs.procrastinate_job_status]));
CREATE UNIQUE INDEX procrastinate_jobs_lock_idx_v1 ON whatsapp_logs.procrastinate_jobs USING btree (lock) WHERE (status = 'doing'::whatsapp_logs.procrastinate_job_status);
CREATE INDEX procrastinate_jobs_priority_idx_v1 ON whatsapp_logs.procrastinate_jobs USING btree (priority DESC, id) WHERE (status = 'todo'::whatsapp_logs.procrastinate_job_status);
CREATE INDEX procrastinate_jobs_queue_name_idx_v1 ON whatsapp_logs.procrastinate_jobs USING btree (queue_name);
CREATE UNIQUE INDEX procrastinate_jobs_queueing_lock_idx_v1 ON whatsapp_logs.procrastinate_jobs USING btree (queueing_lock) WHERE (status = 'todo'::whatsapp_logs.procrastinate_job_status);

CREATE TABLE whatsapp_logs.procrastinate_periodic_defers (
    id bigint DEFAULT nextval('whatsapp_logs.procrastinate_periodic_defers_id_seq'::regclass) NOT NULL,
    task_name character varying(128) NOT NULL,
    defer_timestamp bigint,
    job_id bigint,
    periodic_id character varying(128) DEFAULT ''::character varying NOT NULL,
    CONSTRAINT procrastinate_periodic_defers_pkey PRIMARY KEY (id),
    CONSTRAINT procrastinate_periodic_defers_unique UNIQUE (task_name, periodic_id, defer_timestamp),
    CONSTRAINT procrastinate_periodic_defers_job_id_fkey FOREIGN KEY (job_id) REFERENCES whatsapp_logs.procrastinate_jobs(id)
);
CREATE INDEX procrastinate_periodic_defers_job_id_fkey_v1 ON whatsapp_logs.procrastinate_periodic_defers USING btree (job_id);

CREATE TABLE whatsapp_logs.procrastinate_workers (
    id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    last_heartbeat timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT procrastinate_workers_pkey PRIMARY KEY (id)
);
CREATE INDEX idx_procrastinate_workers_last_heartbeat ON whatsapp_logs.procrastinate_workers USING btree (last_heartbeat);

CREATE VIEW public.whatsapp_logs WITH (security_invoker=true) AS
 SELECT id AS log_id,
    (provider_id)::character varying AS message_sid,
    policy_id,
    client_id,
    (recipient)::character varying AS phone_number,
    (message_type)::character varying AS message_type,
    body AS message_content,
    media_url,
    ((status)::text)::character varying AS status,
    (error_code)::character varying AS error_code,
    error_message,
    (sent_at AT TIME ZONE 'UTC'::text) AS sent_at,
    (delivered_at AT TIME ZONE 'UTC'::text) AS delivered_at,
    (read_at AT TIME ZONE 'UTC'::text) AS read_at,
    (last_status_check AT TIME ZONE 'UTC'::text) AS last_status_check,
    (created_by)::character varying AS created_by,
    (created_at AT TIME ZONE 'UTC'::text) AS created_at,
    (updated_at AT TIME ZONE 'UTC'::text) AS updated_at
   FROM whatsapp_logs.messages m
  WHERE ((direction = 'outbound'::text) AND (channel = 'whatsapp'::text));
    -- log_id bigint
    -- message_sid character varying
    -- policy_id integer
    -- client_id integer
    -- phone_number character varying
    -- message_type character varying
    -- message_content text
    -- media_url text
    -- status character varying DEFAULT 'queued'::character varying
    -- error_code character varying
    -- error_message text
    -- sent_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text)
    -- delivered_at timestamp without time zone
    -- read_at timestamp without time zone
    -- last_status_check timestamp without time zone
    -- created_by character varying
    -- created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text)
    -- updated_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC'::text)
CREATE TRIGGER insert_old_row INSTEAD OF INSERT ON public.whatsapp_logs FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.insert_old_row();
CREATE TRIGGER keep_old_row INSTEAD OF DELETE ON public.whatsapp_logs FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.keep_old_row();
CREATE TRIGGER update_old_row INSTEAD OF UPDATE ON public.whatsapp_logs FOR EACH ROW EXECUTE FUNCTION whatsapp_logs.update_old_row();

CREATE OR REPLACE FUNCTION whatsapp_logs.campaign_rows_of(client text, numbers text[])
 RETURNS TABLE(campaign_id bigint, upload integer, "position" integer, may_go boolean)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH found AS (
        SELECT r.campaign_id, r.upload, r.position FROM whatsapp_logs.campaign_recipients AS r
        WHERE r.client_id = client
        UNION
        SELECT r.campaign_id, r.upload, r.position FROM whatsapp_logs.campaign_recipients AS r
        WHERE r.address = ANY (numbers) AND r.client_id IS NULL
        UNION
        SELECT r.campaign_id, r.upload, r.position
        FROM whatsapp_logs.campaign_recipients AS r CROSS JOIN LATERAL jsonb_array_elements_text(r.cells) AS cell
        WHERE r.address IS NULL AND r.client_id IS NULL AND r.cells <> '[]'
          AND right(regexp_replace(cell, '[^0-9]', '', 'g'), 9) IN (
              SELECT right(regexp_replace(number, '[^0-9]', '', 'g'), 9) FROM unnest(numbers) AS number
              WHERE length(regexp_replace(number, '[^0-9]', '', 'g')) >= 9)
    )
    SELECT f.campaign_id, f.upload, f.position,
           r.due_at IS NULL AND coalesce(m.status NOT IN ('scheduled', 'queued', 'sending'), true)
               AND NOT whatsapp_logs.is_held(client, NULL) AND NOT whatsapp_logs.is_held(r.client_id, r.policy_id)
    FROM found AS f JOIN whatsapp_logs.campaign_recipients AS r USING (campaign_id, upload, position)
    LEFT JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
$function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.digits(address text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN regexp_replace(address, '[^0-9]'::text, ''::text, 'g'::text);

CREATE OR REPLACE FUNCTION whatsapp_logs.erase(ids bigint[], unlink boolean)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    chosen bigint[];
    files  uuid[];
    places text[];
BEGIN
    SELECT array_agg(m.id), array_agg(m.media_id) FILTER (WHERE m.media_id IS NOT NULL),
           array_agg(DISTINCT CASE m.direction WHEN 'inbound' THEN m.sender ELSE m.recipient END)
    INTO chosen, files, places
    FROM (SELECT * FROM whatsapp_logs.messages WHERE id = ANY (ids) AND erased_at IS NULL ORDER BY id FOR NO KEY UPDATE) AS m
    WHERE m.status NOT IN ('scheduled', 'queued', 'sending') AND NOT whatsapp_logs.is_held(m.client_id::text, m.policy_id::text);
    IF chosen IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE whatsapp_logs.messages AS m
    SET recipient = CASE m.direction WHEN 'inbound' THEN m.recipient ELSE 'erased' END,
        sender = CASE m.direction WHEN 'inbound' THEN 'erased' ELSE m.sender END,
        body = NULL, media_url = NULL, media_id = NULL, variables = NULL, error_message = NULL, wait_reason = NULL, request_key = NULL,
        client_id = CASE WHEN unlink THEN NULL ELSE m.client_id END, policy_id = CASE WHEN unlink THEN NULL ELSE m.policy_id END,
        erased_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE m.id = ANY (chosen);
    UPDATE whatsapp_logs.status_events SET payload = '{"erased": true}', error_message = NULL
    WHERE message_id = ANY (chosen) AND (payload <> '{"erased": true}' OR error_message IS NOT NULL);
    DELETE FROM whatsapp_logs.media AS f
    WHERE f.id = ANY (files) AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.media_id = f.id)
      AND NOT EXISTS (SELECT FROM whatsapp_logs.message_media AS m WHERE m.media_id = f.id);
    -- What is known of a number goes with its last message.
    places := ARRAY(
        SELECT place FROM unnest(places) AS place
        WHERE NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.recipient = place AND m.direction = 'outbound')
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.sender = place AND m.direction = 'inbound'));
    DELETE FROM whatsapp_logs.addresses WHERE address = ANY (places);
    DELETE FROM whatsapp_logs.contacts WHERE address = ANY (places);
    PERFORM whatsapp_logs.erase_conversations(places);
    PERFORM whatsapp_logs.erase_campaign_rows(places);
    INSERT INTO whatsapp_logs.erased_days AS e (message_type, day, n)
    SELECT message_type, (created_at AT TIME ZONE 'UTC')::date, count(*) FROM whatsapp_logs.messages WHERE id = ANY (chosen)
    GROUP BY 1, 2 ORDER BY 1, 2  -- one order for all, so that nobody deadlocks
    ON CONFLICT (message_type, day) DO UPDATE SET n = e.n + EXCLUDED.n;
    RETURN cardinality(chosen);
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.erase_campaign_rows(addresses text[])
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.erase_campaign_rows_of(client text, numbers text[])
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    erased integer;
BEGIN
    -- The runner holds a campaign while it makes messages of its rows: whoever is first, the other sees what was done.
    PERFORM FROM whatsapp_logs.campaigns AS c
    WHERE c.id IN (SELECT f.campaign_id FROM whatsapp_logs.campaign_rows_of(client, numbers) AS f)
    ORDER BY c.id FOR NO KEY UPDATE;
    UPDATE whatsapp_logs.campaign_recipients AS r
    SET cells = '[]', address = 'erased', client_id = NULL, policy_id = NULL, variables = NULL,
        problem = CASE WHEN r.message_id IS NULL THEN coalesce(r.problem, 'erased') ELSE r.problem END,
        reason = CASE WHEN r.message_id IS NULL OR r.problem IS NOT NULL THEN 'Erased.' END
    FROM whatsapp_logs.campaign_rows_of(client, numbers) AS f
    WHERE f.may_go AND r.campaign_id = f.campaign_id AND r.upload = f.upload AND r.position = f.position;
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.erase_campaign_tables(before timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.erase_conversations(addresses text[])
 RETURNS integer
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    WITH erased AS (
        UPDATE whatsapp_logs.conversations AS c
        SET address = 'erased:' || c.id, profile_name = NULL, client_id = NULL, bot = '{}', handed_over_reason = NULL,
            waiting_since = NULL, updated_at = clock_timestamp()
        WHERE c.address = ANY (addresses) AND c.address NOT LIKE 'erased:%'
        RETURNING 1
    )
    SELECT count(*)::integer FROM erased
$function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.erase_files_of_message()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.erase_reports(before timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    late   integer;
    parked integer := 0;
BEGIN
    UPDATE whatsapp_logs.status_events AS e SET payload = '{"erased": true}', error_message = NULL
    FROM whatsapp_logs.messages AS m
    WHERE m.erased_at > now() - interval '60 days' AND e.message_id = m.id AND (e.payload <> '{"erased": true}' OR e.error_message IS NOT NULL);
    GET DIAGNOSTICS late = ROW_COUNT;
    UPDATE whatsapp_logs.messages SET error_message = NULL
    WHERE erased_at > now() - interval '60 days' AND error_message IS NOT NULL;
    IF before IS NOT NULL THEN
        UPDATE whatsapp_logs.status_events SET payload = '{"erased": true}', error_message = NULL
        WHERE message_id IS NULL AND received_at < before AND (payload <> '{"erased": true}' OR error_message IS NOT NULL);
        GET DIAGNOSTICS parked = ROW_COUNT;
    END IF;
    RETURN late + parked;
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.fold(ids bigint[])
 RETURNS SETOF bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
    -- A message's state is the fold over all its events: the greatest status, each time once. Returns the ids whose state moved.
    WITH told AS (
        SELECT e.message_id,
               max(e.status) AS status,
               min(e.happened_at) FILTER (WHERE e.status = 'sent') AS sent_at,
               min(e.happened_at) FILTER (WHERE e.status IN ('delivered', 'read')) AS delivered_at,
               min(e.happened_at) FILTER (WHERE e.status = 'read') AS read_at,
               min(e.happened_at) FILTER (WHERE e.status IN ('failed', 'undelivered', 'canceled')) AS failed_at,
               -- Only a failure's reason is one: what a report of something else says beside it is not.
               (array_agg(e.error_code ORDER BY e.status DESC, e.id)
                   FILTER (WHERE e.error_code IS NOT NULL AND e.status IN ('failed', 'undelivered', 'canceled')))[1] AS error_code,
               (array_agg(e.error_message ORDER BY e.status DESC, e.error_code IS NULL, e.id)
                   FILTER (WHERE e.error_message IS NOT NULL AND e.status IN ('failed', 'undelivered', 'canceled')))[1]
                   AS error_message
        FROM whatsapp_logs.status_events AS e
        WHERE e.message_id = ANY (ids) AND e.status IS NOT NULL
        GROUP BY e.message_id
    ), state AS (
        SELECT m.id, m.status AS old_status, GREATEST(m.status, t.status) AS status,
               COALESCE(m.sent_at, t.sent_at) AS sent_at,
               COALESCE(m.delivered_at, t.delivered_at) AS delivered_at,
               COALESCE(m.read_at, t.read_at) AS read_at,
               GREATEST(m.status, t.status) IN ('failed', 'undelivered', 'canceled') AS is_failure,
               COALESCE(m.failed_at, t.failed_at) AS failed_at,
               COALESCE(t.error_code, m.error_code) AS error_code,
               COALESCE(t.error_message, m.error_message) AS error_message
        FROM whatsapp_logs.messages AS m JOIN told AS t ON t.message_id = m.id
    ), next AS (
        -- A failure that proof of receipt overtook is history: it stays in the events, not in the message.
        SELECT id, status, sent_at, delivered_at, read_at,
               CASE WHEN is_failure THEN failed_at END AS failed_at,
               CASE WHEN is_failure THEN error_code END AS error_code,
               CASE WHEN is_failure THEN error_message END AS error_message
        FROM state
    ), written AS (
        UPDATE whatsapp_logs.messages AS m
        SET status = n.status, sent_at = n.sent_at, delivered_at = n.delivered_at, read_at = n.read_at,
            failed_at = n.failed_at, error_code = n.error_code, error_message = n.error_message,
            updated_at = clock_timestamp()
        FROM next AS n
        WHERE m.id = n.id
          AND (m.status, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.error_code, m.error_message)
              IS DISTINCT FROM (n.status, n.sent_at, n.delivered_at, n.read_at, n.failed_at, n.error_code, n.error_message)
        RETURNING m.id
    )
    SELECT id FROM written
$function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_delete()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    -- Who is just recording a report of it has read its row: what they write has to be seen here.
    PERFORM pg_advisory_xact_lock(k.key)
    FROM (SELECT DISTINCT hashtextextended(provider_id, 0) AS key FROM removed WHERE provider_id IS NOT NULL ORDER BY 1) AS k;
    IF EXISTS (SELECT FROM removed AS gone JOIN whatsapp_logs.status_events AS e ON e.message_id = gone.id) THEN
        RAISE EXCEPTION 'a message that has a history cannot be deleted' USING
            ERRCODE = 'foreign_key_violation', HINT = 'Erase what it says of a person instead: whatsapp_logs.erase.';
    END IF;
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, -count(*)
    FROM removed GROUP BY 1, 2, 3, 4, 5;
    DELETE FROM whatsapp_logs.rare_statuses AS r USING removed AS gone WHERE r.message_id = gone.id;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_insert()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, count(*)
    FROM added GROUP BY 1, 2, 3, 4, 5;

    INSERT INTO whatsapp_logs.rare_statuses (message_id, status, created_at, message_type, error_code, send_at)
    SELECT id, status, created_at, message_type, error_code, send_at FROM added WHERE whatsapp_logs.is_rare(status);

    INSERT INTO whatsapp_logs.addresses (address, grams)
    SELECT address, whatsapp_logs.grams(whatsapp_logs.digits(address))
    FROM (SELECT DISTINCT CASE direction WHEN 'inbound' THEN sender ELSE recipient END AS address FROM added) AS seen
    WHERE address IS NOT NULL
      AND NOT EXISTS (SELECT FROM whatsapp_logs.addresses AS known WHERE known.address = seen.address)
    ORDER BY address  -- one order for all writers, so that they cannot deadlock
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.follow_update()
 RETURNS trigger
 LANGUAGE plpgsql
 SET enable_hashjoin TO 'off'
 SET enable_mergejoin TO 'off'
AS $function$
BEGIN
    INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
    SELECT day, direction, channel, message_type, status, sum(n)
    FROM (
        SELECT (created_at AT TIME ZONE 'UTC')::date AS day, direction, channel, message_type, status, -1 AS n FROM before
        UNION ALL
        SELECT (created_at AT TIME ZONE 'UTC')::date, direction, channel, message_type, status, 1 FROM after
    ) AS moved
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(n) <> 0;

    MERGE INTO whatsapp_logs.rare_statuses AS r USING after AS a ON r.message_id = a.id
    WHEN MATCHED AND NOT whatsapp_logs.is_rare(a.status) THEN DELETE
    WHEN MATCHED AND ((r.status, r.message_type) <> (a.status, a.message_type) OR r.error_code IS DISTINCT FROM a.error_code
                      OR r.send_at IS DISTINCT FROM a.send_at)
        THEN UPDATE SET status = a.status, message_type = a.message_type, error_code = a.error_code, send_at = a.send_at
    WHEN NOT MATCHED AND whatsapp_logs.is_rare(a.status)
        THEN INSERT (message_id, status, created_at, message_type, error_code, send_at)
             VALUES (a.id, a.status, a.created_at, a.message_type, a.error_code, a.send_at);
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.grams(digits text)
 RETURNS text[]
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ARRAY(SELECT DISTINCT substr(grams.digits, place.place, 3) AS substr FROM generate_series(1, (length(grams.digits) - 2)) place(place));

CREATE OR REPLACE FUNCTION whatsapp_logs.grant_to(wanted name)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
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
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.insert_old_row()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
DECLARE
    new_id bigint := COALESCE(NEW.log_id, nextval(pg_get_serial_sequence('whatsapp_logs.messages', 'id')));
BEGIN
    IF NEW.message_sid IS NULL OR NEW.phone_number IS NULL OR NEW.message_type IS NULL THEN
        RAISE EXCEPTION 'message_sid, phone_number and message_type of whatsapp_logs must not be NULL.' USING ERRCODE = 'not_null_violation';
    END IF;
    -- The SID's lock comes before the row, as in record: there the reports that came before their row are adopted.
    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.message_sid, 0));
    INSERT INTO whatsapp_logs.messages (
        id, message_type, recipient, body, media_url, status, provider, provider_id, policy_id, client_id, created_by,
        sent_at, last_status_check, created_at)
    OVERRIDING SYSTEM VALUE
    VALUES (new_id, NEW.message_type, whatsapp_logs.plain_address(NEW.phone_number), NEW.message_content, NEW.media_url,
            COALESCE(whatsapp_logs.known_status(NEW.status), 'queued'),
            CASE WHEN whatsapp_logs.is_twilio_sid(NEW.message_sid) THEN 'twilio' ELSE 'unknown' END, NEW.message_sid,
            NEW.policy_id, NEW.client_id, NEW.created_by, NEW.sent_at AT TIME ZONE 'UTC',
            NEW.last_status_check AT TIME ZONE 'UTC', COALESCE(NEW.created_at AT TIME ZONE 'UTC', now()));
    PERFORM whatsapp_logs.record_old_row(new_id, NEW.message_sid, COALESCE(NEW.status, 'queued'), NEW.error_code, NEW.error_message,
                                         NEW.sent_at, NEW.delivered_at, NEW.read_at, clock_timestamp());
    SELECT v.* INTO NEW FROM public.whatsapp_logs AS v WHERE v.log_id = new_id;
    RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.is_held(client text, policy text)
 RETURNS boolean
 LANGUAGE sql
 STABLE
RETURN ((EXISTS (SELECT FROM whatsapp_logs.legal_holds h WHERE ((h.lifted_at IS NULL) AND (h.client_id = is_held.client)))) OR (EXISTS (SELECT FROM whatsapp_logs.legal_holds h WHERE ((h.lifted_at IS NULL) AND (h.policy_id = is_held.policy)))));

CREATE OR REPLACE FUNCTION whatsapp_logs.is_rare(status whatsapp_logs.status)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (status <> ALL (ARRAY['delivered'::whatsapp_logs.status, 'read'::whatsapp_logs.status, 'received'::whatsapp_logs.status]));

CREATE OR REPLACE FUNCTION whatsapp_logs.is_twilio_sid(sid text)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN COALESCE((sid ~ '^(SM|MM)[0-9a-fA-F]{32}$'::text), false);

CREATE OR REPLACE FUNCTION whatsapp_logs.keep_accesses()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.keep_old_row()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'Messages are evidence: message % is not deleted.', OLD.log_id USING ERRCODE = 'object_not_in_prerequisite_state';
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.keep_status_events()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.message_id IS NULL AND NEW.message_id IS NOT NULL
       AND to_jsonb(NEW) - 'message_id' = to_jsonb(OLD) - 'message_id' THEN
        RETURN NEW;  -- a parked report is adopted by its message
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.payload = '{"erased": true}' AND NEW.error_message IS NULL
       AND to_jsonb(NEW) - '{payload,error_message}'::text[] = to_jsonb(OLD) - '{payload,error_message}'::text[] THEN
        RETURN NEW;  -- what it said of a person is erased; that it was said, when and by whom, never changes
    END IF;
    RAISE EXCEPTION 'whatsapp_logs.status_events is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.known_status(word text)
 RETURNS whatsapp_logs.status
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE lower(btrim(word)) WHEN 'accepted'::text THEN 'queued'::whatsapp_logs.status WHEN 'partially_delivered'::text THEN 'sent'::whatsapp_logs.status WHEN 'receiving'::text THEN 'received'::whatsapp_logs.status WHEN 'cancelled'::text THEN 'canceled'::whatsapp_logs.status WHEN 'scheduled'::text THEN 'scheduled'::whatsapp_logs.status WHEN 'queued'::text THEN 'queued'::whatsapp_logs.status WHEN 'sending'::text THEN 'sending'::whatsapp_logs.status WHEN 'sent'::text THEN 'sent'::whatsapp_logs.status WHEN 'canceled'::text THEN 'canceled'::whatsapp_logs.status WHEN 'failed'::text THEN 'failed'::whatsapp_logs.status WHEN 'undelivered'::text THEN 'undelivered'::whatsapp_logs.status WHEN 'delivered'::text THEN 'delivered'::whatsapp_logs.status WHEN 'read'::text THEN 'read'::whatsapp_logs.status WHEN 'received'::text THEN 'received'::whatsapp_logs.status ELSE NULL::whatsapp_logs.status END;

CREATE OR REPLACE FUNCTION whatsapp_logs.old_reports(word text, code text, explanation text, sent timestamp with time zone, delivered timestamp with time zone, read timestamp with time zone, at timestamp with time zone)
 RETURNS TABLE(status whatsapp_logs.status, provider_status text, error_code text, error_message text, happened_at timestamp with time zone)
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    -- What the old table's columns say, as reports: its status word, and the other moments it has a time for. Its sent_at is the
    -- time of writing by default, so it is a report of 'sent' only where the word says that the message went out.
    SELECT k.status, lower(btrim(word)), code, explanation,
           COALESCE(CASE k.status WHEN 'sent' THEN sent WHEN 'delivered' THEN delivered WHEN 'read' THEN read END, at)
    FROM (SELECT whatsapp_logs.known_status(word) AS status) AS k WHERE word IS NOT NULL
    UNION ALL
    SELECT 'sent', 'sent', NULL, NULL, sent
    WHERE sent IS NOT NULL AND whatsapp_logs.known_status(word) IN ('undelivered', 'delivered', 'read')
    UNION ALL
    SELECT 'delivered', 'delivered', NULL, NULL, delivered
    WHERE delivered IS NOT NULL AND whatsapp_logs.known_status(word) IS DISTINCT FROM 'delivered'
    UNION ALL
    SELECT 'read', 'read', NULL, NULL, read
    WHERE read IS NOT NULL AND whatsapp_logs.known_status(word) IS DISTINCT FROM 'read'
$function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.plain_address(written text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (SELECT CASE WHEN (address.bare ~ '^(\+|00)[0-9 ().-]+$'::text) THEN regexp_replace(regexp_replace(address.bare, '^00'::text, '+'::text), '[^+0-9]'::text, ''::text, 'g'::text) ELSE address.bare END AS bare FROM (SELECT btrim(regexp_replace(btrim(plain_address.written), '^whatsapp:'::text, ''::text, 'i'::text)) AS bare) address);

CREATE OR REPLACE FUNCTION whatsapp_logs.record(reports jsonb, told_by text, at timestamp with time zone DEFAULT clock_timestamp())
 RETURNS TABLE(n bigint, to_message bigint, is_new boolean, changed boolean)
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
-- reports: array of {message_id?, provider_id?, status?, provider_status, error_code?, error_message?, happened_at?, price?,
-- sent_at?, price_unit?, num_segments?, payload?}. Answers one row per report, in order: its message (NULL = parked), whether it told
-- anything new, whether the message's state moved. Each statement below sees what others committed while it waited for its lock.
#variable_conflict use_column
DECLARE
    sids     text[];
    ids      bigint[];
    adopting bigint[] := '{}';
    moved    bigint[] := '{}';
    moment   timestamptz;
BEGIN
    SELECT COALESCE(array_agg(DISTINCT r.provider_id) FILTER (WHERE r.provider_id IS NOT NULL), '{}'),
           COALESCE(array_agg(DISTINCT r.message_id) FILTER (WHERE r.message_id IS NOT NULL), '{}')
    INTO sids, ids FROM jsonb_to_recordset(reports) AS r (message_id bigint, provider_id text);

    -- Two reports of one SID, or a report and the row it belongs to, meet here: without this lock an early report is lost.
    PERFORM pg_advisory_xact_lock(k.key)
    FROM (SELECT DISTINCT hashtextextended(sid, 0) AS key FROM unnest(sids) AS sid ORDER BY 1) AS k;
    moment := clock_timestamp();

    -- A report that carries our own id brings the SID with it, even before the create call has answered.
    PERFORM m.id FROM whatsapp_logs.messages AS m
    WHERE m.id = ANY (ids) AND m.provider_id IS NULL ORDER BY m.id FOR NO KEY UPDATE;
    IF FOUND AND sids <> '{}' THEN
        UPDATE whatsapp_logs.messages AS m
        SET provider_id = r.provider_id, unconfirmed_at = NULL, wait_reason = NULL, retry_at = NULL, updated_at = moment
        FROM (SELECT DISTINCT ON (message_id) message_id, provider_id
              FROM (SELECT DISTINCT ON (provider_id) r.message_id, r.provider_id
                    FROM jsonb_to_recordset(reports) AS r (message_id bigint, provider_id text)
                    JOIN whatsapp_logs.messages AS waiting ON waiting.id = r.message_id AND waiting.provider_id IS NULL
                    WHERE r.provider_id IS NOT NULL
                    ORDER BY provider_id, message_id) AS claimed  -- two messages of a batch cannot both have one SID
              ORDER BY message_id, provider_id) AS r
        WHERE m.id = r.message_id AND m.provider_id IS NULL
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS other WHERE other.provider_id = r.provider_id);
    END IF;

    IF EXISTS (SELECT FROM whatsapp_logs.status_events AS e WHERE e.message_id IS NULL AND e.provider_id = ANY (sids)) THEN
        WITH adopted AS (
            UPDATE whatsapp_logs.status_events AS e SET message_id = m.id
            FROM whatsapp_logs.messages AS m
            WHERE m.provider_id = ANY (sids) AND e.provider_id = m.provider_id AND e.message_id IS NULL
            RETURNING m.id
        )
        SELECT COALESCE(array_agg(DISTINCT a.id), '{}') INTO adopting FROM adopted AS a;
        SELECT COALESCE(array_agg(f), '{}') INTO moved FROM whatsapp_logs.fold(adopting) AS f;
    END IF;

    RETURN QUERY
    WITH told AS MATERIALIZED (
        SELECT r.n, COALESCE(by_sid.id, by_id.id) AS id, r.provider_id, r.status::whatsapp_logs.status AS status, r.provider_status,
               r.error_code, r.error_message, COALESCE(r.happened_at, at) AS happened_at, r.sent_at, r.price,
               upper(r.price_unit) AS price_unit, NULLIF(r.num_segments, 0) AS num_segments, r.payload,
               -- Nobody else can write an event of these SIDs just now; the unique index would refuse it.
               NOT EXISTS (SELECT FROM whatsapp_logs.status_events AS e
                           WHERE e.provider_id = r.provider_id AND e.provider_status = r.provider_status
                             AND COALESCE(e.error_code, '') = COALESCE(r.error_code, '')) AS is_new
        FROM ROWS FROM (jsonb_to_recordset(reports) AS (message_id bigint, provider_id text, status text, provider_status text,
                 error_code text, error_message text, happened_at timestamptz, sent_at timestamptz, price numeric, price_unit text,
                 num_segments integer, payload jsonb)) WITH ORDINALITY
             AS r (message_id, provider_id, status, provider_status, error_code, error_message, happened_at, sent_at, price,
                   price_unit, num_segments, payload, n)
        LEFT JOIN whatsapp_logs.messages AS by_sid ON by_sid.provider_id = r.provider_id
        LEFT JOIN whatsapp_logs.messages AS by_id ON by_id.id = r.message_id AND r.provider_id IS NULL
    ), inserted AS (
        INSERT INTO whatsapp_logs.status_events
            (message_id, provider_id, status, provider_status, error_code, error_message, source, happened_at, received_at, payload)
        SELECT id, provider_id, status, provider_status, error_code, error_message, told_by, happened_at, at, COALESCE(payload, '{}')
        FROM (SELECT DISTINCT ON (provider_id, provider_status, COALESCE(error_code, ''), CASE WHEN provider_id IS NULL THEN n END) *
              FROM told WHERE is_new
              ORDER BY provider_id, provider_status, COALESCE(error_code, ''), CASE WHEN provider_id IS NULL THEN n END, n) AS once
        ORDER BY n
    ), news AS (
        -- What `fold` finds in a message's events, of these alone; and facts beside the status: price and segments come late, a lost
        -- `sent` is told by what came after it.
        SELECT id,
               max(status) AS status,
               COALESCE(min(happened_at) FILTER (WHERE status = 'sent'), min(sent_at)) AS sent_at,
               min(happened_at) FILTER (WHERE status IN ('delivered', 'read')) AS delivered_at,
               min(happened_at) FILTER (WHERE status = 'read') AS read_at,
               min(happened_at) FILTER (WHERE status IN ('failed', 'undelivered', 'canceled')) AS failed_at,
               (array_agg(error_code ORDER BY status DESC, n)
                   FILTER (WHERE error_code IS NOT NULL AND status IN ('failed', 'undelivered', 'canceled')))[1] AS error_code,
               (array_agg(error_message ORDER BY status DESC, error_code IS NULL, n)
                   FILTER (WHERE error_message IS NOT NULL AND status IN ('failed', 'undelivered', 'canceled')))[1] AS error_message,
               max(price) AS price, max(price_unit) AS price_unit, max(num_segments) AS num_segments,
               bool_or(is_new) OR told_by IN ('refresh', 'reconcile')  -- which check even when they tell nothing new
                   OR num_nonnulls(min(sent_at), max(price), max(price_unit), max(num_segments)) > 0 AS is_worth_writing
        FROM told WHERE id IS NOT NULL GROUP BY id ORDER BY id  -- in one order for all batches, so that they cannot deadlock
    ), written AS (
        UPDATE whatsapp_logs.messages AS m
        SET (status, sent_at, delivered_at, read_at, failed_at, error_code, error_message, price, price_unit, num_segments,
             last_status_check, updated_at) = (
            SELECT x.status, x.sent_at, x.delivered_at, x.read_at, x.failed_at, x.error_code, x.error_message, x.price, x.price_unit,
                   x.num_segments, CASE WHEN told_by IN ('refresh', 'reconcile') THEN at ELSE m.last_status_check END,
                   CASE WHEN x IS DISTINCT FROM ROW (m.status, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.error_code,
                                                     m.error_message, m.price, m.price_unit, m.num_segments)
                        THEN moment ELSE m.updated_at END
            FROM (
                -- A failure that proof of receipt overtook is history: it stays in the events, not in the message.
                SELECT GREATEST(m.status, t.status) AS status,
                       COALESCE(m.sent_at, t.sent_at) AS sent_at,
                       COALESCE(m.delivered_at, t.delivered_at) AS delivered_at,
                       COALESCE(m.read_at, t.read_at) AS read_at,
                       CASE WHEN f.is_failure THEN COALESCE(m.failed_at, t.failed_at) END AS failed_at,
                       CASE WHEN f.is_failure THEN
                           CASE WHEN t.status > m.status THEN COALESCE(t.error_code, m.error_code)
                                ELSE COALESCE(m.error_code, t.error_code) END END AS error_code,
                       CASE WHEN f.is_failure THEN
                           CASE WHEN t.status > m.status OR (m.error_code IS NULL AND t.error_code IS NOT NULL)
                                THEN COALESCE(t.error_message, m.error_message)
                                ELSE COALESCE(m.error_message, t.error_message) END END AS error_message,
                       COALESCE(t.price, m.price) AS price,
                       COALESCE(t.price_unit, m.price_unit) AS price_unit,
                       COALESCE(t.num_segments, m.num_segments) AS num_segments
                FROM (SELECT GREATEST(m.status, t.status) IN ('failed', 'undelivered', 'canceled') AS is_failure) AS f
            ) AS x)
        FROM news AS t
        WHERE m.id = t.id AND t.is_worth_writing
        RETURNING m.id, m.updated_at = moment AS has_changed
    )
    SELECT t.n, t.id, t.is_new, COALESCE(w.has_changed, false) OR COALESCE(t.id = ANY (moved), false)
    FROM told AS t LEFT JOIN written AS w ON w.id = t.id
    ORDER BY t.n;
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.record_old_row(message_id bigint, sid text, word text, code text, explanation text, sent timestamp without time zone, delivered timestamp without time zone, read timestamp without time zone, at timestamp with time zone)
 RETURNS void
 LANGUAGE sql
AS $function$
    SELECT whatsapp_logs.record(
        COALESCE(jsonb_agg(to_jsonb(r) || jsonb_strip_nulls(jsonb_build_object(
            'provider_id', sid, 'message_id', CASE WHEN sid IS NULL THEN message_id END))), '[]'), 'import')
    FROM whatsapp_logs.old_reports(word, code, explanation, sent AT TIME ZONE 'UTC', delivered AT TIME ZONE 'UTC',
                                   read AT TIME ZONE 'UTC', at) AS r
$function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.refuse_new_ids()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'a message keeps its id and its place: its history knows it by them (% refused)', TG_OP
        USING ERRCODE = 'foreign_key_violation';
END $function$;

CREATE OR REPLACE FUNCTION whatsapp_logs.update_old_row()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
-- Statuses and their times are reports: the fold decides, so nothing known is ever taken back. What was sent to whom stays.
DECLARE
    changed text[];
BEGIN
    NEW.phone_number := whatsapp_logs.plain_address(NEW.phone_number);
    changed := ARRAY(SELECT n.key FROM jsonb_each(to_jsonb(NEW)) AS n JOIN jsonb_each(to_jsonb(OLD)) AS o USING (key)
                     WHERE n.value <> o.value ORDER BY n.key);
    -- A made-up SID may give way to the real one, nothing else.
    IF changed && '{log_id,phone_number,message_type,message_content,media_url,created_by,created_at}'
       OR ('message_sid' = ANY (changed) AND (NEW.message_sid IS NULL OR whatsapp_logs.is_twilio_sid(OLD.message_sid))) THEN
        RAISE EXCEPTION 'whatsapp_logs keeps what was sent to whom: % of message % cannot be changed.',
            array_to_string(changed, ', '), OLD.log_id USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    PERFORM pg_advisory_xact_lock(hashtextextended(NEW.message_sid, 0));  -- before the row, as in record
    IF changed && '{message_sid,policy_id,client_id,sent_at,last_status_check}' THEN
        UPDATE whatsapp_logs.messages AS m
        SET provider_id = NEW.message_sid,
            provider = CASE WHEN NOT 'message_sid' = ANY (changed) THEN m.provider
                            WHEN whatsapp_logs.is_twilio_sid(NEW.message_sid) THEN 'twilio' ELSE 'unknown' END,
            policy_id = NEW.policy_id, client_id = NEW.client_id,
            sent_at = COALESCE(NEW.sent_at AT TIME ZONE 'UTC', m.sent_at),
            last_status_check = COALESCE(NEW.last_status_check AT TIME ZONE 'UTC', m.last_status_check),
            updated_at = clock_timestamp()
        WHERE m.id = OLD.log_id;
    END IF;
    IF changed && '{message_sid,status,error_code,error_message,delivered_at,read_at}' THEN
        PERFORM whatsapp_logs.record_old_row(
            OLD.log_id, NEW.message_sid,
            CASE WHEN changed && '{message_sid,status,error_code,error_message}' THEN NEW.status END,
            NEW.error_code, NEW.error_message, NULL,
            CASE WHEN 'delivered_at' = ANY (changed) THEN NEW.delivered_at END,
            CASE WHEN 'read_at' = ANY (changed) THEN NEW.read_at END, clock_timestamp());
    END IF;
    SELECT v.* INTO NEW FROM public.whatsapp_logs AS v WHERE v.log_id = OLD.log_id;
    RETURN NEW;
END $function$;
