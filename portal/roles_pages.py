"""The page of roles, for who may manage people: which role has which rights, new roles, deleting roles."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from flask import Blueprint, redirect, render_template, request, url_for
from psycopg import Connection
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from portal import notes, roles
from portal.access import me, requires
from portal.database import database
from portal.people import EVERY_RIGHT, OwnRight, short_name
from portal.roles import Refused, Wish

roles_pages = Blueprint("roles", __name__, url_prefix="/roles")
log = logging.getLogger(__name__)

SHOWN, MAY = "shown:", "may:"  # fields of the form, each followed by a role: what the page showed, and what is ticked
CHANGES_SHOWN = 10
Done = TypeVar("Done")


@roles_pages.get("/")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def index() -> str:
    """The table, and what was changed last."""
    return _page()


@roles_pages.post("/")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def save() -> Response | tuple[str, int]:
    """All boxes at once. Roles whose boxes were left as they were shown stay as they are, whoever changes them meanwhile."""
    wishes = _wishes(request.form)
    try:
        changed = _change(lambda conn: roles.save(conn, wishes, by=me().user_id))
    except Refused as refused:
        return _page(problem=str(refused)), 400
    if not changed:
        return _done("Nothing was changed: the boxes are as they were.")
    log.info("roles: changed %s by=%s", ", ".join(changed), me().username)
    return _done(f"Saved: {', '.join(changed)}. It counts from everybody’s next click.")


@roles_pages.post("/new")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def add() -> Response | tuple[str, int]:
    """A role of the office's own, which begins as a copy."""
    name, like = " ".join(request.form.get("name", "").lower().split()), request.form.get("like", "")
    try:
        _change(lambda conn: roles.add(conn, name, like=like, by=me().user_id))
    except Refused as refused:
        return _page(new_problem=str(refused), typed={"name": name, "like": like}), 400
    log.info("roles: made %s like=%s by=%s", name, like, me().username)
    return _done(f"The role {name} is there, with the rights of {like}. Tick what it may do.")


@roles_pages.post("/delete")
@requires(OwnRight.MANAGE_PEOPLE, fresh=True)
def delete() -> Response | tuple[str, int]:
    """Only what nobody has."""
    role = request.form.get("role", "")
    try:
        _change(lambda conn: roles.delete(conn, role, by=me().user_id))
    except Refused as refused:
        return _page(problem=str(refused)), 400
    log.info("roles: deleted %s by=%s", role, me().username)
    return _done(f"The role {role} is deleted.")


def _change(act: Callable[[Connection], Done]) -> Done:
    with database() as conn:  # A refusal rolls everything back.
        return act(conn)


def _done(words: str) -> Response:
    notes.say(words, "ok")
    return redirect(url_for("roles.index"), 303)


def _wishes(form: MultiDict[str, str]) -> dict[str, Wish]:
    """What the form asks for, per role."""
    shown = {field.removeprefix(SHOWN): value for field, value in form.items() if field.startswith(SHOWN)}
    return {role: Wish(frozenset(value.split()), frozenset(form.getlist(MAY + role))) for role, value in shown.items()}


def _page(*, problem: str | None = None, new_problem: str | None = None, typed: dict[str, str] | None = None) -> str:
    with database() as conn:
        every, history = roles.every(conn), roles.history(conn, limit=CHANGES_SHOWN)
    return render_template(
        "roles.html",
        roles=every,
        rights={short_name(right): str(right) for right in EVERY_RIGHT},
        history=history,
        problem=problem,
        new_problem=new_problem,
        typed=typed or {"name": "", "like": "viewer"},
    )
