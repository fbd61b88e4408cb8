"""What customers agree to, or ask us to stop: the words that mean it (Twilio's, 2026), and a line of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

STOP_WORDS = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "OPT OUT", "OPT-OUT"}
)
START_WORDS = frozenset({"START", "UNSTOP"})
# The provider knows better than we do: opted out there (21610); blocked us, or withdrew their consent (63014, formerly 63033).
OPT_OUT_CODES = frozenset({"21610", "63014", "63033"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentEvent:
    """One line of the ledger. `kind` is opt_in or opt_out, `scope` all or marketing; the latest of a scope holds."""

    id: int
    address: str
    client_id: str | None
    kind: str
    scope: str
    source: str
    wording: str | None
    message_id: int | None
    recorded_by: str
    happened_at: datetime
    received_at: datetime


def word_of(text: str | None, *, opt_out_type: str | None = None) -> str | None:
    """opt_out or opt_in where the customer's whole message is such a word, or Twilio says that it is one; else None."""
    said = (opt_out_type or "").strip().upper() or " ".join((text or "").upper().split()).strip(" .!\"'")
    if said in STOP_WORDS:
        return "opt_out"
    return "opt_in" if said in START_WORDS else None
