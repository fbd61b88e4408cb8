"""The portal's connections: one small pool per process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from flask import Flask, current_app
from psycopg import Connection
from psycopg_pool import ConnectionPool

# What psycopg raises when the server is away, restarting or full; the pages answer 503 and say so.
AWAY = (psycopg.OperationalError, psycopg.InterfaceError)
_POOL = "portal_pool"
_WAIT_S = 2.0


def init_app(app: Flask, dsn: str) -> None:
    """Give the application a pool. The database need not be there yet: pages say so until it is."""
    app.extensions[_POOL] = ConnectionPool(
        dsn,
        min_size=1,
        max_size=8,
        timeout=_WAIT_S,
        reconnect_timeout=_WAIT_S,  # then wait for the next request to try again, not for minutes
        check=ConnectionPool.check_connection,
        # Prepared statements break behind a pooler in transaction mode (Supabase's port 6543).
        kwargs={"prepare_threshold": None, "connect_timeout": int(_WAIT_S), "application_name": "portal"},
        open=True,
        name="portal",
    )


@contextmanager
def database() -> Iterator[Connection]:
    """A connection in a transaction: committed at the end, rolled back on an error."""
    pool: ConnectionPool = current_app.extensions[_POOL]
    with pool.connection() as conn:
        yield conn


@contextmanager
def reading() -> Iterator[Connection]:
    """A connection for one look, in which each statement stands alone: half the round trips, for what every request asks."""
    with database() as conn:
        conn.autocommit = True  # told to no server: it only keeps a transaction from being begun
        try:
            yield conn
        finally:
            if not conn.closed:
                conn.autocommit = False


def close(app: Flask) -> None:
    """Close the application's connections (tests; a server process simply ends)."""
    app.extensions[_POOL].close()
