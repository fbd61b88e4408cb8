"""The whole portal, started and ended as people and machines do it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.start.processes import PATIENCE_S, alive, command_of, data_folder, descendants, wait_until, working_below

ROOT = Path(__file__).parents[2]
PARTS = {
    "database": "bin/postgres",
    "web server": "portal.start.web:app",
    "worker": "whatsapp_logs worker",
    "simulator": "twilio.simulator",
}


class Started:
    """A portal in a process of its own: what it says, where it is, what belongs to it."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.said = ""
        env = {**os.environ, "DATA_DIR": str(data_dir), **settings}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "portal", "start"],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ready(self) -> Started:
        """Wait until it says that it is."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.said += line
            if "Stop with Ctrl-C" in line:
                self.port = json.loads((self.data_dir / "running.json").read_text())["web"]
                return self
        raise AssertionError(f"It did not start:\n{self.said}")

    def page(self) -> int:
        """The status of the first page, 0 when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/sign-in")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def everything(self) -> list[int]:
        return descendants(self.process.pid)

    def part(self, name: str) -> int | None:
        """The process id of one part (the first: granian's and PostgreSQL's main process)."""
        return next((pid for pid in self.everything() if PARTS[name] in command_of(pid)), None)

    def end(self) -> str:
        """Ask it to end; returns what it said."""
        self.process.send_signal(signal.SIGTERM)
        self.said += self.process.communicate(timeout=PATIENCE_S)[0]
        return self.said


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A folder that the tests of this module use one after the other, so that it is made only once."""
    with data_folder() as folder:
        yield folder / "data"
        wait_until(lambda: not working_below(folder))


@pytest.fixture
def start(data_dir: Path) -> Iterator[type[Started]]:
    """Starts portals; what a failing test leaves is killed."""
    made: list[Started] = []

    def begin(folder: Path = data_dir, **settings: str) -> Started:
        made.append(Started(folder, **{"PORT": "", "DATABASE_URL": "", "TWILIO_ACCOUNT_SID": "", **settings}))
        return made[-1]

    yield begin  # type: ignore[misc]
    for portal in made:
        for pid in [*portal.everything(), portal.process.pid] if portal.process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        portal.process.wait()


def test_it_starts_with_nothing_set_and_says_where_as_whom_and_how_to_stop(start, data_dir: Path) -> None:
    portal = start().ready()
    assert portal.page() == 200
    assert f"http://127.0.0.1:{portal.port}" in portal.said
    assert "Nobody here needs a second factor" in portal.said
    for role in ("administrator", "agent", "compliance", "viewer"):
        assert role in portal.said
    assert stat.S_IMODE((data_dir / "secrets.json").stat().st_mode) == 0o600
    phones = re.search(r"Customers' phones:\s+(http://\S+)", portal.said)
    assert phones

    def talked() -> bool:
        written = requests.get(f"{phones[1]}/_simulator/messages", timeout=PATIENCE_S).json()
        return "A colleague has been told" in str(written)

    wait_until(talked)  # customers have written, and the bot has answered and called a person
    portal.end()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_of_it_within_seconds(start, sig: signal.Signals) -> None:
    began = time.monotonic()
    portal = start().ready()
    started_s = time.monotonic() - began
    parts = portal.everything()
    began = time.monotonic()
    portal.process.send_signal(sig)
    portal.process.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - began < max(8, 3 * started_s)  # seconds, on a machine that starts it in seconds
    assert portal.process.returncode == 0
    assert not any(alive(pid) for pid in parts)


def test_after_kill_9_of_the_supervisor_nothing_is_left_and_it_starts_again(start) -> None:
    portal = start().ready()
    parts = portal.everything()
    portal.process.kill()
    portal.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in parts))
    again = start().ready()
    assert again.page() == 200
    again.end()


def test_after_kill_9_of_everything_at_once_it_starts_again_at_the_same_address(start) -> None:
    portal = start().ready()
    parts = [portal.process.pid, *portal.everything()]
    for pid in parts:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    portal.process.wait()
    again = start(PORT=str(portal.port)).ready()
    assert again.page() == 200
    assert not any(alive(pid) for pid in parts)
    again.end()


def test_each_part_comes_back_after_kill_9(start) -> None:
    portal = start().ready()
    for name in PARTS:
        wait_until(lambda name=name: portal.part(name) is not None)  # It may have ended with the part before.
        killed = portal.part(name) or 0
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda name=name, killed=killed: portal.part(name) not in (None, killed))
    wait_until(lambda: portal.page() == 200, timeout_s=30)
    said = portal.end()
    assert "PostgreSQL ended; it starts again." in said
    for name in ("web", "worker", "simulator"):
        assert f"{name} was ended by signal 9; it starts again" in said


def test_the_page_comes_back_after_kill_9_of_granians_own_worker(start) -> None:
    portal = start().ready()
    (worker,) = descendants(portal.part("web server") or 0)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not alive(worker) and portal.page() == 200, timeout_s=30)
    portal.end()


def test_a_second_start_is_refused_and_names_the_first(start) -> None:
    portal = start().ready()
    second = start()
    said = second.process.communicate(timeout=PATIENCE_S)[0]
    assert second.process.returncode == 1
    assert f"runs already, at http://127.0.0.1:{portal.port}" in said
    assert portal.page() == 200
    portal.end()


def test_two_run_side_by_side(start, data_dir: Path) -> None:
    other_dir = data_dir.parent / "other"
    first = start().ready()
    second = start(other_dir).ready()
    assert first.port != second.port
    assert (first.page(), second.page()) == (200, 200)
    first.end()
    assert second.page() == 200
    second.end()
    shutil.rmtree(other_dir)


def test_a_taken_port_is_named_with_what_to_do(start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = start(PORT=str(port)).process.communicate(timeout=PATIENCE_S)[0]
    assert f"PORT {port} cannot be used: another program listens there." in said
    assert f"PORT={port + 1} ./run" in said


def test_every_problem_of_the_settings_is_said_at_once(start) -> None:
    settings = {"DISPLAY_TIMEZONE": "Nowhere", "DEFAULT_REGION": "XX", "SECRET_KEY": "short"}
    settings |= {"PORT": "99999", "SECURE_COOKIES": "maybe", "PUBLIC_BASE_URL": "http://portal.example.test"}
    settings |= {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": ""}
    refused = start(**settings)
    said = refused.process.communicate(timeout=PATIENCE_S)[0]
    assert refused.process.returncode == 1
    assert all(name in said for name in settings)
    assert ".env.example" in said
    assert "Traceback" not in said


def test_commands_use_the_database_of_the_running_portal(start, data_dir: Path) -> None:
    portal = start().ready()
    assert "ok    database" in command("doctor", data_dir)
    portal.end()


def test_the_doctor_of_a_stopped_portal_says_so_and_makes_nothing(data_dir: Path) -> None:
    with socket.socket() as somebody_else, data_folder() as empty:
        somebody_else.bind(("127.0.0.1", 0))
        somebody_else.listen()
        said = command("doctor", empty / "data", PORT=str(somebody_else.getsockname()[1]))
        assert said.splitlines() == [
            "BAD   portal     The portal of this folder is not running: start it with ./run",
            "BAD   database   There is none yet: the first ./run makes it.",
        ]
        assert list((empty / "data").iterdir()) == []


def test_the_doctor_of_a_stopped_portal_looks_at_its_database(data_dir: Path) -> None:
    command("migrate", data_dir)
    said = command("doctor", data_dir)
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["BAD", "portal"], ["ok", "database"], ["ok", "schema"], ["ok", "clock"],
    ]  # fmt: skip
    assert not working_below(data_dir)


def test_an_unknown_command_is_named_and_the_known_ones_are_shown() -> None:
    ran = subprocess.run([ROOT / "run", "nonsense"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 2
    assert "there is no command 'nonsense'" in ran.stderr
    assert "./run doctor" in ran.stderr


def test_printing_the_sql_needs_no_database(data_dir: Path) -> None:
    with data_folder() as empty:
        assert "CREATE" in command("migrate", empty / "data", "--sql")
        assert list((empty / "data").iterdir()) == []


def test_a_python_without_the_packages_is_told_which_one_has_them() -> None:
    line = [sys.executable, "-S", "run_whatsapp_migration.py"]
    ran = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 1
    assert ".venv/bin/python, or ./run migrate --sql" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_commands_work_while_nothing_runs_and_leave_nothing(data_dir: Path) -> None:
    command("migrate", data_dir)
    assert "CREATE" in command("migrate", data_dir, "--sql")
    assert not working_below(data_dir)


def command(verb: str, data_dir: Path, *arguments: str, **settings: str) -> str:
    env = {**os.environ, "DATA_DIR": str(data_dir), "DATABASE_URL": "", "TWILIO_ACCOUNT_SID": "", **settings}
    line = [sys.executable, "-m", "portal", verb, *arguments]
    return subprocess.run(
        line, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    ).stdout
