"""How messages leave: the row and its job commit before the provider hears of it; a message is handed over once."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
from psycopg import Connection

from whatsapp_logs import gate, links, phone, track
from whatsapp_logs.channels import whatsapp
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.config import Config
from whatsapp_logs.errors import DatabaseAway, InvalidInput, LoggingFailed, NotSent, Refused, Unconfirmed
from whatsapp_logs.message import (
    FAILURES,
    GENERAL,
    TOO_LATE,
    Draft,
    Message,
    Outgoing,
    Path,
    Source,
    Status,
    StatusReport,
    Template,
)
from whatsapp_logs.store import campaigns, contacts, handover, media, messages, queue, related, senders, status_events
from whatsapp_logs.store.pool import atomic

log = logging.getLogger(__name__)

T = TypeVar("T")
Transactions = Callable[[], AbstractContextManager[Connection[Any]]]

_WAITS_S = (5, 15, 60, 300, 900)  # between attempts; the last one repeats
_NOT_OF_A_TYPE = re.compile(r"[^A-Za-z0-9_.:-]")  # a type is a word that stands in filters and addresses
_MAX_TYPE = 50  # the specification's column
_GIVE_UP_AFTER = timedelta(hours=24)
_DATABASE_WAITS_S = (0.2, 1, 2, 5, 10)  # with the pool's own time-outs less than a claim may take
_CLAIM_OUTCOME_S = 120  # a claim without outcome for this long has lost its worker


def queue_message(conn: Connection[Any], draft: Draft, *, config: Config, now: datetime | None = None) -> Message:
    """Write the message and its job into the caller's transaction; asked twice with one request_key, the first one's message.

    A draft that cannot be sent becomes a row too: failed, with the reason. Raises InvalidInput for an unknown client or policy.
    """
    now = now or datetime.now(UTC)
    draft = timed(draft)
    with atomic(conn):
        earlier = _asked_before(conn, draft)
        if earlier is not None:
            return earlier
        _hold_recipient(conn, draft, config)
        (verdict,) = gate.examine(conn, [draft], config=config, now=now)
        recipient, refusal = verdict.recipient, verdict.refusal
        # For a wrong number too: once it has been corrected, the message is sent again with its document.
        media_id = media.insert(conn, draft.media) if draft.media and not uncarried(draft, config) else None
        message_id = _insert(conn, draft, verdict, config=config, media_id=media_id, now=now)
        if message_id is None:  # somebody else asked the same in this very moment, and has committed first
            return _there(_asked_before(conn, draft))
        first = StatusReport(provider_status=standing(draft, now).value, message_id=message_id)
        track.record(conn, [first], source=Source.SEND, now=now)
        if refusal is not None:
            track.record(conn, [refused(message_id, refusal)], source=Source.SEND, now=now)
            log.info("message %s to %s refused: %s", message_id, phone.masked(recipient), refusal.code)
        else:
            queue.defer(conn, "deliver", at=draft.send_at, ids=[message_id])
            log.info("message %s to %s queued by %s", message_id, phone.masked(recipient), draft.created_by)
        return _known(conn, message_id)


def timed(draft: Draft) -> Draft:
    """The draft by its way: a single message with a time to come is scheduled. Raises InvalidInput for a time without a zone."""
    if draft.send_at is not None and draft.send_at.tzinfo is None:
        raise InvalidInput("send_at", "The time to send at has no zone: make it with `send_time`, or give it one.")
    return replace(draft, path=Path.SCHEDULED) if draft.send_at is not None and draft.path is Path.SINGLE else draft


def standing(draft: Draft, now: datetime) -> Status:
    """As what a new message begins: queued, or scheduled if its time is still to come."""
    return Status.SCHEDULED if draft.send_at is not None and draft.send_at > now else Status.QUEUED


def refused(message_id: int, finding: gate.Finding) -> StatusReport:
    """What stands in the log of a message that the gate has stopped."""
    return StatusReport(
        provider_status="failed", message_id=message_id, error_code=finding.code, error_message=finding.text
    )


def may_send_again(message: Message) -> bool:
    """Whether a message is known not to have arrived, and never will; one that is unconfirmed or contradicted may have."""
    return (
        message.status in FAILURES | {Status.CANCELED}
        and message.direction == "outbound"
        and not message.is_unconfirmed
        and not message.is_contradicted
        and message.erased_at is None
    )


def send_again(
    conn: Connection[Any],
    message: Message,
    *,
    created_by: str,
    request_key: str,
    config: Config,
    to: str | None = None,
    confirmed: frozenset[str] = frozenset(),
) -> Message:
    """Queue a failed message's content as a new message; raises InvalidInput for one that arrived, or still may.

    `to` is the recipient's number where it has been corrected since; None sends to the same one. A message is sent again once:
    what became of the repetition is for that one to tell.
    """
    related.hold(conn, message.id)
    message = _known(conn, message.id)  # read again: what the provider has just been heard to have is not sent twice
    if not may_send_again(message):
        raise InvalidInput(
            "message", "Only a message that has failed can be sent again: this one arrived, or still may."
        )
    other = related.sent_again(conn, [message.id]).get(message.id)
    if other is not None and _there(messages.get(conn, other)).request_key != request_key:
        raise InvalidInput("message", f"This message has been sent again already, as Message {other}.")
    draft = replace(
        repetition(conn, message, to=to),
        created_by=created_by,
        request_key=request_key,
        confirmed=frozenset(message.confirmed or ()) | confirmed,
    )
    return queue_message(conn, draft, config=config)


def repetition(conn: Connection[Any], message: Message, *, to: str | None = None) -> Draft:
    """The draft of a message that is to be sent once more, with its document."""
    was = gate.draft_of(message, media_variable=messages.media_variable(conn, message.id))
    return replace(
        was,
        to=to or message.recipient,
        media=media.get(conn, message.media_id) if message.media_id else None,
        send_at=None,
        resend_of=message.id,
        path=Path.AGAIN,
        campaign_id=None,
    )


def deliver(transactions: Transactions, gateway: Gateway, ids: Sequence[int], *, config: Config) -> None:
    """Claim each of these messages and hand it over: claim → gate → commit → hand over → record. No connection is held meanwhile.

    Each is claimed in its turn, and as the sender's rate allows: a claim without an outcome means a hand-over that was cut short,
    never one that was not begun.
    """
    for message_id in ids:
        if not _wait_for_its_turn(transactions, message_id, config=config):
            continue
        with transactions() as conn:
            cleared = _claim(conn, message_id, config=config, now=datetime.now(UTC))
        if cleared is not None:
            _hand_over(transactions, gateway, cleared)


def _wait_for_its_turn(transactions: Transactions, message_id: int, *, config: Config) -> bool:
    """Wait until one more message may leave this sender; False for one that does not wait to leave.

    Turns are taken one after the other, however far ahead; a campaign takes what is free now, so that it gives way.
    """
    with transactions() as conn:
        wait_s = senders.take_turn(conn, config.sender, message_id, rate=config.sender_rate)
    if wait_s:
        time.sleep(wait_s)
    return wait_s is not None


def record_sent(
    conn: Connection[Any],
    *,
    config: Config,
    message_sid: str,
    to: str,
    message_type: str = GENERAL,
    body: str | None = None,
    media_url: str | None = None,
    policy_id: str | int | None = None,
    client_id: str | int | None = None,
    created_by: str | None = None,
    status: str = "queued",
    created_at: datetime | None = None,
) -> Message:
    """Log a message that other code has sent; reports that came before it are adopted. Told twice, it is one message.

    Raises LoggingFailed when it cannot be written down.
    """
    if not message_sid.strip():
        raise InvalidInput(
            "message_sid", "A message that was sent has a SID; a refused one is logged by sending it here."
        )
    draft = Draft(
        to=to,
        message_type=message_type,
        body=body,
        media_url=media_url,
        policy_id=policy_id,
        client_id=client_id,
        created_by=created_by,
    )
    now = datetime.now(UTC)
    at = created_at or now
    try:
        with atomic(conn):
            # Two that log the same message meet here, and the second finds the first's row.
            status_events.lock(conn, message_sid)
            known = messages.by_provider_id(conn, message_sid)
            if known is not None:
                return known
            sent_to = gate.Verdict(recipient=_address(to, config))
            message_id = _there(_insert(conn, draft, sent_to, config=config, media_id=None, now=at, claimed_at=at))
            report = StatusReport(
                provider_status=status, provider_id=message_sid, message_id=message_id, happened_at=created_at
            )
            track.record(conn, [report], source=Source.SEND, now=now)
            return _known(conn, message_id)
    except psycopg.IntegrityError as error:
        raise LoggingFailed() from error


def rescue(conn: Connection[Any], *, now: datetime | None = None) -> list[int]:
    """Ids whose hand-over was never begun (their job was lost); claims that lost their worker become unconfirmed."""
    now = now or datetime.now(UTC)
    lost = handover.abandoned_claims(conn, now=now, after_s=_CLAIM_OUTCOME_S)
    if lost:
        log.error("messages %s were being handed over when their worker died: unconfirmed", lost)
        reason = "The program stopped while handing the message over. It is looked up at Twilio before anything is sent again."
        handover.mark_unconfirmed(conn, lost, reason=reason, now=now)
    return handover.waiting(conn, now=now, quiet_s=30, limit=500)


@dataclass(frozen=True, slots=True)
class _Cleared:
    """A claimed message that the gate lets through now; only `_claim` and `claim_together` make one, only one is handed over."""

    message: Message
    outgoing: Outgoing
    begins_conversation: bool


def _claim(conn: Connection[Any], message_id: int, *, config: Config, now: datetime) -> _Cleared | None:
    """Claim the message and ask the gate; None when it is not to be handed over, or not now. Why is written down."""
    if not handover.claim(conn, message_id, now=now):
        return None
    message, media_variable = _known(conn, message_id), messages.media_variable(conn, message_id)
    if message.status is Status.SCHEDULED and not _begin(conn, message, config=config, now=now):
        return None
    verdict = gate.examine_claimed(conn, message, media_variable=media_variable, config=config, now=now)
    if verdict.refusal is not None:
        handover.withdraw(conn, message_id)
        track.record(conn, [refused(message_id, verdict.refusal)], source=Source.SEND, now=now)
        log.info("message %s refused at the last moment: %s", message_id, verdict.refusal.code)
        return None
    if verdict.waits is not None and verdict.waits.until is not None:
        handover.withdraw(conn, message_id)
        _release(conn, message_id=message_id, reason=verdict.waits.text, retry_at=verdict.waits.until)
        log.info("message %s waits until %s: %s", message_id, verdict.waits.until, verdict.waits.code)
        return None
    return _Cleared(message, _outgoing(message, media_variable, config=config), verdict.window_until is None)


def _begin(conn: Connection[Any], message: Message, *, config: Config, now: datetime) -> bool:
    """Move a scheduled message on, its time having come. False when that was too long ago: then it is refused."""
    overdue = now - (message.send_at or now)
    if overdue <= timedelta(hours=config.scheduled_too_late_hours):
        track.record(conn, [StatusReport(provider_status="queued", message_id=message.id)], source=Source.SEND, now=now)
        return True
    hours, limit = f"{overdue / timedelta(hours=1):.0f} hours", f"{config.scheduled_too_late_hours} hours"
    text = f"It should have left {hours} earlier, and nothing was sending then. After {limit} it is not sent any more."
    handover.withdraw(conn, message.id)
    late = StatusReport(provider_status="failed", message_id=message.id, error_code=TOO_LATE, error_message=text)
    track.record(conn, [late], source=Source.SEND, now=now)
    log.error("message %s is %s overdue: not sent", message.id, hours)
    return False


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of a campaign's messages that were due: those cleared for their hand-over, and how many wait or were refused."""

    cleared: Sequence[_Cleared]
    put_off: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """What the provider said to one hand-over: its report, or why there is none."""

    cleared: _Cleared
    report: StatusReport | None = None
    error: NotSent | Unconfirmed | Refused | None = None


