"""What people see when something is not right: one page, in words, with the next thing to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import psycopg
from flask import Flask, render_template, request
from werkzeug.exceptions import HTTPException

from portal import access
from portal.database import AWAY
from whatsapp_logs.errors import Unavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Words:
    """A page's heading, and what to do."""

    title: str
    text: str


WORDS = {
    400: Words("That did not work", "The request was not complete. Go back, reload the page and try again."),
    401: Words("Please sign in", "Your session has ended. Sign in and do it again; nothing was changed."),
    403: Words("Not for your role", "Your role does not allow this. Ask an administrator if you need it."),
    404: Words("There is nothing here", "The page or record does not exist, or it was removed."),
    405: Words("That did not work", "This address does not take that kind of request."),
    413: Words("The file is too large", "WhatsApp carries files of up to 16 MB. Choose a smaller one."),
    500: Words("Something went wrong", "It is our fault and was written down. Try again; if it stays, tell us."),
    503: Words("The database cannot be reached", "Nothing is lost. Try again in a moment."),
}  # fmt: skip
TABLES_MISSING = Words(
    "The portal is not set up yet", "Its tables are missing. The administrator has to run the migration."
)


def init_app(app: Flask) -> None:
    """Answer every error of the portal's own pages; the feature answers its own."""
    app.register_error_handler(HTTPException, _http_error)
    for away in AWAY:
        app.register_error_handler(away, _database_away)
    app.register_error_handler(psycopg.errors.UndefinedTable, _tables_missing)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(Exception, _defect)


def _http_error(error: HTTPException) -> tuple[str, int] | HTTPException:
    code = error.code or 500
    if code < 400:
        return error  # A redirect that the router asks for.
    words = WORDS.get(code, WORDS[500 if code >= 500 else 400])
    own_text = error.description if code == 400 and error.description != type(error).description else None
    return _page(code, Words(words.title, own_text or words.text))


def _database_away(error: Exception) -> tuple[str, int]:
    log.error("database away path=%s error=%s", request.endpoint, type(error).__name__)
    return _page(503, WORDS[503])


def _tables_missing(error: Exception) -> tuple[str, int]:
    log.error("tables missing: %s", error)
    return _page(503, TABLES_MISSING)


def _unavailable(error: Unavailable) -> tuple[str, int]:
    log.error("a part is away: %s", error)
    return _page(503, Words("A part of the portal is away", str(error)))


def _defect(error: Exception) -> tuple[str, int]:
    log.exception("defect on %s", request.endpoint, exc_info=error)
    return _page(500, WORDS[500])


def _page(code: int, words: Words) -> tuple[str, int]:
    access.forget_unknown_person()
    return render_template("error.html", code=code, words=words), code
