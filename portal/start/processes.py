"""Child processes that live and end together: started, listened to, restarted, stopped in order."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from portal.start.lifeline import end_with_parent

LONGEST_PAUSE_S = 30.0
STEADY_AFTER_S = 60.0  # Who has run this long has earned a quick restart.
TICK_S = 0.05
LOG_BYTES_KEPT = 10_000_000
ALARMING = re.compile(r"\b(ERROR|CRITICAL|FATAL|PANIC)\b")
BURST_S = 10.0  # One cause makes many lines, a traceback for every request: the terminal shows the first, the log all.


class StartFailed(Exception):
    """A part ended before everything was up; the message holds its last words."""


@dataclass
class Child:
    """One program with everything it starts itself, which is its process group."""

    name: str
    command: Sequence[str]
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    restart_at: float | None = None
    last_lines: list[str] = field(default_factory=list)
    _rest: bytes = b""
    _in_traceback: bool = False
    _quiet_until: float = 0.0

    def start(self) -> IO[bytes]:
        """Start the program and return its output."""
        self.process = subprocess.Popen(
            self.command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C in the terminal reaches the supervisor alone, which then stops all in order.
            # Without its supervisor and its database a part cannot end in order; a worker even waits for ever.
            preexec_fn=end_with_parent(signal.SIGKILL),
        )
        self.started_at, self.restart_at = time.monotonic(), None
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        return self.process.stdout

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, sig: signal.Signals) -> None:
        """Send `sig` to the program, SIGKILL to all of its group: a dead program's own children end too."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sig is signal.SIGKILL:
                os.killpg(self.process.pid, sig)
            elif self.alive:
                self.process.send_signal(sig)

    def read(self, data: bytes) -> list[tuple[str, bool]]:
        """Return the whole lines in `data`, each with whether a person should see it: the first of a burst of errors."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = []
        for raw in whole:
            line = raw.decode(errors="replace").rstrip()
            lines.append((line, self._is_error(line) and self._breaks_silence()))
        self.last_lines = [*self.last_lines, *(line for line, _ in lines)][-12:]
        return lines

    def _is_error(self, line: str) -> bool:
        """An alarming line, or the one that names the error: a traceback is indented and ends with one line that is not."""
        names_it = self._in_traceback and bool(line) and not line.startswith((" ", "\t"))
        self._in_traceback = line.startswith("Traceback ") or (self._in_traceback and not names_it)
        return names_it or bool(ALARMING.search(line))

    def _breaks_silence(self) -> bool:
        now = time.monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + BURST_S
        return True


class Supervisor:
    """Keeps children running until a signal asks to stop. One thread, so that it may start processes safely.

    `tell` says something to the person at the terminal; everything else goes to `log`, a line per line of output.
    """

    def __init__(self, log: Path, *, tell: Callable[[str], None]) -> None:
        self.stop_wishes = 0
        self._tell = tell
        self._children: list[Child] = []
        self._checks: list[Callable[[], None]] = []
        self._selector = selectors.DefaultSelector()
        self._starting = True
        _rotate(log)
        self._log = log.open("a", buffering=1, encoding="utf-8")
        self._listen_to_signals()

    def add(self, child: Child) -> Child:
        """Start `child` and keep it running from now on."""
        self._children.append(child)
        self._start(child)
        return child

    def check_often(self, check: Callable[[], None]) -> None:
        """Call `check` at every turn: it must be quick."""
        self._checks.append(check)

    def complete(self, child: Child) -> None:
        """Run `child` to its end; StartFailed with what it said when it fails."""
        self._start(child)
        self.run(until=lambda: not child.alive)
        self._drain(child)
        if not self.stop_wishes and child.process and child.process.returncode:
            raise StartFailed("\n".join(child.last_lines) or _last_words(child))

    def run(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Serve the children until `until()` is true or somebody wants to stop."""
        while not self.stop_wishes and not until():
            self._turn()

    def started(self) -> None:
        """From now on a child that ends is started again; before, it ends the start."""
        self._starting = False

    def stop(self, *, grace_s: float = 8.0) -> None:
        """End the children, the last first; kill who does not end in time, or at once when asked a second time."""
        wishes = self.stop_wishes
        for child in reversed(self._children):
            child.signal(signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            while child.alive and time.monotonic() < deadline and self.stop_wishes == wishes:
                self._listen()
            if child.alive:
                self._tell(f"{child.name} does not end by itself and is killed.")
            child.signal(signal.SIGKILL)
            if child.process:
                child.process.wait()
        self._children.clear()

    def _turn(self) -> None:
        self._listen()
        for check in self._checks:
            check()
        now = time.monotonic()
        for child in self._children:
            if child.restart_at is not None:
                if now >= child.restart_at:
                    self._start(child)
            elif not child.alive:
                self._ended(child, now)

    def _ended(self, child: Child, now: float) -> None:
        child.signal(signal.SIGKILL)  # What it started itself must not go on without it.
        if self._starting:
            self._drain(child)
            raise StartFailed(_last_words(child))
        child.failures = 0 if now - child.started_at > STEADY_AFTER_S else child.failures + 1
        pause_s = min(LONGEST_PAUSE_S, 0.25 * 2**child.failures)
        child.restart_at = now + pause_s
        self._tell(f"{_how_it_ended(child)}; it starts again in {pause_s:g} s.")

    def _start(self, child: Child) -> None:
        self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _listen(self) -> None:
        for key, _ in self._selector.select(timeout=TICK_S):
            if isinstance(key.data, Child):
                self._take(key.data, key.fileobj)  # type: ignore[arg-type]
            else:
                self._wake.recv(4096)

    def _take(self, child: Child, output: IO[bytes]) -> bool:
        """Write down what `child` has said, and tell whether it said anything."""
        data = output.read(65536)
        if data == b"":
            self._selector.unregister(output)
            output.close()
        for line, alarming in child.read(data or b""):
            with contextlib.suppress(OSError):  # A full disk must not stop the portal.
                self._log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}Z {child.name:<9} {line}\n")
            if alarming:
                self._tell(f"{child.name}: {line} (all of it is in the log)")
        return bool(data)

    def _drain(self, child: Child) -> None:
        output = child.process.stdout if child.process else None
        while output is not None and not output.closed and self._take(child, output):
            pass

    def _listen_to_signals(self) -> None:
        self._wake, wakes = socket.socketpair()
        wakes.setblocking(False)
        self._wakes = wakes
        signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, self._note_wish)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Only to wake up.

    def _note_wish(self, *_: object) -> None:
        self.stop_wishes += 1


def _how_it_ended(child: Child) -> str:
    code = child.process.returncode if child.process else 0
    return f"{child.name} was ended by signal {-code}" if code < 0 else f"{child.name} ended with status {code}"


def _last_words(child: Child) -> str:
    return "\n".join([f"{_how_it_ended(child)}. Its last words:", *(f"  {line}" for line in child.last_lines)])


def _rotate(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES_KEPT:
        log.replace(log.with_suffix(".log.1"))
