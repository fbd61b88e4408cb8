"""The list as data: one page of messages, the figures above it, the counts beside the filters. Rendering comes later, if at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from whatsapp_logs.export import MAX_SHEET_ROWS
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import FAILURES, IN_FLIGHT, REACHED, Message, Status
from whatsapp_logs.store.messages import Page
from whatsapp_logs.web import format
from whatsapp_logs.web.asking import ROWS, Asked

if TYPE_CHECKING:
    from whatsapp_logs.service import WhatsAppService

_WARN_ABOVE = 0.03  # share of failures among what reached an end
_MOVING_FOR = timedelta(minutes=15)  # so long a delivered message is watched closely: it is often read soon
# The order in which people think of them: the way of a message that arrives, then the ways in which one does not.
_CHOICES = (
    Status.SCHEDULED,
    Status.QUEUED,
    Status.SENDING,
    Status.SENT,
    Status.DELIVERED,
    Status.READ,
    Status.FAILED,
    Status.UNDELIVERED,
    Status.CANCELED,
)
_SHOWN_WHEN_SOME = frozenset({Status.SCHEDULED, Status.UNDELIVERED, Status.CANCELED})


@dataclass(frozen=True, slots=True)
class Figures:
    """The log's totals, from exact counts per status. In-flight messages are neither successes nor failures."""

    by_status: Mapping[Status, int]
    waiting: int = 0  # customers who wait for a person: no figure of the log, but shown beside its name

    def of(self, statuses: frozenset[Status]) -> int:
        """How many stand at one of these."""
        return sum(self.by_status.get(status, 0) for status in statuses)

    @property
    def total(self) -> int:
        """All outgoing messages."""
        return sum(self.by_status.values())

    @property
    def reached(self) -> int:
        """Delivered, whether read or not."""
        return self.of(REACHED)

    @property
    def failed(self) -> int:
        """Failed or undelivered."""
        return self.of(FAILURES)

    @property
    def read(self) -> int:
        """Read, as far as the recipients let us know."""
        return self.by_status.get(Status.READ, 0)

    @property
    def canceled(self) -> int:
        """Called back before they were sent."""
        return self.by_status.get(Status.CANCELED, 0)

    @property
    def ended(self) -> int:
        """What the success rate is divided by; canceled messages were never meant to arrive."""
        return self.reached + self.failed

    @property
    def in_flight(self) -> int:
        """Not at an end."""
        return self.of(IN_FLIGHT)

    @property
    def many_fail(self) -> bool:
        """Whether the failure rate is a warning."""
        return self.failed > _WARN_ABOVE * self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the list page shows. `filtered` counts per status within the filter; None when there is too much to count."""

    asked: Asked
    page: Page
    figures: Figures
    filtered: Mapping[Status, int] | None
    types: list[str]
    total: int
    is_total_exact: bool
    now: datetime
    received: int = 0  # of the whole log, where the whole log is shown

    @property
    def rows(self) -> list[Message]:
        """The messages shown, newest first."""
        return self.page.messages

    @property
    def is_moving(self) -> bool:
        """Whether something shown may change any moment."""
        return any(_is_moving(message, self.now) for message in self.rows)

    @property
    def log_is_empty(self) -> bool:
        """Whether there is nothing to filter."""
        return not self.rows and self.figures.total == 0 and self.asked.wanted.is_empty

    @property
    def statuses(self) -> list[Status]:
        """The statuses to choose from, in their order."""
        occurring = self.filtered if self.filtered is not None else self.figures.by_status
        chosen = self.asked.wanted.statuses
        return [
            status for status in _CHOICES if status not in _SHOWN_WHEN_SOME or status in chosen or occurring.get(status)
        ]

    @property
    def place(self) -> str:
        """Which rows these are: "1 – 50 of 1 234"."""
        first, last = self.asked.row, self.asked.row + len(self.rows) - 1
        if last > self.total or (last == self.total and not self.is_total_exact):
            return f"{format.number(first)} – {format.number(last)}" + (" of more" if self.page.older else "")
        return f"{format.number(first)} – {format.number(last)} of {format.counted(self.total, is_exact=self.is_total_exact)}"

    @property
    def how_many(self) -> str:
        """How many messages the list has: "1 234", "10 000+"; empty where nobody has counted beyond this page."""
        if not self.is_total_exact and self.total <= self.asked.row + len(self.rows) - 1:
            return ""
        return format.counted(self.total, is_exact=self.is_total_exact)

    @property
    def fits_a_sheet(self) -> bool:
        """Whether, as far as it is known, Excel can hold the list."""
        return self.total <= MAX_SHEET_ROWS

    @property
    def older_url(self) -> str:
        """The next page's address."""
        assert self.page.older
        return self.asked.url(before=self.page.older.encode(), row=self.asked.row + len(self.rows))

    @property
    def newer_url(self) -> str:
        """The previous page's address; the first page is named without a place, so that new messages appear on it."""
        assert self.page.newer
        row = self.asked.row - ROWS
        return self.asked.url() if row <= 1 else self.asked.url(after=self.page.newer.encode(), row=row)


def read(service: WhatsAppService, asked: Asked, *, waiting: int = 0) -> Listing:
    """Read everything the page shows."""
    now = datetime.now(UTC)
    found = service.overview(asked.wanted, before=asked.before, after=asked.after, offset=asked.offset, limit=ROWS)
    return Listing(
        asked=asked,
        page=found.page,
        figures=Figures(found.totals.by_status(), waiting),
        filtered=found.filtered,
        types=found.totals.types,
        total=found.total,
        is_total_exact=found.is_total_exact,
        now=now,
        received=found.totals.of_filter(MessageFilter(direction="inbound")) if asked.wanted.is_empty else 0,
    )


def digest(service: WhatsAppService, asked: Asked, *, waiting: int = 0) -> str:
    """A fingerprint of all that can be seen to change: rows, figures, and words that age, but for those a page counts on itself."""
    page = service.page(asked.wanted, before=asked.before, after=asked.after, offset=asked.offset, limit=ROWS)
    return fingerprint_of(page, Figures(service.status_counts(), waiting), asked, datetime.now(UTC))


def fingerprint_of(page: Page, figures: Figures, asked: Asked, now: datetime) -> str:
    """The digest of what has been read already."""
    zone = asked.wanted.zone
    ages = (
        (
            format.relative(message.created_at, zone=zone, now=now),
            format.status_words(message, zone=zone, now=now).detail,
        )
        for message in page.messages
    )
    return fingerprint(page.messages, ages, figures)


def fingerprint(messages: Iterable[Message], ages: Iterable[tuple[str, str]], figures: Figures) -> str:
    """The digest of messages, what is said of the age and the state of each, and the totals."""
    seen = [
        (message.id, message.updated_at.timestamp(), "" if format.counts_on(age) else age, detail)
        for message, (age, detail) in zip(messages, ages, strict=True)
    ]
    totals = (sorted((status.value, n) for status, n in figures.by_status.items()), figures.waiting)
    return hashlib.blake2b(repr((seen, totals)).encode(), digest_size=8).hexdigest()


def _is_moving(message: Message, now: datetime) -> bool:
    if message.status in (Status.QUEUED, Status.SENDING, Status.SENT):
        return now - message.created_at < timedelta(days=1)
    return message.status is Status.DELIVERED and now - (message.delivered_at or message.created_at) < _MOVING_FOR
