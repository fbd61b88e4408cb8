"""The receiver behind its real server: what granian hands over, and what it sends back, is not what a test believes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import requests

from tests.service_fixtures import ACCOUNT_SID, AUTH_TOKEN, SECRET_KEY, SENDER
from tests.start.processes import PATIENCE_S, wait_until
from tests.web.twilio_calls import CUSTOMER, RsgiCall, inbound_form, sid, signature, status_form
from whatsapp_logs import Config, Status, WhatsAppService
from whatsapp_logs.links import INBOUND_PATH, STATUS_CALLBACK_PATH
from whatsapp_logs.twilio.simulator import Simulator, Writing
from whatsapp_logs.web.receiver import Receiver

# Of this test's own database: the server is every worker's.
_WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def receiver(config: Config) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = started(config, port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(PATIENCE_S)


def started(config: Config, port: int) -> subprocess.Popen[bytes]:
    """A receiver that listens there, in a process of its own."""
    env = os.environ | {
        "DATABASE_URL": config.database_url,
        "SECRET_KEY": SECRET_KEY,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "TWILIO_WHATSAPP_FROM": SENDER,
        "TWILIO_API_BASE_URL": config.twilio_api_base_url,
        "PUBLIC_BASE_URL": config.public_base_url,
    }
    words = ["--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    command = [sys.executable, "-m", "granian", *words, "whatsapp_logs.web.receiver:app"]
    server = subprocess.Popen(command, env=env, start_new_session=True)

    def is_there() -> bool:
        nonlocal server
        if server.poll() is not None:  # somebody's connection had the port for a moment
            server = subprocess.Popen(command, env=env, start_new_session=True)
        return _answers(port)

    wait_until(is_there)
    return server


def _answers(port: int) -> bool:
    """It, and not merely somebody: a connection to a port that is free may end in itself."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=1).status_code == 404
    except requests.RequestException:
        return False


def test_it_keeps_what_twilio_signed_and_refuses_everything_else_in_words(
    receiver: str, config: Config, service: WhatsAppService
) -> None:
    message = service.log_message(message_sid=sid(1), to=CUSTOMER, body="Your policy")
    form = status_form(sid(1), "read")
    path = f"{STATUS_CALLBACK_PATH}?message={message.id}"
    signed = {"X-Twilio-Signature": signature(config.public_base_url + path, form)}
    forged = requests.post(receiver + path, data=form, headers={"X-Twilio-Signature": "x"}, timeout=PATIENCE_S)
    assert (forged.status_code, "not signed by Twilio" in forged.text) == (403, True)
    assert requests.post(receiver + path, data=form, timeout=PATIENCE_S).status_code == 403
    assert requests.post(receiver + path, data="a=" + "x" * 70_000, timeout=PATIENCE_S).status_code == 413
    assert requests.post(receiver + path, data=iter([b"a=", b"x" * 70_000]), timeout=PATIENCE_S).status_code == 413
    assert requests.get(receiver + path, timeout=PATIENCE_S).status_code == 405
    assert requests.post(f"{receiver}/whatsapp_logs", timeout=PATIENCE_S).status_code == 404
    assert service.message(message.id).status is Status.QUEUED
    believed = requests.post(receiver + path, data=form, headers=signed, timeout=PATIENCE_S)
    assert (believed.status_code, believed.content) == (204, b"")
    assert {answer.headers["X-Content-Type-Options"] for answer in (forged, believed)} == {"nosniff"}
    assert service.message(message.id).status is Status.READ


