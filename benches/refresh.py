"""Refresh all statuses: 10 000 messages whose callbacks were lost, at a Twilio that takes 100 ms to answer, a few at a time.

The first portal asked message by message and committed each; a sample of it is timed and reckoned up to all of them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import requests
from twilio.rest import Client

from benches.measure import Line, timed
from benches.place import Place
from whatsapp_logs import Config, Status, WhatsAppService
from whatsapp_logs.twilio.simulator import Message, Simulator

ACCOUNT, TOKEN, SENDER = "AC" + "a" * 32, "bench-token-0001", "whatsapp:+15550100100"
LATENCY_S, AT_A_TIME = 0.1, 8
SAMPLE = 50
_NOT_IN_THE_LIST = 20  # so many have no date_sent yet, and the list does not show them


@dataclass
class Calls:
    """How often Twilio was asked."""

    made: int = 0


def measure(place: Place) -> Iterator[Line]:
    """Calls and seconds, both beside the first portal's."""
    pending = 500 if place.is_smoke else 10_000
    with ExitStack() as stack:
        dsn = stack.enter_context(place.scratch(0))
        twilio = stack.enter_context(Simulator(ACCOUNT, TOKEN, pace=0, whatsapp_from=SENDER))
        config = Config(
            database_url=dsn,
            secret_key="only for the bench",
            twilio_account_sid=ACCOUNT,
            twilio_auth_token=TOKEN,
            twilio_whatsapp_from=SENDER,
            twilio_api_base_url=twilio.base_url,
        )
        service = stack.enter_context(closing(WhatsAppService(config)))
        conn = stack.enter_context(closing(psycopg.connect(dsn, autocommit=True)))
        sids = _lost(conn, twilio, pending)
        twilio.settings.update({"latency_s": LATENCY_S, "max_concurrent": AT_A_TIME})
        sample_s = timed(lambda: _one_by_one(conn, twilio, sids[:SAMPLE]))
        with _counted() as calls:
            seconds = timed(lambda: service.run_refresh(service.refresh_all(started_by="bench").id))
        left = pending - service.status_counts().get(Status.READ, 0)
        if left:
            raise RuntimeError(f"{left} messages of {pending} are not read")
    yield Line(f"calls to refresh {pending} ÷ one a message", calls.made, "", calls.made / pending, "<= 0.005")
    whole_s = sample_s / SAMPLE * pending
    yield Line(f"refresh {pending} ÷ first portal's, from a sample", seconds, "s", seconds / whole_s, "<= 0.02")


def _lost(conn: psycopg.Connection[Any], twilio: Simulator, count: int) -> list[str]:
    """Messages that are read at Twilio, of which the log knows only that they were handed over."""
    now = time.time()
    sids = [f"MM{n:032x}" for n in range(1, count + 1)]
    template = Message(
        sid="", direction="outbound-api", to="", from_=SENDER, customer="", body="Hello", phone_text="Hello", status="read",
        created_at=now, updated_at=now, price="-0.00500",
    )  # fmt: skip
    for n, sid in enumerate(sids):
        to, at = f"whatsapp:+1{201 + n // 100 % 700}55501{n % 100:02}", now - 3600 + n * 3000 / count
        sent_at = None if n < _NOT_IN_THE_LIST else at + 1
        twilio.ledger.add(
            replace(template, sid=sid, to=to, customer=to, created_at=at, updated_at=at + 2, sent_at=sent_at)
        )
    conn.execute(
        """
        INSERT INTO whatsapp_logs.messages (recipient, sender, body, provider_id, status, claimed_at, created_at)
        SELECT '+12015550100', '+15550100100', 'Hello', sid, 'sending', now(), now() - interval '1 hour' + n * interval '0.3 s'
        FROM unnest(%s::text[]) WITH ORDINALITY AS told (sid, n)
        """,
        [sids],
    )
    return sids


def _one_by_one(conn: psycopg.Connection[Any], twilio: Simulator, sids: list[str]) -> None:
    client = Client(ACCOUNT, TOKEN)
    client.api.base_url = twilio.base_url
    for sid in sids:
        found = client.messages(sid).fetch()
        conn.execute("UPDATE first_portal.whatsapp_logs SET status = %s WHERE message_sid = %s", [found.status, sid])


@contextlib.contextmanager
def _counted() -> Iterator[Calls]:
    """Count what this process asks by HTTP."""
    calls, send = Calls(), requests.Session.send

    def counting(self: requests.Session, *arguments: Any, **named: Any) -> requests.Response:
        calls.made += 1
        return send(self, *arguments, **named)

    requests.Session.send = counting  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
