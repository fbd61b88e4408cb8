"""An answer was lost and Twilio's list never shows the message: a person settles it, once, and a later truth still wins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.faults.test_provider_away import turn_the_clock
from tests.start.processes import PATIENCE_S, wait_until
from tests.test_reconcile import CUSTOMER, all_messages, differences, reconcile, send_without_us
from whatsapp_logs import Draft, Message, Status, WhatsAppService, send, settle, track
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.errors import InvalidInput, ProviderAway
from whatsapp_logs.message import ProviderMessage, Source, StatusEvent, StatusReport
from whatsapp_logs.store import handover
from whatsapp_logs.twilio.simulator import Simulator

SID = "SM" + "7" * 32
HIDDEN = 1e9  # seconds by which the list lags while a test does not want it to show anything
Lose = Callable[..., list[int]]


@pytest.fixture
def lose(service: WhatsAppService, simulator: Simulator, dsn: str) -> Lose:
    """`lose(2)`: equal messages whose answers were lost, which have been looked up and waited two hours since.

    `arrived` says how many of them Twilio has; its list lags, and shows them at `simulator.settings.list_lag_s = 0`.
    """

    def lose(count: int = 1, *, arrived: int = 0, body: str = "Your renewal is due") -> list[int]:
        simulator.settings.update({"drop_rate": 1.0, "list_lag_s": HIDDEN, "enforce_window": False})
        ids = [service.send(Draft(to=CUSTOMER, body=body, created_by="bela")).id for _ in range(count)]
        for n, message_id in enumerate(ids):
            simulator.settings.create_error = "cut_after_accept" if n < arrived else "500"
            service.deliver([message_id])
        simulator.settings.create_error = None
        simulator.wait_idle()
        service.settle_unconfirmed()
        turn_the_clock(dsn, timedelta(hours=2), simulator)
        assert all(service.message(message_id).is_unconfirmed for message_id in ids)
        return ids

    return lose


@pytest.fixture
def declared(service: WhatsAppService, lose: Lose) -> Message:
    """A message that asha has declared not sent."""
    [message_id] = lose()
    return service.declare_not_sent(message_id, created_by="asha")


def declarations(service: WhatsAppService, message_ids: Iterable[int]) -> list[StatusEvent]:
    return [event for one in message_ids for event in service.timeline(one) if event.is_declaration]


class Watched:
    """A gateway that does something when it has looked at a recipient's list, before it answers."""

    def __init__(self, gateway: Gateway, then: Callable[[], object]) -> None:
        self._gateway, self._then = gateway, then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def sent_to(self, recipient: str, since: datetime) -> Iterator[ProviderMessage]:
        listed = list(self._gateway.sent_to(recipient, since))
        self._then()
        yield from listed


# --- declaring ---------------------------------------------------------------------------------------------------------


