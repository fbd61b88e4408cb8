"""Counts that are exact at every moment without counting rows: rolled-up totals plus the deltas of every change since."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import Status


@dataclass(frozen=True, slots=True)
class Totals:
    """How many messages there are of each (direction, type, status) that occurs."""

    of: Mapping[tuple[str, str, Status], int]

    def by_status(self, *, direction: str = "outbound", types: Collection[str] = ()) -> dict[Status, int]:
        """How many stand at each status (only statuses that occur)."""
        found: dict[Status, int] = {}
        for (way, kind, status), n in self.of.items():
            if way == direction and (not types or kind in types):
                found[status] = found.get(status, 0) + n
        return found

    def of_filter(self, wanted: MessageFilter) -> int:
        """The exact number of rows of a filter by status and type alone (`wanted.is_counted`)."""
        found = self.by_status(direction=wanted.direction, types=wanted.types)
        return sum(n for status, n in found.items() if not wanted.statuses or status in wanted.statuses)

    @property
    def types(self) -> list[str]:
        """The message types that occur, the most frequent first."""
        found: dict[str, int] = {}
        for (_, kind, _), n in self.of.items():
            found[kind] = found.get(kind, 0) + n
        return sorted(found, key=lambda kind: (-found[kind], kind))


def totals(conn: Connection[Any]) -> Totals:
    """All totals at once: some dozens of rows, whatever the log's size."""
    rows = conn.execute(
        """
        SELECT direction, message_type, status, sum(n)::bigint FROM (
            SELECT direction, message_type, status, n FROM whatsapp_logs.count_totals
            UNION ALL
            SELECT direction, message_type, status, n FROM whatsapp_logs.count_deltas
        ) AS every GROUP BY 1, 2, 3 HAVING sum(n) <> 0
        """
    ).fetchall()
    return Totals({(direction, kind, Status(status)): n for direction, kind, status, n in rows})


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
