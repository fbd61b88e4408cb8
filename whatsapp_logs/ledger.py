"""The ledger of consent: what customers write, what the provider says of them, what staff are told; each line once, for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs.consent import OPT_OUT_CODES, word_of
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.message import StatusReport
from whatsapp_logs.store import consent_events

_MAX_WORDING = 1000


def hear(
    conn: Connection[Any], *, address: str, text: str | None, opt_out_type: str | None, message_id: int, at: datetime
) -> str | None:
    """Write down what a customer's message says of their consent; opt_out, opt_in, or None where it says nothing of it."""
    kind = word_of(text, opt_out_type=opt_out_type)
    if kind is not None:
        word = "stop_word" if kind == "opt_out" else "start_word"
        consent_events.insert(
            conn,
            address=address,
            kind=kind,
            source="opt_out_type" if opt_out_type else word,
            wording=(text or "")[:_MAX_WORDING],
            message_id=message_id,
            recorded_by="customer",
            happened_at=at,
        )
    return kind


def learn(conn: Connection[Any], reports: Sequence[StatusReport]) -> None:
    """Write down that the provider refused messages because their recipients have opted out there, or blocked us."""
    told = [
        (report.provider_id, report.message_id, report.error_code)
        for report in reports
        if report.error_code in OPT_OUT_CODES
    ]
    if told:
        consent_events.insert_from_refusals(conn, told)


def record(
    conn: Connection[Any],
    *,
    address: str,
    kind: str,
    scope: str,
    wording: str,
    recorded_by: str,
    happened_at: datetime,
    client_id: str | None = None,
    source: str = "staff",
) -> int:
    """What a member of staff was told by the customer; returns the line's id. Raises InvalidInput without a wording."""
    if not wording.strip():
        raise InvalidInput("wording", "Write what the customer said or signed, and where: it is the proof.")
    if kind not in ("opt_in", "opt_out"):
        raise InvalidInput("kind", "Choose whether the customer agreed or asked us to stop.")
    if scope not in ("all", "marketing"):
        raise InvalidInput("scope", "Choose what it is about: everything, or advertising only.")
    return consent_events.insert(
        conn,
        address=address,
        client_id=client_id,
        kind=kind,
        scope=scope,
        source=source,
        wording=wording.strip()[:_MAX_WORDING],
        recorded_by=recorded_by,
        happened_at=happened_at,
    )
