"""The runner of campaigns: one at a time for a number of ours, at the number's rate, over all campaigns in turn.

Rows become messages by the thousand, without jobs. Then messages are claimed a few at a time, as many as may leave in an eighth
of a second beside what others hand over from this number, cleared by the gate in the transaction of their claim, and handed over
by several threads, each in its turn; the answers are written down together. A claim therefore means a hand-over that has begun,
or will within an eighth of a second: what a killed worker leaves behind is few messages,
which are unconfirmed and looked up, and never sent again by the program.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from psycopg import Connection

from whatsapp_logs import gate, send, track
from whatsapp_logs.campaigns import RUNNER, SILENT_S, draft_of, settle_ends, template_of
from whatsapp_logs.catalogue import Version
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.config import Config
from whatsapp_logs.errors import InvalidInput, NotSent, Unconfirmed
from whatsapp_logs.message import Source
from whatsapp_logs.send import Answered, Transactions
from whatsapp_logs.store import campaigns, facts, messages, queue, senders
from whatsapp_logs.store.campaigns import Campaign

log = logging.getLogger(__name__)

SLICE_S = 10.0  # then the job ends and begins anew: a worker that is asked to stop is not kept
_QUEUED_TOGETHER = 1000
_LOOKED_AT_TOGETHER = 1000
_BEAT_S = 0.125
_SIGN_OF_LIFE_S = 3.0
_MOST_THREADS = 32
_WAITS_S = (1, 5, 15, 60, 300)  # after answers that say "not now", or none at all; the last one repeats
_SOON = timedelta(seconds=60)  # what is due later is begun by the clock


def run(transactions: Transactions, gateway: Gateway, *, config: Config, slice_s: float = SLICE_S) -> None:
    """Hand over what is due, for a slice of time; the job that goes on commits with the last of it."""
    runner = uuid4()
    with transactions() as conn:
        sender = senders.take(conn, config.sender, runner, silent_s=SILENT_S)
        if sender is None:
            if not queue.is_waiting(conn, RUNNER):  # should the other one have died, somebody comes back
                queue.defer(conn, RUNNER, at=datetime.now(UTC) + timedelta(seconds=SILENT_S))
            return
    slice_ = _Slice(transactions, gateway, config, sender)
    try:
        slice_.work(until=time.monotonic() + slice_s)
    finally:
        with transactions() as conn:
            _go_on_later(conn, config)
            senders.leave(conn, config.sender, runner)


def _go_on_later(conn: Connection[Any], config: Config) -> None:
    settle_ends(conn)
    now = datetime.now(UTC)
    due = campaigns.earliest(conn)
    sender = senders.get(conn, config.sender)
    if due is None:
        return
    at = max(filter(None, (due, now, sender.resume_at if sender else None)))
    if at <= now + _SOON:
        queue.defer(conn, RUNNER, at=at if at > now else None)


class _Slice:
    """The work of one job."""

    def __init__(self, transactions: Transactions, gateway: Gateway, config: Config, sender: senders.Sender) -> None:
        self._transactions, self._gateway, self._config = transactions, gateway, config
        self._threads = min(_MOST_THREADS, max(4, config.sender_rate // 2))
        self._in_flight: dict[Future[Answered], Any] = {}
        self._failures = sender.failures
        self._resume_at = sender.resume_at
        self._runner = sender.runner
        self._together = _QUEUED_TOGETHER
        self._said_at = time.monotonic()
        self._taken_until = 0.0  # the last turn that was taken, on this process's clock

    def work(self, *, until: float) -> None:
        """Queue and hand over until then, or until nothing is due."""
        with ThreadPoolExecutor(self._threads, "campaign") as pool:
            try:
                while time.monotonic() < until and self._turn(pool):
                    pass
            finally:
                while self._in_flight:
                    self._write_down(_BEAT_S * 8)

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """One beat; False when there is nothing to do now."""
        if self._resume_at is not None and self._resume_at > datetime.now(UTC):
            return False
        if not self._is_still_ours():
            return False
        if self._queue_some():
            return True
        room = 1 if self._failures else self._threads  # the first one after a failure tries alone
        free = room - len(self._in_flight)
        handed = self._claim_and_hand_over(pool, free) if free > 0 else None
        if not handed and not self._in_flight and not self._something_is_due():
            return False
        if self._in_flight:
            self._write_down(_BEAT_S * 2 if handed == 0 else _BEAT_S)
        rest_s = self._taken_until - time.monotonic()
        if rest_s > 0:
            time.sleep(min(rest_s, _BEAT_S))
        return True

    def _is_still_ours(self) -> bool:
        """Say every few seconds that we are at work; False when another one has taken our place."""
        if time.monotonic() - self._said_at < _SIGN_OF_LIFE_S:
            return True
        self._said_at = time.monotonic()
        assert self._runner is not None
        with self._transactions() as conn:
            return senders.take(conn, self._config.sender, self._runner, silent_s=SILENT_S) is not None

    def _queue_some(self) -> bool:
        """Make messages of the next rows of a campaign that is not all queued.

        A client or policy that the portal has deleted since must not stop all others: fewer and fewer are tried together, until
        the row is found, and goes out without it.
        """
        try:
            queued = self._queue_together(self._together, with_ids=True)
        except InvalidInput as error:
            if self._together == 1:
                log.warning("a campaign's row goes out without its client and policy: %s", error)
                return self._queue_together(1, with_ids=False)
            self._together = max(1, self._together // 4)
            return True
        self._together = min(_QUEUED_TOGETHER, self._together * 2)
        return queued

    def _queue_together(self, limit: int, *, with_ids: bool) -> bool:
        with self._transactions() as conn:
            open_ones = [one for one in campaigns.running(conn) if one.queued_up_to < one.recipients]
            if not open_ones:
                return False
            campaign = campaigns.get(conn, open_ones[0].id, hold=True)
            if campaign is not None and campaign.state == "running":  # else somebody has paused it in this very moment
                queue_rows(conn, campaign, config=self._config, limit=limit, with_ids=with_ids)
            return True

    def _claim_and_hand_over(self, pool: ThreadPoolExecutor, free: int) -> int | None:
        """Claim up to so many, as rate and daily limit allow, and hand each over in its turn; how many. None: others go first."""
        now, number, rate = datetime.now(UTC), self._config.sender, self._config.sender_rate
        with self._transactions() as conn:
            free = min(free, senders.turns_left(conn, number, rate=rate, within_s=_BEAT_S))
            if free <= 0:
                self._taken_until = time.monotonic() + _BEAT_S
                return None
            ids = campaigns.next_due(conn, now=now, limit=self._within_daily_limit(conn, free, now))
            if not ids:
                return 0
            claimed = send.claim_together(conn, ids, config=self._config, now=now)
            first_s = senders.take_turns(conn, number, len(claimed.cleared), rate=rate)
        begin = time.monotonic() + first_s
        for n, cleared in enumerate(claimed.cleared):
            self._taken_until = begin + n / rate
            self._in_flight[pool.submit(self._in_its_turn, cleared, self._taken_until)] = cleared
        if claimed.put_off:
            self._put_the_others_off()
        return len(ids)

    def _in_its_turn(self, cleared: Any, at: float) -> Answered:
        time.sleep(max(0.0, at - time.monotonic()))
        return send.try_to_hand_over(self._gateway, cleared)

    def _within_daily_limit(self, conn: Connection[Any], free: int, now: datetime) -> int:
        """At the edge of the sender's limit one by one: those under way count, though nobody has written them down."""
        limit = self._config.daily_customers
        if not limit or "sender_limit" in self._config.gate_off:
            return free
        count, _ = facts.written_to_first(conn, our_number=self._config.sender, since=now - gate.DAY, limit=limit)
        left = limit - count - len(self._in_flight)
        return min(free, left) if left > 0 else 0 if self._in_flight else 1

    def _put_the_others_off(self) -> None:
        """One has to wait, so others may: those of them that the gate keeps now are not looked at again before their time."""
        while True:
            now = datetime.now(UTC)
            with self._transactions() as conn:
                ids = campaigns.next_due(conn, now=now, limit=_LOOKED_AT_TOGETHER)
                if not send.put_off_together(conn, ids, config=self._config, now=now):
                    return

    def _something_is_due(self) -> bool:
        with self._transactions() as conn:
            due = campaigns.earliest(conn)
            if due is not None and due <= datetime.now(UTC):
                return bool(campaigns.next_due(conn, now=datetime.now(UTC), limit=1))
        return False

    def _write_down(self, wait_s: float) -> None:
        done, _ = wait(self._in_flight, timeout=wait_s, return_when=FIRST_COMPLETED)
        if not done:
            return
        answers = [self._answer(future) for future in done]
        send.write_down_together(self._transactions, answers)
        self._heed(answers)

    def _answer(self, future: Future[Answered]) -> Answered:
        """The answer; whatever broke on the way to it proves nothing of what the provider has."""
        cleared = self._in_flight.pop(future)
        error = future.exception()
        if error is None:
            return future.result()
        log.error("handing over message %s failed", cleared.message.id, exc_info=error)
        return Answered(
            cleared, error=Unconfirmed("The program failed while handing the message over. It is looked up.")
        )

    def _heed(self, answers: Sequence[Answered]) -> None:
        """Wait as a whole when the provider says "not now", or nothing; go on when it takes messages again."""
        troubles = [answer.error for answer in answers if isinstance(answer.error, (NotSent, Unconfirmed))]
        if troubles:
            asked = max((error.retry_after_s or 0 for error in troubles if isinstance(error, NotSent)), default=0)
            wait_s = asked or _WAITS_S[min(self._failures, len(_WAITS_S) - 1)]
            self._failures += 1
            self._resume_at = datetime.now(UTC) + timedelta(seconds=wait_s)
            log.warning("campaigns wait %s s: %s", wait_s, troubles[-1])
            with self._transactions() as conn:
                senders.wait(
                    conn, self._config.sender, until=self._resume_at, reason=str(troubles[-1]), failures=self._failures
                )
        elif self._failures and not self._in_flight:
            self._failures, self._resume_at = 0, None
            with self._transactions() as conn:
                senders.go_on(conn, self._config.sender)


