"""The gate: every rule on every way, by what is said beforehand and by what then happens; and nothing leaves without it."""

from __future__ import annotations

import ast
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path as File
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from tests.start.processes import wait_until
from whatsapp_logs import Config, Draft, MediaFile, Message, Status, StatusReport, Template, WhatsAppService
from whatsapp_logs.gate import OUTCOMES, Action, Outcome, Rule, Verdict
from whatsapp_logs.message import Inbound, Path, Source
from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER, Simulator

CUSTOMER, OTHER, OUR_NUMBER = "+447700900222", "+447700900333", "+15550100100"
WORDS = "Hello Asha, your policy POL-0001 is due for renewal on 12 May 2027. Please contact us to renew it in time."
FIELDS = {"1": "Asha", "2": "POL-0001", "3": "12 May 2027"}
REMINDER = Draft(
    to=CUSTOMER,
    message_type="renewal_reminder",
    body=WORDS,
    template=Template(sid=RENEWAL_REMINDER, name="renewal_reminder", variables=FIELDS),
    created_by="ann",
)
FREE_TEXT = Draft(to=CUSTOMER, body="Thank you, we have it.", created_by="ann")


@pytest.fixture
def gated(config: Config) -> Iterator[WhatsAppService]:
    """The service with every rule, at no particular hour."""
    gated = WhatsAppService(replace(config, gate_off=frozenset(), quiet_hours=None))
    yield gated
    gated.close()


@pytest.fixture
def catalogue(dsn: str) -> Callable[..., int]:
    """A function that puts the reminder into the catalogue of templates."""

    def fill(approval: str = "approved", category: str = "UTILITY") -> int:
        names = ({"key": "1", "name": "client name"}, {"key": "2", "name": "policy"}, {"key": "3", "name": "due on"})
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "INSERT INTO whatsapp_logs.templates (name, created_by) VALUES ('renewal_reminder', 'ann') ON CONFLICT DO NOTHING"
            )
            row = conn.execute(
                """
                INSERT INTO whatsapp_logs.template_versions
                    (template_id, version, content_sid, content_type, body, variables, category, approval, created_by, checked_at)
                SELECT id, 1, %s, 'twilio/text', 'Hello {{1}}', %s, %s, %s, 'ann', now() FROM whatsapp_logs.templates
                ON CONFLICT (content_sid) DO UPDATE SET approval = EXCLUDED.approval, category = EXCLUDED.category RETURNING id
                """,
                [RENEWAL_REMINDER, Jsonb(names), category, approval],
            ).fetchone()
        assert row is not None
        return int(row[0])

    return fill


@dataclass
class World:
    """What a rule's case is made of: the service, whose settings may change, and the draft."""

    service: WhatsAppService
    free: WhatsAppService  # asks nothing: for what was there before
    dsn: str
    catalogue: Callable[..., int]
    draft: Draft = REMINDER

    def set(self, **changes: Any) -> None:
        self.service.config = replace(self.service.config, **changes)

    def customer_writes(self, text: str, *, sender: str = CUSTOMER, sid: str = "SM" + "e" * 32) -> None:
        self.service.receive(Inbound(provider_id=sid, sender=sender, recipient=OUR_NUMBER, body=text))

    def is_night(self) -> None:
        hour = datetime.now(UTC)
        self.set(quiet_hours=((hour - timedelta(hours=2)).time(), (hour + timedelta(hours=2)).time()))
        self.draft = replace(self.draft, timezone="UTC")


def nothing_wrong(_world: World) -> None: ...


def wrong_number(world: World) -> None:
    world.draft = replace(world.draft, to="not a number")


def no_content(world: World) -> None:
    world.draft = replace(world.draft, body=None, template=None)
    world.customer_writes("Hi")  # the window is open: it is only about the content


def asked_to_stop(world: World) -> None:
    world.customer_writes("Stop.")


def free_text_too_late(world: World) -> None:
    world.draft = replace(FREE_TEXT, message_type="renewal_reminder")


