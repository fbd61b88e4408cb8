"""What the portal erases with a person's messages: the notes about calls and letters. No page; the log's has it."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from whatsapp_logs import WhatsAppService
from whatsapp_logs.privacy import Beside

# Whose case it was stays: that is about the office.
_NOTES = """
    FROM policies AS p
    WHERE p.policy_id = n.policy_id AND p.client_id = %(client)s::integer AND p.policy_id::text <> ALL (%(held)s)
      AND n.kind <> 'assigned' AND n.note <> ''"""


def join_in(service: WhatsAppService) -> None:
    """Have the notes rehearsed and erased with a client's messages."""
    service.erase_beside("renewal_notes", Beside("renewal note", count, erase))


def count(conn: Connection[Any], client_id: str, held: frozenset[str]) -> int:
    """How many notes say something about this client."""
    row = conn.execute(
        f"SELECT count(*) FROM renewal_notes AS n WHERE EXISTS (SELECT {_NOTES})".encode(),  # noqa: S608 - words of ours
        {"client": client_id, "held": list(held)},
    ).fetchone()
    assert row is not None
    return int(row[0])


def erase(conn: Connection[Any], client_id: str, held: frozenset[str]) -> int:
    """Empty them; that somebody called, when and with what outcome stays, as that a message was sent does."""
    return conn.execute(
        f"UPDATE renewal_notes AS n SET note = '', erased_at = now() {_NOTES}".encode(),  # noqa: S608 - words of ours
        {"client": client_id, "held": list(held)},
    ).rowcount
