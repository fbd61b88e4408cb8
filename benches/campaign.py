"""Queueing a campaign: rows, first events, counts, addresses, side list and jobs of 10 000 messages, beside COPY of the bare rows.

Both in a transaction that is rolled back; what a commit costs is the same for both. In a copy of the log: rows that were rolled
back lie in a page's way until they are vacuumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from benches.measure import Line, interleaved
from benches.place import Place
from whatsapp_logs import Config, Draft, Template, WhatsAppService
from whatsapp_logs.message import Path

MESSAGES = 10_000
_COLUMNS = (
    "id, recipient, sender, body, message_type, created_by, request_key, client_id, policy_id, template_sid, template_name,"
    " variables, path"
)


def measure(place: Place) -> Iterator[Line]:
    """One line."""
    with ExitStack() as stack:
        dsn = stack.enter_context(place.scratch())
        config = Config(
            database_url=dsn, secret_key="only for writing", twilio_whatsapp_from="+15550100100", quiet_hours=None
        )
        service = stack.enter_context(closing(WhatsAppService(config)))
        conn = stack.enter_context(closing(psycopg.connect(dsn)))
        drafts = [_draft(*row) for row in _clients(conn)]
        conn.rollback()
        times = interleaved(
            place.rounds(7), ours=lambda: _queue(service, conn, drafts), copy=lambda: _copy(conn, drafts, config.sender)
        )
        name = f"queue a campaign of {len(drafts)} ÷ COPY of its rows"
        yield Line(name, times["ours"] * 1000, "ms", times["ours"] / times["copy"], "<= 4")


def _queue(service: WhatsAppService, conn: psycopg.Connection[Any], drafts: list[Draft]) -> None:
    service.send_many(drafts, conn=conn)
    conn.rollback()


def _copy(conn: psycopg.Connection[Any], drafts: list[Draft], sender: str) -> None:
    # The rows, their indexes and their references to clients and policies; nothing of ours that follows a row.
    conn.execute("ALTER TABLE whatsapp_logs.messages DISABLE TRIGGER USER")
    with conn.cursor().copy(f"COPY whatsapp_logs.messages ({_COLUMNS}) FROM STDIN".encode()) as copy:
        for number, draft in enumerate(drafts, 10**12):
            copy.write_row(
                (
                    number,
                    draft.to,
                    sender,
                    draft.body,
                    draft.message_type,
                    draft.created_by,
                    draft.request_key,
                    draft.client_id,
                    draft.policy_id,
                    draft.template.sid if draft.template else None,
                    draft.template.name if draft.template else None,
                    Jsonb(draft.template.variables) if draft.template else None,
                    draft.path.value,
                )
            )
    conn.rollback()


def _clients(conn: psycopg.Connection[Any]) -> list[tuple[int, str]]:
    query = "SELECT client_id, phone FROM public.clients WHERE phone LIKE '+1%%' ORDER BY client_id LIMIT %s"
    return conn.execute(query, [MESSAGES]).fetchall()


def _draft(client_id: int, phone: str) -> Draft:
    return Draft(
        to=phone,
        body=f"Hello {client_id}, your policy is due for renewal soon. Reply to this message with any question.",
        message_type="renewal_reminder",
        created_by="anna.admin",
        request_key=f"bench-{client_id}",
        client_id=client_id,
        policy_id=client_id,
        template=Template(sid="HX" + "2" * 32, name="renewal_reminder", variables={"1": str(client_id)}),
        path=Path.CAMPAIGN,
        confirmed=frozenset(),
    )
