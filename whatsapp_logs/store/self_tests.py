"""Tests of the callback's way: who has heard of them so far. No row of the log is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Heard:
    """Whether the callback's route has recognised the test, and whether a worker has done its job."""

    by_route: bool
    by_worker: bool


def begin(conn: Connection[Any], nonce: str) -> None:
    """Write down that a test of this name is under way."""
    conn.execute("INSERT INTO whatsapp_logs.self_tests (nonce) VALUES (%(nonce)s)", {"nonce": nonce})


def hear(conn: Connection[Any], nonce: str) -> bool:
    """The callback has come; False for a test that nobody has begun, or that was heard before."""
    row = conn.execute(
        """
        UPDATE whatsapp_logs.self_tests SET heard_at = clock_timestamp()
        WHERE nonce = %(nonce)s AND heard_at IS NULL RETURNING nonce
        """,
        {"nonce": nonce},
    ).fetchone()
    return row is not None


def work(conn: Connection[Any], nonce: str) -> None:
    """A worker has done the test's job."""
    conn.execute(
        "UPDATE whatsapp_logs.self_tests SET worked_at = clock_timestamp() WHERE nonce = %(nonce)s", {"nonce": nonce}
    )


def heard(conn: Connection[Any], nonce: str) -> Heard:
    """How far the test has come."""
    with conn.cursor(row_factory=class_row(Heard)) as cursor:
        row = cursor.execute(
            """
            SELECT heard_at IS NOT NULL AS by_route, worked_at IS NOT NULL AS by_worker
            FROM whatsapp_logs.self_tests WHERE nonce = %(nonce)s
            """,
            {"nonce": nonce},
        ).fetchone()
    return row or Heard(False, False)
