"""Sending later: the day, the time and whose time of a form."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

from flask import request

from portal.access import portal_config
from portal.sending import Letter, service
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.web.scheduled import typed_moment

_FIELDS = ("later_day", "later_time", "later_zone", "later")
OFFICE = "office"


def timed(letter: Letter) -> Letter:
    """The letter with the time that the form asks for; as it is, where the form asks for none. Raises InvalidInput."""
    day, clock = (request.form.get(name, "").strip() for name in _FIELDS[:2])
    if not day and not clock and not request.form.get("later"):
        return letter
    if not day or not clock:
        raise InvalidInput("later_day", "To send it later, choose both a day and a time.")
    at = service().send_time(*typed_moment(day, clock), _zone(letter.draft.to))
    return replace(letter, draft=replace(letter.draft, send_at=at))


def fields() -> dict[str, object]:
    """What the form said of the time, for a form that repeats it."""
    return {name: request.form[name] for name in _FIELDS if request.form.get(name)}


def _zone(to: str) -> ZoneInfo:
    if request.form.get("later_zone") == OFFICE:
        return ZoneInfo(portal_config().timezone)
    return service().recipient_zone(to)