def paused_template(world: World) -> None:
    world.catalogue(approval="paused")


def empty_field(world: World) -> None:
    world.draft = replace(world.draft, template=replace(REMINDER.template, variables=FIELDS | {"2": " "}))  # type: ignore[type-var]


def file_nobody_can_fetch(world: World) -> None:
    world.draft = replace(world.draft, media_url="file:///etc/passwd")


def the_same_an_hour_ago(world: World) -> None:
    world.free.send(replace(world.draft, created_by="bob"))


def enough_for_today(world: World) -> None:
    world.set(frequency_cap=1)
    world.free.send(replace(FREE_TEXT, created_by="bob"))


def limit_reached(world: World) -> None:
    world.set(daily_customers=1)
    before = world.free.send(replace(FREE_TEXT, to=OTHER, created_by="bob"))
    world.free.deliver([before.id])


CASES: dict[Rule, tuple[Callable[[World], None], str]] = {
    Rule.ADDRESS: (wrong_number, "invalid_number"),
    Rule.CONTENT: (no_content, "nothing_to_send"),
    Rule.CONSENT: (asked_to_stop, "opted_out"),
    Rule.WINDOW: (free_text_too_late, "window_closed"),
    Rule.TEMPLATE: (paused_template, "template_paused"),
    Rule.VARIABLES: (empty_field, "variables_missing"),
    Rule.MEDIA: (file_nobody_can_fetch, "media_link"),
    Rule.DUPLICATE: (the_same_an_hour_ago, "duplicate"),
    Rule.FREQUENCY: (enough_for_today, "too_many"),
    Rule.QUIET_HOURS: (World.is_night, "quiet_hours"),
    Rule.SENDER_LIMIT: (limit_reached, "sender_limit"),
}
R, A, W, T, P = Outcome.REFUSES, Outcome.ASKS, Outcome.WAITS, Outcome.TELLS, Outcome.PASSES
# The table of docs/sending.md, once more: rule by rule for single, reply, bot, again, scheduled, campaign, renewal.
EXPECTED = {
    Rule.ADDRESS: (R, R, R, R, R, R, R),
    Rule.CONTENT: (R, R, R, R, R, R, R),
    Rule.CONSENT: (R, R, R, R, R, R, R),
    Rule.WINDOW: (R, R, R, R, R, R, R),
    Rule.TEMPLATE: (R, R, R, R, R, R, R),
    Rule.VARIABLES: (R, R, R, R, R, R, R),
    Rule.MEDIA: (R, R, R, R, R, R, R),
    Rule.DUPLICATE: (A, P, P, A, A, R, R),
    Rule.FREQUENCY: (A, P, P, A, A, R, W),
    Rule.QUIET_HOURS: (T, P, P, T, T, W, W),
    Rule.SENDER_LIMIT: (W, W, W, W, W, W, W),
}
PATHS = (Path.SINGLE, Path.REPLY, Path.BOT, Path.AGAIN, Path.SCHEDULED, Path.CAMPAIGN, Path.RENEWAL)
TABLE = [(rule, path, outcome) for rule, row in EXPECTED.items() for path, outcome in zip(PATHS, row, strict=True)]


@pytest.fixture
def world(gated: WhatsAppService, service: WhatsAppService, dsn: str, catalogue: Callable[..., int]) -> World:
    return World(gated, service, dsn, catalogue)


def send(world: World, path: Path, *, confirmed: frozenset[str] = frozenset()) -> Message:
    """Send the world's draft by this way, as that way's own code does it."""
    service, draft = world.service, replace(world.draft, path=path, confirmed=confirmed)
    if path is Path.AGAIN:
        with psycopg.connect(world.dsn) as conn:
            row = conn.execute("SELECT max(id) FROM whatsapp_logs.messages WHERE created_by = 'ann'").fetchone()
        return service.send_again(row[0], created_by="ann", request_key="again", confirmed=confirmed)  # type: ignore[index]
    if path is Path.SCHEDULED:
        due = datetime.now(UTC) + timedelta(minutes=1)
        return service.send(replace(draft, path=Path.SINGLE, send_at=due))
    if path in (Path.CAMPAIGN, Path.RENEWAL):
        return service.message(service.send_many([draft])[0])
    return service.send(draft)


