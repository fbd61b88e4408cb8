"""Words for people: times in the viewer's zone, numbers, statuses. Pure: whoever calls says what time it is and where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from whatsapp_logs import wording
from whatsapp_logs.message import FAILURES, Message, Status
from whatsapp_logs.twilio.error_codes import explain

_THIN = "\u202f"  # narrow no-break space between thousands
# Ours are English whatever the server's locale; and a list says hundreds of times, which strftime makes slow.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ICONS = {
    Status.SCHEDULED: "clock",
    Status.QUEUED: "clock",
    Status.SENDING: "arrow",
    Status.SENT: "tick",
    Status.CANCELED: "stop",
    Status.FAILED: "alert",
    Status.UNDELIVERED: "alert",
    Status.DELIVERED: "ticks",
    Status.READ: "ticks",
    Status.RECEIVED: "reply",
}
_TONES = dict.fromkeys(FAILURES, "bad") | {Status.DELIVERED: "ok", Status.READ: "read"}
# What is said before the moment of a status, and the column in which the moment stands.
_SINCE = {
    Status.SCHEDULED: ("was due ", "send_at"),
    Status.QUEUED: ("since ", "created_at"),
    Status.SENDING: ("since ", "claimed_at"),
    Status.SENT: ("delivering since ", "sent_at"),
    Status.CANCELED: ("", "failed_at"),
    Status.DELIVERED: ("", "delivered_at"),
    Status.READ: ("", "read_at"),
    Status.RECEIVED: ("", "created_at"),
}
_SOURCES = {
    "send": "by our request",
    "callback": "by Twilio’s callback",
    "refresh": "by asking Twilio",
    "reconcile": "from Twilio’s list",
    "import": "from the old log",
}
# WhatsApp's own marks: *bold*, _italic_, ~struck~, ```mono```; a mark counts at the edge of a word only.
_MARKS = tuple(
    (mark, re.compile(r"(?<![\wX])X(?=\S)([^\nX]+?)(?<=\S)X(?![\wX])".replace("X", re.escape(mark))), tag)
    for mark, tag in (("*", "b"), ("_", "i"), ("~", "s"))
)


@dataclass(frozen=True, slots=True)
class StatusWords:
    """A status as a row shows it: an icon's name, a word, what is to be said beside it, and how it should feel.

    `tone` is quiet, ok, read, warn or bad.
    """

    icon: str
    word: str
    detail: str
    tone: str


def number(value: int) -> str:
    """A whole number with its thousands set apart: "1 234"."""
    return f"{value:,}".replace(",", _THIN)


def counted(value: int, *, is_exact: bool) -> str:
    """A number of rows, or how far they were counted: "10 000+"."""
    return number(value) if is_exact else f"{number(value)}+"


def since(moment: datetime, *, now: datetime) -> str:
    """How long ago within the last minutes, in steps of five seconds: "15 s", "2 min"."""
    seconds = max(5, int((now - moment).total_seconds()) // 5 * 5)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"


def waiting(n: int) -> str:
    """How many wait, beside a link: "3", "99+"; empty where nobody does."""
    return "" if n == 0 else str(n) if n < 100 else "99+"


def percent(part: int, whole: int) -> str:
    """A share with one decimal, rounded down: 9 999 of 10 000 is 99.9 %, not 100."""
    return "–" if whole == 0 else _tenths(tenths(part, whole), part)


def tenths(part: int, whole: int) -> int:
    """The share in tenths of a per cent, rounded down: the one number that page and API both tell. 0 of nothing."""
    return part * 1000 // whole if whole else 0


def percent_up(part: int, whole: int) -> str:
    """The same rounded up, for what a rounded-down share leaves over: together they are 100 %."""
    if whole == 0:
        return "–"
    rounded_up = -(-part * 1000 // whole)
    return _tenths(rounded_up if part == whole else min(rounded_up, 999), part)


def clock(moment: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """A moment as short as it stays clear: "15:04", "21 Nov, 15:04", "21 Nov 2025, 15:04"."""
    local, today = moment.astimezone(zone), now.astimezone(zone)
    time = f"{local.hour:02}:{local.minute:02}"
    if local.year != today.year:
        return f"{_day_of(local)} {local.year}, {time}"
    if local.month != today.month or local.day != today.day:
        return f"{_day_of(local)}, {time}"
    return time


def second(moment: datetime, *, zone: ZoneInfo) -> str:
    """The time of day with seconds."""
    return f"{moment.astimezone(zone):%H:%M:%S}"


def full(moment: datetime, *, zone: ZoneInfo) -> str:
    """A moment with nothing left to guess: "Mon 23 Nov 2026, 15:04:11 GMT"."""
    local = moment.astimezone(zone)
    time = f"{local.hour:02}:{local.minute:02}:{local.second:02}"
    return f"{_WEEKDAYS[local.weekday()]} {_day_of(local)} {local.year}, {time} {zone_name(local)}"


def _day_of(local: datetime) -> str:
    return f"{local.day} {_MONTHS[local.month - 1]}"


def zone_name(local: datetime) -> str:
    """The zone's short name at that moment: "GMT", "IST"; as an offset where it has none."""
    name = local.tzname() or ""
    return name if name[:1].isalpha() else f"UTC{name}"


