"""Compare a day of the log with the provider's own list, in both directions, and repair what one side did not know."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any

from psycopg import Connection

from whatsapp_logs import receive, settle, track
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.errors import ProviderAway, UnknownToProvider
from whatsapp_logs.message import NOT_FOUND, ProviderMessage, Source, StatusReport
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import handover, queue, reconciliations
from whatsapp_logs.store.reconciliations import Difference, Figures, Known, Reconciliation, WithoutSid

log = logging.getLogger(__name__)

SETTLED_H = 3  # so long after midnight UTC the provider's list is taken to be whole: it lags
_SILENT_S = 60  # a run without a sign of life for so long has lost its worker
_PAUSE = timedelta(minutes=5)
_GIVE_UP_AFTER = timedelta(hours=24)
_CATCH_UP_DAYS = 7
_BATCH = 500
_FETCH_THREADS = 4
_FETCH_BATCH = 50
_CLOCKS_APART = timedelta(minutes=5)


def start(conn: Connection[Any], day: date, *, started_by: str | None) -> Reconciliation:
    """Begin a day's comparison, or join the one under way; the job commits with the caller's transaction."""
    run, is_new = reconciliations.start(conn, day, started_by=started_by)
    if is_new or run.problem is not None:
        queue.defer(conn, "reconcile_day", reconciliation_id=run.id)
    return run


def start_due(conn: Connection[Any], *, now: datetime) -> None:
    """Begin what the clock asks for: yesterday and, after an outage, the days before; give silent or paused runs a worker."""
    newest = (now - timedelta(days=1, hours=SETTLED_H)).date()
    last = reconciliations.last_day(conn, settled_h=SETTLED_H)
    missing = 1 if last is None else min((newest - last).days, _CATCH_UP_DAYS)
    for back in range(missing - 1, -1, -1):
        start(conn, newest - timedelta(days=back), started_by=None)
    for reconciliation_id in reconciliations.due(conn, silent_s=_SILENT_S):
        queue.defer(conn, "reconcile_day", reconciliation_id=reconciliation_id)


def run(transactions: Transactions, gateway: Gateway, reconciliation_id: int, *, sender: str) -> None:
    """Carry a run out: the day's list, 1 000 a page, then by SID what it did not show.

    A provider that is busy or away pauses the run, which is resumed later and notes nothing twice. `sender` is the log's own
    number: what the account's other numbers send is not this log's.
    """
    with transactions() as conn:
        taken = reconciliations.take_over(conn, reconciliation_id, silent_s=_SILENT_S)
    if taken is None:
        return
    seen = _Seen(reconciliation_id, sender)
    try:
        _compare_list(transactions, gateway, taken.day, seen)
        _settle_held(transactions, gateway, seen)
        _compare_unlisted(transactions, gateway, taken.day, seen)
    except ProviderAway as error:
        _pause(transactions, taken, seen, str(error))
        return
    with transactions() as conn:
        reconciliations.finish(conn, reconciliation_id, seen.figures())
    log.info("reconciled %s: %s messages at the provider", taken.day, seen.theirs)


@dataclass(slots=True)
class _Seen:
    """What one attempt has met so far."""

    run_id: int
    sender: str
    listed: set[str] = field(default_factory=set)  # every SID of the list that is this log's, about 100 bytes each
    held: list[ProviderMessage] = field(default_factory=list)
    theirs: int = 0
    prices_learnt: int = 0
    other_senders: int = 0

    def figures(self) -> Figures:
        return Figures(theirs=self.theirs, prices_learnt=self.prices_learnt, other_senders=self.other_senders)


def _compare_list(transactions: Transactions, gateway: Gateway, day: date, seen: _Seen) -> None:
    begin, end = _span(day)
    listed = iter(gateway.sent_between(begin, end - timedelta(seconds=1)))  # the provider's bounds are inclusive
    while batch := list(islice(listed, _BATCH)):
        with transactions() as conn:
            known = reconciliations.known(conn, [_sid(one) for one in batch])
            strangers = [one for one in batch if _sid(one) not in known]
            mine = [one for one in strangers if seen.sender in (one.sender, one.recipient)]
            held = _may_be_waiting(conn, mine)
            imported = reconciliations.insert(
                conn, [one for one in mine if _sid(one) not in held], now=datetime.now(UTC)
            )
            _record(conn, seen, batch, known, imported)
            found = [(imported[_sid(one)], one) for one in mine if _sid(one) in imported]
            receive.restored(conn, found, now=datetime.now(UTC))
            reconciliations.progress(conn, seen.run_id, asked=len(batch))
        seen.held += [one for one in mine if _sid(one) in held]
        seen.listed |= {_sid(one) for one in mine} | known.keys()
        seen.theirs += len(known) + len(mine)
        seen.other_senders += len(strangers) - len(mine)


def _may_be_waiting(conn: Connection[Any], strangers: Iterable[ProviderMessage]) -> set[str]:
    """SIDs of strangers that may be messages of ours whose answer was lost, or which are being handed over just now."""
    sent = [one for one in strangers if one.direction == "outbound"]
    ours: dict[str, list[WithoutSid]] = {}
    for without in reconciliations.without_sid(conn, {one.recipient for one in sent}):
        ours.setdefault(without.recipient, []).append(without)
    return {_sid(one) for one in sent if any(_may_be(one, without) for without in ours.get(one.recipient, ()))}


def _may_be(one: ProviderMessage, ours: WithoutSid) -> bool:
    at = one.created_at
    return at is None or (ours.since <= at + _CLOCKS_APART and (ours.until is None or at <= ours.until + _CLOCKS_APART))


def _settle_held(transactions: Transactions, gateway: Gateway, seen: _Seen) -> None:
    """Look the lost answers up, then say of each stranger that was held back whether it has found its message."""
    if not seen.held:
        return
    for recipient in dict.fromkeys(one.recipient for one in seen.held):
        with transactions() as conn:
            lost = handover.without_outcome(conn, recipient)
        settle.by_list(transactions, gateway, lost)
    with transactions() as conn:
        known = reconciliations.known(conn, [_sid(one) for one in seen.held])
        found = []
        for one in seen.held:
            ours = known.get(_sid(one))
            kind = "held_back" if ours is None else "attached"
            found.append(_difference(one.report, kind, None if ours is None else ours.id))
        reconciliations.note(conn, seen.run_id, found)


def _compare_unlisted(transactions: Transactions, gateway: Gateway, day: date, seen: _Seen) -> None:
    """Ask for each message of ours that the list did not show: it lags, and knows nothing of what was never sent."""
    with transactions() as conn:
        of_day = reconciliations.of_day(conn, *_span(day))
    unlisted = {sid: ours for sid, ours in of_day.items() if sid not in seen.listed}
    with ThreadPoolExecutor(_FETCH_THREADS, "reconcile") as threads:
        sids = iter(unlisted)
        while some := list(islice(sids, _FETCH_BATCH)):
            answers = list(threads.map(lambda sid: _fetch(gateway, sid), some))
            found = [answer for answer in answers if isinstance(answer, ProviderMessage)]
            gone = [answer for answer in answers if isinstance(answer, StatusReport)]
            with transactions() as conn:
                _record(conn, seen, found, {sid: unlisted[sid] for sid in some}, {})
                track.record(conn, gone, source=Source.RECONCILE)
                reconciliations.note(
                    conn,
                    seen.run_id,
                    [_difference(one, "unknown_to_provider", unlisted[str(one.provider_id)].id) for one in gone],
                )
                reconciliations.progress(conn, seen.run_id, asked=len(some))
            seen.theirs += len(found)


def _record(
    conn: Connection[Any],
    seen: _Seen,
    batch: Sequence[ProviderMessage],
    known: dict[str, Known],
    imported: dict[str, int],
) -> None:
    """Note what differs, then let the provider's word in the way every status gets in."""
    found = [difference for one in batch for difference in _differences(one.report, known.get(_sid(one)))]
    found += [_difference(one.report, "imported", imported[_sid(one)]) for one in batch if _sid(one) in imported]
    reconciliations.note(conn, seen.run_id, found)
    ours = [one.report for one in batch if _sid(one) in known or _sid(one) in imported]
    track.record(conn, ours, source=Source.RECONCILE)
    seen.prices_learnt += sum(
        report.price is not None and report.provider_id in known and known[report.provider_id].price is None
        for report in ours
    )