def prepared(world: World, rule: Rule | None, path: Path) -> None:
    """The world in which this rule finds something; for `again` a message that has failed is there first."""
    make = CASES[rule][0] if rule else nothing_wrong
    if path is not Path.AGAIN:
        make(world)
        return
    if rule in (Rule.ADDRESS, Rule.CONTENT, Rule.WINDOW, Rule.VARIABLES, Rule.MEDIA, Rule.QUIET_HOURS):
        make(world)
    failed = world.free.send(replace(world.draft, created_by="ann"))
    if failed.status is not Status.FAILED:
        world.free.record([StatusReport(provider_status="failed", message_id=failed.id)], source=Source.SEND)
    if rule not in (Rule.ADDRESS, Rule.CONTENT, Rule.WINDOW, Rule.VARIABLES, Rule.MEDIA, Rule.QUIET_HOURS):
        make(world)


def hand_over(world: World, message: Message) -> Message:
    """Let the worker's part happen, a scheduled one's time being there."""
    with psycopg.connect(world.dsn) as conn:
        conn.execute(
            "UPDATE whatsapp_logs.messages SET send_at = now() - interval '1 second' WHERE id = %s AND send_at IS NOT NULL",
            [message.id],
        )
    world.service.deliver([message.id])
    return world.service.message(message.id)


def test_the_table_is_the_products() -> None:
    assert {(rule, path): OUTCOMES[path][rule] for rule in Rule for path in Path} == {
        (rule, path): outcome for rule, path, outcome in TABLE
    }


@pytest.mark.parametrize(("rule", "path", "outcome"), TABLE, ids=lambda value: str(value))
def test_every_rule_on_every_way(rule: Rule, path: Path, outcome: Outcome, world: World, simulator: Simulator) -> None:
    prepared(world, rule, path)
    code = CASES[rule][1]
    said = world.service.preview(replace(world.draft, path=path))
    found = [finding for finding in said.findings if finding.code == code]
    assert [finding.outcome for finding in found] == ([] if outcome is P else [outcome])
    assert all(finding.text.endswith((".", "!")) and len(finding.text) > 20 for finding in found)
    assert all(finding.action is not Action.NONE for finding in found if finding.rule is not Rule.CONTENT)

    before = len(simulator.messages())
    sent = send(world, path)
    after = hand_over(world, sent)
    left = len(simulator.messages()) - before
    if outcome in (R, A):
        assert (sent.status, sent.error_code, left) == (Status.FAILED, code, 0)
        assert sent.error_message == found[0].text
    elif outcome is W:
        assert (after.status in (Status.QUEUED, Status.SCHEDULED), after.claimed_at, left) == (True, None, 0)
        assert after.attempts == 0
        assert (after.wait_reason, after.retry_at) == (
            found[0].text,
            pytest.approx(found[0].until, abs=timedelta(seconds=5)),
        )
    else:
        assert (after.provider_id is not None, left) == (True, 1)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_found_leaves_by_every_way(path: Path, world: World, simulator: Simulator) -> None:
    prepared(world, None, path)
    said = world.service.preview(replace(world.draft, path=path))
    assert (said.findings, said.refusal, said.doubts, said.waits) == ((), None, (), None)
    message = hand_over(world, send(world, path))
    assert (message.path, message.provider_id) == (path, simulator.messages()[-1].sid)


@pytest.mark.parametrize("path", [Path.SINGLE, Path.AGAIN, Path.SCHEDULED])
@pytest.mark.parametrize("rule", [Rule.DUPLICATE, Rule.FREQUENCY])
def test_what_is_asked_may_be_confirmed(rule: Rule, path: Path, world: World) -> None:
    prepared(world, rule, path)
    doubts = world.service.preview(replace(world.draft, path=path)).doubts
    assert [doubt.rule for doubt in doubts] == [rule]
    message = hand_over(world, send(world, path, confirmed=frozenset(doubt.rule for doubt in doubts)))
    assert message.provider_id is not None
    assert message.confirmed == [rule]


