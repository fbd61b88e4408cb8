"""Hold one PostgreSQL for one test run: `python -m tests.postgres_keeper FOLDER PID` ends when process PID does.

A process of its own, because the pytest-xdist workers that share the server end at different times, and because a
killed pytest cannot clear up. Prints one line when the template database is ready: the DSN, or the reason why not.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import select
import shutil
import sys
import time
import traceback
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from portal.start.postgres import Server

TEMPLATE = "migrated"
APP_ROLE = "app_of_the_tests"  # what the product runs as: it owns nothing
# In this order: the log's foreign keys point to the portal's tables.
MIGRATIONS = ("portal.migrate", "whatsapp_logs.store.migrate")
FAST_AND_FORGETFUL = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_connections": "200",
}


def main() -> None:
    folder, pytest_pid = Path(sys.argv[1]), int(sys.argv[2])
    remove_abandoned(folder)
    binaries = os.environ.get("TEST_POSTGRES_BIN")
    server = Server(folder, settings=FAST_AND_FORGETFUL, binaries=Path(binaries) if binaries else None)
    try:
        dsn = server.start()
        create_template(dsn)
        print(dsn, flush=True)
        await_end(pytest_pid)
    except Exception:  # noqa: BLE001 - whatever it is, the test that waits for the database shows it.
        print(traceback.format_exc().replace("\n", "\r"), flush=True)
    finally:
        server.stop()
        shutil.rmtree(server.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the folders of runs whose pytest and keeper were both killed."""
    family, _, _ = folder.name.rpartition("-")
    for other in folder.parent.glob(f"{family}-*"):
        if not _alive(int(other.name.rpartition("-")[2])) and not Server(other).running():
            shutil.rmtree(other, ignore_errors=True)


def create_template(dsn: str) -> None:
    """Create the migrated database that every test's database is a copy of."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {APP_ROLE} LOGIN")
        conn.execute(f"CREATE DATABASE {TEMPLATE}")
    for name in MIGRATIONS:
        if _exists(name):
            importlib.import_module(name).apply(make_conninfo(dsn, dbname=TEMPLATE))
            importlib.import_module(name).grant(make_conninfo(dsn, dbname=TEMPLATE), APP_ROLE)


def await_end(pid: int) -> None:
    """Return when process `pid` has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except AttributeError:  # Not Linux.
        while _alive(pid):
            time.sleep(0.5)
        return
    select.select([handle], [], [])


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # Its package is missing.
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