def test_what_it_has_taken_is_kept_and_answered_when_it_is_told_to_end(
    address: socket.socket, config: Config, dsn: str
) -> None:
    port = address.getsockname()[1]
    address.close()
    server = started(config, port)
    forms = [status_form(sid(n), "delivered") for n in range(20)]

    def post(form: dict[str, str]) -> int | None:
        headers = {"X-Twilio-Signature": signature(config.public_base_url + STATUS_CALLBACK_PATH, form)}
        where = f"{config.public_base_url}{STATUS_CALLBACK_PATH}"
        try:
            return requests.post(where, data=form, headers=headers, timeout=PATIENCE_S).status_code
        except requests.ConnectionError:  # it came too late: Twilio calls again
            return None

    def is_waiting() -> bool:
        with psycopg.connect(dsn) as conn:
            return conn.execute(_WAITING).fetchone() is not None

    try:
        with ThreadPoolExecutor(len(forms)) as callers:
            with psycopg.connect(dsn) as conn:
                conn.execute("LOCK TABLE whatsapp_logs.status_events IN EXCLUSIVE MODE")
                first = callers.submit(post, forms[0])
                wait_until(is_waiting)
                others = [callers.submit(post, form) for form in forms[1:]]
                server.terminate()
                assert not first.done(), "nothing is acknowledged before it is committed"
            answers = [first.result(), *(call.result() for call in others)]
        assert server.wait(PATIENCE_S) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
    assert answers[0] == 204
    assert set(answers) <= {204, None}
    with psycopg.connect(dsn) as conn:
        there = {one for (one,) in conn.execute("SELECT provider_id FROM whatsapp_logs.status_events").fetchall()}
    assert there >= {form["MessageSid"] for form, answer in zip(forms, answers, strict=True) if answer == 204}


@pytest.mark.parametrize("odd", [False, True])
def test_calls_that_come_while_one_is_committed_share_the_next_commit(
    odd: bool, config: Config, service: WhatsAppService, dsn: str
) -> None:
    """None is answered before it, one that hangs up is kept, and one that cannot be stored takes no other with it."""
    receiver, sids = Receiver(service), [sid(n) for n in range(12)]
    calls = [RsgiCall.of_status(status_form(one, "delivered"), public_base_url=config.public_base_url) for one in sids]
    if odd:
        with psycopg.connect(dsn) as conn:
            conn.execute(f"ALTER TABLE whatsapp_logs.status_events ADD CHECK (provider_id <> '{sids[3]}')".encode())

    def is_waiting() -> bool:
        with psycopg.connect(dsn) as conn:
            return conn.execute(_WAITING).fetchone() is not None

    async def all_at_once() -> list[object]:
        with psycopg.connect(dsn) as conn:
            conn.execute("LOCK TABLE whatsapp_logs.status_events IN EXCLUSIVE MODE")
            tasks = [asyncio.create_task(receiver.__rsgi__(calls[0], calls[0]))]
            await asyncio.to_thread(wait_until, is_waiting)
            tasks += [asyncio.create_task(receiver.__rsgi__(call, call)) for call in calls[1:]]
            while len(receiver._reports._waiting) < len(calls) - 1:
                await asyncio.sleep(0)
            tasks[5].cancel()
            assert not any(call.answer for call in calls)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with ThreadPoolExecutor(1) as server:  # a loop of its own, whatever runs in the test's thread
        outcomes = server.submit(asyncio.run, all_at_once()).result()
    unanswered = {3, 5} if odd else {5}
    assert {n for n, call in enumerate(calls) if call.answer is None} == unanswered
    assert {call.answer.status_code for call in calls if call.answer} == {204}
    assert {n for n, outcome in enumerate(outcomes) if outcome is not None} == unanswered
    with psycopg.connect(dsn) as conn:
        written = "SELECT array_agg(provider_id) FROM whatsapp_logs.status_events GROUP BY xmin::text ORDER BY count(*)"
        commits = [one for (one,) in conn.execute(written).fetchall()]
    assert sorted(one for commit in commits for one in commit) == [one for one in sids if not odd or one != sids[3]]
    if not odd:
        assert [len(commit) for commit in commits] == [1, len(sids) - 1]


