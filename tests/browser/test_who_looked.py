"""Who has looked, programs' tokens and privacy in a real Chromium: the story of each, the phone, accessibility."""

from __future__ import annotations

import psycopg
import pytest
from playwright.sync_api import expect

from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from whatsapp_logs import Draft, WhatsAppService

pytestmark = pytest.mark.browser
PAGES = ["/whatsapp_logs/access", "/whatsapp_logs/tokens", "/whatsapp_logs/privacy", "/whatsapp_logs/privacy?client=1"]


@pytest.fixture
def message_id(service: WhatsAppService, dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        conn.execute("INSERT INTO clients (name, phone, address) VALUES ('Asha Rao', '+447700900123', '1 Road')")
    return service.send(Draft(to="+447700900123", body="Your policy", client_id=1)).id


def test_compliance_sees_in_one_click_who_has_seen_a_customers_messages(visit: Visit, message_id: int) -> None:
    agent = visit("agent", "/whatsapp_logs")
    agent.locator(f"#wl-open-{message_id}").click()
    expect(agent.locator("#wl-message")).to_be_visible()
    compliance = visit("compliance", f"/whatsapp_logs/messages/{message_id}")
    compliance.get_by_role("link", name="who has looked at them").click()
    lines = compliance.locator(".wl-looks tbody tr")
    expect(lines).to_have_count(2)  # the newer is their own look
    expect(lines.nth(1)).to_contain_text("agent@office.example.test")
    expect(lines.nth(1)).to_contain_text(f"Opened message {message_id}")


def test_a_token_is_made_on_a_phone_and_ended(visit: Visit) -> None:
    page = visit("administrator", "/whatsapp_logs/tokens", width=390)
    page.get_by_label("What it is for").fill("Nightly report")
    page.get_by_role("button", name="Make token").click()
    expect(page.locator("#wl-token")).to_contain_text("wlt_")
    page.get_by_role("button", name="End it").click()
    expect(page.locator(".wl-notice")).to_contain_text("The token has ended")
    assert width_of(page) <= 390


def test_a_customer_is_erased_after_a_question(visit: Visit, message_id: int, work) -> None:
    work()
    page = visit("administrator", "/whatsapp_logs/privacy?client=1")
    page.locator("form", has_text="Erase on request").get_by_label("Why").fill("Request of 26 November")
    page.get_by_role("button", name="Erase…").click()
    page.get_by_role("button", name="Erase for good").click()
    expect(page.locator(".wl-notice")).to_contain_text("1 message. This cannot be undone.")
    page.goto(f"/whatsapp_logs/messages/{message_id}")
    expect(page.locator("#wl-message")).to_contain_text("text, document and number are gone")


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(visit: Visit, message_id: int, path: str) -> None:
    page = visit("administrator", f"/whatsapp_logs/messages/{message_id}", width=390)
    page.goto(path)
    assert violations(page) == []
    assert width_of(page) <= 390
