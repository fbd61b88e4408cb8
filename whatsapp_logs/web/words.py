"""What templates may say: format's words bound to this request's viewer, zone and moment, and the portal's names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property
from typing import Any

from flask import current_app, g, url_for
from markupsafe import Markup

from whatsapp_logs import export, phone
from whatsapp_logs.errors import DatabaseAway
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import ERASED, FAILURES, IN_FLIGHT, REACHED, Message
from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.send import may_send_again
from whatsapp_logs.twilio.error_codes import explain
from whatsapp_logs.web import access, asking, assets, current, format, sections

# What a template may be given or not; named here, so that a portal may have its Jinja refuse undefined names.
_UNLESS_GIVEN = dict.fromkeys(
    (
        "choices",
        "client",
        "first",
        "heading",
        "is_news",
        "latest",
        "notice",
        "oob",
        "policy",
        "problem",
        "refused",
        "run",
        "typed",
    )
)


class Words:
    """The words of one request; templates know it as `w`."""

    def __init__(self, person: Viewer) -> None:
        self.viewer = person
        self.zone = asking.zone(person)
        self.now: datetime = g.get("whatsapp_logs_now") or datetime.now(UTC)
        self.sees_numbers = person.may(Right.NUMBERS)
        self.sees_texts = person.may(Right.TEXTS)
        self.may_refresh = person.may(Right.REFRESH)
        self.may_send = person.may(Right.SEND)
        self.may_manage_templates = person.may(Right.TEMPLATES)
        self.may_export = person.may(Right.EXPORT)
        self.may_administer = person.may(Right.ADMINISTER)
        self.may_see_looks = person.may(Right.ACCESS_LOG)

    @property
    def sections(self) -> list[sections.Section]:
        """The feature's sections that this viewer may open."""
        return sections.of(self.viewer)

    def message_url(self, message_id: int) -> str:
        """Where a message's page is. The way there is asked for once, not for each row."""
        return f"{self._messages_url}{message_id}"

    @cached_property
    def _messages_url(self) -> str:
        return url_for("whatsapp_logs.message", message_id=0).removesuffix("0")

    def address(self, text: str | None) -> str:
        """A phone number as this viewer may see it."""
        if not text:
            return "–"
        if text == ERASED:
            return "Erased"
        return phone.pretty(text) if self.sees_numbers else phone.masked(text)

    def other_side(self, message: Message) -> str | None:
        """The customer's address: the recipient, or the sender of a message to us."""
        return message.sender if message.direction == "inbound" else message.recipient

    def clock(self, moment: datetime) -> str:
        """Short: "15:04"."""
        return format.clock(moment, zone=self.zone, now=self.now)

    def second(self, moment: datetime) -> str:
        """ "15:04:11"."""
        return format.second(moment, zone=self.zone)

    def time(self, moment: datetime) -> str:
        """The time of day alone: "15:04"."""
        return f"{moment.astimezone(self.zone):%H:%M}"

    def day(self, moment: datetime) -> str:
        """The day alone: "23 Nov"."""
        local = moment.astimezone(self.zone)
        return f"{local.day} {local:%b}" if local.year == self.now.year else f"{local.day} {local:%b %Y}"

    def full(self, moment: datetime) -> str:
        """Nothing left to guess."""
        return format.full(moment, zone=self.zone)

    def relative(self, moment: datetime) -> str:
        """How long ago."""
        return format.relative(moment, zone=self.zone, now=self.now)

    def status(self, message: Message) -> format.StatusWords:
        """Where a message stands, in words."""
        said = format.status_words(message, zone=self.zone, now=self.now)
        if self.sees_numbers or said.tone != "bad":
            return said
        return replace(said, detail=self.provider_text(said.detail))

    def provider_text(self, text: str) -> str:
        """What Twilio says of a failure, as this viewer may see it."""
        return text if self.sees_numbers else phone.masked_in(text)

    @property
    def zone_name(self) -> str:
        """The zone's short name just now."""
        return format.zone_name(self.now.astimezone(self.zone))

    @property
    def presets(self) -> list[tuple[str, date]]:
        """Ranges for one click: the label and the first day."""
        today = self.now.astimezone(self.zone).date()
        return [(label, today - timedelta(days=back)) for label, back in (("Today", 0), ("7 days", 6), ("30 days", 29))]


def for_templates() -> dict[str, Any]:
    """What every template of ours finds."""
    extension = current.extension()
    config = extension.config
    person = g.get("whatsapp_logs_viewer")
    return {
        **_UNLESS_GIVEN,
        "layout": extension.layout,
        "has_find": extension.find is not None,
        "w": None if person is None else Words(person),
        "f": format,
        "explain": explain,
        "DatabaseAway": DatabaseAway,
        "assets": assets,
        "wl_csrf": access.csrf_token,
        "simulated": config is not None and config.simulated,
        "twilio_configured": config is not None and config.twilio_configured,
        "IN_FLIGHT": sorted(IN_FLIGHT, key=lambda status: status.rank),
        "REACHED": sorted(REACHED, key=lambda status: status.rank),
        "writes_xlsx": export.can_write_xlsx(),
        "max_sheet_rows": export.MAX_SHEET_ROWS,
        "FAILURES": sorted(FAILURES, key=lambda status: status.rank),
    }


@cache
def icons() -> dict[str, Markup]:
    """Every icon of the list's rows, drawn once."""
    draw = current_app.jinja_env.get_template("whatsapp_logs/_parts.html").module.icon  # type: ignore[attr-defined]
    return {name: draw(name) for name in {"file", "question", "talk", *format.ICONS.values()}}


def names(messages: Iterable[Message], *, wanted: MessageFilter | None = None) -> dict[str, Any]:
    """What belongs to these messages: the portal's names and links for their clients and policies, and their repetitions.

    `wanted` is the list's filter, whose client and policy are named too.
    `client_of(message)` is the client's id; an answer's is known from what was sent to its number before.
    """
    extension = current.extension()
    rows: Sequence[Message] = list(messages)
    senders = sorted({row.sender for row in rows if row.direction == "inbound" and row.sender and not row.client_id})
    known = current.service().clients_of(senders) if senders else {}
    failed = [row.id for row in rows if may_send_again(row) or row.is_contradicted]

    def client_of(message: Message) -> str | None:
        return message.client_id or known.get(message.sender or "")

    clients = {client_id for row in rows if (client_id := client_of(row)) is not None}
    policies = {row.policy_id for row in rows if row.policy_id is not None}
    if wanted is not None:
        clients |= {wanted.client_id} - {""}
        policies |= {wanted.policy_id} - {""}
    return {
        "client_of": client_of,
        "sent_again": current.service().sent_again(failed) if failed else {},
        "clients": _asked_for(extension.client_names, sorted(clients)),
        "policies": _asked_for(extension.policy_names, sorted(policies)),
        "client_url": extension.client_url,
        "policy_url": extension.policy_url,
    }


def _asked_for(look_up: Any, ids: list[str]) -> dict[str, str]:
    return dict(look_up(ids)) if ids else {}
