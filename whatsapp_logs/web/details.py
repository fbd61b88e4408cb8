"""One message: its own page and the same block in a dialog, its document, asking Twilio again, settling it, sending it again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs import phone, wording
from whatsapp_logs.access_log import Act
from whatsapp_logs.errors import InvalidInput, InvalidPhone, MessageNotFound, ProviderError, ProviderNotConfigured
from whatsapp_logs.gate import rules_of
from whatsapp_logs.message import FAILURES, KEPT_BY_WHATSAPP, NOT_FOUND, WHATSAPP, Message, Source, Status, StatusEvent
from whatsapp_logs.rights import Right
from whatsapp_logs.send import may_send_again
from whatsapp_logs.settle import BY_HAND_AFTER, TOO_SOON, may_be_settled_by_hand
from whatsapp_logs.twilio.error_codes import RECIPIENT, Advice, explain
from whatsapp_logs.web import current, looks, timeline, words
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.file_names import content_disposition
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/messages/<int:message_id>"
_MAX_ID = 2**63 - 1
# What a browser may show in place; everything else is offered for download.
_SHOWN_INLINE = frozenset({"application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp"})
_DOCUMENT_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; object-src 'self'; frame-ancestors 'self'"
)


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule(_ROOT, "message", message)
    blueprint.add_url_rule(f"{_ROOT}/document", "document", document)
    blueprint.add_url_rule(f"{_ROOT}/refresh", "refresh", refresh, methods=["POST"])
    blueprint.add_url_rule(f"{_ROOT}/not_sent", "not_sent", not_sent, methods=["POST"])
    blueprint.add_url_rule(f"{_ROOT}/resend", "resend", resend, methods=["POST"])


@requires(Right.SEE)
def message(message_id: int) -> str | Response:
    """The message; for a script only its block, and 204 when nothing has changed since `seen`."""
    shown = _message(message_id)
    seen = _fingerprint(shown)
    if request.args.get("seen") == seen:
        return Response(status=204)
    return _render(shown, seen=seen, notice=take_notice())


@requires(Right.TEXTS)
def document(message_id: int) -> Response:
    """The document that went with the message."""
    shown = _message(message_id)
    if shown.media_id is None:
        raise MessageNotFound("This message has no document.")
    looks.at_message(shown, Act.DOCUMENT)
    file = current.service().document(shown.media_id)
    # What a customer has sent is nothing of ours: it opens as a download.
    inline = file.content_type in _SHOWN_INLINE and shown.direction == "outbound"
    response = Response(file.content, mimetype=file.content_type if inline else "application/octet-stream")
    response.headers["Content-Disposition"] = content_disposition("inline" if inline else "attachment", file.filename)
    response.headers["Content-Security-Policy"] = _DOCUMENT_CSP
    response.headers["Cache-Control"] = "private, no-store"
    return response


@requires(Right.REFRESH)
def refresh(message_id: int) -> str | BaseResponse:
    """Ask Twilio about this message now."""
    shown = _message(message_id)
    try:
        outcome = current.service().refresh_message(shown)
    except (ProviderError, ProviderNotConfigured) as error:
        notice = ("bad", str(error))
    else:
        notice = ("ok", _outcome_words(shown, changed=bool(outcome and outcome.changed)))
    return _shown_again(_message(message_id), notice)


@requires(Right.SEND)
def not_sent(message_id: int) -> str | BaseResponse:
    """Declare an unconfirmed message not sent: the first press shows what will happen, the second does it."""
    shown = _message(message_id)
    if request.form.get("confirm") != "yes" and shown.is_unconfirmed:
        if not may_be_settled_by_hand(shown, now=datetime.now(UTC)):
            raise InvalidInput("message", TOO_SOON)
        return _question("not_sent", shown)
    try:
        settled = current.service().declare_not_sent(message_id, created_by=viewer().name)
    except (ProviderError, ProviderNotConfigured) as error:
        return _shown_again(shown, ("bad", f"{error} Until Twilio has been asked once more, nothing is changed."))
    return _shown_again(settled, _settled_words(settled))


@requires(Right.SEND)
def resend(message_id: int) -> str | BaseResponse:
    """Send a failed message again as a new one: the first press shows what will happen, the second does it."""
    shown = _message(message_id)
    if shown.is_declared_not_sent and request.form.get("confirm") != "yes":
        try:  # Twilio's list lags: somebody may have declared it not sent too soon
            current.service().refresh_message(shown)
        except (ProviderError, ProviderNotConfigured) as error:
            return _shown_again(shown, ("bad", f"{error} Until Twilio has been asked once more, it is not sent again."))
        shown = _message(message_id)
        if not may_send_again(shown):
            return _shown_again(shown, _settled_words(shown))
    if not may_send_again(shown):
        raise InvalidInput(
            "message", "Only a message that has failed can be sent again: this one arrived, or still may."
        )
    key, confirmed = request.form.get("request_key", ""), rules_of(request.form.getlist("confirmed"))
    if request.form.get("confirm") != "yes" or not key:
        if current.service().sent_again([message_id]):  # somebody was quicker: the message says so
            return _shown_again(shown)
        verdict = current.service().preview_again(message_id, to=_corrected_number(shown))
        return _question(
            "resend",
            shown,
            verdict=verdict,
            refusal=None if verdict.doubts else verdict.refusal,
            advice=explain(shown.error_code),
            **_correction(shown),
            request_key=f"resend-{secrets.token_urlsafe(12)}",
        )
    sent = current.service().send_again(
        message_id, created_by=viewer().name, request_key=key[:80], to=_corrected_number(shown), confirmed=confirmed
    )
    if sent.status in FAILURES:
        return _shown_again(sent, ("bad", f"It was not sent: {sent.error_message}"))
    return _shown_again(sent, ("ok", "This is the new message. It is on its way as soon as Twilio takes it."))


def _question(name: str, shown: Message, **more: Any) -> str:
    """What will happen, and the button that does it: in place for a script, else as a page."""
    looks.at_message(shown)
    template = f"_{name}.html" if "HX-Request" in request.headers else f"{name}.html"
    return render_template(f"whatsapp_logs/{template}", message=shown, **more, **words.names([shown]))


def _shown_again(shown: Message, notice: tuple[str, str] | None = None) -> str | BaseResponse:
    """The message after a press: in place for a script, else as its page."""
    if "HX-Request" in request.headers:
        return _render(shown, seen=_fingerprint(shown), notice=notice)
    if notice:
        leave_notice(notice[1], tone=notice[0])
    return redirect(url_for(".message", message_id=shown.id), 303)


def _message(message_id: int) -> Message:
    if message_id > _MAX_ID:
        raise MessageNotFound()
    return current.service().message(message_id)


def _fingerprint(shown: Message) -> str:
    age = words.Words(viewer())
    told = (
        shown.id,
        shown.updated_at,
        current.service().sent_again([shown.id]),
        shown.last_status_check,
        age.relative(shown.created_at),
        age.status(shown).detail,
        may_be_settled_by_hand(shown, now=age.now),
    )
    return hashlib.blake2b(repr(told).encode(), digest_size=8).hexdigest()


def _outcome_words(before: Message, *, changed: bool) -> str:
    after = _message(before.id)
    if after.status is not before.status:
        return f"Twilio says: {after.status}."
    if after.is_declared_not_sent and before.provider_id is None:
        return _settled_words(after)[1] if after.is_contradicted else "Twilio’s list still does not show this message."
    if after.provider_id is None:
        return "Twilio’s list does not show this message yet. It is looked up again every minute."
    return "Twilio had more to tell; see below." if changed else "Nothing new: Twilio says the same."


def _settled_words(settled: Message) -> tuple[str, str]:
    """What has come of a message whose answer was lost: a tone and a sentence."""
    if settled.is_declared_not_sent and not settled.is_contradicted:
        return "ok", "It counts as not sent now, and can be sent again."
    if settled.provider_id is not None:
        return "ok", "Twilio has this message after all. What Twilio says of it is below."
    return "ok", "Nothing was changed: this message does not wait for a lost answer."


def _needs_correction(advice: Advice | None) -> bool:
    """Whether the recipient's number has to be put right first: sending to it again would fail again."""
    wrong_number = advice is not None and (advice.at == RECIPIENT or advice.code == "invalid_number")
    return wrong_number and advice is not None and advice.retry == "after_fix"