def claim_together(conn: Connection[Any], ids: Sequence[int], *, config: Config, now: datetime) -> Claimed:
    """`_claim` of a campaign's messages that are due, for all of them in a few statements; see there."""
    taken = campaigns.claim(conn, ids, now=now)
    found = [(message, None) for message in messages.many(conn, sorted(taken))]
    verdicts = gate.examine_all_claimed(conn, found, config=config, now=now)
    cleared, stopped, waiting = [], [], {}
    for (message, _), verdict in zip(found, verdicts, strict=True):
        if verdict.refusal is not None:
            stopped.append(refused(message.id, verdict.refusal))
        elif verdict.waits is not None and verdict.waits.until is not None:
            waiting[message.id] = (verdict.waits.until, verdict.waits.text)
        else:
            cleared.append(_Cleared(message, _outgoing(message, None, config=config), verdict.window_until is None))
    campaigns.withdraw(conn, [*waiting, *(report.message_id for report in stopped if report.message_id)])
    campaigns.put_off(conn, waiting)
    track.record(conn, stopped, source=Source.SEND, now=now)
    return Claimed(cleared, len(waiting), len(stopped))


def put_off_together(conn: Connection[Any], ids: Sequence[int], *, config: Config, now: datetime) -> int:
    """Have those of a campaign's messages wait that the gate would keep now, before anybody claims them; how many."""
    found = [(message, None) for message in messages.many(conn, ids)]
    verdicts = gate.examine_all_claimed(conn, found, config=config, now=now)
    waiting = {
        message.id: (verdict.waits.until, verdict.waits.text)
        for (message, _), verdict in zip(found, verdicts, strict=True)
        if verdict.refusal is None and verdict.waits is not None and verdict.waits.until is not None
    }
    campaigns.put_off(conn, waiting)
    return len(waiting)


