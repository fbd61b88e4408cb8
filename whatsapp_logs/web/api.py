"""The JSON API: the specification's addresses and shapes, a list beside them, and its own description."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, request, url_for
from pydantic import BaseModel, ValidationError

from whatsapp_logs.errors import InvalidInput, MessageNotFound, ProviderError, UnknownToProvider
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import Message, ProviderMessage
from whatsapp_logs.rights import Right
from whatsapp_logs.store.refreshes import Refresh
from whatsapp_logs.web import current, exports, looks
from whatsapp_logs.web.access import public, requires, viewer
from whatsapp_logs.web.api_models import (
    Details,
    ExportQuery,
    MessageDetails,
    MessageRow,
    Messages,
    MessagesQuery,
    RefreshRun,
    RefreshStatus,
    RefreshStatusRequest,
    Stats,
    StatsBody,
)
from whatsapp_logs.web.asking import asked, searched_phone
from whatsapp_logs.web.listing import Figures
from whatsapp_logs.web.openapi import Operation, describe

_ROOT = "/api/whatsapp"
_WAIT_FOR_RUN_S = 1.5  # the answer is due within 2 s; a run that takes longer is watched at its progress_url
_LOOK_EVERY_S = 0.05
_WAIT_FOR_TWILIO_S = 1.5  # then our own rows answer
_MAX_BODY_BYTES = 64 * 1024
_MAX_OLD_PAGE = 200

Shape = TypeVar("Shape", bound=BaseModel)
# Few threads, so that a slow Twilio cannot take more of this process than these.
_lookups = ThreadPoolExecutor(4, "whatsapp-lookup")


def register(blueprint: Blueprint) -> None:
    """Add the routes of OPERATIONS."""
    for operation in OPERATIONS:
        view = _as_json(operation.view) if operation.answer else operation.view
        blueprint.add_url_rule(operation.rule, f"api_{operation.name}", view, methods=[operation.method])


@requires(Right.REFRESH)
def refresh_all_statuses() -> RefreshRun:
    """Ask Twilio about every pending message: begins a run or joins the one under way, and waits a moment for its end."""
    service = current.service()
    run = service.refresh_all(started_by=viewer().name)
    wait_until = time.monotonic() + _WAIT_FOR_RUN_S
    while not run.is_finished and time.monotonic() < wait_until:
        time.sleep(_LOOK_EVERY_S)
        run = service.refresh_progress(run.id) or run
    return _told(run)


@requires(Right.SEE)
def refresh_progress(refresh_id: str) -> RefreshRun:
    """How far a run of "refresh all statuses" is."""
    is_id = refresh_id.isascii() and refresh_id.isdigit() and len(refresh_id) <= 18
    run = current.service().refresh_progress(int(refresh_id)) if is_id else None
    if run is None:
        raise MessageNotFound("There was no such run.")
    return _told(run)


@requires(Right.REFRESH)
def refresh_status() -> RefreshStatus:
    """Ask Twilio about one message now."""
    wanted = _body(RefreshStatusRequest)
    service = current.service()
    before = service.message_by_sid(wanted.message_sid)
    recorded = service.refresh_message(before)
    after = service.message(before.id)
    if after.status is not before.status:
        words = f"Status updated: {after.status}."
    else:
        words = f"Nothing new: the message is {after.status}."
    changed = recorded is not None and recorded.changed
    return RefreshStatus(message=words, message_sid=wanted.message_sid, status=after.status, changed=changed)


@requires(Right.SEE)
def message_details(message_sid: str) -> Details:
    """One message whole: from Twilio if it answers quickly, else from the log's own rows; `source` says which."""
    service = current.service()
    message = service.message_by_sid(message_sid.replace("\0", ""))
    looks.at_message(message)
    events = service.timeline(message.id)
    live, note = _ask_twilio(message)
    return Details(message=MessageDetails.whole(message, events, viewer=viewer(), live=live, note=note))


@requires(Right.SEE)
def stats() -> Stats:
    """The log's totals, as on the page's cards."""
    return Stats(stats=StatsBody.of(Figures(current.service().status_counts())))


@requires(Right.SEE)
def messages() -> Messages:
    """One page of the log, newest first."""
    limit, page = _whole_number("limit", 50, at_most=200), _whole_number("page", 1, at_most=_MAX_OLD_PAGE)
    here = asked()
    wanted = _with_phone(here.wanted)
    found = current.service().page(wanted, before=here.before, after=here.after, offset=(page - 1) * limit, limit=limit)
    looks.at_list(wanted)  # of a client that there can be, and before anything is told
    return Messages(
        messages=[MessageRow.of(message, viewer=viewer()) for message in found.messages],
        next_cursor=found.older.encode() if found.older else None,
    )


