"""One sentence for the next page, kept in the session: the host's own flash messages stay the host's."""

from __future__ import annotations

from flask import session

_KEY = "whatsapp_logs_notice"


def leave_notice(text: str, *, tone: str = "ok") -> None:
    """Say this on the next page of the log. `tone` is ok or bad."""
    session[_KEY] = [tone, text]


def take_notice() -> tuple[str, str] | None:
    """What was left to be said: its tone and its text."""
    notice = session.pop(_KEY, None)
    return None if notice is None else (str(notice[0]), str(notice[1]))
