"""What a customer writes: the row, their window, and what they say of their consent, in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs import ledger
from whatsapp_logs.message import Inbound
from whatsapp_logs.store import contacts, inbound


def receive(conn: Connection[Any], received: Inbound, *, now: datetime) -> int:
    """Write a customer's message down; returns its id. Told twice, it is one row and says its word of consent once."""
    message_id = inbound.insert(conn, received, now=now)
    contacts.hear_from(conn, received.sender, our_number=received.recipient, at=now)
    ledger.hear(
        conn,
        address=received.sender,
        text=received.body,
        opt_out_type=str(received.payload.get("OptOutType") or "") or None,
        message_id=message_id,
        at=now,
    )
    return message_id
