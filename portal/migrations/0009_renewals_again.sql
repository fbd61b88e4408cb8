-- Renewals: a rule sends any approved template; due dates remember who was told; runs say how they went; a date that returns is told again; notes can be erased.

-- `template` and `language` name a template of the catalogue, or one of TWILIO_TEMPLATE_…; `fields` says what each placeholder is filled with:
-- {"1": {"from": "client_name"}, "2": {"text": "the same words for all"}}. `document` goes with a template that carries one.
ALTER TABLE renewal_rules
    ADD COLUMN language text,
    ADD COLUMN fields   jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN document text CHECK (document IN ('papers', 'schedule'));
UPDATE renewal_rules
SET fields = '{"1": {"from": "client_name"}, "2": {"from": "policy_number"}, "3": {"from": "due_date"}}',
    document = CASE WHEN with_document THEN 'papers' END;
ALTER TABLE renewal_rules DROP COLUMN with_document;

-- A reminder that was taken back unsent, or after which the holder was told another date, does not count any more: `again` numbers the next one.
ALTER TABLE renewal_reminders
    ADD COLUMN reminder_id   bigint GENERATED ALWAYS AS IDENTITY,  -- the order in which they were made
    ADD COLUMN again         integer NOT NULL DEFAULT 0,
    ADD COLUMN taken_back_at timestamptz,
    DROP CONSTRAINT renewal_reminders_pkey,
    ADD PRIMARY KEY (rule_id, policy_id, due_on, again),
    DROP CONSTRAINT renewal_reminders_left_out_check,
    ADD CHECK (left_out IN ('superseded', 'passed', 'late', 'template'));

ALTER TABLE renewal_runs
    ALTER COLUMN last_at DROP NOT NULL,          -- when it last came to its end; none on a day on which it never did
    ALTER COLUMN last_at DROP DEFAULT,
    ADD COLUMN made      integer NOT NULL DEFAULT 0,
    ADD COLUMN failed_at timestamptz,
    ADD COLUMN problem   text;

-- What the log told of a due date is noted by each run, so that pages ask the log about open ones only.
ALTER TABLE renewal_dues
    ADD COLUMN told_on date,                     -- where the office is: a message arrived, or somebody told them
    ADD COLUMN is_read boolean NOT NULL DEFAULT false;
UPDATE renewal_dues SET told_on = done_at::date WHERE done_at IS NOT NULL;
DROP INDEX renewal_dues_day;
CREATE INDEX renewal_dues_day ON renewal_dues (due_on, policy_id, told_on);
COMMENT ON INDEX renewal_dues_day IS 'Which due dates lie in these days, soonest first, and who was told in time? From the index alone.';
CREATE INDEX renewal_dues_open ON renewal_dues (due_on, policy_id) WHERE NOT is_read AND done_at IS NULL;
COMMENT ON INDEX renewal_dues_open IS 'Whose holders may still be unreached?';
CREATE INDEX renewal_dues_done ON renewal_dues (due_on, policy_id) WHERE done_at IS NOT NULL;
COMMENT ON INDEX renewal_dues_done IS 'Which were told otherwise?';
CREATE INDEX renewal_dues_untold ON renewal_dues (due_on, policy_id) WHERE told_on IS NULL;
COMMENT ON INDEX renewal_dues_untold IS 'Of which does the log have to be asked whether their holders know?';

-- Notes are only ever added to. The one change that there is takes away what was said of a person.
ALTER TABLE renewal_notes ADD COLUMN erased_at timestamptz;
CREATE FUNCTION keep_renewal_notes() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (NEW.note_id, NEW.policy_id, NEW.due_on, NEW.kind, NEW.noted_by, NEW.noted_at)
       IS DISTINCT FROM (OLD.note_id, OLD.policy_id, OLD.due_on, OLD.kind, OLD.noted_by, OLD.noted_at)
       OR NEW.note <> '' OR NEW.erased_at IS NULL THEN
        RAISE EXCEPTION 'Notes of renewals are not changed; they can only be erased.' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_renewal_notes BEFORE UPDATE ON renewal_notes FOR EACH ROW EXECUTE FUNCTION keep_renewal_notes();
