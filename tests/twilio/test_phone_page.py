"""The phone page in a real browser: what arrives appears by itself, and the customer can answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from twilio.rest.content.v1.content import ContentList

from tests.twilio.account import ACCOUNT, CUSTOMER, SENDER, TOKEN, connect
from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER, Simulator

pytestmark = pytest.mark.browser

# Line ends of every kind, and what looks like the end of a form's part.
ODD_BYTES = b"%PDF-1.4\r\n\r\n\x00\xff--\r\n--x--\n\r"


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
    connect(twilio.base_url).messages.create(
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


def offer(twilio: Simulator, kind: str, shape: dict[str, Any]) -> str:
    """A message with something to press, on the customer's phone."""
    client = connect(twilio.base_url)
    values = {"friendly_name": "menu", "language": "en", "types": {kind: shape}}
    content = client.content.v1.contents.create(content_create_request=ContentList.ContentCreateRequest(values))
    sid = str(client.messages.create(to=CUSTOMER, from_=SENDER, content_sid=content.sid).sid)
    twilio.wait_for(sid, "read")
    return sid


@pytest.mark.parametrize("with_script", [True, False])
def test_buttons_and_lists_are_pressed_and_files_attached_with_script_and_without(
    twilio, browser, tmp_path, with_script
):
    twilio.receive(CUSTOMER, "Hi")
    actions = [{"title": "A person", "id": "person"}]
    offer(twilio, "twilio/quick-reply", {"body": "What is it?", "actions": actions})
    items = [{"item": "POL-1", "id": "policy_1", "description": "Car"}]
    offer(twilio, "twilio/list-picker", {"body": "Which?", "button": "Policies", "items": items})
    picture = tmp_path / "door.pdf"
    picture.write_bytes(ODD_BYTES)

    context = browser.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=with_script)
    page = context.new_page()
    page.goto(f"{twilio.base_url}/?with=whatsapp%3A%2B447700900500")
    page.get_by_role("button", name="A person").click()
    mine = page.locator(".bubble.mine")
    expect(mine.nth(1)).to_contain_text("A person")
    page.locator("summary.key").click()
    expect(page.locator("summary.key")).to_have_text("Policies")
    page.get_by_role("button", name="POL-1").click()
    expect(mine.nth(2)).to_contain_text("POL-1")
    page.get_by_label("Attach a picture or PDF").set_input_files(picture)
    page.get_by_label("Answer as the customer").fill("The door")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(mine.nth(3).get_by_role("link", name="Document")).to_be_visible()
    expect(mine.nth(3)).to_contain_text("The door")
    if with_script:
        assert Axe().run(page).violations_count == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()

    last = twilio.messages()[-1]
    assert [(file.content_type, file.content) for file in twilio.media(last.sid)] == [("application/pdf", ODD_BYTES)]


def test_what_has_not_arrived_offers_nothing_to_press(twilio, page):
    twilio.receive(CUSTOMER, "Hi")
    sid = offer(twilio, "twilio/quick-reply", {"body": "What is it?", "actions": [{"title": "This", "id": "this"}]})
    page.goto(f"{twilio.base_url}/?with=whatsapp%3A%2B447700900500")
    expect(page.get_by_role("button", name="This")).to_be_visible()
    twilio.ledger.change(sid, status="sent")
    expect(page.get_by_role("button", name="This")).not_to_be_attached()
