"""A campaign from its table to its end: check, queue, and hand-over by the runner to a Twilio that takes a tenth of a second.

The simulator is a process of its own beside it, and takes a share of the same processors: a real Twilio does not. The rate is left
open, so the figure is what the runner can do; in earnest SENDER_RATE holds it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg

from benches.measure import Line, timed
from benches.place import Place
from whatsapp_logs import Config, WhatsAppService, campaigns
from whatsapp_logs.campaign_files import Table
from whatsapp_logs.campaign_run import queue_rows
from whatsapp_logs.config import GATE_RULES

ROOT = Path(__file__).parents[1]
RECIPIENTS = 10_000
ACCOUNT, TOKEN, SENDER = "AC" + "a" * 32, "bench-token-0001", "whatsapp:+15550100100"
_SID = "HX00000000000000000000000000000004"  # the simulator's general notice
_BODY = "Hello {{1}}, a notice from your insurance office: {{2}} Please reply if you have a question."
_HANDED_OVER_PER_S = 80  # what WhatsApp takes from one sender


def measure(place: Place) -> Iterator[Line]:
    """Lines for the check, the queue and the run, with what the run costs the database."""
    count = 300 if place.is_smoke else RECIPIENTS
    with ExitStack() as stack:
        dsn = stack.enter_context(place.scratch())
        address = stack.enter_context(_simulator())
        config = Config(
            database_url=dsn, secret_key="only for writing", twilio_account_sid=ACCOUNT, twilio_auth_token=TOKEN,
            twilio_whatsapp_from=SENDER, twilio_api_base_url=address, sender_rate=1000, quiet_hours=None,
            gate_off=GATE_RULES - {"duplicate", "frequency", "variables", "template"},
        )  # fmt: skip
        service = stack.enter_context(closing(WhatsAppService(config)))
        version = _template(dsn)
        table = Table(
            ("Number", "Name", "Notice"),
            tuple((f"+155501{n:05d}", f"Client {n}", f"no {n}.") for n in range(1000, 1000 + count)),
        )
        began = time.perf_counter()
        campaign_id = service.begin_campaign(table, name="Bench", source="bench.csv", created_by="anna")
        service.map_campaign(
            campaign_id, name="Bench", template_id=version, message_type="general", person="anna",
            mapping={"to": 0, "fields": {"1": {"column": 1}, "2": {"column": 2}}},
        )  # fmt: skip
        asked_at = service.campaign(campaign_id).campaign.check_asked_at
        if asked_at is not None:
            service.run_check(campaign_id, asked_at=asked_at)
        yield Line(f"campaign: read and check {count} rows", time.perf_counter() - began, "s", goal="<= 20")
        if service.start_campaign(campaign_id, person="anna").state == "waiting":
            service.release_campaign(campaign_id, person="ben")
        yield Line(
            f"campaign: queue {count} messages, no jobs", timed(lambda: _queue(service, campaign_id)), "s", goal="<= 20"
        )
        before, began = _load(place, dsn), time.perf_counter()
        _run(service, campaign_id)
        seconds, after = time.perf_counter() - began, _load(place, dsn)
        _check_handed_over(dsn, count)
    rate, cpu, commits = count / seconds, (after[0] - before[0]) / count, (after[1] - before[1]) / count
    yield Line(f"campaign run {count}: handed over", rate, "/s", goal=f">= {_HANDED_OVER_PER_S}")
    yield Line(f"campaign run {count}: from the first to the last", seconds, "s")
    yield Line("campaign run: commits a message", commits, "", goal="<= 1")
    yield Line(
        f"campaign run: database, core at {_HANDED_OVER_PER_S}/s", cpu * _HANDED_OVER_PER_S * 100, "%", goal="<= 50"
    )


def _queue(service: WhatsAppService, campaign_id: int) -> None:
    more = True
    while more:
        with service.transaction() as conn:
            more = queue_rows(conn, campaigns.known(conn, campaign_id), config=service.config, limit=1000) > 0


def _run(service: WhatsAppService, campaign_id: int) -> None:
    while True:
        service.run_campaigns()
        with service.transaction() as conn:
            if campaigns.known(conn, campaign_id).state == "done":
                return


def _check_handed_over(dsn: str, count: int) -> None:
    """A figure of messages that did not arrive, or twice, would be none."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute(
            "SELECT count(DISTINCT provider_id), count(*) FROM whatsapp_logs.messages WHERE campaign_id IS NOT NULL"
        ).fetchone()
    if found != (count, count):
        raise RuntimeError(f"of {count} messages {found} were handed over")


def _load(place: Place, dsn: str) -> tuple[float, int]:
    """Processor seconds of the database server, and commits, so far."""
    tick = os.sysconf("SC_CLK_TCK")
    seconds = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended just now
            continue
        if int(stat.parent.name) == place.server.pid:
            seconds += sum(map(int, fields[11:15])) / tick  # with its children that have ended
        elif int(fields[1]) == place.server.pid:
            seconds += sum(map(int, fields[11:13])) / tick
    with psycopg.connect(dsn) as conn:
        conn.execute("SELECT pg_stat_clear_snapshot()")
        row = conn.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return seconds, int(row[0])


def _template(dsn: str) -> int:
    fields = json.dumps([{"key": str(n), "name": name, "sample": "x"} for n, name in ((1, "name"), (2, "notice"))])
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            """
            WITH t AS (INSERT INTO whatsapp_logs.templates (name, created_by) VALUES ('bench_notice', 'anna') RETURNING id)
            INSERT INTO whatsapp_logs.template_versions
                (template_id, version, content_sid, content_type, body, variables, approval, created_by, checked_at)
            SELECT id, 1, %s, 'twilio/text', %s, %s, 'approved', 'anna', now() FROM t RETURNING id
            """,
            [_SID, _BODY, fields],
        ).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _simulator() -> Iterator[str]:
    """Twilio as a process of its own, which keeps its callbacks back and takes a tenth of a second for each answer."""
    env = os.environ | {"TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_WHATSAPP_FROM": SENDER}
    command = [sys.executable, "-m", "whatsapp_logs.twilio.simulator", "--pace", "1000"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        settings = json.dumps({"latency_s": 0.1, "hold": True}).encode()
        urllib.request.urlopen(
            urllib.request.Request(f"{found[0]}/_simulator/settings", settings, {"Content-Type": "application/json"})
        ).close()
        yield found[0]
    finally:
        process.kill()
        process.wait()
