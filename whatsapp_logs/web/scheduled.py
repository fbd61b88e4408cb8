"""What is coming: scheduled messages by day, soonest first, in the recipient's time too; taking one back, and changing it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs import gate, schedule
from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.filters import Cursor
from whatsapp_logs.message import Message, Status
from whatsapp_logs.rights import Right
from whatsapp_logs.web import current, looks, words
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/scheduled"
_MAX_ID = 2**63 - 1
_SHOWN = 50
_LATE = timedelta(minutes=2)  # the worker begins within seconds
_THERE, _OFFICE = "recipient", "office"


@dataclass(frozen=True, slots=True)
class Coming:
    """One scheduled message: when it leaves where we are, and where the recipient is, if that is another time."""

    message: Message
    at: datetime
    clock: str
    there: str | None
    is_late: bool


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule(_ROOT, "scheduled", page)
    blueprint.add_url_rule(f"{_ROOT}/<int:message_id>", "change_scheduled", change, methods=["GET", "POST"])
    blueprint.add_url_rule(f"{_ROOT}/<int:message_id>/cancel", "cancel_scheduled", cancel, methods=["POST"])


@requires(Right.SEE)
def page() -> str:
    """A page of what is coming."""
    after = request.args.get("after")
    found = current.service().scheduled(after=Cursor.decode(after, field="after") if after else None, limit=_SHOWN + 1)
    said, shown = words.Words(viewer()), found[:_SHOWN]
    last = shown[-1] if len(found) > _SHOWN else None
    return render_template(
        "whatsapp_logs/scheduled.html",
        days=_by_day(_coming(shown, zone=said.zone, now=said.now), now=said.now, zone=said.zone),
        count=current.service().status_counts().get(Status.SCHEDULED, 0),
        next=Cursor(last.send_at, last.id).encode() if last is not None and last.send_at is not None else None,
        is_first=not after,
        notice=take_notice(),
        **words.names(shown),
    )


@requires(Right.SEND)
def cancel(message_id: int) -> BaseResponse:
    """Take a message back; if it has left, or somebody was quicker, that is said."""
    shown = _message(message_id)
    if current.service().cancel_scheduled(message_ids=[shown.id], canceled_by=viewer().name):
        leave_notice(f"Canceled: message {shown.id} is not sent. Nothing reached the customer.")
    else:
        leave_notice(f"Not canceled. {current.service().why_not_canceled(shown.id)}", tone="bad")
    back_to = request.form.get("back_to") == "message"
    return redirect(url_for(".message", message_id=shown.id) if back_to else url_for(".scheduled"), 303)


@requires(Right.SEND)
def change(message_id: int) -> str | BaseResponse | tuple[str, int]:
    """The form with a message's time and text; what was filled in is looked at by the gate before it counts."""
    shown = _message(message_id)
    if shown.status is not Status.SCHEDULED or shown.claimed_at is not None:
        leave_notice(f"Not to be changed any more. {current.service().why_not_canceled(shown.id)}", tone="bad")
        return redirect(url_for(".message", message_id=shown.id), 303)
    looks.at_message(shown)
    if request.method == "GET":
        return _form(shown)
    try:
        send_at = _typed_time(shown)
        verdict = current.service().change_scheduled(
            shown.id,
            changed_by=viewer().name,
            send_at=send_at,
            confirmed=frozenset(request.form.getlist("confirmed")) & frozenset(gate.Rule),
            **_typed_words(shown),
        )
    except InvalidInput as problem:
        return _form(shown, problem=problem), 400
    if verdict.refusal is not None:
        return _form(shown, verdict=verdict), 409
    leave_notice(f"Changed: message {shown.id} leaves {words.Words(viewer()).full(send_at)}.")
    return redirect(url_for(".scheduled"), 303)


def _form(shown: Message, *, problem: InvalidInput | None = None, verdict: gate.Verdict | None = None) -> str:
    assert shown.send_at is not None, "a scheduled message has its time"
    now = datetime.now(UTC)
    verdict = verdict or current.service().preview_scheduled(shown)
    office, there = current.service().config.zone, _zone_of(shown)
    said = words.Words(viewer())
    return render_template(
        "whatsapp_logs/scheduled_change.html",
        message=shown,
        at=shown.send_at.astimezone(there),
        zones=_choices(shown, there=there, office=office),
        today=now.astimezone(there).date(),
        last=(now + schedule.FARTHEST).astimezone(there).date(),
        fields=_fields(shown, verdict) if said.sees_texts else [],
        has_text=said.sees_texts and shown.template_sid is None,
        problem=problem,
        verdict=verdict,
        typed=request.form if request.method == "POST" else None,
        **words.names([shown]),
    )


