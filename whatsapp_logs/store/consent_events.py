"""The ledger of consent: only ever added to; the latest line of an address and scope holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from whatsapp_logs.consent import ConsentEvent
from whatsapp_logs.filters import Cursor
from whatsapp_logs.store.text import storable

COLUMNS = "id, address, client_id, kind, scope, source, wording, message_id, recorded_by, happened_at, received_at"
_GIVEN = ("address", "client_id", "kind", "scope", "source", "wording", "message_id", "recorded_by", "happened_at")


def insert(conn: Connection[Any], *, scope: str = "all", **values: Any) -> int:
    """Add a line and return its id; told twice by one message, it is one line (then 0)."""
    given = dict.fromkeys(_GIVEN) | {"scope": scope} | {name: storable(value) for name, value in values.items()}
    row = conn.execute(
        """
        INSERT INTO whatsapp_logs.consent_events
            (address, client_id, kind, scope, source, wording, message_id, recorded_by, happened_at)
        VALUES (%(address)s, %(client_id)s, %(kind)s, %(scope)s, %(source)s, %(wording)s, %(message_id)s, %(recorded_by)s,
                %(happened_at)s)
        ON CONFLICT DO NOTHING RETURNING id
        """,
        given,
    ).fetchone()
    return 0 if row is None else int(row[0])


def insert_from_refusals(conn: Connection[Any], told: Sequence[tuple[str | None, int | None, str | None]]) -> None:
    """Opt-outs learnt from refused messages: (SID or None, our id or None, error code), each message once."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.consent_events (address, client_id, kind, source, message_id, recorded_by, happened_at)
        SELECT m.recipient, m.client_id::text, 'opt_out', 'error_' || told.code, m.id, m.provider, coalesce(m.failed_at, now())
        FROM (
            SELECT id, code FROM unnest(%(ids)s::bigint[], %(codes)s::text[]) AS t (id, code) WHERE id IS NOT NULL
            UNION
            SELECT known.id, t.code FROM unnest(%(sids)s::text[], %(codes)s::text[]) AS t (sid, code)
            JOIN whatsapp_logs.messages AS known ON known.provider_id = t.sid
        ) AS told
        JOIN whatsapp_logs.messages AS m ON m.id = told.id
        WHERE m.direction = 'outbound' AND m.erased_at IS NULL
        ON CONFLICT DO NOTHING
        """,
        {
            "sids": [sid for sid, _, _ in told],
            "ids": [id_ for _, id_, _ in told],
            "codes": [code for _, _, code in told],
        },
    )


def latest_word(address: str) -> str:
    """SQL for a LATERAL join: kind, source, wording and happened_at of what the owner of the address last said of all messages.

    `address` is the other table's column: a portal's list joins what holds for each of its clients, one index look each.
    """
    return f"""
        SELECT e.kind, e.source, e.wording, e.happened_at FROM whatsapp_logs.consent_events AS e
        WHERE e.address = {address} AND e.scope = 'all' ORDER BY e.happened_at DESC, e.id DESC LIMIT 1"""  # noqa: S608 - a column's name


def opted_out(conn: Connection[Any], addresses: Sequence[str]) -> frozenset[str]:
    """Those of these customers whose last word about all messages was that they want none."""
    rows = conn.execute(
        f"""
        SELECT a.address FROM unnest(%(addresses)s::text[]) AS a (address)
        CROSS JOIN LATERAL ({latest_word("a.address")}) AS last WHERE last.kind = 'opt_out'
        """.encode(),  # noqa: S608 - words of ours
        {"addresses": list(addresses)},
    ).fetchall()
    return frozenset(row[0] for row in rows)


def has_opted_out(conn: Connection[Any], address: str) -> bool:
    """Whether the customer's last word about all messages was that they want none."""
    return address in opted_out(conn, [address])


def of_address(conn: Connection[Any], address: str, *, limit: int = 100) -> list[ConsentEvent]:
    """One address's lines, the latest first."""
    return _rows(
        conn,
        f"SELECT {COLUMNS} FROM whatsapp_logs.consent_events WHERE address = %(address)s ORDER BY happened_at DESC, id DESC LIMIT %(limit)s",  # noqa: S608, E501 - words of ours; values are parameters
        {"address": address, "limit": limit},
    )


def of_client(conn: Connection[Any], client_id: str, address: str | None, *, limit: int = 100) -> list[ConsentEvent]:
    """A client's lines by id and by number, the latest first."""
    return _rows(
        conn,
        f"""
        SELECT {COLUMNS} FROM whatsapp_logs.consent_events WHERE client_id = %(client_id)s
        UNION
        SELECT {COLUMNS} FROM whatsapp_logs.consent_events WHERE address = %(address)s
        ORDER BY happened_at DESC, id DESC LIMIT %(limit)s
        """,  # noqa: S608 - words of ours; values are parameters
        {"client_id": client_id, "address": address, "limit": limit},
    )


def page(
    conn: Connection[Any], *, before: Cursor | None = None, kind: str | None = None, limit: int = 50
) -> list[ConsentEvent]:
    """Lines of everybody, the latest first, older than `before`."""
    conditions = ["true"]
    if before is not None:
        conditions.append("(happened_at, id) < (%(at)s, %(id)s)")
    if kind is not None:
        conditions.append("kind = %(kind)s")
    return _rows(
        conn,
        f"""
        SELECT {COLUMNS} FROM whatsapp_logs.consent_events WHERE {" AND ".join(conditions)}
        ORDER BY happened_at DESC, id DESC LIMIT %(limit)s
        """,  # noqa: S608 - words of ours; values are parameters
        {"at": before and before.created_at, "id": before and before.id, "kind": kind, "limit": limit},
    )


def _rows(conn: Connection[Any], query: str, parameters: dict[str, Any]) -> list[ConsentEvent]:
    with conn.cursor(row_factory=class_row(ConsentEvent)) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()
