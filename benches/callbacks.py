"""Status callbacks, 64 at once, signed, answered after a durable commit: by the portal's route and by the receiver, by an ORM, by a
plain route, and by Flask doing nothing.

All on this machine's loopback and the same database. The competitors update one row of the first portal's table; ours stores the
report, folds it, and keeps counts and side list.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from benches.measure import Line, percentile
from benches.place import Place
from whatsapp_logs.links import STATUS_CALLBACK_PATH
from whatsapp_logs.twilio.signature import sign

ROOT = Path(__file__).parents[1]
CALLERS = 64
WORKERS = 2
WARM = 256  # calls that are not timed: the first ones make connections and plans
ACCOUNT, TOKEN, ADDRESS = "AC" + "a" * 32, "bench-token-0001", "https://portal.example.test"
THREADS = {"route": 32, "plain": 8, "plain, many threads": 32, "hello": 8}


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of calls took."""

    per_second: float
    p99_s: float


def measure(place: Place) -> Iterator[Line]:
    """Rounds in turn; a message's callbacks are new in each."""
    calls, rounds = 400 if place.is_smoke else 6000, place.rounds(3)
    servers = {
        "route": _granian("our_portal", THREADS["route"]),
        "receiver": _receiver(),
        "ORM": _gunicorn("orm_portal"),
    }
    servers |= {name: _granian("naive_portal", THREADS[name]) for name in ("plain", "plain, many threads", "hello")}
    found: dict[str, list[Round]] = {name: [] for name in servers}
    with place.scratch() as dsn:
        for round_ in range(rounds):
            for name, command in servers.items():
                sids = _new_messages(dsn, calls + WARM)
                path = "/hello" if name == "hello" else STATUS_CALLBACK_PATH
                with served(command, dsn) as (port, _server):
                    found[name].append(_round(place.folder, port, path, sids, round_))
                if name in ("route", "receiver"):
                    _check_kept(dsn, sids)
    rates = {name: statistics.median(one.per_second for one in rounds_) for name, rounds_ in found.items()}
    p99 = {name: statistics.median(one.p99_s for one in rounds_) for name, rounds_ in found.items()}
    plain = max(("plain", "plain, many threads"), key=lambda name: rates[name])
    yield Line("callbacks by an ORM under gunicorn", rates["ORM"], "/s")
    yield Line("callbacks by a plain route, its better setting", rates[plain], "/s")
    yield Line("Flask doing nothing on that server", rates["hello"], "/s")
    yield Line("callbacks ÷ ORM, in the portal's route", rates["route"], "/s", rates["route"] / rates["ORM"])
    yield Line(
        "callbacks ÷ plain route, in the portal's route", rates["route"], "/s", rates["route"] / rates[plain], ">= 1"
    )
    yield Line("callbacks ÷ ORM under gunicorn", rates["receiver"], "/s", rates["receiver"] / rates["ORM"], ">= 5")
    yield Line("callbacks ÷ plain route", rates["receiver"], "/s", rates["receiver"] / rates[plain], ">= 1.8")
    for name, words in (("route", ", in the portal's route"), ("receiver", "")):
        yield Line(f"callbacks: p99 ÷ plain route's{words}", p99[name] * 1000, "ms", p99[name] / p99[plain], "<= 1")
    yield Line("callbacks ÷ Flask doing nothing", rates["receiver"], "/s", rates["receiver"] / rates["hello"], ">= 0.5")


def _round(folder: Path, port: int, path: str, sids: list[str], round_: int) -> Round:
    status = ("sent", "delivered", "read")[round_ % 3]
    _load(folder, port, [_request(path, sid, status) for sid in sids[:WARM]])
    told = _load(folder, port, [_request(path, sid, status) for sid in sids[WARM:]])
    return Round((len(sids) - WARM) / told["seconds"], percentile(told["taken"], 0.99))


