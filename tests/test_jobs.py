"""The worker as a process: it does what is due, outlives its database's restarts, and ends when asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from whatsapp_logs import Config, Draft, WhatsAppService, jobs
from whatsapp_logs.store import counts
from whatsapp_logs.twilio.simulator import Simulator

_PATIENCE_S = 120


@pytest.fixture
def worker_process(config: Config, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m whatsapp_logs worker` on the test's database; what it says is in `worker.log`."""
    env = {
        "GATE_OFF": "window",
        "DATABASE_URL": config.database_url,
        "SECRET_KEY": config.secret_key,
        "TWILIO_ACCOUNT_SID": config.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": config.twilio_auth_token,
        "TWILIO_WHATSAPP_FROM": config.twilio_whatsapp_from,
        "TWILIO_API_BASE_URL": config.twilio_api_base_url,
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "whatsapp_logs", "worker"],
            cwd=Path(__file__).parents[1],
            env=os.environ | env,
            stdout=log,
            stderr=log,
        )
    yield process
    process.kill()
    process.wait()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {_PATIENCE_S} s: {what}"
        time.sleep(0.05)


def test_fault_16_a_worker_outlives_a_database_that_goes_away_and_ends_when_asked(
    worker_process: subprocess.Popen[bytes],
    service: WhatsAppService,
    simulator: Simulator,
    dsn: str,
    postgres: str,
    tmp_path: Path,
) -> None:
    first = service.send(Draft(to="+447700900221", body="x"))
    until(lambda: service.message(first.id).provider_id is not None, "the first message is handed over")

    database = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [database.as_string().strip('"')],
        )
        until(lambda: b"begins again" in (tmp_path / "worker.log").read_bytes(), "the worker notices")
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))

    service.send(Draft(to="+447700900222", body="x"))
    until(lambda: len(simulator.messages()) == 2, "the second message is handed over")
    worker_process.send_signal(signal.SIGTERM)
    assert worker_process.wait(_PATIENCE_S) == 0


def test_counts_that_cannot_be_folded_do_not_keep_lost_messages_from_being_sent(
    service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    message = service.send(Draft(to="+447700900222", body="x"))
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET created_at = created_at - interval '5 minutes'")
        conn.execute("DELETE FROM whatsapp_logs.procrastinate_jobs")  # its job is lost
        conn.execute("ALTER TABLE whatsapp_logs.counts ADD CHECK (n < 0)")
    with service.transaction() as conn, pytest.raises(psycopg.errors.CheckViolation):
        counts.fold_deltas(conn)
    jobs.keep_house(service)
    assert service.message(message.id).provider_id == simulator.messages()[0].sid


def test_a_refresh_does_not_wait_behind_a_campaign(
    service: WhatsAppService, work: Callable[[], None], dsn: str
) -> None:
    with service.transaction() as conn:
        for n in range(40):
            service.send(Draft(to=f"+44770090{2000 + n}", body="Hello"), conn=conn)
    run = service.refresh_all(started_by="asha")
    work()
    done = service.refresh_progress(run.id)
    assert done is not None
    assert done.finished_at is not None
    with psycopg.connect(dsn) as conn:
        begun = conn.execute(
            "SELECT count(*) FROM whatsapp_logs.messages WHERE claimed_at < %s", [done.finished_at]
        ).fetchone()
    assert begun is not None
    assert begun[0] < 20
