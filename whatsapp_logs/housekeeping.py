"""What the worker watches over by the clock: daily comparisons with the provider, and what may be thrown away."""

from __future__ import annotations

from datetime import UTC, datetime

import procrastinate

from whatsapp_logs import reconcile
from whatsapp_logs.service import WhatsAppService


def register(app: procrastinate.App, service: WhatsAppService) -> None:
    """Add the tasks to the queue's application."""

    @app.task(name="reconcile_day", retry=procrastinate.RetryStrategy(max_attempts=3, wait=5))
    def reconcile_day(reconciliation_id: int) -> None:
        service.run_reconciliation(reconciliation_id)

    @app.periodic(cron="* * * * *")
    @app.task(name="watch", queueing_lock="watch")
    def watch(timestamp: int) -> None:
        keep_watch(service)


def keep_watch(service: WhatsAppService) -> None:
    """Begin the comparisons that are due."""
    if service.config.twilio_configured:
        with service.transaction() as conn:
            reconcile.start_due(conn, now=datetime.now(UTC))
