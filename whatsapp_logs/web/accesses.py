"""Who has looked: the access log as a page, of everybody or of one person, one message, one client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, render_template, request, url_for

from whatsapp_logs.access_log import Access, AccessFilter, Act
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Status
from whatsapp_logs.rights import Right
from whatsapp_logs.web import asking, current, format, looks
from whatsapp_logs.web.access import requires, viewer

ROWS = 50
_MAX_ID = 2**63 - 1
_ACTS = {
    Act.OPENED: "Messages opened",
    Act.DOCUMENT: "Documents opened",
    Act.SEARCHED: "Searches",
    Act.LISTED: "Lists of one client or policy",
    Act.EXPORTED: "Exports",
    Act.LINK: "Document links used",
    Act.ACCESS_LOG: "The access log itself",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One look in words: what was done, whom it was about (client or policy ids), and the message it leads to."""

    access: Access
    what: str
    clients: list[str]
    policies: list[str]


def register(blueprint: Blueprint) -> None:
    """Add the page."""
    blueprint.add_url_rule("/whatsapp_logs/access", "access_log", page)


@requires(Right.ACCESS_LOG)
def page() -> str:
    """Looks, newest first. Looking at them is one too."""
    days = MessageFilter.from_query(request.args.to_dict(flat=False), zone=asking.zone(viewer()))
    wanted, before = _wanted(days), request.args.get("before")
    looks.at_access_log(person=wanted.person, message=wanted.message_id, client=wanted.client_id)
    service = current.service()
    found = service.accesses(wanted, before=Cursor.decode(before, field="before") if before else None, limit=ROWS + 1)
    lines = [_line(access) for access in found[:ROWS]]
    extension = current.extension()
    clients = {one for line in lines for one in line.clients} | ({wanted.client_id} - {""})
    policies = {one for line in lines for one in line.policies}
    return render_template(
        "whatsapp_logs/access_log.html",
        lines=lines,
        wanted=wanted,
        days=days,
        acts=_ACTS,
        people=service.people_who_looked(),
        clients=dict(extension.client_names(sorted(clients))) if clients else {},
        policies=dict(extension.policy_names(sorted(policies))) if policies else {},
        older=_address(before=Cursor(found[ROWS - 1].at, found[ROWS - 1].id).encode()) if len(found) > ROWS else None,
        newest=_address() if before else None,
        is_filtered=wanted != AccessFilter(),
    )


def _wanted(days: MessageFilter) -> AccessFilter:
    message = request.args.get("message", "")
    if message and not (message.isascii() and message.isdigit() and int(message[:20]) <= _MAX_ID):
        raise InvalidInput("message", "A message has a whole number.")
    try:
        acts = tuple(Act(word) for word in request.args.getlist("act") if word)
    except ValueError as error:
        raise InvalidInput("act", "There is no such kind of look.") from error
    return AccessFilter(
        person=request.args.get("person", "").replace("\0", "")[:200],
        acts=acts,
        message_id=int(message) if message else None,
        client_id=days.client_id,
        since=days.since,
        until=days.until,
    )


def _address(**more: str) -> str:
    kept = [(name, value) for name, value in request.args.items(multi=True) if value and name != "before"]
    query = urlencode([*kept, *more.items()])
    return url_for("whatsapp_logs.access_log") + (f"?{query}" if query else "")


def _line(access: Access) -> Line:
    about: dict[str, list[str]] = {"client": [], "policy": [], "number": []}
    for subject in access.subjects:
        kind, _, key = subject.partition(":")
        about.setdefault(kind, []).append(key)
    return Line(access, _what(access, has_number=bool(about["number"])), about["client"], about["policy"])


def _what(access: Access, *, has_number: bool) -> str:
    about = access.about
    if access.act is Act.SEARCHED:
        if not has_number:
            return "Searched by name or policy number"
        digits = about.get("digits")
        return f"Searched for a number by {digits} digits" if digits else "Searched for a number"
    if access.act is Act.EXPORTED:
        if about.get("campaign"):
            return f"Exported as {str(about.get('format', 'file')).upper()}: the table of campaign {about['campaign']}"
        return f"Exported as {str(about.get('format', 'file')).upper()}: {_filter_words(about) or 'the whole log'}"
    if access.act is Act.OPENED and "conversation" in about:
        return f"Read conversation {about['conversation']}" + (
            " with" if access.subjects and "client" in access.subjects[0] else ""
        )
    plain = {
        Act.OPENED: "Opened message",
        Act.DOCUMENT: "Opened the document of message",
        Act.LISTED: "Looked at the messages of",
        Act.LINK: "Fetched a document by its link",
        Act.ACCESS_LOG: "Looked at the access log",
    }
    return plain[access.act]


def _filter_words(about: Mapping[str, Any]) -> str:
    statuses = ", ".join(format.status_label(Status(word)).lower() for word in about.get("statuses", ()))
    types = ", ".join(format.message_type(name) for name in about.get("types", ()))
    first, last = (_day(day) for day in about.get("days", (None, None)))
    days = f"{first or 'the beginning'} to {last or 'that day'}" if first or last else ""
    code = f"error {about['error_code']}" if about.get("error_code") else ""
    return "; ".join(_some([statuses, types, days, code, "received" if about.get("direction") else ""]))


def _day(text: str | None) -> str:
    if not text:
        return ""
    day = date.fromisoformat(text)
    return f"{day.day} {day:%b %Y}"


def _some(words: Iterable[str]) -> list[str]:
    return [word for word in words if word]
