"""What people see when something is not right: one page, in words, with the next thing to do."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import psycopg
from flask import Flask, Response, jsonify, redirect, render_template, request
from werkzeug.exceptions import BadHost, HTTPException
from werkzeug.wrappers import Response as BaseResponse

from portal import access
from portal.database import AWAY
from whatsapp_logs.errors import DatabaseAway, Unavailable
from whatsapp_logs.web import TooMany

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
    429: Words("That was too much at once", "Wait a little, then do it again."),
    503: Words("The database cannot be reached", "Nothing is lost. Try again in a moment."),
}  # fmt: skip
NOTHING_SAVED = Words(
    "The database cannot be reached", "Nothing was saved or sent. Go back: your text is still there. Then try again."
)
FORM_EXPIRED = Words(
    "Please send it once more", "You have signed in again since this form was opened. Nothing was sent yet."
)
VISIBLE = {"body": "Message", "name": "Name", "phone": "Phone", "email": "E-mail", "address": "Address"}
READING = ("GET", "HEAD", "OPTIONS")
RETRY_AFTER_S = 5
TABLES_MISSING = Words(
    "The portal is not set up yet", "Its tables are missing. The administrator has to run the migration."
)


def init_app(app: Flask) -> None:
    """Answer every error of the portal's own pages; the feature answers its own."""
    app.register_error_handler(HTTPException, _http_error)
    for away in AWAY:
        app.register_error_handler(away, _database_away)
    for missing in (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        app.register_error_handler(missing, _tables_missing)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(TooMany, _too_many)
    app.register_error_handler(Exception, _defect)


def _http_error(error: HTTPException) -> BaseResponse | HTTPException:
    code = error.code or 500
    if code < 400:
        return error  # A redirect that the router asks for.
    if code == 405 and request.method in READING and not request.path.startswith(("/api/", "/whatsapp/")):
        return redirect(request.path.rpartition("/")[0] or "/")  # A form's address, reloaded: its page lies above it.
    if isinstance(error, access.FormExpired) and _sent_from_here() and (typed := _typed()):
        return _answer(code, FORM_EXPIRED, typed)
    if isinstance(request.routing_exception, BadHost):
        return error  # A page of ours has addresses, and none can be made of such a Host: werkzeug's own answer needs none.
    words = WORDS.get(code, WORDS[500 if code >= 500 else 400])
    own_text = error.description if code == 400 and error.description != type(error).description else None
    return _answer(code, Words(words.title, own_text or words.text))


def _database_away(error: Exception) -> Response:
    log.error("database away path=%s error=%s", request.endpoint, type(error).__name__)
    return _away()


def _tables_missing(error: Exception) -> Response:
    log.error("tables missing: %s", error)
    return _answer(503, TABLES_MISSING)


def _unavailable(error: Unavailable) -> Response:
    log.error("a part is away: %s", error)
    if isinstance(error, DatabaseAway):
        return _away()
    return _answer(503, Words("A part of the portal is away", str(error)))


def _too_many(error: TooMany) -> Response:
    log.warning("too many calls endpoint=%s address=%s", request.endpoint, request.remote_addr)
    answer = _answer(429, Words(WORDS[429].title, str(error)), _typed() if request.method not in READING else None)
    answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def _defect(error: Exception) -> Response:
    log.exception("defect on %s", request.endpoint, exc_info=error)
    return _answer(500, WORDS[500])


def _away() -> Response:
    if request.method in READING:
        return _answer(503, WORDS[503])
    # The form's key makes sure that trying again is not sending twice.
    return _answer(503, NOTHING_SAVED, _typed())


def _answer(code: int, words: Words, typed: list[tuple[str, str]] | None = None) -> Response:
    """A page for people, which offers what they have `typed` once more; JSON for programs."""
    if request.path.startswith("/api/"):
        response = jsonify({"success": False, "message": f"{words.title}. {words.text}"})
    else:
        if code == 503:
            access.remember_person()
        access.forget_unknown_person()
        page = render_template("error.html", code=code, words=words, typed=typed, visible=VISIBLE)
        response = Response(page, mimetype="text/html")
    response.status_code = code
    if code == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _typed() -> list[tuple[str, str]]:
    """The form's fields, to be sent once more; none when it held a password, a code, or a file, which cannot be kept."""
    has_file = any(file.filename for file in request.files.values())
    is_secret = any(name.endswith(("password", "password_again", "code")) for name in request.form)
    if has_file or is_secret or request.path == "/sign-out":
        return []
    return [(name, value) for name, value in request.form.items(multi=True) if name != "csrf_token"]


def _sent_from_here() -> bool:
    """Whether the browser itself says that a page of ours has sent the form: nobody confirms another site's words."""
    return request.headers.get("Sec-Fetch-Site") == "same-origin"
