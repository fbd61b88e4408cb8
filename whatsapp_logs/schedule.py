"""Messages for later: when it is that time where the recipient lives, taking one back, and changing it until it leaves."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import Connection

from whatsapp_logs import gate, phone, track, zones
from whatsapp_logs.channels import whatsapp
from whatsapp_logs.config import Config
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.message import Draft, Message, Source, Status, StatusReport
from whatsapp_logs.store import messages, queue, scheduled, status_events

log = logging.getLogger(__name__)

FARTHEST = timedelta(days=400)  # a year that is mistyped is noticed when it is typed


def moment(day: date, clock: time, zone: ZoneInfo, *, now: datetime) -> datetime:
    """When it is that time in that zone, in UTC; raises InvalidInput for one that has passed, or lies years ahead."""
    try:
        at = zones.moment(day, clock, zone)
    except OverflowError as error:
        raise InvalidInput("send_at", f"{day} lies beyond every calendar. Choose a day within a year.") from error
    check_time(at, zone=zone, now=now)
    return at


def check_time(at: datetime, *, zone: ZoneInfo, now: datetime) -> None:
    """Raise InvalidInput unless a message may be set to leave then."""
    if at <= now:
        there = now.astimezone(zone)
        text = f"That time has passed: in {place(zone)} it is {there:%H:%M} on {there:%-d %B %Y} already. Choose a later one."
        raise InvalidInput("send_at", text)
    if at > now + FARTHEST:
        there = at.astimezone(zone)
        raise InvalidInput("send_at", f"{there:%-d %B %Y} is more than a year ahead. Choose a day within a year.")


def place(zone: ZoneInfo) -> str:
    """A zone as people call it: "New York" for America/New_York."""
    return zone.key.rpartition("/")[2].replace("_", " ")


def zone_of(to: str, *, timezone: str | None, config: Config, now: datetime) -> ZoneInfo:
    """The zone in which this recipient lives: the one that is known, else the likeliest of their number's country."""
    if timezone:
        return zones.named(timezone)
    try:
        address = phone.to_address(to, region=config.default_region)
    except InvalidInput:
        return config.zone
    return zones.likeliest(address, office=config.zone, now=now)


def cancel(
    conn: Connection[Any], ids: Sequence[int], *, canceled_by: str, now: datetime, reason: str | None = None
) -> list[int]:
    """Take these messages back, as far as they have not left; returns which. Against a claim, whoever is first wins."""
    return _cancel(conn, scheduled.hold(conn, sorted(set(ids))), canceled_by=canceled_by, now=now, reason=reason)


def cancel_of(
    conn: Connection[Any],
    *,
    policy_id: str | None,
    client_id: str | None,
    canceled_by: str,
    now: datetime,
    reason: str | None = None,
) -> list[int]:
    """Take back all that waits for its time for this policy, or for this client; returns which. Raises InvalidInput without one."""
    if policy_id is None and client_id is None:
        raise InvalidInput("policy_id", "Name the policy or the client whose messages are to be canceled.")
    held = scheduled.hold_of(conn, policy_id=policy_id, client_id=client_id)
    return _cancel(conn, held, canceled_by=canceled_by, now=now, reason=reason)


def _cancel(
    conn: Connection[Any], held: Sequence[int], *, canceled_by: str, now: datetime, reason: str | None
) -> list[int]:
    payload = {"canceled_by": canceled_by} | ({"reason": reason} if reason else {})
    reports = [StatusReport(provider_status="canceled", message_id=id_, payload=payload) for id_ in held]
    track.record(conn, reports, source=Source.SEND, now=now)
    if held:
        log.info("messages %s canceled by %s", held, canceled_by)
    return list(held)


def change(
    conn: Connection[Any],
    message_id: int,
    *,
    changed_by: str,
    config: Config,
    now: datetime,
    send_at: datetime | None = None,
    body: str | None = None,
    variables: Mapping[str, str] | None = None,
    confirmed: frozenset[str] = frozenset(),
) -> gate.Verdict:
    """Change when a scheduled message leaves, its text or its template's values; what is None stays.

    Returns the gate's verdict on the message as it would be: where it refuses, or asks what is not in `confirmed`, nothing was
    changed. Raises InvalidInput for a message that has left, and for a time that has passed.
    """
    if not scheduled.hold(conn, [message_id]):
        raise InvalidInput("message", why_not(conn, message_id, zone=config.zone))
    before = messages.get(conn, message_id)
    assert before is not None
    if before.status is not Status.SCHEDULED:
        raise InvalidInput("message", "This message is on its way: it can still be canceled, but no longer changed.")
    assert before.send_at is not None, "a scheduled message has its time"
    draft = gate.draft_of(before, media_variable=messages.media_variable(conn, message_id))
    after = _changed(draft, body=body, variables=variables, has_file=before.media_id is not None, config=config)
    after = replace(after, send_at=send_at or before.send_at, confirmed=after.confirmed | confirmed)
    if send_at is not None and send_at != before.send_at:
        zone = zone_of(before.recipient, timezone=before.timezone, config=config, now=now)
        check_time(send_at, zone=zone, now=now)
    verdict = gate.examine_changed(conn, after, before, config=config, now=now)
    if verdict.refusal is None:
        _write(conn, before, draft, after, changed_by=changed_by, now=now)
    return verdict


