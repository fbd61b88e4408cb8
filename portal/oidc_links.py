"""Which of a provider's accounts is whose: rows of `oidc_links`. Nobody is ever created from one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from portal.people import Person


@dataclass(frozen=True, slots=True)
class Ways:
    """How somebody can show that it is still them."""

    password: bool
    single_sign_on: bool


def find(conn: Connection, issuer: str, subject: str) -> Person | None:
    """The person whose account this is, unless they were removed."""
    with conn.cursor(row_factory=class_row(Person)) as cursor:
        return cursor.execute(
            """
            SELECT p.user_id, p.username, p.name, p.role, p.timezone, r.rights AS granted
            FROM oidc_links AS l JOIN people AS p USING (user_id) JOIN roles AS r USING (role)
            WHERE l.issuer = %s AND l.subject = %s AND p.removed_at IS NULL
            """,
            (issuer, subject),
        ).fetchone()


def link(conn: Connection, issuer: str, subject: str, names: Sequence[str]) -> Person | None:
    """Link the account, for good, to the one person of these user names who has none at this provider yet.

    Nobody if the account is somebody's already, if the names mean two people, or if that person has another account there.
    """
    with conn.cursor(row_factory=class_row(Person)) as cursor:
        found = cursor.execute(
            """
            SELECT p.user_id, p.username, p.name, p.role, p.timezone, r.rights AS granted
            FROM people AS p JOIN roles AS r USING (role)
            WHERE p.username = ANY(%s) AND p.removed_at IS NULL FOR UPDATE OF p
            """,
            (list(names),),
        ).fetchall()
    if len(found) != 1:
        return None
    added = conn.execute(
        "INSERT INTO oidc_links (issuer, subject, user_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (issuer, subject, found[0].user_id),
    )
    return found[0] if added.rowcount == 1 else None


def unlink(conn: Connection, user_id: int) -> None:
    """Forget somebody's accounts: whoever comes next under their user name may be somebody else."""
    conn.execute("DELETE FROM oidc_links WHERE user_id = %s", (user_id,))


def ways(conn: Connection, user_id: int, *, issuer: str | None) -> Ways:
    """How this person can confirm that it is them; `issuer` is the provider in use, if there is one."""
    row = conn.execute(
        """
        SELECT p.password_hash <> '', EXISTS (SELECT FROM oidc_links AS l WHERE l.user_id = p.user_id AND l.issuer = %s)
        FROM people AS p WHERE p.user_id = %s
        """,
        (issuer, user_id),
    ).fetchone()
    return Ways(*row) if row else Ways(False, False)
