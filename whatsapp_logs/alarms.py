"""Alarms: what is wrong around the log, what it means, and what to do. Pure rules over readings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from whatsapp_logs.config import Config
from whatsapp_logs.reconcile import SETTLED_H
from whatsapp_logs.store.alarms import COUNT_UP_TO, Readings
from whatsapp_logs.twilio.error_codes import explain

_RECONCILED_WITHIN = timedelta(hours=12)  # after the hour at which the clock begins
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong. `name` is for machines; `is_grave` when messages do not go out or statuses may be false."""

    name: str
    is_grave: bool
    title: str
    meaning: str
    cure: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Alarms of a portal's own: every name there is, and what tells which of them are raised now."""

    names: tuple[str, ...]
    look: Callable[[], Sequence[Alarm]]


def raised(readings: Readings, config: Config, *, watches: Iterable[Watch] = ()) -> list[Alarm]:
    """The alarms that these readings raise, and the portal's own, the gravest first."""
    found = [alarm for rule in _RULES.values() if (alarm := rule(readings, config)) is not None]
    found += [alarm for watch in watches for alarm in watch.look()]
    return sorted(found, key=lambda alarm: not alarm.is_grave)


def names() -> tuple[str, ...]:
    """Every alarm of the log's."""
    return tuple(_RULES)


def _worker_away(readings: Readings, config: Config) -> Alarm | None:
    silence_s = readings.worker_silence_s
    if silence_s is not None and silence_s <= config.alarm_worker_silence_s:
        return None
    since = "No worker has ever run" if silence_s is None else f"The worker has been silent for {_span(silence_s)}"
    return Alarm(
        "worker_away",
        True,
        since,
        "Messages are written down but not sent, and nobody asks Twilio for lost statuses.",
        "Start `python -m whatsapp_logs worker`; its log says why it ended. Messages then go out by themselves.",
    )


def _queue_old(readings: Readings, config: Config) -> Alarm | None:
    waiting = readings.waiting
    age_s = _age_s(readings.now, waiting.oldest)
    if age_s is None or age_s < config.alarm_queue_age_minutes * 60:
        return None
    reason = f" The oldest one's reason: {waiting.reason}" if waiting.reason else ""
    return Alarm(
        "queue_old",
        True,
        f"{_count(waiting.count, 'message')} waiting to be sent, the oldest for {_span(age_s)}",
        f"They are safe, and have not been handed to Twilio.{reason}",
        "See that the worker runs and that Twilio answers (`doctor` says both). If everything runs and the queue only is long, "
        "wait, or start a second worker.",
    )


def _campaign_stands(readings: Readings, config: Config) -> Alarm | None:
    standing = readings.standing
    age_s = _age_s(readings.now, standing.oldest)
    if age_s is None or age_s < config.alarm_queue_age_minutes * 60:
        return None
    reason = f" Twilio's reason: {standing.reason}" if standing.reason else ""
    return Alarm(
        "campaign_stands",
        True,
        f"{_count(standing.count, 'campaign')} running without getting on, for {_span(age_s)}",
        f"Its messages are safe, and none is handed over twice.{reason}",
        "See that the worker runs and that Twilio answers (`doctor` says both): the campaign goes on by itself. To have it "
        "wait, pause it on its page; “Cancel the rest” ends it.",
    )


def _no_callbacks(readings: Readings, config: Config) -> Alarm | None:
    if readings.unheard == 0:
        return None
    since = (
        "never" if readings.last_callback is None else f"for {_span(_age_s(readings.now, readings.last_callback) or 0)}"
    )
    title = "Twilio has never called back" if since == "never" else f"Twilio has not called back {since}"
    return Alarm(
        "no_callbacks",
        True,
        f"{title}, while {_count(readings.unheard, 'message')} should have been reported",
        "Twilio cannot reach this portal, or its calls are refused. Statuses are still learnt by asking Twilio.",
        "Press “Test the callback”: it says which part fails. Usually PUBLIC_BASE_URL, the proxy or a certificate has changed.",
    )


