"""Which faults prove that nothing was sent, and which do not: tried on sockets that answer badly."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from whatsapp_logs import Config
from whatsapp_logs.errors import NotSent, ProviderAway, ProviderError, Refused, Unconfirmed, UnknownToProvider
from whatsapp_logs.message import Outgoing
from whatsapp_logs.twilio.gateway import TwilioGateway

Behaviour = Callable[[socket.socket], None]
Listen = Callable[..., str]
OUTGOING = Outgoing(
    message_id=1,
    recipient="+447700900222",
    body="x",
    media_url=None,
    template=None,
    status_callback="https://portal.example.test/whatsapp/status_callback?message=1",
)
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


def gateway(address: str) -> TwilioGateway:
    return TwilioGateway(
        Config(
            database_url="",
            secret_key="",
            twilio_account_sid="AC" + "a" * 32,
            twilio_auth_token="test-token-0001",
            twilio_whatsapp_from="whatsapp:+15550100100",
            twilio_api_base_url=address,
            provider_timeout_s=1,
        )
    )


@pytest.fixture
def listen() -> Iterator[Listen]:
    """`listen(behaviour)`: an address whose every connection is treated so; `tls` wraps it."""
    with ExitStack() as listeners:

        def begin(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> str:
            listener = listeners.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=_serve, args=(listener, behaviour, tls), daemon=True).start()
            return f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"

        yield begin


def _serve(listener: socket.socket, behaviour: Behaviour, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with (
                suppress(OSError),
                connection,
                tls.wrap_socket(connection, server_side=True) if tls else connection as c,
            ):
                behaviour(c)


def answering(status: int, body: str, *headers: str) -> Behaviour:
    def answer(connection: socket.socket) -> None:
        read_request(connection)
        lines = [f"HTTP/1.1 {status} X", "Connection: close", f"Content-Length: {len(body)}", *headers, "", body]
        connection.sendall("\r\n".join(lines).encode())

    return answer


def read_request(connection: socket.socket) -> None:
    data = b""
    while not data.endswith(b"Body=x") and (data.startswith(b"POST") or not data.endswith(b"\r\n\r\n")):
        chunk = connection.recv(65536)
        if not chunk:
            return
        data += chunk


def break_tls_after_request(connection: socket.socket) -> None:
    read_request(connection)
    raw = connection.detach()
    os.write(raw, b"\x17\x03\x03\x00\x20" + b"A" * 32)
    os.close(raw)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of our own for 127.0.0.1, with its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{file}.key", "-out", file],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + Path(f"{file}.key").read_text())
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (answering(429, "<h1>busy</h1>"), NotSent),
        (answering(302, "", "Location: http://127.0.0.1:1/"), NotSent),
        (answering(407, "proxy login"), NotSent),
        (answering(404, "<h1>nothing here</h1>"), NotSent),
        (answering(401, '{"status": 401, "code": 20003, "message": "Authenticate"}'), NotSent),
        (answering(400, '{"status": 400, "code": 21211, "message": "Invalid To"}'), Refused),
        (answering(400, '{"type": "x", "title": "Invalid To", "status": 400, "code": 21211}'), Refused),
        (answering(503, "<h1>away</h1>"), Unconfirmed),
        (answering(201, "<h1>welcome to this hotel</h1>"), Unconfirmed),
        (answering(201, "[]"), Unconfirmed),
        (answering(201, "null"), Unconfirmed),
        (answering(201, '{"status": "queued"}'), Unconfirmed),
        (read_request, Unconfirmed),
    ],
)  # fmt: skip
def test_only_twilios_own_refusal_is_final_and_only_proof_lets_a_message_be_sent_again(
    behaviour: Behaviour, outcome: type[ProviderError], listen: Listen
) -> None:
    with pytest.raises(outcome):
        gateway(listen(behaviour)).send(OUTGOING)


def test_facts_that_are_no_numbers_do_not_cost_the_answer(listen: Listen) -> None:
    body = '{"sid": "SM1", "status": "queued", "price": "abc", "num_segments": "99999999999", "error_code": null}'
    report = gateway(listen(answering(201, body))).send(OUTGOING)
    assert (report.provider_id, report.price, report.num_segments) == ("SM1", None, None)


def test_a_tls_session_broken_after_the_request_proves_nothing(
    listen: Listen, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.raises(Unconfirmed):
        gateway(listen(break_tls_after_request, tls)).send(OUTGOING)


def test_a_certificate_that_is_not_trusted_or_no_tls_at_all_keeps_the_message_waiting(
    listen: Listen, tls: ssl.SSLContext
) -> None:
    with pytest.raises(NotSent):
        gateway(listen(read_request, tls)).send(OUTGOING)
    with pytest.raises(NotSent):
        gateway(listen(answering(400, "speak TLS")).replace("http:", "https:")).send(OUTGOING)


@pytest.mark.parametrize("address", ["http://no-such-host.invalid", "http://[", "127.0.0.1:1"])
def test_an_address_that_leads_nowhere_keeps_the_message_waiting(address: str) -> None:
    with pytest.raises(NotSent):
        gateway(address).send(OUTGOING)


def test_a_proxy_that_is_away_keeps_the_message_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(NotSent):
            gateway("https://api.twilio.example.test").send(OUTGOING)


@pytest.mark.parametrize("body", ["<h1>no JSON</h1>", "[]", "null", '{"messages": [{}], "next_page_uri": null}'])
def test_a_question_that_is_not_answered_in_twilios_words_says_provider_away(body: str, listen: Listen) -> None:
    asked = gateway(listen(answering(200, body)))
    with pytest.raises(ProviderAway):
        asked.fetch("SM1")
    with pytest.raises(ProviderAway):
        list(asked.sent_to("+447700900222", SINCE))


@pytest.mark.parametrize("status", [400, 404])
def test_what_is_no_message_of_twilios_is_unknown_not_an_outage(status: int, listen: Listen) -> None:
    with pytest.raises(UnknownToProvider):
        gateway(listen(answering(status, f'{{"status": {status}, "code": 20404}}'))).fetch("no SID")
