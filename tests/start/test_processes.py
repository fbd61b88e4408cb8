"""The supervisor: what it starts goes on, is seen, and ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.start.processes import PATIENCE_S, alive, descendants, wait_until

ROOT = Path(__file__).parents[2]

# Two children, of which the second starts one of its own and says what it is told by signals.
SUPERVISE = """
import os, sys
from pathlib import Path
from portal.start.processes import Child, StartFailed, Supervisor

first, second = sys.argv[2:]
supervisor = Supervisor(Path(sys.argv[1]), tell=lambda text: print(text, flush=True))
python = [sys.executable, "-uc"]
try:
    supervisor.add(Child("first", [*python, first], dict(os.environ)))
    supervisor.add(Child("second", [*python, second], dict(os.environ)))
    supervisor.started()
    print("up", flush=True)
    supervisor.run()
except StartFailed as problem:
    print(problem, flush=True)
finally:
    supervisor.stop(grace_s=1.0)
print("down", flush=True)
"""
SLEEPER = "import time; time.sleep(600)"
PARENT = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print('has a child'); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(600)"
# A child of multiprocessing's, as granian's workers are, that ties itself to its parent when that is dead; what it then does.
TIES_ITSELF_LATE = """
import multiprocessing, os, signal, sys, time
from portal.start.lifeline import end_with_parent_now

def child(parent, told):
    while os.getppid() == parent:
        time.sleep(0.01)
    end_with_parent_now(signal.SIGKILL)
    os.write(told, b"goes on")

if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=child, args=(os.getpid(), 1)).start()
    os.kill(os.getpid(), signal.SIGKILL)
"""
FAILING = "import time; time.sleep(0.3); raise ValueError('no such thing')"


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[object]:
    """A function that supervises two programs in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def start(first: str, second: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SUPERVISE, str(tmp_path / "log"), first, second]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        for pid in [*descendants(process.pid), process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(supervise, sig: signal.Signals) -> None:
    process = supervise(SLEEPER, PARENT)
    wait_until(lambda: len(descendants(process.pid)) == 3)
    children = descendants(process.pid)
    process.send_signal(sig)
    assert process.communicate(timeout=PATIENCE_S)[0].split() == ["up", "down"]
    assert not any(alive(pid) for pid in children)


def test_nothing_outlives_a_supervisor_killed_by_9(supervise) -> None:
    process = supervise(SLEEPER, SLEEPER)
    wait_until(lambda: len(descendants(process.pid)) == 2)
    children = descendants(process.pid)
    process.kill()
    wait_until(lambda: not any(alive(pid) for pid in children))


def test_a_child_that_was_still_loading_when_its_parent_was_killed_by_9_ends_too() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TIES_ITSELF_LATE], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S
    )
    assert (ran.returncode, ran.stdout) == (-signal.SIGKILL, "")  # the output ends when the child has ended


def test_who_does_not_listen_is_killed(supervise) -> None:
    process = supervise(SLEEPER, DEAF)
    wait_until(lambda: "deaf" in log_of(process))
    children = descendants(process.pid)
    process.terminate()
    assert "second does not end by itself" in process.communicate(timeout=PATIENCE_S)[0]
    assert not any(alive(pid) for pid in children)


def test_a_child_that_was_killed_starts_again_and_its_own_children_end(supervise) -> None:
    process = supervise(SLEEPER, PARENT)
    wait_until(lambda: len(descendants(process.pid)) == 3)
    parent, child = next((pid, below) for pid in descendants(process.pid) for below in descendants(pid))
    os.kill(parent, signal.SIGKILL)
    wait_until(lambda: not alive(child))
    wait_until(lambda: len(descendants(process.pid)) == 3 and parent not in descendants(process.pid))
    process.terminate()
    assert "second was ended by signal 9; it starts again in 0.5 s." in process.communicate(timeout=PATIENCE_S)[0]


def test_an_error_reaches_the_terminal_and_everything_the_log(supervise) -> None:
    process = supervise(SLEEPER, "print('just so'); " + FAILING)
    wait_until(lambda: "no such thing" in log_of(process))
    process.terminate()
    said = process.communicate(timeout=PATIENCE_S)[0]
    assert "second: ValueError: no such thing" in said
    assert "just so" not in said
    assert "second    just so" in log_of(process)


def test_a_burst_of_tracebacks_is_one_line_at_the_terminal_and_whole_in_the_log(supervise) -> None:
    noisy = "import logging, time; logging.basicConfig()\nfor n in range(20):\n try: 1 / 0\n except ZeroDivisionError: "
    process = supervise(SLEEPER, f"{noisy}logging.exception('broken %d', n)\nprint('done'); time.sleep(600)")
    wait_until(lambda: "done" in log_of(process))
    process.terminate()
    said = process.communicate(timeout=PATIENCE_S)[0].splitlines()
    assert said == ["up", "second: ERROR:root:broken 0 (all of it is in the log)", "down"]
    assert log_of(process).count("Traceback") == 20


def test_a_part_that_cannot_start_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    script = SUPERVISE.replace("supervisor.started()", "")
    command = [sys.executable, "-c", script, str(tmp_path / "log"), SLEEPER, FAILING]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert "second ended with status 1. Its last words:" in done.stdout
    assert "ValueError: no such thing" in done.stdout
    assert done.stdout.rstrip().endswith("down")


def log_of(process: subprocess.Popen[str]) -> str:
    log = Path(process.args[3])  # type: ignore[index, arg-type]
    return log.read_text() if log.exists() else ""
