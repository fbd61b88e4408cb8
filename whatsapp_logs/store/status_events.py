"""Reports in, timelines out. `whatsapp_logs.record` in the database holds the fold; nothing else moves a status."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import kwargs_row

from whatsapp_logs.message import Recorded, Source, Status, StatusEvent, StatusReport
from whatsapp_logs.store.text import storable_json

_MAX_WORD = 100


def record(conn: Connection[Any], reports: Sequence[StatusReport], *, source: Source, now: datetime) -> list[Recorded]:
    """Store what is new of `reports`, move each message to its greatest status, adopt what was parked; in the caller's transaction.

    Answers in the order of `reports`.
    """
    rows = conn.execute(
        "SELECT n, to_message, is_new, changed FROM whatsapp_logs.record(%(reports)s::jsonb, %(source)s, %(now)s) ORDER BY n",
        {"reports": storable_json([_as_json(report) for report in reports]), "source": source.value, "now": now},
    ).fetchall()
    return [
        Recorded(provider_id=report.provider_id, message_id=row[1], is_new=row[2], changed=row[3])
        for report, row in zip(reports, rows, strict=True)
    ]


def lock(conn: Connection[Any], provider_id: str) -> None:
    """Wait for others who are recording this SID, and keep them waiting until the transaction ends: `record`'s own lock."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%(sid)s, 0))", {"sid": provider_id})


def timeline(conn: Connection[Any], message_id: int) -> list[StatusEvent]:
    """All events of a message in the order in which they happened."""
    with conn.cursor(row_factory=kwargs_row(_event)) as cursor:
        return cursor.execute(
            """
            SELECT id, message_id, provider_id, status, provider_status, error_code, error_message, source, happened_at,
                   received_at, payload
            FROM whatsapp_logs.status_events WHERE message_id = %(id)s
            ORDER BY date_trunc('second', happened_at), status NULLS LAST, id  -- providers' times are whole seconds
            """,
            {"id": message_id},
        ).fetchall()


def parked(conn: Connection[Any], *, limit: int = 100) -> list[StatusEvent]:
    """Reports of messages that nobody knows, newest first."""
    with conn.cursor(row_factory=kwargs_row(_event)) as cursor:
        return cursor.execute(
            """
            SELECT id, message_id, provider_id, status, provider_status, error_code, error_message, source, happened_at,
                   received_at, payload
            FROM whatsapp_logs.status_events WHERE message_id IS NULL ORDER BY received_at DESC LIMIT %(limit)s
            """,
            {"limit": limit},
        ).fetchall()


def _event(**row: Any) -> StatusEvent:
    row["status"] = None if row["status"] is None else Status(row["status"])
    row["source"] = Source(row["source"])
    return StatusEvent(**row)


def _within(number: int | None, *, bits: int) -> int | None:
    return number if number is not None and 0 <= number < 2**bits else None


def _word(text: str | None) -> str | None:
    """What is indexed is short; the payload keeps the whole."""
    return text[:_MAX_WORD] or None if text is not None else None


def _as_json(report: StatusReport) -> dict[str, Any]:
    status = report.status
    fields: dict[str, Any] = {
        "message_id": _within(report.message_id, bits=63),
        "provider_id": _word(report.provider_id),
        "status": None if status is None else status.value,
        "provider_status": _word(report.provider_status) or "(none)",
        "error_code": _word(report.error_code),
        "error_message": report.error_message,
        "happened_at": None if report.happened_at is None else report.happened_at.isoformat(),
        "sent_at": None if report.sent_at is None else report.sent_at.isoformat(),
        "price": str(report.price) if report.price is not None and report.price.is_finite() else None,
        "price_unit": report.price_unit,
        "num_segments": _within(report.num_segments, bits=31),
        "payload": dict(report.payload) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
