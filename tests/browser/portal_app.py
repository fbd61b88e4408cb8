"""The portal with its invented office, as browser tests open it: on this test's database, worker and simulator."""

from __future__ import annotations

from flask import Flask
from playwright.sync_api import Page, expect

from portal import demo
from portal.app import create_app
from portal.config import PortalConfig
from whatsapp_logs import WhatsAppService


def make(service: WhatsAppService, dsn: str) -> Flask:
    """The portal's application on a database that was filled for a demonstration."""
    demo.seed(dsn)
    config = service.config
    return create_app(
        PortalConfig(database_url=config.database_url, secret_key=config.secret_key, require_second_factor="nobody"),
        service=service,
    )


def sign_in(page: Page, username: str) -> Page:
    """Sign in by the form."""
    page.goto("/")
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password").fill(demo.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    return page
