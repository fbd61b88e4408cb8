"""The log page in a real Chromium: live changes, dialog, keyboard, accessibility, narrow screens, and no JavaScript at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from tests.faults.test_provider_away import turn_the_clock
from tests.start.processes import wait_until
from whatsapp_logs import Draft, Message, Source, StatusReport, WhatsAppService

pytestmark = pytest.mark.browser


@pytest.fixture
def sent(service: WhatsAppService) -> list[Message]:
    """Five messages, oldest first, each with its provider's id."""
    made = []
    for n in range(5):
        message = service.send(Draft(to=f"+4477009001{n:02d}", body=f"Message number {n}", created_by="somebody"))
        service.record(
            [StatusReport(provider_status="queued", message_id=message.id, provider_id=f"SM{n:032x}")],
            source=Source.SEND,
        )
        made.append(message)
    return made


def report(service: WhatsAppService, message: Message, status: str, **facts: object) -> None:
    service.record(
        [StatusReport(provider_status=status, message_id=message.id, **facts)],  # type: ignore[arg-type]
        source=Source.CALLBACK,
    )


def row(page: Page, message: Message) -> object:
    return page.locator(f"#wl-row-{message.id}")


def let_pass(page: Page, ms: int) -> None:
    """Let so much time pass on the page's standing clock, in which no answer takes any time."""
    for _ in range(ms // 200):
        page.clock.run_for(200)
        expect(page.locator(".htmx-request")).to_have_count(0)


def test_a_change_shows_within_two_seconds_and_focus_selection_and_scroll_stay(service, sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs", height=420, clock_stands=True)
    let_pass(page, 15_000)  # nothing changes, and the page asks more rarely
    expect(page.locator("#wl-state")).to_have_attribute("data-state", "live")
    page.locator(f"#wl-open-{sent[0].id}").focus()
    page.evaluate("window.scrollTo(0, 180)")
    page.evaluate(f"getSelection().selectAllChildren(document.querySelector('#wl-row-{sent[1].id} .wl-words'))")
    page.locator(f"#wl-open-{sent[0].id}").evaluate("element => element.focus({preventScroll: true})")
    scroll = page.evaluate("scrollY")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    while not asked:
        let_pass(page, 200)
    report(service, sent[0], "delivered")  # when it has just asked in vain
    wait_until(lambda: page.request.get(asked[-1]).status == 200)  # all pages together look a few times a second
    let_pass(page, 1_800)
    assert "Delivered" in page.locator(f"#wl-row-{sent[0].id}").inner_text()
    page.clock.resume()
    assert page.evaluate("document.activeElement.id") == f"wl-open-{sent[0].id}"
    assert page.evaluate("scrollY") == scroll
    assert page.evaluate("getSelection().toString().trim()") == "Message number 1"
    expect(page.locator("#wl-said")).to_have_text("+44 7700 900100: delivered.")
    expect(page.locator("#wl-figure-delivered b")).to_have_text("1")


def test_a_new_message_appears_on_top(service, sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs")
    page.locator("#wl-phone").fill("half typed")
    service.send(Draft(to="+447700900199", body="The newest"))
    expect(page.locator("tbody tr").first).to_contain_text("The newest")
    expect(page.locator("#wl-phone")).to_have_value("half typed")


def test_details_open_in_a_dialog_change_while_open_and_give_the_focus_back(service, sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs")
    page.locator(f"#wl-row-{sent[2].id} .wl-words").click(force=True)  # anywhere on the row
    expect(page.locator("#wl-message-title")).to_be_focused()
    report(service, sent[2], "read")
    expect(page.locator("#wl-message .wl-now")).to_contain_text("Read")
    expect(page.locator("#wl-message .wl-timeline")).to_contain_text("Twilio’s callback")
    page.keyboard.press("Escape")
    expect(page.locator("#wl-dialog")).to_be_hidden()
    expect(page.locator(f"#wl-open-{sent[2].id}")).to_be_focused()


def test_the_keyboard_reaches_everything(sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs")
    page.keyboard.press("/")
    expect(page.locator("#wl-phone")).to_be_focused()
    page.keyboard.type("?j")  # in a field they are letters
    expect(page.locator("#wl-phone")).to_have_value("?j")
    page.evaluate("document.activeElement.blur()")
    for key, focused in (("j", 4), ("j", 3), ("j", 2), ("k", 3)):
        page.keyboard.press(key)
        expect(page.locator(f"#wl-open-{sent[focused].id}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#wl-message-title")).to_have_text("+44 7700 900103")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#wl-keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.locator("#wl-refresh")).to_contain_text("Asking Twilio")


def test_refresh_status_answers_in_the_dialog(service, sent, work: Callable[[], None], visit: Visit):
    message = service.send(Draft(to="+447700900150", body="Really sent"))
    work()
    page = visit("agent", "/whatsapp_logs")
    page.locator(f"#wl-open-{message.id}").click()
    page.get_by_role("button", name="Refresh status").click()
    expect(page.locator("#wl-message .wl-notice")).to_be_visible()
    expect(page.locator("#wl-message .wl-ask")).to_contain_text("Last checked just now")
    expect(page.get_by_role("button", name="Refresh status")).to_be_focused()


def test_refresh_all_shows_progress_and_outcome_and_survives_a_closed_page(
    sent, work: Callable[[], None], visit: Visit
):
    page = visit("agent", "/whatsapp_logs")
    page.get_by_role("button", name="Refresh all statuses").click()
    expect(page.locator("#wl-refresh")).to_contain_text("Asking Twilio")
    other = visit("administrator", "/whatsapp_logs")
    expect(other.locator("#wl-refresh")).to_contain_text("Asking Twilio")
    page.close()
    work()
    expect(other.locator("#wl-refresh")).to_contain_text("5 asked, 0 changed")


def test_a_failed_message_is_sent_again_after_a_question(service, sent, visit: Visit):
    report(service, sent[4], "failed", error_code="63016")
    page = visit("agent", "/whatsapp_logs")
    page.locator(f"#wl-open-{sent[4].id}").click()
    expect(page.locator(".wl-advice")).to_contain_text("24-hour window has closed")
    page.get_by_role("button", name="Send again…").click()
    expect(page.locator("#wl-message-title")).to_have_text("Send this message again?")
    expect(page.locator("#wl-message-title")).to_be_focused()
    page.get_by_role("button", name="Send again", exact=True).click()
    expect(page.locator("#wl-message")).to_contain_text("Sent again after")
    assert service.message(sent[4].id + 1).resend_of == sent[4].id


def test_a_person_settles_a_lost_message_in_the_dialog(service, simulator, dsn, visit: Visit):
    simulator.settings.create_error = "500"
    lost = service.send(Draft(to="+447700900123", body="Hello"))
    service.deliver([lost.id])
    service.settle_unconfirmed()
    turn_the_clock(dsn, timedelta(hours=2))
    page = visit("agent", "/whatsapp_logs")
    page.locator(f"#wl-open-{lost.id}").click()
    expect(page.locator(".wl-doubt")).to_contain_text("Nobody knows yet whether it was sent")
    assert violations(page) == []
    page.get_by_role("button", name="It was not sent…").click()
    expect(page.locator("#wl-message-title")).to_have_text("Was this message not sent?")
    expect(page.locator("#wl-message-title")).to_be_focused()
    assert violations(page) == []
    page.get_by_role("button", name="It was not sent", exact=True).click()
    expect(page.locator(".wl-timeline")).to_contain_text("Declared not sent by agent@office.example.test")
    expect(page.get_by_role("button", name="Send again…")).to_be_visible()
    expect(page.locator(f"#wl-row-{lost.id}")).to_contain_text("Declared not sent")


def test_a_press_that_is_refused_says_why(sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs")
    page.locator(f"#wl-open-{sent[0].id}").click()
    expect(page.locator("#wl-message-title")).to_be_focused()
    page.context.request.get("/sign_in/viewer")  # the right is taken away meanwhile
    page.get_by_role("button", name="Refresh status").click()
    expect(page.locator("#wl-message [role=alert]")).to_contain_text("You have not been given the right")


def test_a_lost_connection_is_said_and_comes_back_by_itself(sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs")
    page.wait_for_selector('#wl-state[data-state="live"]')
    page.context.set_offline(True)
    expect(page.locator("#wl-state")).to_contain_text("Connection lost")
    expect(page.locator("#wl-said")).to_contain_text("Connection lost")
    page.context.set_offline(False)
    expect(page.locator("#wl-state")).to_have_text("Live")


def test_axe_finds_nothing(service, sent, visit: Visit):
    report(service, sent[0], "failed", error_code="63003")
    report(service, sent[1], "read")
    report(service, sent[2], "delivered")
    page = visit("agent", "/whatsapp_logs")
    page.locator(".wl-more summary").click()
    assert violations(page) == []
    page.locator(f"#wl-open-{sent[0].id}").click()
    expect(page.locator("#wl-message-title")).to_be_focused()
    assert violations(page) == []
    for path in (f"/whatsapp_logs/messages/{sent[0].id}", "/whatsapp_logs?status=canceled", "/whatsapp_logs?page=0"):
        page.goto(path)
        assert violations(page) == [], path


@pytest.mark.parametrize("width", [320, 360, 390, 480, 768, 1024])
def test_nothing_has_to_be_scrolled_sideways(service, sent, visit: Visit, width):
    long = "A" * 300
    service.send(Draft(to="+447700900123", body=long, created_by="x" * 90, message_type="a_rather_long_message_type"))
    page = visit("agent", "/whatsapp_logs", width=width, height=800)
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{sent[-1].id + 1}", "/whatsapp_logs?client=none"):
        page.goto(path)
        assert width_of(page) <= width, path


def test_everything_works_without_javascript(service, sent, visit: Visit):
    report(service, sent[0], "failed", error_code="63016")
    page = visit("agent", "/whatsapp_logs", java_script_enabled=False)
    page.get_by_label("Phone").fill("0100")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "0100" not in page.url
    page.locator(".wl-open").click()
    expect(page).to_have_url(re.compile(f"/whatsapp_logs/messages/{sent[0].id}$"))
    page.get_by_role("button", name="Refresh status").click()
    expect(page.locator(".wl-notice")).to_be_visible()
    page.get_by_role("button", name="Send again…").click()
    page.get_by_role("button", name="Send again", exact=True).click()
    expect(page.get_by_text("This is the new message")).to_be_visible()
    page.goto("/whatsapp_logs")
    page.get_by_role("button", name="Refresh all statuses").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()


def test_how_a_number_is_counted_shows_on_focus_and_goes_with_escape(sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs")
    page.locator("#wl-figure-rate a").focus()
    expect(page.locator("#wl-how-rate")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#wl-how-rate")).to_be_hidden()


def test_times_are_shown_in_the_browsers_zone(service, sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs", timezone_id="Asia/Kolkata")
    page.reload()
    expect(page.locator("thead")).to_contain_text("IST")


def test_on_a_phone_the_first_message_is_on_the_first_screen_and_filters_unfold(sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs", width=390, height=844)
    first = page.locator(f"#wl-row-{sent[-1].id}").bounding_box()
    assert first
    assert first["y"] + first["height"] < 844
    expect(page.locator("#wl-phone")).to_be_hidden()
    page.get_by_text("Filter", exact=True).click()
    expect(page.locator("#wl-phone")).to_be_visible()


def test_escape_leaves_the_search(sent, visit: Visit):
    page = visit("agent", "/whatsapp_logs")
    page.keyboard.press("/")
    expect(page.locator("#wl-phone")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#wl-phone")).not_to_be_focused()


def test_a_message_on_its_own_page_keeps_its_heading_while_it_changes(service, sent, visit: Visit):
    page = visit("agent", f"/whatsapp_logs/messages/{sent[0].id}")
    report(service, sent[0], "delivered")
    expect(page.locator(".wl-now")).to_contain_text("Delivered")
    expect(page.locator("h1#wl-message-title")).to_be_visible()


def test_minutes_count_on_while_nothing_changes(sent, visit: Visit):
    page = visit("agent", "/about-nothing")
    page.clock.install()
    page.goto("/whatsapp_logs")
    age = page.locator("time[data-wl-age]").first
    expect(age).to_contain_text("just now")
    for passed, words in (("01:30", "1 min ago"), ("58:00", "59 min ago"), ("01:01:00", "2 h ago")):
        page.clock.fast_forward(passed)
        expect(age).to_contain_text(words)
