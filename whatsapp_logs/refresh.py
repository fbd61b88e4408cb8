"""Ask the provider again: one message, everything pending, and messages whose answer was lost."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from whatsapp_logs import track
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.errors import ProviderAway, UnknownToProvider
from whatsapp_logs.message import Message, ProviderMessage, Recorded, Source, StatusReport
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import messages, queue, refreshes

log = logging.getLogger(__name__)

READ_LEARNT_FOR = timedelta(days=7)  # so long a delivered message is asked whether it was read
_SILENT_S = 60  # a run without a sign of life for so long has lost its worker
_BATCH = 500
_FETCH_THREADS = 4
_LIST_WORTH = 20  # fewer pending messages than this are asked one by one
_LIST_MARGIN = timedelta(hours=1)


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
        pending = refreshes.pending(conn, delivered_since=datetime.now(UTC) - READ_LEARNT_FOR)
        refreshes.found(conn, refresh_id, len(pending))
    problem = None
    try:
        for asked, answers in _ask(gateway, pending):
            if _keep(transactions, refresh_id, asked=asked, answers=answers):
                problem = "Stopped on request."
                break
    except ProviderAway as error:
        log.warning("refresh %s stopped: %s", refresh_id, error)
        problem = str(error)
    with transactions() as conn:
        refreshes.finish(conn, refresh_id, problem=problem)


def one(transactions: Transactions, gateway: Gateway, message: Message) -> Recorded | None:
    """Ask about one message now; None while the provider does not have it. Raises ProviderAway."""
    if message.provider_id is None:
        settle(transactions, gateway, [message])
        return None
    answer = _fetch(gateway, message.provider_id)
    with transactions() as conn:
        return track.record(conn, [answer], source=Source.REFRESH)[0]


def settle(transactions: Transactions, gateway: Gateway, lost: Sequence[Message]) -> int:
    """Look up messages whose answer was lost, at the provider's list, and attach the one that fits; returns how many were found.

    What the list does not show stays unconfirmed: it lags, and nothing may be sent twice.
    """
    found = 0
    for message in lost:
        if message.unconfirmed_at is None:
            continue
        match = _lost_message(transactions, gateway, message)
        if match is not None:
            with transactions() as conn:
                report = replace(match.report, message_id=message.id)
                track.record(conn, [report], source=Source.RECONCILE)
            log.info("message %s was at the provider after all: %s", message.id, match.report.provider_id)
            found += 1
    return found


def _ask(gateway: Gateway, pending: Sequence[refreshes.Pending]) -> Iterator[tuple[int, list[StatusReport]]]:
    """Yields how many messages were asked about, with the answers; a message counts once."""
    left = {row.provider_id: row for row in pending}
    if len(left) >= _LIST_WORTH:
        since = min(row.created_at for row in pending) - _LIST_MARGIN
        answers: list[StatusReport] = []
        for listed in gateway.sent_between(since, datetime.now(UTC) + _LIST_MARGIN):
            if listed.report.provider_id and left.pop(listed.report.provider_id, None):
                answers.append(listed.report)
            if len(answers) >= _BATCH:
                yield len(answers), answers
                answers = []
            if not left:
                break
        if answers:
            yield len(answers), answers
    with ThreadPoolExecutor(_FETCH_THREADS, "refresh") as threads:
        sids = list(left)
        for begin in range(0, len(sids), _BATCH // 10):
            some = sids[begin : begin + _BATCH // 10]
            yield len(some), list(threads.map(lambda sid: _fetch(gateway, sid), some))


def _fetch(gateway: Gateway, provider_id: str) -> StatusReport:
    try:
        return gateway.fetch(provider_id).report
    except UnknownToProvider as error:
        # An event that says so; the message keeps its status: only the provider's own words move it.
        return StatusReport(
            provider_status="not_found", provider_id=provider_id, error_code=error.code, error_message=str(error)
        )


def _keep(transactions: Transactions, refresh_id: int, *, asked: int, answers: list[StatusReport]) -> bool:
    with transactions() as conn:
        recorded = track.record(conn, answers, source=Source.REFRESH)
        failed = sum(answer.provider_status == "not_found" for answer in answers)
        changed = len({outcome.message_id for outcome in recorded if outcome.changed})
        return refreshes.progress(conn, refresh_id, asked=asked, changed=changed, failed=failed)


def _lost_message(transactions: Transactions, gateway: Gateway, message: Message) -> ProviderMessage | None:
    assert message.claimed_at is not None
    listed = [
        candidate
        for candidate in gateway.sent_to(message.recipient, message.claimed_at - timedelta(minutes=5))
        if candidate.body == message.body or message.template_sid is not None or message.media_id is not None
    ]
    with transactions() as conn:
        strangers = [
            candidate
            for candidate in listed
            if candidate.report.provider_id and messages.by_provider_id(conn, candidate.report.provider_id) is None
        ]
    return strangers[0] if len(strangers) == 1 else None
