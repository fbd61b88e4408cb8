"""`./run audit` says what is known, and never "nothing" when it could not ask; docs/security.md tells what was looked at."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from portal.start.binaries import find_binaries
from tests.security import audit

ROOT = Path(__file__).resolve().parents[2]
Answers = Callable[[str], dict[str, object] | str | None]
FOUND = {
    "vulns": [{
        "id": "PYSEC-2026-1",
        "affected": [{
            "package": {"name": "flask", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }],
    }]
}  # fmt: skip


def test_every_pin_was_looked_at() -> None:
    """A pin that is raised asks for a new look: write down its version, and what is known about it."""
    section = (ROOT / "docs" / "security.md").read_text().split("## Known vulnerabilities of what we use")[1]
    section = section.split("\n## ")[0]
    pinned = {
        pin
        for path in audit.REQUIREMENTS.glob("*.txt")
        for pin in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.M)
    }
    rows = re.findall(r"^\| ([\w.-]+) (\d[^(|]*)", section, re.MULTILINE)
    told = {(name, version) for name, versions in rows for version in versions.strip().split(", ")}
    told |= set(
        re.findall(r"([\w.-]+)\s(\d[\w.]*\w)(?=[,.]\s)", section.split("No advisory was found about these:")[1])
    )
    vendored = {
        ("htmx", re.findall(r"htmx-([\d.]+)\.min", str(path))[0]) for path in ROOT.rglob("static/vendor/htmx-*.min.js")
    }
    assert len(pinned) > 100
    assert len(vendored) == 1
    assert told - {("PostgreSQL", _embedded())} == pinned | vendored
    assert ("PostgreSQL", _embedded()) in told


def test_nothing_known_is_0_and_a_finding_is_1_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    with osv(lambda _: {}) as url:
        assert audit.main(["--osv-url", url]) == audit.CLEAN
    assert ", 0 known vulnerabilities." in capfd.readouterr().out
    with osv(lambda package: FOUND if package == "flask" else {}) as url:
        assert audit.main(["--osv-url", url]) == audit.FOUND
    said = capfd.readouterr().out
    assert re.search(r"^flask [\d.]+: PYSEC-2026-1, fixed in 99\.1$", said, re.MULTILINE)
    asked = re.search(r"(\d+) pinned packages", said)
    assert asked
    assert int(asked[1]) > 100


@pytest.mark.parametrize("answer", [None, "<html>Please sign in to this network</html>"])
def test_a_service_that_does_not_answer_is_2_and_not_clean(
    capfd: pytest.CaptureFixture[str], answer: str | None
) -> None:
    with osv(lambda _: answer) as url:
        assert audit.main(["--osv-url", url]) == audit.NOT_ASKED
    with osv(lambda _: {}) as url:
        closed = url
    assert audit.main(["--osv-url", closed]) == audit.NOT_ASKED
    said = capfd.readouterr()
    assert said.err.count("NOT MADE") == 2
    assert said.out == ""


@contextmanager
def osv(answer: Answers) -> Iterator[str]:
    """Answer on loopback as OSV does; a text is sent as it is, None as an error of the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = answer(asked["package"]["name"])
            body = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(503 if said is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def _embedded() -> str:
    said = subprocess.run(
        [find_binaries().bin / "postgres", "--version"], check=True, capture_output=True, text=True
    ).stdout
    return said.split()[-1]
