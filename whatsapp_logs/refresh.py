"""Ask the provider again: one message, or everything pending."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from whatsapp_logs import settle, track
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.errors import DatabaseAway, ProviderAway, UnknownToProvider
from whatsapp_logs.message import KEPT_BY_WHATSAPP, NOT_FOUND, Message, Recorded, Source, StatusReport
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import queue, refreshes

log = logging.getLogger(__name__)

READ_LEARNT_FOR = timedelta(days=7)  # so long a delivered message is asked whether it was read
# So long after it left a message that is "sent" is asked about; what is not even that, as long as Twilio knows it.
ASKED_FOR = KEPT_BY_WHATSAPP + timedelta(days=5)
_KEPT_BY_TWILIO = timedelta(days=400)
_MADE_BEFORE = timedelta(days=65)  # so long before it left one may have been made, as in a campaign that was paused
_SILENT_S = 60  # a run without a sign of life for so long has lost its worker
_BATCH = 500
_FETCH_BATCH = 20  # at four threads and the longest time-out still less than _SILENT_S
_FETCH_THREADS = 4
_LIST_WORTH = 20  # fewer pending messages than this are asked one by one
_LIST_MARGIN = timedelta(hours=1)
_READ_TOGETHER = 5000  # of the old ones: a statement is short, however many there are
_SWEEP_LIMIT = (
    5000  # some minutes' work at the provider's pace; what is not final comes first, the rest is due in the next
)


def start(conn: Connection[Any], *, started_by: str | None) -> refreshes.Refresh:
    """Begin "refresh all", or join the run under way; the job commits with the caller's transaction."""
    run, is_new = refreshes.start(conn, started_by=started_by)
    if is_new:
        queue.defer(conn, "refresh_all", refresh_id=run.id)
    return run


def resume_silent(conn: Connection[Any]) -> None:
    """Give a run whose worker fell silent to another one."""
    silent = refreshes.silent(conn, silent_s=_SILENT_S)
    if silent is not None:
        queue.defer(conn, "refresh_all", refresh_id=silent)


def run(transactions: Transactions, gateway: Gateway, refresh_id: int) -> None:
    """Ask about everything pending: Twilio's list first, 1 000 a page, then what it did not show by SID; stops at 429."""
    with transactions() as conn:
        if refreshes.take_over(conn, refresh_id, silent_s=_SILENT_S) is None:
            return
    problem = None
    try:
        for answers in _ask(gateway, _everything(transactions, refresh_id, now=datetime.now(UTC))):
            if _keep(transactions, refresh_id, answers):
                problem = "Stopped on request."
                break
    except ProviderAway as error:
        log.warning("refresh %s stopped: %s", refresh_id, error)
        problem = str(error)
    except DatabaseAway:
        raise  # the run stays open: another worker goes on with it
    except Exception:
        with transactions() as conn:  # else every later click would join a run that cannot end
            refreshes.finish(conn, refresh_id, problem="The program failed; its log says how.")
        raise
    with transactions() as conn:
        refreshes.finish(conn, refresh_id, problem=problem)


def _everything(transactions: Transactions, refresh_id: int, *, now: datetime) -> list[refreshes.Pending]:
    """What is pending, and "sent" messages whose end nobody has seen: they were brought in, or nobody asked in time."""
    days = days_back(now, ASKED_FOR)
    with transactions() as conn:
        found = {row.id: row for row in refreshes.pending(conn, days)}
        refreshes.found(conn, refresh_id, len(found))
    place: refreshes.Place | None = (days.since, 0)
    while place is not None:
        with transactions() as conn:
            some, place = refreshes.left_behind(conn, days, before=place, ended=KEPT_BY_WHATSAPP, limit=_READ_TOGETHER)
            found |= {row.id: row for row in some}
            refreshes.found(conn, refresh_id, len(found))
    return list(found.values())


