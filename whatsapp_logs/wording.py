"""The words that pages and files share, so that they cannot drift. `%s` is filled by Python and by PostgreSQL's format() alike."""

from __future__ import annotations

from datetime import timedelta

from whatsapp_logs.message import Status

UNCONFIRMED, UNCONFIRMED_DETAIL = "Unconfirmed", "Answer lost; being looked up"
WAITING, WAITING_DETAIL = "Waiting", "%s, next try %s"  # the reason's first sentence; when
SCHEDULED = "Scheduled"
IN_DOUBT, IN_DOUBT_DETAIL = "In doubt", "Declared not sent, but Twilio has it"
SILENT_AFTER = timedelta(days=1)  # a message sent so long ago without news deserves to be pointed out
SILENT_DETAIL = "not confirmed for %s day%s"  # how many; "s" above one
TEXT_HIDDEN = "Text hidden"


def status_label(status: Status) -> str:
    """The status as a word."""
    return status.value.capitalize()


def message_type(name: str) -> str:
    """A message type as people say it: "Policy document"."""
    return name.replace("_", " ").strip().capitalize() or "–"
