"""The phone page in a real browser: what arrives appears by itself, and the customer can answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER, Simulator

pytestmark = pytest.mark.browser

ACCOUNT, TOKEN = "AC" + "a" * 32, "test-token-0001"
SENDER, CUSTOMER = "whatsapp:+15550100100", "whatsapp:+447700900500"


@pytest.fixture
def twilio() -> Iterator[Simulator]:
    with Simulator(ACCOUNT, TOKEN, pace=0.01) as simulator:
        yield simulator


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.context.close()
    # The browser itself reports requests that a stopped simulator refuses or, when under way, cuts.
    cut_off = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_CONNECTION_CLOSED", "ERR_EMPTY_RESPONSE")
    assert [text for text in complaints if not text.endswith(cut_off)] == []


def remind(twilio: Simulator) -> None:
    client = Client(ACCOUNT, TOKEN, http_client=TwilioHttpClient(timeout=5))
    client.api.base_url = twilio.base_url
    client.messages.create(
        to=CUSTOMER,
        from_=SENDER,
        content_sid=RENEWAL_REMINDER,
        content_variables=json.dumps({"1": "<b>Asha</b>", "2": "POL-7", "3": "12 May"}),
    )


def test_a_message_appears_by_itself_and_is_answered_read_and_blocked_on_a_narrow_screen(twilio, page):
    twilio.settings.auto_read = False
    page.goto(twilio.base_url)
    expect(page.get_by_text("Nobody has been written to yet")).to_be_visible()
    remind(twilio)
    page.get_by_role("link", name="+447700900500").click()
    expect(page.locator(".bubble").get_by_text("Hello <b>Asha</b>, your policy POL-7")).to_be_visible()

    page.get_by_role("button", name="Mark read").click()
    expect(page.locator(".bubble").get_by_label("read", exact=True)).to_be_visible()

    answer = page.get_by_label("Answer as the customer")
    answer.fill("Yes please")
    answer.press("Enter")
    expect(page.locator(".bubble.mine")).to_contain_text("Yes please")
    expect(answer).to_have_value("")
    assert twilio.contact(CUSTOMER).last_inbound_at

    page.get_by_role("button", name="Block", exact=True).click()
    expect(page.get_by_text("has blocked the office")).to_be_visible()
    page.locator("#fault-hold").click()
    expect(page.locator("#fault-hold")).to_have_attribute("aria-pressed", "true")
    assert twilio.settings.hold

    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert Axe().run(page).violations_count == 0


def test_a_stopped_simulator_is_said_so_and_the_page_recovers(twilio, page):
    page.goto(twilio.base_url)
    notice = page.locator("body.is-away")
    twilio.go_away()
    expect(notice).to_be_attached()
    twilio.come_back()
    expect(notice).not_to_be_attached()
