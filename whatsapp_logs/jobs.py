"""The worker's tasks: each a few lines into a verb. Run by `python -m whatsapp_logs worker`."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import procrastinate
import procrastinate.exceptions
from procrastinate import JobContext

from whatsapp_logs import campaigns, housekeeping, making, refresh, send
from whatsapp_logs.config import Config
from whatsapp_logs.errors import ConfigError, DatabaseAway, ProviderError
from whatsapp_logs.service import WhatsAppService
from whatsapp_logs.store import counts, queue
from whatsapp_logs.store.pool import connection_settings

log = logging.getLogger(__name__)

_CONCURRENCY = 4
_FINISH_S = 15
_BEGIN_AGAIN_S = 2
_STALLED_S = 30
_KEEP_JOBS_H = 24
_RESUMED_TOGETHER = 25


def make_app(service: WhatsAppService) -> procrastinate.App:
    """The queue's application with every task registered for this service."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(**_connection(service.config)))

    @app.task(name="deliver", retry=procrastinate.RetryStrategy(max_attempts=8, exponential_wait=2))
    def deliver(ids: list[int]) -> None:
        service.deliver(ids)

    @app.task(name="refresh_all", retry=procrastinate.RetryStrategy(max_attempts=3, wait=5))
    def refresh_all(refresh_id: int) -> None:
        service.run_refresh(refresh_id)

    @app.task(name="settle_unconfirmed")
    def settle_unconfirmed() -> None:
        try:
            service.settle_unconfirmed()
        except ProviderError as error:
            log.warning("unconfirmed messages are looked up later: %s", error)

    _add_what_campaigns_need(app, service)
    _add_what_customers_wait_for(app, service)
    _add_what_the_clock_starts(app, service)
    housekeeping.register(app, service)
    _add_what_the_portal_wants(app, service)
    return app


def _add_what_campaigns_need(app: procrastinate.App, service: WhatsAppService) -> None:
    @app.task(name=campaigns.CHECK, retry=procrastinate.RetryStrategy(max_attempts=5, exponential_wait=2))
    def check_campaign(campaign_id: int, asked_at: str) -> None:
        service.run_check(campaign_id, asked_at=datetime.fromisoformat(asked_at))

    @app.task(name="settle_campaign", retry=procrastinate.RetryStrategy(max_attempts=8, exponential_wait=2))
    def settle_campaign(campaign_id: int, was_sent: bool, created_by: str) -> None:
        service.run_settling(campaign_id, was_sent=was_sent, created_by=created_by)

    @app.task(name=campaigns.RUNNER)
    def run_campaigns() -> None:
        service.run_campaigns()


def _add_what_customers_wait_for(app: procrastinate.App, service: WhatsAppService) -> None:
    # Again and again: a customer waits, and whatever made it fail is either mended or handed to a person within the verb.
    @app.task(name="answer", retry=procrastinate.RetryStrategy(max_attempts=8, exponential_wait=2))
    def answer(conversation_id: int) -> None:
        service.desk.answer(conversation_id)

    @app.task(name="fetch_file", retry=procrastinate.RetryStrategy(max_attempts=8, exponential_wait=2))
    def fetch_file(message_id: int, place: int) -> None:
        service.desk.fetch_file(message_id, place)

    @app.task(name="make_contents", lock="make_contents")
    def make_contents() -> None:
        service.make_contents()


def _add_what_the_portal_wants(app: procrastinate.App, service: WhatsAppService) -> None:
    """The portal's own tasks: each function of WORKER_EXTRA is called with the queue's application and the service."""
    for name in service.config.worker_extra:
        module, _, function = name.partition(":")
        try:
            register = getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ConfigError([f"WORKER_EXTRA names {name}, which cannot be loaded: {error}."]) from error
        register(app, service)


