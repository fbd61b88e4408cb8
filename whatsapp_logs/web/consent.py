"""The ledger of consent as a page: everybody's lines or one client's, and the form that adds one. Nobody changes any."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.consent import ConsentEvent
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.rights import Right
from whatsapp_logs.web import asking, current, looks, words
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROWS = 50
_PATH = "/whatsapp_logs/consent"
KINDS = {"opt_out": "Asked us to stop", "opt_in": "Agreed"}
SCOPES = {"all": "all messages", "marketing": "advertising"}
_SOURCES = {
    "stop_word": "wrote it on WhatsApp",
    "start_word": "wrote it on WhatsApp",
    "opt_out_type": "wrote it on WhatsApp; Twilio told us",
    "error_21610": "Twilio refused a message: they had opted out there",
    "error_63014": "WhatsApp refused a message: they had blocked us, or withdrawn their consent",
    "error_63033": "WhatsApp refused a message: they had blocked us",
    "staff": "told a member of staff",
    "import": "imported",
}


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule(_PATH, "consent", page)
    blueprint.add_url_rule(_PATH, "record_consent", record, methods=["POST"])


@requires(Right.SEE)
def page() -> str:
    """Lines of the ledger, the latest first; of one client with what holds now."""
    return _render(_client(request.args), notice=take_notice())


@requires(Right.SEND)
def record() -> str | tuple[str, int] | BaseResponse:
    """Add what a customer has told somebody."""
    client_id, form = _client(request.form), request.form
    number = current.extension().client_phone(client_id) if client_id else form.get("phone", "")
    try:
        if not number:
            unknown = "The portal knows no number of this client: correct their contact details first."
            raise InvalidInput(
                "phone", unknown if client_id else "Say whose agreement it is: write their phone number."
            )
        current.service().record_consent(
            address=number,
            kind=form.get("kind", ""),
            scope=form.get("scope", ""),
            wording=form.get("wording", ""),
            recorded_by=viewer().name,
            happened_at=_moment(form.get("happened_on", "")),
            client_id=client_id or None,
        )
    except InvalidInput as error:
        return _render(client_id, problem=error, typed=form), 400
    leave_notice("Recorded. The gate goes by it from now on.", tone="ok")
    return redirect(url_for(".consent", client=client_id or None), 303)


def _render(client_id: str, **more: Any) -> str:
    service, extension = current.service(), current.extension()
    before, kind = request.args.get("before"), request.args.get("kind", "")
    if kind not in ("", *KINDS):
        raise InvalidInput("kind", "There is no such kind of line.")
    address = extension.client_phone(client_id) if client_id else None
    if client_id:
        looks.at_list(MessageFilter(client_id=client_id))
        found = service.consent_of_client(client_id, address)
    else:
        cursor = Cursor.decode(before, field="before") if before else None
        found = service.consent_page(before=cursor, kind=kind or None, limit=_ROWS + 1)
    lines = found[:_ROWS]
    owners = {line.address: line.client_id for line in lines if line.client_id}
    owners |= service.clients_of(sorted({line.address for line in lines} - owners.keys()))
    named = {*owners.values(), client_id} - {""}
    is_more = len(found) > _ROWS and not client_id
    last = lines[-1] if lines else None
    given: dict[str, Any] = {"notice": None, "problem": None, "typed": {}} | more
    return render_template(
        "whatsapp_logs/consent.html",
        lines=lines,
        client=client_id,
        kind=kind,
        kinds=KINDS,
        scopes=SCOPES,
        source=_source,
        required=service.config.consent_required,
        holds=_holds(lines) if client_id else [],
        has_number=bool(address),
        owners=owners,
        clients=dict(extension.client_names(sorted(named))) if named else {},
        client_url=extension.client_url,
        today=words.Words(viewer()).now.astimezone(asking.zone(viewer())).date(),
        older=Cursor(last.happened_at, last.id).encode() if is_more and last else None,
        newest=bool(before),
        **given,
    )


def _holds(lines: list[ConsentEvent]) -> list[ConsentEvent]:
    """What holds now: the latest line of each scope, as far as no later one about everything undoes it."""
    latest: dict[str, ConsentEvent] = {}
    for line in lines:
        latest.setdefault(line.scope, line)
    everything, marketing = latest.get("all"), latest.get("marketing")
    if everything and marketing and everything.happened_at > marketing.happened_at:
        return [everything]
    return [line for line in (everything, marketing) if line]


def _source(line: ConsentEvent) -> str:
    return _SOURCES.get(line.source, line.source)


def _client(given: Any) -> str:
    """Whose page it is: a client's id, refused in words where the portal's keys cannot be that."""
    wanted = MessageFilter.from_query({"client": [given.get("client", "")]}, zone=asking.zone(viewer()))
    if wanted.client_id:
        current.service().page(wanted, limit=1)
    return wanted.client_id


def _moment(text: str) -> datetime:
    """When it was said: now, or the day that is given; a day to come is refused."""
    now, zone = datetime.now(UTC), asking.zone(viewer())
    if not text:
        return now
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("happened_on", "Write the day like 2026-11-26.") from error
    today = now.astimezone(zone).date()
    if day > today:
        raise InvalidInput("happened_on", "That day has not come yet.")
    return now if day == today else datetime.combine(day, time(12), tzinfo=zone).astimezone(UTC)
