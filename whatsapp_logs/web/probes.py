"""For whoever watches over the process: does it answer, is it ready, and what does it count? No personal data."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator

from flask import Blueprint, Response, request

from whatsapp_logs.errors import NotAllowed
from whatsapp_logs.service import WhatsAppService
from whatsapp_logs.web import current
from whatsapp_logs.web.access import proves_itself, public

_SCHEME = "Bearer "


def register(blueprint: Blueprint, *, below: str) -> None:
    """Add the routes below this path ("" = the root)."""
    for view in (livez, readyz, metrics):
        blueprint.add_url_rule(f"{below}/{view.__name__}", view_func=view)


@public
def livez() -> Response:
    """The process answers, whatever else is away: restarting it would repair nothing."""
    return Response("ok\n", mimetype="text/plain")


@public
def readyz() -> Response:
    """The database answers and its tables are this program's; else 503 and the reason in words."""
    current.service().check_schema()
    return Response("ready\n", mimetype="text/plain")


@proves_itself
def metrics() -> Response:
    """Prometheus's text format, for those who know METRICS_TOKEN.

    Not "from this machine only": behind a proxy everybody comes from this machine.
    """
    service = current.service()
    token = service.config.metrics_token
    if not token:
        raise NotAllowed("Metrics are off. Set METRICS_TOKEN, and send it as `Authorization: Bearer …`.")
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"{_SCHEME}{token}".encode()):
        raise NotAllowed("Metrics need METRICS_TOKEN as `Authorization: Bearer …`.")
    return Response("".join(_lines(service)), content_type="text/plain; version=0.0.4; charset=utf-8")


def _lines(service: WhatsAppService) -> Iterator[str]:
    readings = service.readings()
    raised = {alarm.name for alarm in service.alarms(readings)}

    def age(since: object) -> float:
        return 0 if since is None else (readings.now - since).total_seconds()  # type: ignore[operator]

    yield from _metric(
        "messages", "Outgoing messages by status.", [(f'status="{s}"', n) for s, n in service.status_counts().items()]
    )
    yield from _metric(
        "queue_messages", "Messages due and not handed over (stops at 1000).", [("", readings.waiting.count)]
    )
    yield from _metric("queue_age_seconds", "Age of the oldest of them.", [("", age(readings.waiting.oldest))])
    yield from _metric("unconfirmed_messages", "Messages whose answer was lost.", [("", readings.unconfirmed.count)])
    yield from _metric(
        "customers_waiting", "Customers who wait for a person (stops at 1000).", [("", readings.customers.count)]
    )
    yield from _metric(
        "customer_wait_seconds", "How long the first of them has waited.", [("", age(readings.customers.oldest))]
    )
    yield from _metric("bot_failures_last_day", "Messages at which the bot failed.", [("", readings.bot_failures)])
    yield from _metric("files_missing", "Customers' files that could not be fetched.", [("", readings.files.count)])
    yield from _metric("parked_reports", "Reports without a message.", [("", readings.parked.count)])
    yield from _metric(
        "worker_silence_seconds", "Since a worker's last sign of life; -1 = never.",
        [("", -1 if readings.worker_silence_s is None else readings.worker_silence_s)],
    )  # fmt: skip
    yield from _metric(
        "callback_silence_seconds", "Since Twilio's last call; -1 = never.",
        [("", -1 if readings.last_callback is None else age(readings.last_callback))],
    )  # fmt: skip
    yield from _metric(
        "refused_calls_last_hour", "Calls without a right signature.",
        [(f'reason="{reason}"', n) for reason, n in sorted(readings.refused.items())],
    )  # fmt: skip
    yield from _metric(
        "alarm", "1 = raised.", [(f'name="{name}"', int(name in raised)) for name in service.alarm_names()]
    )


def _metric(name: str, meaning: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    """One gauge. Labels are our own words: nothing to escape."""
    yield f"# HELP whatsapp_logs_{name} {meaning}\n# TYPE whatsapp_logs_{name} gauge\n"
    for labels, value in samples:
        yield f"whatsapp_logs_{name}{{{labels}}} {value:.10g}\n" if labels else f"whatsapp_logs_{name} {value:.10g}\n"
