"""What each process gets: folders, ports, secrets and the variables of its environment."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
FIRST_PORT = 8800
LAST_PORT = 8899
LEFTOVER_GRACE_S = 3.0
MARK = "WHATSAPP_LOGS_STARTED_FROM"  # In the environment of every child: whose it is.
SIMULATOR_DECIDES = ("TWILIO_API_BASE_URL", "TWILIO_WHATSAPP_FROM", "TWILIO_TEMPLATE_", "PUBLIC_BASE_URL")
SIMULATED_SENDER = "whatsapp:+447700900000"  # A number reserved for fiction.
_reservations: list[socket.socket] = []


class CannotStart(Exception):
    """Something that only a person can change; the message says what."""


@dataclass(frozen=True)
class Ports:
    """Where the page and, unless Twilio is real, the simulator listen."""

    web: int
    simulator: int


@dataclass(frozen=True)
class Place:
    """One installation: its settings as given, and its folder for everything that it writes."""

    given: Mapping[str, str]
    data_dir: Path

    @classmethod
    def from_env(cls, given: Mapping[str, str]) -> Place:
        """Make the folder; CannotStart when somebody else owns it."""
        data_dir = (ROOT / (given.get("DATA_DIR") or ".data")).resolve()
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise CannotStart(
                f"{data_dir} cannot be made: {problem.strerror}. Choose another by DATA_DIR."
            ) from problem
        if not os.access(data_dir, os.W_OK | os.X_OK):
            raise CannotStart(f"{data_dir} belongs to another user. Run as that user, or choose another by DATA_DIR.")
        return cls(given, data_dir)

    @property
    def own_database(self) -> bool:
        return not self.given.get("DATABASE_URL")

    @property
    def simulated(self) -> bool:
        return not (self.given.get("TWILIO_ACCOUNT_SID") or self.given.get("TWILIO_AUTH_TOKEN"))

    @property
    def is_demo(self) -> bool:
        """Whether nothing here is real: an invented office, whose printed sign-ins have no phone, and no real message."""
        return self.own_database and self.simulated

    @property
    def log(self) -> Path:
        return self.data_dir / "log" / "portal.log"

    def environment(self, ports: Ports, *, database_url: str, keep: bool = True) -> dict[str, str]:
        """The variables of every process: those given, and ours for what was left open.

        `keep` False writes nothing down: secrets that are not there yet are made up for this once.
        """
        kept = self._secrets(keep=keep)
        url = f"http://{HOST}:{ports.web}"
        ours = {
            "SECRET_KEY": kept["secret_key"],
            "DATABASE_URL": database_url,
            "PUBLIC_BASE_URL": url,
            "RECORDS": "portal.records:make",
            "OFFICE_HOURS": "Mon-Fri 08:30-18:00",
            "PORT": str(ports.web),
            "DATA_DIR": str(self.data_dir),
            "PYTHONUNBUFFERED": "1",
            "WORKER_EXTRA": "portal.worker:register",
        }
        if self.is_demo:
            ours["REQUIRE_SECOND_FACTOR"] = "nobody"
        given = {name: value for name, value in self.given.items() if value.strip()}
        if self.simulated:  # It knows its own account and templates only.
            given = {name: value for name, value in given.items() if not name.startswith(SIMULATOR_DECIDES)}
            ours |= {
                "TWILIO_ACCOUNT_SID": kept["simulator_account_sid"],
                "TWILIO_AUTH_TOKEN": kept["simulator_auth_token"],
                **_simulator_settings(ports),
            }
        given.pop("MIGRATION_DATABASE_URL", None)  # for whoever migrates; the portal itself has no business with it
        return {**ours, **given, "PORT": str(ports.web), "DATA_DIR": str(self.data_dir)}

    def _secrets(self, *, keep: bool) -> dict[str, str]:
        """Return what is made up once and kept, so that nobody is signed out by a restart."""
        file = self.data_dir / "secrets.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            found = json.loads(file.read_text())
            if isinstance(found, dict):
                return found
        made = {
            "secret_key": secrets.token_hex(32),
            "simulator_account_sid": "AC" + secrets.token_hex(16),
            "simulator_auth_token": secrets.token_hex(16),
        }
        if not keep:
            return made
        draft = file.with_suffix(f".{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as open_file:
            json.dump(made, open_file)
        draft.replace(file)  # At once: never half a file.
        return made


@contextlib.contextmanager
def only_one(place: Place) -> Iterator[None]:
    """Hold the installation; CannotStart names the address of who holds it already."""
    with (place.data_dir / "running.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ports = _read_ports(place)
            where = f"at http://{HOST}:{ports.web}" if ports else "just starting"
            raise CannotStart(
                f"The portal of {place.data_dir} runs already, {where}.\n"
                "For a second one beside it choose another folder and port: DATA_DIR=.data2 PORT=8810 ./run"
            ) from None
        _end_leftovers(place)
        try:
            yield
        finally:
            _ports_file(place).unlink(missing_ok=True)


def running_ports(place: Place) -> Ports | None:
    """Return the ports of the portal that runs on this installation, if one does."""
    try:
        with (place.data_dir / "running.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return _read_ports(place)
    return None  # A file that nobody holds is left from a kill -9.


def note_ports(place: Place, ports: Ports) -> None:
    """Write down where we listen, for `only_one` and `running_ports` of other processes."""
    draft = _ports_file(place).with_suffix(".new")
    draft.write_text(json.dumps({"web": ports.web, "simulator": ports.simulator}))
    draft.replace(_ports_file(place))


def choose_ports(place: Place) -> Ports:
    """Return the ports asked for, or the first free ones; CannotStart when the one asked for is taken."""
    web = _asked_port(place, "PORT") or _free_port(FIRST_PORT)
    simulator = _asked_port(place, "SIMULATOR_PORT") if place.simulated else None
    return Ports(web, simulator or _free_port(web + 1))


def port_problems(place: Place) -> list[str]:
    """What is wrong with the ports as they are written; whether they are free is for `choose_ports` to see."""
    names = ("PORT", "SIMULATOR_PORT") if place.simulated else ("PORT",)
    written = ((name, (place.given.get(name) or "").strip()) for name in names)
    return [problem for name, text in written if text and (problem := _number_problem(name, text))]


def _number_problem(name: str, text: str) -> str | None:
    is_port = text.isascii() and text.isdigit() and 0 < int(text) < 65536
    return None if is_port else f"{name} is {text!r}: write a number from 1 to 65535."


def _asked_port(place: Place, name: str) -> int | None:
    text = (place.given.get(name) or "").strip()
    if not text:
        return None
    if problem := _number_problem(name, text):
        raise CannotStart(problem)
    if problem := _port_problem(int(text)):
        raise CannotStart(f"{name} {text} cannot be used: {problem}. Choose another: {name}={int(text) + 1} ./run")
    return int(text)


def _free_port(first: int) -> int:
    for port in range(first, max(LAST_PORT, first + 20)):
        if not _port_problem(port):
            return port
    raise CannotStart(f"No free port from {first} on. Name one: PORT=9000 ./run")


def _port_problem(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as problem:
            known = {errno.EADDRINUSE: "another program listens there", errno.EACCES: "only root may use it"}
            return known.get(problem.errno or 0, str(problem.strerror))
    return None if _reserve(port) else "another portal is just starting there"


def _reserve(port: int) -> bool:
    """Keep other starts of ours from choosing `port` before its server listens; the kernel forgets it with this process."""
    if not sys.platform.startswith("linux"):
        return True
    reservation = socket.socket(socket.AF_UNIX)
    try:
        reservation.bind(f"\0whatsapp-logs-port-{port}")  # A name without a file.
    except OSError:
        reservation.close()
        return False
    _reservations.append(reservation)
    return True


def _ports_file(place: Place) -> Path:
    return place.data_dir / "running.json"


def _read_ports(place: Place) -> Ports | None:
    try:
        return Ports(**json.loads(_ports_file(place).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _simulator_settings(ports: Ports) -> dict[str, str]:
    from whatsapp_logs.links import INBOUND_PATH  # Here: with the simulator they take a tenth of a second to import.
    from whatsapp_logs.twilio.simulator import templates

    return {
        "TWILIO_API_BASE_URL": f"http://{HOST}:{ports.simulator}",
        "TWILIO_WHATSAPP_FROM": SIMULATED_SENDER,
        "SIMULATOR_INBOUND_URL": f"http://{HOST}:{ports.web}{INBOUND_PATH}",
        "TWILIO_TEMPLATE_POLICY_DOCUMENT": templates.POLICY_DOCUMENT_BY_PATH,
        "TWILIO_TEMPLATE_RENEWAL_REMINDER": templates.RENEWAL_REMINDER,
        "TWILIO_TEMPLATE_RENEWAL_REMINDER_DOCUMENT": templates.RENEWAL_REMINDER_DOCUMENT_BY_PATH,
        "TWILIO_TEMPLATE_GENERAL_NOTICE": templates.GENERAL_NOTICE,
    }


def _end_leftovers(place: Place) -> None:
    """End what an earlier start left behind because it was killed: first asked, then killed."""
    began = time.monotonic()
    while left := _marked(place):
        sig = signal.SIGTERM if time.monotonic() < began + LEFTOVER_GRACE_S else signal.SIGKILL
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        time.sleep(0.05)


def _marked(place: Place) -> list[int]:
    mark = f"{MARK}={place.data_dir}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # Somebody else's, or ended meanwhile; a zombie has no environment.
            if mark in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found