@pytest.mark.parametrize("rule", [Rule.CONSENT, Rule.WINDOW, Rule.TEMPLATE, Rule.VARIABLES])
def test_what_is_refused_cannot_be_confirmed(rule: Rule, world: World) -> None:
    prepared(world, rule, Path.SINGLE)
    assert world.service.preview(world.draft).doubts == ()
    assert send(world, Path.SINGLE, confirmed=frozenset(Rule)).error_code == CASES[rule][1]


@pytest.mark.parametrize("rule", [Rule.CONSENT, Rule.TEMPLATE])
@pytest.mark.parametrize("path", PATHS)
def test_the_gate_is_asked_once_more_when_the_message_is_handed_over(
    rule: Rule, path: Path, world: World, simulator: Simulator
) -> None:
    world.catalogue()
    prepared(world, None, path)
    sent = send(world, path)
    assert sent.status in (Status.QUEUED, Status.SCHEDULED)
    CASES[rule][0](world)  # in the meantime
    after = hand_over(world, sent)
    assert (after.status, after.error_code, simulator.messages()) == (Status.FAILED, CASES[rule][1], [])
    assert after.attempts == 0


def test_the_window_is_open_for_a_day_after_the_customers_last_message(world: World, dsn: str) -> None:
    assert world.service.preview(FREE_TEXT).window_until is None
    world.customer_writes("Hi")
    said = world.service.preview(FREE_TEXT)
    assert said.refusal is None
    assert said.window_until is not None
    assert timedelta(hours=23, minutes=58) < said.window_until - datetime.now(UTC) < timedelta(hours=24)
    for hours, is_open in ((23.9, True), (23.99, False), (24, False)):
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - make_interval(secs => %s)", [hours * 3600]
            )
        assert (world.service.preview(FREE_TEXT).refusal is None) == is_open
    tomorrow = datetime.now(UTC) + timedelta(hours=25)
    world.customer_writes("Hi again", sid="SM" + "d" * 32)
    refused = world.service.preview(replace(FREE_TEXT, send_at=tomorrow)).refusal
    assert refused is not None
    assert refused.rule is Rule.WINDOW


@pytest.mark.parametrize(
    "word",
    ["STOP", "stop", " Stop. ", "StopAll", "UNSUBSCRIBE", "opt-out", "Opt out", "quit", "end", "cancel", "revoke"],
)
def test_stop_in_its_forms_stops_everything_until_start(word: str, world: World) -> None:
    world.customer_writes(word)
    assert world.service.preview(REMINDER).refusal is not None
    assert world.service.preview(replace(REMINDER, to=OTHER)).refusal is None
    world.customer_writes("Start", sid="SM" + "d" * 32)
    assert world.service.preview(REMINDER).refusal is None


@pytest.mark.parametrize(
    "text",
    ["Please stop by my office", "stop stop it hurts", "the end", "", "unstoppable", "STOP sending the old policy"],
)
def test_a_sentence_with_the_word_in_it_is_no_opt_out(text: str, world: World) -> None:
    world.customer_writes(text)
    assert world.service.preview(REMINDER).refusal is None


def test_twilios_own_word_for_an_opt_out_counts_whatever_the_text_says(world: World) -> None:
    received = Inbound(
        provider_id="SM" + "e" * 32, sender=CUSTOMER, recipient=OUR_NUMBER, body="Arrêt", payload={"OptOutType": "STOP"}
    )
    world.service.receive(received)
    assert world.service.preview(REMINDER).refusal is not None


