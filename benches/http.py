"""The log page as a browser gets it, from the real portal: with the run's rows, and with an empty log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
from flask import Flask
from flask.testing import FlaskClient

from benches.measure import Line, interleaved
from benches.place import Place
from portal import database, people
from portal.app import create_app
from portal.config import PortalConfig
from whatsapp_logs import Config, WhatsAppService

PASSWORD = "only for reading, on loopback"
ROUNDS = 40


def measure(place: Place) -> Iterator[Line]:
    """The whole answer, from the session's cookie to the last byte of HTML, without the network."""
    with ExitStack() as stack:
        full, tenth, empty = (signed_in(stack, place.dsn(rows)) for rows in (place.rows, place.tenth, 0))
        times = interleaved(
            place.rounds(ROUNDS), full=lambda: _get(full), tenth=lambda: _get(tenth), empty=lambda: _get(empty)
        )
        ms = times["full"] * 1000
        yield Line("log page over HTTP ÷ the page of an empty log", ms, "ms", times["full"] / times["empty"], "<= 2")
        yield Line("log page over HTTP ÷ at a tenth of the rows", ms, "ms", times["full"] / times["tenth"], "<= 1.5")


def signed_in(stack: ExitStack, dsn: str) -> FlaskClient:
    """A browser that is signed in to the portal on this database."""
    name = "bench.reader"
    with psycopg.connect(dsn) as conn:
        people.add(conn, username=name, name="Reader", role="administrator", timezone="UTC", password=PASSWORD)
    config = Config(database_url=dsn, secret_key="k" * 32)
    service = stack.enter_context(closing(WhatsAppService(config)))
    app: Flask = create_app(PortalConfig(database_url=dsn, secret_key="k" * 32, timezone="UTC"), service=service)
    stack.callback(database.close, app)
    client = app.test_client()
    form = client.get("/sign-in").text
    token = form.partition('name="csrf_token" value="')[2].partition('"')[0]
    answer = client.post("/sign-in", data={"username": name, "password": PASSWORD, "csrf_token": token})
    assert answer.status_code == 302, answer.text
    return client


def _get(client: FlaskClient) -> None:
    answer = client.get("/whatsapp_logs")
    assert answer.status_code == 200, answer.text
