"""A webhook receiver for tests: checks every signature with Twilio's own validator and keeps what came."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl

from twilio.request_validator import RequestValidator


@dataclass(frozen=True)
class Received:
    path: str
    params: dict[str, str]
    valid: bool
    headers: dict[str, str]


@dataclass
class Receiver:
    """Answers 204, or what `answer` says for the n-th request (0-based); serves `files` (path → type, bytes)."""

    auth_token: str
    answer: Callable[[int], tuple[int, bytes]] = lambda _: (204, b"")
    files: dict[str, tuple[str | None, bytes]] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, content = receiver._keep(self.path, body, dict(self.headers.items()))
                self._answer(status, "text/xml", content)

            def do_GET(self) -> None:
                content_type, content = receiver.files.get(self.path, ("text/plain", b""))
                self._answer(200 if self.path in receiver.files else 404, content_type, content)

            def _answer(self, status: int, content_type: str | None, content: bytes) -> None:
                self.send_response(status)
                if content_type:
                    self.send_header("Content-Type", content_type)
                if status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def statuses(self, sid: str | None = None) -> list[str]:
        """The statuses reported, in order of arrival."""
        return [item.params["MessageStatus"] for item in self.received
                if "MessageStatus" in item.params and sid in (None, item.params["MessageSid"])]  # fmt: skip

    def _keep(self, path: str, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
        params = dict(parse_qsl(body, keep_blank_values=True))
        valid = RequestValidator(self.auth_token).validate(
            self.url + path, params, headers.get("X-Twilio-Signature", "")
        )
        with self.changed:
            self.received.append(Received(path, params, valid, headers))
            answer = self.answer(len(self.received) - 1)
            self.changed.notify_all()
        return answer
