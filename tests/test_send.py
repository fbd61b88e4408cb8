"""How messages leave: row and job together, handed over once, and every outcome visible in the row."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from whatsapp_logs import Config, Draft, MediaFile, MessageFilter, Status, WhatsAppService, send
from whatsapp_logs.errors import DatabaseAway, InvalidInput, LoggingFailed
from whatsapp_logs.message import Message, Source, StatusReport
from whatsapp_logs.store import handover
from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER, Simulator

PDF = MediaFile(content=b"%PDF-1.7 synthetic", content_type="application/pdf", filename="policy.pdf")


def reminder(service: WhatsAppService, to: str = "+447700900222", **facts: object) -> Message:
    template = service.template("renewal_reminder", {"1": "Asha", "2": "POL-7", "3": "1 December 2026"})
    assert template is not None
    assert template.sid == RENEWAL_REMINDER
    return service.send(Draft(to=to, message_type="renewal_reminder", body="Hello Asha", template=template, **facts))  # type: ignore[arg-type]


def test_mistake_1_the_row_is_there_before_twilio_hears_of_the_message(
    service: WhatsAppService, simulator: Simulator
) -> None:
    message = reminder(service)
    assert message.status is Status.QUEUED
    assert message.provider_id is None
    assert simulator.messages() == []


def test_a_message_is_handed_over_with_our_own_id_in_its_callback(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    message = reminder(service)
    work()
    sent = service.message(message.id)
    assert sent.status is Status.SENDING
    assert [theirs.sid for theirs in simulator.messages()] == [sent.provider_id]
    simulator.wait_idle()
    assert {f"message={message.id}#rc=5&rp=all" in call.url for call in simulator.callbacks()} == {True}


def test_row_and_job_commit_with_the_callers_transaction_or_not_at_all(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    class PolicyNotSaved(Exception):
        pass

    def save_and_fail() -> None:
        with service.transaction() as conn:
            service.send(Draft(to="+447700900222", body="x"), conn=conn)
            raise PolicyNotSaved

    with pytest.raises(PolicyNotSaved):
        save_and_fail()
    work()
    assert service.count(MessageFilter()) == 0
    assert simulator.messages() == []


def test_deferring_a_job_leaves_the_callers_search_path_as_it_was(service: WhatsAppService, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        before = conn.execute("SHOW search_path").fetchone()
        service.send(Draft(to="+447700900222", body="x"), conn=conn)
        assert conn.execute("SHOW search_path").fetchone() == before


@pytest.mark.parametrize(
    ("draft", "code"),
    [
        (Draft(to="not a number", body="x"), "invalid_number"),
        (Draft(to="+447700900222"), "nothing_to_send"),
        (Draft(to="+447700900222", body="x" * 1601), "text_too_long"),
        (Draft(to="+447700900222", media=replace(PDF, content_type="application/x-msdownload")), "media_type"),
        (Draft(to="+447700900222", media=replace(PDF, content=b"%PDF" + bytes(17 * 1024 * 1024))), "media_too_large"),
    ],
)
def test_mistake_14_an_attempt_that_cannot_be_sent_is_a_row_that_says_why(
    draft: Draft, code: str, service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    message = service.send(draft)
    assert (message.status, message.error_code) == (Status.FAILED, code)
    assert message.error_message
    work()
    assert simulator.messages() == []


def test_an_attempt_that_twilio_refuses_is_a_row_with_twilios_code(
    service: WhatsAppService, work: Callable[[], None]
) -> None:
    message = reminder(service, "+15005550001")
    work()
    refused = service.message(message.id)
    assert (refused.status, refused.error_code, refused.provider_id) == (Status.FAILED, "21211", None)
    assert refused.failed_at is not None


def test_asking_twice_with_one_request_key_sends_once(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    threads = [threading.Thread(target=reminder, args=(service,), kwargs={"request_key": "form-1"}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    assert service.count(MessageFilter()) == 1
    assert len(simulator.messages()) == 1


def test_fault_19_two_workers_with_the_same_job_hand_over_once(service: WhatsAppService, simulator: Simulator) -> None:
    message = reminder(service)
    threads = [threading.Thread(target=service.deliver, args=([message.id],)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(simulator.messages()) == 1
    assert service.message(message.id).attempts == 1


def test_a_busy_twilio_makes_the_message_wait_with_a_visible_reason(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    message = reminder(service, "+447700900102")  # 429 for the first two attempts
    work()
    waiting = service.message(message.id)
    assert waiting.status is Status.QUEUED
    assert waiting.claimed_at is None
    assert waiting.retry_at is not None
    assert "429" in (waiting.wait_reason or "")
    service.deliver([message.id])
    service.deliver([message.id])
    assert service.message(message.id).provider_id == simulator.messages()[0].sid


def test_a_twilio_that_cannot_be_reached_is_no_failure(config: Config, service: WhatsAppService) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        away = WhatsAppService(replace(config, twilio_api_base_url=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        message = reminder(away)
        away.deliver([message.id])
        away.close()
    waiting = service.message(message.id)
    assert (waiting.status, waiting.claimed_at) == (Status.QUEUED, None)
    assert "cannot be reached" in (waiting.wait_reason or "")


@pytest.mark.parametrize("recipient", ["+447700900103", "+447700900104"], ids=["500 after accepting", "answer cut"])
def test_fault_10_a_lost_answer_is_unconfirmed_and_found_again_never_sent_twice(
    recipient: str, service: WhatsAppService, simulator: Simulator
) -> None:
    message = reminder(service, recipient)
    service.deliver([message.id])
    unconfirmed = service.message(message.id)
    assert unconfirmed.is_unconfirmed
    service.deliver([message.id])
    assert len(simulator.messages()) == 1
    assert service.settle_unconfirmed() == 1
    found = service.message(message.id)
    assert found.provider_id == simulator.messages()[0].sid
    assert not found.is_unconfirmed


class RestartingDatabase:
    """The service's transactions, some of which (counted from 1) meet a database that is just restarting."""

    def __init__(self, service: WhatsAppService, away: set[int]) -> None:
        self._service, self._away, self._count = service, away, 0

    @contextmanager
    def __call__(self) -> Iterator[psycopg.Connection[Any]]:
        self._count += 1
        if self._count in self._away:
            raise DatabaseAway
        with self._service.transaction() as conn:
            yield conn


