"""Connections: a small pool, time-outs on everything, and one error for "the database does not answer"."""

from __future__ import annotations

import selectors
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from whatsapp_logs.config import Config
from whatsapp_logs.errors import DatabaseAway

_CONNECT_TIMEOUT_S = 5
_IDLE_S = 300
_SURELY_ALIVE_S = 0.5  # so soon after its last use, a connection on which nothing was heard is used without asking
_TOO_SLOW = (
    "The database took too long to answer. Nothing was changed; try again, or ask for less: fewer days, a status."
)
_IN_THE_WAY = "Somebody else changed the same messages in this moment. Nothing was changed; try again."
_DISK_FULL = "The database's disk is full. Nothing was changed; the administrator has to make room."
_READ_ONLY = "The database takes no changes just now. Nothing was changed; try again in a moment."
# Our statements look at little, whatever their values. Each plan is made once, the same for every call (made anew it was up to
# half of a page's time); and nothing is compiled or shared out among processes: PostgreSQL, which takes a LIMIT it cannot
# see for a tenth of the table, would begin both for fifty rows, and beginning takes milliseconds.
_PLANS = {"plan_cache_mode": "force_generic_plan", "jit": "off", "max_parallel_workers_per_gather": 0}
# A connection whose network died without a word is noticed within a minute, not after hours.
_DEAD_PEER = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}


class _Pooled(Connection[Any]):
    """A connection that knows when it was given back."""

    used_at = float("-inf")


class Database:
    """The pool of one process. Opened on first use, so that importing or forking never holds a connection."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._closed = False
        self._pool = ConnectionPool(
            config.database_url,
            connection_class=_Pooled,
            min_size=1,
            max_size=config.pool_size,
            timeout=config.pool_timeout_s,
            max_idle=_IDLE_S,
            reconnect_timeout=30,
            kwargs=connection_settings(config),
            name="whatsapp_logs",
            open=False,
            check=_check,
            reset=_note_use,
        )

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """A connection inside a transaction: committed at the end, rolled back on an error; raises as `reading` does."""
        with self._connection() as conn:
            yield conn

    @contextmanager
    def reading(self) -> Iterator[Connection[Any]]:
        """A connection in which each statement stands alone, for looking or for one change: a third of a transaction's round trips.

        Raises DatabaseAway when the database cannot be reached, is restarting, or does not answer in time; its text says which.
        """
        with self._connection() as conn:
            conn.autocommit = True  # told to no server: it only keeps a transaction from being begun
            try:
                yield conn
            finally:
                if not conn.closed:
                    conn.autocommit = False

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        if self._closed:  # a pool that was never used would open all the same
            raise DatabaseAway()
        try:
            self._pool.open()
            with self._pool.connection() as conn:
                yield conn
        except psycopg.errors.ProgramLimitExceeded:
            raise  # a value too large for an index, a query too complex: ours to mend, and no outage
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
            raise DatabaseAway(_TOO_SLOW) from error
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
            raise DatabaseAway(_IN_THE_WAY) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise DatabaseAway(_READ_ONLY) from error
        except psycopg.errors.DiskFull as error:
            raise DatabaseAway(_DISK_FULL) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise DatabaseAway() from error

    def why_away(self) -> str:
        """What one plain attempt to connect is told, in a line; empty when it succeeds. The pool only knows that it waited."""
        try:
            psycopg.connect(self._config.database_url, **connection_settings(self._config)).close()
        except psycopg.Error as error:
            return str(error).strip().partition("\n")[0]
        return ""

    def close(self) -> None:
        """Give all connections back."""
        self._closed = True
        self._pool.close()


def _note_use(conn: _Pooled) -> None:
    conn.used_at = time.monotonic()


def _check(conn: _Pooled) -> None:
    """Raises unless the server answers. Asked only if the connection was idle, or the server has said something: good-bye."""
    if time.monotonic() - conn.used_at > _SURELY_ALIVE_S or _has_news(conn):
        ConnectionPool.check_connection(conn)


def _has_news(conn: Connection[Any]) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(conn.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


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
    settings: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "application_name": "whatsapp_logs",
        **_DEAD_PEER,
    }
    if config.transaction_pooler:
        return settings | {"prepare_threshold": None}
    statement_ms = int(config.statement_timeout_s * 1000)
    limits = {
        "statement_timeout": statement_ms,
        "lock_timeout": statement_ms,
        "idle_in_transaction_session_timeout": 60_000,
    }
    session = limits | _PLANS
    return settings | {"options": " ".join(f"-c {name}={value}" for name, value in session.items())}