def _correction(shown: Message) -> dict[str, Any]:
    """For templates: the client's new number, if there is one, and whether that was all that was wrong."""
    corrected = _corrected_number(shown)
    return {
        "corrected": corrected,
        "is_corrected": corrected is not None and _needs_correction(explain(shown.error_code)),
    }


def _corrected_number(shown: Message) -> str | None:
    """The client's number where it has been corrected since the message failed; None as long as it is the same."""
    told = current.extension().client_phone(shown.client_id) if shown.client_id and may_send_again(shown) else None
    if not told:
        return None
    try:
        number = phone.to_address(told, region=current.service().config.default_region)
    except InvalidPhone:
        return None
    return number if number != shown.recipient else None


@dataclass(frozen=True, slots=True)
class Silence:
    """What is known of a message that WhatsApp has not confirmed for a day."""

    until: datetime  # WhatsApp goes on trying so long, at most
    is_over: bool
    was_asked: bool  # since then
    is_known: bool  # to Twilio, when it was last asked


def _silence(shown: Message, events: Sequence[StatusEvent], *, now: datetime) -> Silence | None:
    left = shown.sent_at or shown.created_at
    is_at_whatsapp = shown.status is Status.SENT and shown.provider == "twilio" and shown.channel == WHATSAPP
    if not is_at_whatsapp or shown.provider_id is None or shown.erased_at or now - left < wording.SILENT_AFTER:
        return None
    until, asked = left + KEPT_BY_WHATSAPP, shown.last_status_check
    answers = [event.provider_status for event in events if event.source in (Source.REFRESH, Source.RECONCILE)]
    return Silence(
        until=until,
        is_over=until <= now,
        was_asked=asked is not None and asked >= until,
        is_known=answers[-1:] != [NOT_FOUND],
    )


