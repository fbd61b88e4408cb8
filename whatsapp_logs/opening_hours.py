"""When the office is open: "Mon-Fri 09:00-17:30; Sat 09:00-12:00", in the office's own time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SPAN = re.compile(r"([A-Za-z]{3})[a-z]*(?: ?- ?([A-Za-z]{3})[a-z]*)? +(\d{1,2}:\d\d) ?- ?(\d{1,2}:\d\d)")


@dataclass(frozen=True, slots=True)
class Span:
    """Open on these weekdays (0 is Monday, the last included) from … to."""

    first: int
    last: int
    opens: time
    closes: time


def read(text: str) -> tuple[Span, ...]:
    """The spans that a setting names; none for an empty one: always open. Raises ValueError."""
    return tuple(_span(part.strip()) for part in re.split(r"[;,]", text) if part.strip())


def is_open(spans: tuple[Span, ...], local: datetime) -> bool:
    """Whether somebody is there at this moment, given in the office's zone."""
    clock = local.time()
    return not spans or any(_has(one, local.weekday()) and one.opens <= clock < one.closes for one in spans)


def in_words(spans: tuple[Span, ...]) -> str:
    """ "Monday to Friday, 9:00 to 17:30"."""
    return " and ".join(
        f"{_NAMES[one.first]}{f' to {_NAMES[one.last]}' if one.last != one.first else ''}, "
        f"{one.opens.hour}:{one.opens:%M} to {one.closes.hour}:{one.closes:%M}"
        for one in spans
    )


def _has(span: Span, weekday: int) -> bool:
    if span.first <= span.last:
        return span.first <= weekday <= span.last
    return weekday >= span.first or weekday <= span.last


def _span(text: str) -> Span:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(text)
    first, last = (_DAYS.index(name.lower()) for name in (match[1], match[2] or match[1]))
    opens, closes = time.fromisoformat(match[3].zfill(5)), time.fromisoformat(match[4].zfill(5))
    if opens >= closes:
        raise ValueError(text)
    return Span(first, last, opens, closes)
