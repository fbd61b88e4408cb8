"""Two hundred people look at the log and nothing changes: what their open pages cost the web server and its database.

The pages ask as the page's own script does while somebody looks (whatsapp_logs.js): at its quiet pace, since nothing changes.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path

import psycopg

from benches.callbacks import served
from benches.http import Reader, add_person, portal_command
from benches.measure import Line
from benches.place import Place
from tests.start.processes import descendants

PAGES = 200
SCRIPT = Path(__file__).parents[1] / "whatsapp_logs/web/static/whatsapp_logs.js"
_TICKS = os.sysconf("SC_CLK_TCK")


def measure(place: Place) -> Iterator[Line]:
    """The share of one core, by the processes' own CPU time."""
    seconds = 3.0 if place.is_smoke else 20.0
    add_person(place.dsn())
    with served(portal_command(), place.dsn()) as (port, server):
        request = _poll(port)
        asyncio.run(_look(port, request, seconds=2.0))  # everything has been loaded, every plan made
        before = _cpu_s(place, server)
        began = time.perf_counter()
        answers = asyncio.run(_look(port, request, seconds=seconds))
        elapsed = time.perf_counter() - began
        share = (_cpu_s(place, server) - before) / elapsed
    yield Line(f"{PAGES} open pages, nothing changing: answers a second", answers / elapsed, "/s")
    yield Line(f"{PAGES} open pages, nothing changing: share of a core", share, "core", None, "<= 0.10")


def quiet_pace_s() -> float:
    """How often the page's script asks while somebody looks and nothing changes."""
    found = re.search(r"QUIET_MS = (\d+)", SCRIPT.read_text())
    assert found
    return int(found[1]) / 1000


def _poll(port: int) -> bytes:
    """What an open page asks, by somebody who is signed in."""
    with closing(Reader(port)) as reader:
        head = [f"Host: 127.0.0.1:{port}", "HX-Request: true", f"Cookie: {reader.cookies}"]
        return b"GET " + _address(reader.get()) + b" HTTP/1.1\r\n" + "\r\n".join([*head, "", ""]).encode()


def _address(html: bytes) -> bytes:
    """Where a list asks for its news: it names what is shown."""
    found = re.search(rb'hx-get="([^"]+/live[^"]*)"', html)
    assert found
    return unescape(found[1].decode()).encode()


async def _look(port: int, request: bytes, *, seconds: float) -> int:
    """Ask at the script's pace, each page at its own moment; returns how many answers there were."""
    pace, answers = quiet_pace_s(), 0
    ending = time.monotonic() + seconds

    async def page(number: int, request: bytes) -> None:
        nonlocal answers
        request = request.replace(b"\r\n", f"\r\nX-Browser: {number}\r\n".encode(), 1)  # each is somebody else's
        await asyncio.sleep(pace * number / PAGES)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (asked := time.monotonic()) < ending:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 204"):
                length = re.search(rb"content-length: (\d+)", head.lower())  # "3 h ago" has become "4 h ago"
                html = await reader.readexactly(int(length[1]) if length else 0)
                request = b"GET " + _address(html) + request[request.index(b" HTTP/1.1") :]
            answers += 1
            await asyncio.sleep(max(0.0, asked + pace - time.monotonic()))
        writer.close()

    await asyncio.gather(*(page(number, request) for number in range(PAGES)))
    return answers


def _cpu_s(place: Place, server: subprocess.Popen[bytes]) -> float:
    """CPU seconds so far of the web server's processes and of their database connections."""
    with psycopg.connect(place.dsn()) as conn:
        found = conn.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name IN ('portal', 'whatsapp_logs')"
        ).fetchall()
    return sum(map(_of_process, [server.pid, *descendants(server.pid), *(pid for (pid,) in found)]))


def _of_process(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
