"""Links that let somebody choose a password: for who is new, and for who has forgotten theirs. Rows of `invitations`."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from psycopg import Connection
from psycopg.rows import class_row

from portal.people import Person

LASTS_HOURS = 72
PATH = "/invitation"


def make(conn: Connection, user_id: int) -> str:
    """A new link's token, known only to who is given the link; an earlier one of this person is good for nothing any more."""
    token = secrets.token_urlsafe(32)
    conn.execute(
        """
        INSERT INTO invitations (user_id, token_hash, expires_at) VALUES (%(user)s, %(token)s, now() + %(lasts)s)
        ON CONFLICT (user_id) DO UPDATE
        SET token_hash = EXCLUDED.token_hash, expires_at = EXCLUDED.expires_at, made_at = now()
        """,
        {"user": user_id, "token": _hashed(token), "lasts": timedelta(hours=LASTS_HOURS)},
    )
    return token


def find(conn: Connection, token: str) -> Person | None:
    """Whose link this is, if it is still good."""
    with conn.cursor(row_factory=class_row(Person)) as cursor:
        return cursor.execute(
            """
            SELECT p.user_id, p.username, p.name, p.role, p.timezone, r.rights AS granted
            FROM invitations AS i JOIN people AS p USING (user_id) JOIN roles AS r USING (role)
            WHERE i.token_hash = %s AND i.expires_at > now() AND p.removed_at IS NULL
            """,
            (_hashed(token),),
        ).fetchone()


def use(conn: Connection, token: str) -> bool:
    """Use the link up. Of two who do so at once, one gets False."""
    used = conn.execute("DELETE FROM invitations WHERE token_hash = %s AND expires_at > now()", (_hashed(token),))
    return used.rowcount == 1


def _hashed(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
