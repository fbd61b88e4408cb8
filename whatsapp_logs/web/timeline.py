"""A message's story, line by line: what was reported, and the steps of our own that no report tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from whatsapp_logs.message import NOT_FOUND, Message, Source, Status, StatusEvent
from whatsapp_logs.web import format

_LOOKED_UP = (Source.REFRESH, Source.RECONCILE)  # how a message whose answer was lost is found again


@dataclass(frozen=True, slots=True)
class Line:
    """One step. `tone` is quiet, ok, read, warn or bad."""

    at: datetime
    word: str
    detail: str
    tone: str


def lines(message: Message, events: Sequence[StatusEvent], *, zone: ZoneInfo) -> list[Line]:
    """The steps in the order in which they happened; a message without any report was at least logged."""
    told = [_told(event, message, is_first=n == 0, zone=zone) for n, event in enumerate(events)]
    if not told:
        told = [Line(message.created_at, "Logged", "", "quiet")]
    # Sorting is stable: the reports stay in their order, and the first of them stays the first line.
    return [told[0], *sorted([*told[1:], *_lost(message, events)], key=lambda line: line.at)]


def _lost(message: Message, events: Sequence[StatusEvent]) -> list[Line]:
    """The hand-over whose answer was lost: the provider reports nothing of it."""
    handed_over = message.claimed_at
    if message.unconfirmed_at is not None:
        lost = Line(message.unconfirmed_at, "Twilio’s answer was lost", _reason(message), "warn")
        return [lost] if handed_over is None else [Line(handed_over, "Handed over", "to Twilio", "quiet"), lost]
    by_provider = next((event.source for event in events if event.provider_id), None)
    if handed_over is not None and (by_provider in _LOOKED_UP or any(event.is_declaration for event in events)):
        return [Line(handed_over, "Handed over", "to Twilio; its answer was lost", "quiet")]
    return []


def _reason(message: Message) -> str:
    return (message.wait_reason or "nobody knows yet whether it was sent").rstrip(".")


def _told(event: StatusEvent, message: Message, *, is_first: bool, zone: ZoneInfo) -> Line:
    if event.is_declaration:
        word, tone = ("Declared sent", "quiet") if event.status is Status.SENT else ("Declared not sent", "bad")
        return Line(event.happened_at, word, f"by {event.payload.get('created_by')}", tone)
    if event.is_of_the_office:
        return _by_the_office(event, zone=zone)
    word = format.status_label(event.status) if event.status else event.provider_status
    if event.status is Status.QUEUED and event.provider_id and not is_first:
        word += " at Twilio"
    parts = [] if event.status else ["a word of Twilio’s that is not known here"]
    if event.provider_status == NOT_FOUND:
        word, parts = "Unknown to Twilio", []
    parts.append(_how(event, message, is_first=is_first, zone=zone))
    if event.error_code and event.provider_id:
        parts.append(f"code {event.error_code}")
    return Line(
        event.happened_at, word, " · ".join(parts), format.status_tone(event.status) if event.status else "quiet"
    )


def _by_the_office(event: StatusEvent, *, zone: ZoneInfo) -> Line:
    """Somebody here has changed a message that had not left, or canceled it."""
    told = event.payload
    if event.status is Status.CANCELED:
        why = f": {told['reason']}" if told.get("reason") else ""
        return Line(event.happened_at, "Canceled", f"by {told.get('canceled_by')}{why}", "quiet")
    was, now = told.get("was") or {}, told.get("is") or {}
    parts = []
    if "send_at" in now:
        old, new = (format.full(datetime.fromisoformat(str(one["send_at"])), zone=zone) for one in (was, now))
        parts.append(f"to leave {new}, not {old}")
    if now.keys() & {"body", "variables"}:
        parts.append("another text")
    return Line(
        event.happened_at, "Changed", f"by {told.get('changed_by')}: {', '.join(parts) or 'confirmed'}", "quiet"
    )


def _how(event: StatusEvent, message: Message, *, is_first: bool, zone: ZoneInfo) -> str:
    if event.source is Source.SEND:
        if is_first:
            return f"written down for {message.created_by}" if message.created_by else "written down"
        if not event.provider_id and event.error_code:
            return "found here, before Twilio was asked"
        if event.status is Status.QUEUED:
            return "Twilio has accepted it" if event.provider_id else "its time has come"
        if event.status is Status.SENDING:
            return "handed over to Twilio"
    how = format.source(event.source.value)
    if format.gap(event.happened_at, event.received_at) == "at once":
        return how
    late = format.later(event.happened_at, event.received_at)
    return f"{how}, recorded {format.second(event.received_at, zone=zone)} ({late})"