def try_to_hand_over(gateway: Gateway, cleared: _Cleared) -> Answered:
    """Hand a cleared message over and bring the answer back, to be written down with others: `write_down_together`."""
    try:
        return Answered(cleared, report=gateway.send(cleared.outgoing))
    except (NotSent, Unconfirmed, Refused) as error:
        return Answered(cleared, error=error)


def write_down_together(transactions: Transactions, answers: Sequence[Answered]) -> None:
    """Commit what the provider answered to a campaign's messages, all in one transaction; see `_write_down`."""
    _write_down(transactions, partial(_record_answers, answers=answers))


def _record_answers(conn: Connection[Any], *, answers: Sequence[Answered]) -> None:
    now = datetime.now(UTC)
    reports: list[StatusReport] = []
    begun: dict[str, list[str]] = {}
    put_off: dict[int, tuple[datetime, str]] = {}
    for answer in answers:
        message = answer.cleared.message
        if answer.report is not None:
            reports.append(answer.report)
            reports.append(
                StatusReport(provider_status="sending", provider_id=answer.report.provider_id, message_id=message.id)
            )
            if answer.cleared.begins_conversation and message.sender:
                begun.setdefault(message.sender, []).append(message.recipient)
        elif isinstance(answer.error, Refused):
            reports.append(_failed(message, answer.error.code, str(answer.error)))
        elif isinstance(answer.error, NotSent):
            put_off[message.id] = (now, str(answer.error))
        else:
            log.error("message %s unconfirmed: %s", message.id, answer.error)
            _mark_unconfirmed(conn, message_id=message.id, reason=str(answer.error))
    track.record(conn, reports, source=Source.SEND, now=now)
    campaigns.put_off(conn, put_off)
    for sender, recipients in begun.items():
        contacts.wrote_first_to(conn, recipients, our_number=sender, at=now)


