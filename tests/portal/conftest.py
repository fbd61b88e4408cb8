"""Fixtures: the portal with its invented office, one database for all tests here (each looks at its own records).

`office`   the running portal: its application, its database, its WhatsApp service.
`browser`  `browser("arjun.agent")`: somebody signed in, who fills in forms as a browser does; `browser(None)`: nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.conninfo import make_conninfo
from werkzeug.test import TestResponse

from portal import database, demo
from portal.app import create_app
from portal.config import PortalConfig
from portal.sealing import Seal
from tests.postgres_keeper import APP_ROLE
from whatsapp_logs import Config, Message, MessageFilter, WhatsAppService
from whatsapp_logs.config import GATE_RULES

COOKIE = "portal_session"
SECRET_KEY = "a secret key of the portal's tests"
SEAL = Seal(secret_key=SECRET_KEY)


@dataclass(frozen=True)
class Office:
    """The portal as its tests see it."""

    app: Flask
    dsn: str
    service: WhatsAppService
    cookies: dict[str, str] = field(default_factory=dict)

    def row(self, sql: str, **values: object) -> tuple[object, ...]:
        """The first row of a query."""
        with psycopg.connect(self.dsn) as conn:
            row = conn.execute(sql.encode(), values).fetchone()
        assert row is not None, sql
        return row

    def newest(self) -> Message:
        """The message on top of the log."""
        return self.service.page(MessageFilter(), limit=1).messages[0]

    def message_count(self) -> int:
        """How many messages there are."""
        (n,) = self.row("SELECT count(*) FROM whatsapp_logs.messages")
        assert isinstance(n, int)
        return n


class Browser:
    """Somebody at a browser: keeps cookies, sends forms with their hidden fields."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str) -> TestResponse:
        return self.client.get(path)

    def post(self, path: str, fields: dict[str, object] | None = None) -> TestResponse:
        return self.client.post(path, data=fields or {}, content_type="multipart/form-data")

    def hidden_fields(self, page: str, form: str) -> dict[str, object]:
        """The hidden fields of the form on the page that posts to the path."""
        return self.hidden_fields_of(self.get(page).text, form, page)

    @staticmethod
    def hidden_fields_of(html: str, form: str, page: str = "the page") -> dict[str, object]:
        """The same, of a page at hand."""
        block = re.search(rf'<form method="post" action="{re.escape(form)}".*?</form>', html, re.DOTALL)
        assert block, f"{page} has no form for {form}"
        found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', block[0])
        return {name: unescape(value) for name, value in found}

    def submit(self, page: str, form: str, **fields: object) -> TestResponse:
        """Open the page, fill in the form and send it."""
        return self.post(form, {**self.hidden_fields(page, form), **fields})

    def sign_in(self, username: str, password: str = demo.PASSWORD) -> TestResponse:
        return self.submit("/sign-in", "/sign-in", username=username, password=password)


@pytest.fixture(scope="session")
def office(new_database: Callable[[], str]) -> Iterator[Office]:
    dsn = new_database()
    demo.seed(dsn)
    app_dsn = make_conninfo(dsn, user=APP_ROLE)
    service = WhatsAppService(
        Config(
            database_url=app_dsn,
            secret_key=SECRET_KEY,
            twilio_account_sid="AC" + "b" * 32,
            twilio_auth_token="test-token-0002",
            twilio_whatsapp_from="whatsapp:+15550100100",
            twilio_api_base_url="http://127.0.0.1:9",  # nothing listens there: these tests only queue
            gate_off=GATE_RULES,
            person_calls_per_minute=1_000_000,  # one office for all tests, which ask faster than anybody's hands
            person_changes_per_minute=1_000_000,
            templates={"policy_document": "HX" + "1" * 32, "renewal_reminder": "HX" + "2" * 32},
        )
    )
    config = PortalConfig(database_url=app_dsn, secret_key=SECRET_KEY, require_second_factor="nobody")
    app = create_app(config, service=service)
    yield Office(app, dsn, service)
    database.close(app)
    service.close()


@pytest.fixture
def browser(office: Office) -> Callable[[str | None], Browser]:
    """A function from a user name to that person's browser; each person signs in once, as that takes 0.1 s on purpose."""

    def open_browser(username: str | None) -> Browser:
        opened = Browser(office.app.test_client())
        if username is not None:
            opened.client.set_cookie(COOKIE, _cookie_of(office, username))
        return opened

    return open_browser


def _cookie_of(office: Office, username: str) -> str:
    if username not in office.cookies:
        person = Browser(office.app.test_client())
        assert person.sign_in(username).status_code == 302
        cookie = person.client.get_cookie(COOKIE)
        assert cookie
        office.cookies[username] = cookie.value
    return office.cookies[username]
