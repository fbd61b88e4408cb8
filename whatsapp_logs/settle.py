"""Messages whose answer was lost: found at the provider's list, or settled by a person's word. Nothing is sent again before."""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection

from whatsapp_logs import track
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.message import NOT_SENT, Message, ProviderMessage, Source, StatusReport
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import campaigns, handover, messages, related

log = logging.getLogger(__name__)

# No person settles a message sooner: the provider's list lags, by minutes as a rule, and has been asked a dozen times by then.
BY_HAND_AFTER = timedelta(hours=1)
TOO_SOON = "It is too soon to say that this message was not sent: Twilio’s list lags, and may show it yet."
_CLOCKS_APART = timedelta(minutes=5)
_SETTLED_TOGETHER = 100  # locks of a transaction: their table has room for some thousands


def by_list(transactions: Transactions, gateway: Gateway, lost: Sequence[Message]) -> int:
    """Look up messages whose answer was lost, at the provider's list, and attach the one that fits; returns how many were found.

    What the list does not show stays unconfirmed: it lags, and nothing may be sent twice. Raises ProviderAway.
    """
    recipients = dict.fromkeys(message.recipient for message in lost if message.unconfirmed_at is not None)
    return sum(_attach(transactions, recipient, _listed(transactions, gateway, recipient)) for recipient in recipients)


def may_be_settled_by_hand(message: Message, *, now: datetime) -> bool:
    """Whether a person may declare this unconfirmed message not sent: it has been looked up, and for long enough."""
    return (
        message.is_unconfirmed
        and message.unconfirmed_at is not None
        and message.last_status_check is not None
        and message.last_status_check >= message.unconfirmed_at
        and now >= message.unconfirmed_at + BY_HAND_AFTER
    )


def by_hand(
    transactions: Transactions, gateway: Gateway, message: Message, *, created_by: str, now: datetime | None = None
) -> Message:
    """Look the message up once more; if the list still does not show it, record that this person declares it not sent.

    Returns the message as it is then: declared not sent, by whoever was first, or settled in another way before. It stays
    unconfirmed with InvalidInput, where it is too soon or the list shows what may be it, and with ProviderAway.
    """
    if not message.is_unconfirmed:
        return message
    if not may_be_settled_by_hand(message, now=now or datetime.now(UTC)):
        raise InvalidInput("message", TOO_SOON)
    listed = _listed(transactions, gateway, message.recipient)
    _attach(transactions, message.recipient, listed)
    with transactions() as conn:
        # Of two equal messages one may be in the list: who settles the second has to see that the first is settled.
        handover.hold_recipient(conn, message.recipient)
        related.hold(conn, message.id)
        left = _known(conn, message.id)
        if not left.is_unconfirmed:
            return left
        if _may_be_listed(conn, left, listed):
            raise InvalidInput(
                "message",
                "Twilio’s list shows a message to this number, from the time of this one, that the log does not know. "
                "It may be this one, so nothing was changed. If another program has sent it, have that program log it.",
            )
        track.record(conn, [_word_of(message.id, was_sent=False, created_by=created_by)], source=Source.SEND)
        log.warning("message %s declared not sent by %s", message.id, created_by)
        return _known(conn, message.id)


def campaign_by_hand(
    transactions: Transactions,
    gateway: Gateway,
    campaign_id: int,
    *,
    was_sent: bool,
    created_by: str,
    now: datetime | None = None,
) -> int:
    """Look up once more what of a campaign is in doubt, and record this person's word for what the list still does not show.

    A hundred together. What may be in the list, or is too new, stays as it is: that is settled one by one. Returns how many were
    declared. Begun again it goes on. Raises ProviderAway.
    """
    at, declared, after = now or datetime.now(UTC), 0, 0
    while True:
        with transactions() as conn:
            ids = campaigns.in_doubt(
                conn, campaign_id, now=at, waited=BY_HAND_AFTER, after=after, limit=_SETTLED_TOGETHER
            )
            recipients = sorted({message.recipient for message in messages.many(conn, ids)})
        if not ids:
            log.warning("campaign %s: %s messages declared by %s", campaign_id, declared, created_by)
            return declared
        listed = {recipient: _listed(transactions, gateway, recipient) for recipient in recipients}
        for recipient in recipients:
            _attach(transactions, recipient, listed[recipient])
        with transactions() as conn:
            for recipient in recipients:  # in one order for all, so that nobody deadlocks
                handover.hold_recipient(conn, recipient)
            related.hold_all(conn, ids)
            left = [one for one in messages.many(conn, ids) if one.is_unconfirmed]
            settled = [one for one in left if not _resembles(conn, one, listed[one.recipient])]
            reports = [_word_of(one.id, was_sent=was_sent, created_by=created_by) for one in settled]
            track.record(conn, reports, source=Source.SEND)
        declared, after = declared + len(settled), ids[-1]


