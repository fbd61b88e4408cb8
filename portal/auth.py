"""Signing in and out, and confirming on the way that it is still the same person."""

from __future__ import annotations

import logging
from datetime import datetime

from flask import Blueprint, redirect, render_template, request, session, url_for
from werkzeug.wrappers import Response

from portal import oidc_links, passwords, people, second_factors, sign_ins, throttle
from portal.access import NAMED, TOKEN, current_person, current_sign_in, my_sign_in, portal_config, public, requires
from portal.database import database
from portal.destination import destination
from portal.people import Person
from whatsapp_logs import Right

auth = Blueprint("auth", __name__)
log = logging.getLogger(__name__)

WRONG = "User name or password is not right."
WRONG_PASSWORD = "That is not your password."  # noqa: S105 - a sentence
TOO_MANY = f"Too many attempts. Wait {throttle.WINDOW_MINUTES} minutes, then try again."


@auth.get("/sign-in")
@public
def sign_in() -> str | Response:
    """The form; whoever is signed in already goes on."""
    if current_person():
        return redirect(destination())
    mine = current_sign_in()
    if mine and not mine.waits_for_code:
        return redirect(url_for("second_factor.set_up", next=destination()))
    has_ended = TOKEN in session and mine is None
    return render_template("sign_in.html", next=request.args.get("next", ""), has_ended=has_ended)


@auth.post("/sign-in")
@public
def begin() -> Response | tuple[str, int]:
    """Check name and password. One sentence for an unknown name and for a wrong password."""
    username = request.form.get("username", "").strip().lower()[:100].replace("\0", "")
    with database() as conn:
        may_try = throttle.count_attempt(conn, username, address())
        person, password_hash = people.find_by_username(conn, username)
    if not may_try:
        log.warning("sign-in throttled address=%s", address())
        return _again(TOO_MANY, username), 429
    # The connection is given back first: the hash takes 0.1 s on purpose. It is computed for unknown names too, so
    # that the time of the answer does not tell which names exist.
    is_right = passwords.is_right(password_hash, request.form.get("password", ""))
    if person is None or not is_right:
        # A name that nobody has may be a password, typed into the wrong field.
        log.info("sign-in refused user=%s address=%s", person.username if person else "(unknown)", address())
        return _again(WRONG, username), 401
    with database() as conn:
        throttle.forget_attempts(conn, username, address())
    return go_on_with_second_factor(person)


@auth.get("/sign-in/confirm")
@requires(Right.SEE, before_second_factor=True)
def confirm() -> str | Response:
    """Ask for the password again; whoever has just entered it goes on."""
    if my_sign_in().is_confirmed:
        return redirect(destination())
    return _ask_again()


@auth.post("/sign-in/confirm")
@requires(Right.SEE, before_second_factor=True)
def confirmed() -> Response | tuple[str, int]:
    """Check it, and go on to where the person wanted to go."""
    mine = my_sign_in()
    username = mine.person.username
    with database() as conn:
        may_try = throttle.count_attempt(conn, username, address())
        _, password_hash = people.find_by_username(conn, username)
    if not may_try:
        return _ask_again(TOO_MANY), 429
    if not passwords.is_right(password_hash, request.form.get("password", "")):
        log.info("confirmation refused user=%s address=%s", username, address())
        return _ask_again(WRONG_PASSWORD), 401
    with database() as conn:
        throttle.forget_attempts(conn, username, address())
        session[TOKEN] = sign_ins.confirm(conn, mine.sign_in_id)
    return redirect(destination(), 303)


@auth.post("/sign-out")
@requires(Right.SEE, before_second_factor=True)
def sign_out() -> Response:
    """End the sign-in in the database, then forget it here."""
    log.info("signed out user=%s", my_sign_in().person.username)
    with database() as conn:
        sign_ins.end(conn, session[TOKEN])
    session.clear()
    return redirect(url_for("auth.sign_in"))


def go_on_with_second_factor(
    person: Person, *, wanted: str | None = None, is_multi_factor: bool = False, confirmed_at: datetime | None = None
) -> Response:
    """The password is right, or was just chosen: let them in, or ask for the code first if they have a second factor.

    Single sign-on says where to go (`wanted`), whether it has asked for a second factor itself, and when.
    """
    with database() as conn:
        waits = second_factors.standing(conn, person.user_id).since is not None
        waits = waits and not is_multi_factor
        browser = request.user_agent.string
        if earlier := session.get(TOKEN):  # of this browser: nobody could end it any more
            sign_ins.end(conn, earlier)
        token = sign_ins.begin(
            conn,
            person,
            address=address(),
            browser=browser,
            waits_for_code=waits,
            is_multi_factor=is_multi_factor,
            confirmed_at=confirmed_at,
        )
    if not waits:
        let_in(person, token)
        return redirect(wanted or destination())
    session.clear()
    session[TOKEN] = token
    session.permanent = True
    return redirect(url_for("second_factor.ask", next=wanted or request.form.get("next") or None))


def let_in(person: Person, token: str) -> None:
    """Give this browser the sign-in. Nothing of before survives it: a planted session is worth nothing."""
    session.clear()
    session[TOKEN], session[NAMED] = token, people.as_remembered(person)
    session.permanent = True
    log.info("signed in user=%s role=%s", person.username, person.role)


def address() -> str:
    """Where the request comes from, as far as the server knows."""
    return request.remote_addr or "unknown"


def _again(problem: str, username: str) -> str:
    return render_template("sign_in.html", next=request.form.get("next", ""), problem=problem, username=username)


def _ask_again(problem: str | None = None) -> str:
    oidc = portal_config().oidc
    with database() as conn:
        ways = oidc_links.ways(conn, my_sign_in().person.user_id, issuer=oidc.issuer if oidc else None)
    return render_template("confirm_person.html", next=request.values.get("next", ""), problem=problem, ways=ways)
