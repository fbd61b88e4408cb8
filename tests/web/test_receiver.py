"""The receiver behind its real server: what granian hands over, and what it sends back, is not what a test believes of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from tests.service_fixtures import ACCOUNT_SID, AUTH_TOKEN, SECRET_KEY, SENDER
from tests.start.processes import wait_until
from tests.web.twilio_calls import CUSTOMER, sid, signature, status_form
from whatsapp_logs import Config, Status, WhatsAppService
from whatsapp_logs.links import STATUS_CALLBACK_PATH


@pytest.fixture
def receiver(config: Config) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "DATABASE_URL": config.database_url,
        "SECRET_KEY": SECRET_KEY,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": AUTH_TOKEN,
        "TWILIO_WHATSAPP_FROM": SENDER,
        "TWILIO_API_BASE_URL": config.twilio_api_base_url,
        "PUBLIC_BASE_URL": config.public_base_url,
    }
    words = ["--interface", "rsgi", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen([sys.executable, "-m", "granian", *words, "whatsapp_logs.web.receiver:app"], env=env)
    try:
        wait_until(lambda: _answers(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_it_keeps_what_twilio_signed_and_refuses_everything_else_in_words(
    receiver: str, config: Config, service: WhatsAppService
) -> None:
    message = service.log_message(message_sid=sid(1), to=CUSTOMER, body="Your policy")
    form = status_form(sid(1), "read")
    path = f"{STATUS_CALLBACK_PATH}?message={message.id}"
    signed = {"X-Twilio-Signature": signature(config.public_base_url + path, form)}
    forged = requests.post(receiver + path, data=form, headers={"X-Twilio-Signature": "x"}, timeout=10)
    assert (forged.status_code, "not signed by Twilio" in forged.text) == (403, True)
    assert requests.post(receiver + path, data=form, timeout=10).status_code == 403
    assert requests.post(receiver + path, data="a=" + "x" * 70_000, timeout=10).status_code == 413
    assert requests.post(receiver + path, data=iter([b"a=", b"x" * 70_000]), timeout=10).status_code == 413
    assert requests.get(receiver + path, timeout=10).status_code == 405
    assert requests.post(f"{receiver}/whatsapp_logs", timeout=10).status_code == 404
    assert service.message(message.id).status is Status.QUEUED
    believed = requests.post(receiver + path, data=form, headers=signed, timeout=10)
    assert (believed.status_code, believed.content) == (204, b"")
    assert {answer.headers["X-Content-Type-Options"] for answer in (forged, believed)} == {"nosniff"}
    assert service.message(message.id).status is Status.READ
