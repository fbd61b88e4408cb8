"""What somebody searches for in a list: posted, kept in the database under a word, and only the word stands in an address."""

from __future__ import annotations

from flask import current_app, redirect, request, url_for
from werkzeug.wrappers import Response

from portal.access import me
from portal.notes import say
from whatsapp_logs import WhatsAppService

_MAX_TEXT = 100


def wanted() -> str:
    """The text that this address's word stands for; empty without one."""
    token = request.args.get("search", "")
    if not token:
        return ""
    found = _service().recall_search(token[:100], person=me().username)
    if found is None:
        say("This link holds a search of somebody else, or of another day. Type it again.", "bad")
    return found or ""


def typed() -> str:
    """The text that was typed, or that an address of earlier days still holds."""
    return request.values.get("q", "").replace("\0", "").strip()[:_MAX_TEXT]


def lead_to(endpoint: str, text: str) -> Response:
    """To the list of what was searched for."""
    token = _service().remember_search(text, person=me().username) if text else None
    return redirect(url_for(endpoint, search=token), 303)


def _service() -> WhatsAppService:
    service: WhatsAppService = current_app.extensions["portal_whatsapp"]
    return service
