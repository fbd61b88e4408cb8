"""The office's people: who they are, and their sign-ins."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.security import generate_password_hash

from whatsapp_logs import ROLES, Right

SIGN_IN_LASTS = timedelta(hours=12)


class OwnRight(StrEnum):
    """One thing that a person may do in the portal and of which the feature knows nothing."""

    EDIT_CLIENTS = "correct clients' contact details"


OWN_RIGHTS: Mapping[str, frozenset[OwnRight]] = {
    "administrator": frozenset(OwnRight),
    "agent": frozenset({OwnRight.EDIT_CLIENTS}),
    "compliance": frozenset(),
    "viewer": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may sign in; the role decides the rights."""

    user_id: int
    username: str
    name: str
    role: str
    timezone: str

    @property
    def rights(self) -> frozenset[Right]:
        """What this person may do, in the words of the feature."""
        return ROLES[self.role]

    def may(self, right: Right | OwnRight) -> bool:
        """Whether this person has the right."""
        return right in (self.rights if isinstance(right, Right) else OWN_RIGHTS[self.role])


def find_by_username(conn: Connection, username: str) -> tuple[Person | None, str]:
    """The person of that name with the password's hash; for an unknown name nobody, with a hash that fits nothing."""
    row = conn.execute(
        "SELECT user_id, username, name, role, timezone, password_hash FROM people WHERE username = %s", (username,)
    ).fetchone()
    if row is None:
        return None, _HASH_OF_NOBODY
    user_id, username, name, role, timezone, password_hash = row
    return Person(user_id=user_id, username=username, name=name, role=role, timezone=timezone), password_hash


def begin_sign_in(conn: Connection, person: Person) -> str:
    """Remember a new sign-in and return its token, which only the person's browser keeps."""
    token = secrets.token_urlsafe(32)
    conn.execute("DELETE FROM sign_ins WHERE expires_at < now()")
    conn.execute(
        "INSERT INTO sign_ins (token_hash, user_id, expires_at) VALUES (%s, %s, %s)",
        (_hashed(token), person.user_id, datetime.now(UTC) + SIGN_IN_LASTS),
    )
    return token


def find_by_token(conn: Connection, token: str) -> Person | None:
    """The person signed in with this token, unless it has ended."""
    with conn.cursor(row_factory=class_row(Person)) as cursor:
        return cursor.execute(
            """
            SELECT p.user_id, p.username, p.name, p.role, p.timezone
            FROM sign_ins AS s JOIN people AS p USING (user_id)
            WHERE s.token_hash = %s AND s.expires_at > now()
            """,
            (_hashed(token),),
        ).fetchone()


def as_remembered(person: Person) -> dict[str, Any]:
    """What a signed session may hold of somebody, for `remembered`."""
    return asdict(person)


def remembered(kept: Any) -> Person | None:
    """Somebody as their session knows them; good for a menu, never for a right: only the database knows whether it ended."""
    try:
        return Person(**kept) if kept else None
    except TypeError:  # A session of an earlier version.
        return None


def end_sign_in(conn: Connection, token: str) -> None:
    """End it for everybody who holds the token."""
    conn.execute("DELETE FROM sign_ins WHERE token_hash = %s", (_hashed(token),))


def add(conn: Connection, *, username: str, name: str, role: str, timezone: str, password: str) -> None:
    """Give somebody a sign-in; for a known user name new facts and a new password, which ends the old one's sign-ins."""
    row = conn.execute(
        """
        INSERT INTO people (username, name, role, timezone, password_hash) VALUES (%s, %s, %s, %s, '')
        ON CONFLICT (username) DO UPDATE SET name = EXCLUDED.name, role = EXCLUDED.role, timezone = EXCLUDED.timezone
        RETURNING user_id
        """,
        (username, name, role, timezone),
    ).fetchone()
    assert row is not None
    set_password(conn, row[0], password)


def set_password(conn: Connection, user_id: int, password: str) -> None:
    """Change the password; every sign-in made with the old one ends."""
    conn.execute("UPDATE people SET password_hash = %s WHERE user_id = %s", (generate_password_hash(password), user_id))
    conn.execute("DELETE FROM sign_ins WHERE user_id = %s", (user_id,))


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


# The hash of a password that nobody has, so that the time of an answer does not tell which names exist.
_HASH_OF_NOBODY = generate_password_hash(secrets.token_urlsafe())
