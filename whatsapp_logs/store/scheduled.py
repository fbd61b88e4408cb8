"""Messages that leave at a set time: what is coming, and holding one that has not left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from whatsapp_logs.filters import Cursor
from whatsapp_logs.message import Message
from whatsapp_logs.store.messages import COLUMNS, fetch
from whatsapp_logs.store.text import storable

# Nobody has begun to hand it over. A claim and whoever holds it wait for each other; the second one sees what the first has done.
_HAS_NOT_LEFT = """
    m.status IN ('scheduled', 'queued') AND m.direction = 'outbound' AND m.claimed_at IS NULL AND m.provider_id IS NULL
    AND m.unconfirmed_at IS NULL"""


def coming(conn: Connection[Any], *, after: Cursor | None, limit: int) -> list[Message]:
    """Scheduled messages, soonest first; `after` is the send time and id of the last one seen."""
    return fetch(
        conn,
        f"""
        WITH page AS MATERIALIZED (
            SELECT message_id, send_at FROM whatsapp_logs.rare_statuses
            WHERE status = 'scheduled' {"AND (send_at, message_id) > (%(at)s, %(id)s)" if after else ""}
            ORDER BY send_at, message_id LIMIT %(limit)s)
        SELECT {COLUMNS} FROM page JOIN whatsapp_logs.messages AS m ON m.id = page.message_id
        LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id ORDER BY page.send_at, page.message_id
        """,  # noqa: S608 - words of ours; values are parameters
        {"limit": limit} | ({"at": after.created_at, "id": after.id} if after else {}),
    )


def hold(conn: Connection[Any], ids: Sequence[int]) -> list[int]:
    """Those of these messages that have not left, kept from leaving until the transaction ends."""
    return _held(conn, "m.id = ANY (%(ids)s)", {"ids": list(ids)})


def hold_of(conn: Connection[Any], *, policy_id: str | None, client_id: str | None) -> list[int]:
    """The same of all messages of a policy, or of a client, that were asked for ahead of their time. Needs `portal_ids`."""
    given = {"policy_id": policy_id, "client_id": client_id}
    where = " AND ".join(f"m.{name} = %({name})s" for name, value in given.items() if value is not None)
    return _held(conn, f"{where} AND (m.send_at IS NOT NULL OR m.retry_at IS NOT NULL)", given)


def change(
    conn: Connection[Any],
    message_id: int,
    *,
    send_at: datetime,
    body: str | None,
    variables: dict[str, str] | None,
    confirmed: Sequence[str],
    now: datetime,
) -> None:
    """Write what a message that is held will say, and when."""
    conn.execute(
        """
        UPDATE whatsapp_logs.messages
        SET send_at = %(send_at)s, body = %(body)s, variables = %(variables)s, confirmed = %(confirmed)s, updated_at = %(now)s
        WHERE id = %(id)s
        """,
        {
            "id": message_id,
            "send_at": send_at,
            "body": storable(body),
            "variables": None if variables is None else Jsonb(storable(variables)),
            "confirmed": list(confirmed) or None,
            "now": now,
        },
    )


def _held(conn: Connection[Any], where: str, parameters: dict[str, Any]) -> list[int]:
    rows = conn.execute(
        f"SELECT m.id FROM whatsapp_logs.messages AS m WHERE {where} AND {_HAS_NOT_LEFT} ORDER BY m.id FOR NO KEY UPDATE".encode(),  # noqa: S608 - words of ours; values are parameters
        parameters,
    ).fetchall()
    return [row[0] for row in rows]
