"""Messages for later: the right moment in every zone, taken back or changed until they leave, and the gate asked once more then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.start.processes import wait_until
from whatsapp_logs import (
    Config,
    Draft,
    Message,
    MessageFilter,
    Status,
    Template,
    WhatsAppService,
    gate,
    schedule,
    zones,
)
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.filters import Cursor
from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER, Simulator

TO = "+447700900222"
VALUES = {"1": "Asha Rao", "2": "POL-7", "3": "1 December 2026"}
Work = Callable[[], None]
Overdue = Callable[[Message, timedelta], None]


@pytest.fixture
def overdue(dsn: str) -> Overdue:
    """Let a message's time have come so long ago."""

    def let(message: Message, ago: timedelta) -> None:
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "UPDATE whatsapp_logs.messages SET send_at = now() - %s, created_at = created_at - %s WHERE id = %s",
                (ago, ago, message.id),
            )
            conn.execute("UPDATE whatsapp_logs.procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")

    return let


def leave_soon(service: WhatsAppService, message: Message) -> None:
    """Move it to a moment that is about to come; further on, as often as that has passed before the change was asked for."""
    for lead_s in (0.3, 1.0, 5.0, 30.0):
        try:
            service.change_scheduled(
                message.id, changed_by="asha", send_at=datetime.now(UTC) + timedelta(seconds=lead_s)
            )
        except InvalidInput:
            continue
        return
    raise AssertionError("The machine stands still")


def later(service: WhatsAppService, to: str = TO, **facts: object) -> Message:
    template = Template(sid=RENEWAL_REMINDER, name="renewal_reminder", variables=VALUES)
    body = "Hello Asha Rao, your policy POL-7 is due for renewal on 1 December 2026. Please contact us to renew it in time."
    given: dict[str, object] = {
        "body": body,
        "template": template,
        "created_by": "arjun",
        "message_type": "renewal_reminder",
    }
    return service.send(Draft(to=to, send_at=datetime.now(UTC) + timedelta(hours=3), **(given | facts)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "local", "utc", "why"),
    [
        ("Europe/London", "2026-06-03 09:00", "2026-06-03 08:00", "summer"),
        ("Europe/London", "2026-12-03 09:00", "2026-12-03 09:00", "winter"),
        ("Europe/London", "2026-03-29 00:59", "2026-03-29 00:59", "the last minute before clocks go on"),
        ("Europe/London", "2026-03-29 01:00", "2026-03-29 01:00", "left out from here"),
        ("Europe/London", "2026-03-29 01:30", "2026-03-29 01:00", "left out: the next that there is"),
        ("Europe/London", "2026-03-29 01:59", "2026-03-29 01:00", "left out to here"),
        ("Europe/London", "2026-03-29 02:00", "2026-03-29 01:00", "the first after it"),
        ("Europe/London", "2026-10-25 01:30", "2026-10-25 00:30", "comes twice: the first"),
        ("Europe/London", "2026-10-25 02:00", "2026-10-25 02:00", "once again unique"),
        ("America/New_York", "2026-03-08 02:30", "2026-03-08 07:00", "left out"),
        ("America/New_York", "2026-11-01 01:30", "2026-11-01 05:30", "comes twice"),
        ("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30", "half an hour is left out"),
        ("Pacific/Apia", "2011-12-30 12:00", "2011-12-30 10:00", "a whole day is left out"),
        ("Asia/Kolkata", "2026-06-03 09:00", "2026-06-03 03:30", "half hours"),
        ("America/Santiago", "2026-09-06 00:30", "2026-09-06 04:00", "midnight itself is left out"),
    ],
)
def test_fault_28_a_local_time_is_the_right_moment_whatever_clocks_do(
    zone: str, local: str, utc: str, why: str
) -> None:
    day, clock = local.split()
    moment = zones.moment(date.fromisoformat(day), time.fromisoformat(clock), ZoneInfo(zone))
    assert moment == datetime.fromisoformat(utc).replace(tzinfo=UTC), why
    assert moment.tzinfo is UTC


def test_a_time_that_has_passed_or_lies_years_ahead_is_refused_in_words() -> None:
    now, tokyo = datetime(2026, 6, 3, 12, tzinfo=UTC), ZoneInfo("Asia/Tokyo")
    with pytest.raises(InvalidInput, match="in Tokyo it is 21:00 on 3 June 2026 already"):
        schedule.moment(date(2026, 6, 3), time(21), tokyo, now=now)
    assert schedule.moment(date(2026, 6, 3), time(21, 1), tokyo, now=now) == now + timedelta(minutes=1)
    with pytest.raises(InvalidInput, match="more than a year ahead"):
        schedule.moment(date(2062, 6, 3), time(21), tokyo, now=now)
    with pytest.raises(InvalidInput, match="beyond every calendar"):
        schedule.moment(date.max, time(23), ZoneInfo("America/New_York"), now=now)


