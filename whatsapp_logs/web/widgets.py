"""The log on the portal's own pages: two words for templates. They respect the viewer's rights and never break the page."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, g, render_template, request
from markupsafe import Markup

from whatsapp_logs import phone
from whatsapp_logs.errors import InvalidInput, InvalidPhone, WhatsAppLogsError
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import FAILURES, Message
from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.store.messages import Page
from whatsapp_logs.web import asking, current, format, listing, looks, talk_links, words
from whatsapp_logs.web.access import requires, viewer

log = logging.getLogger(__name__)

_MAX_ROWS = 50
_LAST_FAILURES = 3


def register(app: Flask) -> None:
    """Add the words for templates: the four functions that follow `register_live`."""
    app.add_template_global(whatsapp_logs_widget)
    app.add_template_global(whatsapp_logs_messages)
    app.add_template_global(whatsapp_logs_window)
    app.add_template_global(whatsapp_logs_waiting)


def register_live(blueprint: Blueprint) -> None:
    """Add the route that a visible list of latest messages polls."""
    blueprint.add_url_rule("/whatsapp_logs/latest", "latest", latest)


def whatsapp_logs_widget() -> Markup:
    """A card for the portal's first page: figures of today and of all time, the last failures, the way to the log."""
    return _drawn("_widget.html", _figures)


def whatsapp_logs_messages(
    *, client_id: str | int | None = None, policy_id: str | int | None = None, limit: int = 5
) -> Markup:
    """The latest messages of a client or a policy, kept up to date while they are looked at, and the way to all of them."""
    client, policy = ("" if one is None else str(one) for one in (client_id, policy_id))
    return _drawn("_messages.html", lambda person: _seen(_latest(person, client=client, policy=policy, limit=limit)))


def whatsapp_logs_window(number: str) -> Markup:
    """Whether free text reaches this number now, and how much longer; for whoever writes to it."""
    return _drawn("_window.html", lambda _person: _window(number))


def whatsapp_logs_waiting() -> str:
    """How many customers wait for a person: "3", "99+"; empty where nobody does, and for whoever may not read what they wrote."""
    return format.waiting(talk_links.waiting(current.extension().current_user()))


@requires(Right.SEE)
def latest() -> str | Response:
    """The list of latest messages again if anything in it has changed since `seen`, else 204."""
    here = asking.asked()
    limit = int(text) if (text := request.args.get("limit", "")).isdecimal() and len(text) < 4 else 5
    found = _latest(viewer(), client=here.wanted.client_id, policy=here.wanted.policy_id, limit=limit)
    if request.args.get("seen") == found["seen"]:
        return Response(status=204)
    return render_template("whatsapp_logs/_messages.html", **_seen(found), **words.names(found["rows"]))


def _window(number: str) -> dict[str, Any]:
    service = current.service()
    address = phone.to_address(number, region=service.config.default_region)
    return {"rows": [], "until": service.window_until(address), "heard_at": service.last_inbound_at(address)}


def _figures(person: Viewer) -> dict[str, Any]:
    service = current.service()
    zone = asking.zone(person)
    today = MessageFilter(date_from=datetime.now(zone).date(), zone=zone)
    counted = service.count_by_status(today)
    return {
        "total": listing.Figures(service.status_counts()),
        "today": None if counted is None else listing.Figures(counted),
        "today_filter": asking.Asked(wanted=today),
        "everything": asking.Asked(wanted=MessageFilter(zone=zone)),
        "rows": service.page(MessageFilter(statuses=tuple(FAILURES)), limit=_LAST_FAILURES).messages,
    }


def _seen(found: dict[str, Any]) -> dict[str, Any]:
    """What is shown of somebody, once that is written down."""
    looks.at_list(found["everything"].wanted)
    return found


def _latest(person: Viewer, *, client: str, policy: str, limit: int) -> dict[str, Any]:
    everything = asking.Asked(wanted=MessageFilter(client_id=client, policy_id=policy, zone=asking.zone(person)))
    limit = max(1, min(limit, _MAX_ROWS))
    sent = current.service().page(everything.wanted, limit=limit).messages
    rows = sorted([*sent, *_received(client, limit=limit)], key=lambda row: (row.created_at, row.id), reverse=True)
    page = Page(rows[:limit], newer=None, older=None)
    return {
        "everything": everything,
        "rows": page.messages,
        "talk": talk_links.of_client(person, page.messages) if client else None,
        "latest": "-".join(filter(None, ("client" * bool(client), client, "policy" * bool(policy), policy))),
        "client": client or None,
        "policy": policy or None,
        "limit": limit,
        "seen": listing.fingerprint_of(page, listing.Figures({}), everything, datetime.now(UTC)),
    }


def _received(client: str, *, limit: int) -> list[Message]:
    """What came from the client's number: an answer names no client."""
    extension = current.extension()
    told = extension.client_phone(client) if client else None
    if not told:
        return []
    try:
        number = phone.to_address(told, region=extension.service.config.default_region)
    except InvalidPhone:
        return []
    return extension.service.page(MessageFilter(direction="inbound", phone=number), limit=limit).messages


def _drawn(template: str, content: Callable[[Viewer], dict[str, Any]]) -> Markup:
    """The widget for whoever is signed in: nothing for somebody without the right, a sentence while the log is away."""
    person = current.extension().current_user()
    if person is None or not person.may(Right.SEE):
        return Markup("")
    g.whatsapp_logs_viewer = person
    g.whatsapp_logs_now = datetime.now(UTC)
    try:
        filled = content(person)
        filled |= words.names(filled["rows"])
    except InvalidInput:  # an id that the log's tables cannot hold has no messages
        filled = {"rows": []}
    except WhatsAppLogsError as error:
        log.warning("widget %s not shown: %s", template, error)
        filled = {"problem": str(error)}
    first = not g.get("whatsapp_logs_assets")
    g.whatsapp_logs_assets = True
    return Markup(render_template(f"whatsapp_logs/{template}", **{**words.for_templates(), "first": first, **filled}))  # noqa: S704 - a template's output, escaped there
