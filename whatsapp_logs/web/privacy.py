"""Retention with its rehearsal, legal holds, and the erasure of one person: for administrators."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.rights import Right
from whatsapp_logs.store.privacy import Due
from whatsapp_logs.web import asking, current, format
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/privacy"
_CHOICES = (6, 12, 24, 36, 60, 84, 120)  # months
_MAX_REASON = 300


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule(_ROOT, "privacy", page)
    blueprint.add_url_rule(f"{_ROOT}/retention", "set_retention", set_retention, methods=["POST"])
    blueprint.add_url_rule(f"{_ROOT}/holds", "place_hold", place_hold, methods=["POST"])
    blueprint.add_url_rule(f"{_ROOT}/holds/<int:hold_id>/lift", "lift_hold", lift_hold, methods=["POST"])
    blueprint.add_url_rule(f"{_ROOT}/erase", "erase_client", erase, methods=["POST"])


@requires(Right.ADMINISTER, fresh=True)
def page() -> str:
    """What goes tonight, what stays and why; of one client or policy, what can be done for them."""
    whom = _whom(request.args)
    return _render(whom, notice=take_notice())


@requires(Right.ADMINISTER, fresh=True)
def set_retention() -> BaseResponse:
    """How long a type's contents are kept."""
    kind, months = request.form.get("type", ""), request.form.get("months", "")
    if kind not in current.service().message_types():
        raise InvalidInput("type", "There are no messages of this type.")
    if months not in {"", *(str(n) for n in _CHOICES)}:
        raise InvalidInput("months", "Choose one of the times that are offered.")
    current.service().set_retention(kind, int(months) if months else None, set_by=viewer().name)
    leave_notice("Saved. What goes is erased at night, at 02:23 UTC; until then it can be changed.", tone="ok")
    return redirect(url_for(".privacy"), 303)


@requires(Right.ADMINISTER, fresh=True)
def place_hold() -> BaseResponse:
    """Hold a client's or a policy's messages."""
    whom = _whom(request.form)
    if not whom:
        raise InvalidInput("client", "Say whose messages are to be held: a client’s or a policy’s.")
    current.service().place_hold(
        client_id=whom.get("client"), policy_id=whom.get("policy"), reason=_reason(), placed_by=viewer().name
    )
    leave_notice("Held: no rule and no request erases these messages until the hold is lifted.", tone="ok")
    return redirect(_address(whom), 303)


@requires(Right.ADMINISTER, fresh=True)
def lift_hold(hold_id: int) -> BaseResponse:
    """End a hold."""
    if hold_id >= 2**63 or not current.service().lift_hold(hold_id, lifted_by=viewer().name):
        raise MessageNotFound("There is no such hold, or it has been lifted already.")
    leave_notice("The hold is lifted. What a rule would have erased goes tonight.", tone="ok")
    return redirect(url_for(".privacy"), 303)


@requires(Right.ADMINISTER, fresh=True)
def erase() -> str | BaseResponse:
    """Erase one client's messages: the first press shows what will go, the second does it."""
    whom = _whom(request.form)
    if "client" not in whom:
        raise InvalidInput("client", "Say whose messages are to be erased.")
    reason = _reason()
    if request.form.get("confirm") != "yes":
        return _render(whom, asks=True, reason=reason)
    done = current.service().erase_client(
        whom["client"], reason=reason, person=viewer().name, number=current.extension().client_phone(whom["client"])
    )
    leave_notice(f"{_words(done)} This cannot be undone.", tone="ok")
    return redirect(_address(whom), 303)


def _render(whom: dict[str, str], **more: Any) -> str:
    service, extension = current.service(), current.extension()
    holds, rules = service.holds(), service.retention()
    by_type = {rule.message_type: (rule, due) for rule, due in rules}
    clients = {hold.client_id for hold in holds if hold.client_id} | {whom.get("client", "")} - {""}
    policies = {hold.policy_id for hold in holds if hold.policy_id} | {whom.get("policy", "")} - {""}
    given: dict[str, Any] = {"notice": None, "asks": False, "reason": ""} | more
    return render_template(
        "whatsapp_logs/privacy.html",
        whom=whom,
        due=service.rehearse_erasure(whom["client"], number=extension.client_phone(whom["client"]))
        if "client" in whom
        else None,
        types=[(name, *by_type.get(name, (None, None))) for name in service.message_types()],
        holds=holds,
        erasures=service.erasures(),
        choices=_CHOICES,
        in_words=_words,
        max_reason=_MAX_REASON,
        clients=dict(extension.client_names(sorted(clients))) if clients else {},
        policies=dict(extension.policy_names(sorted(policies))) if policies else {},
        **given,
    )


def _address(whom: dict[str, str]) -> str:
    return url_for(".privacy", client=whom.get("client"), policy=whom.get("policy"))


def _whom(given: Any) -> dict[str, str]:
    """Whose messages the request is about: client or policy, by id."""
    query = {name: [given.get(name, "")] for name in ("client", "policy")}
    wanted = MessageFilter.from_query(query, zone=asking.zone(viewer()))
    if wanted.client_id or wanted.policy_id:
        current.service().page(wanted, limit=1)  # an id that the portal's keys cannot be is refused in words
    if wanted.client_id:
        return {"client": wanted.client_id}
    return {"policy": wanted.policy_id} if wanted.policy_id else {}


def _reason() -> str:
    reason = " ".join(request.form.get("reason", "").replace("\0", "").split())
    if not 3 <= len(reason) <= _MAX_REASON:
        raise InvalidInput("reason", f"Write down why, in 3 to {_MAX_REASON} characters: it is kept for good.")
    return reason


def _words(due: Due) -> str:
    """What goes and what stays, in a sentence."""
    more = "" if due.is_exact else " or more"
    goes = [f"{format.number(due.erased)}{more} message{'' if due.erased == 1 else 's'}"]
    goes += [f"{format.number(due.rows)} row{'' if due.rows == 1 else 's'} in tables of campaigns"] if due.rows else []
    goes += [f"{format.number(n)} {noun}{'' if n == 1 else 's'}" for noun, n in due.beside if n]
    words = f"{', '.join(goes[:-1])} and {goes[-1]}" if len(goes) > 1 else goes[0]
    stays = [f"{format.number(due.held)} held"] if due.held else []
    stays += [f"{format.number(due.under_way)} still on their way"] if due.under_way else []
    if due.rows_kept:
        stays += [f"{format.number(due.rows_kept)} row{'' if due.rows_kept == 1 else 's'} in tables of campaigns"]
    return f"{words}; {', '.join(stays)} stay." if stays else f"{words}."
