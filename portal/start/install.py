"""Put the pinned dependencies into .venv: `python3 portal/start/install.py portal|dev CHECKSUM`, as `./run` calls it.

`python3 portal/start/install.py pins` instead writes requirements/*.txt anew from requirements/*.in (`make pins`).
Runs before anything is installed, so it uses the standard library alone and imports nothing of this project.
Two at once wait for each other; an interrupted one is finished by the next.
"""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"

# pip's settings that uv does not read, and the variables in which it takes the same.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
SEPARATED_BY_COMMA = {"find-links"}
# Places that hold some files of some packages: fine to install from, but pins would lose the other platforms' hashes.
INCOMPLETE = ("extra-index-url", "find-links")


class InstallFailed(Exception):
    """The dependencies cannot be installed; the message says what to do."""


def main() -> None:
    try:
        if sys.argv[1:] == ["pins"]:
            pin()
        else:
            synchronise(*sys.argv[1:])
    except InstallFailed as problem:
        sys.exit(f"run: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)  # The next ./run goes on from here.


def synchronise(kind: str, checksum: str) -> None:
    """Bring .venv to requirements/{kind}.txt, and write down that it is."""
    descriptor = os.open(REQUIREMENTS, os.O_RDONLY)  # A folder can be locked, and so no lock file is left about.
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    mark = VENV / f"installed-{kind}"
    if mark.exists() and mark.read_text().strip() == f"{checksum} {PYTHON.resolve()}":
        return  # Another ./run did it while this one waited.
    print(
        f"Installing what {'the tests need' if kind == 'dev' else 'the portal needs'} into .venv ...",
        file=sys.stderr,
        flush=True,
    )
    make_environment()
    for old in VENV.glob("installed-*"):
        old.unlink()  # Until the end nobody knows what .venv holds.
    install(REQUIREMENTS / f"{kind}.txt")
    mark.write_text(f"{checksum} {PYTHON.resolve()}\n")


def make_environment() -> None:
    """Create .venv unless there is one that works: half made, or made for a Python that is gone, it is replaced."""
    if _venv_works():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    python = getattr(sys, "_base_executable", sys.executable)  # We may run in the very .venv that was just removed.
    done = subprocess.run([python, "-m", "venv", VENV], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        raise InstallFailed(
            f"Python could not make a virtual environment:\n{_last_lines(done.stdout + done.stderr)}\n"
            "On Debian and Ubuntu: apt install python3-venv"
        )


def install(pins: Path) -> None:
    """Install the pinned files with uv, three times as fast; with pip where uv cannot run or cannot reach the index."""
    if _install_uv():
        done = _uv("install", "--compile-bytecode", "--require-hashes", "-r", str(pins), env=environment_for_uv())
        if done.returncode == 0:
            return
        print(f"uv could not install them, so pip does:\n{_last_lines(done.stderr)}", file=sys.stderr, flush=True)
    done = _pip("install", "--quiet", "--require-hashes", "-r", str(pins))
    if done.returncode != 0:
        raise InstallFailed(
            f"The dependencies could not be installed:\n{_last_lines(done.stderr)}\n"
            "Check the network, or pip's configuration (`python3 -m pip config list`), and start again."
        )


def pin() -> None:
    """Write requirements/*.txt with today's versions and hashes; no address of an index, so that pip's settings count."""
    make_environment()
    if not _install_uv():
        raise InstallFailed("Pinning needs uv, which could not be installed.")
    form = ("--universal", "--python-version", "3.11", "--generate-hashes")
    silent = ("--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate")
    for name in ("bootstrap", "runtime", "portal", "dev", "audit"):
        source, target = f"requirements/{name}.in", f"requirements/{name}.txt"
        arguments = ("compile", source, "--output-file", target, "--upgrade", *form, *silent)
        done = _uv(*arguments, env=environment_for_uv(without=INCOMPLETE))
        if done.returncode != 0:
            raise InstallFailed(f"{source} could not be pinned:\n{_last_lines(done.stderr)}")


def _install_uv() -> bool:
    have = subprocess.run([PYTHON, "-m", "uv", "--version"], check=False, capture_output=True)
    return (
        have.returncode == 0
        or _pip("install", "--quiet", "--require-hashes", "-r", "requirements/bootstrap.txt").returncode == 0
    )


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def _uv(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [PYTHON, "-m", "uv", "pip", *arguments, "--quiet"]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, env=env)


def environment_for_uv(*, without: Collection[str] = ()) -> dict[str, str]:
    """Return our environment with this machine's pip settings translated: mirrors, proxies, certificates."""
    listed = _pip("config", "list").stdout
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=_precedence):
        name, _, value = line.partition("=")
        setting = name.rpartition(".")[2].strip()
        if setting in UV_NAMES and setting not in without:
            words = str(ast.literal_eval(value)).split()
            found[UV_NAMES[setting]] = ("," if setting in SEPARATED_BY_COMMA else " ").join(words)
    # pip looks into every index; the hashes decide what is taken.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **found, **os.environ, "VIRTUAL_ENV": str(VENV)}


def _precedence(line: str) -> int:
    """Sort global settings first and variables of the environment last: the last one counts."""
    return 2 if line.startswith(":env:") else 0 if line.startswith("global.") else 1


def _venv_works() -> bool:
    try:
        return subprocess.run([PYTHON, "-m", "pip", "--version"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _last_lines(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-8:])


if __name__ == "__main__":
    main()
