"""What the database can tell about itself and about the workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True)
class Server:
    """The server's version number (180004 = 18.4), its clock, and how long ago a worker gave a sign of life (None = never)."""

    version: int
    now: datetime
    worker_silence_s: float | None


def look(conn: Connection[Any]) -> Server:
    """Ask the server; needs no table of ours."""
    exists = conn.execute("SELECT to_regclass('whatsapp_logs.procrastinate_workers') IS NOT NULL").fetchone()
    silence = "NULL::float8"
    if exists and exists[0]:
        silence = """(SELECT extract(epoch FROM clock_timestamp() - max(last_heartbeat))::float8
                      FROM whatsapp_logs.procrastinate_workers)"""
    query = f"""
        SELECT current_setting('server_version_num')::int AS version, clock_timestamp() AS now, {silence} AS worker_silence_s
        """
    with conn.cursor(row_factory=class_row(Server)) as cursor:
        row = cursor.execute(query.encode()).fetchone()
    assert row is not None
    return row


def state(conn: Connection[Any]) -> str:
    """The name of this moment's snapshot: while it stays the same, so does everything that a query can see."""
    row = conn.execute("SELECT pg_current_snapshot()::text").fetchone()
    assert row is not None
    return str(row[0])
