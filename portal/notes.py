"""A word for the page that comes next: what was done, with a link to where it shows."""

from __future__ import annotations

from typing import Any

from flask import Flask, session


def init_app(app: Flask) -> None:
    """Let the templates show the notes."""
    app.add_template_global(take_notes)


def say(text: str, category: str, *, href: str | None = None, link: str = "") -> None:
    """Leave a note; `category` is "ok" or "bad", `link` are the words that lead to `href`."""
    session.setdefault("notes", []).append({"category": category, "text": text, "href": href, "link": link})
    session.modified = True


def take_notes() -> list[dict[str, Any]]:
    """What earlier requests had to say, once."""
    notes: list[dict[str, Any]] = session.pop("notes", [])
    return notes