def test_a_time_without_a_zone_is_refused(service: WhatsAppService) -> None:
    naive = datetime(2062, 6, 3, 9)  # noqa: DTZ001 - the mistake
    with pytest.raises(InvalidInput, match="has no zone"):
        service.send(Draft(to=TO, body="x", send_at=naive))
    with pytest.raises(InvalidInput, match="has no zone"):
        service.send_many([Draft(to=TO, body="x", send_at=naive)])


def test_the_recipients_zone_is_the_offices_where_it_can_be_and_else_their_countrys(service: WhatsAppService) -> None:
    in_london = WhatsAppService(replace(service.config, display_timezone="Europe/London"))
    assert in_london.recipient_zone("+447700900222").key == "Europe/London"
    assert in_london.recipient_zone("+12125550100").key == "America/New_York"
    assert in_london.recipient_zone("no number").key == "Europe/London"
    assert in_london.recipient_zone("+447700900222", timezone="Asia/Tokyo").key == "Asia/Tokyo"
    in_london.close()


def test_a_message_for_later_is_scheduled_leaves_at_its_time_and_not_before(
    service: WhatsAppService, simulator: Simulator, work: Work, overdue: Overdue
) -> None:
    message = later(service)
    assert (message.status, message.path) == (Status.SCHEDULED, "scheduled")
    work()
    service.deliver([message.id])
    assert service.message(message.id).status is Status.SCHEDULED
    assert simulator.messages() == []
    overdue(message, timedelta(minutes=1))
    work()
    sent = service.message(message.id)
    assert sent.status is Status.SENDING
    assert [theirs.sid for theirs in simulator.messages()] == [sent.provider_id]
    words = [event.provider_status for event in service.timeline(message.id) if event.provider_id is None]
    assert words == ["scheduled", "queued"]


def test_many_for_later_are_scheduled_together_and_come_in_their_order_page_by_page(service: WhatsAppService) -> None:
    base = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    times = [base + timedelta(hours=hours) for hours in (5, 1, 4, 1, 3, 2)]
    ids = service.send_many([Draft(to=f"+4477009001{n:02}", body="x", send_at=at) for n, at in enumerate(times)])
    seen: list[int] = []
    after = None
    while page := service.scheduled(after=after, limit=2):
        seen += [message.id for message in page]
        assert page[-1].send_at is not None
        after = Cursor(page[-1].send_at, page[-1].id)
    assert seen == [ids[place] for place in (1, 3, 5, 4, 2, 0)]
    assert service.status_counts()[Status.SCHEDULED] == 6


def test_what_a_worker_that_was_down_has_missed_leaves_unless_it_is_too_late(
    service: WhatsAppService, simulator: Simulator, overdue: Overdue
) -> None:
    from whatsapp_logs import jobs

    missed, stale, yet = later(service), later(service, "+447700900223"), later(service, "+447700900224")
    overdue(missed, timedelta(hours=11))
    overdue(stale, timedelta(hours=13))
    assert {alarm.name for alarm in service.alarms()} >= {"queue_old"}, "an alarm as long as they wait"
    jobs.keep_house(service)
    assert service.message(missed.id).status is Status.SENDING
    assert service.message(yet.id).status is Status.SCHEDULED
    late = service.message(stale.id)
    assert (late.status, late.error_code) == (Status.FAILED, "too_late")
    assert "13 hours" in (late.error_message or "")
    assert len(simulator.messages()) == 1
    (alarm,) = [alarm for alarm in service.alarms() if alarm.name == "scheduled_too_late"]
    assert alarm.title == "1 scheduled message too late to be sent"


def test_a_canceled_message_never_leaves_and_says_who_canceled_it(
    service: WhatsAppService, simulator: Simulator, work: Work, overdue: Overdue
) -> None:
    message = later(service)
    assert service.cancel_scheduled(message_ids=[message.id], canceled_by="asha", reason="Paid") == [message.id]
    assert service.cancel_scheduled(message_ids=[message.id], canceled_by="vera") == []
    assert service.why_not_canceled(message.id).startswith("It was canceled already, by asha, at ")
    overdue(message, timedelta(minutes=1))
    work()
    assert service.message(message.id).status is Status.CANCELED
    assert simulator.messages() == []
    assert service.scheduled() == []
    assert service.timeline(message.id)[-1].payload == {"canceled_by": "asha", "reason": "Paid"}


def test_what_has_left_is_not_canceled_and_the_answer_says_so(
    service: WhatsAppService, work: Work, overdue: Overdue
) -> None:
    message = later(service)
    overdue(message, timedelta(minutes=1))
    work()
    assert service.cancel_scheduled(message_ids=[message.id], canceled_by="asha") == []
    assert service.why_not_canceled(message.id).startswith("It has left already, at ")
    with pytest.raises(InvalidInput, match="It has left already"):
        service.change_scheduled(message.id, changed_by="asha", send_at=datetime.now(UTC) + timedelta(hours=1))


