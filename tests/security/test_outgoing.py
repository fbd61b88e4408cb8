"""Whom this program asks: Twilio, and itself at its own public address. Never an address that somebody has written."""

from __future__ import annotations

import ast
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest

import portal
import whatsapp_logs
from tests.security.target import ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, PUBLIC_BASE_URL, Target
from tests.service_fixtures import work_until_idle
from tests.start.processes import wait_until
from tests.test_config import GOOD
from tests.web.twilio_calls import inbound_form, signature, status_form
from whatsapp_logs import Config, Draft, WhatsAppService, links
from whatsapp_logs.errors import ConfigError, ProviderError

# Who may open a connection, and to whom: the simulator calls back the portal, the starter looks whether its parts answer.
ASKS = {
    "whatsapp_logs/twilio/gateway.py": "Twilio, at the address of the settings",
    "whatsapp_logs/twilio/files.py": "Twilio, at the settings' address; one redirect, to Twilio alone and without login",
    "whatsapp_logs/self_test.py": "this portal, at PUBLIC_BASE_URL; redirects are told, not followed",
    "portal/oidc_provider.py": "the OpenID provider of the settings and its endpoints; no redirect is followed",
    "portal/start": "this machine's own processes",
    "whatsapp_logs/twilio/simulator": "not Twilio, but what plays it: it is never asked where Twilio is",
}
OPENERS = frozenset({
    "requests", "urllib.request", "urllib3", "http.client", "httpx", "aiohttp", "socket", "ftplib", "smtplib", "asyncio.streams",
})  # fmt: skip
PRIVATE = (
    "127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "localhost", "localhost.",
    "LOCALHOST", "portal.localhost", "10.0.0.5", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.5]", "224.0.0.1", "255.255.255.255",
)  # fmt: skip


class Listener:
    """Ports of this machine at which nobody should ever knock."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._sockets = [
            self._open(family, host) for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
        ]
        for one in self._sockets:
            threading.Thread(target=self._listen, args=(one,), daemon=True).start()

    @property
    def ports(self) -> tuple[int, int]:
        """Of IPv4 and of IPv6."""
        v4, v6 = (one.getsockname()[1] for one in self._sockets)
        return v4, v6

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    @staticmethod
    def _open(family: socket.AddressFamily, host: str) -> socket.socket:
        bound = socket.socket(family)
        bound.bind((host, 0))
        bound.listen(16)
        return bound

    def _listen(self, bound: socket.socket) -> None:
        while True:
            try:
                connection, _ = bound.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                self.heard.append(connection.recv(200))


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def test_fault_26_no_address_that_somebody_writes_is_ever_asked(target: Target, listener: Listener) -> None:
    v4, v6 = listener.ports
    addresses = [
        f"http://127.0.0.1:{v4}/latest/meta-data", f"http://localhost:{v4}/", f"http://2130706433:{v4}/", f"http://[::1]:{v6}/",
        f"http://[::ffff:127.0.0.1]:{v4}/", f"http://0.0.0.0:{v4}/", f"http://user@127.0.0.1:{v4}/", f"//127.0.0.1:{v4}/",
    ]  # fmt: skip
    service, client = target.service, target.app.test_client()
    written = []
    for n, address in enumerate(addresses):
        written.append(service.send(Draft(to="+447700900123", body=address, media_url=address)).id)
        service.log_message(message_sid=f"SM{7000 + n:032x}", to="+447700900123", body=address, media_url=address)
        more = {
            "NumMedia": "1",
            "MediaUrl0": address,
            "MediaContentType0": "image/png",
            "Body": address,
            "ProfileName": address,
        }
        inbound = (
            inbound_form(f"SM{7100 + n:032x}", address)
            | more
            | {"AccountSid": ACCOUNT_SID, "To": f"whatsapp:{OUR_NUMBER}"}
        )
        status = status_form(
            f"SM{7000 + n:032x}", "failed", ErrorMessage=address, MediaUrl0=address, StatusCallback=address
        )
        for path, form in (
            (links.INBOUND_PATH, inbound),
            (links.STATUS_CALLBACK_PATH, status | {"AccountSid": ACCOUNT_SID}),
        ):
            signed = {"X-Twilio-Signature": signature(PUBLIC_BASE_URL + path, form, token=AUTH_TOKEN)}
            data, kind = urlencode(form), "application/x-www-form-urlencoded"
            assert client.post(path, data=data, content_type=kind, headers=signed).status_code in (200, 204)
    admin = target.signed_in()
    for page in (
        "/whatsapp_logs",
        "/whatsapp_logs?direction=inbound",
        *(f"/whatsapp_logs/messages/{one}" for one in written),
    ):
        assert admin.get(page).status_code == 200
    for name in ("Host", "X-Forwarded-Host", "Referer", "Origin"):
        admin.client.get("/whatsapp_logs/health", headers={name: f"127.0.0.1:{v4}"})
    work_until_idle(service)  # every message is handed over: to Twilio, who is away
    assert listener.heard == []
    with socket.create_connection(("127.0.0.1", v4)) as knock:
        knock.sendall(b"one")
        wait_until(lambda: listener.heard == [b"one"])


def test_fault_26_only_these_parts_of_the_program_can_ask_anybody_at_all() -> None:
    asking = set()
    for package in (whatsapp_logs, portal):
        root = Path(str(package.__file__)).parent
        for file in root.rglob("*.py"):
            if OPENERS & set(_imported(ast.parse(file.read_text()))):
                name = file.relative_to(root.parent).as_posix()
                asking.add(next((known for known in ASKS if name.startswith(known)), name))
    assert asking == set(ASKS)


@pytest.mark.parametrize("host", PRIVATE)
def test_fault_26_callbacks_and_documents_are_never_asked_for_at_a_private_address(host: str) -> None:
    with pytest.raises(ConfigError, match="PUBLIC_BASE_URL"):
        Config.from_env(GOOD | {"PUBLIC_BASE_URL": f"https://{host}"})


@pytest.mark.parametrize("host", ["portal.example.test", "8.8.8.8", "[2001:4860:4860::8888]", "10.example.test"])
def test_a_public_address_is_one(host: str) -> None:
    assert Config.from_env(GOOD | {"PUBLIC_BASE_URL": f"https://{host}"}).public_base_url == f"https://{host}"


def test_fault_26_a_redirect_is_told_and_not_followed(config: Config, listener: Listener) -> None:
    with redirecting(f"http://127.0.0.1:{listener.ports[0]}/stolen") as address:
        service = WhatsAppService(replace(config, public_base_url=address, twilio_api_base_url=address))
        (*_, step) = service.test_callback()
        assert (step.is_well, "redirects" in step.words) == (False, True)
        with pytest.raises(ProviderError):
            service.gateway.fetch("SM" + "0" * 32)
        service.close()
    assert listener.heard == []


@contextmanager
def redirecting(target: str) -> Iterator[str]:
    """A server that sends everybody elsewhere; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(307)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)
