"""Webhooks as Twilio sends them, signed here by hand: the product's own code proves nothing about itself."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from flask.testing import FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder, TestResponse

from tests.service_fixtures import ACCOUNT_SID, AUTH_TOKEN, SENDER
from whatsapp_logs.links import INBOUND_PATH, STATUS_CALLBACK_PATH
from whatsapp_logs.web.receiver import Receiver

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


def signature(url: str, form: Mapping[str, str] | Pairs, *, token: str = AUTH_TOKEN, algorithm: str = "sha1") -> str:
    """Twilio's rule: the address, then name and value of every parameter in the order of the names; HMAC, base64."""
    pairs = list(form.items()) if isinstance(form, Mapping) else list(form)
    text = url + "".join(name + value for name, value in sorted(set(pairs)))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), algorithm).digest()).decode()


class Client(Protocol):
    """What answers Twilio's calls."""

    def post(self, path: str, **more: Any) -> TestResponse:
        """The answer."""

    def get(self, path: str) -> TestResponse:
        """The answer to a browser."""


@dataclass
class RsgiCall:
    """One request as granian hands it over (RSGI), and what became of it."""

    method: str
    query_string: str
    headers: dict[str, str]
    body: bytes
    path: str = STATUS_CALLBACK_PATH
    client: str = "127.0.0.1:50000"
    answer: TestResponse | None = None

    @classmethod
    def of_status(cls, form: Mapping[str, str], *, public_base_url: str) -> RsgiCall:
        """A signed status callback."""
        signed = {"x-twilio-signature": signature(public_base_url + STATUS_CALLBACK_PATH, form)}
        body = urlencode(form).encode()
        return cls("POST", "", signed | {"content-length": str(len(body))}, body)

    async def __call__(self) -> bytes:
        return self.body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for place in range(0, len(self.body), 1000):
            yield self.body[place : place + 1000]

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.response_str(status, headers, "")

    def response_str(self, status: int, headers: list[tuple[str, str]], text: str) -> None:
        request = EnvironBuilder(STATUS_CALLBACK_PATH).get_request()
        self.answer = TestResponse([text.encode()], f"{status} -", Headers(headers), request)


class WithReceiver:
    """A portal behind a proxy that sends status callbacks to the receiver, called as granian calls it."""

    def __init__(self, client: FlaskClient, receiver: Receiver) -> None:
        self.client, self.receiver = client, receiver

    def post(self, path: str, **more: Any) -> TestResponse:
        """The answer of whoever the proxy asks."""
        return self._open(path, method="POST", **more)

    def get(self, path: str) -> TestResponse:
        """The same, for whoever only looks."""
        return self._open(path, method="GET")

    def _open(self, path: str, **more: Any) -> TestResponse:
        if path.partition("?")[0] not in (STATUS_CALLBACK_PATH, INBOUND_PATH):
            return self.client.open(path, **more)
        request = EnvironBuilder(path, **more).get_request()
        headers = {name.lower(): value for name, value in request.headers}
        call = RsgiCall(request.method, path.partition("?")[2], headers, request.get_data(), request.path)
        with ThreadPoolExecutor(1) as server:  # a loop of its own, whatever runs in the test's thread
            server.submit(asyncio.run, self.receiver.__rsgi__(call, call)).result()
        assert call.answer is not None
        return call.answer


class Twilio:
    """Posts to a portal, signed for the public address."""

    def __init__(self, client: Client, public_base_url: str) -> None:
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
