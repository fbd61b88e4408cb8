"""A portal that is meant to be reached by https shows and takes nothing by http, except on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal import database, demo
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import SECRET_KEY, Office
from whatsapp_logs import WhatsAppService

PUBLIC = "https://portal.example.test"
ELSEWHERE = "192.0.2.7"
ENV = {"DATABASE_URL": "postgresql:///x", "SECRET_KEY": SECRET_KEY}
Open = Callable[..., FlaskClient]


@pytest.fixture
def portal(office: Office) -> Iterator[Open]:
    """A function from settings to a client of a portal with them."""
    made: list[tuple[Flask, WhatsAppService]] = []

    def make(public_base_url: str = PUBLIC, **settings: object) -> FlaskClient:
        service = WhatsAppService(replace(office.service.config, public_base_url=public_base_url))
        config = replace(office.app.config["PORTAL"], **{"secure_cookies": True, **settings})
        made.append((create_app(config, service=service), service))
        return made[-1][0].test_client()

    yield make
    for app, service in made:
        database.close(app)
        service.close()


def ask(
    client: FlaskClient, path: str, method: str = "GET", *, address: str = ELSEWHERE, **more: object
) -> TestResponse:
    return client.open(path, method=method, environ_base={"REMOTE_ADDR": address}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["/sign-in?next=/clients/", "/", "/whatsapp_logs?status=failed", "/nothing-here", "/static/portal.css"]
)
def test_whoever_asks_for_a_page_by_http_is_led_to_the_same_page_by_https(portal: Open, path: str) -> None:
    client = portal()
    answer = ask(client, path, headers={"Host": "evil.example.test"})
    assert answer.status_code == 308
    assert answer.location == PUBLIC + path
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert ask(client, path, "HEAD").location == PUBLIC + path
    assert ask(client, path, base_url=PUBLIC).status_code != 308


def test_a_password_sent_by_http_signs_nobody_in_and_says_why(portal: Open) -> None:
    client = portal()
    answer = ask(client, "/sign-in", "POST", data={"username": "anna.admin", "password": demo.PASSWORD})
    assert answer.status_code == 400
    assert "open by https only" in answer.text
    assert demo.PASSWORD not in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_programs_are_refused_and_not_led_on_so_that_their_token_is_not_sent_again(portal: Open, method: str) -> None:
    answer = ask(portal(), "/api/whatsapp/messages", method, headers={"Authorization": "Bearer wl_x"})
    assert answer.status_code == 400
    assert "https only" in answer.json["message"]  # type: ignore[index]


@pytest.mark.parametrize("path", ["/livez", "/whatsapp/media/x", "/whatsapp/status_callback"])
def test_probes_and_twilio_prove_themselves_and_are_not_led_anywhere(portal: Open, path: str) -> None:
    answer = ask(portal(), path, "POST" if "status" in path else "GET")
    assert answer.status_code not in (308, 400)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", ""])
def test_on_this_machine_http_is_enough(portal: Open, address: str) -> None:
    assert ask(portal(), "/sign-in", address=address).status_code == 200


@pytest.mark.parametrize(("trusted", "said", "status"), [
    (1, "https", 200), (1, "http", 308), (1, "https, http", 308), (1, "http, https", 200), (2, "http, https", 308), (1, None, 200),
    (1, "HTTP", 308), (0, "https", 200), (0, "http", 200),  # not believed, but there is a proxy: what it leads where is its own
])  # fmt: skip
def test_a_trusted_proxy_says_how_people_came(portal: Open, trusted: int, said: str | None, status: int) -> None:
    headers = {"X-Forwarded-Proto": said} if said else {}
    client = portal(trusted_proxies=trusted)
    assert ask(client, "/sign-in", address=ELSEWHERE, headers=headers).status_code == status


def test_without_an_https_address_to_lead_to_it_is_refused_in_words(portal: Open) -> None:
    answer = ask(portal("http://127.0.0.1:8800"), "/sign-in")
    assert answer.status_code == 400
    assert "open by https only" in answer.text


def test_where_http_is_meant_it_is_served(portal: Open) -> None:
    assert ask(portal(secure_cookies=False), "/sign-in").status_code == 200


@pytest.mark.parametrize(("given", "is_secure"), [
    ({}, False), ({"PUBLIC_BASE_URL": PUBLIC}, True), ({"PUBLIC_BASE_URL": "http://127.0.0.1:8800"}, False),
    ({"PUBLIC_BASE_URL": PUBLIC, "SECURE_COOKIES": "0"}, False), ({"SECURE_COOKIES": "1"}, True),
])  # fmt: skip
def test_a_public_https_address_is_enough_to_mean_https(given: dict[str, str], is_secure: bool) -> None:
    assert PortalConfig.from_env(ENV | given).secure_cookies is is_secure
