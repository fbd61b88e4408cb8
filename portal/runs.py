"""How the reminders' runs went: when one last came to its end, what it made, and whether one has failed since. No page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

_MAX_PROBLEM = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """`last_at` is when a run last came to its end, `made` the reminders of its day; `failed_at` is of the latest failure since."""

    last_at: datetime | None
    made: int
    failed_at: datetime | None
    problem: str | None


def note_end(conn: Connection[Any], day: date, *, made: int) -> None:
    """A run has come to its end."""
    conn.execute(
        """
        INSERT INTO renewal_runs AS r (day, last_at, made) VALUES (%(day)s, clock_timestamp(), %(made)s)
        ON CONFLICT (day) DO UPDATE SET last_at = EXCLUDED.last_at, made = r.made + EXCLUDED.made
        """,
        {"day": day, "made": made},
    )


def note_failure(conn: Connection[Any], day: date, problem: str) -> None:
    """A run has failed; the queue's log has more of it."""
    conn.execute(
        """
        INSERT INTO renewal_runs (day, failed_at, problem) VALUES (%(day)s, clock_timestamp(), %(problem)s)
        ON CONFLICT (day) DO UPDATE SET failed_at = EXCLUDED.failed_at, problem = EXCLUDED.problem
        """,
        {"day": day, "problem": problem.partition("\n")[0][:_MAX_PROBLEM]},
    )


def look(conn: Connection[Any]) -> Runs:
    """How the latest runs went."""
    with conn.cursor(row_factory=class_row(Runs)) as cursor:
        found = cursor.execute(
            """
            SELECT ended.last_at, coalesce(ended.made, 0) AS made, failed.failed_at, failed.problem
            FROM (SELECT) AS always
            LEFT JOIN LATERAL (
                SELECT last_at, made FROM renewal_runs WHERE last_at IS NOT NULL ORDER BY day DESC LIMIT 1
            ) AS ended ON true
            LEFT JOIN LATERAL (
                SELECT failed_at, problem FROM renewal_runs WHERE failed_at IS NOT NULL ORDER BY day DESC LIMIT 1
            ) AS failed ON failed.failed_at > coalesce(ended.last_at, '-infinity')
            """
        ).fetchone()
    assert found is not None
    return found