def sweep(
    transactions: Transactions, gateway: Gateway, *, back: timedelta = ASKED_FOR, now: datetime | None = None
) -> int:
    """Ask about what is due of the messages of that time, recent ones often and old ones seldom; returns how many rows changed.

    What a lost callback left behind is repaired within a tenth of the message's age, and until the next sweep of that age. A busy
    provider ends it; the next goes on.
    """
    now = now or datetime.now(UTC)
    with transactions() as conn:
        due = refreshes.due(conn, days_back(now, back), limit=_SWEEP_LIMIT)
    changed = 0
    try:
        for answers in _ask(gateway, due):
            with transactions() as conn:
                recorded = track.record(conn, answers, source=Source.REFRESH)
            changed += len({outcome.message_id for outcome in recorded if outcome.changed})
    except ProviderAway as error:
        log.warning("the sweep stopped: %s", error)
    if changed:
        log.info("the sweep asked about %s messages and changed %s", len(due), changed)
    return changed


def days_back(now: datetime, back: timedelta) -> refreshes.Days:
    """So far back. Only who looks as far as anything is asked about looks for what was made long before it left."""
    is_all, since, oldest = back >= ASKED_FOR, now - back, now - _KEPT_BY_TWILIO
    return refreshes.Days(
        now=now,
        since=since,
        sent_made_since=since - _MADE_BEFORE if is_all else since,
        open_made_since=oldest if is_all else since,
        delivered_since=now - min(back, READ_LEARNT_FOR),
        oldest=oldest,
    )


def one(transactions: Transactions, gateway: Gateway, message: Message) -> Recorded | None:
    """Ask about one message now; None while the provider does not have it. Raises ProviderAway."""
    if message.provider_id is None:
        settle.by_list(transactions, gateway, [message])
        return None
    answer = _fetch(gateway, message.provider_id)
    with transactions() as conn:
        return track.record(conn, [answer], source=Source.REFRESH)[0]


def _ask(gateway: Gateway, pending: Sequence[refreshes.Pending]) -> Iterator[list[StatusReport]]:
    """The answers in batches: the list as far back as READ_LEARNT_FOR, then what it did not show by SID; each message once."""
    left = dict.fromkeys(row.provider_id for row in pending)
    recent = [row.created_at for row in pending if row.created_at > datetime.now(UTC) - READ_LEARNT_FOR]
    if len(recent) >= _LIST_WORTH:
        yield from _batched(_listed(gateway, left, since=min(recent) - _LIST_MARGIN), _BATCH)
    sids = list(left)
    with ThreadPoolExecutor(_FETCH_THREADS, "refresh") as threads:
        for begin in range(0, len(sids), _FETCH_BATCH):
            some = sids[begin : begin + _FETCH_BATCH]
            yield from _batched(threads.map(lambda sid: _fetch(gateway, sid), some), _FETCH_BATCH)


def _listed(gateway: Gateway, left: dict[str, None], *, since: datetime) -> Iterator[StatusReport]:
    """What the provider's list tells of `left`, which is emptied of it."""
    for listed in gateway.sent_between(since, datetime.now(UTC) + _LIST_MARGIN):
        if listed.report.provider_id in left:
            del left[listed.report.provider_id]
            yield listed.report
        if not left:
            return


def _batched(answers: Iterator[StatusReport], size: int) -> Iterator[list[StatusReport]]:
    """Lists of `size` answers; what was answered before the provider went away is not thrown away."""
    batch: list[StatusReport] = []
    try:
        for answer in answers:
            batch.append(answer)
            if len(batch) >= size:
                yield batch
                batch = []
    except ProviderAway:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _fetch(gateway: Gateway, provider_id: str) -> StatusReport:
    try:
        return gateway.fetch(provider_id).report
    except UnknownToProvider as error:
        # An event that says so; the message keeps its status: only the provider's own words move it.
        return StatusReport(
            provider_status=NOT_FOUND, provider_id=provider_id, error_code=error.code, error_message=str(error)
        )


def _keep(transactions: Transactions, refresh_id: int, answers: list[StatusReport]) -> bool:
    with transactions() as conn:
        recorded = track.record(conn, answers, source=Source.REFRESH)
        failed = sum(answer.provider_status == NOT_FOUND for answer in answers)
        changed = len({outcome.message_id for outcome in recorded if outcome.changed})
        return refreshes.progress(conn, refresh_id, asked=len(answers), changed=changed, failed=failed)
