"""A PostgreSQL server of our own: started with the portal, ended with it, reached through a private Unix socket."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from portal.start.binaries import (
    Account,
    Binaries,
    PostgresUnavailable,
    account_for_postgres,
    can_enter,
    find_binaries,
    inspect,
    prepare_binaries,
    shared_folder,
)
from portal.start.lifeline import end_with_parent

__all__ = ["PostgresUnavailable", "Server"]

START_TIMEOUT_S = 60.0  # Recovery after a crash comes before the first connection.
POLL_S = 0.01
LOG_BYTES_KEPT = 5_000_000
LONGEST_SOCKET_FOLDER = 90  # The kernel takes 107 bytes for folder and file name together.
SUPERUSER = "postgres"
APP_ROLE = "portal_app"
ASK_FOR_TLS = bytes.fromhex("0000000804d2162f")  # The protocol's SSLRequest: eight bytes, answered by one.
SOCKET = ".s.PGSQL.5432"
BASE_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",  # DETAIL lines quote rows, and rows hold phone numbers.
    "log_min_error_statement": "panic",
}


class Server:
    """A server on `data_dir`: the one already running there, or a new child of this process.

    `settings` are PostgreSQL's own names. `binaries` is a folder with `initdb` and `postgres`; without it they are
    found. A new server ends when this process does, however that happens. Start it from the main thread (see lifeline).
    """

    def __init__(
        self, data_dir: Path, *, settings: Mapping[str, str] | None = None, binaries: Path | None = None
    ) -> None:
        self._settings = {**BASE_SETTINGS, **(settings or {})}
        self._chosen = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._account = account_for_postgres()
        self.home = _home(data_dir, self._account)
        self._data = self.home / "data"
        self._socket = _socket_folder(self.home)
        self.log = self.home / "postgres.log"

    @property
    def dsn(self) -> str:
        """The address of the server's own database `postgres`, for psycopg and libpq."""
        return f"postgresql://{SUPERUSER}@/postgres?host={quote(str(self._socket), safe='')}"

    @property
    def app_dsn(self) -> str:
        """The same for the running portal: a role that owns nothing, made and granted by `portal.start.prepare`."""
        return self.dsn.replace(f"//{SUPERUSER}@", f"//{APP_ROLE}@", 1)

    @property
    def has_data(self) -> bool:
        """Whether the database has been made already."""
        return self._data.exists()

    def start(self) -> str:
        """Return the DSN of a server that takes connections, whatever an earlier one left behind."""
        _make_home(self.home, self._account)
        if self._process is not None and self._process.poll() is not None:
            self._process = None  # It ended; perhaps somebody else has started another meanwhile.
        with _locked(self.home / "start.lock"):
            if not self._join_running():
                self._end_orphans()
                binaries = self._binaries()
                if not self._data.exists():
                    self._initialise(binaries)
                self._spawn(binaries)
        return self.dsn

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End the server if this object started it: connections are closed, transactions under way are undone."""
        process, self._process = self._process, None
        if process is None:
            return
        for wish in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(wish)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout_s)

    def running(self) -> bool:
        """Tell whether the server answers; a zombie, a recycled process id or a server about to end does not.

        Connecting alone proves nothing: the kernel accepts for a server that has not yet noticed the signal to stop.
        Asking for TLS makes the server itself answer, after it has dealt with its signals and written its state down.
        """
        if self._process is not None and self._process.poll() is not None:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            try:
                probe.connect(str(self._socket / SOCKET))
                probe.sendall(ASK_FOR_TLS)
                answer = probe.recv(1)
            except OSError:
                return False
        return answer in (b"N", b"S") and self._pid_file()[1] == "ready"

    def ended(self) -> bool:
        """Tell, without asking the server, whether it is gone: cheap enough for every turn of a loop."""
        if self._process is not None:
            return self._process.poll() is not None
        return self.pid is None or not _is_postmaster(self.pid, self._data)

    @property
    def pid(self) -> int | None:
        """The postmaster's process id as its own file states it, alive or not."""
        return self._pid_file()[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _join_running(self) -> bool:
        """Wait for a postmaster that is starting or stopping, and tell whether one takes connections in the end."""
        pid, _ = self._pid_file()
        if pid is None:
            return False
        deadline = time.monotonic() + START_TIMEOUT_S
        while _is_postmaster(pid, self._data):
            if self.running():
                return True
            if time.monotonic() > deadline:
                raise PostgresUnavailable(f"PostgreSQL (process {pid}) neither answers nor ends; see {self.log}.")
            time.sleep(POLL_S)
        return False

    def _end_orphans(self) -> None:
        """Clear what a postmaster killed with -9 left: its other processes, which hold the memory, and its files.

        PostgreSQL refuses to start while the old memory is in use, or while the process id in a file is anybody's.
        """
        deadline = time.monotonic() + 10.0
        sig = signal.SIGQUIT
        while orphans := _processes_in(self._data):
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sig)
            sig = signal.SIGKILL if time.monotonic() > deadline - 5 else signal.SIGQUIT
            if time.monotonic() > deadline:
                raise PostgresUnavailable(f"Processes {orphans} of an earlier PostgreSQL do not end.")
            time.sleep(0.05)
        for left in (self._data / "postmaster.pid", self._socket / f"{SOCKET}.lock", self._socket / SOCKET):
            left.unlink(missing_ok=True)

    def _binaries(self) -> Binaries:
        version = self._data / "PG_VERSION"
        major = int(version.read_text()) if version.exists() else None
        found = inspect(self._chosen) if self._chosen else find_binaries(major=major)
        if found is None:
            raise PostgresUnavailable(f"{self._chosen} does not hold a PostgreSQL 15 or newer.")
        return prepare_binaries(found, self._account)

    def _initialise(self, binaries: Binaries) -> None:
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)  # An interrupted attempt.
        self._private_folder(fresh)
        command: list[str | Path] = [binaries.bin / "initdb", "-D", fresh, "-U", SUPERUSER, "--encoding=UTF8"]
        command += ["--auth-local=trust", "--auth-host=reject", "--locale=C", "--no-instructions"]
        if binaries.major >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        elif _has_locale("C.UTF-8"):
            command += ["--lc-ctype=C.UTF-8"]
        if self._settings.get("fsync") == "off":
            command += ["--no-sync"]
        done = subprocess.run(command, capture_output=True, text=True, **self._as_account())
        if done.returncode != 0:
            raise PostgresUnavailable(f"PostgreSQL could not create its data folder: {done.stderr.strip()}")
        fresh.rename(self._data)

    def _spawn(self, binaries: Binaries) -> None:
        self._private_folder(self._socket)
        settings = {**self._settings, "unix_socket_directories": str(self._socket), "port": "5432"}
        command: list[str | Path] = [binaries.bin / "postgres", "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_KEPT:
            self.log.unlink()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C in the terminal is for the supervisor, which ends the database last.
                preexec_fn=end_with_parent(signal.SIGINT),
                **self._as_account(),
            )
        self._await_ready(self._process)

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (self._pid_file() == (process.pid, "ready") and self.running()):
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                last = self.log.read_text(errors="replace").strip().splitlines()[-5:]
                raise PostgresUnavailable("PostgreSQL did not start:\n  " + "\n  ".join(last))
            time.sleep(POLL_S)

    def _pid_file(self) -> tuple[int | None, str]:
        """Return the postmaster's process id and its state as it writes them: starting, ready or stopping."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]), lines[7].strip() if len(lines) > 7 else "starting"
        except (OSError, ValueError, IndexError):
            return None, ""

    def _private_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        owner = self._account.uid if self._account else os.geteuid()
        if folder.is_symlink() or state.st_uid not in (owner, os.geteuid()):
            raise PostgresUnavailable(f"{folder} belongs to somebody else; remove it or choose another DATA_DIR.")
        if self._account and state.st_uid != owner:
            os.chown(folder, self._account.uid, self._account.gid)
        folder.chmod(0o700)

    def _as_account(self) -> dict[str, Any]:
        """Return the Popen arguments that run a program as PostgreSQL's account, with nothing of our environment."""
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
        arguments: dict[str, Any] = {"env": {**kept, "LC_ALL": "C", "TZ": "UTC"}, "cwd": "/", "umask": 0o077}
        if self._account:
            arguments |= {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        return arguments


def _home(data_dir: Path, account: Account | None) -> Path:
    """Return `data_dir`, or a folder of the machine named after it when PostgreSQL's account cannot get there."""
    wanted = data_dir.resolve()
    _make_home(wanted, account)
    if can_enter(wanted, account):
        return wanted
    return shared_folder() / f"database-{hashlib.sha256(str(wanted).encode()).hexdigest()[:12]}"


def _make_home(home: Path, account: Account | None) -> None:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711 if account else 0o700)  # To pass through, not to list; what is inside is closed to all others.


def _socket_folder(home: Path) -> Path:
    folder = home / "socket"
    if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER:
        return folder
    key = hashlib.sha256(str(home).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"whatsapp-logs-{os.geteuid()}-{key}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_postmaster(pid: int, data: Path) -> bool:
    """Tell whether `pid` is alive and really the server of `data`, which is every server's working folder."""
    if Path("/proc/self/cwd").exists():
        return _process_in(pid, data)
    stat = subprocess.run(["ps", "-o", "stat=,comm=", "-p", str(pid)], capture_output=True, text=True).stdout
    return "postgres" in stat and not stat.startswith("Z")


def _processes_in(data: Path) -> list[int]:
    """Return the processes that work in `data`; a zombie has no working folder and is none of them."""
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _process_in(int(entry.name), data)]


def _process_in(pid: int, data: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(data) and "postgres" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:  # Ended meanwhile, or somebody else's.
        return False


def _has_locale(name: str) -> bool:
    listed = subprocess.run(["locale", "-a"], capture_output=True, text=True) if shutil.which("locale") else None
    return listed is not None and name.lower().replace("-", "") in listed.stdout.lower().replace("-", "")
