"""Counts that are exact at every moment without counting rows: rolled-up totals plus the deltas of every change since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection, sql

from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import Status
from whatsapp_logs.store.words import is_one_of


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


def within_days(conn: Connection[Any], wanted: MessageFilter, *, limit: int) -> dict[Status, int] | None:
    """How many messages of a filter by day, type and status (`wanted.is_counted_by_day`) stand at each status, exactly.

    Whole UTC days are known; what the viewer's zone cuts off at either end is counted, up to `limit` rows each (None beyond).
    """
    first, last = _first_midnight(wanted.since), _last_midnight(wanted.until)
    if first is not None and last is not None and first >= last:
        return None
    found = _of_days(conn, wanted, first, last)
    for since, until in ((wanted.since, first), (last, wanted.until)):
        if since is None or until is None or since == until:
            continue
        part = _of_part(conn, wanted, since, until, limit=limit)
        if sum(part.values()) > limit:
            return None
        found.update(part)
    return dict(found)


def _of_days(
    conn: Connection[Any], wanted: MessageFilter, first: datetime | None, last: datetime | None
) -> Counter[Status]:
    given: list[tuple[str, Any]] = [
        ("day >= %(first)s", first and first.date()),
        ("day < %(last)s", last and last.date()),
        ("message_type = ANY (%(types)s)", list(wanted.types)),
    ]
    where = " AND ".join(["direction = %(direction)s", *(condition for condition, value in given if value)])
    rows = conn.execute(
        f"""
        SELECT status, sum(n)::bigint FROM (
            SELECT status, n FROM whatsapp_logs.counts WHERE {where}
            UNION ALL
            SELECT status, n FROM whatsapp_logs.count_deltas WHERE {where}
        ) AS every GROUP BY status HAVING sum(n) <> 0
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        {
            "direction": wanted.direction,
            "first": first and first.date(),
            "last": last and last.date(),
            "types": list(wanted.types),
        },
    ).fetchall()
    return Counter({Status(status): n for status, n in rows})


def _of_part(
    conn: Connection[Any], wanted: MessageFilter, since: datetime, until: datetime, *, limit: int
) -> Counter[Status]:
    # Direction and types written out: an index that holds one of them alone is found by what is written only.
    types = [is_one_of("message_type", wanted.types)] if wanted.types else []
    where = sql.SQL(" AND ").join([is_one_of("direction", (wanted.direction,)), *types])
    rows = conn.execute(
        sql.SQL(
            """
            SELECT status, count(*) FROM (
                SELECT status FROM whatsapp_logs.messages
                WHERE {where} AND created_at >= %(since)s AND created_at < %(until)s LIMIT %(limit)s
            ) AS part GROUP BY status
            """
        ).format(where=where),
        {"since": since, "until": until, "limit": limit + 1},
    ).fetchall()
    return Counter({Status(status): n for status, n in rows})


def _first_midnight(moment: datetime | None) -> datetime | None:
    """The first midnight, UTC, not before this moment."""
    return None if moment is None else _last_midnight(moment + timedelta(days=1) - timedelta.resolution)


def _last_midnight(moment: datetime | None) -> datetime | None:
    """The last midnight, UTC, not after this moment."""
    return None if moment is None else moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


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
