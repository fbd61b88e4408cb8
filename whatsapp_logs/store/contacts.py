"""Customers as one of our numbers knows them: their last word, which opens a window, and our last word outside one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection


def hear_from(conn: Connection[Any], address: str, *, our_number: str, at: datetime) -> None:
    """The customer has written: their window opens, or is open longer; told late, it never moves back."""
    _move(conn, "last_inbound_at", address, our_number, at)


def wrote_first(conn: Connection[Any], address: str, *, our_number: str, at: datetime) -> None:
    """We wrote outside a window: one of the customers that the provider counts within a day."""
    _move(conn, "last_initiated_at", address, our_number, at)


def wrote_first_to(conn: Connection[Any], addresses: Sequence[str], *, our_number: str, at: datetime) -> None:
    """The same of many, in one statement."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.contacts AS c (address, our_number, last_initiated_at)
        SELECT address, %(our_number)s, %(at)s FROM unnest(%(addresses)s::text[]) AS address GROUP BY address ORDER BY address
        ON CONFLICT (address, our_number) DO UPDATE
            SET last_initiated_at = greatest(c.last_initiated_at, EXCLUDED.last_initiated_at)
        """,
        {"addresses": list(addresses), "our_number": our_number, "at": at},
    )


def last_inbound_at(conn: Connection[Any], address: str, *, our_number: str) -> datetime | None:
    """When the customer last wrote to this number of ours."""
    row = conn.execute(
        "SELECT last_inbound_at FROM whatsapp_logs.contacts WHERE address = %(address)s AND our_number = %(our_number)s",
        {"address": address, "our_number": our_number},
    ).fetchone()
    return row[0] if row else None


def _move(conn: Connection[Any], column: str, address: str, our_number: str, at: datetime) -> None:
    conn.execute(
        f"""
        INSERT INTO whatsapp_logs.contacts AS c (address, our_number, {column}) VALUES (%(address)s, %(our_number)s, %(at)s)
        ON CONFLICT (address, our_number) DO UPDATE SET {column} = greatest(c.{column}, EXCLUDED.{column})
        """.encode(),  # noqa: S608 - a column of ours; values are parameters
        {"address": address, "our_number": our_number, "at": at},
    )
