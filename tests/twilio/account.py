"""The account that these tests play with: its addresses, the official SDK on it, and a few calls."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from tests.start.processes import PATIENCE_S
from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER, Simulator

ACCOUNT, TOKEN = "AC" + "a" * 32, "test-token-0001"
SENDER = "whatsapp:+15550100100"
CUSTOMER = "whatsapp:+447700900500"
SERVICE = "MG" + "b" * 32
PDF = b"%PDF-1.4 a policy"


def connect(base_url: str, *, token: str = TOKEN, timeout_s: float = PATIENCE_S) -> Client:
    client = Client(ACCOUNT, token, http_client=TwilioHttpClient(timeout=timeout_s))
    client.api.base_url = client.content.base_url = base_url
    return client


def remind(client: Client, to: str = CUSTOMER, **more: Any) -> Any:
    more.setdefault("from_", SENDER)
    variables = json.dumps({"1": "Asha", "2": "POL-7", "3": "12 May"})
    return client.messages.create(to=to, content_sid=RENEWAL_REMINDER, content_variables=variables, **more)


def write(client: Client, body: str = "Hello", to: str = CUSTOMER, **more: Any) -> Any:
    return client.messages.create(to=to, from_=SENDER, body=body, **more)


def refusal(action: Any) -> tuple[int, int]:
    """(HTTP status, Twilio code) that an SDK call is refused with."""
    with pytest.raises(TwilioRestException) as refused:
        action()
    return refused.value.status, refused.value.code


def control(twilio: Simulator, path: str, /, **values: Any) -> Any:
    data = json.dumps(values).encode() if values else None
    with urllib.request.urlopen(f"{twilio.base_url}/_simulator/{path}", data, timeout=PATIENCE_S) as answer:
        return json.load(answer)