def queue_rows(
    conn: Connection[Any],
    campaign: Campaign,
    *,
    config: Config,
    limit: int,
    with_ids: bool = True,
    now: datetime | None = None,
) -> int:
    """Make messages of the campaign's next rows, in a few statements and without jobs; how many rows were looked at.

    The gate is asked: who must not be written to any more is a failed message with the reason, who is asleep waits for the morning.
    """
    now = now or datetime.now(UTC)
    template = template_of(conn, campaign)
    some = campaigns.rows(conn, campaign, after=campaign.queued_up_to, limit=limit)
    if template is None or not some:
        campaigns.change(conn, campaign.id, queued_up_to=campaign.recipients)
        return 0
    wanted = [row for row in some if row.problem is None and row.address is not None]
    if not with_ids:
        wanted = [replace(row, client_id=None, policy_id=None) for row in wanted]
    if wanted:
        _write(conn, campaign, template, wanted, config=config, now=now)
    campaigns.change(conn, campaign.id, queued_up_to=some[-1].position)
    return len(some)


def _write(
    conn: Connection[Any],
    campaign: Campaign,
    template: Version,
    rows: Sequence[campaigns.Recipient],
    *,
    config: Config,
    now: datetime,
) -> None:
    drafts = [replace(draft_of(campaign, template, row), to=row.address or "") for row in rows]
    verdicts = gate.examine(conn, drafts, config=config, now=now)
    values = [
        send.columns(draft, verdict, config=config, media_id=None, now=now)
        for draft, verdict in zip(drafts, verdicts, strict=True)
    ]
    with send.known_to_the_portal():
        ids = messages.insert_many(conn, values)
    written: list[tuple[int, int, datetime | None, str | None]] = []
    stopped = []
    for row, verdict, id_ in zip(rows, verdicts, ids, strict=True):
        if id_ is None:
            continue  # a message of this very row is there already
        if verdict.refusal is not None:
            stopped.append(send.refused(id_, verdict.refusal))
            written.append((row.position, id_, None, None))
        elif (
            verdict.waits is not None
            and verdict.waits.until is not None
            and verdict.waits.rule is not gate.Rule.SENDER_LIMIT
        ):
            written.append((row.position, id_, verdict.waits.until, verdict.waits.text))
        else:
            written.append((row.position, id_, now, None))
    track.record(conn, stopped, source=Source.SEND, now=now)
    campaigns.queued(conn, campaign, written)
    log.info("campaign %s: %s messages queued, %s refused", campaign.id, len(written) - len(stopped), len(stopped))