@pytest.mark.parametrize("code", ["21610", "63014"])
def test_a_refusal_by_the_provider_because_of_an_opt_out_is_learnt(code: str, world: World) -> None:
    sent = world.service.send(REMINDER)
    world.service.record(
        [StatusReport(provider_status="failed", message_id=sent.id, error_code=code)] * 2, source=Source.CALLBACK
    )
    refused = world.service.preview(REMINDER).refusal
    assert refused is not None
    assert "WhatsApp" in refused.text
    (line,) = world.service.consent_of(CUSTOMER)
    assert (line.kind, line.source, line.message_id, line.recorded_by) == (
        "opt_out",
        f"error_{code}",
        sent.id,
        "twilio",
    )


def test_advertising_needs_a_recorded_agreement(world: World, catalogue: Callable[..., int]) -> None:
    catalogue(category="MARKETING")
    refused = world.service.preview(REMINDER).refusal
    assert refused is not None
    assert (refused.code, refused.action) == ("no_marketing_consent", Action.RECORD_CONSENT)
    world.service.record_consent(
        address=CUSTOMER,
        kind="opt_in",
        scope="marketing",
        wording="Ticked the box on the proposal form",
        recorded_by="ann",
    )
    assert world.service.preview(REMINDER).refusal is None
    world.service.record_consent(
        address=CUSTOMER, kind="opt_out", scope="marketing", wording="By phone", recorded_by="ann"
    )
    refused = world.service.preview(REMINDER).refusal
    assert refused is not None
    assert refused.code == "no_marketing"
    catalogue(category="UTILITY")
    assert world.service.preview(REMINDER).refusal is None


@pytest.mark.parametrize("path", PATHS)
def test_where_the_office_says_so_nobody_is_written_to_first_without_a_recorded_agreement(
    path: Path, world: World, simulator: Simulator
) -> None:
    prepared(world, None, path)
    world.set(consent_required="always")
    found = world.service.preview(replace(world.draft, path=path)).refusal
    assert found is not None
    assert (found.code, found.rule, found.action) == ("no_consent", Rule.CONSENT, Action.RECORD_CONSENT)
    refused = send(world, path)
    assert (refused.status, refused.error_code, refused.error_message) == (Status.FAILED, "no_consent", found.text)
    world.service.record_consent(
        address=CUSTOMER, kind="opt_in", scope="all", wording="Ticked “messages by WhatsApp”", recorded_by="ann"
    )
    assert world.service.preview(replace(world.draft, path=path)).findings == ()
    if path is not Path.AGAIN:  # sent again once only, and that was the refused one
        assert hand_over(world, send(world, path)).provider_id == simulator.messages()[-1].sid


@pytest.mark.parametrize("path", PATHS)
def test_a_missing_agreement_stops_what_is_queued_already(path: Path, world: World, simulator: Simulator) -> None:
    prepared(world, None, path)
    sent = send(world, path)
    world.set(consent_required="always")
    after = hand_over(world, sent)
    assert (after.status, after.error_code, after.attempts) == (Status.FAILED, "no_consent", 0)
    assert simulator.messages() == []


def test_an_answer_needs_no_recorded_agreement_and_start_is_one(
    world: World, dsn: str, catalogue: Callable[..., int]
) -> None:
    world.set(consent_required="always")
    world.customer_writes("When is my policy due?")
    assert world.service.preview(REMINDER).refusal is None
    assert world.service.preview(FREE_TEXT).refusal is None
    tomorrow = datetime.now(UTC) + timedelta(hours=25)
    assert codes(world.service.preview(replace(REMINDER, send_at=tomorrow))) == ["no_consent"]
    world.customer_writes("START", sid="SM" + "d" * 32)
    assert world.service.preview(replace(REMINDER, send_at=tomorrow)).refusal is None
    world.customer_writes("STOP", sid="SM" + "c" * 32)
    assert codes(world.service.preview(REMINDER)) == ["opted_out"]
    catalogue(category="MARKETING")
    world.service.record_consent(
        address=OTHER, kind="opt_in", scope="marketing", wording="Ticked “offers”", recorded_by="ann"
    )
    assert world.service.preview(replace(REMINDER, to=OTHER)).refusal is None
    catalogue(category="UTILITY")
    assert codes(world.service.preview(replace(REMINDER, to=OTHER))) == ["no_consent"]
    world.set(consent_required="none")
    catalogue(category="MARKETING")
    assert world.service.preview(replace(REMINDER, to="+447700900444")).refusal is None


