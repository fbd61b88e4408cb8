"""Alarms of renewals, beside the log's own: reminders that are not made, and rules whose template cannot be sent with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from portal import letters, reminders, runs
from portal.format import long_date
from portal.reminders import Rule
from portal.runs import Runs
from whatsapp_logs import WhatsAppService
from whatsapp_logs.alarms import Alarm, Watch

SILENT_FOR = timedelta(hours=26)  # a run is due every ten minutes: a day and a night pass by no mistake
NAMES = ("renewals_away", "renewals_failed", "renewal_template_stopped")
_SHOWN = 5


def watch(service: WhatsAppService, *, zone: ZoneInfo) -> None:
    """Raise them wherever the log's alarms are shown: above the log, on the health page, in the metrics."""
    service.watch("renewals", Watch(NAMES, lambda: raised(service, zone=zone, now=datetime.now(UTC))))


def raised(service: WhatsAppService, *, zone: ZoneInfo, now: datetime) -> list[Alarm]:
    """What is wrong with the reminders. Where no rule is on, nobody counts on them."""
    with service.transaction() as conn:
        active = [rule for rule in reminders.rules(conn) if rule.is_active]
        last = runs.look(conn)
    if not active:
        return []
    stopped = reminders.stopped(service, letters.every(service), active)
    found = (_away(last, active, zone=zone, now=now), _failed(last, zone=zone), _stopped(stopped, active))
    return [alarm for alarm in found if alarm is not None]


def _away(last: Runs, active: Sequence[Rule], *, zone: ZoneInfo, now: datetime) -> Alarm | None:
    since = max(filter(None, (last.last_at, _begun(active, zone))))
    if now - since <= SILENT_FOR:
        return None
    ran = f"since {_moment(last.last_at, zone)}" if last.last_at else "yet, though rules are on"
    return Alarm(
        "renewals_away",
        True,
        f"Reminders of renewals have not run {ran}",
        "Nobody is reminded by itself. What becomes more than a week late meanwhile is left out for good.",
        "See that the worker runs, and that WORKER_EXTRA is portal.worker:register for it. What is owed is then made up for.",
    )


def _begun(active: Sequence[Rule], zone: ZoneInfo) -> datetime:
    """Since when somebody counts on the reminders: the day on which the first of the rules was switched on."""
    first: date = min(rule.active_since for rule in active if rule.active_since is not None)
    return datetime.combine(first, time(), zone)


def _failed(last: Runs, *, zone: ZoneInfo) -> Alarm | None:
    if last.failed_at is None:
        return None
    return Alarm(
        "renewals_failed",
        True,
        f"The last run of reminders failed, {_moment(last.failed_at, zone)}: {last.problem}",
        "What it had made is sent; the rest is not made yet. Nothing is lost, and nothing is made twice.",
        "It is tried again every ten minutes, and the alarm ends with the first run that comes to its end. If it stays, the "
        "worker's log says where it fails.",
    )


def _stopped(stopped: dict[int, str], active: Sequence[Rule]) -> Alarm | None:
    if not stopped:
        return None
    named = [f"{rule.days_before} days before: {stopped[rule.rule_id]}" for rule in active if rule.rule_id in stopped]
    more = f" (and {len(named) - _SHOWN} more)" if len(named) > _SHOWN else ""
    return Alarm(
        "renewal_template_stopped",
        True,
        f"{len(named)} rule{'s'[: len(named) != 1]} of renewals cannot send. {' '.join(named[:_SHOWN])}{more}".rstrip(
            "."
        ),
        "Their reminders wait, up to a week, and leave by themselves once WhatsApp has approved the template again.",
        "Open Renewals, Rules: choose another template for the rule, or correct the template and have it approved.",
    )


def _moment(at: datetime, zone: ZoneInfo) -> str:
    here = at.astimezone(zone)
    return f"{long_date(here.date())}, {here:%H:%M}"