def _failed(message: Message, code: str | None, text: str) -> StatusReport:
    return StatusReport(provider_status="failed", message_id=message.id, error_code=code, error_message=text)


def _hand_over(transactions: Transactions, gateway: Gateway, cleared: _Cleared) -> None:
    message = cleared.message
    try:
        accepted = gateway.send(cleared.outgoing)
    except NotSent as error:
        _wait_or_give_up(transactions, message, error)
    except Unconfirmed as error:
        log.error("message %s unconfirmed: %s", message.id, error)
        _write_down(transactions, partial(_mark_unconfirmed, message_id=message.id, reason=str(error)))
    except Refused as error:
        log.info("message %s refused by the provider: %s", message.id, error.code)
        _record(transactions, _failed(message, error.code, str(error)))
    else:
        handed_over = StatusReport(provider_status="sending", provider_id=accepted.provider_id, message_id=message.id)
        _write_down(transactions, partial(_record_accepted, reports=(accepted, handed_over), cleared=cleared))
        log.info("message %s handed over as %s (%s)", message.id, accepted.provider_id, accepted.provider_status)


def _record(transactions: Transactions, *reports: StatusReport) -> None:
    _write_down(transactions, partial(track.record, reports=reports, source=Source.SEND))


def _record_accepted(conn: Connection[Any], *, reports: Sequence[StatusReport], cleared: _Cleared) -> None:
    track.record(conn, reports, source=Source.SEND)
    message = cleared.message
    if cleared.begins_conversation and message.sender:
        contacts.wrote_first(conn, message.recipient, our_number=message.sender, at=datetime.now(UTC))


