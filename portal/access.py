"""Who may call which route. Each view says it with `public` or `requires`; one that says nothing is closed to all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask_wtf.csrf import validate_csrf
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response
from wtforms.validators import ValidationError

from portal import people
from portal.database import reading
from portal.people import OwnRight, Person
from whatsapp_logs import Right

View = TypeVar("View", bound=Callable[..., Any])
FEATURE_PREFIXES = ("/whatsapp_logs", "/api/whatsapp", "/whatsapp", "/livez", "/readyz", "/metrics")
TOKEN, NAMED = "sign_in", "signed_in_person"


class FormExpired(BadRequest):
    """The form's token is not this session's: the person has signed in again since, or somebody else made the form."""

    description = "This form is no longer valid. Go back, reload the page and send it again."


@dataclass(frozen=True, slots=True)
class Access:
    """What a route asks for: nothing (None), or a signed-in person with the right."""

    right: Right | OwnRight | None


_declared: dict[Callable[..., Any], Access] = {}


def public(view: View) -> View:
    """Declare that anybody may call the view."""
    _declared[view] = Access(None)
    return view


def requires(right: Right | OwnRight) -> Callable[[View], View]:
    """Declare that only a signed-in person with the right may call the view."""

    def declare(view: View) -> View:
        _declared[view] = Access(right)
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
    """Who is asking, looked up once per request."""
    if "person" not in g:
        g.person = None  # Should the database be away, the error page is for nobody in particular.
        token = session.get(TOKEN)
        if token:
            with reading() as conn:
                g.person = people.find_by_token(conn, token)
    person: Person | None = g.person
    return person


def me() -> Person:
    """The signed-in person, in views that require a right."""
    person = current_person()
    if person is None:
        abort(401)
    return person


def remember_person() -> None:
    """For the page that says that the database is away: who asks, as far as the session knows. It grants nothing."""
    if g.get("person") is None:
        g.person = people.remembered(session.get(NAMED))


def forget_unknown_person() -> None:
    """For other error pages: show somebody only if they were known before the error."""
    g.setdefault("person", None)


def _check() -> Response | None:
    if request.endpoint is None:
        current_person()  # Nothing is there; the page that says so knows who asked.
        return None
    if belongs_to_feature(request.path):
        return None  # It checks for itself.
    access = declared(current_app.view_functions[request.endpoint])
    if access is None:
        abort(403)
    if access.right is not None:
        person = current_person()
        if person is None:
            if request.method not in ("GET", "HEAD"):
                abort(401)
            return redirect(url_for("auth.sign_in", next=request.full_path.rstrip("?")))
        if not person.may(access.right):
            abort(403)
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        _check_csrf()
    return None


def belongs_to_feature(path: str) -> bool:
    """Whether the feature answers this path."""
    return any(path == prefix or path.startswith(prefix + "/") for prefix in FEATURE_PREFIXES)


def _check_csrf() -> None:
    try:
        validate_csrf(request.form.get("csrf_token"))
    except ValidationError:
        raise FormExpired() from None
