"""The whole product in real processes that may be killed at any moment, and a Twilio that misbehaves on command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import requests

from portal.start.environment import HOST, ROOT, Place, choose_ports
from portal.start.everything import web_command
from portal.start.lifeline import end_with_parent
from portal.start.postgres import Server
from tests.faults.schedule import Fault, Wish
from tests.start.processes import descendants
from whatsapp_logs import WhatsAppService

TURN_S = 0.02
RESTART_PAUSE_S = 0.2
READY_TIMEOUT_S = 60.0
PROVIDER_TIMEOUT_S = 1  # short, so that a Twilio that hangs is met often
WEB_PROCESSES, WORKERS = 2, 2
# Twilio's everyday: a quarter of the callbacks never comes, others come late, twice or in another order.
CALLBACKS = {"drop_rate": 0.25, "double_rate": 0.15, "reorder_rate": 0.3, "delay_s": [0.0, 2.0]}


@dataclass
class Part:
    """One process of the product, started again whenever it has ended."""

    name: str
    command: Sequence[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restart_at: float = 0.0
    killed: bool = False
    ended_itself: int = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Outage:
    """One death of PostgreSQL: when it was killed and when it took connections again (seconds since the epoch)."""

    killed_at: float
    ready_at: float


@dataclass
class Bench:
    """PostgreSQL (which writes to the disk as in earnest), web server, workers, simulator: all below `folder`.

    Everything is started from the thread that made the bench, because a child is tied to the thread that starts it.
    """

    folder: Path
    seed: int
    pace: float = 0.1
    tried: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server = Server(self.folder / "postgres")
        self.ledger_file = self.folder / "simulator.sqlite"
        self._place = Place.from_env({"DATA_DIR": str(self.folder), "TWILIO_TIMEOUT_S": str(PROVIDER_TIMEOUT_S)})
        self._ports = choose_ports(self._place)
        self._twilio_well_at: float | None = None
        self._database_killed_at: float | None = None

    # -- from nothing to running and back ----------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.env = inherited | self._place.environment(self._ports, database_url=self.server.start())
        # A few numbers get thousands of messages, faster than an office sends them.
        self.env |= {"GATE_OFF": "window,duplicate,frequency", "SENDER_RATE": "1000"}
        # One person asks and sends for a whole office.
        self.env |= {"PERSON_CALLS_PER_MINUTE": "1000000", "PERSON_CHANGES_PER_MINUTE": "1000000"}
        python = [sys.executable, "-m"]
        simulator = [*python, "whatsapp_logs.twilio.simulator", "--port", str(self._ports.simulator)]
        simulator += ["--state", str(self.ledger_file), "--pace", str(self.pace), "--seed", str(self.seed)]
        self.add("simulator", simulator)
        prepare = [*python, "portal.start.prepare", "--demo"]
        subprocess.run(prepare, cwd=ROOT, env=self.env, check=True, stdout=subprocess.DEVNULL)
        self.add("web", several_web_processes(web_command(self._ports)))
        for number in range(WORKERS):
            self.add(f"worker {number + 1}", [*python, "whatsapp_logs", "worker"])
        self.run_until(self.answers, timeout_s=READY_TIMEOUT_S, what="the portal to answer")
        self.simulate(**CALLBACKS, enforce_window=False)

    def stop(self) -> None:
        """Kill what is left; the folder is the caller's."""
        for part in self.parts.values():
            _end(part)
        self.server.stop()

    def add(self, name: str, command: Sequence[str]) -> Part:
        """Start a process that belongs to the bench and is started again when it ends."""
        log = self.folder / f"{name.replace(' ', '-')}.log"
        part = self.parts[name] = Part(name, command, log)
        self._spawn(part)
        return part

    def end(self, name: str) -> None:
        """End a process for good."""
        _end(self.parts.pop(name))

    def _spawn(self, part: Part) -> None:
        with part.log.open("ab") as log:
            part.process = subprocess.Popen(
                part.command,
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=end_with_parent(signal.SIGKILL),
            )
        part.restart_at, part.killed = 0.0, False

    # -- keeping it alive --------------------------------------------------------------------------

    def turn(self) -> None:
        """Start again what has ended, end Twilio's fault when its time is over, and wait a moment."""
        now = time.monotonic()
        if self.server.ended():
            self.server.start()
            self.outages.append(Outage(self._database_killed_at or time.time(), time.time()))
        if self._twilio_well_at is not None and now >= self._twilio_well_at:
            self.heal_twilio()
        for part in self.parts.values():
            if part.alive:
                continue
            if not part.restart_at:
                part.restart_at = now + RESTART_PAUSE_S
                part.ended_itself += not part.killed
            elif now >= part.restart_at:
                self._spawn(part)
        time.sleep(TURN_S)

    def run_until(self, condition: Callable[[], bool], *, timeout_s: float, what: str = "") -> bool:
        """Keep everything running until the condition holds; whether it did in time (an error where `what` names it)."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                if what:
                    raise TimeoutError(f"{what}: not within {timeout_s:g} s")
                return False
            self.turn()
        return True

    def run_for(self, seconds: float) -> None:
        """Keep everything running for a while."""
        self.run_until(lambda: False, timeout_s=seconds)

    def answers(self) -> bool:
        """Whether the portal is well and all workers are alive."""
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.env['PUBLIC_BASE_URL']}/health", timeout=5).status_code == 200
        return False

    # -- what goes wrong ---------------------------------------------------------------------------

    def commit(self, fault: Fault, *, chance: Callable[[Sequence[int]], int]) -> None:
        """Have one thing go wrong now; `chance` picks one of several processes."""
        self.tried[fault.kind] += 1
        match fault.kind.split(": "):
            case ["kill a worker"]:
                self._kill(f"worker {chance(range(1, WORKERS + 1))}")
            case ["kill the web server"]:
                self._kill("web")
            case ["kill the asker"]:
                self._kill("asker")
            case ["kill a web process"]:
                if (web := self.parts["web"]).process and (below := descendants(web.process.pid)):
                    _kill_9(chance(below))
            case ["kill PostgreSQL"]:
                if self.server.pid is not None:
                    self._database_killed_at = time.time()
                    _kill_9(self.server.pid)
            case ["Twilio away"]:
                self._control("away", {"seconds": fault.lasts_s})
            case [call, answer]:
                self.simulate(**{f"{call}_error": answer, f"{call}_error_rate": fault.rate})
                self._twilio_well_at = time.monotonic() + fault.lasts_s
            case _:
                raise ValueError(fault.kind)

    def heal_twilio(self) -> None:
        """Twilio answers properly again; its callbacks stay as unreliable as they were."""
        if self.simulate(create_error=None, read_error=None):
            self._twilio_well_at = None

    def simulate(self, **settings: object) -> bool:
        """Change the simulator's settings; False while it is away."""
        return self._control("settings", settings)

    def _control(self, path: str, values: dict[str, object]) -> bool:
        try:
            url = f"http://{HOST}:{self._ports.simulator}/_simulator/{path}"
            requests.post(url, json=values, timeout=10).raise_for_status()
        except requests.ConnectionError:  # "Twilio away" takes its control addresses along
            return False
        return True

    def _kill(self, name: str) -> None:
        part = self.parts.get(name)
        if part is not None and part.process is not None and part.alive:
            part.killed = True
            with contextlib.suppress(ProcessLookupError):
                part.process.kill()

    # -- asking and looking ------------------------------------------------------------------------

    def ask_for(self, wishes: Sequence[Wish], *, rate: float) -> Path:
        """Start the asker; returns the file in which it counts what was acknowledged."""
        plan, progress = self.folder / "wishes.json", self.folder / "asked"
        plan.write_text(json.dumps([asdict(wish) for wish in wishes]))
        self.add("asker", [sys.executable, "-m", "tests.faults.asker", str(plan), str(progress), str(rate)])
        return progress

    @contextlib.contextmanager
    def service(self) -> Iterator[WhatsAppService]:
        """The product's own service, in this process."""
        service = WhatsAppService.from_env(self.env)
        try:
            yield service
        finally:
            service.close()

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the bench's own, for looking."""
        return psycopg.connect(self.server.dsn, autocommit=True)


def several_web_processes(command: list[str]) -> list[str]:
    """The portal's own command with more processes, of which granian replaces one that dies instead of ending all."""
    command[command.index("--workers") + 1] = str(WEB_PROCESSES)
    return [*command[:-1], "--respawn-failed-workers", "--respawn-interval", "0.1", command[-1]]


def _end(part: Part) -> None:
    if part.process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.process.pid, signal.SIGKILL)  # what it started itself ends with it
        part.process.wait()


def _kill_9(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
