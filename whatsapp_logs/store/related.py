"""What belongs to a message: the one it was sent again as, and whose number an answer came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection


def sent_again(conn: Connection[Any], ids: Sequence[int]) -> dict[int, int]:
    """For those of these messages that were sent again: their id → the id of the latest repetition."""
    rows = conn.execute(
        """
        SELECT resend_of, max(id) FROM whatsapp_logs.messages
        WHERE resend_of IS NOT NULL AND resend_of = ANY (%(ids)s) GROUP BY resend_of
        """,
        {"ids": list(ids)},
    ).fetchall()
    return dict(rows)


def hold(conn: Connection[Any], message_id: int) -> None:
    """Have everybody else who wants to send this message again wait for this transaction."""
    conn.execute("SELECT FROM whatsapp_logs.messages WHERE id = %(id)s FOR NO KEY UPDATE", {"id": message_id})


def hold_all(conn: Connection[Any], ids: Sequence[int]) -> None:
    """The same of many, in one order for all, so that nobody deadlocks."""
    conn.execute(
        "SELECT FROM whatsapp_logs.messages WHERE id = ANY (%(ids)s) ORDER BY id FOR NO KEY UPDATE", {"ids": list(ids)}
    )


def clients_of(conn: Connection[Any], addresses: Sequence[str]) -> dict[str, str]:
    """Whose number each address is: the client of the latest message that was sent there for one."""
    rows = conn.execute(
        """
        SELECT wanted.address, latest.client_id::text
        FROM unnest(%(addresses)s::text[]) AS wanted (address)
        CROSS JOIN LATERAL (
            SELECT m.client_id FROM whatsapp_logs.messages AS m
            WHERE m.recipient = wanted.address AND m.direction = 'outbound' AND m.client_id IS NOT NULL
            ORDER BY m.created_at DESC, m.id DESC LIMIT 1
        ) AS latest
        """,
        {"addresses": list(addresses)},
    ).fetchall()
    return dict(rows)