def _forged_calls(readings: Readings, config: Config) -> Alarm | None:
    calls = sum(readings.refused.values())
    if calls < config.alarm_refused_calls_per_hour:
        return None
    reasons = ", ".join(f"{n} × {reason}" for reason, n in sorted(readings.refused.items()))
    return Alarm(
        "forged_calls",
        False,
        f"{_count(calls, 'call')} refused in the last hour ({reasons})",
        "Somebody called the addresses meant for Twilio without a right signature. Nothing of it was believed.",
        "If messages get stuck at the same time, it is Twilio and the auth token or PUBLIC_BASE_URL is wrong: press “Test the "
        "callback”. Otherwise it is a stranger: nothing to do, or close the addresses to others in the firewall.",
    )


def _unknown_words(readings: Readings, config: Config) -> Alarm | None:
    codes = [code for code in readings.codes if (advice := explain(code)) is not None and not advice.is_known]
    if not readings.unknown_words and not codes:
        return None
    said = [f"status “{word}”" for word in readings.unknown_words] + [f"code {code}" for code in codes]
    more = f" and {len(said) - _NAMES_SHOWN} more" if len(said) > _NAMES_SHOWN else ""
    return Alarm(
        "unknown_words",
        False,
        f"Twilio says what this program does not know: {', '.join(said[:_NAMES_SHOWN])}{more}",
        "The reports are kept with their raw text; a status that is not understood moves no message.",
        "Look the word up in Twilio's documentation, and update the program: newer versions may know it.",
    )


def _reports_parked(readings: Readings, config: Config) -> Alarm | None:
    age_s = _age_s(readings.now, readings.parked.oldest)
    if age_s is None or age_s < config.alarm_parked_age_minutes * 60:
        return None
    return Alarm(
        "reports_parked",
        False,
        f"{_count(readings.parked.count, 'report')} without a message, the oldest for {_span(age_s)}",
        "Twilio reported on messages that are not in the log: other code sends with this account, or an older backup was restored.",
        "Reconcile the days of the reports: what Twilio lists is imported, and the reports move to it. Other code should call "
        "`log_message`.",
    )


def _reconciliation_missing(readings: Readings, config: Config) -> Alarm | None:
    if not config.twilio_configured or readings.now - readings.watched_since < timedelta(days=1):
        return None
    due = (readings.now - timedelta(days=1, hours=SETTLED_H) - _RECONCILED_WITHIN).date()
    if readings.reconciled_day is not None and readings.reconciled_day >= due:
        return None
    last = "never" if readings.reconciled_day is None else f"last for {_day(readings.reconciled_day)}"
    return Alarm(
        "reconciliation_missing",
        False,
        f"The log has not been compared with Twilio's list ({last})",
        "What only one side knows would go unnoticed.",
        "See that the worker runs. A comparison that Twilio interrupts is resumed by itself; its page says why it stopped.",
    )


def _reconciliation_gap(readings: Readings, config: Config) -> Alarm | None:
    if not readings.gaps:
        return None
    days = ", ".join(f"{_day(day)}: {_count(n, 'message')}" for day, _run, n in readings.gaps)
    return Alarm(
        "reconciliation_gap",
        False,
        f"One side did not know all messages ({days})",
        "What only Twilio knew has been imported and marked; what only the log knows is noted.",
        "Open the day: after restoring a backup this is the repair; otherwise find out which other program sends with this number.",
    )


def _scheduled_too_late(readings: Readings, config: Config) -> Alarm | None:
    if not readings.too_late:
        return None
    return Alarm(
        "scheduled_too_late",
        True,
        f"{_count(readings.too_late, 'scheduled message')} too late to be sent",
        f"Nothing was sending when their time came, and that was more than {config.scheduled_too_late_hours} hours ago when the "
        "worker ran again.",
        "Filter the log by “too late”: each of them can be sent again by hand. The limit is SCHEDULED_TOO_LATE_HOURS.",
    )


def _unconfirmed(readings: Readings, config: Config) -> Alarm | None:
    age_s = _age_s(readings.now, readings.unconfirmed.oldest)
    if age_s is None:
        return None
    return Alarm(
        "unconfirmed",
        False,
        f"{_count(readings.unconfirmed.count, 'message')} unconfirmed, the oldest for {_span(age_s)}",
        "Twilio's answer was lost: they may have been sent. They are looked up, and never sent again by themselves.",
        "Wait an hour. What stays is not in Twilio's list: look in Twilio's console and ask the customer, then open the message "
        "and press “It was not sent”. It can be sent again from there.",
    )