@pytest.mark.parametrize("gone_at", [4, 5])  # when the second message takes its turn, and when it is claimed
def test_a_database_that_goes_away_in_the_middle_of_a_job_leaves_the_rest_waiting_not_unconfirmed(
    gone_at: int, service: WhatsAppService, simulator: Simulator, config: Config
) -> None:
    ids = [reminder(service).id for _ in range(3)]
    with pytest.raises(DatabaseAway):
        send.deliver(RestartingDatabase(service, {gone_at}), service.gateway, ids, config=config)
    assert [service.message(message_id).claimed_at is None for message_id in ids] == [False, True, True]
    service.deliver(ids)  # the job is repeated
    assert [theirs.sid for theirs in simulator.messages()] == [service.message(id_).provider_id for id_ in ids]


def test_an_answer_waits_for_a_database_that_restarts(
    service: WhatsAppService, simulator: Simulator, config: Config
) -> None:
    message = reminder(service)
    send.deliver(RestartingDatabase(service, {3}), service.gateway, [message.id], config=config)
    assert service.message(message.id).provider_id == simulator.messages()[0].sid


def test_a_message_for_later_is_not_given_up_for_having_been_written_long_ago(
    service: WhatsAppService, config: Config
) -> None:
    now = datetime.now(UTC)
    draft = Draft(to="+447700900102", body="x", send_at=now - timedelta(seconds=1))  # 429 at first
    with service.transaction() as conn:
        message = send.queue_message(conn, draft, config=config, now=now - timedelta(days=3))
    service.deliver([message.id])
    assert (service.message(message.id).status, service.message(message.id).retry_at is None) == (Status.QUEUED, False)


