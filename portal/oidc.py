"""Single sign-on: off to the OpenID provider, and back. By links, because CSP lets forms go nowhere else."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, current_app, redirect, request, session, url_for
from werkzeug.wrappers import Response

from portal import notes, oidc_links, sign_ins, throttle
from portal.access import TOKEN, current_sign_in, my_sign_in, public, requires
from portal.auth import TOO_MANY, address, go_on_with_second_factor
from portal.database import database
from portal.destination import destination
from portal.oidc_provider import Identity, NotBelieved, Provider, ProviderAway
from portal.oidc_settings import CALLBACK_PATH, OidcSettings
from whatsapp_logs import Right

oidc = Blueprint("oidc", __name__)
log = logging.getLogger(__name__)

_BEGUN = "oidc"  # in the session: state, nonce, verifier, when, where to go, and whose confirmation it is
_MAY_TAKE_S = 600
_CLOCKS_DIFFER_S = 60
_PROVIDER = "portal_oidc"
_CANCELLED = ("access_denied", "login_required", "interaction_required", "consent_required")


class _Refused(Exception):
    """Nobody is signed in. The first words are for the person, the others for the log."""


def init_app(app: Flask, settings: OidcSettings) -> None:
    """Add the pages, and let the sign-in page offer them."""
    app.extensions[_PROVIDER] = Provider(settings)
    app.register_blueprint(oidc)
    app.context_processor(lambda: {"single_sign_on": settings.name})


@oidc.get("/sign-in/oidc")
@public
def begin() -> Response:
    """Off to the provider."""
    return _send_off()


@oidc.get("/sign-in/oidc/confirm")
@requires(Right.SEE, before_second_factor=True)
def confirm() -> Response:
    """Off to the provider, which is to see that it is still the same person."""
    return _send_off(confirms=my_sign_in().sign_in_id)


@oidc.get(CALLBACK_PATH)
@public
def come_back() -> Response:
    """Whoever comes back with a good answer is signed in, or has confirmed that it is them. Each answer is looked at once."""
    begun = session.pop(_BEGUN, {})
    try:
        _check_begun(begun)
        identity = _identity(begun)
        if begun["confirms"] is not None:
            return _confirmed(begun, identity)
        return _signed_in(begun, identity)
    except _Refused as refused:
        said, why = refused.args
        return _back(begun, said, why)


def _send_off(*, confirms: int | None = None) -> Response:
    begun = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
    kept: dict[str, Any] = {**begun, "at": int(time.time()), "next": destination(), "confirms": confirms}
    try:
        there = _provider().address(**begun, again=confirms is not None)
    except (ProviderAway, NotBelieved) as error:
        return _back(kept, _away(), f"provider: {error}")
    session[_BEGUN] = kept
    return redirect(there)


def _check_begun(begun: dict[str, Any]) -> None:
    """Refuse an answer to a question that this browser has not just asked."""
    state = request.args.get("state", "")
    is_ours = bool(begun) and hmac.compare_digest(begun["state"].encode(), state.encode())
    if not is_ours or time.time() - begun["at"] > _MAY_TAKE_S:
        raise _Refused("This sign-in was begun in another window, or too long ago. Please start again.", "state")


def _identity(begun: dict[str, Any]) -> Identity:
    """What the provider vouches for."""
    if request.args.get("error") in _CANCELLED:
        raise _Refused(f"The sign-in by {_name()} was cancelled.", "cancelled at the provider")
    _count(begun["state"])
    try:
        _provider().check_sender(request.args.get("iss"))
        if "error" in request.args or not request.args.get("code"):
            raise _Refused(_away(), "the provider reports an error")
        return _provider().identity(request.args["code"], verifier=begun["verifier"], nonce=begun["nonce"])
    except ProviderAway as error:
        raise _Refused(_away(), f"provider away: {error}") from None
    except NotBelieved as error:
        said = f"The answer of {_name()} could not be trusted, so nobody was signed in. Please start again."
        raise _Refused(said, f"not believed: {error}") from None


def _count(state: str) -> None:
    """Each answer costs calls to the provider: so many per address. Under a name of its own, as nobody is named yet."""
    with database() as conn:
        if not throttle.count_attempt(conn, f"single sign-on {state[:16]}", address()):
            raise _Refused(TOO_MANY, "throttled")


def _signed_in(begun: dict[str, Any], identity: Identity) -> Response:
    with database() as conn:
        person = oidc_links.find(conn, identity.issuer, identity.subject)
        is_new = person is None
        if person is None:
            person = oidc_links.link(conn, identity.issuer, identity.subject, identity.names)
        if person:
            throttle.forget_attempts(conn, f"single sign-on {begun['state'][:16]}", address())
    if person is None:
        said = f"{_name()} knows you, but nobody here goes by that account. Ask an administrator to invite you."
        raise _Refused(said[0].upper() + said[1:], "nobody of ours")
    if is_new:
        log.info("single sign-on linked user=%s", person.username)
    return go_on_with_second_factor(
        person, wanted=begun["next"], is_multi_factor=identity.is_multi_factor, confirmed_at=_when(identity)
    )


def _confirmed(begun: dict[str, Any], identity: Identity) -> Response:
    """The same person as in this sign-in, seen by the provider after we asked."""
    mine = current_sign_in()
    if mine is None or mine.waits_for_code or mine.sign_in_id != begun["confirms"]:
        raise _Refused("Your session has ended. Please sign in again.", "confirmation of another sign-in")
    with database() as conn:
        person = oidc_links.find(conn, identity.issuer, identity.subject)
        if person is None or person.user_id != mine.person.user_id:
            raise _Refused("That is not the account with which you sign in here.", "confirmation by somebody else")
        if (identity.authenticated_at or 0) < begun["at"] - _CLOCKS_DIFFER_S:
            raise _Refused(f"The answer of {_name()} does not say that it asked you just now.", "auth_time")
        session[TOKEN] = sign_ins.confirm(conn, mine.sign_in_id)
    return redirect(begun["next"], 303)


def _when(identity: Identity) -> datetime:
    """When the provider has last seen them prove who they are: long ago, if it does not say."""
    return datetime.fromtimestamp(min(identity.authenticated_at or 0, time.time()), UTC)


def _back(begun: dict[str, Any], said: str, why: str) -> Response:
    log.warning("single sign-on refused reason=%s address=%s", why, address())
    notes.say(said, "bad")
    page = "auth.sign_in" if begun.get("confirms") is None else "auth.confirm"
    return redirect(url_for(page, next=begun.get("next")), 303)


def _away() -> str:
    said = f"{_name()} does not answer as it should. Try again in a moment, or sign in with your password."
    return said[0].upper() + said[1:]


def _name() -> str:
    return _provider().settings.name


def _provider() -> Provider:
    provider: Provider = current_app.extensions[_PROVIDER]
    return provider