def _load(folder: Path, port: int, requests: list[bytes]) -> dict[str, Any]:
    """Send these, in a process of its own; every one has to be answered 204."""
    file = folder / "requests"
    file.write_bytes(b"".join(struct.pack(">I", len(request)) + request for request in requests))
    load = [sys.executable, "-m", "benches.load", str(port), str(CALLERS), str(file)]
    told: dict[str, Any] = json.loads(subprocess.run(load, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    if told["statuses"].keys() != {"204"}:
        raise RuntimeError(f"not every call was answered 204: {told['statuses']}")
    return told


def _request(path: str, sid: str, status: str) -> bytes:
    form = {
        "AccountSid": ACCOUNT,
        "ApiVersion": "2010-04-01",
        "ChannelInstallSid": "XE" + "1" * 32,
        "ChannelPrefix": "whatsapp",
        "ChannelToAddress": "+1201555XXXX",
        "From": "whatsapp:+15550100100",
        "MessageSid": sid,
        "MessageStatus": status,
        "SmsSid": sid,
        "SmsStatus": status,
        "To": "whatsapp:+12015550100",
    }
    body = urlencode(form)
    head = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "User-Agent: TwilioProxy/1.1",
        "Content-Type: application/x-www-form-urlencoded; charset=UTF-8",
        f"Content-Length: {len(body)}",
        f"X-Twilio-Signature: {sign(form, url=ADDRESS + STATUS_CALLBACK_PATH, auth_token=TOKEN)}",
    ]
    return "\r\n".join([*head, "", body]).encode()


def _new_messages(dsn: str, count: int) -> list[str]:
    """Messages that were just handed over, in the log and in the first portal's table."""
    mark = uuid.uuid4().hex[:16]
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, sender, body, provider_id, status, claimed_at)
            SELECT bench.phone(n), '+15550100100', 'Your policy is due for renewal soon.', 'C' || %(mark)s || n, 'sending', now()
            FROM generate_series(1, %(count)s) AS n
            """,
            {"mark": mark, "count": count},
        )
        conn.execute(
            """
            INSERT INTO first_portal.whatsapp_logs (message_sid, phone_number, message_type, message_content, status)
            SELECT 'C' || %(mark)s || n, bench.phone(n), 'general', 'Your policy is due for renewal soon.', 'sending'
            FROM generate_series(1, %(count)s) AS n
            """,
            {"mark": mark, "count": count},
        )
    return [f"C{mark}{n}" for n in range(1, count + 1)]


def _check_kept(dsn: str, sids: list[str]) -> None:
    """What was acknowledged is there."""
    with closing(psycopg.connect(dsn)) as conn:
        row = conn.execute(
            "SELECT count(*) FROM whatsapp_logs.status_events WHERE provider_id = ANY (%s)", [sids]
        ).fetchone()
    if row != (len(sids),):
        raise RuntimeError(f"{len(sids)} reports were acknowledged, and {row} are there")


def _granian(app: str, threads: int) -> list[str]:
    return _served_by_granian("wsgi", f"benches.rivals.{app}:app", "--blocking-threads", str(threads))


def _receiver() -> list[str]:
    # One process, as docs/scale.md has it: who comes together is written together. Later words win.
    return _served_by_granian("rsgi", "whatsapp_logs.web.receiver:app", "--workers", "1")


def _served_by_granian(interface: str, app: str, *more: str) -> list[str]:
    words = [
        "granian",
        "--interface",
        interface,
        "--host",
        "127.0.0.1",
        "--workers",
        str(WORKERS),
        "--backpressure",
        "128",
    ]
    return [sys.executable, "-m", *words, "--log-level", "error", "--port", "{port}", *more, app]


def _gunicorn(app: str) -> list[str]:
    words = [
        "gunicorn",
        "--workers",
        str(WORKERS),
        "--threads",
        "4",
        "--worker-class",
        "gthread",
        "--log-level",
        "error",
    ]
    return [sys.executable, "-m", *words, "--bind", "127.0.0.1:{port}", f"benches.rivals.{app}:app"]


@contextlib.contextmanager
def served(command: list[str], dsn: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port of a server that answers, and its process; ended with the block."""
    with ExitStack() as stack:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = os.environ | {
            "DATABASE_URL": dsn,
            "SQLALCHEMY_URL": as_sqlalchemy(dsn),
            "SECRET_KEY": "only for the bench, on loopback",
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_WHATSAPP_FROM": "whatsapp:+15550100100",
            "PUBLIC_BASE_URL": ADDRESS,
            "SECURE_COOKIES": "0",  # the reader comes by http
            "PERSON_CALLS_PER_MINUTE": "10000000",  # one reader reads as two hundred
            "PERSON_CHANGES_PER_MINUTE": "10000000",
            "REQUIRE_SECOND_FACTOR": "nobody",  # the reader is an administrator without a phone
        }
        server = subprocess.Popen(
            [word.replace("{port}", str(port)) for word in command],
            cwd=ROOT,
            env=env,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, server)
        deadline = time.monotonic() + 60
        while not _answers(port):
            if time.monotonic() > deadline or server.poll() is not None:
                raise RuntimeError(f"the server did not start: {command}")
            time.sleep(0.05)
        yield port, server


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
        probe.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return bool(probe.recv(1))
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def as_sqlalchemy(dsn: str) -> str:
    """The address of a database as SQLAlchemy writes it."""
    parts = conninfo_to_dict(make_conninfo(dsn))
    return f"postgresql+psycopg://{parts.get('user', 'postgres')}@/{parts['dbname']}?host={parts['host']}"
