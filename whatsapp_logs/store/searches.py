"""Phone searches under a word that may travel in addresses: each is its person's own, and forgotten after half a day."""

from __future__ import annotations

import secrets
from typing import Any

from psycopg import Connection

_LASTS = "12 hours"


def remember(conn: Connection[Any], phone: str, *, person: str) -> str:
    """A word for this search; the same one for the same search of the last hours."""
    row = conn.execute(
        """
        WITH known AS (
            SELECT token FROM whatsapp_logs.phone_searches
            WHERE person = %(person)s AND phone = %(phone)s AND made_at > now() - interval '6 hours' ORDER BY made_at DESC LIMIT 1
        ), made AS (
            INSERT INTO whatsapp_logs.phone_searches (token, person, phone)
            SELECT %(token)s, %(person)s, %(phone)s WHERE NOT EXISTS (SELECT FROM known) RETURNING token
        )
        SELECT token FROM known UNION ALL SELECT token FROM made
        """,
        {"person": person, "phone": phone, "token": secrets.token_urlsafe(9)},
    ).fetchone()
    assert row is not None
    return str(row[0])


def recall(conn: Connection[Any], token: str, *, person: str) -> str | None:
    """What the word stands for; None for another person's, an old or a made-up one."""
    row = conn.execute(
        f"""
        SELECT phone FROM whatsapp_logs.phone_searches
        WHERE token = %(token)s AND person = %(person)s AND made_at > now() - interval '{_LASTS}'
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        {"token": token.replace("\0", ""), "person": person},
    ).fetchone()
    return None if row is None else str(row[0])


def forget_old(conn: Connection[Any]) -> None:
    """Throw away what has ended."""
    conn.execute(f"DELETE FROM whatsapp_logs.phone_searches WHERE made_at < now() - interval '{_LASTS}'".encode())  # noqa: S608
