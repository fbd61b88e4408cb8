"""The cookie that tells the browser's time zone: over https this host's alone, and never sent readable."""

from __future__ import annotations

from importlib import resources
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.browser

PAGE = '<!doctype html><script src="/htmx.js"></script><script src="/wl.js"></script>'
STATIC = resources.files("whatsapp_logs.web").joinpath("static")
SCRIPTS = {"/htmx.js": "vendor/htmx-2.0.11.min.js", "/wl.js": "whatsapp_logs.js"}


@pytest.mark.parametrize(("scheme", "name"), [("https", "__Host-whatsapp_logs_zone"), ("http", "whatsapp_logs_zone")])
def test_over_https_it_is_secure_and_belongs_to_this_host(browser: Browser, scheme: str, name: str) -> None:
    def answer(route: Route) -> None:
        file = SCRIPTS.get(urlsplit(route.request.url).path)
        if file:
            route.fulfill(body=STATIC.joinpath(file).read_text(encoding="utf-8"), content_type="text/javascript")
        else:
            route.fulfill(body=PAGE, content_type="text/html")

    context = browser.new_context(timezone_id="Asia/Kolkata")
    context.route("**/*", answer)
    context.new_page().goto(f"{scheme}://portal.example.test/")
    (cookie,) = context.cookies()
    context.close()
    told = {part: cookie[part] for part in ("name", "value", "secure", "path", "sameSite")}  # type: ignore[literal-required]
    assert told == {
        "name": name, "value": "Asia/Calcutta", "secure": scheme == "https", "path": "/", "sameSite": "Lax",
    }  # fmt: skip
    assert cookie["domain"] == "portal.example.test"
