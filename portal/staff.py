"""The people of the office as an administrator sees and changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg import Connection
from psycopg.rows import class_row

from portal import oidc_links, second_factors
from portal.people import OwnRight, short_name


class State(StrEnum):
    """How it is with somebody's way in."""

    ACTIVE = "active"
    INVITED = "invited"
    EXPIRED = "invitation expired"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Somebody of the office; `sign_ins` counts where they are signed in."""

    user_id: int
    username: str
    name: str
    role: str
    timezone: str
    has_password: bool
    has_second_factor: bool
    sign_ins: int
    last_sign_in_at: datetime | None
    link_until: datetime | None
    removed_at: datetime | None

    @property
    def state(self) -> State:
        if self.removed_at:
            return State.REMOVED
        if self.has_password:
            return State.ACTIVE
        return State.INVITED if self.link_until else State.EXPIRED


def everybody(conn: Connection, *, idle_minutes: int) -> list[Member]:
    """All people by name, those who were removed at the end."""
    return _members(conn, None, idle_minutes=idle_minutes)


def find(conn: Connection, user_id: int, *, idle_minutes: int) -> Member | None:
    """One of them."""
    found = _members(conn, [user_id], idle_minutes=idle_minutes)
    return found[0] if found else None


def invite(conn: Connection, *, username: str, name: str, role: str, timezone: str) -> int | None:
    """Somebody new, without a password yet: their number. None if the user name is taken."""
    row = conn.execute(
        """
        INSERT INTO people (username, name, role, timezone, password_hash) VALUES (%s, %s, %s, %s, '')
        ON CONFLICT (username) DO NOTHING RETURNING user_id
        """,
        (username, name, role, timezone),
    ).fetchone()
    return int(row[0]) if row else None


def may_still_change(conn: Connection, *, who: int, whom: int) -> bool:
    """Whether `who` is still there and not `whom`, and so remains when `whom` goes: an office keeps an administrator.

    Holds both until `conn` commits, and all roles: of two administrators who remove each other at once, one stays, and so does
    one of two of whom the other takes the right to manage people from a role.
    """
    conn.execute("SELECT role FROM roles ORDER BY role FOR SHARE")
    found = conn.execute(
        """
        SELECT p.user_id FROM people AS p JOIN roles AS r USING (role)
        WHERE p.user_id = ANY(%(both)s) AND %(manage)s = ANY(r.rights) AND p.removed_at IS NULL
        ORDER BY p.user_id FOR UPDATE OF p
        """,
        {"both": [who, whom], "manage": short_name(OwnRight.MANAGE_PEOPLE)},
    ).fetchall()
    return who != whom and (who,) in found


def set_role(conn: Connection, user_id: int, role: str) -> None:
    """From the next request on they may do what the role may."""
    conn.execute("UPDATE people SET role = %s WHERE user_id = %s", (role, user_id))


def remove(conn: Connection, user_id: int) -> None:
    """End every way in. The row stays, so that the log's names go on meaning who they meant."""
    conn.execute("UPDATE people SET removed_at = now(), password_hash = '' WHERE user_id = %s", (user_id,))
    conn.execute("DELETE FROM sign_ins WHERE user_id = %s", (user_id,))
    conn.execute("DELETE FROM invitations WHERE user_id = %s", (user_id,))
    oidc_links.unlink(conn, user_id)
    second_factors.remove(conn, user_id)


def let_in_again(conn: Connection, user_id: int) -> None:
    """Undo a removal, as far as a new link then goes."""
    conn.execute("UPDATE people SET removed_at = NULL WHERE user_id = %s", (user_id,))


def _members(conn: Connection, only: Sequence[int] | None, *, idle_minutes: int) -> list[Member]:
    with conn.cursor(row_factory=class_row(Member)) as cursor:
        return cursor.execute(
            """
            SELECT p.user_id, p.username, p.name, p.role, p.timezone, p.last_sign_in_at, p.removed_at,
                   p.password_hash <> '' AS has_password, f.secret IS NOT NULL AS has_second_factor, s.n AS sign_ins,
                   i.expires_at AS link_until
            FROM people AS p
            LEFT JOIN second_factors AS f USING (user_id)
            LEFT JOIN invitations AS i ON i.user_id = p.user_id AND i.expires_at > now()
            CROSS JOIN LATERAL (
                SELECT count(*)::integer AS n FROM sign_ins
                WHERE user_id = p.user_id AND NOT waits_for_code AND expires_at > now()
                      AND seen_at > now() - make_interval(mins => %(idle)s)
            ) AS s
            WHERE %(only)s::numeric[] IS NULL OR p.user_id = ANY(%(only)s::numeric[])
            ORDER BY p.removed_at IS NOT NULL, lower(p.name), p.user_id
            """,
            {"only": only, "idle": idle_minutes},
        ).fetchall()
