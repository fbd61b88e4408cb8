"""How a status gets in: every report, from wherever, goes through `record`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection
from psycopg.pq import TransactionStatus

from whatsapp_logs import ledger
from whatsapp_logs.catalogue import TEMPLATE_CODES
from whatsapp_logs.consent import OPT_OUT_CODES
from whatsapp_logs.message import Recorded, Source, StatusReport
from whatsapp_logs.store import status_events, template_sync

log = logging.getLogger(__name__)
_TELL_MORE = OPT_OUT_CODES | TEMPLATE_CODES  # of the customer's consent, of a template


def is_one_statement(reports: Sequence[StatusReport]) -> bool:
    """Whether `record` writes these by a single statement, so that it needs no transaction around it."""
    return not any(report.error_code in _TELL_MORE for report in reports)


def record(
    conn: Connection[Any], reports: Sequence[StatusReport], *, source: Source, now: datetime | None = None
) -> list[Recorded]:
    """Store the reports and fold them into their messages, in the caller's transaction; answers in the same order.

    The connection may be in autocommit where this `is_one_statement`. A report told before changes nothing. One of a message nobody
    knows is parked until the message appears.
    """
    if not reports:
        return []
    if not is_one_statement(reports) and conn.autocommit and conn.info.transaction_status is TransactionStatus.IDLE:
        raise RuntimeError("these reports tell of more than messages: they are written in a transaction, or not at all")
    recorded = status_events.record(conn, reports, source=source, now=now or datetime.now(UTC))
    ledger.learn(conn, reports)
    if any(told.is_new and r.error_code in TEMPLATE_CODES for r, told in zip(reports, recorded, strict=True)):
        template_sync.want_news(conn)
    for report, outcome in zip(reports, recorded, strict=True):
        if outcome.is_new and report.status is None:
            log.warning(
                "unknown status word %r from %s for %s: kept as an event",
                report.provider_status,
                source,
                report.provider_id,
            )
        if outcome.is_new and outcome.message_id is None:
            log.warning(
                "report %s for unknown message %s parked (%s)", report.provider_status, report.provider_id, source
            )
    return recorded