def codes(said: Verdict) -> list[str]:
    return [finding.code for finding in said.findings]


def asked_days_ago(world: World, message_id: int, *, days: int, due: timedelta) -> None:
    """As if this message had been asked for so many days ago, to leave then; `due` is from now."""
    with psycopg.connect(world.dsn) as conn:
        conn.execute(
            """
            UPDATE whatsapp_logs.messages SET created_at = now() - make_interval(days => %s), send_at = now() + %s WHERE id = %s
            """,
            [days, due, message_id],
        )


def test_what_is_scheduled_counts_when_it_is_due_and_not_when_it_was_asked_for(world: World) -> None:
    world.set(frequency_cap=2)
    due = datetime.now(UTC) + timedelta(days=6)
    for n in range(2):
        coming = world.service.send(replace(REMINDER, body=f"{WORDS} {n}", send_at=due + timedelta(hours=n)))
        assert coming.status is Status.SCHEDULED
    assert codes(world.service.preview(REMINDER)) == []
    days = {hours: codes(world.service.preview(replace(REMINDER, send_at=due + timedelta(hours=hours)))) for hours in
            (-1, 0.5, 2, 23, 25)}  # fmt: skip
    assert days == {-1: [], 0.5: [], 2: ["too_many"], 23: ["too_many"], 25: []}


def test_what_was_asked_for_long_ago_counts_on_the_day_it_left(world: World) -> None:
    world.set(frequency_cap=1)
    early = world.service.send(replace(REMINDER, body="Asked for early", send_at=datetime.now(UTC) + timedelta(days=1)))
    asked_days_ago(world, early.id, days=30, due=timedelta(hours=-1))
    world.service.deliver([early.id])
    assert codes(world.service.preview(REMINDER)) == ["too_many"]
    with psycopg.connect(world.dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET claimed_at = now() - interval '25 hours'")
    assert codes(world.service.preview(REMINDER)) == []


def test_what_waited_for_days_counts_on_the_day_it_left(world: World) -> None:
    world.set(frequency_cap=1)
    waited = world.service.send(replace(REMINDER, body="Waited for a place"))
    with psycopg.connect(world.dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET created_at = now() - interval '3 days'")
    assert codes(world.service.preview(REMINDER)) == ["too_many"]  # it may leave at any moment
    world.service.deliver([waited.id])
    assert codes(world.service.preview(REMINDER)) == ["too_many"]


def test_at_its_time_a_scheduled_message_counts_what_has_left_since(world: World) -> None:
    world.set(frequency_cap=1)
    scheduled = world.service.send(replace(REMINDER, send_at=datetime.now(UTC) + timedelta(days=2)))
    between = world.service.send(replace(FREE_TEXT, template=REMINDER.template))
    world.service.deliver([between.id])
    after = hand_over(world, scheduled)
    assert (after.status, after.error_code) == (Status.FAILED, "too_many")


def test_the_same_within_a_day_after_is_told_too(world: World) -> None:
    world.service.send(replace(REMINDER, send_at=datetime.now(UTC) + timedelta(hours=20)))
    (doubt,) = world.service.preview(REMINDER).doubts
    assert doubt.rule is Rule.DUPLICATE
    assert "The very same goes to this customer at" in doubt.text
    assert world.service.preview(replace(REMINDER, send_at=datetime.now(UTC) + timedelta(days=2))).doubts == ()


def test_a_message_is_pinned_to_the_version_of_its_template(world: World, catalogue: Callable[..., int]) -> None:
    version = catalogue()
    assert world.service.send(REMINDER).template_version_id == version


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"1": "Asha", "2": "P"}, "variables_missing"),
        (FIELDS | {"3": "12\nMay"}, "variables_unclean"),
        (FIELDS | {"3": "12     May"}, "variables_unclean"),
        (FIELDS | {"4": "more"}, "variables_unknown"),
    ],
)
def test_fields_are_complete_and_clean(
    fields: dict[str, str], code: str, world: World, catalogue: Callable[..., int]
) -> None:
    catalogue()
    draft = replace(REMINDER, template=replace(REMINDER.template, variables=fields))  # type: ignore[type-var]
    refused = world.service.preview(draft).refusal
    assert refused is not None
    assert refused.code == code


