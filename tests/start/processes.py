"""Look at processes from outside."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# How long a test waits for what is going to happen: on a machine that stands still for a while, and never where all is well.
PATIENCE_S = 120.0


@contextlib.contextmanager
def data_folder() -> Iterator[Path]:
    """A folder for a portal's DATA_DIR that goes away with everything in it.

    Root's PostgreSQL runs as nobody: in pytest's own folder, closed to all others, its data would move to /var/lib.
    """
    with tempfile.TemporaryDirectory(prefix="portal-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def alive(pid: int) -> bool:
    """Tell whether `pid` is a process that still does something: a zombie is not."""
    state = _stat(pid)
    return state is not None and state[0] != "Z"


def descendants(pid: int) -> list[int]:
    """Return the living processes below `pid`."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        state = _stat(int(entry.name))
        if state and state[0] != "Z":
            parents[int(entry.name)] = int(state[1])
    found, before = {pid}, 0
    while len(found) != before:
        before = len(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return sorted(found - {pid})


def working_below(folder: Path) -> list[int]:
    """Return the processes whose working folder is `folder` or below it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], *, timeout_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition()` is true; fail when it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time"
        time.sleep(0.02)


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def command_of(pid: int) -> str:
    """Return the command line of `pid`, words separated by blanks."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