def _mark_unconfirmed(conn: Connection[Any], *, message_id: int, reason: str) -> None:
    now = datetime.now(UTC)
    handover.mark_unconfirmed(conn, [message_id], reason=reason, now=now)
    queue.defer(conn, "settle_unconfirmed", at=now + timedelta(seconds=5))


def _release(conn: Connection[Any], *, message_id: int, reason: str, retry_at: datetime) -> None:
    handover.release(conn, message_id, reason=reason, retry_at=retry_at)
    queue.defer(conn, "deliver", at=retry_at, ids=[message_id])


def _write_down(transactions: Transactions, write: Callable[[Connection[Any]], object]) -> None:
    """Commit what the provider answered. Nobody else knows it, so a database that restarts is waited for."""
    for wait_s in _DATABASE_WAITS_S:
        try:
            with transactions() as conn:
                write(conn)
            return
        except DatabaseAway as error:
            log.warning("the outcome of a hand-over waits %s s for the database: %s", wait_s, error)
            time.sleep(wait_s)
    with transactions() as conn:
        write(conn)


def _wait_or_give_up(transactions: Transactions, message: Message, error: NotSent) -> None:
    now = datetime.now(UTC)
    if now - (message.send_at or message.created_at) > _GIVE_UP_AFTER:
        log.error("message %s given up after %s attempts", message.id, message.attempts)
        _record(transactions, _failed(message, "given_up", str(error)))
        return
    wait_s = error.retry_after_s or _WAITS_S[min(message.attempts, len(_WAITS_S)) - 1]
    retry_at = now + timedelta(seconds=wait_s)
    log.warning("message %s waits %s s: %s", message.id, wait_s, error)
    _write_down(transactions, partial(_release, message_id=message.id, reason=str(error), retry_at=retry_at))


def _hold_recipient(conn: Connection[Any], draft: Draft, config: Config) -> None:
    """Have everybody else who writes to this recipient now wait: of two equal messages the second one sees the first."""
    handover.hold_drafts(conn, gate.address_of(draft, config)[0])


