"""`./run audit`: ask the world's list of known vulnerabilities (OSV) about every pinned package. Needs the internet.

Exit status 0 when nothing is known, 1 when something is, 2 when it could not be asked: that is never "nothing found".
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
AUDITOR = ROOT / ".venv" / "audit"  # Apart from what it looks at.
OSV = "https://api.osv.dev/v1/query"
CLEAN, FOUND, NOT_ASKED = 0, 1, 2


class NotAsked(Exception):
    """The audit could not be made; the message says why and what to do."""


@dataclass(frozen=True)
class Finding:
    package: str
    version: str
    advisory: str
    fixed_in: tuple[str, ...]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run audit", description=__doc__)
    parser.add_argument("--osv-url", default=OSV, help="another server that answers as OSV does")
    given = parser.parse_args(arguments)
    try:
        asked, findings = audit(given.osv_url)
    except NotAsked as problem:
        print(f"audit: NOT MADE. {problem}", file=sys.stderr)
        return NOT_ASKED
    for one in findings:
        fixed = f"fixed in {', '.join(one.fixed_in)}" if one.fixed_in else "not fixed yet"
        print(f"{one.package} {one.version}: {one.advisory}, {fixed}")
    print(f"{asked} pinned packages asked about, {len(findings)} known vulnerabilities.")
    if findings:
        print("Raise the pins, or write down in docs/security.md why a finding does no harm here.")
    return FOUND if findings else CLEAN


def audit(osv_url: str) -> tuple[int, list[Finding]]:
    """Return how many packages of requirements/*.txt were asked about, and what is known about them."""
    python = _auditor()
    with TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        lists = [f"--requirement={path}" for path in sorted(REQUIREMENTS.glob("*.txt"))]
        silent = ("--disable-pip", "--progress-spinner=off", "--format=json", f"--output={answer}")
        where = ("--vulnerability-service=osv", f"--osv-url={osv_url}", f"--cache-dir={folder}/cache")
        command = [python, "-m", "pip_audit", *lists, *silent, *where]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not answer.exists():  # A service out of reach ends it by 1 as well.
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise NotAsked(
                f"{osv_url} did not answer, so nothing is known of any package: {said[:300]}\n"
                "It has to be reached from here by https; docs/security.md tells what was looked at without it."
            )
        return _read(json.loads(answer.read_text())["dependencies"])


def _read(dependencies: Iterable[dict[str, object]]) -> tuple[int, list[Finding]]:
    asked: set[tuple[str, str]] = set()
    findings: dict[tuple[str, str], Finding] = {}
    for package in dependencies:
        if "skip_reason" in package:
            raise NotAsked(f"{package['name']} was left out: {package['skip_reason']}")
        name, version = str(package["name"]), str(package["version"])
        asked.add((name, version))
        vulnerabilities = package["vulns"]
        assert isinstance(vulnerabilities, list)
        for one in vulnerabilities:
            findings[name, one["id"]] = Finding(name, version, one["id"], tuple(one["fix_versions"]))
    if not asked:
        raise NotAsked("No package was asked about.")
    return len(asked), [findings[key] for key in sorted(findings)]


def _auditor() -> Path:
    """Return the Python of an environment that holds pip-audit as pinned, made where it is not there."""
    python, pins, mark = AUDITOR / "bin" / "python", REQUIREMENTS / "audit.txt", AUDITOR / "installed"
    lock = os.open(AUDITOR.parent, os.O_RDONLY)  # Two at once wait for each other.
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        _make_auditor(python, pins, mark)
    finally:
        os.close(lock)
    return python


def _make_auditor(python: Path, pins: Path, mark: Path) -> None:
    if mark.exists() and mark.read_bytes() == pins.read_bytes():
        return
    print("Installing pip-audit into .venv/audit ...", file=sys.stderr, flush=True)
    venv.create(AUDITOR, with_pip=True, clear=True)
    command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes", "-r", pins]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise NotAsked(f"pip-audit could not be installed:\n{done.stderr.strip()[-600:]}")
    mark.write_bytes(pins.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
