"""Who hands campaigns' messages over from a number of ours: one runner at a time, so that all campaigns share the number's rate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A number's runner, and until when it waits: `resume_at` and the `reason`."""

    our_number: str
    runner: UUID | None
    heartbeat_at: datetime | None
    resume_at: datetime | None
    reason: str | None
    failures: int


def take(conn: Connection[Any], our_number: str, runner: UUID, *, silent_s: float) -> Sender | None:
    """Become the number's runner, or go on being it; None while another one gives signs of life."""
    with conn.cursor(row_factory=class_row(Sender)) as cursor:
        return cursor.execute(
            """
            INSERT INTO whatsapp_logs.senders AS s (our_number, runner, heartbeat_at)
            VALUES (%(number)s, %(runner)s, clock_timestamp())
            ON CONFLICT (our_number) DO UPDATE SET runner = %(runner)s, heartbeat_at = clock_timestamp()
            WHERE s.runner IS NULL OR s.runner = %(runner)s
               OR s.heartbeat_at < clock_timestamp() - make_interval(secs => %(silent_s)s)
            RETURNING s.our_number, s.runner, s.heartbeat_at, s.resume_at, s.reason, s.failures
            """,
            {"number": our_number, "runner": runner, "silent_s": silent_s},
        ).fetchone()


def leave(conn: Connection[Any], our_number: str, runner: UUID) -> None:
    """Let another one be the runner at once."""
    conn.execute(
        "UPDATE whatsapp_logs.senders SET runner = NULL WHERE our_number = %(number)s AND runner = %(runner)s",
        {"number": our_number, "runner": runner},
    )


def wait(conn: Connection[Any], our_number: str, *, until: datetime, reason: str, failures: int) -> None:
    """Hand nothing over before then."""
    conn.execute(
        """
        UPDATE whatsapp_logs.senders SET resume_at = %(until)s, reason = %(reason)s, failures = %(failures)s
        WHERE our_number = %(number)s
        """,
        {"number": our_number, "until": until, "reason": reason, "failures": failures},
    )


def go_on(conn: Connection[Any], our_number: str) -> None:
    """Nothing is waited for any more."""
    conn.execute(
        "UPDATE whatsapp_logs.senders SET resume_at = NULL, reason = NULL, failures = 0 WHERE our_number = %(number)s",
        {"number": our_number},
    )


def get(conn: Connection[Any], our_number: str) -> Sender | None:
    """The number's runner and what it waits for."""
    with conn.cursor(row_factory=class_row(Sender)) as cursor:
        return cursor.execute(
            """
            SELECT our_number, runner, heartbeat_at, resume_at, reason, failures FROM whatsapp_logs.senders
            WHERE our_number = %(number)s
            """,
            {"number": our_number},
        ).fetchone()


def has_runner(conn: Connection[Any], our_number: str, *, silent_s: float) -> bool:
    """Whether somebody is at work."""
    row = conn.execute(
        """
        SELECT EXISTS (SELECT FROM whatsapp_logs.senders WHERE our_number = %(number)s AND runner IS NOT NULL
                       AND heartbeat_at >= clock_timestamp() - make_interval(secs => %(silent_s)s))
        """,
        {"number": our_number, "silent_s": silent_s},
    ).fetchone()
    return bool(row and row[0])
