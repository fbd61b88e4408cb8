"""Somebody's own account: their password, and where they are signed in."""

from __future__ import annotations

import logging

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import notes, passwords, people, second_factors, sign_ins
from portal.access import me, my_sign_in, needs_second_factor, portal_config, requires
from portal.database import database
from portal.devices import device
from whatsapp_logs import Right

account = Blueprint("account", __name__, url_prefix="/account")
log = logging.getLogger(__name__)

DIFFERENT = "The two are not the same. Type the new password once more."


@account.get("")
@requires(Right.SEE)
def show() -> str:
    """What there is to know and to change."""
    mine, idle = my_sign_in(), portal_config().session_idle_minutes
    with database() as conn:
        listed = sign_ins.of_person(conn, mine.person.user_id, idle_minutes=idle)
        factor = second_factors.standing(conn, mine.person.user_id)
    listed.sort(key=lambda each: each.sign_in_id != mine.sign_in_id)  # this browser first
    return render_template(
        "account.html",
        sign_ins=listed,
        mine=mine,
        factor=factor,
        may_turn_off=not needs_second_factor(mine.person),
        device=device,
        idle_minutes=idle,
    )


@account.get("/password")
@requires(Right.SEE, fresh=True)
def password() -> str:
    """The form for a new password."""
    return _password_form()


@account.post("/password")
@requires(Right.SEE, fresh=True)
def change_password() -> Response | tuple[str, int]:
    """A new password: all other sign-ins end, this one goes on."""
    person, typed = me(), typed_password()
    problem = new_password_problem(typed, names=(person.username, person.name))
    if problem:
        return _password_form(problem), 400
    with database() as conn:
        people.set_password(conn, person.user_id, typed, but=my_sign_in().sign_in_id)
    log.info("password changed user=%s", person.username)
    notes.say("Your password is changed. Everywhere else you are signed out.", "ok")
    return redirect(url_for("account.show"), 303)


@account.post("/sign-ins/<int:sign_in_id>/end")
@requires(Right.SEE)
def end_sign_in(sign_in_id: int) -> Response:
    """Sign out a browser that is somewhere else."""
    with database() as conn:
        sign_ins.end_one(conn, me().user_id, sign_in_id)
    notes.say("That browser is signed out.", "ok")
    return redirect(url_for("account.show"), 303)


@account.post("/sign-ins/end")
@requires(Right.SEE)
def end_other_sign_ins() -> Response:
    """Sign out everywhere but here."""
    with database() as conn:
        sign_ins.end_all(conn, me().user_id, but=my_sign_in().sign_in_id)
    notes.say("You are signed out everywhere but here.", "ok")
    return redirect(url_for("account.show"), 303)


def typed_password() -> str:
    """The new password of the form."""
    return request.form.get("new_password", "")


def new_password_problem(typed: str, *, names: tuple[str, ...]) -> str | None:
    """What is wrong with the new password of the form, typed there twice."""
    problem = passwords.problem(typed, names=names)
    return problem or (None if request.form.get("new_password_again") == typed else DIFFERENT)


def _password_form(problem: str | None = None) -> str:
    return render_template("password.html", problem=problem, advice=passwords.ADVICE, least=passwords.LEAST)