def test_of_cancel_and_claim_exactly_one_wins_whoever_is_first(
    service: WhatsAppService, simulator: Simulator, overdue: Overdue
) -> None:
    ids = [later(service, f"+4477009003{n:02}").id for n in range(40)]
    for id_ in ids:
        overdue(service.message(id_), timedelta(minutes=1))
    taken: list[int] = []
    start = threading.Barrier(4)

    def hand_over(mine: list[int]) -> None:
        start.wait()
        service.deliver(mine)

    def take_back(mine: list[int]) -> None:
        start.wait()
        for id_ in mine:
            taken.extend(service.cancel_scheduled(message_ids=[id_], canceled_by="asha"))

    threads = [
        threading.Thread(target=hand_over, args=(ids,)),
        threading.Thread(target=hand_over, args=(ids[::-1],)),
        threading.Thread(target=take_back, args=(ids[20:] + ids[:20],)),
        threading.Thread(target=take_back, args=(ids[::2],)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = {id_: service.message(id_) for id_ in ids}
    canceled = {id_ for id_, message in states.items() if message.status is Status.CANCELED}
    assert canceled == set(taken)
    assert len(taken) == len(set(taken)), "told to one only"
    left = {message.provider_id for id_, message in states.items() if id_ not in canceled}
    assert {theirs.sid for theirs in simulator.messages()} == left
    assert len(simulator.messages()) == len(ids) - len(canceled)


def test_a_worker_that_sends_and_people_who_cancel_agree_about_every_message(
    service: WhatsAppService, simulator: Simulator, worker: None
) -> None:
    at = datetime.now(UTC) + timedelta(seconds=1)
    drafts = [Draft(to=f"+4477009004{n:02}", body="Hello", send_at=at) for n in range(30)]
    ids = service.send_many(drafts)
    taken: list[int] = []
    while any(service.message(id_).status in (Status.SCHEDULED, Status.QUEUED) for id_ in ids):
        left = [id_ for id_ in ids if id_ not in taken]
        taken += service.cancel_scheduled(message_ids=left[-1:], canceled_by="asha")
    assert {id_ for id_ in ids if service.message(id_).status is Status.CANCELED} == set(taken)
    assert len(simulator.messages()) == len(ids) - len(taken)


def test_all_that_waits_for_a_policy_is_taken_back_with_one_word(
    service: WhatsAppService, conn: psycopg.Connection, dsn: str
) -> None:
    client = conn.execute(
        "INSERT INTO clients (name, phone, address) VALUES ('Asha Rao', %s, 'x') RETURNING client_id", (TO,)
    ).fetchone()
    assert client
    policies = [
        conn.execute(
            """
            INSERT INTO policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium, currency,
                                  starts_on, ends_on, status)
            VALUES (%s, %s, 'home', 'x', 'x', 1, 1, 1, 'GBP', '2026-01-01', '2026-12-31', 'active') RETURNING policy_id
            """,
            (client[0], number),
        ).fetchone()[0]  # type: ignore[index]
        for number in ("HOM-1", "HOM-2")
    ]
    conn.commit()
    mine = [later(service, policy_id=policies[0], message_type=kind).id for kind in ("a", "b")]
    other, now = later(service, policy_id=policies[1]), service.send(Draft(to=TO, body="now", policy_id=policies[0]))
    assert service.cancel_scheduled(policy_id=policies[0], canceled_by="portal", reason="Policy canceled") == mine
    assert service.message(other.id).status is Status.SCHEDULED
    assert service.message(now.id).status is Status.QUEUED, "what was sent at once is not taken back"
    with pytest.raises(InvalidInput, match="no policy with this id"):
        service.cancel_scheduled(policy_id="no number", canceled_by="portal")
    with pytest.raises(InvalidInput, match="Name the policy or the client"):
        service.cancel_scheduled(canceled_by="portal")


def test_time_text_and_fields_are_changed_until_it_leaves_and_each_change_is_an_event(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    message = later(service)
    assert message.send_at is not None
    sooner = message.send_at - timedelta(hours=2)
    service.change_scheduled(message.id, changed_by="asha", send_at=sooner)
    service.change_scheduled(message.id, changed_by="vera", variables={"3": "2 December 2026"})
    changed = service.message(message.id)
    assert changed.send_at == sooner
    assert changed.variables == VALUES | {"3": "2 December 2026"}
    assert changed.body is not None
    assert "on 2 December 2026." in changed.body
    assert changed.status is Status.SCHEDULED
    first, second = service.timeline(message.id)[1:]
    assert first.payload == {
        "changed_by": "asha",
        "was": {"send_at": message.send_at.isoformat()},
        "is": {"send_at": sooner.isoformat()},
    }
    assert second.payload["changed_by"] == "vera"
    assert second.payload["was"]["variables"] == VALUES
    assert second.payload["is"]["body"] == changed.body
    service.change_scheduled(message.id, changed_by="asha", send_at=datetime.now(UTC) + timedelta(minutes=1))
    service.change_scheduled(message.id, changed_by="asha")  # nothing: no event
    assert len(service.timeline(message.id)) == 4


def test_a_message_moved_to_be_sooner_leaves_sooner(
    service: WhatsAppService, simulator: Simulator, worker: None
) -> None:
    message = later(service)
    leave_soon(service, message)
    wait_until(lambda: service.message(message.id).provider_id is not None)
    assert len(simulator.messages()) == 1


def test_free_text_is_changed_as_text_and_a_templates_words_are_not(service: WhatsAppService) -> None:
    words, approved = later(service, body="Hello", template=None), later(service, "+447700900223")
    service.change_scheduled(words.id, changed_by="asha", body="Good morning")
    assert service.message(words.id).body == "Good morning"
    with pytest.raises(InvalidInput, match="only its fields can be changed"):
        service.change_scheduled(approved.id, changed_by="asha", body="Good morning")
    with pytest.raises(InvalidInput, match="no text, file or template"):
        service.change_scheduled(words.id, changed_by="asha", body="")
    with pytest.raises(InvalidInput, match="1601 characters"):
        service.change_scheduled(words.id, changed_by="asha", body="x" * 1601)
    with pytest.raises(InvalidInput, match="That time has passed"):
        service.change_scheduled(words.id, changed_by="asha", send_at=datetime.now(UTC) - timedelta(seconds=1))


@pytest.fixture
def strict(config: Config) -> WhatsAppService:
    """The service with every rule of the gate on, the quiet hours but for."""
    return WhatsAppService(replace(config, gate_off=frozenset(), quiet_hours=None))


def test_the_gate_is_asked_at_creation_of_every_change_and_when_it_leaves(
    strict: WhatsAppService, simulator: Simulator, overdue: Overdue
) -> None:
    first = later(strict)
    again = later(strict)
    assert (again.status, again.error_code) == (Status.FAILED, "duplicate"), "its doubts are asked at creation"
    may = Template(sid=RENEWAL_REMINDER, name="r", variables=VALUES | {"3": "9 May"})
    other = later(strict, template=may, body="On 9 May, Asha Rao: POL-7")
    assert other.status is Status.SCHEDULED
    verdict = strict.change_scheduled(other.id, changed_by="asha", variables={"3": ""})
    assert verdict.refusal is not None
    assert verdict.refusal.rule is gate.Rule.VARIABLES
    assert strict.message(other.id).variables == VALUES | {"3": "9 May"}, "refused, so nothing was changed"
    simulator.receive(TO, "STOP")
    with strict.transaction() as conn:
        from whatsapp_logs import receive
        from whatsapp_logs.message import Inbound

        told = Inbound(provider_id="SM" + "7" * 32, sender=TO, recipient=strict.config.sender, body="STOP")
        receive.receive(conn, told, now=datetime.now(UTC))
    overdue(first, timedelta(minutes=1))
    strict.deliver([first.id])
    stopped = strict.message(first.id)
    assert (stopped.status, stopped.error_code) == (Status.FAILED, "opted_out")
    assert "asked us to stop" in (stopped.error_message or "")
    assert [theirs for theirs in simulator.messages() if theirs.direction == "outbound-api"] == []
    strict.close()


def test_a_doubt_about_a_change_is_answered_and_then_stands(strict: WhatsAppService) -> None:
    later(strict)
    other = later(
        strict,
        template=Template(sid=RENEWAL_REMINDER, name="r", variables=VALUES | {"3": "9 May"}),
        body="Hello Asha Rao, your policy POL-7 is due for renewal on 9 May. Please contact us to renew it in time.",
    )
    verdict = strict.change_scheduled(other.id, changed_by="asha", variables=VALUES)
    assert [finding.rule for finding in verdict.doubts] == [gate.Rule.DUPLICATE]
    assert strict.message(other.id).variables == VALUES | {"3": "9 May"}
    confirmed = frozenset({gate.Rule.DUPLICATE.value})
    assert strict.change_scheduled(other.id, changed_by="asha", variables=VALUES, confirmed=confirmed).refusal is None
    assert strict.message(other.id).variables == VALUES
    strict.close()


def test_the_log_counts_and_filters_what_is_scheduled(service: WhatsAppService) -> None:
    message = later(service)
    assert [row.id for row in service.page(MessageFilter(statuses=(Status.SCHEDULED,))).messages] == [message.id]
    assert service.page(MessageFilter(statuses=(Status.QUEUED,))).messages == []
