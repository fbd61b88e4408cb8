"""The log as CSV and as an Excel file, and the one COPY that its CSV is compared with: `python -m benches.export DSN` makes one.

A tenth of the run's rows, at most: a million of ten. Each file is made in a process of its own, whose memory is looked at.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
from psycopg import ClientCursor

from benches.measure import Line, timed
from benches.place import Place
from whatsapp_logs import Config, MessageFilter, WhatsAppService, export
from whatsapp_logs.store import exports

READER = export.Reader(name="bench", zone=ZoneInfo("Europe/London"))
EVERYTHING = MessageFilter(zone=READER.zone)
ROOT = Path(__file__).parents[1]


def measure(place: Place) -> Iterator[Line]:
    """The whole file, its first byte, and the memory that it takes; beside psql's COPY of the same words."""
    dsn = place.dsn(place.tenth)
    statement = copy_statement(dsn)
    ours, copied = [], []
    for _ in range(place.rounds(3)):
        ours.append(_made(dsn))
        copied.append(timed(lambda: place.psql(dsn, statement)))
    seconds, first_s, growth_mib = (
        statistics.median(one[name] for one in ours) for name in ("seconds", "first_s", "growth_mib")
    )
    yield Line(
        f"CSV of {place.tenth} messages ÷ psql's COPY", seconds, "s", seconds / statistics.median(copied), "<= 1.3"
    )
    yield Line(f"CSV of {place.tenth} messages: first byte", first_s, "s", None, "<= 1")
    yield Line(f"CSV of {place.tenth} messages: memory growth", growth_mib, "MiB", None, "<= 64")


def _made(dsn: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benches.export", dsn]
    told: dict[str, float] = json.loads(
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    )
    return told


def main() -> None:
    """Make one file of everything and throw it away; prints what it took."""
    began, before = time.perf_counter(), _peak_mib()
    blocks = csv_blocks(sys.argv[1])
    next(blocks)
    first_s = time.perf_counter() - began
    for _ in blocks:
        pass
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "first_s": first_s, "growth_mib": _peak_mib() - before}))


def _peak_mib() -> float:
    """This program's own peak; what `resource` tells begins with the peak of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def csv_blocks(dsn: str, wanted: MessageFilter = EVERYTHING) -> Iterator[bytes]:
    """The file as the web server's process makes it."""
    service = WhatsAppService(Config(database_url=dsn, secret_key="a secret of the benches"))
    try:
        yield from service.export(wanted, READER)
    finally:
        service.close()


def xlsx_blocks(dsn: str, wanted: MessageFilter = EVERYTHING) -> Iterator[bytes]:
    """The same for Excel."""
    service = WhatsAppService(Config(database_url=dsn, secret_key="a secret of the benches"))
    try:
        yield from service.export(wanted, READER, form=export.XLSX)
    finally:
        service.close()


def copy_statement(dsn: str, wanted: MessageFilter = EVERYTHING) -> str:
    """One statement that tells all these rows in the same words: `psql -c` of it is the baseline."""
    service = WhatsAppService(Config(database_url=dsn, secret_key="a secret of the benches"))
    telling = export.telling_for(service.transaction, wanted, READER)
    service.close()
    with psycopg.connect(dsn) as conn:
        query, parameters = exports.csv_query(conn, wanted, telling, before=None, limit=None)
        return ClientCursor(conn).mogrify(query, parameters)


if __name__ == "__main__":
    main()