def _resembles(conn: Connection[Any], message: Message, listed: Sequence[ProviderMessage]) -> bool:
    """Whether anything that the list shows to this recipient, and that nobody knows, may be this message."""
    strangers = _strangers(conn, listed)
    if not strangers:
        return False
    texts = {one.body for one in handover.without_outcome(conn, message.recipient)}
    return any(_fits(message, one, texts) for one in strangers)


def _word_of(message_id: int, *, was_sent: bool, created_by: str) -> StatusReport:
    if was_sent:
        return StatusReport(provider_status="sent", message_id=message_id, payload={"created_by": created_by})
    return StatusReport(
        provider_status="failed",
        message_id=message_id,
        error_code=NOT_SENT,
        error_message=f"{created_by} declared that it was not sent. Twilio’s list, asked just before, did not show it.",
        payload={"created_by": created_by},
    )


def _listed(transactions: Transactions, gateway: Gateway, recipient: str) -> list[ProviderMessage]:
    """What the provider's list shows to this recipient, as far back as anything waits for its lost answer."""
    with transactions() as conn:
        waiting = handover.without_outcome(conn, recipient)
    if not waiting:
        return []
    since = min(message.claimed_at for message in waiting if message.claimed_at) - _CLOCKS_APART
    return [candidate for candidate in gateway.sent_to(recipient, since) if candidate.report.provider_id]


def _attach(transactions: Transactions, recipient: str, listed: Sequence[ProviderMessage]) -> int:
    """Give each lost message to this recipient the one of `listed` that can only be it; returns how many were found."""
    with transactions() as conn:
        # Read again: what was handed over meanwhile has claimed its SID, or is seen to be under way.
        waiting = handover.without_outcome(conn, recipient)
        strangers = _strangers(conn, listed)
        pairs = _pairs(waiting, strangers)
        looked_up = [message.id for message in waiting if message.unconfirmed_at is not None]
        handover.looked_up(conn, looked_up, now=datetime.now(UTC))
        reports = [replace(theirs.report, message_id=message.id) for message, theirs in pairs]
        track.record(conn, reports, source=Source.RECONCILE)
    for message, theirs in pairs:
        log.info("message %s was at the provider after all: %s", message.id, theirs.report.provider_id)
    return len(pairs)


def _may_be_listed(conn: Connection[Any], message: Message, listed: Sequence[ProviderMessage]) -> bool:
    """Whether a message of the list may be this one, and is more than the others that wait can account for."""
    waiting = handover.without_outcome(conn, message.recipient)
    texts = {one.body for one in waiting}
    fitting = [one for one in _strangers(conn, listed) if _fits(message, one, texts)]
    rivals = [
        rival
        for rival in waiting
        if not rival.is_declared_not_sent and any(_fits(rival, one, texts) for one in fitting)
    ]
    return bool(fitting) and len(fitting) >= len(rivals)


def _strangers(conn: Connection[Any], listed: Sequence[ProviderMessage]) -> list[ProviderMessage]:
    return [one for one in listed if messages.by_provider_id(conn, str(one.report.provider_id)) is None]


def _pairs(waiting: Sequence[Message], strangers: Sequence[ProviderMessage]) -> list[tuple[Message, ProviderMessage]]:
    """Which lost message is which of the provider's: only where nothing else is possible.

    A person's word that a message was not sent counts where it decides: then what the provider has is the other one.
    """
    texts = {message.body for message in waiting}
    pairs = _certain(waiting, strangers, texts)
    found = {message.id for message, _ in pairs}
    taken = {theirs.report.provider_id for _, theirs in pairs}
    still_open = [message for message in waiting if message.id not in found and not message.is_declared_not_sent]
    left = [one for one in strangers if one.report.provider_id not in taken]
    return pairs + _certain(still_open, left, texts)


def _certain(
    waiting: Sequence[Message], strangers: Sequence[ProviderMessage], texts: Set[str | None]
) -> list[tuple[Message, ProviderMessage]]:
    """Equal messages are told apart by their order, if all of them are there; not while one of them is still being handed over."""
    pairs = []
    for message in waiting:
        fitting = [
            one for one in reversed(strangers) if _fits(message, one, texts)
        ]  # the provider lists the newest first
        rivals = [rival for rival in waiting if any(_fits(rival, one, texts) for one in fitting)]
        if (
            len(rivals) == len(fitting)
            and all(rival.unconfirmed_at is not None for rival in rivals)
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


def _known(conn: Connection[Any], message_id: int) -> Message:
    message = messages.get(conn, message_id)
    assert message is not None, "messages are never deleted"
    return message
