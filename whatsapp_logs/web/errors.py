"""Errors → HTTP: one table, three tones of voice (JSON for the API, a page for people, plain text for machines)."""

from __future__ import annotations

import logging
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, redirect, render_template, request

from whatsapp_logs.errors import (
    InvalidInput,
    MessageNotFound,
    NotAllowed,
    SchemaMismatch,
    Unavailable,
    WhatsAppLogsError,
)
from whatsapp_logs.web.access import CsrfRefused, NotSignedIn
from whatsapp_logs.web.limits import TooMany

log = logging.getLogger(__name__)

# The first entry that fits wins.
_HTTP: tuple[tuple[type[WhatsAppLogsError], int, str], ...] = (
    (NotSignedIn, 401, "Please sign in"),
    (TooMany, 429, "Too many calls"),
    (NotAllowed, 403, "Not allowed"),
    (MessageNotFound, 404, "Not found"),
    (InvalidInput, 400, "This cannot be used"),
    (SchemaMismatch, 503, "The database is not up to date"),
    (Unavailable, 503, "Not available just now"),
)
RETRY_AFTER_S = 5


def register(blueprint: Blueprint) -> None:
    """Answer every error of the log in this blueprint."""
    blueprint.register_error_handler(WhatsAppLogsError, answer)


def http_status(error: WhatsAppLogsError) -> tuple[int, str]:
    """The HTTP status of an error and its headline."""
    return next(
        ((status, title) for kind, status, title in _HTTP if isinstance(error, kind)), (500, "Something went wrong")
    )


def answer(error: WhatsAppLogsError) -> Any:
    """The response for an error: what is wrong and what to do, for whoever asked."""
    status, title = http_status(error)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.endpoint, error, exc_info=error if status == 500 else None)
    if isinstance(error, (NotAllowed, CsrfRefused)) and "whatsapp_logs_viewer" in g:
        log.warning(
            "refused user=%s endpoint=%s: %s", g.whatsapp_logs_viewer.name, request.endpoint, type(error).__name__
        )
    if request.endpoint and request.endpoint.startswith("whatsapp_machines."):
        response = Response(str(error), status, mimetype="text/plain")
    elif request.path.startswith("/api/"):
        response = jsonify(_as_json(error))
        response.status_code = status
    else:
        response = _page(error, status, title)
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_after_s)
    if status == 401 and request.path.startswith("/api/"):
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _as_json(error: WhatsAppLogsError) -> dict[str, Any]:
    body: dict[str, Any] = {"success": False, "message": str(error)}
    if isinstance(error, InvalidInput):
        body["field"] = error.field
    return body


def _page(error: WhatsAppLogsError, status: int, title: str) -> Response:
    extension = current_app.extensions["whatsapp_logs"]
    if (
        status == 401
        and extension.sign_in_url is not None
        and request.method == "GET"
        and "HX-Request" not in request.headers
    ):
        sign_in: Response = redirect(extension.sign_in_url(request.full_path.rstrip("?")))  # type: ignore[assignment]
        return sign_in
    html = render_template("whatsapp_logs/error.html", error=error, status=status, title=title, layout=extension.layout)
    return Response(html, status, mimetype="text/html")
