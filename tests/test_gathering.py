"""Callbacks that arrive together share a commit: none is answered before it, and none suffers for another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.start.processes import wait_until
from whatsapp_logs import WhatsAppService
from whatsapp_logs.errors import DatabaseAway
from whatsapp_logs.message import Recorded, StatusReport

THREADS = 20
ODD = "SM" + "f" * 32
# What a defect would do to one report: nothing that a second attempt mends.
REFUSE_ODD = f"""
    ALTER TABLE whatsapp_logs.status_events ADD CHECK (provider_id <> '{ODD}')
"""


def report(n: int) -> StatusReport:
    return StatusReport(provider_status="delivered", provider_id=f"SM{n:032}")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS + 1) as threads:
        yield threads


@contextmanager
def nobody_can_write(dsn: str) -> Iterator[None]:
    """The first writer waits for us, so that the others come together."""
    with psycopg.connect(dsn) as conn:
        conn.execute("LOCK TABLE whatsapp_logs.status_events IN EXCLUSIVE MODE")
        yield


# Of this test's own database: the server is every worker's.
WAITING = "SELECT {} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def somebody_waits(dsn: str) -> Callable[[], bool]:
    def look() -> bool:
        with psycopg.connect(dsn) as conn:
            return conn.execute(WAITING.format("")).fetchone() is not None

    return look


def meet(
    service: WhatsAppService, threads: ThreadPoolExecutor, dsn: str, others: list[StatusReport]
) -> list[Future[Recorded]]:
    """One report is being written when all the others come."""
    with nobody_can_write(dsn):
        first = threads.submit(service.record_callback, report(0))
        wait_until(somebody_waits(dsn))
        calls = [first, *(threads.submit(service.record_callback, other) for other in others)]
        wait_until(lambda: len(service._callbacks._waiting) == len(others))
        assert not any(call.done() for call in calls)  # nothing is acknowledged before it is committed
    return calls


def commits(dsn: str) -> list[int]:
    """How many events each transaction wrote."""
    with psycopg.connect(dsn) as conn:
        found = conn.execute("SELECT count(*) FROM whatsapp_logs.status_events GROUP BY xmin::text ORDER BY 1")
        return [n for (n,) in found]


def test_reports_that_come_while_one_is_written_are_committed_together(
    service: WhatsAppService, threads: ThreadPoolExecutor, dsn: str
) -> None:
    calls = meet(service, threads, dsn, [report(n) for n in range(1, THREADS + 1)])
    assert [call.result().provider_id for call in calls] == [report(n).provider_id for n in range(THREADS + 1)]
    assert commits(dsn) == [1, THREADS]


def test_one_report_that_cannot_be_stored_takes_no_other_with_it(
    service: WhatsAppService, threads: ThreadPoolExecutor, dsn: str
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(REFUSE_ODD.encode())
    odd = StatusReport(provider_status="delivered", provider_id=ODD)
    calls = meet(service, threads, dsn, [report(1), odd, report(2)])
    assert [type(call.exception()).__name__ for call in calls] == ["NoneType", "NoneType", "CheckViolation", "NoneType"]
    assert sum(commits(dsn)) == 3


def test_what_could_not_be_committed_is_acknowledged_to_nobody_and_the_next_report_is_stored(
    service: WhatsAppService, threads: ThreadPoolExecutor, dsn: str
) -> None:
    with nobody_can_write(dsn):
        cut = threads.submit(service.record_callback, report(0))
        wait_until(somebody_waits(dsn))
        others = [threads.submit(service.record_callback, report(n)) for n in range(1, THREADS)]
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(WAITING.format("pg_terminate_backend(pid)"))
        wait_until(cut.done)
    assert isinstance(cut.exception(), DatabaseAway)
    assert [other.exception() for other in others] == [None] * len(others)
    assert sum(commits(dsn)) == len(others)
