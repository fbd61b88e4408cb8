"""Counts that are exact at every moment without counting rows: rolled-up totals plus the deltas of every change since."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import Status


def by_status(conn: Connection[Any], *, direction: str = "outbound", types: tuple[str, ...] = ()) -> dict[Status, int]:
    """How many messages stand at each status (only statuses that occur)."""
    condition = "AND message_type = ANY (%(types)s)" if types else ""
    rows = conn.execute(
        f"""
        SELECT status, sum(n)::bigint FROM (
            SELECT status, n FROM whatsapp_logs.count_totals WHERE direction = %(direction)s {condition}
            UNION ALL
            SELECT status, n FROM whatsapp_logs.count_deltas WHERE direction = %(direction)s {condition}
        ) AS every GROUP BY status HAVING sum(n) <> 0
        """.encode(),
        {"direction": direction, "types": list(types)},
    ).fetchall()
    return {Status(status): n for status, n in rows}


def types(conn: Connection[Any]) -> list[str]:
    """The message types that occur, the most frequent first."""
    rows = conn.execute(
        """
        SELECT message_type FROM (
            SELECT message_type, n FROM whatsapp_logs.count_totals UNION ALL SELECT message_type, n FROM whatsapp_logs.count_deltas
        ) AS every GROUP BY message_type HAVING sum(n) > 0 ORDER BY sum(n) DESC, message_type
        """
    ).fetchall()
    return [row[0] for row in rows]


def total(conn: Connection[Any], wanted: MessageFilter) -> int:
    """The exact number of rows of a filter by status and type alone (`wanted.is_counted`)."""
    found = by_status(conn, direction=wanted.direction, types=wanted.types)
    return sum(n for status, n in found.items() if not wanted.statuses or status in wanted.statuses)


def fold_deltas(conn: Connection[Any]) -> int:
    """Roll the deltas up, per day and in all; returns how many there were. Readers see totals + deltas before and after alike."""
    row = conn.execute(
        """
        WITH taken AS (
            DELETE FROM whatsapp_logs.count_deltas RETURNING day, direction, channel, message_type, status, n
        ), rolled AS (
            INSERT INTO whatsapp_logs.counts AS c (day, direction, channel, message_type, status, n)
            SELECT day, direction, channel, message_type, status, sum(n) FROM taken GROUP BY 1, 2, 3, 4, 5
            ON CONFLICT (day, direction, channel, message_type, status) DO UPDATE SET n = c.n + EXCLUDED.n
        ), added AS (
            INSERT INTO whatsapp_logs.count_totals AS t (direction, channel, message_type, status, n)
            SELECT direction, channel, message_type, status, sum(n) FROM taken GROUP BY 1, 2, 3, 4
            ON CONFLICT (direction, channel, message_type, status) DO UPDATE SET n = t.n + EXCLUDED.n
        )
        SELECT count(*) FROM taken
        """
    ).fetchone()
    return int(row[0]) if row else 0
