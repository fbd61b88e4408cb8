"""The office's people: who they are, and their sign-ins."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from psycopg import Connection

from portal import passwords
from whatsapp_logs import ROLES, Right


class OwnRight(StrEnum):
    """One thing that a person may do in the portal and of which the feature knows nothing."""

    EDIT_CLIENTS = "correct clients' contact details"
    MANAGE_PEOPLE = "manage people"


EVERY_RIGHT: tuple[Right | OwnRight, ...] = (*Right, *OwnRight)
# What each role has of these when the portal is new. From then on the table `roles` says it: see portal.roles.
OWN_RIGHTS: Mapping[str, frozenset[OwnRight]] = {
    "administrator": frozenset(OwnRight),
    "agent": frozenset({OwnRight.EDIT_CLIENTS}),
    "compliance": frozenset(),
    "viewer": frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may sign in. `granted` are the short names of their role's rights, as stored when they were looked up."""

    user_id: int
    username: str
    name: str
    role: str
    timezone: str
    granted: Sequence[str]

    @property
    def rights(self) -> frozenset[Right]:
        """What this person may do, in the words of the feature."""
        return frozenset(right for right in Right if self.may(right))

    def may(self, right: Right | OwnRight) -> bool:
        """Whether this person has the right."""
        return short_name(right) in self.granted


def short_name(right: Right | OwnRight) -> str:
    """How the database calls the right; its words on the pages may change, this does not."""
    return right.name.lower()


def at_first(role: str) -> list[str]:
    """What the role may do when the portal is new; nothing if the portal did not come with it."""
    return [
        short_name(right) for right in EVERY_RIGHT if right in ROLES.get(role, ()) or right in OWN_RIGHTS.get(role, ())
    ]


# What a query selects that finds somebody, in this order; `granted` is `roles.rights`.
FACTS = ("user_id", "username", "name", "role", "timezone", "granted")


def find_by_username(conn: Connection, username: str) -> tuple[Person | None, str]:
    """The person of that name with the password's hash; for an unknown name nobody, with a hash that fits nothing.

    Somebody who was removed, or has not chosen a password yet, is as unknown as anybody else.
    """
    row = conn.execute(
        """
        SELECT p.user_id, p.username, p.name, p.role, p.timezone, r.rights, p.password_hash
        FROM people AS p JOIN roles AS r USING (role)
        WHERE username = %s AND removed_at IS NULL AND password_hash <> ''
        """,
        (username,),
    ).fetchone()
    if row is None:
        return None, _HASH_OF_NOBODY
    *facts, password_hash = row
    return Person(**dict(zip(FACTS, facts, strict=True))), password_hash


def as_remembered(person: Person) -> dict[str, Any]:
    """What a signed session may hold of somebody, for `remembered`."""
    return asdict(person)


def remembered(kept: Any) -> Person | None:
    """Somebody as their session knows them; good for a menu, never for a right: only the database knows whether it ended."""
    try:
        # A session from before roles could be changed tells no rights: the menu is then the one of those days.
        return Person(**{"granted": at_first(kept["role"]), **kept}) if kept else None
    except (TypeError, KeyError):  # A session of another version.
        return None


def add(conn: Connection, *, username: str, name: str, role: str, timezone: str, password: str | None = None) -> int:
    """Somebody's number; a known user name gets new facts, and is let in again. A new password ends the old one's sign-ins."""
    row = conn.execute(
        """
        INSERT INTO people (username, name, role, timezone, password_hash) VALUES (%s, %s, %s, %s, '')
        ON CONFLICT (username) DO UPDATE
        SET name = EXCLUDED.name, role = EXCLUDED.role, timezone = EXCLUDED.timezone, removed_at = NULL
        RETURNING user_id
        """,
        (username, name, role, timezone),
    ).fetchone()
    assert row is not None
    if password is not None:
        set_password(conn, row[0], password)
    return int(row[0])


def set_password(conn: Connection, user_id: int, password: str, *, but: int | None = None) -> None:
    """Change the password; sign-ins made with the old one end, `but` perhaps the one that asks, and so does a link for another."""
    conn.execute("UPDATE people SET password_hash = %s WHERE user_id = %s", (passwords.hashed(password), user_id))
    conn.execute(
        "DELETE FROM sign_ins WHERE user_id = %(user)s AND sign_in_id IS DISTINCT FROM %(but)s::integer",
        {"user": user_id, "but": but},
    )
    conn.execute("DELETE FROM invitations WHERE user_id = %s", (user_id,))


# The hash of a password that nobody has, so that the time of an answer does not tell which names exist.
_HASH_OF_NOBODY = passwords.hashed(secrets.token_urlsafe())
