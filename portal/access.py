"""Who may call which route. Each view says it with `public` or `requires`; one that says nothing is closed to all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask_wtf.csrf import validate_csrf
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response as BaseResponse
from wtforms.validators import ValidationError

from portal import notes, people, sign_ins
from portal.config import PortalConfig
from portal.database import reading
from portal.people import OwnRight, Person
from portal.sign_ins import SignIn
from whatsapp_logs import Right
from whatsapp_logs.web import count_call

log = logging.getLogger(__name__)

View = TypeVar("View", bound=Callable[..., Any])
FEATURE_PREFIXES = ("/whatsapp_logs", "/api/whatsapp", "/whatsapp", "/livez", "/readyz", "/metrics")
TOKEN, NAMED = "sign_in", "signed_in_person"
READING = ("GET", "HEAD", "OPTIONS")


class FormExpired(BadRequest):
    """The form's token is not this session's: the person has signed in again since, or somebody else made the form."""

    description = "This form is no longer valid. Go back, reload the page and send it again."


@dataclass(frozen=True, slots=True)
class Access:
    """What a route asks for: nothing (None), or a signed-in person with the right.

    `fresh`: who has not entered their password within the last minutes is asked for it first.
    `before_second_factor`: open also to somebody who has to set up their second factor before they may do anything else.
    """

    right: Right | OwnRight | None
    fresh: bool = False
    before_second_factor: bool = False


_declared: dict[Callable[..., Any], Access] = {}


def public(view: View) -> View:
    """Declare that anybody may call the view."""
    _declared[view] = Access(None)
    return view


def requires(
    right: Right | OwnRight, *, fresh: bool = False, before_second_factor: bool = False
) -> Callable[[View], View]:
    """Declare that only a signed-in person with the right may call the view; what else it may ask for: `Access`."""

    def declare(view: View) -> View:
        _declared[view] = Access(right, fresh, before_second_factor)
        return view

    return declare


def declared(view: Callable[..., Any]) -> Access | None:
    """What the view declared; None if it said nothing."""
    return _declared.get(view)


def init_app(app: Flask) -> None:
    """Keep every route of the portal as declared. The feature keeps its own."""
    public(app.view_functions["static"])
    app.before_request(_check)


def current_person() -> Person | None:
    """Who is asking, if they may do anything here: nobody while a second factor is due."""
    current_sign_in()
    person: Person | None = g.person
    return person


def current_sign_in() -> SignIn | None:
    """The sign-in that is asking, also one whose second factor is due; looked up once per request."""
    if "sign_in" not in g:
        g.sign_in = g.person = None  # Should the database be away, the error page is for nobody in particular.
        token = session.get(TOKEN)
        if token:
            g.sign_in = _look_up(token)
        if g.sign_in and not g.sign_in.waits_for_code and not must_set_up_second_factor(g.sign_in):
            g.person = g.sign_in.person
    sign_in: SignIn | None = g.sign_in
    return sign_in


def my_sign_in() -> SignIn:
    """The sign-in that is asking, in views that require a right."""
    sign_in = current_sign_in()
    if sign_in is None:
        abort(401)
    return sign_in


def me() -> Person:
    """The signed-in person, in views that require a right."""
    return my_sign_in().person


def must_set_up_second_factor(sign_in: SignIn) -> bool:
    """Whether this person has to set up a second factor before anything else."""
    has_one = sign_in.has_second_factor or sign_in.is_multi_factor
    return needs_second_factor(sign_in.person) and not has_one


def needs_second_factor(person: Person) -> bool:
    """Whether the office asks for a second factor of this person. Who lets others in counts as an administrator."""
    match portal_config().require_second_factor:
        case "everyone":
            return True
        case "administrators":
            return person.may(OwnRight.MANAGE_PEOPLE)
        case _:
            return False


def portal_config() -> PortalConfig:
    """The settings of the portal that is answering."""
    config: PortalConfig = current_app.config["PORTAL"]
    return config


def remember_person() -> None:
    """For the page that says that the database is away: who asks, as far as the session knows. It grants nothing."""
    if g.get("person") is None:
        g.person = people.remembered(session.get(NAMED))


def forget_unknown_person() -> None:
    """For other error pages: show somebody only if they were known before the error."""
    g.setdefault("person", None)


def _check() -> BaseResponse | None:
    if request.endpoint is None:
        current_person()  # Nothing is there; the page that says so knows who asked.
        return None
    if belongs_to_feature(request.path):
        return None  # It checks for itself.
    access = declared(current_app.view_functions[request.endpoint])
    if access is None:
        abort(403)
    if access.right is not None and (elsewhere := _check_person(access, access.right)):
        return elsewhere
    if request.method not in READING:
        _check_csrf()
    return None


def _check_person(access: Access, right: Right | OwnRight) -> BaseResponse | None:
    """Where to lead the person first, if anywhere."""
    sign_in = current_sign_in()
    if sign_in is None or sign_in.waits_for_code:
        if request.method not in ("GET", "HEAD"):
            abort(401)
        return redirect(url_for("auth.sign_in", next=_here()))
    count_call(sign_in.person.username)
    if current_person() is None and not access.before_second_factor:
        return redirect(url_for("second_factor.set_up", next=_here()), 303)
    if not sign_in.person.may(right):
        log.warning("refused user=%s endpoint=%s: has not the right", sign_in.person.username, request.endpoint)
        abort(403)
    if access.fresh and not sign_in.is_confirmed:
        if request.method not in READING:
            notes.say("Nothing was changed yet: confirm that it is you, then do it once more.", "bad")
        return redirect(url_for("auth.confirm", next=_here()), 303)
    return None


def _here() -> str:
    return request.full_path.rstrip("?")


def _look_up(token: str) -> SignIn | None:
    with reading() as conn:
        sign_in = sign_ins.find(conn, token, idle_minutes=portal_config().session_idle_minutes)
        if sign_in and sign_in.is_stale and not _is_poll():
            sign_ins.note_activity(conn, sign_in.sign_in_id)
    return sign_in


def _is_poll() -> bool:
    """Whether an open page asks for news by itself: nobody need be there for that."""
    return request.method == "GET" and (request.path.endswith("/live") or "seen" in request.args)


def belongs_to_feature(path: str) -> bool:
    """Whether the feature answers this path."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in FEATURE_PREFIXES)


def _check_csrf() -> None:
    try:
        validate_csrf(request.form.get("csrf_token"))
    except ValidationError:
        log.warning(
            "refused endpoint=%s address=%s: token missing, foreign or stale", request.endpoint, request.remote_addr
        )
        raise FormExpired() from None