def relative(moment: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """How long ago: "just now", "3 min ago", "2 h ago", "yesterday", "3 days ago", then the day."""
    age_s = (now - moment).total_seconds()
    if age_s < 45:
        return "just now"
    if age_s < 3600:
        return f"{max(1, int(age_s // 60))} min ago"
    local, today = moment.astimezone(zone), now.astimezone(zone)
    days = today.toordinal() - local.toordinal()
    if days <= 0 or age_s < 12 * 3600:
        return f"{int(age_s // 3600)} h ago"
    if days == 1:
        return "yesterday"
    if days < 7:
        return f"{days} days ago"
    return _day_of(local) if local.year == today.year else f"{_day_of(local)} {local.year}"


def left_since(since: datetime | None, *, now: datetime) -> str:
    """How long somebody has waited: "12 min", "3 h", "2 days"; empty when nobody does."""
    if since is None:
        return ""
    minutes = max(0, int((now - since).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min" if minutes else "less than a minute"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def file_size(size: int) -> str:
    """ "340 kB", "1.2 MB"."""
    return f"{size / 1_000_000:.1f} MB" if size >= 1_000_000 else f"{max(1, round(size / 1000))} kB"


def counts_on(age: str) -> bool:
    """Whether these words of `relative` count minutes or hours: an open page counts them on by itself (whatsapp_logs.js)."""
    return age.endswith(("just now", " min ago", " h ago"))


def gap(earlier: datetime, later: datetime) -> str:
    """The time between two moments: "2 s", "4 min", "1 h 20 min", "3 days"; "at once" below a second."""
    seconds = int(later.timestamp()) - int(earlier.timestamp())  # as the clocks beside it are shown, in whole seconds
    if seconds < 1:
        return "at once"
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min" + (f" {seconds % 60} s" if seconds % 60 and seconds < 600 else "")
    if seconds < 48 * 3600:
        minutes = seconds % 3600 // 60
        return f"{seconds // 3600} h" + (f" {minutes} min" if minutes else "")
    return f"{seconds // 86400} days"


def left(until: datetime | None, *, now: datetime) -> str:
    """How long there is still time, rounded down: "3 h 12 min", "12 min", "less than a minute"; whatsapp_logs.js counts it on.

    Empty when the time is over, or there is none.
    """
    if until is None:
        return ""
    minutes = int((until - now).total_seconds() // 60)
    if minutes < 0:
        return ""
    if minutes == 0:
        return "less than a minute"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def later(earlier: datetime, moment: datetime) -> str:
    """How much later a moment is, in one piece: "+ 2 s"; "at once" below a second."""
    words = gap(earlier, moment).replace(" ", "\u00a0")
    return words if words.startswith("at") else f"+\u00a0{words}"


def message_type(name: str) -> str:
    """A message type as people say it: "Policy document"."""
    return wording.message_type(name)


def source(word: str) -> str:
    """How a report reached us: "by Twilio’s callback"."""
    return _SOURCES.get(word, f"by {word}")


def price(amount: Decimal | None, unit: str | None) -> str:
    """Twilio's price; its sign (a charge is negative) is for bookkeepers."""
    return "pending" if amount is None else f"{abs(amount).normalize():f} {unit or ''}".strip()


def status_label(status: Status) -> str:
    """The status as a word."""
    return wording.status_label(status)


def status_icon(status: Status) -> str:
    """The name of the status's icon."""
    return ICONS[status]


def status_tone(status: Status) -> str:
    """How the status should feel: quiet, ok, read or bad."""
    return _TONES.get(status, "quiet")


def status_words(message: Message, *, zone: ZoneInfo, now: datetime) -> StatusWords:
    """Where a message stands, in words; doubt and delay are said, not hidden."""
    status = message.status

    def at(moment: datetime | None) -> str:
        return clock(moment or message.updated_at, zone=zone, now=now)

    if message.is_unconfirmed and not status.is_final:
        return StatusWords("question", wording.UNCONFIRMED, wording.UNCONFIRMED_DETAIL, "warn")
    if status is Status.QUEUED and message.retry_at and message.wait_reason:
        reason = message.wait_reason.partition(".")[0]
        return StatusWords("clock", wording.WAITING, wording.WAITING_DETAIL % (reason, at(message.retry_at)), "warn")
    if message.send_at and message.send_at > now and status in (Status.SCHEDULED, Status.QUEUED):
        return StatusWords("clock", wording.SCHEDULED, f"for {at(message.send_at)}", "quiet")
    if status is Status.SENT and now - (message.sent_at or message.created_at) >= wording.SILENT_AFTER:
        days = (now - (message.sent_at or message.created_at)).days
        return StatusWords("tick", status_label(status), wording.SILENT_DETAIL % (days, "s"[: days > 1]), "warn")
    if message.is_contradicted:
        return StatusWords("question", wording.IN_DOUBT, wording.IN_DOUBT_DETAIL, "warn")
    if status in FAILURES:
        advice = explain(message.error_code)
        reason = advice.title if advice and advice.is_known else (message.error_message or at(message.failed_at))
        return StatusWords("alert", status_label(status), reason, "bad")
    said, column = _SINCE[status]
    moment = getattr(message, column) or (message.created_at if status is Status.SENDING else None)
    return StatusWords(ICONS[status], status_label(status), said + at(moment), status_tone(status))


def place_of_fault(at: str) -> str:
    """Where something went wrong, without blame: "at our end"."""
    return {"us": "at our end", "the recipient": "at the recipient’s end"}.get(at, f"at {at}")


def first_words(text: str | None, *, length: int = 120) -> str:
    """The beginning of a text on one line, without WhatsApp's marks."""
    line = " ".join((text or "").split())
    for mark, pattern, _tag in _MARKS:
        if mark in line:
            line = pattern.sub(r"\1", line)
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def as_whatsapp(text: str) -> Markup:
    """A text as WhatsApp shows it, with its marks for bold, italic and struck; everything else is inert."""
    html = str(escape(text))
    for _mark, pattern, tag in _MARKS:
        html = pattern.sub(rf"<{tag}>\1</{tag}>", html)
    return Markup(html)  # noqa: S704 - escaped above


def _tenths(share: int, part: int) -> str:
    if share == 0 and part:
        return f"< 0.1{_THIN}%"
    return f"{share // 10}.{share % 10}{_THIN}%" if 0 < share < 1000 else f"{share // 10}{_THIN}%"
