"""The fold: whatever order, number and shape reports come in, a message's state is what they say together."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from whatsapp_logs import WhatsAppService
from whatsapp_logs.message import Source, StatusReport


def sid(n: int) -> str:
    return f"SM{n:032}"


def log_many(dsn: str, count: int, first: int = 0) -> None:
    """Rows as old code would have left them: queued, with a SID."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, body, provider_id, created_at)
            SELECT '+447700900' || lpad((n %% 1000)::text, 3, '0'), 'x', 'SM' || lpad(n::text, 32, '0'), now() - make_interval(secs => n)
            FROM generate_series(%(first)s::int, %(last)s::int) AS n
            """,
            {"first": first, "last": first + count - 1},
        )


def seconds_to_record(service: WhatsAppService, reports: Sequence[StatusReport]) -> float:
    begun = time.perf_counter()
    service.record(reports, source=Source.CALLBACK)
    return time.perf_counter() - begun


def test_a_thousand_reports_cost_far_less_than_a_thousand_times_one(service: WhatsAppService, dsn: str) -> None:
    """One connection's plans are made for one report and kept: they must not be quadratic in a batch."""
    log_many(dsn, 3000)
    for n in range(10):
        service.record([StatusReport(provider_status="sent", provider_id=sid(n))], source=Source.CALLBACK)
    batch = [StatusReport(provider_status="sent", provider_id=sid(n)) for n in range(1000, 2000)]
    small = seconds_to_record(service, batch[:100])
    big = seconds_to_record(service, [StatusReport(provider_status="delivered", provider_id=r.provider_id) for r in batch])
    assert big < 25 * small, f"100 reports {small * 1000:.0f} ms, 1 000 reports {big * 1000:.0f} ms"
