-- Renewals that remind by themselves: the rules, each due date that the office has to tell of, each reminder once, and who was told otherwise.

CREATE TABLE renewal_rules (
    rule_id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    days_before  integer NOT NULL CHECK (days_before BETWEEN 0 AND 365),
    template     text NOT NULL,                  -- as TWILIO_TEMPLATE_… names it
    with_document boolean NOT NULL,
    message_type text NOT NULL,
    is_active    boolean NOT NULL DEFAULT false,
    active_since date,                           -- what was due before is not made up for
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    changed_by   text NOT NULL,
    changed_at   timestamptz NOT NULL DEFAULT now(),
    CHECK (is_active <= (active_since IS NOT NULL))
);
CREATE UNIQUE INDEX renewal_rules_active ON renewal_rules (days_before) WHERE is_active;
COMMENT ON INDEX renewal_rules_active IS 'No customer is reminded twice on one day.';

CREATE TABLE renewal_rule_changes (
    change_id  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule_id    integer NOT NULL REFERENCES renewal_rules (rule_id),
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    what       text NOT NULL
);
CREATE INDEX renewal_rule_changes_rule ON renewal_rule_changes (rule_id, change_id DESC);

-- A policy's due date stands here from the day on which it comes into sight, and stays when the policy has been renewed or changed.
CREATE TABLE renewal_dues (
    policy_id   integer NOT NULL REFERENCES policies (policy_id) ON DELETE CASCADE,
    due_on      date NOT NULL,
    noted_at    timestamptz NOT NULL DEFAULT now(),
    assigned_to text,
    done_at     timestamptz,                     -- somebody told them otherwise: by telephone, by letter
    done_by     text,
    done_how    text CHECK (done_how IN ('called', 'letter', 'other')),
    PRIMARY KEY (policy_id, due_on)
);
CREATE INDEX renewal_dues_day ON renewal_dues (due_on, policy_id);
COMMENT ON INDEX renewal_dues_day IS 'Which due dates lie in these days, soonest first?';

CREATE TABLE renewal_notes (
    note_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    policy_id integer NOT NULL,
    due_on    date NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('called', 'no_answer', 'letter', 'other', 'assigned')),
    note      text NOT NULL DEFAULT '',
    noted_by  text NOT NULL,
    noted_at  timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (policy_id, due_on) REFERENCES renewal_dues (policy_id, due_on) ON DELETE CASCADE
);
CREATE INDEX renewal_notes_due ON renewal_notes (policy_id, due_on, note_id);

-- The key is the promise: each rule reminds of each due date of a policy once, whoever runs it, however often.
CREATE TABLE renewal_reminders (
    rule_id    integer NOT NULL REFERENCES renewal_rules (rule_id),
    policy_id  integer NOT NULL REFERENCES policies (policy_id) ON DELETE CASCADE,
    due_on     date NOT NULL,
    made_on    date NOT NULL,
    message_id bigint,                           -- in the log; none where it was left out
    left_out   text CHECK (left_out IN ('superseded', 'passed', 'late')),
    PRIMARY KEY (rule_id, policy_id, due_on)
);
CREATE INDEX renewal_reminders_due ON renewal_reminders (policy_id, due_on);
CREATE INDEX renewal_reminders_day ON renewal_reminders (made_on, rule_id);
COMMENT ON INDEX renewal_reminders_day IS 'What was made, and left out, on these days?';

CREATE TABLE renewal_runs (
    day      date PRIMARY KEY,
    first_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Supabase shows `public` to the web: nothing of this may be read there.
DO $$
DECLARE stranger text;
BEGIN
    FOREACH stranger IN ARRAY ARRAY['anon', 'authenticated'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = stranger) THEN
            EXECUTE format('REVOKE ALL ON renewal_rules, renewal_rule_changes, renewal_dues, renewal_notes, renewal_reminders, renewal_runs FROM %I', stranger);
        END IF;
    END LOOP;
END $$;