def test_equal_messages_whose_answers_were_lost_each_find_their_own(
    service: WhatsAppService, simulator: Simulator
) -> None:
    simulator.settings.drop_rate = 1.0
    twins = [reminder(service, "+447700900104") for _ in range(3)]  # accepted, then the connection is cut
    service.deliver([twin.id for twin in twins])
    assert service.settle_unconfirmed() == 3
    found = [service.message(twin.id).provider_id for twin in twins]
    assert found == [theirs.sid for theirs in simulator.messages()]


def test_a_lost_template_that_never_arrived_does_not_keep_others_to_its_recipient_from_being_found(
    service: WhatsAppService, simulator: Simulator
) -> None:
    """Its text may vary from the one we know; but what Twilio lists has the very text of the other."""
    simulator.settings.drop_rate = 1.0
    never = reminder(service)
    arrived = service.send(Draft(to=never.recipient, body="Words of their own"))
    assert service.message(never.id).template_sid is not None
    simulator.settings.create_error = "500"
    service.deliver([never.id])
    simulator.settings.create_error = "cut_after_accept"
    service.deliver([arrived.id])
    simulator.settings.create_error = None
    assert service.settle_unconfirmed() == 1
    assert service.message(arrived.id).provider_id == simulator.messages()[0].sid
    assert service.message(never.id).is_unconfirmed


def test_a_lost_message_does_not_take_the_answer_of_an_equal_one_that_is_just_being_handed_over(
    service: WhatsAppService, simulator: Simulator
) -> None:
    """Its own never reached Twilio; the one Twilio lists belongs to the second, whose worker has not written it down yet."""
    simulator.settings.drop_rate = 1.0
    lost, under_way = (reminder(service) for _ in range(2))
    with service.transaction() as conn:
        for message in (lost, under_way):
            assert handover.claim(conn, message.id, now=datetime.now(UTC))
        handover.mark_unconfirmed(conn, [lost.id], reason="cut", now=datetime.now(UTC))
    accepted = service.gateway.send(send._outgoing(service.message(under_way.id), None, config=service.config))
    assert service.settle_unconfirmed() == 0
    service.record([accepted], source=Source.SEND)
    assert service.message(under_way.id).provider_id == accepted.provider_id
    assert service.message(lost.id).is_unconfirmed


