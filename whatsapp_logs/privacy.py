"""What is erased: by rule every night, for one person on request. That something went, when, and what became of it stays."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs.store import accesses, privacy

log = logging.getLogger(__name__)

_BATCH = 500  # messages of one transaction: sending and callbacks wait for none of them long

Transactions = Callable[[], AbstractContextManager[Connection[Any]]]


def run_retention(transactions: Transactions) -> int:
    """Erase what the rules let go, in batches; returns how many messages went. Begun again, it goes on where it was."""
    with transactions() as conn:
        rules = privacy.rules(conn)
    total = 0
    for rule in rules:
        erased, held = 0, 0
        with transactions() as conn:
            days = privacy.days_due(conn, rule)
        for day in days:
            after: int | None = 0
            while after is not None:
                with transactions() as conn:
                    some, kept, after = privacy.erase_next(conn, rule, day, after=after, limit=_BATCH)
                erased, held = erased + some, held + kept
        if erased:
            with transactions() as conn:
                privacy.note(
                    conn,
                    kind="retention",
                    what=rule.message_type,
                    reason=f"older than {rule.months} months",
                    person=rule.set_by,
                    erased=erased,
                    held=held,
                )
            log.info("retention: %s messages of type %s erased, %s held", erased, rule.message_type, held)
        total += erased
    oldest_kept: datetime | None = min((rule.cutoff for rule in rules), default=None)
    with transactions() as conn:
        privacy.erase_reports(conn, before=oldest_kept)
    return total


def erase_client(conn: Connection[Any], client_id: str, *, reason: str, person: str) -> privacy.Due:
    """Erase a client's messages in the caller's transaction; returns what was erased and what stays."""
    numbers, _ = accesses.of_client(conn, client_id)
    before = privacy.due_of_client(conn, client_id, numbers)
    erased = privacy.erase_client(conn, client_id, numbers)
    privacy.note(
        conn,
        kind="request",
        what=f"client:{client_id}",
        reason=reason,
        person=person,
        erased=erased,
        held=before.held + before.under_way,
    )
    return privacy.Due(erased, before.held, before.under_way, before.is_exact)
