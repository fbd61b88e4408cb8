"""Slow down guessing at passwords: attempts are counted in the database, so that every server process sees them."""

from __future__ import annotations

from psycopg import Connection

WINDOW_MINUTES = 5
# Per window. One person mistyping is let in again soon; a name tried from many addresses is being guessed at.
LIMIT_SAME_PERSON_AND_ADDRESS, LIMIT_SAME_ADDRESS, LIMIT_SAME_PERSON = 5, 60, 60
# Six digits are soon guessed at, and whoever tries them knows the password: no more from many addresses than from one.
LIMIT_CODES = 5


def count_attempt(conn: Connection, username: str, address: str, *, most_of_person: int = LIMIT_SAME_PERSON) -> bool:
    """Count one attempt and tell whether it may go on. Counted before the password is looked at: no race to win."""
    limits = {
        _pair(username, address): LIMIT_SAME_PERSON_AND_ADDRESS,
        f"address {address}": LIMIT_SAME_ADDRESS,
        f"person {username}": most_of_person,
    }
    # Minute by minute, and the last minutes together: no moment at which everything is forgotten at once.
    counted = conn.execute(
        """
        WITH counted AS (
            INSERT INTO sign_in_attempts AS a (who, started_at, n)
            SELECT who, date_bin('1 minute', now(), 'epoch'), 1
            FROM unnest(%(who)s::text[]) AS who ORDER BY who  -- one order for all, so that nobody deadlocks
            ON CONFLICT (who, started_at) DO UPDATE SET n = a.n + 1
            RETURNING who, started_at, n
        )
        SELECT c.who, c.n + COALESCE((
            SELECT sum(e.n) FROM sign_in_attempts AS e
            WHERE e.who = c.who AND e.started_at < c.started_at AND e.started_at > now() - make_interval(mins => %(window)s)), 0)
        FROM counted AS c
        """,
        {"window": WINDOW_MINUTES, "who": list(limits)},
    ).fetchall()
    return all(n <= limits[who] for who, n in counted)


def forget_attempts(conn: Connection, username: str, address: str) -> None:
    """The person has signed in: their mistakes, and this attempt, no longer count."""
    conn.execute(
        """
        UPDATE sign_in_attempts SET n = CASE WHEN who = %(pair)s THEN 0 ELSE n - 1 END
        WHERE who = ANY(%(who)s) AND n > 0 AND started_at > now() - make_interval(mins => %(window)s)
              AND (who = %(pair)s OR started_at = date_bin('1 minute', now(), 'epoch'))
        """,
        {"who": _counters(username, address), "pair": _pair(username, address), "window": WINDOW_MINUTES},
    )
    conn.execute("DELETE FROM sign_in_attempts WHERE started_at < now() - interval '1 day'")


def _counters(username: str, address: str) -> list[str]:
    """In the order in which everybody locks them, so that nobody deadlocks."""
    return sorted((_pair(username, address), f"address {address}", f"person {username}"))


def _pair(username: str, address: str) -> str:
    return f"{username} at {address}"
