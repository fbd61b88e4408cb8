"""What a link of `portal.invitations` opens, without a session: the page where somebody chooses their password."""

from __future__ import annotations

import logging

from flask import Blueprint, redirect, render_template, session, url_for
from werkzeug.wrappers import Response

from portal import invitations, passwords, people
from portal.access import current_sign_in, public
from portal.account import new_password_problem, typed_password
from portal.auth import go_on_with_second_factor
from portal.database import database, reading
from portal.people import Person

invitation = Blueprint("invitation", __name__, url_prefix=invitations.PATH)
log = logging.getLogger(__name__)

_TOKEN = "invitation"  # noqa: S105 - a name in the session


@invitation.get("/<token>")
@public
def arrive(token: str) -> Response:
    """Take the token out of the address, where histories, proxies and glances would keep it. Opening uses nothing up."""
    session[_TOKEN] = token
    return redirect(url_for("invitation.show"), 303)


@invitation.get("")
@public
def show() -> str | tuple[str, int]:
    """The form; a link that is no longer good says so."""
    person = _invited()
    return _form(person) if person else _not_good()


@invitation.post("")
@public
def accept() -> Response | tuple[str, int]:
    """The password is chosen and the link used up: sign in with it at once, or type the code of the second factor."""
    person, typed = _invited(), typed_password()
    if person is None:
        return _not_good()
    problem = new_password_problem(typed, names=(person.username, person.name))
    if problem:
        return _form(person, problem), 400
    with database() as conn:
        is_good = invitations.use(conn, session[_TOKEN])
        if is_good:
            people.set_password(conn, person.user_id, typed)
    if not is_good:
        return _not_good()
    log.info("password chosen by link user=%s", person.username)
    session.pop(_TOKEN)
    return go_on_with_second_factor(person)


def _invited() -> Person | None:
    token = session.get(_TOKEN)
    if not token:
        return None
    with reading() as conn:
        return invitations.find(conn, token)


def _form(person: Person, problem: str | None = None) -> str:
    mine = current_sign_in()
    return render_template(
        "invitation.html",
        invited=person,
        instead_of=mine.person if mine and mine.person.user_id != person.user_id else None,
        problem=problem,
        advice=passwords.ADVICE,
        least=passwords.LEAST,
    )


def _not_good() -> tuple[str, int]:
    return render_template("invitation.html", invited=None, hours=invitations.LASTS_HOURS), 404
