"""The HTTP server under the simulator: standard library, HTTP/1.1 with keep-alive, this machine only."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from whatsapp_logs.twilio.simulator.wire import Request, Response, request_id

MAX_REQUEST_BYTES = 1024 * 1024
MAX_UPLOAD_BYTES = 24 * 1024 * 1024  # a file of a customer, in base64, at the simulator's own addresses
IDLE_CONNECTION_S = 75.0
STOP_POLL_S = 0.01  # how soon a stop is noticed


class HttpServer:
    """Serves `answer` on its own threads until it is stopped; then every open connection is closed."""

    def __init__(self, host: str, port: int, answer: Callable[[Request], Response], *, hang_s: Callable[[], float]):
        self.stopping = threading.Event()
        self._http = _Server((host, port), answer, hang_s, self.stopping)
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": STOP_POLL_S}, name="simulator-http", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.cut_all()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, address: tuple[str, int], answer: Callable[[Request], Response], hang_s: Callable[[], float],
        stopping: threading.Event,
    ) -> None:  # fmt: skip
        self.answer, self.hang_s, self.stopping = answer, hang_s, stopping
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that hang up are everyday; whatever else goes wrong is shown by the base class."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def cut_all(self) -> None:
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            _cut(connection)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "WhatsAppLogsTwilioSimulator"
    sys_version = ""
    timeout = IDLE_CONNECTION_S
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet
    server: _Server

    def do_GET(self) -> None:
        started = time.monotonic()
        length = self.headers.get("Content-Length") or "0"
        if not length.isdecimal() or int(length) > self._max_bytes():
            self.close_connection = True
            self._write(Response(413, b"Request too large\n", "text/plain"), started)
            return
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, unquote(path), query, self.rfile.read(int(length)), headers)
        response = self.server.answer(request)
        if response.then == "answer":
            self._write(response, started)
            return
        if response.then == "hang":
            self.server.stopping.wait(self.server.hang_s())
        self.close_connection = True
        _cut(self.connection)

    do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = do_GET

    def _max_bytes(self) -> int:
        return MAX_UPLOAD_BYTES if self.path.startswith(("/_simulator/", "/phone/")) else MAX_REQUEST_BYTES

    def _write(self, response: Response, started: float) -> None:
        self.send_response(response.status)
        if response.status != 204:
            self.send_header("Content-Type", response.content_type)
            self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("Twilio-Request-Id", request_id())
        self.send_header("Twilio-Request-Duration", f"{time.monotonic() - started:.3f}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: request lines carry phone numbers."""


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # already gone
        connection.shutdown(socket.SHUT_RDWR)