def _template_stopped(readings: Readings, config: Config) -> Alarm | None:
    found = readings.stopped_templates
    if not found:
        return None
    said = ", ".join(f"{name} is {approval}" for _id, name, approval in found[:_NAMES_SHOWN])
    more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    return Alarm(
        "template_stopped",
        True,
        f"{'A template' if len(found) == 1 else 'Templates'} of the last days cannot be sent with any more: {said}{more}",
        "Messages with it are refused, and say so in the log. Outside the 24-hour window nothing takes their place by itself.",
        "Open the template: it says why, and what to do. Archive it when you do not need it any more.",
    )


def _customers_waiting(readings: Readings, config: Config) -> Alarm | None:
    age_s = _age_s(readings.now, readings.customers.oldest)
    if age_s is None or age_s < config.alarm_waiting_customers_minutes * 60:
        return None
    return Alarm(
        "customers_waiting",
        False,
        f"{_count(readings.customers.count, 'customer')} waiting for a person, the longest for {_span(age_s)}",
        "They have asked for somebody, or the bot could not help them. WhatsApp takes free answers for 24 hours only.",
        "Open the conversations: who waits longest stands on top. Answer, or give the conversation back to the bot.",
    )


def _bot_failed(readings: Readings, config: Config) -> Alarm | None:
    if readings.bot_failures == 0:
        return None
    return Alarm(
        "bot_failed",
        False,
        f"The bot failed at {_count(readings.bot_failures, 'message')} within a day",
        "Nothing was answered. Each of these customers waits for a person, on top of the conversations.",
        "The worker's log says where it failed: usually the office's records (RECORDS) could not be asked. Answer those who wait.",
    )


def _bot_loop(readings: Readings, config: Config) -> Alarm | None:
    if readings.robots == 0:
        return None
    return Alarm(
        "bot_loop",
        False,
        f"{_count(readings.robots, 'message')} came faster than people write, in the last hour",
        "Perhaps another robot answers ours. The bot is silent there, and a person is called.",
        "Open the conversation. If it is a robot, leave it with staff: nothing more is answered by itself.",
    )


def _files_missing(readings: Readings, config: Config) -> Alarm | None:
    age_s = _age_s(readings.now, readings.files.oldest)
    if age_s is None:
        return None
    reason = f" The oldest one's reason: {readings.files.reason}" if readings.files.reason else ""
    return Alarm(
        "files_missing",
        False,
        f"{_count(readings.files.count, 'file')} of customers could not be fetched",
        f"They are not tried again by themselves.{reason}",
        "Open the conversation and press “Try again”, or ask the customer to send the file once more.",
    )


_RULES: dict[str, Callable[[Readings, Config], Alarm | None]] = {
    "worker_away": _worker_away,
    "queue_old": _queue_old,
    "template_stopped": _template_stopped,
    "campaign_stands": _campaign_stands,
    "no_callbacks": _no_callbacks,
    "scheduled_too_late": _scheduled_too_late,
    "unconfirmed": _unconfirmed,
    "reconciliation_gap": _reconciliation_gap,
    "reconciliation_missing": _reconciliation_missing,
    "reports_parked": _reports_parked,
    "forged_calls": _forged_calls,
    "unknown_words": _unknown_words,
    "customers_waiting": _customers_waiting,
    "bot_failed": _bot_failed,
    "bot_loop": _bot_loop,
    "files_missing": _files_missing,
}


def _age_s(now: datetime, since: datetime | None) -> float | None:
    return None if since is None else (now - since).total_seconds()


def _span(seconds: float) -> str:
    """A length of time in its largest fitting unit: "40 s", "12 min", "3 h", "2 days"."""
    for unit_s, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


def _count(n: int, noun: str) -> str:
    return f"{n}{'+' if n == COUNT_UP_TO else ''} {noun}{'s'[: n != 1]}"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"
