"""What a list shows of the log, read together: a page, the totals, and how many match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Status
from whatsapp_logs.store import counts, messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """A page, the whole log's totals, and what the filter leaves of them.

    `filtered` counts per status within the filter but for its statuses; None where there is too much to count. `total` is the
    filter's number of rows, above `messages.COUNT_LIMIT` only "more than that" unless the totals know it.
    """

    page: messages.Page
    totals: counts.Totals
    filtered: Mapping[Status, int] | None
    total: int


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
    page = messages.page(conn, wanted, before=before, after=after, offset=offset, limit=limit)
    totals = counts.totals(conn)
    if wanted.is_counted:
        filtered: Mapping[Status, int] | None = totals.by_status(direction=wanted.direction, types=wanted.types)
        return Overview(page=page, totals=totals, filtered=filtered, total=totals.of_filter(wanted))
    filtered = messages.count_by_status(conn, wanted.only())
    if filtered is None:
        total = messages.count_up_to(conn, wanted)
    else:
        total = sum(n for status, n in filtered.items() if not wanted.statuses or status in wanted.statuses)
    return Overview(page=page, totals=totals, filtered=filtered, total=total)
