"""Who is signed in, from where, since when: rows of `sign_ins`. They end by the clock, by idleness, and when somebody ends them."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row, dict_row

from portal.people import FACTS, Person

LASTS = timedelta(hours=12)
CODE_MAY_TAKE = timedelta(minutes=10)
CONFIRMED_FOR = timedelta(minutes=10)  # so long after its password somebody need not enter it again


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A sign-in as one request finds it."""

    person: Person
    sign_in_id: int
    waits_for_code: bool
    is_confirmed: bool  # the password was entered just now
    is_stale: bool  # nobody has noted for a minute that somebody is there
    has_second_factor: bool
    is_multi_factor: bool  # single sign-on has asked for a second factor already


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A sign-in as its owner sees it in a list."""

    sign_in_id: int
    address: str
    browser: str
    started_at: datetime
    seen_at: datetime


def begin(
    conn: Connection,
    person: Person,
    *,
    address: str,
    browser: str,
    waits_for_code: bool = False,
    is_multi_factor: bool = False,
    confirmed_at: datetime | None = None,
) -> str:
    """Remember a new sign-in and return its token, which only the person's browser keeps.

    `confirmed_at` is when they last proved who they are, if that was not now.
    """
    token = secrets.token_urlsafe(32)
    conn.execute("DELETE FROM sign_ins WHERE expires_at < now()")
    conn.execute(
        """
        INSERT INTO sign_ins (token_hash, user_id, expires_at, address, browser, waits_for_code, is_multi_factor, confirmed_at)
        VALUES (%(token)s, %(user)s, now() + %(lasts)s, %(address)s, %(browser)s, %(waits)s, %(factor)s,
                coalesce(%(confirmed)s, now()))
        """,
        {
            "token": _hashed(token), "user": person.user_id, "lasts": CODE_MAY_TAKE if waits_for_code else LASTS,
            "address": address, "browser": browser[:300].replace("\0", ""), "waits": waits_for_code,
            "factor": is_multi_factor, "confirmed": confirmed_at,
        },
    )  # fmt: skip
    if not waits_for_code:
        conn.execute("UPDATE people SET last_sign_in_at = now() WHERE user_id = %s", (person.user_id,))
    return token


def find(conn: Connection, token: str, *, idle_minutes: int) -> SignIn | None:
    """The sign-in with this token, unless it has ended."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            """
            SELECT p.user_id, p.username, p.name, p.role, p.timezone, r.rights AS granted, s.sign_in_id, s.waits_for_code,
                   s.confirmed_at > now() - %(confirmed_for)s AS is_confirmed,
                   s.seen_at < now() - interval '1 minute' AS is_stale,
                   f.secret IS NOT NULL AS has_second_factor, s.is_multi_factor
            FROM sign_ins AS s JOIN people AS p USING (user_id) JOIN roles AS r USING (role)
                 LEFT JOIN second_factors AS f USING (user_id)
            WHERE s.token_hash = %(token)s AND s.expires_at > now() AND p.removed_at IS NULL
                  AND s.seen_at > now() - make_interval(mins => %(idle)s)
            """,
            {"token": _hashed(token), "idle": idle_minutes, "confirmed_for": CONFIRMED_FOR},
        ).fetchone()
    return _as_sign_in(row) if row else None


def note_activity(conn: Connection, sign_in_id: int) -> None:
    """Somebody is there. Asked for at most once a minute, so that reading pages is not writing."""
    conn.execute("UPDATE sign_ins SET seen_at = now() WHERE sign_in_id = %s", (sign_in_id,))


def confirm(conn: Connection, sign_in_id: int) -> str:
    """The password was entered once more: the sign-in goes on under a new token, which is returned."""
    token = secrets.token_urlsafe(32)
    conn.execute(
        "UPDATE sign_ins SET confirmed_at = now(), seen_at = now(), token_hash = %s WHERE sign_in_id = %s",
        (_hashed(token), sign_in_id),
    )
    return token


def of_person(conn: Connection, user_id: int, *, idle_minutes: int) -> list[Listed]:
    """Where somebody is signed in, the last used first."""
    with conn.cursor(row_factory=class_row(Listed)) as cursor:
        return cursor.execute(
            """
            SELECT sign_in_id, address, browser, started_at, seen_at FROM sign_ins
            WHERE user_id = %(user)s AND NOT waits_for_code AND expires_at > now()
                  AND seen_at > now() - make_interval(mins => %(idle)s)
            ORDER BY seen_at DESC, sign_in_id DESC
            """,
            {"user": user_id, "idle": idle_minutes},
        ).fetchall()


def end(conn: Connection, token: str) -> None:
    """End it for everybody who holds the token."""
    conn.execute("DELETE FROM sign_ins WHERE token_hash = %s", (_hashed(token),))


def end_one(conn: Connection, user_id: int, sign_in_id: int) -> None:
    """End one of somebody's own."""
    conn.execute("DELETE FROM sign_ins WHERE user_id = %s AND sign_in_id = %s", (user_id, sign_in_id))


def end_all(conn: Connection, user_id: int, *, but: int | None = None) -> None:
    """End all of somebody's sign-ins, but perhaps the one from which they ask."""
    conn.execute(
        "DELETE FROM sign_ins WHERE user_id = %(user)s AND sign_in_id IS DISTINCT FROM %(but)s::integer",
        {"user": user_id, "but": but},
    )


def _as_sign_in(row: dict[str, Any]) -> SignIn:
    person = Person(**{name: row.pop(name) for name in FACTS})
    return SignIn(person=person, **row)


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