def test_what_twilio_never_shows_a_person_declares_not_sent_and_it_can_be_sent_again(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose()
    assert "unconfirmed" in {alarm.name for alarm in service.alarms()}
    settled = service.declare_not_sent(message_id, created_by="asha")
    assert (settled.status, settled.error_code, settled.is_unconfirmed) == (Status.FAILED, "not_sent", False)
    assert "asha" in (settled.error_message or "")
    [declaration] = declarations(service, [message_id])
    assert (declaration.source, declaration.payload) == (Source.SEND, {"created_by": "asha"})
    assert {alarm.name for alarm in service.alarms()} == {"worker_away"}, "neither unconfirmed nor an unknown code"
    service.deliver([message_id])
    assert simulator.messages() == [], "the program does not send it"
    again = service.send_again(message_id, created_by="asha", request_key="again")
    service.deliver([again.id])
    assert [theirs.sid for theirs in simulator.messages()] == [service.message(again.id).provider_id]


def test_nobody_declares_anything_before_the_message_was_looked_up_and_an_hour_has_passed(
    service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    simulator.settings.create_error = "500"
    message = service.send(Draft(to=CUSTOMER, body="Hello"))
    service.deliver([message.id])
    turn_the_clock(dsn, timedelta(hours=2))
    with pytest.raises(InvalidInput):
        service.declare_not_sent(message.id, created_by="asha")
    service.settle_unconfirmed()
    unconfirmed = service.message(message.id)
    assert unconfirmed.unconfirmed_at is not None
    for minutes, may in ((59, False), (60, True)):
        now = unconfirmed.unconfirmed_at + timedelta(minutes=minutes)
        assert settle.may_be_settled_by_hand(unconfirmed, now=now) is may
        if not may:
            with pytest.raises(InvalidInput):
                settle.by_hand(service.transaction, service.gateway, unconfirmed, created_by="asha", now=now)
    assert service.message(message.id) == unconfirmed
    assert declarations(service, [message.id]) == []


def test_what_twilios_list_shows_at_last_is_found_and_not_declared(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose(arrived=1)
    simulator.settings.list_lag_s = 0
    found = service.declare_not_sent(message_id, created_by="asha")
    assert (found.status, found.provider_id) == (Status.READ, simulator.messages()[0].sid)
    assert declarations(service, [message_id]) == []


def test_while_twilio_cannot_be_asked_nothing_is_declared(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose()
    before = service.message(message_id)
    simulator.go_away()
    with pytest.raises(ProviderAway):
        service.declare_not_sent(message_id, created_by="asha")
    assert service.message(message_id) == before
    assert declarations(service, [message_id]) == []


def test_a_message_that_does_not_wait_for_a_lost_answer_cannot_be_declared_not_sent(service: WhatsAppService) -> None:
    queued = service.send(Draft(to=CUSTOMER, body="Hello"))
    assert service.declare_not_sent(queued.id, created_by="asha") == queued
    sent = service.log_message(message_sid=SID, to=CUSTOMER, status="sent")
    assert service.declare_not_sent(sent.id, created_by="asha").status is Status.SENT


# --- at once -----------------------------------------------------------------------------------------------------------


def test_two_people_who_press_at_once_declare_it_once(service: WhatsAppService, lose: Lose) -> None:
    [message_id] = lose()
    together = threading.Barrier(2, timeout=PATIENCE_S)
    gateway = Watched(service.gateway, together.wait)
    message = service.message(message_id)

    def press(name: str) -> Message:
        return settle.by_hand(service.transaction, gateway, message, created_by=name)

    with ThreadPoolExecutor(2) as threads:
        settled = list(threads.map(press, ("asha", "bela")))
    assert [one.error_code for one in settled] == ["not_sent", "not_sent"]
    assert settled[0].error_message == settled[1].error_message
    assert len(declarations(service, [message_id])) == 1


def test_what_the_sweep_finds_while_somebody_presses_is_found_and_not_declared(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose(arrived=1)

    def sweep() -> None:
        simulator.settings.list_lag_s = 0
        settle.by_list(service.transaction, service.gateway, [service.message(message_id)])

    pressed = Watched(service.gateway, sweep)
    settled = settle.by_hand(service.transaction, pressed, service.message(message_id), created_by="asha")
    assert (settled.status, settled.provider_id) == (Status.READ, simulator.messages()[0].sid)
    assert declarations(service, [message_id]) == []


def test_a_callback_that_is_just_being_written_down_is_waited_for(
    service: WhatsAppService, lose: Lose, dsn: str
) -> None:
    [message_id] = lose()
    begun = 0

    def commit_when_somebody_waits(callback: psycopg.Connection[Any]) -> None:
        with psycopg.connect(dsn, autocommit=True) as watch:
            waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            wait_until(lambda: watch.execute(waiting).fetchone() is not None)
        callback.commit()

    with psycopg.connect(dsn) as callback, ThreadPoolExecutor(1) as threads:

        @contextmanager
        def transactions() -> Iterator[psycopg.Connection[Any]]:
            nonlocal begun
            begun += 1
            if begun == 3:  # the list has been asked, and what it shows attached: now the declaration is to be written
                late = StatusReport(provider_status="delivered", message_id=message_id, provider_id=SID)
                track.record(callback, [late], source=Source.CALLBACK)
                threads.submit(commit_when_somebody_waits, callback)
            with service.transaction() as conn:
                yield conn

        settled = settle.by_hand(transactions, service.gateway, service.message(message_id), created_by="asha")
    assert (settled.status, settled.provider_id) == (Status.DELIVERED, SID)
    assert declarations(service, [message_id]) == []


def test_of_two_equal_messages_of_which_twilio_has_one_only_one_is_declared_and_the_other_gets_it(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    ids = lose(2, arrived=1)
    simulator.settings.list_lag_s = 0
    assert service.settle_unconfirmed() == 0, "nobody can tell which of the two it is"
    together = threading.Barrier(2, timeout=PATIENCE_S)

    def press(message: Message) -> bool:
        begun = 0

        def transactions() -> AbstractContextManager[psycopg.Connection[Any]]:
            nonlocal begun
            begun += 1
            if begun == 3:  # both have looked and attached nothing, and neither is declared
                together.wait()
            return service.transaction()

        try:
            return settle.by_hand(transactions, service.gateway, message, created_by="asha").is_declared_not_sent
        except InvalidInput:
            return False

    with ThreadPoolExecutor(2) as threads:
        took = list(threads.map(press, [service.message(message_id) for message_id in ids]))
    assert sorted(took) == [False, True]
    assert len(declarations(service, ids)) == 1
    other = ids[took.index(False)]
    settle.by_list(service.transaction, service.gateway, [service.message(other)])
    assert service.message(other).provider_id == simulator.messages()[0].sid


def test_a_message_of_another_program_that_may_be_this_one_keeps_it_from_being_declared(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose()
    simulator.settings.list_lag_s = 0
    at = service.message(message_id).claimed_at
    assert at is not None
    theirs = [send_without_us(simulator, service) for _ in range(2)]
    for sid in theirs:
        simulator.ledger.change(sid, body="Your renewal is due", created_at=at.timestamp())
    with pytest.raises(InvalidInput, match="It may be this one"):
        service.declare_not_sent(message_id, created_by="asha")
    assert service.message(message_id).is_unconfirmed
    for sid in theirs:
        service.log_message(message_sid=sid, to=CUSTOMER)
    assert service.declare_not_sent(message_id, created_by="asha").is_declared_not_sent


# --- a later truth -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["delivered", "read", "undelivered"])
def test_a_callback_with_our_own_id_that_says_what_became_of_it_wins(
    word: str, service: WhatsAppService, declared: Message
) -> None:
    code = "63003" if word == "undelivered" else None
    late = StatusReport(provider_status=word, message_id=declared.id, provider_id=SID, error_code=code)
    service.record_callback(late)
    settled = service.message(declared.id)
    assert (settled.status, settled.provider_id, settled.error_code) == (Status(word), SID, code)
    assert not settled.is_contradicted
    assert len(declarations(service, [declared.id])) == 1, "the evidence stays"


@pytest.mark.parametrize("word", ["queued", "sending", "sent"])
def test_what_twilio_has_after_all_is_not_sent_again_and_its_delivery_wins(
    word: str, service: WhatsAppService, declared: Message
) -> None:
    service.record_callback(StatusReport(provider_status=word, message_id=declared.id, provider_id=SID))
    doubtful = service.message(declared.id)
    assert (doubtful.status, doubtful.provider_id, doubtful.is_contradicted) == (Status.FAILED, SID, True)
    assert (word, SID) in {(event.provider_status, event.provider_id) for event in service.timeline(declared.id)}
    with pytest.raises(InvalidInput, match="still may"):
        service.send_again(declared.id, created_by="asha", request_key="again")
    service.record_callback(StatusReport(provider_status="delivered", message_id=declared.id, provider_id=SID))
    assert service.message(declared.id).status is Status.DELIVERED


def test_what_twilio_is_heard_to_have_while_somebody_presses_send_again_is_not_sent_again(
    service: WhatsAppService, declared: Message
) -> None:
    service.record_callback(StatusReport(provider_status="sent", message_id=declared.id, provider_id=SID))
    with service.transaction() as conn, pytest.raises(InvalidInput):
        send.send_again(conn, declared, created_by="asha", request_key="again", config=service.config)


def test_twilio_is_asked_about_what_it_has_after_all_until_it_is_delivered(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose(arrived=1)
    service.declare_not_sent(message_id, created_by="asha")
    sid = simulator.messages()[0].sid
    service.record_callback(StatusReport(provider_status="sent", message_id=message_id, provider_id=sid))
    assert service.message(message_id).is_contradicted
    service.run_refresh(service.refresh_all(started_by="asha").id)
    assert service.message(message_id).status is Status.READ


def test_a_message_declared_too_soon_is_found_by_refreshing_it(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose(arrived=1)
    declared = service.declare_not_sent(message_id, created_by="asha")
    service.refresh_message(declared)
    assert service.message(message_id).is_declared_not_sent
    simulator.settings.list_lag_s = 0
    service.refresh_message(declared)
    found = service.message(message_id)
    assert (found.status, found.provider_id) == (Status.READ, simulator.messages()[0].sid)


@pytest.mark.parametrize("status", ["read", "sent"])
def test_reconciliation_gives_it_back_and_imports_no_second_one(
    status: str, service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    [message_id] = lose(arrived=1)
    service.declare_not_sent(message_id, created_by="asha")
    sid = simulator.messages()[0].sid
    simulator.ledger.change(sid, status=status)
    simulator.settings.list_lag_s = 0
    run = reconcile(service, day_of(simulator))
    assert (run.imported, differences(service, run)) == (0, [("attached", message_id)])
    found = service.message(message_id)
    assert (found.provider_id, found.is_contradicted) == (sid, status == "sent")
    assert found.status is (Status.FAILED if status == "sent" else Status.READ)
    assert len(all_messages(service)) == 1


def test_a_declared_message_holds_no_stranger_back_that_was_sent_at_another_time(
    service: WhatsAppService, simulator: Simulator, declared: Message
) -> None:
    simulator.settings.list_lag_s = 0
    sid = send_without_us(simulator, service)
    run = reconcile(service)
    assert run.imported == 1
    assert service.message_by_sid(sid).id != declared.id
    assert service.message(declared.id).provider_id is None


def test_a_late_message_of_twilios_goes_to_the_one_that_is_still_unconfirmed(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    """Of two equal ones a person has declared the first not sent: what Twilio then shows is the second."""
    first, second = lose(2, arrived=1)
    service.declare_not_sent(first, created_by="asha")
    simulator.settings.list_lag_s = 0
    settle.by_list(service.transaction, service.gateway, [service.message(second)])
    assert service.message(second).provider_id == simulator.messages()[0].sid
    assert service.message(first).is_declared_not_sent


def test_when_twilio_shows_both_of_two_equal_ones_each_gets_its_own_the_declared_one_too(
    service: WhatsAppService, simulator: Simulator, lose: Lose
) -> None:
    first, second = lose(2, arrived=2)
    service.declare_not_sent(first, created_by="asha")
    simulator.settings.list_lag_s = 0
    settle.by_list(service.transaction, service.gateway, [service.message(second)])
    assert [service.message(one).provider_id for one in (first, second)] == [one.sid for one in simulator.messages()]


def test_a_lost_answer_that_nobody_settles_is_looked_up_as_before(service: WhatsAppService, declared: Message) -> None:
    """A declared message is not among those that are due; it only stands beside them."""
    with service.transaction() as conn:
        due = handover.unconfirmed(conn, now=datetime.now(UTC) + timedelta(days=1), limit=10)
        beside = handover.without_outcome(conn, CUSTOMER)
    assert due == []
    assert [message.id for message in beside] == [declared.id]


def day_of(simulator: Simulator) -> Any:
    return datetime.fromtimestamp(simulator.messages()[0].sent_at or 0, UTC).date()
