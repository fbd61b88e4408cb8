"""Signing in and out."""

from __future__ import annotations

import logging
from urllib.parse import urlsplit

from flask import Blueprint, redirect, render_template, request, session, url_for
from werkzeug.security import check_password_hash
from werkzeug.wrappers import Response

from portal import people, throttle
from portal.access import NAMED, TOKEN, current_person, public, requires
from portal.database import database
from whatsapp_logs import Right

auth = Blueprint("auth", __name__)
log = logging.getLogger(__name__)

WRONG = "User name or password is not right."
TOO_MANY = f"Too many attempts. Wait {throttle.WINDOW_MINUTES} minutes, then try again."


@auth.get("/sign-in")
@public
def sign_in() -> str | Response:
    """The form; whoever is signed in already goes on."""
    if current_person():
        return redirect(_destination())
    return render_template("sign_in.html", next=request.args.get("next", ""))


@auth.post("/sign-in")
@public
def begin() -> Response | tuple[str, int]:
    """Check name and password. One sentence for an unknown name and for a wrong password."""
    username = request.form.get("username", "").strip().lower()[:100].replace("\0", "")
    address = request.remote_addr or "unknown"
    with database() as conn:
        may_try = throttle.count_attempt(conn, username, address)
        person, password_hash = people.find_by_username(conn, username)
    if not may_try:
        log.warning("sign-in throttled address=%s", address)
        return _again(TOO_MANY, username), 429
    # The connection is given back first: the hash takes 0.1 s on purpose. It is computed for unknown names too, so
    # that the time of the answer does not tell which names exist.
    is_right = check_password_hash(password_hash, request.form.get("password", "")[:1000])
    if person is None or not is_right:
        log.info("sign-in refused address=%s", address)
        return _again(WRONG, username), 401
    with database() as conn:
        throttle.forget_attempts(conn, username, address)
        token = people.begin_sign_in(conn, person)
    session.clear()  # Nothing of before the sign-in survives it: a planted session is worth nothing.
    session[TOKEN], session[NAMED] = token, people.as_remembered(person)
    session.permanent = True
    log.info("signed in user=%s role=%s", person.username, person.role)
    return redirect(_destination())


@auth.post("/sign-out")
@requires(Right.SEE)
def sign_out() -> Response:
    """End the sign-in in the database, then forget it here."""
    with database() as conn:
        people.end_sign_in(conn, session[TOKEN])
    session.clear()
    return redirect(url_for("auth.sign_in"))


def _again(problem: str, username: str) -> str:
    return render_template("sign_in.html", next=request.form.get("next", ""), problem=problem, username=username)


def _destination() -> str:
    """Where the person wanted to go: a path of this portal, never another site's address."""
    wanted = request.values.get("next", "")
    parts = urlsplit(wanted.replace("\\", "/"))
    is_ours = wanted.startswith("/") and not parts.scheme and not parts.netloc and wanted.isprintable()
    return wanted if is_ours else url_for("dashboard.show")
