"""What is erased: by rule every night, for one person on request. That something went, when, and what became of it stays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs import phone
from whatsapp_logs.config import Config
from whatsapp_logs.errors import InvalidInput
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


@dataclass(frozen=True, slots=True)
class Beside:
    """What a portal keeps of its clients beside the log, and erases with their messages.

    Both get a connection, the client's id as text, and the policies that are held: what is theirs stays. They return how many.
    """

    noun: str  # one of them: "renewal note"; "s" makes it many
    count: Callable[[Connection[Any], str, frozenset[str]], int]
    erase: Callable[[Connection[Any], str, frozenset[str]], int]


def numbers_of(conn: Connection[Any], client_id: str, number: str | None, *, config: Config) -> list[str]:
    """The numbers of a client's messages, and the one that the portal has for them now."""
    found = dict.fromkeys(accesses.of_client(conn, client_id)[0])
    if number:
        with suppress(InvalidInput):  # what is none in the portal stands nowhere as one
            found[phone.to_address(number, region=config.default_region)] = None
    return list(found)


def rehearse_client(
    conn: Connection[Any], client_id: str, numbers: list[str], *, beside: Sequence[Beside] = ()
) -> privacy.Due:
    """What erasing this client would erase, and what stays."""
    due, held = privacy.due_of_client(conn, client_id, numbers), _held(conn, client_id)
    counts = () if held is None else tuple((one.noun, one.count(conn, client_id, held)) for one in beside)
    return replace(due, beside=counts)


def _held(conn: Connection[Any], client_id: str) -> frozenset[str] | None:
    """The policies that are held; None where the client is."""
    holds = privacy.holds(conn)
    if any(hold.client_id == client_id for hold in holds):
        return None
    return frozenset(hold.policy_id for hold in holds if hold.policy_id)


def erase_client(
    conn: Connection[Any],
    client_id: str,
    numbers: list[str],
    *,
    reason: str,
    person: str,
    beside: Sequence[Beside] = (),
) -> privacy.Due:
    """Erase a client's messages, their rows in tables, and what a portal keeps beside them, in the caller's transaction.

    Returns what was erased and what stays.
    """
    before = privacy.due_of_client(conn, client_id, numbers)
    rows = privacy.erase_campaign_rows(conn, client_id, numbers)
    erased = privacy.erase_client(conn, client_id, numbers)
    privacy.note(
        conn,
        kind="request",
        what=f"client:{client_id}",
        reason=reason,
        person=person,
        erased=erased,
        held=before.held + before.under_way,
        campaign_rows=rows,
    )
    held = _held(conn, client_id)
    more = () if held is None else tuple((one.noun, one.erase(conn, client_id, held)) for one in beside)
    return replace(before, erased=erased, rows=rows, beside=more)
