"""Reports in, timelines out. `whatsapp_logs.record` in the database holds the fold; nothing else moves a status."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import kwargs_row

from whatsapp_logs.message import Recorded, Source, Status, StatusEvent, StatusReport


def record(conn: Connection[Any], reports: Sequence[StatusReport], *, source: Source, now: datetime) -> list[Recorded]:
    """Store what is new of `reports`, move each message to its greatest status, adopt what was parked; in the caller's transaction.

    Answers in the order of `reports`.
    """
    rows = conn.execute(
        "SELECT n, to_message, is_new, changed FROM whatsapp_logs.record(%(reports)s::jsonb, %(source)s, %(now)s) ORDER BY n",
        {"reports": json.dumps([_as_json(report) for report in reports]), "source": source.value, "now": now},
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


def _as_json(report: StatusReport) -> dict[str, Any]:
    status = report.status
    fields: dict[str, Any] = {
        "message_id": report.message_id,
        "provider_id": report.provider_id,
        "status": None if status is None else status.value,
        "provider_status": report.provider_status,
        "error_code": report.error_code,
        "error_message": report.error_message,
        "happened_at": None if report.happened_at is None else report.happened_at.isoformat(),
        "price": None if report.price is None else str(report.price),
        "price_unit": report.price_unit,
        "num_segments": report.num_segments,
        "payload": dict(report.payload) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
