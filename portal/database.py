"""The portal's connections: one small pool per process."""

from __future__ import annotations

import selectors
import time
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
_SURELY_ALIVE_S = 0.5  # so soon after its last use, a connection on which nothing was heard is used without asking


class _Pooled(Connection):
    """A connection that knows when it was given back."""

    used_at = float("-inf")


def init_app(app: Flask, dsn: str, *, transaction_pooler: bool) -> None:
    """Give the application a pool. The database need not be there yet: pages say so until it is.

    Behind a pooler in transaction mode (Supabase's port 6543) prepared statements break: there are none then.
    """
    settings = {"connect_timeout": int(_WAIT_S), "application_name": "portal"}
    app.extensions[_POOL] = ConnectionPool(
        dsn,
        connection_class=_Pooled,
        min_size=1,
        max_size=8,
        timeout=_WAIT_S,
        reconnect_timeout=_WAIT_S,  # then wait for the next request to try again, not for minutes
        check=_check,
        reset=_note_use,
        kwargs=settings | ({"prepare_threshold": None} if transaction_pooler else {}),
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


def _note_use(conn: _Pooled) -> None:
    conn.used_at = time.monotonic()


def _check(conn: _Pooled) -> None:
    """Raises unless the server answers. Asked only if the connection was idle, or the server has said something: good-bye."""
    if time.monotonic() - conn.used_at > _SURELY_ALIVE_S or _has_news(conn):
        ConnectionPool.check_connection(conn)


def _has_news(conn: Connection) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(conn.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


def close(app: Flask) -> None:
    """Close the application's connections (tests; a server process simply ends)."""
    app.extensions[_POOL].close()