def test_a_lost_message_is_not_taken_for_one_sent_days_later(
    service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    simulator.settings.drop_rate = 1.0
    message = reminder(service, "+447700900104")
    service.deliver([message.id])
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            UPDATE whatsapp_logs.messages
            SET claimed_at = claimed_at - interval '2 days', unconfirmed_at = unconfirmed_at - interval '2 days'
            """
        )
    assert service.settle_unconfirmed() == 0
    assert service.message(message.id).is_unconfirmed


def test_what_cannot_be_found_does_not_keep_others_from_being_looked_up(service: WhatsAppService) -> None:
    now = datetime.now(UTC)
    with service.transaction() as conn:
        old, new = (service.send(Draft(to=f"+44770090022{n}", body="x"), conn=conn).id for n in range(2))
        for message_id in (old, new):
            handover.claim(conn, message_id, now=now)
            handover.mark_unconfirmed(conn, [message_id], reason="cut", now=now)
        handover.looked_up(conn, [old], now=now + timedelta(seconds=5))
        in_a_minute = handover.unconfirmed(conn, now=now + timedelta(seconds=60), limit=1)
        soon = handover.unconfirmed(conn, now=now + timedelta(seconds=6), limit=10)
    assert [message.id for message in in_a_minute] == [new]
    assert [message.id for message in soon] == [new]


DYING_WORKER = """
import os, signal, sys
from whatsapp_logs import Config, WhatsAppService

step, message_id = sys.argv[1], int(sys.argv[2])
service = WhatsAppService.from_env(dict(os.environ))
gateway = service.gateway

def die(at):
    if step == at:
        os.kill(os.getpid(), signal.SIGKILL)

class Dying:
    def send(self, outgoing):
        die("claimed")
        accepted = gateway.send(outgoing)
        die("handed over")
        return accepted

service._gateway = Dying()
die("begun")
service.deliver([message_id])
die("recorded")
"""


@pytest.mark.parametrize("step", ["begun", "claimed", "handed over", "recorded"])
def test_fault_11_a_worker_killed_at_any_step_sends_never_two_and_never_none_unseen(
    step: str, service: WhatsAppService, simulator: Simulator, config: Config
) -> None:
    simulator.settings.drop_rate = 1.0  # no callback tells: only what the worker leaves behind
    message = reminder(service)
    env = {
        "DATABASE_URL": config.database_url,
        "SECRET_KEY": config.secret_key,
        "TWILIO_ACCOUNT_SID": config.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": config.twilio_auth_token,
        "TWILIO_WHATSAPP_FROM": config.twilio_whatsapp_from,
        "TWILIO_API_BASE_URL": config.twilio_api_base_url,
    }
    command = [sys.executable, "-c", DYING_WORKER, step, str(message.id)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[1], env=os.environ | env, check=False)
    assert killed.returncode == -9
    with service.transaction() as conn:
        waiting = send.rescue(conn, now=datetime.now(UTC) + timedelta(minutes=3))
    service.deliver(waiting)
    service.settle_unconfirmed()
    left = service.message(message.id)
    if step == "claimed":  # nobody can know that nothing was sent
        assert (simulator.messages(), left.is_unconfirmed) == ([], True)
        assert left.wait_reason
    else:
        assert [theirs.sid for theirs in simulator.messages()] == [left.provider_id]


def test_an_unknown_client_is_refused_by_name(service: WhatsAppService) -> None:
    with pytest.raises(InvalidInput) as refused:
        service.send(Draft(to="+447700900222", body="x", client_id="999999"))
    assert refused.value.field == "client_id"


def test_a_message_that_other_code_sent_enters_the_log_once_and_adopts_what_came_before(
    service: WhatsAppService,
) -> None:
    early = StatusReport(provider_status="delivered", provider_id="SM" + "1" * 32)
    assert service.record([early], source=Source.CALLBACK)[0].message_id is None
    logged = service.log_message(message_sid="SM" + "1" * 32, to="whatsapp:+447700900222", body="from the bot")
    assert logged.status is Status.DELIVERED
    assert logged.recipient == "+447700900222"
    assert service.log_message(message_sid="SM" + "1" * 32, to="+447700900222").id == logged.id


def test_logging_one_message_from_many_connections_at_once_makes_one_row(service: WhatsAppService, dsn: str) -> None:
    """Also with a caller's connection in autocommit mode, whose transactions are ours."""

    def log_it() -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            service.log_message(conn=conn, message_sid="SM" + "3" * 32, to="+447700900222")

    threads = [threading.Thread(target=log_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.count(MessageFilter()) == 1


def test_odd_characters_in_a_draft_are_no_reason_to_lose_it(service: WhatsAppService) -> None:
    message = service.send(Draft(to="+447700900222", body="Dear \0 \ud83d", created_by="a\0"))
    assert message.body == "Dear \N{SYMBOL FOR NULL} \N{REPLACEMENT CHARACTER}"


def test_a_message_that_cannot_be_logged_says_so_in_the_specifications_words(service: WhatsAppService) -> None:
    with pytest.raises((LoggingFailed, InvalidInput)):
        service.log_message(message_sid="SM" + "2" * 32, to="+447700900222", client_id="999999")
    assert str(LoggingFailed()) == "Failed to log WhatsApp message"


def test_a_database_that_is_away_is_said_and_nothing_is_pretended(config: Config) -> None:
    away = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:1/none", pool_timeout_s=0.5))
    with pytest.raises(DatabaseAway):
        away.send(Draft(to="+447700900222", body="x"))
    away.close()
