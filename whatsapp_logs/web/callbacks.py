"""Twilio calls: statuses of our messages, and messages of customers. Believed only with Twilio's signature."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from whatsapp_logs import links, phone, self_test
from whatsapp_logs.errors import InvalidInput, MessageNotFound, NotAllowed
from whatsapp_logs.message import Inbound, StatusReport
from whatsapp_logs.twilio.signature import Form, is_signed
from whatsapp_logs.web import current
from whatsapp_logs.web.access import proves_itself

log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 64 * 1024
_MAX_PARAMETERS = 500  # Twilio sends about 15, an advertisement's reply about 40
_MAX_ID = 2**63 - 1
_MAX_WORD = 100  # of what is indexed; the payload keeps the whole form
_MAX_MEDIA = 10
_NO_REPLY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


def register(blueprint: Blueprint) -> None:
    """Add the routes. There is no limit by address: Twilio's own bursts come from a few."""
    blueprint.add_url_rule(links.STATUS_CALLBACK_PATH, view_func=status_callback, methods=["POST"])
    blueprint.add_url_rule(links.INBOUND_PATH, view_func=inbound, methods=["POST"])
    blueprint.register_error_handler(RequestEntityTooLarge, _too_large)


@proves_itself
def status_callback() -> Response:
    """A status report; answered once it is committed. Whatever is signed is kept, however odd."""
    form = _signed_form(links.STATUS_CALLBACK_PATH)
    nonce = links.self_test_nonce(request.args.get("message", ""))
    if nonce is not None:
        return _self_test(nonce)
    report = StatusReport(
        provider_status=form.first("MessageStatus", "SmsStatus")[:_MAX_WORD] or "(none)",
        provider_id=form.first("MessageSid", "SmsSid")[:_MAX_WORD] or None,
        message_id=_our_id(request.args.get("message", "")),
        error_code=form.first("ErrorCode")[:_MAX_WORD] or None,
        error_message=form.first("ErrorMessage", "ChannelStatusMessage") or None,
        payload=_payload(form),
    )
    current.service().record_callback(report)
    return Response(status=204)


@proves_itself
def inbound() -> Response:
    """A customer's message; the answer asks Twilio for no reply, because replies go out as messages of the log."""
    form = _signed_form(links.INBOUND_PATH)
    sid = form.first("MessageSid", "SmsSid")[:_MAX_WORD]
    if not sid:
        log.error("inbound message without MessageSid; its fields: %s", ", ".join(sorted(form)))
        raise InvalidInput("MessageSid", "The message has no MessageSid.")
    received = Inbound(
        provider_id=sid,
        sender=_address(form.first("From", "ExternalUserId", "WaId")),
        recipient=_address(form.first("To")),
        body=form.first("Body") or None,
        profile_name=form.first("ProfileName") or None,
        media=tuple(
            (form.first(f"MediaUrl{n}"), form.first(f"MediaContentType{n}"))
            for n in range(_MAX_MEDIA)
            if form.first(f"MediaUrl{n}")
        ),
        payload=_payload(form),
    )
    message_id = current.service().receive(received)
    log.info("message %s received from %s", message_id, phone.masked(received.sender))
    return Response(_NO_REPLY, mimetype="text/xml")


def _self_test(nonce: str) -> Response:
    """Our own test of the callback's way: no message, no event."""
    if not current.service().hear_self_test(nonce[:_MAX_WORD]):
        raise MessageNotFound(self_test.NOT_BEGUN)
    return Response(status=204)


def _signed_form(path: str) -> Form:
    """The posted form, if it is Twilio's and of our account; raises NotAllowed.

    The address that was signed is the public one that we gave to Twilio. What the request says of its own host and scheme is
    anybody's to write, and behind a proxy it is wrong.
    """
    config, form = current.service().config, Form(_pairs())
    query = request.query_string.decode("latin-1")
    url = f"{config.public_base_url}{path}" + (f"?{query}" if query else "")
    signature = request.headers.get("X-Twilio-Signature", "")
    if not is_signed(form, signature, url=url, auth_token=config.twilio_auth_token):
        _refuse(path, "signature wrong" if signature else "no signature")
    if form.getlist("AccountSid") != [config.twilio_account_sid]:
        _refuse(path, "another account")
    if not any("\0" in text for name, values in form.items() for text in (name, *values)):
        return form
    return Form((_storable(name), _storable(value)) for name, values in form.items() for value in values)


def _refuse(path: str, reason: str) -> None:
    if current.extension().refusals.add(path, reason):
        log.warning("refused calls: %s, %s, the first from %s", path, reason, request.remote_addr)
    raise NotAllowed("This call is not signed by Twilio for our account.")


def _pairs() -> list[tuple[str, str]]:
    """Names and values as posted, read from the raw body so that blank and repeated ones stay; raises InvalidInput or 413."""
    request.max_content_length = _MAX_BODY_BYTES
    body = request.get_data().decode("utf-8", "replace")
    if not body:  # a hook of the portal has read the form before us
        return list(request.form.items(multi=True))
    try:
        return parse_qsl(body, keep_blank_values=True, errors="replace", max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidInput("body", "The form has too many fields.") from error


def _too_large(_error: RequestEntityTooLarge) -> Response:
    return Response("The form is too large.", 413, mimetype="text/plain")


def _payload(form: Form) -> dict[str, Any]:
    """The whole form: a text for each name, a list where a name was repeated."""
    return {name: values[0] if len(values) == 1 else values for name, values in form.items()}


def _storable(text: str) -> str:
    """PostgreSQL keeps no NUL, in no column; its picture stands for it."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


def _address(text: str) -> str:
    return phone.from_provider(text)[:_MAX_WORD] or "(none)"


def _our_id(text: str) -> int | None:
    """The id that we wrote into the callback's address; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MAX_ID else None