def _differences(theirs: StatusReport, ours: Known | None) -> Iterator[Difference]:
    if ours is None:
        return
    if theirs.status is not ours.status:
        yield Difference(
            provider_id=ours.provider_id,
            kind="status",
            message_id=ours.id,
            ours=ours.status.value,
            theirs=theirs.provider_status,
        )
    if theirs.price is not None and ours.price is not None and theirs.price != ours.price:
        yield Difference(
            provider_id=ours.provider_id,
            kind="price",
            message_id=ours.id,
            ours=f"{ours.price} {ours.price_unit or ''}".strip(),
            theirs=f"{theirs.price} {(theirs.price_unit or '').upper()}".strip(),
        )


def _difference(theirs: StatusReport, kind: str, message_id: int | None) -> Difference:
    return Difference(
        provider_id=str(theirs.provider_id), kind=kind, message_id=message_id, theirs=theirs.provider_status
    )


def _fetch(gateway: Gateway, provider_id: str) -> ProviderMessage | StatusReport:
    """The provider's message, or a report that it has none of this SID: only then is it gone."""
    try:
        return gateway.fetch(provider_id)
    except UnknownToProvider as error:
        return StatusReport(
            provider_status=NOT_FOUND, provider_id=provider_id, error_code=error.code, error_message=str(error)
        )


def _pause(transactions: Transactions, taken: Reconciliation, seen: _Seen, problem: str) -> None:
    log.warning("reconciliation of %s stopped: %s", taken.day, problem)
    now = datetime.now(UTC)
    with transactions() as conn:
        if now - taken.started_at > _GIVE_UP_AFTER:
            reconciliations.finish(conn, taken.id, seen.figures(), problem=problem)
        else:
            reconciliations.pause(conn, taken.id, problem=problem, retry_at=now + _PAUSE)


def _span(day: date) -> tuple[datetime, datetime]:
    begin = datetime.combine(day, time(), UTC)
    return begin, begin + timedelta(days=1)


def _sid(one: ProviderMessage) -> str:
    return str(one.report.provider_id)