def test_a_customers_message_is_answered_once_it_is_kept(
    receiver: str, config: Config, service: WhatsAppService
) -> None:
    form = inbound_form(sid(1), "Hello")
    signed = {"X-Twilio-Signature": signature(config.public_base_url + INBOUND_PATH, form)}
    assert requests.post(receiver + INBOUND_PATH, data=form, timeout=10).status_code == 403
    foreign = form | {"AccountSid": "AC" + "b" * 32}
    headers = {"X-Twilio-Signature": signature(config.public_base_url + INBOUND_PATH, foreign)}
    assert requests.post(receiver + INBOUND_PATH, data=foreign, headers=headers, timeout=10).status_code == 403
    assert requests.post(receiver + INBOUND_PATH, data="a=" + "x" * 70_000, timeout=10).status_code == 413
    assert kept(service) == []
    for _ in range(2):  # told twice
        answer = requests.post(receiver + INBOUND_PATH, data=form, headers=signed, timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/xml; charset=utf-8")
        assert answer.text.endswith("<Response/>")
    assert [(provider_id, body) for provider_id, body, _ in kept(service)] == [(sid(1), "Hello")]


def kept(service: WhatsAppService) -> list[tuple[str, str, str]]:
    """Customers' messages that are rows, turns and due, by id: SID, text, number."""
    with service.transaction() as conn:
        return conn.execute(
            """
            SELECT m.provider_id, m.body, m.sender FROM whatsapp_logs.messages AS m
            JOIN whatsapp_logs.turns AS t ON t.message_id = m.id AND t.done_at IS NULL
            WHERE m.direction = 'inbound' ORDER BY m.id
            """
        ).fetchall()


CUSTOMERS, EACH, STRANGERS = 30, 6, 250


def test_a_crowd_writes_while_the_receiver_is_killed(
    address: socket.socket, config: Config, service: WhatsAppService, simulator: Simulator
) -> None:
    """What Twilio was told is kept before kill -9 is kept, once, and each customer's in order; the rest comes again."""
    path = f"{config.public_base_url}{INBOUND_PATH}"
    simulator.settings.inbound_url = f"{path}#rc=5&rp=all"  # as Twilio is told, it tries again
    port = address.getsockname()[1]
    address.close()
    server = started(config, port)
    crowd = [f"whatsapp:+4477009{n:05d}" for n in range(CUSTOMERS)]
    try:
        for n in range(EACH):
            writings = [(customer, Writing(f"word {n}")) for customer in crowd]
            if n == EACH // 2:
                writings += [(f"whatsapp:+4478009{n:05d}", Writing("word 0")) for n in range(STRANGERS)]
            sids = simulator.receive_together(writings)
            if n == EACH // 2:
                wait_until(lambda sids=sids: any(one[0] in sids for one in kept(service)))  # type: ignore[misc]
                os.killpg(server.pid, signal.SIGKILL)  # all its processes
                server.wait()
                server = started(config, port)
            simulator.wait_idle(timeout_s=60)
        everything = {one.sid for one in simulator.messages()}
        acknowledged = {one.sid for one in simulator.callbacks() if one.answer == 200}
        rows = kept(service)
        assert acknowledged <= {one[0] for one in rows}, "what was acknowledged is kept"
        assert len(rows) == len({one[0] for one in rows}), "once"
        for customer in crowd:
            said = [int(body.split()[1]) for _, body, sender in rows if f"whatsapp:{sender}" == customer]
            assert said == sorted(said), "in order"
        again(simulator, path)
        assert len(kept(service)) == CUSTOMERS * EACH + STRANGERS
        assert {one[0] for one in kept(service)} == everything
        attempts, lost = len(simulator.callbacks()), len(everything - acknowledged)
        print(
            f"{len(everything)} messages, {attempts} calls, {lost} without an answer at first, {len(everything)} again"
        )
        assert attempts > len(everything), "the kill was felt"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


def again(simulator: Simulator, path: str) -> None:
    """Each webhook once more, at the same time from eight sides."""
    forms = [
        inbound_form(one.sid, one.body, From=one.customer) for one in simulator.messages() if one.direction == "inbound"
    ]

    def post(form: dict[str, str]) -> int:
        headers = {"X-Twilio-Signature": signature(path, form)}
        return requests.post(path, data=form, headers=headers, timeout=30).status_code

    with ThreadPoolExecutor(8) as callers:
        assert set(callers.map(post, forms)) == {200}