def _render(shown: Message, **more: Any) -> str:
    looks.at_message(shown)
    now: datetime = g.setdefault("whatsapp_logs_now", words.Words(viewer()).now)
    template = "_message.html" if "HX-Request" in request.headers else "message.html"
    advice, correction = None if shown.is_contradicted else explain(shown.error_code), _correction(shown)
    # A page of its own stays one with its own heading, whatever of it is fetched anew.
    on_own_page = urlsplit(request.headers.get("HX-Current-URL", "")).path.startswith(url_for(".page") + "/messages/")
    needs_correction = _needs_correction(advice) and not correction["is_corrected"]
    events, belonging = current.service().timeline(shown.id), words.names([shown])
    other = (shown.sender if shown.direction == "inbound" else shown.recipient) or ""
    belonging["sent_again"] = current.service().sent_again([shown.id])  # also of one that arrived after all
    may_resend = may_send_again(shown) and (advice is None or advice.retry != "no") and not needs_correction
    return render_template(
        f"whatsapp_logs/{template}",
        message=shown,
        heading="h1" if on_own_page else None,
        events=events,
        conversation_id=current.service().desk.ids_of([other]).get(other) if viewer().may(Right.TEXTS) else None,
        lines=timeline.lines(shown, events, zone=words.Words(viewer()).zone),
        advice=advice,
        needs_correction=needs_correction,
        may_settle=may_be_settled_by_hand(shown, now=now),
        silent=_silence(shown, events, now=now),
        settle_from=None if shown.unconfirmed_at is None else shown.unconfirmed_at + BY_HAND_AFTER,
        **correction,
        may_resend=may_resend and shown.id not in belonging["sent_again"],
        **belonging,
        **more,
    )
