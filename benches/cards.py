"""The cards above the log: exact totals, read as fast from ten million messages as from ten."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg

from benches.measure import Line, interleaved, timed
from benches.place import Place
from whatsapp_logs.store import counts

# What the first portal did: one count for each of its four cards.
FIRST_PORTAL = (
    "SELECT count(*) FROM first_portal.whatsapp_logs",
    "SELECT count(*) FROM first_portal.whatsapp_logs WHERE status IN ('delivered', 'read')",
    "SELECT count(*) FROM first_portal.whatsapp_logs WHERE status = 'read'",
    "SELECT count(*) FROM first_portal.whatsapp_logs WHERE status IN ('failed', 'undelivered')",
)


def measure(place: Place) -> Iterator[Line]:
    """Cards beside `SELECT 1`, beside counting, and beside themselves at a tenth of the rows; equal to the true count."""
    with closing(_connected(place.dsn())) as conn, closing(_connected(place.dsn(place.tenth))) as tenth:
        times = interleaved(
            place.rounds(200),
            nothing=lambda: conn.execute("SELECT 1").fetchone(),
            cards=lambda: counts.totals(conn),
            tenth=lambda: counts.totals(tenth),
        )
        cards_ms = times["cards"] * 1000
        counted_s = timed(lambda: count_as_the_first_portal(conn))
        yield Line("cards ÷ SELECT 1", cards_ms, "ms", times["cards"] / times["nothing"], "<= 5")
        yield Line("cards ÷ first portal's four counts", cards_ms, "ms", times["cards"] / counted_s, "<= 0.01")
        yield Line("cards ÷ cards at a tenth of the rows", cards_ms, "ms", times["cards"] / times["tenth"], "<= 1.5")
        yield Line("cards: statuses whose total differs from count(*)", _off(conn), "", None, "<= 0")


def count_as_the_first_portal(conn: psycopg.Connection[Any]) -> None:
    """Its four cards."""
    for query in FIRST_PORTAL:
        conn.execute(query).fetchone()


def _connected(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True)


def _off(conn: psycopg.Connection[Any]) -> int:
    """How many statuses' totals are not the number of rows, both read in one snapshot."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        told = {status.value: n for status, n in counts.totals(conn).by_status().items()}
        rows = conn.execute(
            "SELECT status::text, count(*) FROM whatsapp_logs.messages WHERE direction = 'outbound' GROUP BY 1"
        )
        return len(told.items() ^ dict(rows.fetchall()).items())
