"""Messages whose answer was lost: they are looked up at the provider's list before anybody sends again."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from whatsapp_logs import track
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.message import Message, ProviderMessage, Source
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import handover, messages

log = logging.getLogger(__name__)

_CLOCKS_APART = timedelta(minutes=5)


def by_list(transactions: Transactions, gateway: Gateway, lost: Sequence[Message]) -> int:
    """Look up messages whose answer was lost, at the provider's list, and attach the one that fits; returns how many were found.

    What the list does not show stays unconfirmed: it lags, and nothing may be sent twice.
    """
    recipients = dict.fromkeys(message.recipient for message in lost if message.unconfirmed_at is not None)
    return sum(_settle(transactions, gateway, recipient) for recipient in recipients)


def _settle(transactions: Transactions, gateway: Gateway, recipient: str) -> int:
    with transactions() as conn:
        waiting = handover.without_outcome(conn, recipient)
    if not waiting:
        return 0
    since = min(message.claimed_at for message in waiting if message.claimed_at) - _CLOCKS_APART
    listed = [candidate for candidate in gateway.sent_to(recipient, since) if candidate.report.provider_id]
    with transactions() as conn:
        # Read again: what was handed over meanwhile has claimed its SID, or is seen to be under way.
        waiting = handover.without_outcome(conn, recipient)
        strangers = [one for one in listed if messages.by_provider_id(conn, str(one.report.provider_id)) is None]
        pairs = _pairs(waiting, strangers)
        handover.looked_up(conn, [message.id for message in waiting if message.is_unconfirmed], now=datetime.now(UTC))
        reports = [replace(theirs.report, message_id=message.id) for message, theirs in pairs]
        track.record(conn, reports, source=Source.RECONCILE)
    for message, theirs in pairs:
        log.info("message %s was at the provider after all: %s", message.id, theirs.report.provider_id)
    return len(pairs)


def _pairs(waiting: Sequence[Message], strangers: Sequence[ProviderMessage]) -> list[tuple[Message, ProviderMessage]]:
    """Which lost message is which of the provider's: only where nothing else is possible.

    Equal messages are told apart by their order, if all of them are there; not while one of them is still being handed over.
    """
    texts = {message.body for message in waiting}
    pairs = []
    for message in waiting:
        fitting = [
            one for one in reversed(strangers) if _fits(message, one, texts)
        ]  # the provider lists the newest first
        rivals = [rival for rival in waiting if any(_fits(rival, one, texts) for one in fitting)]
        if (
            len(rivals) == len(fitting)
            and all(rival.is_unconfirmed for rival in rivals)
            and all(_fits(rival, one, texts) for rival, one in zip(rivals, fitting, strict=True))
        ):
            pairs += [(message, one) for rival, one in zip(rivals, fitting, strict=True) if rival is message]
    return pairs


def _fits(message: Message, theirs: ProviderMessage, texts: Set[str | None]) -> bool:
    """Whether the provider's message can be ours: created while ours was handed over, with its text.

    Templates and files vary from the text that we know; what has the very text of one that waits (`texts`) is none of theirs.
    """
    assert message.claimed_at is not None
    if theirs.direction != "outbound" or theirs.created_at is None:
        return False
    until = (message.unconfirmed_at or datetime.now(UTC)) + _CLOCKS_APART
    varies = message.template_sid is not None or message.media_id is not None
    may_be_its_text = theirs.body == message.body or (varies and theirs.body not in texts)
    return message.claimed_at - _CLOCKS_APART <= theirs.created_at <= until and may_be_its_text