def test_a_template_with_a_document_does_not_go_without_one(world: World) -> None:
    template = Template(sid="HX" + "5" * 32, name="policy_document", variables={"1": "Asha"}, media_variable="3")
    refused = world.service.preview(replace(REMINDER, template=template)).refusal
    assert refused is not None
    assert refused.code == "document_missing"
    pdf = MediaFile(content=b"%PDF-1.7", content_type="application/pdf", filename="policy.pdf")
    attached = replace(REMINDER, template=template, media=pdf)
    assert world.service.preview(attached).refusal is None
    message = world.service.send(attached)
    world.service.deliver([message.id])
    assert world.service.message(message.id).error_code != "document_missing"


def test_a_template_that_twilio_lacks_is_refused_once_the_catalogue_is_known(
    world: World, catalogue: Callable[..., int]
) -> None:
    unknown = replace(REMINDER, template=replace(REMINDER.template, sid="HX" + "9" * 32))  # type: ignore[type-var]
    assert world.service.preview(unknown).refusal is None
    catalogue()
    refused = world.service.preview(unknown).refusal
    assert refused is not None
    assert refused.code == "template_unknown"


def test_of_two_equal_messages_at_the_same_moment_one_is_asked_about(world: World, dsn: str) -> None:
    def is_waiting() -> bool:
        with psycopg.connect(dsn) as conn:
            query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            return conn.execute(query.encode()).fetchone() is not None

    with world.service.transaction() as conn:
        first = world.service.send(REMINDER, conn=conn)
        second: list[Message] = []
        other = threading.Thread(target=lambda: second.append(world.service.send(REMINDER)))
        other.start()
        wait_until(is_waiting)  # for the first one's transaction
    other.join()
    assert (first.status, second[0].error_code) == (Status.QUEUED, "duplicate")


def test_failed_and_cancelled_messages_are_no_duplicates(world: World) -> None:
    first = world.service.send(REMINDER)
    world.service.record([StatusReport(provider_status="undelivered", message_id=first.id)], source=Source.CALLBACK)
    assert world.service.preview(REMINDER).refusal is None
    assert world.service.preview(replace(REMINDER, message_type="general")).refusal is None


# --- nothing leaves without it ---------------------------------------------------------------------------------------


def test_only_a_cleared_message_is_handed_to_a_gateway() -> None:
    """By reading the program: `gateway.send` is called with what is cleared alone, which the claims make that ask the gate."""
    calls = [
        (file.name, function.name, ast.unparse(node))
        for file in File("whatsapp_logs").rglob("*.py")
        for function in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    ]
    handed_over = [call for call in calls if re.match(r"(\w+\.)*_?gateway\.send\(", call[2])]
    assert handed_over == [
        ("send.py", "try_to_hand_over", "gateway.send(cleared.outgoing)"),
        ("send.py", "_hand_over", "gateway.send(cleared.outgoing)"),
    ]
    makers = {call[:2] for call in calls if call[2].startswith("_Cleared(")}
    assert makers == {("send.py", "_claim"), ("send.py", "claim_together")}
    assert {call[:2] for call in calls if re.match(r"gate\.examine\w*claimed\(", call[2])} >= makers