def uncarried(draft: Draft, config: Config) -> tuple[str, str] | None:
    """Why the channel cannot carry this draft, whoever gets it: a code and a sentence."""
    return whatsapp.problem_of(draft, max_media_bytes=config.max_media_bytes)


def _address(text: str, config: Config) -> str:
    """An address that other code has already used: normalised where possible, kept as it is where not."""
    try:
        return phone.to_address(text, region=config.default_region)
    except InvalidInput:
        return phone.from_provider(text) or "(none)"


def _insert(
    conn: Connection[Any],
    draft: Draft,
    verdict: gate.Verdict,
    *,
    config: Config,
    media_id: str | None,
    now: datetime,
    claimed_at: datetime | None = None,
) -> int | None:
    row = columns(draft, verdict, config=config, media_id=media_id, now=now)
    with known_to_the_portal():
        return messages.insert(conn, **row, claimed_at=claimed_at)


def columns(
    draft: Draft, verdict: gate.Verdict, *, config: Config, media_id: str | None, now: datetime
) -> dict[str, Any]:
    """The draft as columns of `messages`."""
    template = draft.template
    return {
        "message_type": _NOT_OF_A_TYPE.sub("_", draft.message_type)[:_MAX_TYPE] or GENERAL,
        "recipient": verdict.recipient,
        "sender": config.sender or None,
        "body": draft.body,
        "media_url": draft.media_url,
        "media_id": media_id,
        "template_sid": template.sid if template else None,
        "template_name": template.name if template else None,
        "media_variable": template.media_variable if template else None,
        "variables": dict(template.variables) if template else None,
        "policy_id": None if draft.policy_id is None else str(draft.policy_id),
        "client_id": None if draft.client_id is None else str(draft.client_id),
        "created_by": draft.created_by,
        "request_key": draft.request_key,
        "send_at": draft.send_at,
        "resend_of": draft.resend_of,
        "created_at": now,
        "status": standing(draft, now).value,
        "path": draft.path.value,
        "confirmed": sorted(draft.confirmed) or None,
        "timezone": draft.timezone,
        "template_version_id": verdict.template.id if verdict.template else None,
        "campaign_id": draft.campaign_id,
    }


@contextmanager
def known_to_the_portal() -> Iterator[None]:
    """Raises InvalidInput for a client, policy or earlier message that does not exist."""
    try:
        yield
    except psycopg.errors.ForeignKeyViolation as error:
        raise InvalidInput(_column(error), "The portal has no such client, policy or earlier message.") from error
    except psycopg.errors.DataError as error:
        raise InvalidInput("draft", "The client's or policy's id is not one of this portal's.") from error


def _column(error: psycopg.errors.ForeignKeyViolation) -> str:
    constraint = error.diag.constraint_name or ""
    return next((name for name in ("client_id", "policy_id", "resend_of") if name in constraint), "draft")


def _outgoing(message: Message, media_variable: str | None, *, config: Config) -> Outgoing:
    template = None
    media_url = links.media_url(config, message.media_id) if message.media_id else message.media_url
    if message.template_sid is not None:
        template = Template(
            sid=message.template_sid, name=message.template_name or "", variables=message.variables or {}
        )
        if media_variable and message.media_id:
            path = links.media_path(config, message.media_id)
            template = replace(template, variables={**template.variables, media_variable: path})
    return Outgoing(
        message_id=message.id,
        recipient=message.recipient,
        body=message.body,
        media_url=media_url,
        template=template,
        status_callback=links.status_callback(config, message.id),
    )


def _asked_before(conn: Connection[Any], draft: Draft) -> Message | None:
    earlier = messages.by_request_key(conn, draft.request_key) if draft.request_key else None
    if earlier is not None:
        log.info("asked again with the same request key: message %s stands", earlier.id)
    return earlier


def _known(conn: Connection[Any], message_id: int) -> Message:
    return _there(messages.get(conn, message_id))


def _there(value: T | None) -> T:
    assert value is not None, "the row was written in this transaction"
    return value
