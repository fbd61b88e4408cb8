"""One script: printed or applied, once or again, alone or at the same time, whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from portal.start.binaries import find_binaries
from tests.migrations.conftest import OLD_TABLE
from tests.start.processes import PATIENCE_S
from whatsapp_logs.errors import DatabaseAway, SchemaMismatch
from whatsapp_logs.store import describe, migrate

ROOT = Path(__file__).parents[2]
NEWEST = migrate.migrations()[-1].version
NewEmpty = Callable[..., str]


def command(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return subprocess.run(
        [sys.executable, str(ROOT / "run_whatsapp_migration.py"), *arguments],
        env={**kept, **env}, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip


def psql(dsn: str, sql: str, *options: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("psql") or find_binaries().bin / "psql"
    return subprocess.run(
        [program, "-X", *options, dsn, "-f", "-"], input=sql, capture_output=True, text=True, timeout=60
    )


def version(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        return migrate.applied_version(conn)


def test_standard_output_is_nothing_but_sql() -> None:
    printed = command()
    assert printed.returncode == 0
    assert printed.stdout == migrate.script()
    assert printed.stdout.isascii()  # it travels through clipboards
    assert "supabase.com" in printed.stderr


def test_what_psql_pastes_is_what_apply_does(new_empty: NewEmpty) -> None:
    applied, pasted = new_empty(OLD_TABLE), new_empty(OLD_TABLE)
    done = command("--apply", DATABASE_URL=applied)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{NEWEST} of {NEWEST} steps applied" in done.stderr
    by_psql = psql(pasted, command().stdout, "-v", "ON_ERROR_STOP=1")
    assert by_psql.returncode == 0, by_psql.stderr
    assert describe.schema(pasted) == describe.schema(applied)
    with psycopg.connect(applied) as one, psycopg.connect(pasted) as other:
        # Grants, owners and whatever describe leaves out.
        query = """
            SELECT c.oid::regclass::text, c.relkind, c.relacl::text, c.relrowsecurity FROM pg_class AS c
            WHERE c.relnamespace IN ('public'::regnamespace, 'whatsapp_logs'::regnamespace)
            UNION ALL
            SELECT p.oid::regprocedure::text, 'f', p.proacl::text, p.prosecdef FROM pg_proc AS p
            WHERE p.pronamespace = 'whatsapp_logs'::regnamespace ORDER BY 1"""
        assert one.execute(query).fetchall() == other.execute(query).fetchall()


def test_running_it_twice_changes_nothing(new_empty: NewEmpty) -> None:
    dsn = new_empty(OLD_TABLE)
    assert migrate.apply(dsn) == NEWEST
    with psycopg.connect(dsn) as conn:
        conn.execute("GRANT USAGE ON SCHEMA whatsapp_logs TO PUBLIC")  # somebody's own decision
    before = describe.schema(dsn)
    assert migrate.apply(dsn) == 0
    assert psql(dsn, migrate.script(), "-v", "ON_ERROR_STOP=1").returncode == 0
    assert describe.schema(dsn) == before
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT has_schema_privilege('public', 'whatsapp_logs', 'USAGE')").fetchone() == (True,)
    assert "already; nothing was changed" in command("--apply", "--database-url", dsn).stderr


def test_fault_18_interrupted_half_way_it_leaves_nothing_and_works_again(new_empty: NewEmpty) -> None:
    dsn = new_empty(OLD_TABLE)
    before, _, after = migrate.script().rpartition("\n-- 0005")
    failing = f"{before}\nSELECT 1 / 0;\n-- 0005{after}"
    assert "division by zero" in psql(dsn, failing).stderr  # psql goes on after an error unless told otherwise
    assert version(dsn) == 0
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT relkind::text FROM pg_class WHERE relname = 'whatsapp_logs'").fetchall() == [("r",)]
    assert migrate.apply(dsn) == NEWEST


def test_killed_while_it_waits_it_leaves_nothing_and_works_again(new_empty: NewEmpty) -> None:
    dsn = new_empty(OLD_TABLE)
    failures: list[Exception] = []

    def run() -> None:
        try:
            migrate.apply(dsn)
        except DatabaseAway as error:
            failures.append(error)
        except SchemaMismatch as error:
            failures.append(error)

    with psycopg.connect(dsn) as portal, psycopg.connect(dsn, autocommit=True) as admin:
        portal.execute("LOCK TABLE clients IN ROW EXCLUSIVE MODE")
        migrating = threading.Thread(target=run)
        migrating.start()
        waiting = """SELECT pid FROM pg_stat_activity WHERE datname = current_database()
                     AND application_name = 'whatsapp_logs migrate' AND wait_event = 'relation'"""
        while migrating.is_alive():
            if found := admin.execute(waiting).fetchone():
                admin.execute("SELECT pg_terminate_backend(%s)", found)
                break
            migrating.join(0.01)
        migrating.join()
    assert len(failures) == 1
    assert version(dsn) == 0
    assert migrate.apply(dsn) == NEWEST


def test_a_portal_that_holds_its_tables_is_waited_for_only_so_long(new_empty: NewEmpty) -> None:
    dsn = new_empty(OLD_TABLE)
    with psycopg.connect(dsn) as portal:
        portal.execute("LOCK TABLE clients IN ROW EXCLUSIVE MODE")
        given_up = psql(dsn, migrate.script().replace("'30s'", "'50ms'"), "-v", "ON_ERROR_STOP=1")
    assert "canceling statement due to lock timeout" in given_up.stderr
    assert version(dsn) == 0


def test_fault_18_two_at_once_are_one(new_empty: NewEmpty) -> None:
    dsn = new_empty(OLD_TABLE)
    done: list[int] = []
    migrating = [threading.Thread(target=lambda: done.append(migrate.apply(dsn))) for _ in range(4)]
    for thread in migrating:
        thread.start()
    for thread in migrating:
        thread.join()
    assert len(done) == 4
    assert version(dsn) == NEWEST
    with psycopg.connect(dsn) as conn:
        aside = "SELECT count(*) FROM pg_class WHERE relname LIKE 'whatsapp_logs_before_migration%' AND relkind = 'r'"
        assert conn.execute(aside).fetchone() == (1,)


def test_fault_18_a_database_of_a_newer_program_is_refused(empty: str) -> None:
    migrate.apply(empty)
    with psycopg.connect(empty) as conn:
        conn.execute("INSERT INTO whatsapp_logs.migrations (version, name, checksum) VALUES (9999, 'later', '')")
    refused = command("--apply", "--database-url", empty)
    assert refused.returncode == 1
    assert f"schema 9999, newer than this program's {NEWEST}. Update the program." in refused.stderr
    assert "Update the program" in psql(empty, migrate.script()).stderr
    with psycopg.connect(empty) as conn, pytest.raises(SchemaMismatch, match="newer than this program's"):
        migrate.check_current(conn)


def test_a_database_behind_is_refused_with_the_command_that_helps(empty: str) -> None:
    with psycopg.connect(empty) as conn, pytest.raises(SchemaMismatch, match=r"run_whatsapp_migration\.py --apply"):
        migrate.check_current(conn)


def test_a_step_that_is_not_ours_is_refused(empty: str) -> None:
    migrate.apply(empty)
    with psycopg.connect(empty) as conn:
        migrate.check_current(conn)
        conn.execute("UPDATE whatsapp_logs.migrations SET checksum = 'edited' WHERE version = 2")
    with pytest.raises(SchemaMismatch, match="record differ"):
        migrate.apply(empty)


def test_an_old_postgresql_is_refused_in_words(empty: str) -> None:
    # The oldest that can be had here is new enough, so the bar is lifted instead.
    for_later = migrate.script().replace("::integer < 150000", "::integer < 990000")
    refused = psql(empty, for_later, "-v", "ON_ERROR_STOP=1").stderr
    assert "This database is PostgreSQL" in refused
    assert "needs PostgreSQL 15 or newer" in refused


def test_a_database_that_is_away_is_said_without_the_password() -> None:
    away = command("--apply", DATABASE_URL="postgresql://me:secret-word@127.0.0.1:1/none?connect_timeout=2")
    assert away.returncode == 1
    assert "The database cannot be reached" in away.stderr
    assert "secret-word" not in away.stderr
    assert "Traceback" not in away.stderr


def test_a_database_elsewhere_is_not_changed_in_the_open_by_oversight() -> None:
    refused = command("--apply", DATABASE_URL="postgresql://me:secret-word@db.example.test/none")
    assert refused.returncode == 2
    assert "sslmode=require" in refused.stderr
    assert "secret-word" not in refused.stderr


def test_the_address_is_read_from_the_env_file(empty: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f'DATABASE_URL="{empty}"\n')
    assert command("--apply", cwd=tmp_path).returncode == 0
    assert version(empty) == NEWEST


def test_without_an_address_it_says_where_to_put_one(tmp_path: Path) -> None:
    refused = command("--apply", cwd=tmp_path)
    assert refused.returncode == 2
    assert "There is no DATABASE_URL" in refused.stderr


def test_the_documented_schema_is_the_one_that_is_applied(empty: str) -> None:
    migrate.apply(empty)
    described = command("--describe", DATABASE_URL=empty).stdout
    assert described == (ROOT / "docs" / "schema.sql").read_text(), (
        "docs/schema.sql is not current: migrate an empty database, then "
        "python run_whatsapp_migration.py --describe > docs/schema.sql"
    )


def test_a_session_that_is_not_utc_or_not_read_committed_is_served(empty: str) -> None:
    options = "-c timezone=Asia/Tokyo -c default_transaction_isolation=serializable -c statement_timeout=100"
    assert "cancel" not in psql(make_conninfo(empty, options=options), migrate.script(), "-v", "ON_ERROR_STOP=1").stderr
    assert version(empty) == NEWEST
