"""The log page as a browser gets it, from the real portal behind its real server: with the run's rows, and with an empty log."""

from __future__ import annotations

import http.client
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import requests
from flask import Flask
from flask.testing import FlaskClient

from benches.callbacks import served
from benches.measure import Line, interleaved
from benches.place import Place
from portal import database, people
from portal.app import create_app
from portal.config import PortalConfig
from portal.start.everything import BLOCKING_THREADS
from whatsapp_logs import Config, WhatsAppService

USER, PASSWORD = "bench.reader", "only for reading, on loopback"
PAGE = "/whatsapp_logs"
ROUNDS = 60


def measure(place: Place) -> Iterator[Line]:
    """The whole answer over a kept connection, from the request's first byte to the last byte of HTML."""
    with ExitStack() as stack:
        full, tenth, empty = (_reader(stack, place.dsn(rows)) for rows in (place.rows, place.tenth, 0))
        times = interleaved(place.rounds(ROUNDS), full=full.get, tenth=tenth.get, empty=empty.get)
        ms = times["full"] * 1000
        yield Line("log page over HTTP ÷ the page of an empty log", ms, "ms", times["full"] / times["empty"], "<= 2")
        yield Line("log page over HTTP ÷ at a tenth of the rows", ms, "ms", times["full"] / times["tenth"], "<= 1.5")


class Reader:
    """Somebody who is signed in to the portal at a port, over a connection that is kept."""

    def __init__(self, port: int) -> None:
        session, portal = requests.Session(), f"http://127.0.0.1:{port}"
        token = re.search(r'name="csrf_token" value="([^"]+)"', session.get(f"{portal}/sign-in").text)
        assert token
        form = {"username": USER, "password": PASSWORD, "csrf_token": token[1]}
        assert session.post(f"{portal}/sign-in", data=form, allow_redirects=False).status_code == 302
        self.cookies = "; ".join(f"{name}={value}" for name, value in session.cookies.items())
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def get(self, path: str = PAGE) -> bytes:
        """The page."""
        self._connection.request("GET", path, headers={"Cookie": self.cookies})
        answer = self._connection.getresponse()
        page = answer.read()
        assert answer.status == 200, page
        return page

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def portal_command() -> list[str]:
    """The portal as `./run` starts it."""
    words = ["granian", "--interface", "wsgi", "--host", "127.0.0.1", "--workers", "1", "--log-level", "error"]
    words += [
        "--blocking-threads",
        str(BLOCKING_THREADS),
        "--backpressure",
        "256",
        "--port",
        "{port}",
        "portal.wsgi:app",
    ]
    return [sys.executable, "-m", *words]


def add_person(dsn: str) -> None:
    """Somebody who may see everything."""
    with psycopg.connect(dsn) as conn:
        people.add(conn, username=USER, name="Reader", role="administrator", timezone="UTC", password=PASSWORD)


def signed_in(stack: ExitStack, dsn: str) -> FlaskClient:
    """A browser that is signed in to the portal on this database, without a server between."""
    add_person(dsn)
    config = Config(database_url=dsn, secret_key="k" * 32, person_calls_per_minute=10_000_000)
    service = stack.enter_context(closing(WhatsAppService(config)))
    app: Flask = create_app(
        PortalConfig(database_url=dsn, secret_key="k" * 32, timezone="UTC", require_second_factor="nobody"),
        service=service,
    )
    stack.callback(database.close, app)
    client = app.test_client()
    form = client.get("/sign-in").text
    token = form.partition('name="csrf_token" value="')[2].partition('"')[0]
    answer = client.post("/sign-in", data={"username": USER, "password": PASSWORD, "csrf_token": token})
    assert answer.status_code == 302, answer.text
    return client


def _reader(stack: ExitStack, dsn: str) -> Reader:
    add_person(dsn)
    port, _server = stack.enter_context(served(portal_command(), dsn))
    return stack.enter_context(closing(Reader(port)))
