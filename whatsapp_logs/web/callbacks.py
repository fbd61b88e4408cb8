"""Twilio calls: statuses of our messages, and messages of customers. Believed only with Twilio's signature."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from whatsapp_logs import links, phone, self_test
from whatsapp_logs.errors import MessageNotFound
from whatsapp_logs.twilio import callback
from whatsapp_logs.twilio.signature import Form
from whatsapp_logs.web import current
from whatsapp_logs.web.access import proves_itself
from whatsapp_logs.web.limits import TooMany

log = logging.getLogger(__name__)


def register(blueprint: Blueprint) -> None:
    """Add the routes. A limit by address is for calls that prove nothing: Twilio's own bursts come from a few."""
    blueprint.add_url_rule(links.STATUS_CALLBACK_PATH, view_func=status_callback, methods=["POST"])
    blueprint.add_url_rule(links.INBOUND_PATH, view_func=inbound, methods=["POST"])
    blueprint.register_error_handler(RequestEntityTooLarge, _too_large)


@proves_itself
def status_callback() -> Response:
    """A status report; answered once it is committed. Whatever is signed is kept, however odd."""
    form = _signed_form(links.STATUS_CALLBACK_PATH)
    message = request.args.get("message", "")
    nonce = links.self_test_nonce(message)
    if nonce is not None:
        return _self_test(nonce)
    current.service().record_callback(callback.status_report(form, message))
    return Response(status=204)


@proves_itself
def inbound() -> Response:
    """A customer's message; answered once it is committed, whether it was told before or not."""
    received = callback.inbound(_signed_form(links.INBOUND_PATH))
    message_id = current.service().receive(received)
    log.info("message %s received from %s", message_id, phone.masked(received.sender))
    return Response(callback.NO_REPLY, mimetype="text/xml")


def _self_test(nonce: str) -> Response:
    """Our own test of the callback's way: no message, no event."""
    if not current.service().hear_self_test(nonce[: callback.MAX_WORD]):
        raise MessageNotFound(self_test.NOT_BEGUN)
    return Response(status=204)


def _signed_form(path: str) -> Form:
    """The posted form, if it is Twilio's and of our account; raises NotAllowed, InvalidInput or 413."""
    query = request.query_string.decode("latin-1")
    try:
        return callback.proven(_form(), current.service().config, path=path, query=query, header=request.headers.get)
    except callback.NotTwilio as refusal:
        if current.extension().refusals.add(path, refusal.reason):
            log.warning("refused calls: %s, %s, the first from %s", path, refusal.reason, request.remote_addr)
        if wait_s := current.extension().unproven_calls.take(request.remote_addr):
            raise TooMany(f"{refusal} Too many calls of that kind.", retry_after_s=wait_s) from refusal
        raise


def _form() -> Form:
    request.max_content_length = callback.MAX_BODY_BYTES
    body = request.get_data()
    # Nothing to read: a hook of the portal has read the form before us.
    return callback.read_form(body) if body else Form(request.form.items(multi=True))


def _too_large(_error: RequestEntityTooLarge) -> Response:
    return Response("The form is too large.", 413, mimetype="text/plain")