def _add_what_the_clock_starts(app: procrastinate.App, service: WhatsAppService) -> None:
    @app.periodic(cron="* * * * *")
    @app.task(name="every_minute", queueing_lock="every_minute", pass_context=False)
    def every_minute(timestamp: int) -> None:
        keep_house(service)

    @app.periodic(cron="* * * * *")
    @app.task(name="fold_counts", queueing_lock="fold_counts")
    def fold_counts(timestamp: int) -> None:
        with service.transaction() as conn:
            counts.fold_deltas(conn)

    # What is older is due seldom, and there is much of it: a month of 100 000 messages a day is not read every minute. They wait
    # for each other, each with a place of its own in the queue, so that none loses its turn.
    for name, cron, back in (
        ("sweep", "* * * * *", timedelta(hours=1)),
        ("sweep_day", "*/10 * * * *", timedelta(days=1)),
        ("sweep_month", "0 * * * *", refresh.ASKED_FOR),
    ):
        _add_sweep(app, service, name, cron=cron, back=back)

    @app.periodic(cron="* * * * *")
    @app.task(name="rescue_stalled", queueing_lock="rescue_stalled", pass_context=True)
    async def rescue_stalled(context: JobContext, timestamp: int) -> None:
        manager = context.app.job_manager
        for job in await manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_S):
            log.warning("job %s (%s) lost its worker: done again", job.id, job.task_name)
            await manager.retry_job(job)
        await manager.delete_old_jobs(nb_hours=_KEEP_JOBS_H)


def _add_sweep(app: procrastinate.App, service: WhatsAppService, name: str, *, cron: str, back: timedelta) -> None:
    @app.periodic(cron=cron)
    @app.task(name=name, queueing_lock=name, lock="sweep")
    def sweep(timestamp: int) -> None:
        if service.config.twilio_configured:
            refresh.sweep(service.transaction, service.gateway, back=back)


def keep_house(service: WhatsAppService) -> None:
    """What has to happen every minute, whoever started or died: lost jobs, lost answers. Sending may take long, so it is last."""
    with service.transaction() as conn:
        refresh.resume_silent(conn)
        campaigns.wake(conn, config=service.config, now=datetime.now(UTC))
        waiting = send.rescue(conn)
    service.desk.rescue()
    if service.config.twilio_configured:
        try:
            service.settle_unconfirmed()
        except ProviderError as error:
            log.warning("unconfirmed messages are looked up later: %s", error)
        service.deliver(waiting)
        service.make_contents()


def work(service: WhatsAppService) -> None:
    """Do jobs until SIGINT or SIGTERM; the job at hand is finished first. A database that goes away is waited for."""
    asyncio.run(_work(service))


async def _work(service: WhatsAppService) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        try:
            await asyncio.to_thread(_resume, service)
            await _work_until(stop, make_app(service))
        except (DatabaseAway, procrastinate.exceptions.ConnectorException) as error:
            log.warning("the worker lost the database: %s", error)
        if not stop.is_set():
            log.warning("the worker begins again in %s s", _BEGIN_AGAIN_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _BEGIN_AGAIN_S)


async def _work_until(stop: asyncio.Event, app: procrastinate.App) -> None:
    """Do jobs until asked to stop, or until the worker gives up because it lost its connection."""
    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(
                concurrency=_CONCURRENCY,
                delete_jobs="successful",
                shutdown_graceful_timeout=_FINISH_S,
                install_signal_handlers=False,
            )
        )
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait({worker, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        worker.cancel()  # lets the jobs at hand finish
        with suppress(asyncio.CancelledError):
            await worker


def _resume(service: WhatsAppService) -> None:
    """What a crash left behind does not wait for the next full minute. Most may merely wait in the queue: few jobs ask for all."""
    with service.transaction() as conn:
        campaigns.wake(conn, config=service.config, now=datetime.now(UTC))
        if service.config.twilio_configured and service.config.bot_buttons and service.desk.records is not None:
            making.want_usual(conn)
        waiting = send.rescue(conn)
        for begin in range(0, len(waiting), _RESUMED_TOGETHER):
            queue.defer(conn, "deliver", ids=waiting[begin : begin + _RESUMED_TOGETHER])


def _connection(config: Config) -> dict[str, Any]:
    settings = connection_settings(config)
    settings["options"] = f"{settings.get('options', '')} -c search_path={queue.SCHEMA}"
    return {
        "conninfo": config.worker_database_url or config.database_url,
        "kwargs": settings,
        "min_size": 1,
        "max_size": 4,
        "timeout": config.pool_timeout_s,  # its default of 30 s is how long a worker would take to see that the database is back
    }
