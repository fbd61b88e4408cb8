"""What a list shows of the log, read together: a page, the totals, and how many match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Status
from whatsapp_logs.store import counts, messages
from whatsapp_logs.store.selection import COUNT_LIMIT, Selection, select


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A page, the whole log's totals, and what the filter leaves of them.

    `filtered` counts per status within the filter but for its statuses; None where there is too much to count. `total` is the
    filter's number of rows, or where counting ended (`is_total_exact` False): there are more. Messages of very many numbers are not
    counted beyond the page.
    """

    page: messages.Page
    totals: counts.Totals
    filtered: Mapping[Status, int] | None
    total: int
    is_total_exact: bool


def read(
    conn: Connection[Any],
    wanted: MessageFilter,
    *,
    before: Cursor | None = None,
    after: Cursor | None = None,
    offset: int = 0,
    limit: int = 50,
) -> Overview:
    """Everything a list shows, in the caller's transaction."""
    chosen = select(conn, wanted)
    place: dict[str, Any] = {"before": before, "after": after, "offset": offset, "limit": limit}
    known = messages.page_and_counts(conn, wanted, chosen, **place) if chosen.addresses else None
    totals = counts.totals(conn)
    if known is not None:
        return _exactly(wanted, totals, *known)
    page = messages.page(conn, wanted, chosen=chosen, **place)
    is_all = page.newer is None and page.older is None
    if chosen.is_scattered:
        return Overview(page=page, totals=totals, filtered=None, total=len(page.messages), is_total_exact=is_all)
    if is_all and not wanted.statuses and not wanted.is_counted:  # all of them are on this page
        return _exactly(wanted, totals, page, Counter(message.status for message in page.messages))
    filtered = None if chosen.addresses else _count_by_status(conn, wanted.only(), totals, chosen)
    if filtered is not None:
        return _exactly(wanted, totals, page, filtered)
    if is_all:
        return Overview(page=page, totals=totals, filtered=None, total=len(page.messages), is_total_exact=True)
    found = messages.count_up_to(conn, chosen, wanted) if wanted.statuses else chosen.count_limit + 1
    total, is_exact = min(found, chosen.count_limit), found <= chosen.count_limit
    return Overview(page=page, totals=totals, filtered=None, total=total, is_total_exact=is_exact)


def _exactly(
    wanted: MessageFilter, totals: counts.Totals, page: messages.Page, filtered: Mapping[Status, int]
) -> Overview:
    total = sum(n for status, n in filtered.items() if not wanted.statuses or status in wanted.statuses)
    return Overview(page=page, totals=totals, filtered=filtered, total=total, is_total_exact=True)


def count(conn: Connection[Any], wanted: MessageFilter) -> int:
    """How many messages match; where counting ended, one more than the selection's `count_limit`."""
    if wanted.is_counted:
        return counts.totals(conn).of_filter(wanted)
    found = counts.within_days(conn, wanted, limit=COUNT_LIMIT) if wanted.is_counted_by_day else None
    if found is not None:
        return sum(n for status, n in found.items() if not wanted.statuses or status in wanted.statuses)
    return messages.count_up_to(conn, select(conn, wanted), wanted)


def count_by_status(conn: Connection[Any], wanted: MessageFilter) -> Mapping[Status, int] | None:
    """How many messages of a filter without statuses stand at each status; None where there is too much to count."""
    return _count_by_status(conn, wanted, counts.totals(conn))


def _count_by_status(
    conn: Connection[Any], wanted: MessageFilter, totals: counts.Totals, known: Selection | None = None
) -> Mapping[Status, int] | None:
    if wanted.is_counted:
        return totals.by_status(direction=wanted.direction, types=wanted.types)
    found = counts.within_days(conn, wanted, limit=COUNT_LIMIT) if wanted.is_counted_by_day else None
    if found is not None:
        return found
    return messages.count_by_status(conn, select(conn, wanted, known=known), wanted)
