"""Reminders by rule: each once per policy and due date, whoever runs them, however often, late, or after an outage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.types.json import Jsonb

from portal import letters, reminders, runs
from portal.reminders import Outcome
from tests.test_templates import approved, next_version
from whatsapp_logs import Config, Message, MessageFilter, Source, Status, StatusReport, WhatsAppService
from whatsapp_logs.drafting import Wanted
from whatsapp_logs.twilio.simulator import Simulator

LONDON = ZoneInfo("Europe/London")
TODAY = date(2027, 3, 10)
USUAL = {"1": {"from": "client_name"}, "2": {"from": "policy_number"}, "3": {"from": "due_date"}}


class Office:
    """A small office: rules, policies that end so many days after TODAY, and its clock."""

    def __init__(self, dsn: str, service: WhatsAppService) -> None:
        self.service, self.dsn, self.count = service, dsn, 0

    def rule(
        self,
        days: int,
        *,
        since: date = TODAY,
        on: bool = True,
        document: str | None = None,
        template: str | None = None,
        language: str | None = None,
        fields: dict[str, dict[str, str]] | None = None,
    ) -> int:
        return self._id(
            """
            INSERT INTO renewal_rules (days_before, template, language, document, fields, message_type, is_active, active_since,
                                       created_by, changed_by)
            VALUES (%s, %s, %s, %s, %s, 'renewal_reminder', %s, %s, 'anna', 'anna') RETURNING rule_id
            """,
            days, template or ("renewal_reminder_document" if document else "renewal_reminder"), language, document,
            Jsonb(fields or USUAL), on, since,
        )  # fmt: skip

    def policy(self, days: int, *, phone: str | None = None, status: str = "active", today: date = TODAY) -> int:
        self.count += 1
        client = self._id(
            "INSERT INTO clients (name, phone, address) VALUES (%s, %s, 'x') RETURNING client_id",
            f"Client {self.count}", phone if phone is not None else f"+4477009{self.count:05}",
        )  # fmt: skip
        ends_on = today + timedelta(days=days)
        return self._id(
            """
            INSERT INTO policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium, currency,
                                  starts_on, ends_on, status)
            VALUES (%s, %s, 'home', 'Beacon', 'A house', 1000, 1, 100, 'GBP', %s, %s, %s) RETURNING policy_id
            """,
            client, f"HOM-{self.count:05}", ends_on - timedelta(days=364), ends_on, status,
        )  # fmt: skip

    def do(self, sql: str, *values: object) -> None:
        with psycopg.connect(self.dsn) as conn:
            conn.execute(sql.encode(), values)

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(sql.encode(), values).fetchall()

    def run(self, day: date = TODAY, clock: time = time(10), zone: ZoneInfo = LONDON) -> Outcome:
        return reminders.run(self.service, zone=zone, now=datetime.combine(day, clock, zone).astimezone(UTC))

    def sent(self) -> list[Message]:
        return self.service.page(MessageFilter(), limit=2000).messages

    def _id(self, sql: str, *values: object) -> int:
        with psycopg.connect(self.dsn) as conn:
            row = conn.execute(sql.encode(), values).fetchone()
        assert row
        return int(row[0])


@pytest.fixture
def office(dsn: str, service: WhatsAppService) -> Office:
    return Office(dsn, service)


@pytest.fixture
def strict(dsn: str, config: Config) -> Iterator[Office]:
    """An office whose gate has every rule on."""
    service = WhatsAppService(replace(config, gate_off=frozenset()))
    yield Office(dsn, service)
    service.close()


def test_a_rule_reminds_each_holder_once_so_many_days_before(office: Office) -> None:
    office.rule(30)
    due = [office.policy(30), office.policy(30)]
    for days in (29, 31, -1, 0):
        office.policy(days)
    office.policy(30, status="cancelled")
    assert office.run() == Outcome(made=2)
    assert {message.policy_id for message in office.sent()} == {str(policy) for policy in due}
    for message in office.sent():
        assert message.path == "renewal"
        assert message.message_type == "renewal_reminder"
        assert message.status is Status.QUEUED
        assert message.request_key == f"renewal:1:{message.policy_id}:2027-04-09"
        assert message.body is not None
        assert "is due for renewal on 9 April 2027" in message.body
        assert message.created_by == "renewal rule 1"
    assert office.run() == Outcome()
    assert office.run(clock=time(19, 59)) == Outcome()
    assert office.run(TODAY + timedelta(days=1)) == Outcome(made=1), "the one of 31 days is due now"


def test_the_papers_go_with_it_the_uploaded_ones_before_the_schedule(office: Office) -> None:
    office.rule(30, document="papers")
    with_paper, without = office.policy(30), office.policy(30)
    office.do(
        """
        INSERT INTO renewal_documents (policy_id, filename, content_type, content, sha256, uploaded_by)
        VALUES (%s, 'offer.pdf', 'application/pdf', 'x', sha256('x'), 'anna')
        """,
        with_paper,
    )
    office.run()
    named = {message.policy_id: message.media_filename for message in office.sent()}
    assert named == {str(with_paper): "offer.pdf", str(without): "HOM-00002.pdf"}
    assert {message.body.rpartition(". ")[2] for message in office.sent() if message.body} == {
        "The renewal papers are attached."
    }
    assert {message.template_name for message in office.sent()} == {"renewal_reminder_document"}


def test_two_workers_at_once_make_all_reminders_and_each_once(office: Office) -> None:
    office.rule(30)
    policies = {str(office.policy(30)) for _ in range(250)}
    start, outcomes = threading.Barrier(3), []

    def work() -> None:
        start.wait()
        outcomes.append(office.run())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcome.made for outcome in outcomes) == 250
    assert sorted(message.policy_id or "" for message in office.sent()) == sorted(policies)


def test_a_run_that_fails_half_way_is_gone_on_with_and_nothing_is_made_twice(office: Office) -> None:
    office.rule(30)
    policies = [office.policy(30) for _ in range(150)]
    office.do(
        f"""
        CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'power cut'; END $$;
        CREATE TRIGGER break BEFORE INSERT ON whatsapp_logs.messages FOR EACH ROW
        WHEN (NEW.policy_id = {policies[120]}) EXECUTE FUNCTION break()
        """
    )
    with pytest.raises(psycopg.errors.RaiseException):
        office.run()
    assert len(office.sent()) == 100, "the first hundred have committed, of the second none"
    office.do("DROP TRIGGER break ON whatsapp_logs.messages")
    assert office.run() == Outcome(made=50)
    assert len({message.policy_id for message in office.sent()}) == len(office.sent()) == 150
    assert office.rows("SELECT count(*) FROM renewal_reminders WHERE message_id IS NULL") == [(0,)]


def test_after_an_outage_what_is_useful_is_made_up_for_and_the_rest_is_said(office: Office) -> None:
    office.rule(30)
    office.rule(14)
    office.rule(3)
    back = TODAY + timedelta(days=20)  # nothing ran for twenty days
    just_late = office.policy(30 + 18)  # its 30-day reminder is two days late
    too_late = office.policy(30 + 5)  # fifteen days late; its 14-day one is not due yet
    overtaken = office.policy(14 + 15)  # both its 30- and 14-day reminders were due: the nearer one counts
    gone = office.policy(10)
    outcome = office.run(back)
    assert {message.policy_id for message in office.sent()} == {str(just_late), str(overtaken)}
    told = office.rows(
        """
        SELECT policy_id, days_before, left_out FROM renewal_reminders JOIN renewal_rules USING (rule_id)
        WHERE left_out IS NOT NULL ORDER BY policy_id, days_before
        """
    )
    # Of `overtaken` the 30-day target lay before the rules were on: nothing is owed of it.
    assert told == [(too_late, 30, "late"), (gone, 3, "passed")]
    assert outcome == Outcome(made=2, left_out=2)
    assert office.run(back) == Outcome()


def test_of_two_rules_that_are_late_for_one_policy_the_nearer_one_reminds(office: Office) -> None:
    office.rule(30, since=TODAY - timedelta(days=60))
    office.rule(28, since=TODAY - timedelta(days=60))
    policy = office.policy(26)
    assert office.run() == Outcome(made=1, left_out=1)
    (message,) = office.sent()
    assert message.request_key == f"renewal:2:{policy}:2027-04-05"
    assert office.rows("SELECT rule_id, left_out FROM renewal_reminders ORDER BY 1") == [(1, "superseded"), (2, None)]


def test_a_policy_that_is_entered_late_is_still_reminded_the_same_day(office: Office) -> None:
    office.rule(30, since=TODAY - timedelta(days=60))
    assert office.run() == Outcome()
    office.policy(27)
    assert office.run(clock=time(15)) == Outcome(made=1)


def test_a_changed_due_date_is_reminded_of_anew_and_what_waits_for_the_old_one_is_taken_back(office: Office) -> None:
    office.rule(30)
    policy = office.policy(30)
    office.run()
    (first,) = office.sent()
    office.do("UPDATE policies SET ends_on = ends_on + 2 WHERE policy_id = %s", policy)
    assert office.run(TODAY + timedelta(days=1)) == Outcome(taken_back=1)
    assert office.service.message(first.id).status is Status.CANCELED
    assert office.run(TODAY + timedelta(days=2)) == Outcome(made=1)
    assert {message.request_key for message in office.sent()} == {
        f"renewal:1:{policy}:2027-04-09",
        f"renewal:1:{policy}:2027-04-11",
    }


def test_a_canceled_policys_waiting_reminder_is_taken_back_one_that_left_is_not(office: Office) -> None:
    office.rule(30)
    gone, kept = office.policy(30), office.policy(30)
    office.run()
    by_policy = {message.policy_id: message.id for message in office.sent()}
    office.service.deliver([by_policy[str(kept)]])
    office.do("UPDATE policies SET status = 'cancelled'")
    assert office.run().taken_back == 1
    assert office.service.message(by_policy[str(gone)]).status is Status.CANCELED
    assert office.service.message(by_policy[str(kept)]).status is Status.SENDING


def test_a_paused_rule_sends_nothing_and_makes_nothing_up_when_it_is_on_again(office: Office) -> None:
    rule = office.rule(30, on=False)
    office.policy(30)
    later = office.policy(33)
    assert office.run() == Outcome()
    day = TODAY + timedelta(days=3)
    office.do("UPDATE renewal_rules SET is_active = true, active_since = %s WHERE rule_id = %s", day, rule)
    assert office.run(day) == Outcome(made=1)
    assert [message.policy_id for message in office.sent()] == [str(later)]


@pytest.mark.parametrize(
    ("moment", "zone", "reminded_of"),
    [
        ("2027-03-10 23:59", "Europe/London", None),
        ("2027-03-10 07:59", "Europe/London", None),
        ("2027-03-10 08:00", "Europe/London", "2027-04-09"),
        ("2027-03-28 08:00", "Europe/London", "2027-04-27"),  # clocks went on in the night
        ("2027-10-31 08:00", "Europe/London", "2027-11-30"),  # clocks went back
        ("2027-03-10 08:00", "Pacific/Auckland", "2027-04-09"),  # in London it is still the ninth
        ("2027-03-10 19:59", "America/Los_Angeles", "2027-04-09"),  # in London it is the eleventh
        ("2028-02-29 12:00", "Europe/London", "2028-03-30"),
    ],
)
def test_fault_28_the_day_is_the_offices_across_midnight_and_clock_changes(
    office: Office, moment: str, zone: str, reminded_of: str | None
) -> None:
    at = datetime.fromisoformat(moment)
    office.rule(30, since=at.date())
    for days in range(27, 34):
        office.policy(days, today=at.date())
    office.run(at.date(), at.time(), ZoneInfo(zone))
    found = [str(row[0]) for row in office.rows("SELECT due_on FROM renewal_reminders")]
    assert found == ([reminded_of] if reminded_of else [])


def test_the_gate_decides_of_each_whether_it_leaves_waits_or_is_refused(strict: Office) -> None:
    from whatsapp_logs import receive
    from whatsapp_logs.message import Inbound

    strict.rule(30)
    strict.policy(30)
    stopped, wrong = strict.policy(30, phone="+447700900777"), strict.policy(30, phone="")
    with strict.service.transaction() as conn:
        sender, recipient = "+447700900777", strict.service.config.sender
        told = Inbound(provider_id="SM" + "8" * 32, sender=sender, recipient=recipient, body="STOP")
        receive.receive(conn, told, now=datetime.now(UTC))
    assert strict.run() == Outcome(made=3)
    codes = {message.policy_id: message.error_code for message in strict.sent() if message.status is Status.FAILED}
    assert codes == {str(stopped): "opted_out", str(wrong): "invalid_number"}
    assert strict.run() == Outcome(), "a refusal is no reason to try each ten minutes"


def test_due_dates_in_sight_are_noted_once_and_stay_when_the_policy_is_renewed(office: Office) -> None:
    near, _far = office.policy(90), office.policy(91)
    office.run(clock=time(3))
    office.run(clock=time(3))
    assert office.rows("SELECT policy_id FROM renewal_dues") == [(near,)]
    office.do("UPDATE policies SET ends_on = ends_on + 365 WHERE policy_id = %s", near)
    office.run(TODAY + timedelta(days=1), clock=time(3))
    assert office.rows("SELECT policy_id FROM renewal_dues ORDER BY 1") == [(near,), (_far,)]


def test_the_worker_runs_them_by_the_setting_worker_extra(
    service: WhatsAppService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whatsapp_logs.errors import ConfigError
    from whatsapp_logs.jobs import make_app

    monkeypatch.setenv("DATABASE_URL", service.config.database_url)
    monkeypatch.setenv("SECRET_KEY", service.config.secret_key)
    named = WhatsAppService(replace(service.config, worker_extra=("portal.worker:register",)))
    assert "portal_renewals" in make_app(named).tasks
    assert "portal_renewals" not in make_app(service).tasks
    for name in ("portal.nothing:register", "portal.worker:nothing"):
        missing = WhatsAppService(replace(service.config, worker_extra=(name,)))
        with pytest.raises(ConfigError, match=f"WORKER_EXTRA names {name}, which cannot be loaded"):
            make_app(missing)


# --- what a rule sends ---

PRICED = Wanted(
    name="renewal_price",
    body="Dear {{1}}, your {{2}} ends on {{3}}. To go on costs {{4}}: {{5}} will call you.",
    names={"1": "first name", "2": "product", "3": "end", "4": "price", "5": "adviser"},
    samples={"1": "Asha", "2": "home insurance", "3": "12 May 2026", "4": "£342.50", "5": "Arjun"},
)
PRICED_FIELDS = {
    "1": {"from": "first_name"},
    "2": {"from": "product"},
    "3": {"from": "due_date"},
    "4": {"from": "premium"},
    "5": {"text": "Arjun Mehta"},
}


def of_catalogue(office: Office, days: int = 30, **more: object) -> int:
    return office.rule(days, template="renewal_price", language="en_GB", fields=PRICED_FIELDS, **more)  # type: ignore[arg-type]


def test_a_rule_sends_any_approved_template_its_fields_filled_from_the_policy(
    office: Office, simulator: Simulator
) -> None:
    version = approved(office.service, simulator, PRICED)
    of_catalogue(office)
    policy = office.policy(30)
    office.do("UPDATE clients SET name = E'Mei-Ling   Chen'")
    assert office.run() == Outcome(made=1)
    (message,) = office.sent()
    assert (
        message.body
        == "Dear Mei-Ling, your home insurance ends on 9 April 2027. To go on costs £100.00: Arjun Mehta will call you."
    )
    assert (message.template_sid, message.template_name) == (version.content_sid, "renewal_price")
    assert message.variables == {
        "1": "Mei-Ling",
        "2": "home insurance",
        "3": "9 April 2027",
        "4": "£100.00",
        "5": "Arjun Mehta",
    }
    assert message.request_key == f"renewal:1:{policy}:2027-04-09"
    office.service.deliver([message.id])
    (sent,) = simulator.messages()
    assert sent.body == message.body, "what the log says is what the customer reads"


def test_a_template_with_a_document_carries_the_policys_schedule_where_the_rule_says_so(
    office: Office, simulator: Simulator
) -> None:
    wanted = replace(PRICED, name="renewal_price_paper", has_document=True)
    approved(office.service, simulator, wanted)
    rule = office.rule(30, template="renewal_price_paper", language="en_GB", fields=PRICED_FIELDS, document="schedule")
    policy = office.policy(30)
    office.do(
        """
        INSERT INTO renewal_documents (policy_id, filename, content_type, content, sha256, uploaded_by)
        VALUES (%s, 'offer.pdf', 'application/pdf', 'x', sha256('x'), 'anna')
        """,
        policy,
    )
    office.run()
    (message,) = office.sent()
    assert (message.status, message.media_filename) == (Status.QUEUED, "HOM-00001.pdf"), "the offer was not asked for"
    office.do("UPDATE renewal_rules SET document = 'papers' WHERE rule_id = %s", rule)
    office.policy(30)
    office.do(
        """
        INSERT INTO renewal_documents (policy_id, filename, content_type, content, sha256, uploaded_by)
        SELECT policy_id, 'offer.pdf', 'application/pdf', 'x', sha256('x'), 'anna' FROM policies ON CONFLICT DO NOTHING
        """
    )
    office.run()
    assert office.sent()[0].media_filename == "offer.pdf"


def test_reminders_of_a_stopped_template_wait_for_it_and_leave_once_it_is_back(
    office: Office, simulator: Simulator
) -> None:
    version = approved(office.service, simulator, PRICED)
    of_catalogue(office)
    waits, other = office.policy(30), office.policy(14)
    office.rule(14)
    simulator.pause_template(version.content_sid or "")
    office.service.synchronise_templates()
    assert office.run() == Outcome(made=1), "another rule is not kept"
    assert [message.policy_id for message in office.sent()] == [str(other)]
    assert office.rows("SELECT count(*) FROM renewal_reminders WHERE policy_id = %s", waits) == [(0,)]
    simulator.unpause_template(version.content_sid or "")
    office.service.synchronise_templates()
    assert office.run(TODAY + timedelta(days=3)) == Outcome(made=1)
    assert office.sent()[0].policy_id == str(waits)


def test_what_waited_for_a_template_longer_than_it_is_useful_is_left_out_with_that_reason(
    office: Office, simulator: Simulator
) -> None:
    version = approved(office.service, simulator, PRICED)
    of_catalogue(office)
    office.policy(30)
    simulator.disable_template(version.content_sid or "")
    office.service.synchronise_templates()
    assert office.run(TODAY + timedelta(days=7)) == Outcome()
    assert office.run(TODAY + timedelta(days=8)) == Outcome(left_out=1)
    assert office.rows("SELECT left_out FROM renewal_reminders") == [("template",)]


def test_a_newer_version_with_another_field_is_not_sent_half_filled(office: Office, simulator: Simulator) -> None:
    first = approved(office.service, simulator, PRICED)
    rule = of_catalogue(office)
    office.policy(30)
    body = PRICED.body.replace("will call you.", "will call you on {{6}}, in the morning or in the afternoon.")
    more = replace(PRICED, body=body, names=PRICED.names | {"6": "day"}, samples=PRICED.samples | {"6": "Monday"})
    second = office.service.submit_template(next_version(office.service, first, more).id, person="anna")
    simulator.wait_for_template(second.content_sid or "", "approved")
    office.service.synchronise_templates()
    assert office.run() == Outcome()
    (why,) = reminders.stopped(office.service, letters.every(office.service), rules_of(office)).values()
    assert "a field that this rule does not fill in: “day”" in why
    office.do('UPDATE renewal_rules SET fields = fields || \'{"6": {"text": "Monday"}}\' WHERE rule_id = %s', rule)
    assert office.run() == Outcome(made=1)


def test_a_paused_nearer_rule_takes_nobodys_place(office: Office, simulator: Simulator) -> None:
    version = approved(office.service, simulator, PRICED)
    of_catalogue(office, 28, since=TODAY - timedelta(days=60))
    office.rule(30, since=TODAY - timedelta(days=60))
    office.policy(26)
    simulator.pause_template(version.content_sid or "")
    office.service.synchronise_templates()
    assert office.run() == Outcome(made=1), "the 30-day reminder is four days late, and nothing nearer can be sent"


def rules_of(office: Office) -> list[reminders.Rule]:
    with office.service.transaction() as conn:
        return reminders.rules(conn)


# --- a due date that goes away and comes back ---


def move(office: Office, policy: int, days: int) -> None:
    office.do("UPDATE policies SET ends_on = ends_on + %s WHERE policy_id = %s", days, policy)


def test_a_date_that_returns_after_another_was_told_is_told_again(office: Office) -> None:
    office.rule(30, since=TODAY - timedelta(days=60))
    policy = office.policy(30)
    assert office.run() == Outcome(made=1)
    office.service.deliver([office.sent()[0].id])
    move(office, policy, -2)
    assert office.run() == Outcome(made=1), "they are told the other date"
    office.service.deliver([office.sent()[0].id])
    move(office, policy, 2)
    assert office.run() == Outcome(), "not on the same day: the gate would take the same words for a duplicate"
    for day in (2, 3):
        office.run(TODAY + timedelta(days=day))
    told = [message.request_key for message in office.sent()]
    assert told == [
        f"renewal:1:{policy}:2027-04-09:1",
        f"renewal:1:{policy}:2027-04-07",
        f"renewal:1:{policy}:2027-04-09",
    ]
    assert office.run(TODAY + timedelta(days=20)) == Outcome(), "and once only"


def test_a_date_that_returns_while_nothing_else_was_told_is_not_told_twice(office: Office) -> None:
    office.rule(30)
    policy = office.policy(30)
    office.run()
    office.service.deliver([office.sent()[0].id])
    move(office, policy, 40)
    assert office.run() == Outcome()
    move(office, policy, -40)
    for day in range(5):
        assert office.run(TODAY + timedelta(days=day)) == Outcome()


def test_a_reminder_that_was_taken_back_unsent_is_made_when_its_date_returns(office: Office) -> None:
    office.rule(30)
    policy = office.policy(30)
    office.run()
    move(office, policy, 40)
    assert office.run().taken_back == 1
    move(office, policy, -40)
    assert office.run() == Outcome(made=1)
    assert [message.status for message in office.sent()] == [Status.QUEUED, Status.CANCELED]


def test_a_returned_date_is_told_even_when_its_day_lies_more_than_a_week_back(office: Office) -> None:
    office.rule(30, since=TODAY - timedelta(days=60))
    policy = office.policy(30)
    office.run()
    office.service.deliver([office.sent()[0].id])
    move(office, policy, 10)
    later = TODAY + timedelta(days=10)
    assert office.run(later) == Outcome(made=1)
    office.service.deliver([office.sent()[0].id])
    move(office, policy, -10)
    assert office.run(TODAY + timedelta(days=12)) == Outcome(made=1), "the last they heard is wrong"


# --- how the runs went ---


def test_a_run_says_when_it_ended_what_it_made_and_a_failed_one_why(office: Office) -> None:
    office.rule(30)
    office.policy(30)
    office.run()
    with office.service.transaction() as conn:
        ended = runs.look(conn)
    assert (ended.made, ended.failed_at) == (1, None)
    assert ended.last_at is not None
    office.policy(30)
    office.do(
        """
        CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'power cut'; END $$;
        CREATE TRIGGER break BEFORE INSERT ON whatsapp_logs.messages FOR EACH ROW EXECUTE FUNCTION break()
        """
    )
    with pytest.raises(psycopg.errors.RaiseException):
        office.run()
    with office.service.transaction() as conn:
        failed = runs.look(conn)
    assert failed.problem == "RaiseException: power cut"
    assert (failed.last_at, failed.made) == (ended.last_at, 1)
    office.do("DROP TRIGGER break ON whatsapp_logs.messages")
    office.run()
    with office.service.transaction() as conn:
        assert runs.look(conn).failed_at is None, "a run that comes to its end ends it"


def test_a_run_notes_who_knows_by_now(office: Office) -> None:
    policy = office.policy(10)
    office.run(clock=time(3))
    at = datetime.combine(TODAY, time(23, 30), UTC)
    office.service.log_message(
        message_sid="SM" + "7" * 32,
        to="+447700900001",
        message_type="renewal_reminder",
        body="x",
        policy_id=policy,
        created_at=at,
    )
    for word, minutes in (("delivered", 40), ("read", 90)):
        report = StatusReport(
            provider_status=word, provider_id="SM" + "7" * 32, happened_at=at + timedelta(minutes=minutes)
        )
        office.service.record([report], source=Source.IMPORT)
    office.run(TODAY + timedelta(days=1), clock=time(3))
    assert office.rows("SELECT told_on, is_read FROM renewal_dues") == [(date(2027, 3, 11), True)], "the office's day"
