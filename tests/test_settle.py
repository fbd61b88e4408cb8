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

from tests.campaign_tables import fill_catalogue
from tests.faults.test_provider_away import turn_the_clock
from tests.service_fixtures import Person
from tests.start.processes import PATIENCE_S, wait_until
from tests.test_campaign_run import claim_all, under_way
from tests.test_reconcile import CUSTOMER, all_messages, differences, reconcile, send_without_us
from whatsapp_logs import Draft, Message, MessageFilter, Status, WhatsAppService, send, settle, track
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


# --- a whole campaign's ------------------------------------------------------------------------------------------------


@pytest.fixture
def doubtful(service: WhatsAppService, simulator: Simulator, dsn: str) -> int:
    """A campaign of five whose answers were all lost two hours ago; the second arrived, and Twilio's list does not show it yet."""
    campaign_id = under_way(service, 5, fill_catalogue(dsn)["general_notice"])
    simulator.settings.update({"drop_rate": 1.0, "list_lag_s": HIDDEN})
    answers = []
    for n, cleared in enumerate(claim_all(service)):
        simulator.settings.create_error = "cut_after_accept" if n == 1 else "500"
        answers.append(send.try_to_hand_over(service.gateway, cleared))
    send.write_down_together(service.transaction, answers)
    simulator.settings.create_error = None
    simulator.wait_idle()
    assert service.campaign_in_doubt(campaign_id) == 0, "not before they were looked up, and an hour has passed"
    service.settle_unconfirmed()
    turn_the_clock(dsn, timedelta(hours=2), simulator)
    assert service.campaign_in_doubt(campaign_id) == 5
    return campaign_id


def of_campaign(service: WhatsAppService, campaign_id: int) -> list[Message]:
    return sorted(service.page(MessageFilter(campaign_id=str(campaign_id))).messages, key=lambda message: message.id)


def test_all_of_a_campaign_in_doubt_is_declared_not_sent_by_one_press_and_tried_again(
    service: WhatsAppService, simulator: Simulator, doubtful: int, work: Callable[[], None]
) -> None:
    simulator.settings.list_lag_s = 0  # what arrived is in the list by now
    assert service.settle_campaign(doubtful, was_sent=False, created_by="asha") == 5
    work()
    found = of_campaign(service, doubtful)
    assert [one.is_declared_not_sent for one in found] == [True, False, True, True, True]
    assert found[1].provider_id == simulator.messages()[0].sid
    told = declarations(service, [one.id for one in found])
    assert [(one.source, one.payload) for one in told] == [(Source.SEND, {"created_by": "asha"})] * 4
    assert service.campaign_in_doubt(doubtful) == 0
    assert len(simulator.messages()) == 1, "the program sends none of them"
    again = service.retry_campaign(doubtful, kinds=frozenset({"later"}), person="asha")
    assert service.campaign(again).campaign.recipients == 4


def test_all_of_a_campaign_in_doubt_counts_as_sent_and_nobody_is_written_to_again(
    service: WhatsAppService, simulator: Simulator, doubtful: int, work: Callable[[], None]
) -> None:
    simulator.settings.list_lag_s = 0
    service.settle_campaign(doubtful, was_sent=True, created_by="asha")
    work()
    found = of_campaign(service, doubtful)
    assert [one.is_declared_sent for one in found] == [True, False, True, True, True]
    assert {one.is_unconfirmed for one in found} == {False}
    assert len(declarations(service, [one.id for one in found])) == 4
    assert [alarm.name for alarm in service.alarms() if alarm.name == "unconfirmed"] == []
    with pytest.raises(InvalidInput, match="Nobody is left"):
        service.retry_campaign(doubtful, kinds=frozenset({"later"}), person="asha")
    # What Twilio tells later holds.
    service.record(
        [StatusReport(provider_status="delivered", provider_id=SID, message_id=found[0].id)], source=Source.CALLBACK
    )
    later = service.message(found[0].id)
    assert (later.status, later.provider_id, later.is_declared_sent) == (Status.DELIVERED, SID, False)


def test_what_may_be_in_the_list_is_settled_by_no_press_for_all(
    service: WhatsAppService, simulator: Simulator, doubtful: int, dsn: str
) -> None:
    found = of_campaign(service, doubtful)
    simulator.settings.list_lag_s = 0
    with psycopg.connect(dsn) as conn:  # two to the same number, one of which arrived: nobody knows which
        conn.execute(
            "UPDATE whatsapp_logs.messages SET recipient = %s, body = %s WHERE id = %s",
            [found[1].recipient, found[1].body, found[0].id],
        )
    assert service.run_settling(doubtful, was_sent=False, created_by="asha") == 3
    assert [one.is_unconfirmed for one in of_campaign(service, doubtful)] == [True, True, False, False, False]


def test_while_twilio_cannot_be_asked_nothing_of_a_campaign_is_declared(
    service: WhatsAppService, simulator: Simulator, doubtful: int
) -> None:
    simulator.go_away()
    with pytest.raises(ProviderAway):
        service.run_settling(doubtful, was_sent=False, created_by="asha")
    assert all(one.is_unconfirmed for one in of_campaign(service, doubtful))


def test_a_press_for_all_says_first_what_each_choice_means(
    service: WhatsAppService, doubtful: int, signed_in: Callable[[str], Person], work: Callable[[], None]
) -> None:
    agent, viewer = signed_in("agent"), signed_in("viewer")
    page, campaign = f"/whatsapp_logs/campaigns/{doubtful}/in_doubt", f"/whatsapp_logs/campaigns/{doubtful}"
    assert f'href="{page}"' in agent.get(campaign).text
    assert f'href="{page}"' not in viewer.get(campaign).text
    assert [viewer.get(page).status_code, viewer.post(page).status_code] == [403, 403]
    question = agent.get(page).text
    assert "5 messages in doubt" in question
    assert "A linked campaign may then try them again" in question
    assert "Nobody is written to again" in question
    wrong = agent.post(page, data={"counts_as": "perhaps"}, follow_redirects=True)
    assert "Choose whether they count as sent or as not sent." in wrong.text
    pressed = agent.post(page, data={"counts_as": "sent"}, follow_redirects=True).text
    assert "5 messages are looked up at Twilio once more" in pressed
    work()
    found = of_campaign(service, doubtful)
    assert [one.status for one in found] == [Status.SENT] * 5
    assert "Declared sent" in agent.get(f"/whatsapp_logs/messages/{found[0].id}").text
    assert "Nothing of this campaign is in doubt." in agent.get(page, follow_redirects=True).text
