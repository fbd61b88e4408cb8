"""The page of people, for who may manage them: inviting, changing roles, helping with lost passwords and phones, removing."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeVar
from zoneinfo import available_timezones

from flask import Blueprint, abort, redirect, render_template, request, url_for
from psycopg import Connection
from werkzeug.wrappers import Response

from portal import invitations, notes, roles, second_factors, sign_ins, staff
from portal.access import me, portal_config, requires
from portal.database import database
from portal.people import OwnRight
from portal.staff import Member

staff_pages = Blueprint("staff", __name__, url_prefix="/people")
log = logging.getLogger(__name__)

USERNAME = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,48}[a-z0-9])?")
LONGEST_NAME = 100
NO_ROLE = "Choose a role: it decides what they may see and do."
Done = TypeVar("Done")


@staff_pages.get("/")
@requires(OwnRight.MANAGE_PEOPLE)
def index() -> str:
    """Everybody, with their state."""
    with database() as conn:
        everybody = staff.everybody(conn, idle_minutes=portal_config().session_idle_minutes)
    return render_template("people.html", everybody=everybody)


@staff_pages.get("/invite")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def invite() -> str:
    """The form."""
    return _invite_form({"timezone": portal_config().timezone, "role": ""}, {})


@staff_pages.post("/invite")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def invited() -> str | tuple[str, int]:
    """Somebody new, and the link for them, shown this once."""
    typed = {field: request.form.get(field, "").strip() for field in ("username", "name", "role", "timezone")}
    typed["username"] = typed["username"].lower()
    problems = _problems(typed)
    if problems:
        return _invite_form(typed, problems), 400
    with database() as conn:
        is_role = roles.keep(conn, typed["role"])
        user_id = staff.invite(conn, **typed) if is_role else None
        link = _new_link(conn, user_id) if user_id else None
    if not is_role:
        return _invite_form(typed, {"role": NO_ROLE}), 400
    if user_id is None or link is None:
        return _invite_form(typed, {"username": "Somebody has this user name already. Choose another."}), 400
    log.info("invited user=%s role=%s by=%s", typed["username"], typed["role"], me().username)
    return _show_link(user_id, link, is_new=True)


@staff_pages.get("/<int:user_id>")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def show(user_id: int) -> str:
    """One person, and what can be done for or against them."""
    return render_template("person.html", member=_find(user_id), roles=_roles(), is_me=user_id == me().user_id)


@staff_pages.post("/<int:user_id>/link")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def new_link(user_id: int) -> str:
    """A link to choose a new password, for who has forgotten theirs, lost their invitation, or comes back."""

    def act(conn: Connection) -> str:
        staff.let_in_again(conn, user_id)
        return _new_link(conn, user_id)

    link = _change(user_id, "new link", act)
    return _show_link(user_id, link, is_new=False)


@staff_pages.post("/<int:user_id>/role")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def change_role(user_id: int) -> Response:
    """From their next click on they may do what the new role may."""
    role = request.form.get("role", "")

    def act(conn: Connection) -> None:
        if not roles.keep(conn, role):
            abort(400, "Choose one of the roles.")
        staff.set_role(conn, user_id, role)

    _change(user_id, f"role {role}", act)
    return _done(user_id, "{name} is now " + ("an " if role[0] in "aeiou" else "a ") + f"{role}.")


@staff_pages.post("/<int:user_id>/sign-ins")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def end_sign_ins(user_id: int) -> Response:
    """Sign them out everywhere."""
    _change(user_id, "sign-ins ended", lambda conn: sign_ins.end_all(conn, user_id))
    return _done(user_id, "{name} is signed out everywhere.")


@staff_pages.post("/<int:user_id>/second-factor")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def reset_second_factor(user_id: int) -> Response:
    """For who has lost both phone and recovery codes. Whoever has the phone is signed out."""

    def act(conn: Connection) -> None:
        second_factors.remove(conn, user_id)
        sign_ins.end_all(conn, user_id)

    _change(user_id, "second factor reset", act)
    return _done(user_id, "The second factor of {name} is reset. They sign in with their password and set up another.")


@staff_pages.post("/<int:user_id>/remove")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def remove(user_id: int) -> Response:
    """End every way in; what they did stays written under their name."""
    _change(user_id, "removed", lambda conn: staff.remove(conn, user_id))
    return _done(user_id, "{name} is removed and can no longer sign in.")


def _change(user_id: int, what: str, act: Callable[[Connection], Done]) -> Done:
    """Do it to somebody else, and write down who did. Nobody does these things to themselves."""
    _find(user_id)
    with database() as conn:
        if not staff.may_still_change(conn, who=me().user_id, whom=user_id):
            abort(400, "Only another administrator can do this to you.")
        done = act(conn)
    log.info("people: %s user_id=%s by=%s", what, user_id, me().username)
    return done


def _find(user_id: int) -> Member:
    with database() as conn:
        member = staff.find(conn, user_id, idle_minutes=portal_config().session_idle_minutes)
    return member or abort(404)


def _done(user_id: int, words: str) -> Response:
    notes.say(words.format(name=_find(user_id).name), "ok")
    return redirect(url_for("staff.show", user_id=user_id), 303)


def _new_link(conn: Connection, user_id: int) -> str:
    """Its address, as the administrator's own browser reaches the portal; the token is in it, so it is written nowhere."""
    scheme = "https" if portal_config().secure_cookies else request.scheme
    token = invitations.make(conn, user_id)
    return url_for("invitation.arrive", token=token, _external=True, _scheme=scheme)


def _show_link(user_id: int, link: str, *, is_new: bool) -> str:
    member = _find(user_id)
    return render_template("link.html", member=member, link=link, is_new=is_new, hours=invitations.LASTS_HOURS)


def _invite_form(typed: Mapping[str, str], problems: Mapping[str, str]) -> str:
    return render_template("invite.html", typed=typed, problems=problems, roles=_roles(), zones=_zones())


def _roles() -> list[str]:
    with database() as conn:
        return roles.names(conn)


def _problems(typed: Mapping[str, str]) -> dict[str, str]:
    problems = {}
    if not USERNAME.fullmatch(typed["username"]):
        problems["username"] = "Letters a to z, digits, dots and dashes, up to 50, like asha.rao; or an e-mail address."
    if not 0 < len(typed["name"]) <= LONGEST_NAME or not typed["name"].isprintable():
        problems["name"] = "Type the name that the office knows them by."
    if typed["role"] not in _roles():
        problems["role"] = NO_ROLE
    if typed["timezone"] not in _zones():
        problems["timezone"] = "Choose the time zone they work in."
    return problems


@cache
def _zones() -> tuple[str, ...]:
    """Those that people know by a place, and UTC."""
    regions = ("Africa/", "America/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
    return ("UTC", *sorted(zone for zone in available_timezones() if zone.startswith(regions)))
