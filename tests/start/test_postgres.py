"""The embedded PostgreSQL starts whatever happened before, and ends with whoever started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from portal.start import binaries
from portal.start.postgres import PostgresUnavailable, Server
from tests.start.processes import alive, wait_until, working_below

ROOT = Path(__file__).parents[2]
QUICK = {"fsync": "off"}
HOLD = """
import sys, time
from pathlib import Path
from portal.start.postgres import Server
server = Server(Path(sys.argv[1]), settings={"fsync": "off"})
print(server.start(), server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder for a server; everything that was started on it ends with the test."""
    yield tmp_path / "database"
    home = Server(tmp_path / "database").home
    for pid in working_below(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not working_below(home))
    shutil.rmtree(home, ignore_errors=True)


def test_a_server_starts_answers_and_stops(data_dir: Path) -> None:
    with Server(data_dir, settings=QUICK) as server:
        assert answers(server.dsn)
    assert not server.running()
    assert working_below(server.home) == []


def test_what_was_committed_is_there_after_a_restart(data_dir: Path) -> None:
    with Server(data_dir, settings=QUICK) as server, psycopg.connect(server.dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 'ÄÖ' AS text")
    with Server(data_dir, settings=QUICK) as server, psycopg.connect(server.dsn) as conn:
        assert conn.execute("SELECT lower(text) FROM kept").fetchone() == ("äö",)


def test_it_listens_on_no_network_and_its_folders_are_closed_to_others(data_dir: Path) -> None:
    with Server(data_dir, settings=QUICK) as server:
        with psycopg.connect(server.dsn) as conn:
            assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
            assert conn.execute("SHOW timezone").fetchone() == ("UTC",)
            (socket_folder,) = conn.execute("SHOW unix_socket_directories").fetchone() or ("",)
        assert Path(socket_folder).stat().st_mode & 0o077 == 0
        assert (server.home / "data").stat().st_mode & 0o077 == 0


def test_a_second_process_uses_the_running_server_and_leaves_it_running(data_dir: Path) -> None:
    with holder(data_dir) as (_, dsn, pid):
        with Server(data_dir) as second:
            assert (second.dsn, second.pid) == (dsn, pid)
        assert answers(dsn)


def test_it_ends_with_a_parent_killed_by_9(data_dir: Path) -> None:
    with holder(data_dir) as (parent, _, pid):
        parent.kill()
        parent.wait()
        wait_until(lambda: not alive(pid))
        wait_until(lambda: not working_below(Server(data_dir).home))


def test_it_starts_again_after_its_parent_was_killed_by_9(data_dir: Path) -> None:
    with holder(data_dir) as (parent, _, _):
        parent.kill()
        parent.wait()
        with Server(data_dir, settings=QUICK) as server:  # At once: the old one may still be ending.
            assert answers(server.dsn)


def test_it_starts_again_after_the_postmaster_was_killed_by_9(data_dir: Path) -> None:
    with Server(data_dir, settings=QUICK) as server:
        assert server.pid
        dead = server.pid
        busy = psycopg.connect(server.dsn)  # Its process outlives the postmaster for a moment.
        os.kill(dead, signal.SIGKILL)
        wait_until(lambda: not alive(dead))  # From here on it is a zombie: nobody has waited for it.
        with Server(data_dir, settings=QUICK) as second:
            assert answers(second.dsn)
        busy.close()


def test_it_starts_although_the_old_process_id_is_somebody_elses_now(data_dir: Path) -> None:
    with Server(data_dir, settings=QUICK) as server:
        pid_file = server.home / "data" / "postmaster.pid"
        content = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *content[1:]]) + "\n")
    with Server(data_dir, settings=QUICK) as server:
        assert answers(server.dsn)


def test_it_starts_after_the_folder_was_left_half_made(data_dir: Path) -> None:
    home = Server(data_dir).home
    (home / "data.new" / "base").mkdir(parents=True)
    with Server(data_dir, settings=QUICK) as server:
        assert answers(server.dsn)


def test_a_folder_with_a_long_path_works(data_dir: Path) -> None:
    deep = data_dir / ("long-" * 20) / "database"
    with Server(deep, settings=QUICK) as server:
        assert answers(server.dsn)
    shutil.rmtree(server.home)


def test_settings_are_postgresqls_own(data_dir: Path) -> None:
    with Server(data_dir, settings={**QUICK, "work_mem": "7MB"}) as server, psycopg.connect(server.dsn) as conn:
        assert conn.execute("SHOW work_mem").fetchone() == ("7MB",)


def test_a_server_that_cannot_start_says_why(data_dir: Path) -> None:
    with pytest.raises(PostgresUnavailable, match="work_mem"):
        Server(data_dir, settings={**QUICK, "work_mem": "nonsense"}).start()


def test_without_any_postgresql_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setattr(binaries, "WHEEL_PACKAGE", "no_such_package")
    monkeypatch.setattr(binaries, "SYSTEM_PLACES", ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PostgresUnavailable, match=r"\./run.*apt install postgresql.*DATABASE_URL"):
        Server(data_dir).start()


def test_data_of_a_version_that_is_not_here_is_named(data_dir: Path) -> None:
    data = Server(data_dir).home / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("14\n")
    with pytest.raises(PostgresUnavailable, match="made by PostgreSQL 14"):
        Server(data_dir).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root needs another account for PostgreSQL")
def test_as_root_it_runs_even_below_a_closed_folder_and_opens_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(binaries, "SHARED_PARENTS", (Path("/var/tmp"),))
    with Server(closed / "checkout" / ".data", settings=QUICK) as server:
        assert answers(server.dsn)
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    shutil.rmtree(server.home)
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root can become an ordinary user")
def test_an_ordinary_user_needs_nothing_special() -> None:
    python = next((path for path in (Path(sys.executable), Path("/usr/bin/python3")) if reachable(path)), None)
    if python is None or not reachable(ROOT / "run"):
        pytest.skip("No Python, or not the checkout, can be reached by an ordinary user of this machine")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chown(folder, NOBODY.uid, NOBODY.gid)
        with holder(Path(folder) / "database", python=python, user=NOBODY.uid, group=NOBODY.gid) as (_, dsn, pid):
            assert answers(dsn)
            assert Path(f"/proc/{pid}").stat().st_uid == NOBODY.uid


NOBODY = binaries.Account(65534, 65534)


def reachable(program: Path) -> bool:
    return binaries.can_enter(program.resolve().parent, NOBODY)


@contextlib.contextmanager
def holder(
    data_dir: Path, *, python: Path = Path(sys.executable), **account: int
) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """Another process that holds a server: itself, the DSN and the postmaster's process id."""
    found_here = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [python, "-c", HOLD, str(data_dir)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{found_here}"},
        stdout=subprocess.PIPE,
        text=True,
        **account,
    )
    try:
        assert process.stdout
        dsn, pid = process.stdout.readline().split()
        yield process, dsn, int(pid)
    finally:
        process.kill()
        process.wait()
        wait_until(lambda: not alive(int(pid)))


def answers(dsn: str) -> bool:
    with psycopg.connect(dsn) as conn:
        return conn.execute("SELECT 1").fetchone() == (1,)
