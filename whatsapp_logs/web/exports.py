"""The list as a download: the page's route, and what the API answers with."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain

from flask import Blueprint, Response, request, stream_with_context

from whatsapp_logs.errors import InvalidInput, WhatsAppLogsError
from whatsapp_logs.export import CSV, XLSX, Reader
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.rights import Right
from whatsapp_logs.web import current, looks
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.asking import asked

MEDIA_TYPES = {
    CSV: "text/csv; charset=utf-8",
    XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def register(blueprint: Blueprint) -> None:
    """Add the route. A download changes nothing, so that a link is enough."""
    blueprint.add_url_rule("/whatsapp_logs/export", "export", export)


@requires(Right.EXPORT)
def export() -> Response:
    """All messages of the list at this address."""
    return download(asked().wanted)


def download(wanted: MessageFilter) -> Response:
    """The file of this list, in the request's format; what can be known to go wrong is raised before it begins."""
    form = request.args.get("format", "").strip().lower() or CSV
    if form not in MEDIA_TYPES:
        raise InvalidInput("format", "A file is csv or xlsx.")
    blocks = current.service().export(wanted, _reader(wanted), form=form)
    first = next(blocks)  # an error in it is a page, not a file
    try:
        looks.at_file(wanted, form=form)  # of a list that there can be, and before anything of it is given away
    except WhatsAppLogsError:
        blocks.close()
        raise
    response = Response(stream_with_context(chain([first], blocks)), content_type=MEDIA_TYPES[form])
    response.call_on_close(blocks.close)  # whoever goes away, or asks for the headers only
    today = datetime.now(UTC).astimezone(wanted.zone).date()
    response.headers.set("Content-Disposition", "attachment", filename=f"whatsapp-logs-{today}.{form}")
    response.headers["X-Accel-Buffering"] = "no"  # personal data is not to lie about in a proxy's temporary files
    return response


def _reader(wanted: MessageFilter) -> Reader:
    person, extension = viewer(), current.extension()
    return Reader(
        name=person.name,
        zone=wanted.zone,
        sees_numbers=person.may(Right.NUMBERS),
        sees_texts=person.may(Right.TEXTS),
        client_names=extension.client_names if extension.has_names else None,
        policy_names=extension.policy_names if extension.has_names else None,
    )
