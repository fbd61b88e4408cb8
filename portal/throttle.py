"""Slow down guessing at passwords: attempts are counted in the database, so that every server process sees them."""

from __future__ import annotations

from psycopg import Connection

WINDOW_MINUTES = 5
# Per window. One person mistyping is let in again soon; a name tried from many addresses is being guessed at.
LIMIT_SAME_PERSON_AND_ADDRESS, LIMIT_SAME_ADDRESS, LIMIT_SAME_PERSON = 5, 60, 60


def count_attempt(conn: Connection, username: str, address: str) -> bool:
    """Count one attempt and tell whether it may go on. Counted before the password is looked at: no race to win."""
    limits = {
        _pair(username, address): LIMIT_SAME_PERSON_AND_ADDRESS,
        f"address {address}": LIMIT_SAME_ADDRESS,
        f"person {username}": LIMIT_SAME_PERSON,
    }
    counted = conn.execute(
        """
        INSERT INTO sign_in_attempts AS a (who, started_at, n)
        SELECT who, date_bin(make_interval(mins => %(window)s), now(), 'epoch'), 1
        FROM unnest(%(who)s::text[]) AS who ORDER BY who  -- one order for all, so that nobody deadlocks
        ON CONFLICT (who, started_at) DO UPDATE SET n = a.n + 1
        RETURNING who, n
        """,
        {"window": WINDOW_MINUTES, "who": list(limits)},
    ).fetchall()
    return all(n <= limits[who] for who, n in counted)


def forget_attempts(conn: Connection, username: str, address: str) -> None:
    """The person has signed in: their own mistakes no longer count."""
    conn.execute("DELETE FROM sign_in_attempts WHERE who = %s", (_pair(username, address),))
    conn.execute("DELETE FROM sign_in_attempts WHERE started_at < now() - interval '1 day'")


def _pair(username: str, address: str) -> str:
    return f"{username} at {address}"