@requires(Right.EXPORT)
def export() -> Response:
    """All messages of a list as a file, CSV or Excel: the page's rows, order and words."""
    return exports.download(_with_phone(asked().wanted))


@public
def openapi() -> Response:
    """This description."""
    return jsonify(describe(OPERATIONS, server=request.script_root or "/"))


OPERATIONS = (
    Operation(
        method="POST",
        rule=f"{_ROOT}/refresh_all_statuses",
        view=refresh_all_statuses,
        right=Right.REFRESH,
        answer=RefreshRun,
        problems=(400,),
    ),
    Operation(
        method="GET",
        rule=f"{_ROOT}/refreshes/<refresh_id>",  # any text: what is no number is answered as the API answers, in JSON
        view=refresh_progress,
        id_schema={"type": "integer", "minimum": 1},
        right=Right.SEE,
        answer=RefreshRun,
        problems=(404,),
    ),
    Operation(
        method="POST",
        rule=f"{_ROOT}/refresh_status",
        view=refresh_status,
        right=Right.REFRESH,
        body=RefreshStatusRequest,
        answer=RefreshStatus,
        problems=(400, 404),
    ),
    Operation(
        method="GET",
        rule=f"{_ROOT}/message_details/<message_sid>",
        view=message_details,
        right=Right.SEE,
        answer=Details,
        problems=(404,),
    ),
    Operation(method="GET", rule=f"{_ROOT}/stats", view=stats, right=Right.SEE, answer=Stats),
    Operation(
        method="GET",
        rule=f"{_ROOT}/messages",
        view=messages,
        right=Right.SEE,
        query=MessagesQuery,
        answer=Messages,
        problems=(400,),
    ),
    Operation(
        method="GET",
        rule=f"{_ROOT}/export",
        view=export,
        right=Right.EXPORT,
        query=ExportQuery,
        answer=None,
        files=tuple(exports.MEDIA_TYPES.values()),
        problems=(400,),
    ),
    Operation(method="GET", rule=f"{_ROOT}/openapi.json", view=openapi, right=None, answer=None),
)


def _as_json(view: Callable[..., BaseModel]) -> Callable[..., Response]:
    """The view's answer as JSON. A run that Twilio's absence has ended is 503, as any other answer without Twilio."""

    @functools.wraps(view)
    def answered(**arguments: Any) -> Response:
        answer = view(**arguments)
        status = 200 if getattr(answer, "success", True) or request.method == "GET" else 503
        return Response(answer.model_dump_json(by_alias=True), status, mimetype="application/json")

    return answered


def _body(model: type[Shape]) -> Shape:
    """The request's JSON or form as `model`; raises InvalidInput naming the first field that cannot be used."""
    if (request.content_length or 0) > _MAX_BODY_BYTES:
        raise InvalidInput("body", "The request is too large.")
    given = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    if not isinstance(given, dict):
        raise InvalidInput("body", "The request must be a JSON object or a form.")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        missing = first["type"] == "missing" or given.get(name) in (None, "")
        raise InvalidInput(name, f"{name} is missing." if missing else f"{name} cannot be used.") from error


def _whole_number(name: str, default: int, *, at_most: int) -> int:
    text = request.args.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= at_most):
        raise InvalidInput(name, f"{name} is a whole number from 1 to {at_most}.")
    return int(text)


def _with_phone(wanted: MessageFilter) -> MessageFilter:
    """The filter with the first portal's `phone_filter`; the page itself never puts a number into an address."""
    text = request.args.get("phone_filter", "").strip()
    return replace(wanted, phone=searched_phone(text)) if text and text.lower() != "all" else wanted


def _told(run: Refresh) -> RefreshRun:
    return RefreshRun.of(run, progress_url=url_for("whatsapp_logs.api_refresh_progress", refresh_id=run.id))


def _ask_twilio(message: Message) -> tuple[ProviderMessage | None, str | None]:
    """Twilio's answer about the message, or why there is none. Looking changes nothing: a refresh is asked for by POST."""
    service = current.service()
    if not service.config.twilio_configured:
        return None, "Twilio client not configured"
    if message.provider != "twilio" or message.provider_id is None:
        return None, "This message was not sent through Twilio."
    lookup = _lookups.submit(service.gateway.fetch, message.provider_id)
    try:
        return lookup.result(timeout=_WAIT_FOR_TWILIO_S), None
    except TimeoutError:
        lookup.cancel()
        return None, "Twilio takes too long to answer."
    except UnknownToProvider:
        return None, "Twilio has no message of this SID."
    except ProviderError as error:
        return None, str(error)
