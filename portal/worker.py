"""What the portal adds to the log's worker (WORKER_EXTRA=portal.worker:register): reminders of renewals."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import procrastinate

from portal import reminders
from portal.config import PortalConfig
from whatsapp_logs import WhatsAppService


def register(app: procrastinate.App, service: WhatsAppService) -> None:
    """Add the tasks to the queue's application."""
    zone = ZoneInfo(PortalConfig.from_env().timezone)

    # Often, because each run makes only what is owed and not made yet: a policy entered at noon, a worker that was down at nine.
    @app.periodic(cron="*/10 * * * *")
    @app.task(name="portal_renewals", queueing_lock="portal_renewals", lock="portal_renewals")
    def remind(timestamp: int) -> None:
        reminders.run(service, zone=zone, now=datetime.now(UTC))
