"""Reconciliations: the days compared with Twilio's list, what differed and what was done, and asking for a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.errors import InvalidInput, MessageNotFound, ProviderNotConfigured
from whatsapp_logs.message import Message, Status
from whatsapp_logs.rights import Right
from whatsapp_logs.store.reconciliations import Difference, Reconciliation
from whatsapp_logs.web import current, format
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/reconciliations"
_MAX_ID = 2**63 - 1
_SHOWN = 500


@dataclass(frozen=True, slots=True)
class _Told:
    """A difference in words: what the two sides said, and what was done about it."""

    difference: Difference
    said: str
    done: str


def register(blueprint: Blueprint) -> None:
    """Add the routes, and the mark of imported messages for the message's page."""
    blueprint.context_processor(lambda: {"wl_found_at": _found_at})
    blueprint.add_url_rule(_ROOT, "reconciliations", reconciliations)
    blueprint.add_url_rule(_ROOT, "reconcile", reconcile, methods=["POST"])
    blueprint.add_url_rule(f"{_ROOT}/<int:reconciliation_id>", "reconciliation", reconciliation)


@requires(Right.SEE)
def reconciliations() -> str:
    """The last comparison of each day, and a form to ask for one."""
    today = datetime.now(UTC).date()
    return render_template(
        "whatsapp_logs/reconciliations.html",
        runs=current.service().reconciliations(),
        headline=headline,
        repairs=repairs,
        today=today,
        yesterday=today - timedelta(days=1),
        may_administer=viewer().may(Right.ADMINISTER),
        notice=take_notice(),
    )


@requires(Right.ADMINISTER)
def reconcile() -> BaseResponse:
    """Compare a day now, or join the comparison under way."""
    try:
        day = date.fromisoformat(request.form.get("day", ""))
    except ValueError as error:
        raise InvalidInput("day", "Choose a day.") from error
    if day > datetime.now(UTC).date():
        raise InvalidInput("day", "This day has not begun yet (days are UTC, as at Twilio).")
    try:
        run = current.service().reconcile_day(day, started_by=viewer().name)
    except ProviderNotConfigured as error:
        leave_notice(f"{error}.", tone="bad")
        return redirect(url_for(".reconciliations"), 303)
    return redirect(url_for(".reconciliation", reconciliation_id=run.id), 303)


@requires(Right.SEE)
def reconciliation(reconciliation_id: int) -> str:
    """One comparison: a page, or its block for a script while it is under way."""
    if reconciliation_id > _MAX_ID:
        raise MessageNotFound("There was no such reconciliation.")
    run = current.service().reconciliation(reconciliation_id)
    found = current.service().differences(reconciliation_id, limit=_SHOWN)
    template = "_reconciliation.html" if "HX-Request" in request.headers else "reconciliation.html"
    return render_template(
        f"whatsapp_logs/{template}",
        run=run,
        told=[_in_words(one) for one in found],
        shown=_SHOWN,
        headline=headline,
        repairs=repairs,
        day=_day(run.day),
    )


def headline(run: Reconciliation) -> str:
    """The result in one line: "Reconciled 21 Nov: 412 = 412"."""
    day = _day(run.day)
    if run.problem is not None:
        return f"{day}: not completed" if run.is_finished else f"{day}: paused"
    if not run.is_finished:
        return f"Comparing {day}"
    theirs, ours = format.number(run.theirs or 0), format.number(run.ours or 0)
    if run.theirs == run.ours and not run.unknown_to_provider:
        return f"Reconciled {day}: {theirs} = {ours}"
    return f"Reconciled {day}: {theirs} at Twilio, {ours} here"


def repairs(run: Reconciliation) -> list[str]:
    """What differed and what was done, in counts; nothing when both sides told the same."""
    counts: tuple[tuple[int | None, str], ...] = (
        (run.imported, "imported"),
        (run.attached, "found their lost answer"),
        (run.unknown_to_provider, "unknown to Twilio"),
        (run.status_differed, "with another status"),
        (run.price_differed, "with another price"),
    )
    return [f"{format.number(n)} {words}" for n, words in counts if n]


def _found_at(message: Message) -> datetime | None:
    """When the message was found at Twilio; None for one that somebody here has sent."""
    return None if message.created_by else current.service().found_at_provider(message.id)


def _in_words(one: Difference) -> _Told:
    theirs = one.theirs or "nothing"
    if one.kind == "status":
        status = Status.from_provider(theirs)
        if status is None:
            return _Told(
                one, f"Status here {one.ours}, at Twilio “{theirs}”", "Not a word known here: kept as an event."
            )
        if status.rank < Status(one.ours or "queued").rank:
            return _Told(
                one, f"Status here {one.ours}, at Twilio {theirs}", "Kept: what was reported here is further on."
            )
        return _Told(one, f"Status here {one.ours}, at Twilio {theirs}", f"Moved to {status}.")
    if one.kind == "price":
        return _Told(one, f"Price here {one.ours}, at Twilio {theirs}", "Corrected.")
    said, done = _ONE_SIDED[one.kind]
    return _Told(one, said.format(theirs=theirs), done)


_ONE_SIDED = {
    "imported": ("Only Twilio knew it, as {theirs}", "Imported, and marked as found at Twilio."),
    "attached": ("Its answer was lost; Twilio has it as {theirs}", "Twilio's message was given back to it."),
    "held_back": (
        "Only Twilio knows it, as {theirs}",
        "Not imported: it may be a message of the log whose answer was lost. Reconcile again when none waits any more.",
    ),
    "unknown_to_provider": (
        "Only the log knows it; Twilio has no message of this SID",
        "Noted in its timeline. Its status stays.",
    ),
}  # fmt: skip


def _day(day: date) -> str:
    year = "" if day.year == datetime.now(UTC).year else f" {day.year}"
    return f"{day.day} {day:%b}{year}"
