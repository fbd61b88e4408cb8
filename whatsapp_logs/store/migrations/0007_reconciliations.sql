-- Watching over the log: daily comparisons with the provider's own list, refused calls, tests of the callback's way.

CREATE TABLE whatsapp_logs.reconciliations (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day                 date NOT NULL,                -- a UTC day: the provider's list goes by those
    started_by          text,                         -- NULL: the clock
    started_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    taken_at            timestamptz,                  -- a worker has begun it
    heartbeat_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    asked               integer NOT NULL DEFAULT 0,   -- messages of the provider's compared so far
    problem             text,                         -- why it stopped, in words
    retry_at            timestamptz,                  -- when it goes on after that
    finished_at         timestamptz,
    theirs              integer,                      -- messages of that day the provider knows; NULL until finished
    ours                integer,                      -- messages of that day the log knew before
    equal               integer,
    imported            integer,
    attached            integer,                      -- lost answers that the list gave back
    unknown_to_provider integer,
    status_differed     integer,
    price_differed      integer,
    prices_learnt       integer,                      -- prices are told by asking only, so learning one is no difference
    other_senders       integer                       -- messages of the account that this log's number did not send or get
);
CREATE UNIQUE INDEX reconciliations_one ON whatsapp_logs.reconciliations (day) WHERE finished_at IS NULL;
COMMENT ON INDEX whatsapp_logs.reconciliations_one IS 'Asking for a day again joins the run under way.';
CREATE INDEX reconciliations_day ON whatsapp_logs.reconciliations (day DESC, id DESC);
COMMENT ON INDEX whatsapp_logs.reconciliations_day IS 'The list of days; the last result of each.';

CREATE TABLE whatsapp_logs.reconciliation_differences (
    reconciliation_id bigint NOT NULL REFERENCES whatsapp_logs.reconciliations (id) ON DELETE CASCADE,
    provider_id       text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('imported', 'attached', 'held_back', 'unknown_to_provider', 'status', 'price')),
    message_id        bigint REFERENCES whatsapp_logs.messages (id) ON DELETE SET NULL,
    ours              text,
    theirs            text,
    PRIMARY KEY (reconciliation_id, kind, provider_id)   -- a run that is resumed notes nothing twice
);
CREATE INDEX reconciliation_differences_imported ON whatsapp_logs.reconciliation_differences (message_id) WHERE kind = 'imported';
COMMENT ON INDEX whatsapp_logs.reconciliation_differences_imported IS 'Was this message found at the provider, and when?';

CREATE INDEX messages_send_at ON whatsapp_logs.messages (send_at) WHERE send_at IS NOT NULL;
COMMENT ON INDEX whatsapp_logs.messages_send_at IS 'Which scheduled messages belong to the day that is reconciled?';
CREATE INDEX status_events_unknown ON whatsapp_logs.status_events (received_at) WHERE status IS NULL;
COMMENT ON INDEX whatsapp_logs.status_events_unknown IS 'Has the provider used words that are unknown here?';

-- Calls that nobody signed, per hour: at most a handful of rows an hour, however many calls a forger makes.
CREATE TABLE whatsapp_logs.refused_calls (
    hour   timestamptz NOT NULL,
    route  text NOT NULL,
    reason text NOT NULL,
    n      bigint NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (hour, route, reason)
);

-- A signed callback that we send ourselves through the public address. Never a row of the log.
CREATE TABLE whatsapp_logs.self_tests (
    nonce     text PRIMARY KEY,
    begun_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    heard_at  timestamptz,                            -- the callback's route recognised it
    worked_at timestamptz                             -- a worker did its job
);