def why_not(conn: Connection[Any], message_id: int, *, zone: ZoneInfo) -> str:
    """Why a message can be taken back or changed no longer, in a sentence."""
    message = messages.get(conn, message_id)
    if message is None:
        return "This message is not in the log."
    if message.status is Status.CANCELED:
        told = [event for event in status_events.timeline(conn, message_id) if event.status is Status.CANCELED]
        by = told[-1].payload.get("canceled_by") if told else None
        return f"It was canceled already{f', by {by}' if by else ''}{_at(message.failed_at, zone)}."
    if message.claimed_at is None and message.status in (Status.FAILED, Status.UNDELIVERED):
        return f"It was not sent: {message.error_message or 'it failed'}"
    return f"It has left already{_at(message.claimed_at or message.sent_at, zone)}."


def _at(moment: datetime | None, zone: ZoneInfo) -> str:
    return "" if moment is None else f", at {moment.astimezone(zone):%H:%M:%S on %-d %B}"


def _changed(
    draft: Draft, *, body: str | None, variables: Mapping[str, str] | None, has_file: bool, config: Config
) -> Draft:
    if variables is not None and draft.template is not None:
        values = {**draft.template.variables, **variables}
        frame = frame_of(draft)
        if frame is None:
            raise InvalidInput(
                "variables", "The words of its template are not known here. Cancel it, and write it anew."
            )
        return replace(draft, template=replace(draft.template, variables=values), body=filled(frame, values))
    if body is not None and body != draft.body:
        if draft.template is not None:
            raise InvalidInput("body", "WhatsApp has approved the words of a template: only its fields can be changed.")
        draft = replace(draft, body=body or None)
        problem = whatsapp.problem_of(draft, max_media_bytes=config.max_media_bytes)
        if problem and not (problem[0] == "nothing_to_send" and has_file):
            raise InvalidInput("body", problem[1])
    return draft


def frame_of(draft: Draft) -> str | None:
    """A template's words with `{{1}}` in the place of its values, found in the text; None where that is ambiguous."""
    if draft.template is None or draft.body is None:
        return None
    frame = draft.body
    given = {key: value for key, value in draft.template.variables.items() if key != draft.template.media_variable}
    for key, value in sorted(given.items(), key=lambda pair: -len(pair[1])):
        if not value or frame.count(value) != 1:
            return None
        frame = frame.replace(value, f"{{{{{key}}}}}")
    return frame


def filled(frame: str, values: Mapping[str, str]) -> str:
    """A template's words with these values in them."""
    return re.sub(r"\{\{([^{}]+)\}\}", lambda match: values.get(match[1], match[0]), frame)


def _write(conn: Connection[Any], before: Message, was: Draft, after: Draft, *, changed_by: str, now: datetime) -> None:
    assert after.send_at is not None
    old, new = _facts(was), _facts(after)
    differs = {name for name in new if old[name] != new[name]}
    if not differs and after.confirmed == was.confirmed:
        return
    scheduled.change(
        conn,
        before.id,
        send_at=after.send_at,
        body=after.body,
        variables=dict(after.template.variables) if after.template else None,
        confirmed=sorted(after.confirmed),
        now=now,
    )
    payload = {
        "changed_by": changed_by,
        "was": {name: old[name] for name in sorted(differs)},
        "is": {name: new[name] for name in sorted(differs)},
    }
    report = StatusReport(provider_status="scheduled", message_id=before.id, payload=payload)
    track.record(conn, [report], source=Source.SEND, now=now)
    if after.send_at != was.send_at:
        queue.defer(conn, "deliver", at=after.send_at, ids=[before.id])
    log.info("message %s changed by %s: %s", before.id, changed_by, ", ".join(sorted(differs)))


def _facts(draft: Draft) -> dict[str, Any]:
    return {
        "send_at": draft.send_at.isoformat() if draft.send_at else None,
        "body": draft.body,
        "variables": dict(draft.template.variables) if draft.template else None,
    }
