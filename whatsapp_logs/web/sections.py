"""The feature's sections, as every page of it offers them to whoever may see them."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, request, url_for

from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.web import format, talk_links

_ROOT = "/whatsapp_logs"
_SECTIONS = (
    ("Messages", "page", Right.SEE),
    ("Conversations", "conversations", Right.TEXTS),
    ("Scheduled", "scheduled", Right.SEE),
    ("Campaigns", "campaigns", Right.SEE),
    ("Templates", "templates", Right.SEE),
    ("Consent", "consent", Right.SEE),
)


@dataclass(frozen=True, slots=True)
class Section:
    """A section's name and address, and whether the page at hand is in it."""

    name: str
    url: str
    is_current: bool
    waiting: str = ""  # how many customers wait there for a person: "3", "99+"; empty where nobody does


def of(person: Viewer) -> list[Section]:
    """The sections that this person may open."""
    shown = []
    for name, view, right in _SECTIONS:
        endpoint = f"whatsapp_logs.{view}"
        if endpoint in current_app.view_functions and person.may(right):
            url = url_for(endpoint)
            is_current = _is_below(request.path, url) if not url.endswith(_ROOT) else _is_a_message(request.path, url)
            waits = talk_links.waiting(person) if view == "conversations" else 0
            shown.append(Section(name, url, is_current, format.waiting(waits)))
    return shown


def _is_below(path: str, url: str) -> bool:
    return path == url or path.startswith(f"{url}/")


def _is_a_message(path: str, url: str) -> bool:
    return path == url or path.startswith(f"{url}/messages/")
