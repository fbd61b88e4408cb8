"""Messages from customers: rows of the same table, received once."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs.message import Inbound, Source, StatusReport
from whatsapp_logs.store import messages, status_events


def insert(conn: Connection[Any], received: Inbound, *, now: datetime) -> int:
    """Write an inbound message and its first event; told twice (a repeated webhook) it is one row. Returns its id."""
    # Before the row: whoever records this SID takes the same locks in this order.
    status_events.lock(conn, received.provider_id)
    message_id = messages.insert(
        conn,
        direction="inbound",
        message_type="general",
        recipient=received.recipient,
        sender=received.sender,
        body=received.body,
        media_url=received.media[0][0] if received.media else None,
        provider_id=received.provider_id,
        status="received",
        created_at=now,
    )
    if message_id is None:
        known = messages.by_provider_id(conn, received.provider_id)
        assert known is not None
        return known.id
    report = StatusReport(provider_status="received", provider_id=received.provider_id, payload=received.payload)
    status_events.record(conn, [report], source=Source.CALLBACK, now=now)
    return message_id
