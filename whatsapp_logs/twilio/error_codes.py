"""What an error code means and what to do next. Advice for people: no decision of the program hangs on it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

US, TWILIO, WHATSAPP, RECIPIENT = "us", "Twilio", "WhatsApp", "the recipient"
_AT_RECIPIENT = frozenset(
    {"21211", "21610", "21614", "30003", "30005", "30006", "63003", "63014", "63015", "63024", "63032", "63033"}
)
_AT_WHATSAPP = frozenset({"63005", "63012", "63026", "63041", "63042", "63049"})
_AT_TWILIO = frozenset({"20429", "20500", "30008", "30410"})


@dataclass(frozen=True, slots=True)
class Advice:
    """One code explained. `retry` is yes, later, after_fix or no; `at` says where the fault lies."""

    code: str
    title: str
    cause: str
    action: str
    retry: str
    at: str
    is_known: bool = True

    @property
    def is_ours(self) -> bool:
        """Whether we refused the message, and not Twilio: then the message itself carries the sentence that says why."""
        return not self.code.isdigit()

    @property
    def more_info(self) -> str | None:
        """Twilio's own page about the code; None for our own codes."""
        return f"https://www.twilio.com/docs/errors/{self.code}" if self.code.isdigit() else None


def explain(code: str | None) -> Advice | None:
    """The advice for a code; for one nobody has told us of, an honest stand-in; None for no code."""
    if not code:
        return None
    return _catalogue().get(code) or Advice(
        code,
        f"Error {code}",
        "Twilio reported a code that this program does not know yet",
        "Read Twilio's text; if it repeats, tell the administrator",
        "later",
        TWILIO,
        is_known=False,
    )


def all_codes() -> tuple[Advice, ...]:
    """Every code we can explain, in order."""
    return tuple(_catalogue().values())


@cache
def _catalogue() -> dict[str, Advice]:
    text = resources.files(__package__).joinpath("error_codes.csv").read_text(encoding="utf-8")
    return {
        row["code"]: Advice(
            row["code"], row["title"], row["cause"], row["action"], row["retryable"], _place(row["code"])
        )
        for row in csv.DictReader(text.splitlines())
    }


def _place(code: str) -> str:
    for codes, place in ((_AT_RECIPIENT, RECIPIENT), (_AT_WHATSAPP, WHATSAPP), (_AT_TWILIO, TWILIO)):
        if code in codes:
            return place
    return US
