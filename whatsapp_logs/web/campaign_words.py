"""What a campaign's pages say: states, results of rows, how long it takes. Pure: no request, no database."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from whatsapp_logs.campaigns import Told
from whatsapp_logs.catalogue import Version
from whatsapp_logs.message import Status
from whatsapp_logs.store.campaigns import Campaign, Recipient, Result
from whatsapp_logs.twilio.error_codes import explain
from whatsapp_logs.web import format

_STATES = {
    "draft": ("Draft", "clock", "quiet"),
    "waiting": ("Waits for release", "clock", "warn"),
    "running": ("Running", "arrow", "ok"),
    "paused": ("Paused", "stop", "warn"),
    "done": ("Done", "tick", "ok"),
    "canceled": ("Canceled", "stop", "quiet"),
}
# What a row's problem is called in a list of reasons; the sentence stands with the row.
PROBLEMS = {
    "invalid_number": "Not a phone number",
    "opted_out": "Asked us to stop",
    "no_marketing": "Want no advertising",
    "no_marketing_consent": "Have not agreed to advertising",
    "no_consent": "Have not agreed to messages",
    "variables_missing": "A field is empty",
    "variables_unclean": "A field cannot be sent",
    "text_too_long": "Too long",
    "duplicate": "Got the very same today",
    "duplicate_row": "The same row twice",
    "too_many": "Too many messages in a day",
    "erased": "Erased on request",
    "window_closed": "The 24-hour window is closed",
}
# In the order of a message's way: what each figure counts, and the list that shows exactly those.
FIGURES = (
    ("Queued", (Status.QUEUED,), ""),
    ("On the way", (Status.SENDING, Status.SENT), ""),
    ("Delivered", (Status.DELIVERED,), "ok"),
    ("Read", (Status.READ,), "read"),
    ("Failed", (Status.FAILED, Status.UNDELIVERED), "bad"),
    ("Canceled", (Status.CANCELED,), ""),
)


@dataclass(frozen=True, slots=True)
class RowWords:
    """What became of a row: an icon, a word, a code, a sentence, and how it feels."""

    icon: str
    word: str
    code: str
    text: str
    tone: str


def state(campaign: Campaign) -> format.StatusWords:
    """The campaign's state."""
    word, icon, tone = _STATES[campaign.state]
    return format.StatusWords(icon=icon, word=word, detail="", tone=tone)


def problem(code: str) -> str:
    """A reason for leaving rows out, as a heading."""
    return PROBLEMS.get(code) or code.replace("_", " ").capitalize()


def result(row: Result) -> RowWords:
    """What became of a row, or why it is left out."""
    if row.problem is not None:
        return RowWords("stop", "Left out", row.problem, row.reason or "", "warn")
    if row.status is None:
        return RowWords("clock", "Not sent yet", "", "", "quiet")
    if row.is_unconfirmed:
        text = "The answer was lost: it is looked up at Twilio before anything else happens."
        return RowWords("question", "Unconfirmed", "", text, "warn")
    status = Status(row.status)
    advice = explain(row.error_code)
    text = row.error_message or ""
    if advice is not None and advice.is_known:
        text = f"{advice.title}. {advice.action}."
    if status is Status.QUEUED:
        text = row.wait_reason or ""
    tone = {Status.DELIVERED: "ok", Status.READ: "read", Status.FAILED: "bad", Status.UNDELIVERED: "bad"}.get(
        status, "quiet"
    )
    return RowWords(format.ICONS[status], format.status_label(status), row.error_code or "", text, tone)


def example(campaign: Campaign, template: Version, mapping: Mapping[str, Any], row: Recipient) -> str:
    """A row's message as its customer would read it; what is not filled in yet shows as the field's name."""
    names = {field.key: f"[{field.name}]" for field in template.fields}
    values = dict(names)
    for key, given in mapping.get("fields", {}).items():
        place = given.get("column")
        text = row.cells[place] if isinstance(place, int) and place < len(row.cells) else given.get("text", "")
        values[key] = " ".join(str(text).split()) or names.get(key, "")
    return template.text(values)


def duration(seconds: float) -> str:
    """About how long: "less than a minute", "about 8 min", "about 2 h 5 min"."""
    minutes = -(-int(seconds) // 60)
    if seconds < 60:
        return "less than a minute"
    hours, left = divmod(minutes, 60)
    if not hours:
        return f"about {minutes} min"
    return f"about {hours} h {left} min" if left else f"about {hours} h"


def money(amount: str, unit: str) -> str:
    """An estimate: "about 12.50 USD"."""
    value = Decimal(amount)
    return f"about {value:,.2f} {unit}" if value >= Decimal("0.01") or not value else f"less than 0.01 {unit}"


def many(n: int, one: str, more: str = "") -> str:
    """ "1 person", "1 234 people"."""
    return f"{format.number(n)} {one if n == 1 else more or one + 's'}"


def fingerprint(told: Told) -> str:
    """A word that is another one as soon as anything on the campaign's page has changed."""
    facts = (
        told.campaign.state,
        told.campaign.queued_up_to,
        told.campaign.checked_up_to,
        told.campaign.check_asked_at,
        told.progress,
        told.failures,
        told.resume_at,
        told.resume_reason,
    )
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()
