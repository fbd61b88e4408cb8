"""The simulator's memory: one SQLite file, or memory only, shared by all its threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    n                 INTEGER PRIMARY KEY AUTOINCREMENT, -- page tokens go by it: never given twice
    sid               TEXT NOT NULL UNIQUE,
    direction         TEXT NOT NULL,
    "to"              TEXT NOT NULL,
    from_             TEXT,
    customer          TEXT NOT NULL,
    service_sid       TEXT,
    body              TEXT NOT NULL,
    phone_text        TEXT NOT NULL,
    content_sid       TEXT,
    content_variables TEXT,
    media_urls        TEXT NOT NULL,
    num_segments      INTEGER NOT NULL,
    status            TEXT NOT NULL,
    error_code        INTEGER,
    refused_with      INTEGER,
    price             TEXT,
    status_callback   TEXT,
    steps             TEXT NOT NULL,
    created_at        REAL NOT NULL,
    updated_at        REAL NOT NULL,
    sent_at           REAL,
    send_at           REAL
);
CREATE INDEX IF NOT EXISTS messages_customer ON messages (customer, n);
CREATE INDEX IF NOT EXISTS messages_sent_at ON messages (sent_at);
CREATE TABLE IF NOT EXISTS media (
    sid          TEXT PRIMARY KEY,
    message_sid  TEXT NOT NULL,
    url          TEXT NOT NULL,
    content_type TEXT NOT NULL,
    content      BLOB NOT NULL,
    created_at   REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS media_message ON media (message_sid);
CREATE TABLE IF NOT EXISTS contacts (
    address         TEXT PRIMARY KEY,
    profile_name    TEXT,
    last_inbound_at REAL,
    opted_out       INTEGER NOT NULL DEFAULT 0,
    blocked         INTEGER NOT NULL DEFAULT 0,
    refused_creates INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS contents (
    n                     INTEGER PRIMARY KEY AUTOINCREMENT, -- page tokens go by it
    sid                   TEXT NOT NULL UNIQUE,
    friendly_name         TEXT NOT NULL,
    language              TEXT NOT NULL,
    variables             TEXT NOT NULL,
    types                 TEXT NOT NULL,
    created_at            REAL NOT NULL,
    updated_at            REAL NOT NULL,
    name                  TEXT NOT NULL DEFAULT '',
    category              TEXT NOT NULL DEFAULT '',
    status                TEXT NOT NULL DEFAULT 'unsubmitted',
    rejection_reason      TEXT NOT NULL DEFAULT '',
    allow_category_change INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS blocked_names (
    name  TEXT PRIMARY KEY,
    until REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS senders (
    address TEXT PRIMARY KEY,
    free_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS openings (
    customer TEXT PRIMARY KEY,
    at       REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS openings_at ON openings (at);
CREATE TABLE IF NOT EXISTS timers (
    id   INTEGER PRIMARY KEY AUTOINCREMENT, -- a removed timer may still wait in memory: its id must not come again
    due  REAL NOT NULL,
    kind TEXT NOT NULL,
    ref  TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS timers_ref ON timers (ref);
CREATE TABLE IF NOT EXISTS callbacks (
    id          INTEGER PRIMARY KEY,
    kind        TEXT NOT NULL,
    message_sid TEXT NOT NULL,
    status      TEXT NOT NULL,
    url         TEXT NOT NULL,
    params      TEXT NOT NULL,
    token       TEXT NOT NULL,
    state       TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS callbacks_message ON callbacks (message_sid);
CREATE INDEX IF NOT EXISTS callbacks_waiting ON callbacks (state) WHERE state IN ('held', 'stashed');
CREATE TABLE IF NOT EXISTS attempts (
    id          INTEGER PRIMARY KEY,
    callback_id INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    at          REAL NOT NULL,
    answer      INTEGER,
    problem     TEXT
);
CREATE INDEX IF NOT EXISTS attempts_callback ON attempts (callback_id);
"""

# Columns that a state file of an older simulator has not got yet.
_ADDED = (
    ("messages", "choices", "TEXT NOT NULL DEFAULT '[]'"),
    ("messages", "menu", "TEXT NOT NULL DEFAULT ''"),
)


class Database:
    """One connection behind one lock; `changed` is notified after every commit."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # What is committed survives the death of this process (kill -9). Not waiting for the disk makes a create
        # cheap; a power cut may cost the last moments, and nobody's evidence depends on a simulator.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_SCHEMA)
        for table, column, kind in _ADDED:
            if column not in {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}:
                self._connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        self._depth = 0
        self.changed = threading.Condition(threading.RLock())
        self.closed = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is kept or nothing is; a transaction inside a transaction joins it."""
        with self.changed:
            outermost = self._depth == 0
            if outermost:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                if outermost:
                    self._connection.execute("ROLLBACK")
                raise
            else:
                if outermost:
                    self._connection.execute("COMMIT")
                    self.changed.notify_all()
            finally:
                self._depth -= 1

    def run(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> int:
        """Change rows and return the new row's id."""
        with self.transaction():
            return self._connection.execute(sql, values).lastrowid or 0

    def rows(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> list[tuple[object, ...]]:
        with self.changed:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[object] | dict[str, object] = ()) -> tuple[object, ...] | None:
        found = self.rows(sql, values)
        return found[0] if found else None

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self._connection.close()
