"""Webhooks as Twilio sends them, signed here by hand: the product's own code proves nothing about itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.service_fixtures import ACCOUNT_SID, AUTH_TOKEN, SENDER

CUSTOMER = "whatsapp:+447700900123"
Pairs = Iterable[tuple[str, str]]


def sid(number: int) -> str:
    return f"SM{number:032x}"


def status_form(message_sid: str, status: str, **more: str) -> dict[str, str]:
    """The fields of a WhatsApp status callback."""
    return {
        "ChannelPrefix": "whatsapp",
        "ApiVersion": "2010-04-01",
        "MessageStatus": status,
        "SmsSid": message_sid,
        "SmsStatus": status,
        "ChannelInstallSid": "XE" + "1" * 32,
        "To": CUSTOMER,
        "From": SENDER,
        "MessageSid": message_sid,
        "AccountSid": ACCOUNT_SID,
        "ChannelToAddress": "+447700900XXX",
        **more,
    }


def inbound_form(message_sid: str, body: str, **more: str) -> dict[str, str]:
    """The fields of a customer's WhatsApp message."""
    return {
        "SmsMessageSid": message_sid, "NumMedia": "0", "ProfileName": "Asha", "MessageType": "text", "SmsSid": message_sid,
        "WaId": CUSTOMER.rpartition("+")[2], "SmsStatus": "received", "Body": body, "To": SENDER, "NumSegments": "1",
        "MessageSid": message_sid, "AccountSid": ACCOUNT_SID, "From": CUSTOMER, "ApiVersion": "2010-04-01", **more,
    }  # fmt: skip


def signature(url: str, form: Mapping[str, str] | Pairs, *, token: str = AUTH_TOKEN) -> str:
    """Twilio's rule: the address, then name and value of every parameter in the order of the names; HMAC-SHA1, base64."""
    pairs = list(form.items()) if isinstance(form, Mapping) else list(form)
    text = url + "".join(name + value for name, value in sorted(set(pairs)))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


class Twilio:
    """Posts to the app of a test client, signed for the public address."""

    def __init__(self, client: FlaskClient, public_base_url: str) -> None:
        self.client = client
        self.public_base_url = public_base_url

    def report(self, message_sid: str, status: str, *, message: object = None, **more: str) -> TestResponse:
        """A status callback; `message` is the id in its address."""
        query = "" if message is None else f"?message={message}"
        return self.post(f"/whatsapp/status_callback{query}", status_form(message_sid, status, **more))

    def post(self, path: str, form: Mapping[str, str] | Pairs, **more: Any) -> TestResponse:
        pairs = list(form.items()) if isinstance(form, Mapping) else list(form)
        headers = {"X-Twilio-Signature": signature(self.public_base_url + path, pairs)} | more.pop("headers", {})
        return self.client.post(
            path, data=urlencode(pairs), content_type="application/x-www-form-urlencoded", headers=headers, **more
        )
