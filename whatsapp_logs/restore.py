"""After an older backup was restored: nothing is sent twice, no callback meets the wrong message, and the gap is filled."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from whatsapp_logs import reconcile, settle
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.message import Message
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import messages, reconciliations, restored
from whatsapp_logs.store.reconciliations import Reconciliation

log = logging.getLogger(__name__)

_IDS_SKIPPED = 1_000_000
_MAX_DAYS = 35
_BATCH = 500
_CLOCKS_APART = timedelta(minutes=5)
_REASON = (
    "A backup was restored: the message may have been sent since. It is looked up at Twilio before anything is sent."
)


def prepare(transactions: Transactions, *, now: datetime) -> int:
    """Before worker and web server start again: skip the ids already given out, hold what waits; returns how many are held."""
    with transactions() as conn:
        restored.skip_ids(conn, count=_IDS_SKIPPED)
        held = restored.hold(conn, now=now, reason=_REASON)
    log.warning("a backup was restored: %s messages are held until they have been looked up", held)
    return held


def repair(
    transactions: Transactions, gateway: Gateway, *, sender: str, since: date | None = None
) -> list[Reconciliation]:
    """Find held messages at the provider, then reconcile every day since the backup. Raises ProviderAway.

    `since` is the first day to reconcile; otherwise the day before the newest message.
    """
    for some in _batches(transactions):
        settle.by_list(transactions, gateway, some)
    today = datetime.now(UTC).date()
    with transactions() as conn:
        first = since or (restored.newest_day(conn) or today) - timedelta(days=1)
    first = max(first, today - timedelta(days=_MAX_DAYS))
    return [
        _reconciled(transactions, gateway, first + timedelta(days=n), sender=sender)
        for n in range((today - first).days + 1)
    ]


def send_rest(transactions: Transactions, gateway: Gateway) -> tuple[int, int]:
    """Let go what the provider's list does not show; returns how many are sent now, and how many are held on.

    The list lags, by hours at worst: an operator decides when it can be trusted. Where it shows anything to the recipient that
    the log does not know, the message is held on. Raises ProviderAway.
    """
    released = 0
    for some in _batches(transactions):
        for recipient in dict.fromkeys(message.recipient for message in some):
            waiting = [message for message in some if message.recipient == recipient]
            if not _is_at_provider(transactions, gateway, recipient, waiting):
                with transactions() as conn:
                    released += restored.release(conn, [message.id for message in waiting], reason=_REASON)
    with transactions() as conn:
        return released, len(restored.held(conn, reason=_REASON))


def _is_at_provider(transactions: Transactions, gateway: Gateway, recipient: str, waiting: Sequence[Message]) -> bool:
    since = min(message.created_at for message in waiting) - _CLOCKS_APART
    listed = [one for one in gateway.sent_to(recipient, since) if one.direction == "outbound"]
    with transactions() as conn:
        known = reconciliations.known(conn, [str(one.report.provider_id) for one in listed])
    return len(known) < len(listed)


def _batches(transactions: Transactions) -> list[list[Message]]:
    with transactions() as conn:
        ids = restored.held(conn, reason=_REASON)
        return [messages.many(conn, ids[begin : begin + _BATCH]) for begin in range(0, len(ids), _BATCH)]


def _reconciled(transactions: Transactions, gateway: Gateway, day: date, *, sender: str) -> Reconciliation:
    with transactions() as conn:
        run = reconcile.start(conn, day, started_by="after a restored backup")
    reconcile.run(transactions, gateway, run.id, sender=sender)
    with transactions() as conn:
        return reconciliations.get(conn, run.id) or run