def _choices(shown: Message, *, there: ZoneInfo, office: ZoneInfo) -> list[tuple[str, str]]:
    """Whose clock the typed time is of, as values and words; one only, where both show the same."""
    assert shown.send_at is not None
    theirs = (_THERE, f"the recipient’s, in {schedule.place(there)}")
    if shown.send_at.astimezone(there).utcoffset() == shown.send_at.astimezone(office).utcoffset():
        return [theirs]
    return [theirs, (_OFFICE, f"the office’s, in {schedule.place(office)}")]


def _fields(shown: Message, verdict: gate.Verdict) -> list[tuple[str, str, str]]:
    """A template's fields that may be changed: key, name, value. None where its words cannot be told from its values."""
    draft = gate.draft_of(shown, media_variable=verdict.template.media_variable if verdict.template else None)
    if draft.template is None or schedule.frame_of(draft) is None:
        return []
    names = verdict.template.fields if verdict.template else {}
    kept = {draft.template.media_variable}
    return [
        (key, names.get(key) or f"Field {key}", value)
        for key, value in sorted(draft.template.variables.items())
        if key not in kept
    ]


def _typed_time(shown: Message) -> datetime:
    assert shown.send_at is not None, "a scheduled message has its time"
    zone = current.service().config.zone if request.form.get("zone") == _OFFICE else _zone_of(shown)
    day, clock = typed_moment(request.form.get("day", ""), request.form.get("time", ""))
    before = shown.send_at.astimezone(zone)
    if (day, clock) == (before.date(), before.time().replace(second=0, microsecond=0)):
        return shown.send_at  # not touched: it stays, to the second
    return current.service().send_time(day, clock, zone)


def typed_moment(day: str, clock: str) -> tuple[date, time]:
    """A date and a time as a browser sends them. Raises InvalidInput."""
    try:
        return date.fromisoformat(day), time.fromisoformat(clock).replace(second=0, microsecond=0, tzinfo=None)
    except ValueError as error:
        raise InvalidInput("send_at", "Choose a day and a time, like 3 June 2027 and 09:30.") from error


def _typed_words(shown: Message) -> dict[str, Any]:
    """What the form says of the text; nothing from somebody who may not read it."""
    if not viewer().may(Right.TEXTS):
        return {}
    if shown.template_sid is None:
        body = request.form.get("body")
        return {} if body is None else {"body": body.replace("\r\n", "\n").strip()}
    before = shown.variables or {}
    typed = {key: " ".join(request.form[f"field_{key}"].split()) for key in before if f"field_{key}" in request.form}
    changed = {key: value for key, value in typed.items() if value != before[key]}
    return {"variables": changed} if changed else {}


def _coming(rows: Iterable[Message], *, zone: ZoneInfo, now: datetime) -> list[Coming]:
    found = []
    for row in rows:
        assert row.send_at is not None, "a scheduled message has its time"
        here, there = row.send_at.astimezone(zone), row.send_at.astimezone(_zone_of(row))
        differs = here.utcoffset() != there.utcoffset()
        day = "" if here.date() == there.date() else f" on {there:%-d %b}"
        theirs = f"{there:%H:%M}{day} in {schedule.place(_zone_of(row))}" if differs else None
        found.append(Coming(row, row.send_at, f"{here:%H:%M}", theirs, row.send_at < now - _LATE))
    return found


def _by_day(coming: list[Coming], *, zone: ZoneInfo, now: datetime) -> list[tuple[str, list[Coming]]]:
    """Under the words of their days: "Today", "Tomorrow", "Thursday 3 December"; what should have left comes first."""
    today = now.astimezone(zone).date()

    def heading(one: Coming) -> str:
        if one.is_late:
            return "Should have left"
        day = one.at.astimezone(zone).date()
        named = f"{day:%A} {day.day} {day:%B}" + (f" {day.year}" if day.year != today.year else "")
        return {0: f"Today, {named}", 1: f"Tomorrow, {named}"}.get((day - today).days, named)

    return [(name, list(rows)) for name, rows in groupby(coming, heading)]


def _zone_of(message: Message) -> ZoneInfo:
    service = current.service()
    try:
        return service.recipient_zone(message.recipient, timezone=message.timezone)
    except InvalidInput:  # no zone of this machine's
        return service.recipient_zone(message.recipient)


def _message(message_id: int) -> Message:
    if message_id > _MAX_ID:
        raise MessageNotFound()
    return current.service().message(message_id)
