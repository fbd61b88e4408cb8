"""Roles as the office has them: sets of rights in the database. A change counts from the next request of whoever has the role."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import class_row

from portal.people import EVERY_RIGHT, OwnRight, short_name
from whatsapp_logs import Right

NAME = re.compile(r"[a-z0-9](?:[a-z0-9 -]{0,28}[a-z0-9])?")
KNOWN = frozenset(short_name(right) for right in EVERY_RIGHT)
SEE, MANAGE = short_name(Right.SEE), short_name(OwnRight.MANAGE_PEOPLE)


class Refused(Exception):
    """Why nothing was changed, in words for whoever asked. The caller's transaction is to be rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role as its page shows it. `people` have it; `removed` are those of them who may no longer sign in."""

    role: str
    rights: list[str]
    is_built_in: bool
    changed_at: datetime
    changed_by: str | None
    people: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A line of the history: without `before` the role was made, without `after` it was deleted."""

    changed_at: datetime
    changed_by: str
    role: str
    before: list[str] | None
    after: list[str] | None

    @property
    def given(self) -> set[str]:
        return set(self.after or ()) - set(self.before or ())

    @property
    def taken(self) -> set[str]:
        return set(self.before or ()) - set(self.after or ())


@dataclass(frozen=True, slots=True)
class Wish:
    """What a role shall be, and what the page showed when that was chosen."""

    shown: frozenset[str]
    wanted: frozenset[str]


def every(conn: Connection) -> list[Role]:
    """All of them, the built-in ones first."""
    with conn.cursor(row_factory=class_row(Role)) as cursor:
        return cursor.execute(
            """
            SELECT r.role, r.rights, r.is_built_in, r.changed_at, r.changed_by, count(p.user_id)::integer AS people,
                   count(p.removed_at)::integer AS removed
            FROM roles AS r LEFT JOIN people AS p USING (role)
            GROUP BY r.role ORDER BY NOT r.is_built_in, r.role
            """
        ).fetchall()


def names(conn: Connection) -> list[str]:
    """What somebody may be made."""
    return [role for (role,) in conn.execute("SELECT role FROM roles ORDER BY NOT is_built_in, role")]


def keep(conn: Connection, role: str) -> bool:
    """Whether there is this role; it then stays until `conn` commits, so that somebody can be given it."""
    if not NAME.fullmatch(role):
        return False  # PostgreSQL need not hear it, and would not take every character.
    found = conn.execute("SELECT role FROM roles WHERE role = %(role)s FOR KEY SHARE", {"role": role}).fetchone()
    return found is not None


def history(conn: Connection, *, limit: int) -> list[Change]:
    """The last changes, the newest first."""
    with conn.cursor(row_factory=class_row(Change)) as cursor:
        return cursor.execute(
            """
            SELECT changed_at, changed_by, role, rights_before AS before, rights_after AS after
            FROM role_changes ORDER BY change_id DESC LIMIT %(limit)s
            """,
            {"limit": limit},
        ).fetchall()


def save(conn: Connection, wishes: Mapping[str, Wish], *, by: int) -> list[str]:
    """Give the roles their rights, all or none; returns which have changed. What is wished as it was shown stays as it is."""
    office = _hold(conn, by)
    changed = []
    for role, wish in wishes.items():
        if wish.wanted == wish.shown:
            continue
        before = office.roles.get(role)
        _refuse(role, wish, before, office)
        assert before is not None
        _write(conn, office, role, wish.wanted | (before - KNOWN))
        _note(conn, office, role, before=before, after=wish.wanted | (before - KNOWN))
        changed.append(role)
    return changed


def add(conn: Connection, role: str, *, like: str, by: int) -> None:
    """A new role, with the rights that another has now."""
    if not NAME.fullmatch(role):
        raise Refused("A role’s name has lower-case letters, digits, spaces and hyphens, up to 30, like claims desk.")
    office = _hold(conn, by)
    if role in office.roles:
        raise Refused("There is a role of this name already. Choose another name.")
    if like not in office.roles:
        raise Refused("Choose the role whose rights the new one begins with.")
    rights = office.roles[like]
    conn.execute(
        "INSERT INTO roles (role, rights, changed_by) VALUES (%(role)s, %(rights)s, %(by)s)",
        {"role": role, "rights": sorted(rights), "by": office.asker},
    )
    _note(conn, office, role, before=None, after=rights)


def delete(conn: Connection, role: str, *, by: int) -> None:
    """Delete a role that nobody has and that the portal did not come with."""
    office = _hold(conn, by)
    if role not in office.roles:
        raise Refused("This role is not there any more.")
    found = next(each for each in every(conn) if each.role == role)
    if found.is_built_in:
        raise Refused("This role came with the portal and stays. You can take rights from it.")
    if found.people > found.removed:
        raise Refused("Somebody has this role. Give them another one first.")
    if found.removed:
        raise Refused("Somebody who was removed had this role and would come back with it, so it stays.")
    conn.execute("DELETE FROM roles WHERE role = %(role)s", {"role": role})
    _note(conn, office, role, before=office.roles[role], after=None)


@dataclass(frozen=True, slots=True)
class _Office:
    """What holds while the roles are locked: their rights, and who asks, in which role."""

    roles: Mapping[str, frozenset[str]]
    asker: str
    own_role: str


def _hold(conn: Connection, by: int) -> _Office:
    """Lock all roles until `conn` commits, and make sure that who asks may manage people still.

    So they remain when others lose that right: of two who take it from each other's roles at once, one keeps it.
    """
    rows = conn.execute("SELECT role, rights FROM roles ORDER BY role FOR UPDATE").fetchall()
    roles = {role: frozenset(rights) for role, rights in rows}
    # Asked after the lock, hence of what was committed by whoever held it before.
    asker = conn.execute(
        "SELECT username, role FROM people WHERE user_id = %(by)s AND removed_at IS NULL", {"by": by}
    ).fetchone()
    if asker is None or MANAGE not in roles[asker[1]]:
        raise Refused(
            "You may no longer manage people: somebody has just changed that. One who may must remain, so nothing was changed."
        )
    return _Office(roles, *asker)


def _refuse(role: str, wish: Wish, before: frozenset[str] | None, office: _Office) -> None:
    """Raise if the wish cannot be granted."""
    if before is None:
        raise Refused(f"The role {role} is not there any more. Nothing was changed.")
    if before & KNOWN != wish.shown:
        raise Refused(
            f"Somebody has changed the role {role} since you opened this page. Look at it again; nothing was changed."
        )
    if not wish.wanted <= KNOWN:
        raise Refused("That is no right of this portal. Nothing was changed.")
    if SEE not in wish.wanted:
        raise Refused("Every role may see the log. To keep somebody out, remove them. Nothing was changed.")
    if role == office.own_role and MANAGE not in wish.wanted:
        raise Refused("You cannot take the right to manage people from your own role. Nothing was changed.")


def _write(conn: Connection, office: _Office, role: str, rights: frozenset[str]) -> None:
    conn.execute(
        "UPDATE roles SET rights = %(rights)s, changed_at = now(), changed_by = %(by)s WHERE role = %(role)s",
        {"rights": sorted(rights), "by": office.asker, "role": role},
    )


def _note(
    conn: Connection, office: _Office, role: str, *, before: frozenset[str] | None, after: frozenset[str] | None
) -> None:
    conn.execute(
        """
        INSERT INTO role_changes (changed_by, role, rights_before, rights_after)
        VALUES (%(by)s, %(role)s, %(before)s::text[], %(after)s::text[])
        """,
        {"by": office.asker, "role": role, "before": before and sorted(before), "after": after and sorted(after)},
    )
