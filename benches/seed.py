"""Fills a database with an office's years: realistic in shape, invented in every word, the same for the same number of rows.

Three years up to now; 200 000 clients, of whom some are written to far more often than others; 300 000 policies; nine in ten
messages arrived, one in twenty-five is a customer's. The derived tables are made set by set, as the triggers would have made them.
Beside them stands the table of the first portal with the same messages, its indexes and its trigger, for comparison.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

MOST_CLIENTS, MOST_POLICIES = 200_000, 300_000
PENDING = 1000  # the newest messages, of which nobody knows the end yet
BATCH = 500_000
_LOG_ITSELF = 4  # statements of derived.sql that make what the log needs to answer
_SQL = Path(__file__).parent / "sql"
_FILLED = ("messages", "status_events", "addresses", "rare_statuses")


def fill(dsn: str, rows: int, *, tell: Callable[[str], None] = lambda text: None, whole: bool = True) -> None:
    """Write the office, its messages, and all that is derived from them; unless `whole`, no events and no first portal."""
    clients, policies = min(MOST_CLIENTS, max(100, rows // 5)), min(MOST_POLICIES, max(150, rows * 3 // 10))
    with psycopg.connect(dsn, autocommit=True) as conn, psycopg.connect(dsn, autocommit=True) as source:
        # Neither triggers nor foreign keys: what they would do is done below, set by set.
        conn.execute("SET session_replication_role = replica")
        conn.execute("SET synchronous_commit = off")
        conn.execute(_read("portal").format(clients=clients, policies=policies).encode())
        conn.execute(_read("first_portal").encode())
        indexes = _drop_indexes(conn)
        now = _one(conn, "SELECT now()::text")
        for first in range(1, rows + 1, BATCH):
            last = min(rows, first + BATCH - 1)
            query = _read("messages").format(
                now=now, rows=rows, first=first, last=last, clients=clients, policies=policies, pending=PENDING
            )
            with source.cursor().copy(query.encode()) as out, conn.cursor().copy(_read("messages_in").encode()) as into:
                for block in out:
                    into.write(block)
        conn.execute("SELECT setval(pg_get_serial_sequence('whatsapp_logs.messages', 'id'), %s)", [max(rows, 1)])
        derived = _read("derived").split(";\n\n")
        for statement in (
            (*derived, *indexes, _read("first_portal_indexes")) if whole else (*derived[:_LOG_ITSELF], *indexes)
        ):
            began = time.monotonic()
            conn.execute(statement.encode())
            if time.monotonic() - began > 20:
                tell(f"#   {' '.join(statement.split())[:70]} … {time.monotonic() - began:.0f} s")
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")


def fingerprint() -> str:
    """What a filled database was made by."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(_SQL.iterdir()))).hexdigest()[:8]


def _read(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text()


def _drop_indexes(conn: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    """Drop what costs more to keep than to make anew; returns how it is made anew."""
    found = conn.execute(
        """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), obj_description(indexrelid, 'pg_class')
        FROM pg_index WHERE NOT indisprimary AND indrelid = ANY (%s::regclass[])
        """,
        [[f"whatsapp_logs.{name}" for name in _FILLED]],
    ).fetchall()
    for name, _, _ in found:
        conn.execute(f"DROP INDEX {name}".encode())
    return [str(definition) for _, definition, _ in found]


def _one(conn: psycopg.Connection[tuple[object, ...]], query: str) -> object:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
