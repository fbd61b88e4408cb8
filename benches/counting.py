"""Keeping counts exact without a row that all writers wait for: deltas, slots, one row, or no counts at all, with 32 writers."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg

from benches.measure import Line, timed
from benches.place import Place
from whatsapp_logs.store import counts

WRITERS = 32
ROUNDS = 3
DELTAS = 48_000
_TABLES = """
    DROP TABLE IF EXISTS bench.written, bench.deltas, bench.slots;
    CREATE TABLE bench.written (id bigint PRIMARY KEY, status text NOT NULL) WITH (fillfactor = 70);
    INSERT INTO bench.written SELECT n, 'sent' FROM generate_series(1, 3200) AS n;
    CREATE TABLE bench.deltas (status text NOT NULL, n bigint NOT NULL);
    CREATE TABLE bench.slots (status text, slot integer, n bigint NOT NULL, PRIMARY KEY (status, slot)) WITH (fillfactor = 50);
    INSERT INTO bench.slots
    SELECT status, slot, 0 FROM unnest(ARRAY['sent', 'delivered']) AS status, generate_series(0, 31) AS slot;
"""
_WAYS = {
    "none": "",
    "deltas": "INSERT INTO bench.deltas VALUES ('sent', -1), ('delivered', 1)",
    "slots": "UPDATE bench.slots SET n = n + 1 WHERE slot = pg_backend_pid() % 32",
    "one row": "UPDATE bench.slots SET n = n + 1 WHERE slot = 0 AND status = 'sent'",
}


def measure(place: Place) -> Iterator[Line]:
    """Each way's transactions a second beside those without counts; and what rolling deltas up costs."""
    seconds = 0.3 if place.is_smoke else 3.0
    with place.scratch() as dsn, closing(psycopg.connect(dsn, autocommit=True)) as conn:
        conn.execute(_TABLES)
        taken: dict[str, list[float]] = {way: [] for way in _WAYS}
        for _ in range(place.rounds(ROUNDS)):
            for way, statement in _WAYS.items():
                taken[way].append(_transactions(dsn, statement, seconds=seconds))
        rates = {way: statistics.median(found) for way, found in taken.items()}
        for way in ("deltas", "slots", "one row"):
            goal = ">= 0.7" if way == "deltas" else ""
            yield Line(
                f"counts by {way} ÷ no counts, {WRITERS} writers", rates[way], "/s", rates[way] / rates["none"], goal
            )
        yield Line(f"rolling {DELTAS} deltas up", _roll_up(conn) * 1000, "ms", None, "<= 1000")


def _transactions(dsn: str, statement: str, *, seconds: float) -> float:
    """Durable transactions a second: each writer updates a row of its own and counts it."""
    done = [0] * WRITERS
    ready, ending = threading.Barrier(WRITERS + 1), threading.Event()

    def write(number: int) -> None:
        with closing(psycopg.connect(dsn)) as conn:
            ready.wait()
            while not ending.is_set():
                row = number * 100 + done[number] % 100 + 1
                conn.execute("UPDATE bench.written SET status = 'delivered' WHERE id = %s", [row])
                if statement:
                    conn.execute(statement.encode())
                conn.commit()
                done[number] += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(seconds)
    ending.set()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def _roll_up(conn: psycopg.Connection[Any]) -> float:
    with conn.transaction(force_rollback=True):
        conn.execute(
            """
            INSERT INTO whatsapp_logs.count_deltas (day, direction, channel, message_type, status, n)
            SELECT current_date - n %% 30, 'outbound', 'whatsapp', 'general',
                   (ARRAY['sent', 'delivered', 'read'])[1 + n %% 3]::whatsapp_logs.status, 1
            FROM generate_series(1, %s) AS n
            """,
            [DELTAS],
        )
        return timed(lambda: counts.fold_deltas(conn))
