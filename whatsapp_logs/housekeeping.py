"""What the worker watches over by the clock: daily comparisons with the provider, and what may be thrown away."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import procrastinate

from whatsapp_logs import campaigns, privacy, reconcile
from whatsapp_logs.errors import ProviderError
from whatsapp_logs.service import WhatsAppService
from whatsapp_logs.store import alarms, searches, self_tests, template_sync
from whatsapp_logs.store import campaigns as campaign_rows

log = logging.getLogger(__name__)


def register(app: procrastinate.App, service: WhatsAppService) -> None:
    """Add the tasks to the queue's application."""

    @app.task(name="reconcile_day", retry=procrastinate.RetryStrategy(max_attempts=3, wait=5))
    def reconcile_day(reconciliation_id: int) -> None:
        service.run_reconciliation(reconciliation_id)

    @app.task(name="self_test")
    def self_test(nonce: str) -> None:
        with service.transaction() as conn:
            self_tests.work(conn, nonce)

    @app.periodic(cron="17 * * * *")
    @app.task(name="forget_old", queueing_lock="forget_old")
    def forget_old(timestamp: int) -> None:
        with service.transaction() as conn:
            alarms.forget_old(conn)
            searches.forget_old(conn)
            campaign_rows.erase_tables(conn, before=datetime.now(UTC) - campaigns.KEPT_FOR)

    @app.periodic(cron="23 2 * * *")
    @app.task(name="retention", queueing_lock="retention", lock="retention")
    def retention(timestamp: int) -> None:
        privacy.run_retention(service.transaction)

    @app.periodic(cron="* * * * *")
    @app.task(name="watch_templates", queueing_lock="watch_templates")
    def watch_templates(timestamp: int) -> None:
        keep_templates(service, only_if_due=True)

    @app.task(name="synchronise_templates", lock="synchronise_templates")
    def synchronise_templates() -> None:
        keep_templates(service, only_if_due=False)

    @app.periodic(cron="* * * * *")
    @app.task(name="watch", queueing_lock="watch")
    def watch(timestamp: int) -> None:
        keep_watch(service)


def keep_watch(service: WhatsAppService) -> None:
    """Begin the comparisons that are due."""
    if service.config.twilio_configured:
        with service.transaction() as conn:
            reconcile.start_due(conn, now=datetime.now(UTC))


def keep_templates(service: WhatsAppService, *, only_if_due: bool) -> None:
    """Compare the catalogue of templates with Twilio's; an outage is noted beside it, and tried again in three minutes."""
    if not service.config.twilio_configured:
        return
    with service.transaction() as conn:
        if only_if_due and not template_sync.is_due(conn):
            return
    try:
        service.synchronise_templates()
    except ProviderError as error:
        log.warning("templates are synchronised later: %s", error)
