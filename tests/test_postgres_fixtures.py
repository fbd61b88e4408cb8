"""The fixtures themselves: what other tests rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.start.processes import alive, command_of, descendants, wait_until


def test_each_test_gets_a_database_of_its_own(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("CREATE TABLE public.left_behind (id int)")
    conn.commit()
    with psycopg.connect(dsn) as other:
        assert other.execute("SELECT count(*) FROM public.left_behind").fetchone() == (0,)


def test_nothing_of_another_test_is_seen(dsn: str, conn: psycopg.Connection) -> None:
    assert conn.execute("SELECT to_regclass('public.left_behind')").fetchone() == (None,)


def test_a_commit_on_the_shared_database_is_refused(conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute("CREATE TABLE public.savepoint_only (id int)")
    with pytest.raises(AssertionError, match="database of its own"):
        conn.commit()


def test_the_shared_database_stays_clean(conn: psycopg.Connection) -> None:
    assert conn.execute("SELECT to_regclass('public.savepoint_only')").fetchone() == (None,)


def test_the_session_is_utf8_and_utc(conn: psycopg.Connection) -> None:
    row = conn.execute("SELECT current_setting('server_encoding'), current_setting('TimeZone'), lower('ÄÉ')").fetchone()
    assert row == ("UTF8", "UTC", "äé")


def test_a_killed_pytest_leaves_no_postgresql(tmp_path: Path) -> None:
    test = tmp_path / "test_endless.py"
    test.write_text("import time\n\ndef test_endless(dsn):\n    time.sleep(600)\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.postgres_fixtures",
        "--rootdir",
        str(tmp_path),
        str(test),
    ]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    pytest_run = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=alone, stdout=subprocess.DEVNULL)

    def servers() -> list[int]:
        return [pid for pid in descendants(pytest_run.pid) if "bin/postgres -D" in command_of(pid)]

    wait_until(lambda: bool(servers()))
    everything = descendants(pytest_run.pid)
    folder = next(Path(word).parent for word in command_of(servers()[0]).split() if word.endswith("/data"))
    pytest_run.send_signal(signal.SIGKILL)
    pytest_run.wait()
    wait_until(lambda: not any(alive(pid) for pid in everything))
    wait_until(lambda: not folder.exists())
