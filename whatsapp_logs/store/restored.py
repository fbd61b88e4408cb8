"""A database that was restored from a backup: what it must not do with what it does not know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from psycopg import Connection


def skip_ids(conn: Connection[Any], *, count: int) -> None:
    """Leave a gap in the messages' ids: those after the backup were given out, and stand in callback addresses."""
    conn.execute(
        """
        SELECT setval(pg_get_serial_sequence('whatsapp_logs.messages', 'id'), COALESCE(max(id), 0) + %(count)s)
        FROM whatsapp_logs.messages
        """,
        {"count": count},
    )


def hold(conn: Connection[Any], *, now: datetime, reason: str) -> int:
    """Make every message that waits to be handed over unconfirmed: it may have gone out after the backup. Returns how many."""
    return conn.execute(
        """
        UPDATE whatsapp_logs.messages AS m
        SET claimed_at = COALESCE(m.claimed_at, m.created_at), unconfirmed_at = %(now)s, wait_reason = %(reason)s,
            retry_at = NULL, updated_at = %(now)s
        FROM whatsapp_logs.rare_statuses AS r
        WHERE r.message_id = m.id AND r.status IN ('scheduled', 'queued') AND m.provider_id IS NULL
          AND m.unconfirmed_at IS NULL AND COALESCE(m.send_at, m.created_at) <= %(now)s
        """,
        {"now": now, "reason": reason},
    ).rowcount


def held(conn: Connection[Any], *, reason: str) -> list[int]:
    """Ids of the messages that are held for that reason."""
    rows = conn.execute(
        """
        SELECT m.id FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
        WHERE r.status IN ('scheduled', 'queued') AND m.provider_id IS NULL AND m.wait_reason = %(reason)s
        ORDER BY m.id
        """,
        {"reason": reason},
    ).fetchall()
    return [row[0] for row in rows]


def release(conn: Connection[Any], ids: Sequence[int], *, reason: str) -> int:
    """Let these held messages be handed over; returns how many were still held."""
    return conn.execute(
        """
        UPDATE whatsapp_logs.messages
        SET claimed_at = NULL, unconfirmed_at = NULL, wait_reason = NULL, updated_at = now()
        WHERE id = ANY (%(ids)s) AND provider_id IS NULL AND wait_reason = %(reason)s
        """,
        {"ids": list(ids), "reason": reason},
    ).rowcount


def newest_day(conn: Connection[Any]) -> date | None:
    """The UTC day of the newest message that the backup knew."""
    row = conn.execute(
        "SELECT (created_at AT TIME ZONE 'UTC')::date FROM whatsapp_logs.messages ORDER BY created_at DESC LIMIT 1"
    ).fetchone()
    return None if row is None else row[0]
