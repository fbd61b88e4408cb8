"""Signing in, people and accounts in a real Chromium: the way of a new administrator, accessibility, phone width."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

import psycopg
import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from portal import database, demo, invitations, people
from portal.app import create_app
from portal.config import PortalConfig
from tests.browser.looks import violations, width_of
from tests.browser_fixtures import PATIENCE_MS
from whatsapp_logs import WhatsAppService

pytestmark = pytest.mark.browser
NEW = "otter kettle violin"


@pytest.fixture
def portal(service: WhatsAppService, dsn: str) -> Iterator[str]:
    """The address of a portal whose administrators need a second factor."""
    demo.seed(dsn)
    config = PortalConfig(database_url=dsn, secret_key=service.config.secret_key)
    app = create_app(config, service=service)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()
    database.close(app)


@pytest.fixture
def link(dsn: str, portal: str) -> str:
    """The invitation of Ivy Green, a new administrator."""
    with psycopg.connect(dsn) as conn:
        user_id = people.add(
            conn, username="ivy.green", name="Ivy Green", role="administrator", timezone="Europe/London"
        )
        return f"{invitations.PATH}/{invitations.make(conn, user_id)}"


@pytest.fixture
def open_page(browser: Browser, portal: str) -> Iterator[Callable[..., Page]]:
    """A function that opens a page in a browser of its own; no page may complain of anything."""
    contexts, complaints = [], []

    def open_one(*, width: int = 1440, scripts: bool = True) -> Page:
        context = browser.new_context(
            base_url=portal,
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def choose_password(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("New password").fill(NEW)
    page.get_by_label("The same once more").fill(NEW)
    page.get_by_role("button", name="Choose this password").click()


def set_up_phone(page: Page) -> pyotp.TOTP:
    phone = pyotp.TOTP((page.locator(".key code").text_content() or "").replace(" ", ""))
    page.get_by_label("Six-digit code").fill(phone.now())
    page.get_by_role("button", name="Turn it on").click()
    return phone


@pytest.mark.parametrize("scripts", [True, False])
def test_a_new_administrator_comes_in_and_invites_somebody(
    open_page: Callable[..., Page], link: str, scripts: bool
) -> None:
    page = open_page(scripts=scripts)
    choose_password(page, link)
    expect(page.get_by_role("heading", name="Set up your second factor")).to_be_visible()
    set_up_phone(page)
    expect(page.locator(".codes li")).to_have_count(10)
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_role("link", name="People").click()
    page.get_by_role("link", name="Invite somebody").click()
    page.get_by_label("Name", exact=True).fill("Ken Lane")
    page.get_by_label("User name").fill("ken.lane")
    page.get_by_label("Role").select_option("agent")
    page.get_by_role("button", name="Make an invitation").click()
    expect(page.get_by_role("heading", name="Ken Lane is invited")).to_be_visible()
    ken = open_page(scripts=scripts)
    choose_password(ken, page.get_by_label("Give this link to Ken Lane").input_value())
    expect(ken.get_by_role("link", name="Ken Lane")).to_be_visible()
    page.goto("/people/")
    expect(page.get_by_role("row", name=re.compile("Ken Lane"))).to_contain_text("Active")


@pytest.mark.parametrize(("scripts", "width"), [(True, 1440), (False, 390)])
def test_an_administrator_makes_a_role_and_says_what_it_may(
    open_page: Callable[..., Page], link: str, scripts: bool, width: int
) -> None:
    page = open_page(scripts=scripts, width=width)
    choose_password(page, link)
    set_up_phone(page)
    page.get_by_role("link", name="I have kept them").click()
    page.get_by_role("link", name="People").click()
    page.get_by_role("link", name="Roles").click()
    page.get_by_label("Name", exact=True).fill("Claims desk")
    page.get_by_role("button", name="Make the role").click()
    expect(page.get_by_role("status")).to_contain_text("The role claims desk is there, with the rights of viewer.")
    page.get_by_label("Claims desk: see message texts and documents").check()
    page.get_by_label("Compliance: export the log").uncheck()
    expect(page.get_by_label("Administrator: manage people")).to_be_disabled()
    page.get_by_role("button", name="Save rights").click()
    expect(page.get_by_role("status")).to_contain_text("Saved: compliance, claims desk.")
    expect(page.get_by_label("Claims desk: see message texts and documents")).to_be_checked()
    expect(page.get_by_label("Compliance: export the log")).not_to_be_checked()
    page.get_by_role("button", name="Delete claims desk").click()
    expect(page.get_by_role("status")).to_contain_text("The role claims desk is deleted.")
    if scripts:
        assert violations(page) == []


def test_the_pages_are_accessible_and_narrow_without_loss(open_page: Callable[..., Page], link: str) -> None:
    page, looked_at = open_page(width=390), []

    def look(name: str) -> None:
        assert violations(page) == [], name
        assert width_of(page) == 390, name
        looked_at.append(name)

    page.goto(link)
    look("invitation")
    choose_password(page, link)
    look("second factor")
    set_up_phone(page)
    look("recovery codes")
    for path in ("/people/", "/people/invite", "/people/1", "/people/5", "/roles/", "/account", "/account/password"):
        page.goto(path)
        look(path)
    page.goto("/people/1")
    page.get_by_role("button", name="Make a new link").click()
    look("link")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("User name").fill("ivy.green")
    page.get_by_label("Password").fill(NEW)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("My phone is not here").click()
    look("code")
    assert len(looked_at) == 12


def test_who_comes_back_after_a_while_confirms_it_and_goes_on(open_page: Callable[..., Page], dsn: str) -> None:
    page = open_page()
    page.goto("/sign-in?next=/account")
    page.get_by_label("User name").fill("arjun.agent")
    page.get_by_label("Password").fill(demo.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE sign_ins SET confirmed_at = now() - interval '11 minutes'")
    page.get_by_role("link", name="Change password").click()
    expect(page.get_by_role("heading", name="Please confirm it is you")).to_be_visible()
    page.get_by_label("Password of Arjun Mehta").fill(demo.PASSWORD)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Change your password")).to_be_visible()
