"""The log on the portal's own pages: two words for templates. They respect the viewer's rights and never break the page."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from flask import Flask, current_app, g, render_template
from markupsafe import Markup

from whatsapp_logs.errors import InvalidInput, WhatsAppLogsError
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import FAILURES
from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.web import asking, words
from whatsapp_logs.web.listing import Figures

log = logging.getLogger(__name__)

_MAX_ROWS = 50
_LAST_FAILURES = 3


def register(app: Flask) -> None:
    """Add the template words `whatsapp_logs_widget` and `whatsapp_logs_messages`."""
    app.add_template_global(whatsapp_logs_widget)
    app.add_template_global(whatsapp_logs_messages)


def whatsapp_logs_widget() -> Markup:
    """A card for the portal's first page: figures of today and of all time, the last failures, the way to the log."""

    def content(person: Viewer) -> dict[str, Any]:
        service = _service()
        zone = asking.zone(person)
        today = MessageFilter(date_from=datetime.now(zone).date(), zone=zone)
        counted = service.count_by_status(today)
        failures = service.page(MessageFilter(statuses=tuple(FAILURES)), limit=_LAST_FAILURES).messages
        return {
            "total": Figures(service.status_counts()),
            "today": None if counted is None else Figures(counted),
            "today_filter": asking.Asked(wanted=today),
            "everything": asking.Asked(wanted=MessageFilter(zone=zone)),
            "rows": failures,
        }

    return _drawn("_widget.html", content)


def whatsapp_logs_messages(
    *, client_id: str | int | None = None, policy_id: str | int | None = None, limit: int = 5
) -> Markup:
    """The latest messages of a client or a policy, and the way to all of them."""

    def content(person: Viewer) -> dict[str, Any]:
        wanted = MessageFilter(
            client_id="" if client_id is None else str(client_id),
            policy_id="" if policy_id is None else str(policy_id),
            zone=asking.zone(person),
        )
        rows = _service().page(wanted, limit=max(1, min(limit, _MAX_ROWS))).messages
        return {"everything": asking.Asked(wanted=wanted), "rows": rows}

    return _drawn("_messages.html", content)


def _drawn(template: str, content: Any) -> Markup:
    """The widget for whoever is signed in: nothing for somebody without the right, a sentence while the log is away."""
    extension = current_app.extensions["whatsapp_logs"]
    person: Viewer | None = extension.current_user()
    if person is None or not person.may(Right.SEE):
        return Markup("")
    g.whatsapp_logs_viewer = person
    g.whatsapp_logs_now = datetime.now(UTC)
    try:
        filled = content(person)
        filled |= words.names(filled["rows"])
    except InvalidInput:  # an id the log's tables cannot hold has no messages
        filled = {"rows": [], "everything": None}
    except WhatsAppLogsError as error:
        log.warning("widget %s not shown: %s", template, error)
        filled = {"problem": str(error)}
    first = not g.get("whatsapp_logs_assets")
    g.whatsapp_logs_assets = True
    html = render_template(f"whatsapp_logs/{template}", first=first, **words.for_templates(), **filled)
    return Markup(html)


def _service() -> Any:
    return current_app.extensions["whatsapp_logs"].service
