"""API tokens: made, listed, ended. A new one is shown once, on the page that answers its making."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.api_tokens import MAX_NAME, SCOPES
from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.rights import Right
from whatsapp_logs.web import current
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/tokens"
_LASTS = (30, 90, 365)  # days to choose from


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule(_ROOT, "tokens", page)
    blueprint.add_url_rule(_ROOT, "make_token", make, methods=["POST"])
    blueprint.add_url_rule(f"{_ROOT}/<int:token_id>/revoke", "revoke_token", revoke, methods=["POST"])


@requires(Right.ADMINISTER, fresh=True)
def page() -> str:
    """All tokens, and the form for a new one."""
    return _render(notice=take_notice())


@requires(Right.ADMINISTER, fresh=True)
def make() -> str | tuple[str, int]:
    """A new token with rights that its maker has. This answer is the only place where it ever stands."""
    try:
        name, rights, days = _name(), _rights(), _days()
    except InvalidInput as problem:
        return _render(problem=problem, typed=request.form), 400
    token = current.service().make_api_token(
        name=name, rights=rights, created_by=viewer().name, lasts=timedelta(days=days)
    )
    return _render(made=token, made_name=name)


@requires(Right.ADMINISTER, fresh=True)
def revoke(token_id: int) -> BaseResponse:
    """End a token; the next call that carries it is refused."""
    if token_id >= 2**63 or not current.service().revoke_api_token(token_id, revoked_by=viewer().name):
        raise MessageNotFound("There is no such token, or it has ended already.")
    leave_notice("The token has ended. The next call that carries it is refused.", tone="ok")
    return redirect(url_for(".tokens"), 303)


def _render(**more: Any) -> str:
    given = {"problem": None, "typed": None, "made": None, "made_name": "", "notice": None} | more
    return render_template(
        "whatsapp_logs/tokens.html",
        tokens=current.service().api_tokens(),
        scopes=[right for right in SCOPES if viewer().may(right)],
        lasts=_LASTS,
        now=datetime.now(UTC),
        max_name=MAX_NAME,
        **given,
    )


def _name() -> str:
    name = " ".join(request.form.get("name", "").replace("\0", "").split())
    if not name or len(name) > MAX_NAME:
        raise InvalidInput("name", f"Say what the token is for, in up to {MAX_NAME} characters.")
    return name


def _rights() -> frozenset[Right]:
    chosen = frozenset(right for right in SCOPES if right.value in request.form.getlist("right"))
    if not chosen:
        raise InvalidInput("right", "Choose at least one thing that the token may do.")
    if not all(viewer().may(right) for right in chosen):
        raise InvalidInput("right", "A token cannot be given a right that you do not have.")
    return chosen | {Right.SEE}


def _days() -> int:
    days = request.form.get("days", "")
    if days not in {str(n) for n in _LASTS}:
        raise InvalidInput("days", "Choose how long the token works.")
    return int(days)
