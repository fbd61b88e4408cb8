"""Connections: a small pool, time-outs on everything, and one error for "the database does not answer"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolTimeout

from whatsapp_logs.config import Config
from whatsapp_logs.errors import DatabaseAway

_CONNECT_TIMEOUT_S = 5
_IDLE_S = 300


class Database:
    """The pool of one process. Opened on first use, so that importing or forking never holds a connection."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pool = ConnectionPool(
            config.database_url,
            min_size=1,
            max_size=config.pool_size,
            timeout=config.pool_timeout_s,
            max_idle=_IDLE_S,
            reconnect_timeout=30,
            kwargs=connection_settings(config),
            name="whatsapp_logs",
            open=False,
            check=ConnectionPool.check_connection,
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """A connection inside a transaction: committed at the end, rolled back on an error.

        Raises DatabaseAway when the database cannot be reached, is restarting, or does not answer in time.
        """
        try:
            self._pool.open()
            with self._pool.connection() as conn:
                yield conn
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise DatabaseAway() from error

    def close(self) -> None:
        """Give all connections back."""
        self._pool.close()


@contextmanager
def atomic(conn: Connection[Any]) -> Iterator[None]:
    """All or nothing inside the caller's transaction, which stays usable after an error; never a commit of the caller's work."""
    if not conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE:
        conn.execute(
            "SELECT 1"
        )  # begins the caller's transaction: else the savepoint would be one of its own, and commit
    with conn.transaction():
        yield


def connection_settings(config: Config) -> dict[str, Any]:
    """Keyword arguments for every connection we open.

    Behind a transaction pooler there are no session settings and no prepared statements (they fail on the next server).
    """
    settings: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "whatsapp_logs"}
    if config.transaction_pooler:
        return settings | {"prepare_threshold": None}
    statement_ms = int(config.statement_timeout_s * 1000)
    limits = {
        "statement_timeout": statement_ms,
        "lock_timeout": statement_ms,
        "idle_in_transaction_session_timeout": 60_000,
    }
    return settings | {"options": " ".join(f"-c {name}={value}" for name, value in limits.items())}
