"""What every answer of the portal says to browsers, and what only one over https does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from portal import database
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import SECRET_KEY, Browser, Office

SAID = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@pytest.mark.parametrize("path", ["/", "/clients", "/whatsapp_logs", "/sign-in", "/nothing-here", "/static/portal.css"])
def test_no_other_site_opens_embeds_or_reads_a_page(browser: Callable[[str | None], Browser], path: str) -> None:
    headers = browser("arjun.agent" if path != "/sign-in" else None).get(path).headers
    assert {name: headers[name] for name in SAID} == SAID
    assert "camera=()" in headers["Permissions-Policy"]
    assert "Strict-Transport-Security" not in headers


def test_what_twilio_fetches_is_nobody_elses_page(browser: Callable[[str | None], Browser]) -> None:
    assert "Cross-Origin-Resource-Policy" not in browser(None).get("/whatsapp/media/x").headers


def test_over_https_the_cookie_belongs_to_this_host_alone(office: Office) -> None:
    env = {"DATABASE_URL": office.dsn, "SECRET_KEY": SECRET_KEY, "SECURE_COOKIES": "1", "PORT": "8800"}
    app = create_app(PortalConfig.from_env(env), service=office.service)
    answer = app.test_client().get("/sign-in", base_url="https://portal.example.test")
    database.close(app)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-portal_session_8800=")
    assert all(part in cookie for part in ("; Secure", "; HttpOnly", "; Path=/", "; SameSite=Lax"))
    assert "Domain" not in cookie
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
