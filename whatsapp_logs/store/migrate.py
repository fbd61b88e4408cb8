"""The schema: numbered SQL files, one script that applies what is missing. What is printed is what is applied."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

import psycopg
from psycopg import Connection

from whatsapp_logs.errors import SchemaMismatch

_FRAME = "whatsapp_logs_sql"  # dollar-quote tag; no migration may contain it
_LOCK = 7_423_901_552  # any constant: two migrators wait for each other


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: its number, name (the file's), first line's purpose and SQL."""

    version: int
    name: str
    purpose: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the SQL: what was applied is what we have."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """All steps, in order."""
    files = sorted(
        (file for file in resources.files("whatsapp_logs.store.migrations").iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    steps = []
    for file in files:
        sql = file.read_text(encoding="utf-8")
        number, _, name = file.name.removesuffix(".sql").partition("_")
        steps.append(Migration(int(number), name, sql.splitlines()[0].removeprefix("--").strip(), sql))
    return tuple(steps)


def script() -> str:
    """The whole schema as one transaction that may be run any number of times, by psql, Supabase's editor or `apply`."""
    return "\n".join([_PREAMBLE, *(_guarded(step) for step in migrations()), _CLOSING])


def apply(dsn: str) -> int:
    """Bring the database's schema up to this program's; returns how many steps were missing."""
    with psycopg.connect(dsn, autocommit=True, application_name="whatsapp_logs migrate") as conn:
        before = applied_version(conn)
        check_not_ahead(conn)
        conn.execute(script().encode(), prepare=False)
        return applied_version(conn) - before


def applied_version(conn: Connection) -> int:
    """The number of the newest step in the database; 0 before the first."""
    known = conn.execute("SELECT to_regclass('whatsapp_logs.migrations') IS NOT NULL").fetchone()
    if known is None or not known[0]:
        return 0
    row = conn.execute("SELECT COALESCE(max(version), 0) FROM whatsapp_logs.migrations").fetchone()
    return int(row[0]) if row else 0


def check_current(conn: Connection) -> None:
    """Refuse to work on tables that are older or newer than this program."""
    found, wanted = applied_version(conn), migrations()[-1].version
    if found < wanted:
        raise SchemaMismatch(
            f"The database has schema {found}, this program needs {wanted}. "
            "Run `python run_whatsapp_migration.py --apply`, or paste its output into the SQL editor."
        )
    check_not_ahead(conn)


def check_not_ahead(conn: Connection) -> None:
    """Refuse a database that a newer program has changed."""
    found, wanted = applied_version(conn), migrations()[-1].version
    if found > wanted:
        raise SchemaMismatch(f"The database has schema {found}, newer than this program's {wanted}. Update the program.")


def _guarded(step: Migration) -> str:
    if _FRAME in step.sql:
        raise SchemaMismatch(f"Migration {step.name} must not contain {_FRAME}.")
    return f"""
-- {step.version:04d} {step.name}: {step.purpose}
DO ${_FRAME}_step$ BEGIN
IF NOT EXISTS (SELECT FROM whatsapp_logs.migrations WHERE version = {step.version}) THEN
EXECUTE ${_FRAME}$
{step.sql}${_FRAME}$;
INSERT INTO whatsapp_logs.migrations (version, name, checksum) VALUES ({step.version}, '{step.name}', '{step.checksum}');
END IF;
END ${_FRAME}_step$;"""


_PREAMBLE = f"""\
-- WhatsApp Logs: schema. Safe to run again: each step is applied once. Needs PostgreSQL 15 or newer, no extension.
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL check_function_bodies = off;
DO $$ BEGIN PERFORM pg_advisory_xact_lock({_LOCK}); END $$;
CREATE SCHEMA IF NOT EXISTS whatsapp_logs;
CREATE TABLE IF NOT EXISTS whatsapp_logs.migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);"""

_CLOSING = """
COMMIT;
"""
