"""The schema: numbered SQL files, one script that applies what is missing. What is printed is what is applied."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import psycopg
from psycopg import Connection, errors, sql

from whatsapp_logs.errors import DatabaseAway, SchemaMismatch

_FOLDER = "whatsapp_logs.store.migrations"
# Row-level security without a policy for us: all tables would look empty, and an empty log looks like any other.
_HIDDEN_FROM = """
    SELECT current_user WHERE row_security_active('whatsapp_logs.messages') AND NOT EXISTS (
        SELECT FROM pg_policies WHERE schemaname = 'whatsapp_logs' AND tablename = 'messages'
          AND ('public' = ANY (roles) OR EXISTS (SELECT FROM unnest(roles) AS r WHERE r <> 'public' AND pg_has_role(r, 'USAGE'))))
"""
_FRAME = "whatsapp_logs_sql"  # dollar-quote tag; no migration may contain it


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
    steps = []
    for file in sorted(resources.files(_FOLDER).iterdir(), key=lambda file: file.name):
        if named := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            text = file.read_text(encoding="utf-8")
            steps.append(Migration(int(named[1]), named[2], text.splitlines()[0].removeprefix("--").strip(), text))
    return tuple(steps)


def script() -> str:
    """The whole schema as one transaction that may be run any number of times, by psql, Supabase's editor or `apply`."""
    opening, closing = (
        resources.files(_FOLDER).joinpath(f"{name}.sql").read_text("utf-8") for name in ("opening", "closing")
    )
    newest = str(migrations()[-1].version)
    return "\n".join([opening.replace("{newest}", newest), *(_guarded(step) for step in migrations()), closing])


def apply(dsn: str, *, tell: Callable[[str], None] | None = None) -> int:
    """Bring the database's schema up to this program's; returns how many steps were missing.

    `tell` gets what is worth knowing on the way. Raises DatabaseAway or SchemaMismatch, whose text is for the operator.
    """
    try:
        with psycopg.connect(dsn, autocommit=True, application_name="whatsapp_logs migrate") as conn:
            if tell:
                conn.add_notice_handler(lambda notice: tell(notice.message_primary or ""))
            before = applied_version(conn)
            check_unchanged(conn)
            conn.execute(script().encode(), prepare=False)
            return applied_version(conn) - before
    except psycopg.Error as error:
        raise _in_words(error) from error


def grant(dsn: str, role: str) -> None:
    """Let the role work with the log: read and write, and never change its history or its schema. Raises as `apply`."""
    try:
        with psycopg.connect(dsn, autocommit=True, application_name="whatsapp_logs migrate") as conn:
            if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
                raise SchemaMismatch(f"There is no role {role}. Create it first: CREATE ROLE {role} LOGIN PASSWORD '…'")
            conn.execute("SELECT whatsapp_logs.grant_to(%s)", (role,))
    except psycopg.Error as error:
        raise _in_words(error) from error


def grant_script(role: str) -> str:
    """The same as SQL, to be run behind `script`."""
    return sql.SQL("\nSELECT whatsapp_logs.grant_to({});\n").format(sql.Literal(role)).as_string()


def applied_version(conn: Connection[Any]) -> int:
    """The number of the newest step in the database; 0 before the first."""
    return max(_applied(conn), default=0)


def check_current(conn: Connection[Any]) -> None:
    """Refuse to work on tables that are older or newer than this program."""
    found, wanted = applied_version(conn), migrations()[-1].version
    if found < wanted:
        raise SchemaMismatch(
            f"The database has schema {found}, this program needs {wanted}. "
            "Run `python run_whatsapp_migration.py --apply`, or paste its output into the SQL editor."
        )
    if found > wanted:
        raise SchemaMismatch(
            f"The database has schema {found}, newer than this program's {wanted}. Update the program."
        )
    check_unchanged(conn)
    hidden_from = conn.execute(_HIDDEN_FROM).fetchone()
    if hidden_from is not None:
        raise SchemaMismatch(
            f"The database hides every row of the log from the role {hidden_from[0]}. Run, as the owner of the tables: "
            f"python run_whatsapp_migration.py --apply --grant {hidden_from[0]}"
        )


def check_unchanged(conn: Connection[Any]) -> None:
    """Refuse a database whose steps were not made by these files: by an unreleased version, or an edited copy."""
    applied = _applied(conn)
    different = [step.name for step in migrations() if applied.get(step.version, step.checksum) != step.checksum]
    if different:
        raise SchemaMismatch(
            f"The database's schema is of another version than released: {', '.join(different)} differ. "
            "If its data may go, drop the schema whatsapp_logs and migrate again; otherwise restore it from a backup."
        )


def _applied(conn: Connection[Any]) -> dict[int, str]:
    """Version → checksum of the steps that are in the database."""
    exists = "SELECT FROM pg_class WHERE relnamespace = to_regnamespace('whatsapp_logs') AND relname = 'migrations'"
    if conn.execute(exists).fetchone() is None:
        return {}
    return dict(conn.execute("SELECT version, checksum FROM whatsapp_logs.migrations").fetchall())


def _in_words(error: psycopg.Error) -> DatabaseAway | SchemaMismatch:
    said, hint = error.diag.message_primary, error.diag.message_hint
    if said is None:  # never reached a server, or lost it
        return DatabaseAway(f"The database cannot be reached: {str(error).strip()}")
    if isinstance(error, (errors.LockNotAvailable, errors.DeadlockDetected)):
        hint = "Another program holds on to the portal's tables. Nothing was changed; run it again when that has ended."
    return SchemaMismatch(f"{said.removesuffix('.')}. {hint or ''}".rstrip())


def _guarded(step: Migration) -> str:
    if _FRAME in step.sql:
        raise SchemaMismatch(f"Migration {step.name} must not contain {_FRAME}.")
    return f"""
-- {step.version:04d} {step.name}: {step.purpose}
DO ${_FRAME}_step$ BEGIN
IF NOT EXISTS (SELECT FROM whatsapp_logs.migrations WHERE version = {step.version}) THEN
PERFORM set_config('whatsapp_logs.note', '', true);
EXECUTE ${_FRAME}$
{step.sql}${_FRAME}$;
INSERT INTO whatsapp_logs.migrations (version, name, checksum, note) VALUES ({step.version}, '{step.name}',
    '{step.checksum}', NULLIF(current_setting('whatsapp_logs.note'), ''));
END IF;
END ${_FRAME}_step$;"""  # noqa: S608 - the migration's own file