NUMBERS = ("+447700900401", "+447700900402", "+447700900403")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NUMBERS), st.sampled_from(["Hi", "STOP", "START", "opt out"])),
        st.tuples(st.just("late"), st.sampled_from(NUMBERS), st.just("")),
        st.tuples(
            st.sampled_from([path.value for path in Path if path is not Path.AGAIN]),
            st.sampled_from(NUMBERS),
            st.sampled_from(["free", "template", "empty field"]),
        ),
        st.tuples(st.just("again"), st.sampled_from(NUMBERS), st.just("")),
        st.tuples(st.just("template"), st.just(""), st.sampled_from(["approved", "paused", "rejected", "pending"])),
        st.tuples(st.just("deliver"), st.just(""), st.just("")),
    ),
    min_size=4,
    max_size=14,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(steps=STEPS)
def test_whatever_happens_nothing_reaches_twilio_that_the_rules_forbid(
    steps: list[tuple[str, str, str]], world: World, simulator: Simulator
) -> None:
    """An oracle of its own, three facts a customer, is asked at the moment of each hand-over."""
    stopped: dict[str, bool] = dict.fromkeys(NUMBERS, False)
    is_open: dict[str, bool] = dict.fromkeys(NUMBERS, False)
    approval = "approved"
    world.catalogue()
    with psycopg.connect(world.dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.contacts SET last_inbound_at = NULL")
        conn.execute(
            "UPDATE whatsapp_logs.messages SET claimed_at = now(), provider_id = 'old' || id WHERE provider_id IS NULL"
        )
    world.set(gate_off=frozenset({"duplicate", "frequency"}))
    waiting: list[int] = []
    for number in NUMBERS:
        world.service.record_consent(
            address=number, kind="opt_in", scope="all", wording="begins anew", recorded_by="ann"
        )

    def deliver() -> None:
        before = len(simulator.messages())
        world.service.deliver(waiting)
        for sent in simulator.messages()[before:]:
            number = sent.to.removeprefix("whatsapp:")
            assert not stopped[number], steps
            assert is_open[number] or sent.content_sid, steps
            assert not sent.content_sid or approval == "approved", steps
            assert "{{" not in sent.body, steps
        waiting.clear()

    for place, (what, number, how) in enumerate(steps):
        if what == "write":
            sid = f"SM{id(steps) % 10**12:012d}{place:020d}"
            world.customer_writes(how, sender=number, sid=sid)
            is_open[number] = True
            stopped[number] = how in ("STOP", "opt out") or (stopped[number] and how != "START")
        elif what == "late":
            with psycopg.connect(world.dsn) as conn:
                conn.execute(
                    "UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - interval '25 hours' WHERE address = %s",
                    [number],
                )
            is_open[number] = False
        elif what == "template":
            world.catalogue(approval=how)
            approval = how
        elif what == "deliver":
            deliver()
        elif what == "again":
            waiting += again(world, number)
        else:
            fields = FIELDS | {"2": ""} if how == "empty field" else FIELDS
            template = None if how == "free" else replace(REMINDER.template, variables=fields)  # type: ignore[type-var]
            draft = replace(REMINDER, to=number, template=template, path=Path(what))
            waiting += world.service.send_many([draft]) if place % 2 else [world.service.send(draft).id]
    deliver()


def again(world: World, number: str) -> list[int]:
    """The last failed message of this number once more, unless that was done."""
    with psycopg.connect(world.dsn) as conn:
        row = conn.execute(
            """
            SELECT m.id FROM whatsapp_logs.messages AS m
            WHERE m.recipient = %s AND m.status = 'failed' AND m.provider_id IS NULL
              AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS a WHERE a.resend_of = m.id) ORDER BY m.id DESC LIMIT 1
            """,
            [number],
        ).fetchone()
    return [] if row is None else [world.service.send_again(row[0], created_by="ann", request_key=f"again {row[0]}").id]


def test_a_verdict_without_findings_says_nothing() -> None:
    verdict = Verdict(recipient=CUSTOMER)
    assert (verdict.refusal, verdict.doubts, verdict.notes, verdict.waits) == (None, (), (), None)
