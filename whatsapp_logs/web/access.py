"""Who is asking, and may they: one declaration per route, checked before every request, CSRF on every change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Flask, current_app, g, redirect, request
from flask_wtf.csrf import generate_csrf, validate_csrf
from werkzeug.wrappers import Response as BaseResponse
from wtforms import ValidationError

from whatsapp_logs.api_tokens import PREFIX
from whatsapp_logs.errors import InvalidInput, NotAllowed, WhatsAppLogsError
from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.web.limits import TooMany

View = TypeVar("View", bound=Callable[..., Any])
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MARK = "whatsapp_logs_requires"
_FRESH = "whatsapp_logs_fresh"
_API = "/api/"
TOKEN_CALLS_PER_MINUTE = 300


class NotSignedIn(WhatsAppLogsError):
    """Nobody is signed in, or the session has ended."""

    def __init__(self, text: str = "Please sign in.") -> None:
        super().__init__(text)


class CsrfRefused(InvalidInput):
    """The form's token is missing, foreign or stale."""

    def __init__(self) -> None:
        super().__init__("csrf_token", "This page has been open too long. Reload it and try again.")


def requires(right: Right, *, fresh: bool = False) -> Callable[[View], View]:
    """Declare the right a people's route needs. `fresh`: where the host can, it asks first whether it is still the same person."""

    def mark(view: View) -> View:
        setattr(view, _MARK, right)
        setattr(view, _FRESH, fresh)
        return view

    return mark


def proves_itself(view: View) -> View:
    """Declare a machines' route: the view checks the caller's signature or token itself, nobody is signed in."""
    setattr(view, _MARK, "proof")
    return view


def public(view: View) -> View:
    """Declare a route that anybody may read: static files, the API's description."""
    setattr(view, _MARK, "public")
    return view


def undeclared_routes(app: Flask, *, blueprints: tuple[str, ...]) -> list[str]:
    """Endpoints of these blueprints that do not say who may use them."""
    return sorted(
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] in blueprints
        and not rule.endpoint.endswith(".static")
        and not hasattr(app.view_functions[rule.endpoint], _MARK)
    )


def check_request(current_user: Callable[[], Viewer | None]) -> BaseResponse | None:
    """Before each request of the people's blueprint: the person, their right, and the token of every change.

    Returns where somebody has to go first, to confirm that it is still them.
    """
    if request.endpoint is None or request.endpoint.endswith(".static"):
        return None
    needed = getattr(current_app.view_functions[request.endpoint], _MARK, None)
    if needed == "public":
        return None
    token = _bearer() if request.path.startswith(_API) else ""
    person = _program(token) if token else current_user()
    if person is None:
        raise NotSignedIn()
    g.whatsapp_logs_viewer = person
    if not token:
        count_call(person.name)
    if not isinstance(needed, Right) or not person.may(needed):
        raise NotAllowed(f"You have not been given the right to {needed}. Ask your administrator.")
    if request.method not in _SAFE_METHODS and not token:  # no browser sends a token by itself
        _check_csrf()
    if getattr(current_app.view_functions[request.endpoint], _FRESH, False):
        return _confirmed_elsewhere()
    return None


def count_call(person: str) -> None:
    """Count this request of a signed-in person, also where a portal counts its own pages. Raises TooMany."""
    extension = current_app.extensions["whatsapp_logs"]
    extension.people.count(person, is_change=request.method not in _SAFE_METHODS)


def viewer() -> Viewer:
    """The person of this request."""
    return cast(Viewer, g.whatsapp_logs_viewer)


def csrf_token() -> str:
    """The token a form carries in `csrf_token` or a script in the header `X-CSRFToken`."""
    return str(generate_csrf())


def _confirmed_elsewhere() -> BaseResponse | None:
    """The host's page on which to confirm; a form that came too late begins again at its page, and nothing is changed."""
    page = request.full_path.rstrip("?") if request.method in _SAFE_METHODS else "/".join(request.path.split("/")[:3])
    where = current_app.extensions["whatsapp_logs"].confirm_url(page)
    return None if where is None else redirect(where, 303)


def _bearer() -> str:
    """The token of the header Authorization; empty without one of ours."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip().startswith(PREFIX) else ""


def _program(token: str) -> Viewer:
    """The program that calls. Raises NotSignedIn, or TooMany for one that calls too often."""
    extension = current_app.extensions["whatsapp_logs"]
    found = extension.service.use_api_token(token, address=request.remote_addr)
    if found is None:
        raise NotSignedIn("This token has expired or was ended. Ask an administrator for a new one.")
    wait_s = extension.calls_of_tokens.take(found.id)
    if wait_s:
        raise TooMany(f"This token calls too often: {TOKEN_CALLS_PER_MINUTE} calls a minute.", retry_after_s=wait_s)
    viewer: Viewer = found.viewer
    return viewer


def _check_csrf() -> None:
    token = request.headers.get("X-CSRFToken") or request.form.get("csrf_token")
    try:
        validate_csrf(token)
    except ValidationError as error:
        raise CsrfRefused() from error
