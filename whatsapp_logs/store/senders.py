"""A number of ours: its rate, which all share who hand messages over from it, and the one runner of its campaigns at a time."""

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


def take_turn(conn: Connection[Any], our_number: str, message_id: int, *, rate: int) -> float | None:
    """Take the number's next turn for this message: in how many seconds it may leave; None where it does not wait to.

    What is taken is not waited for to be on disk: a turn that a crash loses is one message too early.
    """
    row = conn.execute(
        """
        WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        INSERT INTO whatsapp_logs.senders AS s (our_number, free_at)
        SELECT %(number)s, clock_timestamp() + make_interval(secs => 1.0 / %(rate)s) FROM quick
        WHERE EXISTS (
            SELECT FROM whatsapp_logs.messages AS m
            WHERE m.id = %(id)s AND m.status IN ('scheduled', 'queued') AND m.claimed_at IS NULL AND m.provider_id IS NULL
              AND m.campaign_id IS NULL AND (m.send_at IS NULL OR m.send_at <= clock_timestamp()))
        ON CONFLICT (our_number) DO UPDATE
        SET free_at = greatest(s.free_at, clock_timestamp()) + make_interval(secs => 1.0 / %(rate)s)
        RETURNING extract(epoch FROM s.free_at - clock_timestamp())::float - 1.0 / %(rate)s
        """,
        {"number": our_number, "id": message_id, "rate": rate},
    ).fetchone()
    return None if row is None else max(0.0, float(row[0]))


def turns_left(conn: Connection[Any], our_number: str, *, rate: int, within_s: float) -> int:
    """How many messages may leave within so many seconds, beside those whose turn was taken already."""
    row = conn.execute(
        """
        SELECT greatest(0, floor((%(within)s - greatest(0, extract(epoch FROM free_at - clock_timestamp())::float)) * %(rate)s) + 1)
        FROM whatsapp_logs.senders WHERE our_number = %(number)s
        """,
        {"number": our_number, "rate": rate, "within": within_s},
    ).fetchone()
    return int(row[0]) if row else 1


def take_turns(conn: Connection[Any], our_number: str, count: int, *, rate: int) -> float:
    """Take the number's next turns, one each 1/rate second: in how many seconds the first is."""
    row = conn.execute(
        """
        UPDATE whatsapp_logs.senders
        SET free_at = greatest(free_at, clock_timestamp()) + make_interval(secs => %(count)s::float / %(rate)s)
        WHERE our_number = %(number)s
        RETURNING extract(epoch FROM free_at - clock_timestamp())::float - %(count)s::float / %(rate)s
        """,
        {"number": our_number, "count": count, "rate": rate},
    ).fetchone()
    return max(0.0, float(row[0])) if row else 0.0


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
