"""The whole portal with its invented office, as the tests of its defences attack it: in this process, on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from flask import Flask
from psycopg import sql
from psycopg.conninfo import make_conninfo
from werkzeug.serving import make_server

from portal import database, demo
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import COOKIE, Browser
from tests.postgres_keeper import APP_ROLE
from whatsapp_logs import Config, WhatsAppService
from whatsapp_logs.config import GATE_RULES

ACCOUNT_SID, AUTH_TOKEN = "AC" + "c" * 32, "test-token-0003"
OUR_NUMBER = "+15550100100"
PUBLIC_BASE_URL = "https://portal.example.test"
SECRET_KEY = "a secret key of the security tests"
# What may change without a signature and without a token: counts of what was refused, sign-ins, who has looked, the secret of a
# second factor that waits to be set up, and the words that stand for searches.
COUNTS_OF_REFUSALS = frozenset(
    {
        "whatsapp_logs.refused_calls",
        "whatsapp_logs.accesses",
        "public.sign_in_attempts",
        "public.sign_ins",
        "public.second_factors",
        "whatsapp_logs.phone_searches",
    }
)


@dataclass(frozen=True)
class Target:
    """The running portal: its application, its database, its WhatsApp service."""

    app: Flask
    dsn: str
    service: WhatsAppService
    cookies: dict[str, str] = field(default_factory=dict)

    def signed_in(self, username: str = "anna.admin") -> Browser:
        """Somebody's browser; each person signs in once."""
        opened = Browser(self.app.test_client())
        if username not in self.cookies:
            assert opened.sign_in(username).status_code == 302
            cookie = opened.client.get_cookie(COOKIE)
            assert cookie is not None
            self.cookies[username] = cookie.value
        opened.client.set_cookie(COOKIE, self.cookies[username])
        return opened

    def token_of(self, browser: Browser) -> str:
        """The CSRF token of this session, as every page with a form holds it."""
        return str(browser.hidden_fields("/", "/sign-out")["csrf_token"])


@contextmanager
def opened(dsn: str, *, twilio: str = "http://127.0.0.1:9") -> Iterator[Target]:
    """The portal on a migrated, empty database, which is filled with the demonstration's office.

    `twilio` is the simulator's address; without one nothing listens there, so that who asks Twilio hears at once that it is away.
    """
    demo.seed(dsn)
    app_dsn = make_conninfo(dsn, user=APP_ROLE)
    service = WhatsAppService(
        Config(
            database_url=app_dsn,
            secret_key=SECRET_KEY,
            twilio_account_sid=ACCOUNT_SID,
            twilio_auth_token=AUTH_TOKEN,
            twilio_whatsapp_from=f"whatsapp:{OUR_NUMBER}",
            twilio_api_base_url=twilio,
            public_base_url=PUBLIC_BASE_URL,
            gate_off=GATE_RULES,
            templates={"policy_document": "HX" + "1" * 32, "general_notice": "HX" + "3" * 32},
            person_calls_per_minute=10_000_000,  # what is tried here is tried faster than by anybody's hands
            person_changes_per_minute=10_000_000,
            metrics_token="a token for the metrics",
        )
    )
    portal = PortalConfig(database_url=app_dsn, secret_key=SECRET_KEY, require_second_factor="nobody")
    app = create_app(portal, service=service)
    try:
        yield Target(app, dsn, service)
    finally:
        database.close(app)
        service.close()


@contextmanager
def listening(app: Flask) -> Iterator[str]:
    """The application on the wire, for browsers; its address."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tables(conn: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    """Every table of feature and portal, with its schema."""
    rows = conn.execute(
        """
        SELECT schemaname || '.' || tablename FROM pg_tables
        WHERE schemaname IN ('public', 'whatsapp_logs') ORDER BY schemaname, tablename
        """
    )
    return [str(name) for (name,) in rows]


def checksums(dsn: str, *, leave_out: frozenset[str] = COUNTS_OF_REFUSALS) -> dict[str, str]:
    """A digest of every row of every table: two that are equal prove that nothing was written, changed or removed."""
    found = {}
    with psycopg.connect(dsn) as conn:
        for name in tables(conn):
            if name in leave_out:
                continue
            table = sql.Identifier(*name.split("."))
            row = conn.execute(
                sql.SQL("SELECT md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) FROM {} AS t").format(
                    table
                )
            ).fetchone()
            assert row is not None
            found[name] = str(row[0])
    return found
