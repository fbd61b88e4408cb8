"""Twilio busy, broken, silent, away: what waits says why, nothing is sent twice, and nobody else has to wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from tests.start.processes import PATIENCE_S, wait_until
from whatsapp_logs import Config, Draft, MessageFilter, Status, WhatsAppService
from whatsapp_logs.channels.base import Gateway, Outgoing
from whatsapp_logs.errors import ProviderAway
from whatsapp_logs.message import Message, Source, StatusReport
from whatsapp_logs.refresh import sweep
from whatsapp_logs.twilio.gateway import TwilioGateway
from whatsapp_logs.twilio.simulator import Simulator

NEVER_ARRIVED = {"429", "500", "html", "refuse"}
PROVES_NOTHING_WAS_SENT = {"429"}


def ask(service: WhatsAppService, number: int = 222) -> Message:
    return service.send(Draft(to=f"+447700900{number}", body=f"Your renewal is due, {number}."))


def deliver_at_once(service: WhatsAppService, ids: list[int]) -> list[threading.Thread]:
    """Hand each over in a thread of its own, as a worker does."""
    threads = [threading.Thread(target=service.deliver, args=([message_id],)) for message_id in ids]
    for thread in threads:
        thread.start()
    return threads


class Slow:
    """Twilio, which keeps every message after the first `after` waiting until `answer` is set."""

    def __init__(self, gateway: Gateway, *, after: int = 0) -> None:
        self._gateway, self.answer, self._one_by_one = gateway, threading.Event(), threading.Lock()
        self.waiting = -after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def send(self, outgoing: Outgoing) -> StatusReport:
        with self._one_by_one:
            self.waiting += 1
            waits = self.waiting > 0
        if waits:
            self.answer.wait(PATIENCE_S)
        return self._gateway.send(outgoing)


def turn_the_clock(dsn: str, ahead: timedelta, simulator: Simulator | None = None) -> None:
    """Let the messages' own times be so much longer ago, at Twilio too."""
    for theirs in simulator.messages() if simulator else []:
        simulator.ledger.change(theirs.sid, created_at=theirs.created_at - ahead.total_seconds())
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            UPDATE whatsapp_logs.messages
            SET created_at = created_at - %(by)s, retry_at = retry_at - %(by)s, claimed_at = claimed_at - %(by)s,
                unconfirmed_at = unconfirmed_at - %(by)s, last_status_check = last_status_check - %(by)s
            """,
            {"by": ahead},
        )


def test_fault_9_lost_late_doubled_and_reordered_callbacks_leave_nothing_wrong_after_a_sweep(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None], live: str
) -> None:
    simulator.settings.update({"drop_rate": 0.2, "double_rate": 0.3, "reorder_rate": 0.5, "enforce_window": False})
    with service.transaction() as conn:
        ids = [service.send(Draft(to=f"+44770090{3000 + n}", body="Hello"), conn=conn).id for n in range(60)]
    work()
    simulator.wait_idle()
    assert any(attempt.attempt == 0 for attempt in simulator.callbacks())
    sweep(service.transaction, service.gateway, now=datetime.now(UTC) + timedelta(minutes=3))
    theirs = {message.sid: message.status for message in simulator.messages()}
    ours = {message.provider_id: message.status for message in map(service.message, ids)}
    assert ours == theirs


@pytest.mark.parametrize("answer", ["timeout_after_accept", "500_after_accept", "cut_after_accept"])
def test_fault_10_whatever_swallows_the_answer_the_message_is_at_twilio_once(
    answer: str, config: Config, simulator: Simulator
) -> None:
    simulator.settings.update({"create_error": answer, "drop_rate": 1.0})
    service = WhatsAppService(replace(config, provider_timeout_s=0.3))
    message = ask(service)
    service.deliver([message.id])
    assert service.message(message.id).is_unconfirmed
    service.deliver([message.id])  # its job is repeated
    simulator.settings.create_error = None
    assert service.settle_unconfirmed() == 1
    assert [theirs.sid for theirs in simulator.messages()] == [service.message(message.id).provider_id]
    service.close()


@pytest.mark.parametrize("answer", ["429", "500", "html", "refuse", "timeout_after_accept", "cut_after_accept"])
def test_fault_12_a_twilio_that_fails_takes_no_connection_from_anybody_and_the_row_says_what_is_the_matter(
    answer: str, config: Config, simulator: Simulator
) -> None:
    simulator.settings.update({"create_error": answer, "drop_rate": 1.0})
    hurried = replace(config, provider_timeout_s=1 if answer == "timeout_after_accept" else PATIENCE_S, pool_size=2)
    slow = Slow(TwilioGateway(hurried))
    service = WhatsAppService(hurried, gateway=slow)
    ids = [ask(service, 300 + n).id for n in range(6)]  # more hand-overs than connections
    threads = deliver_at_once(service, ids)
    try:
        wait_until(lambda: slow.waiting == len(ids))  # with a connection kept by each, the third would not get so far
        assert len(service.page(MessageFilter()).messages) == len(ids)
    finally:
        slow.answer.set()
        for thread in threads:
            thread.join()
    for message in map(service.message, ids):
        assert message.wait_reason
        assert message.is_unconfirmed is (answer not in PROVES_NOTHING_WAS_SENT)
        assert (message.retry_at is None) is message.is_unconfirmed
    assert len(simulator.messages()) == (0 if answer in NEVER_ARRIVED else 6)
    service.close()


def test_fault_12_attempts_become_rarer(service: WhatsAppService, simulator: Simulator, dsn: str) -> None:
    simulator.settings.create_error = "429"
    message = ask(service)
    waits = []
    for _ in range(6):
        service.deliver([message.id])
        retry_at = service.message(message.id).retry_at
        assert retry_at is not None
        waits.append(round((retry_at - datetime.now(UTC)).total_seconds()))
        turn_the_clock(dsn, timedelta(seconds=waits[-1]))
    assert waits == [5, 15, 60, 300, 900, 900]


def test_fault_13_after_six_hours_without_twilio_every_message_is_sent_once(
    service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    simulator.settings.drop_rate = 1.0
    sent_before = ask(service, 400)
    simulator.settings.create_error = "cut_after_accept"
    service.deliver([sent_before.id])
    simulator.settings.create_error = None
    simulator.go_away()
    waiting = [ask(service, 401), ask(service, 402)]
    away = timedelta()
    while away < timedelta(hours=6):
        service.deliver([message.id for message in waiting])
        now = [service.message(message.id) for message in waiting]
        assert {(message.status, message.claimed_at) for message in now} == {(Status.QUEUED, None)}
        assert all("cannot be reached" in (message.wait_reason or "") for message in now)
        next_at = max(message.retry_at for message in now if message.retry_at)
        wait = next_at - datetime.now(UTC)
        turn_the_clock(dsn, wait, simulator)
        away += wait
        assert now[0].attempts < 40
    with pytest.raises(ProviderAway):
        service.settle_unconfirmed()
    assert service.message(sent_before.id).is_unconfirmed
    simulator.come_back()
    service.deliver([message.id for message in waiting])
    service.settle_unconfirmed()
    ours = {service.message(message.id).provider_id for message in [sent_before, *waiting]}
    assert ours == {theirs.sid for theirs in simulator.messages()}
    assert len(simulator.messages()) == 3


def test_fault_13_after_a_day_without_twilio_a_message_is_given_up_and_says_so(
    service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    simulator.go_away()
    message = ask(service)
    service.deliver([message.id])
    turn_the_clock(dsn, timedelta(hours=25))
    service.deliver([message.id])
    given_up = service.message(message.id)
    assert (given_up.status, given_up.error_code) == (Status.FAILED, "given_up")
    assert given_up.error_message


def test_fault_15_sent_for_days_is_shown_as_not_confirmed_and_a_late_receipt_still_wins(
    service: WhatsAppService, signed_in: Callable[[str], FlaskClient], dsn: str
) -> None:
    message = service.log_message(message_sid="SM" + "1" * 32, to="+447700900222", body="x", status="sent")
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET sent_at = now() - interval '50 hours'")
    assert "not confirmed for 2 days" in signed_in("agent").get("/whatsapp_logs").text
    service.record([StatusReport(provider_status="read", provider_id=message.provider_id)], source=Source.CALLBACK)
    assert service.message(message.id).status is Status.READ
    assert "not confirmed" not in signed_in("agent").get("/whatsapp_logs").text
