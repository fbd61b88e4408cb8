"""A customer and the office in a real Chromium: the bot, the hand-over, the answer, the closed window, phones, accessibility."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from playwright.sync_api import expect

from tests.bot.conftest import add_office
from tests.bot.office import ASHA, Office
from tests.bot.test_answering import answered
from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from tests.start.processes import wait_until
from whatsapp_logs import Config, WhatsAppService
from whatsapp_logs.twilio.simulator import Simulator, templates
from whatsapp_logs.twilio.simulator.inbound import File, Writing

pytestmark = pytest.mark.browser
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63f8ffff3f0005fe02fea7356a2a0000000049454e44ae426082"
)
Say = Callable[[str], None]


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def service(config: Config, office: Office, dsn: str) -> Iterator[WhatsAppService]:
    """The gate as it is in earnest, and a bot."""
    with psycopg.connect(dsn) as conn:
        add_office(conn, office)
    strict = replace(config, gate_off=frozenset({"quiet_hours"}), records="tests.bot.office:Office", bot_buttons=False)
    service = WhatsAppService(strict, records=office)
    yield service
    service.close()


@pytest.fixture
def say(simulator: Simulator, live: str, worker: None) -> Say:
    """A function that lets Asha write on her phone, and waits for the answer that she gets there."""
    simulator.settings.inbound_url = f"{live}/whatsapp/inbound"

    def write(words: str) -> None:
        before = len(answered(simulator))
        simulator.receive(f"whatsapp:{ASHA}", words)
        wait_until(lambda: len(answered(simulator)) > before)

    return write


def close_window(dsn: str, simulator: Simulator) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - interval '25 hours'")


def add_notice(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            WITH t AS (INSERT INTO whatsapp_logs.templates (name, created_by) VALUES ('general_notice', 'anna') RETURNING id)
            INSERT INTO whatsapp_logs.template_versions
                (template_id, version, content_sid, content_type, body, variables, approval, created_by, checked_at)
            SELECT id, 1, %s, 'twilio/text', 'Hello {{1}}, a notice from your insurance office: {{2}} Please reply.',
                   '[{"key": "1", "name": "client name", "sample": "Asha"}, {"key": "2", "name": "notice", "sample": "…"}]',
                   'approved', 'anna', now() FROM t
            """,
            (templates.GENERAL_NOTICE,),
        )


def test_the_story_of_a_customer(say: Say, visit: Visit, simulator: Simulator, dsn: str, office: Office) -> None:
    """Hi, menu, identity, document; asks for a person, who answers; the window closes, and a template is offered."""
    for words in ("Hi", "2", "MOT-26-001", "24 March 1980", "1"):
        say(words)
    wait_until(lambda: len(answered(simulator)) == 6)
    assert office.given_out == [("1", "11")]
    page = visit("agent", "/whatsapp_logs/conversations")
    expect(page.locator(".wl-talk-waiting")).to_have_count(0)
    say("I want to talk to a person")
    row = page.locator(".wl-talk-waiting .wl-talk-row")  # by itself
    expect(row).to_contain_text("asked for a person")
    row.locator("a").click()
    expect(page.locator(".wl-talk li .wl-document")).to_contain_text("11.pdf")
    expect(page.locator(".wl-talk-state")).to_contain_text("Waits for a person")
    expect(page.locator(".wl-talk-left")).to_contain_text(re.compile("Free answers for 23 h 5[0-9] min"))
    assert ASHA[1:] not in page.url
    box = page.get_by_label("Your answer")
    box.fill("Good morning Asha, it is")
    simulator.receive(f"whatsapp:{ASHA}", "It is about my car")
    expect(page.locator(".wl-talk li").last).to_contain_text("It is about my car")
    expect(box).to_have_value("Good morning Asha, it is"), "what is being typed stays"
    box.fill("Good morning Asha, it is Arjun. How can I help?")
    page.get_by_role("button", name="Send").click()
    ours = page.locator(".wl-said-by-us").last
    expect(ours).to_contain_text("How can I help?")
    expect(ours.locator(".wl-read")).to_have_count(1)  # read, without a reload
    expect(page.locator(".wl-talk-state")).to_contain_text("has this conversation")
    wait_until(lambda: answered(simulator)[-1].body.startswith("Good morning Asha"))
    add_notice(dsn)
    close_window(dsn, simulator)
    box.fill("Too late")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("more than 24 hours old")
    expect(page.get_by_text("Send an approved template instead").last).to_be_visible()
    page.get_by_label("client name").fill("Asha")
    page.get_by_label("notice").fill("your car is ready.")
    page.get_by_role("button", name="Send this template").click()
    expect(page.locator(".wl-said-by-us").last).to_contain_text("your car is ready.")
    wait_until(lambda: "your car is ready." in answered(simulator)[-1].body)


def test_an_answer_without_javascript(say: Say, visit: Visit, simulator: Simulator) -> None:
    say("person")
    page = visit("agent", "/whatsapp_logs/conversations", java_script_enabled=False)
    page.locator(".wl-talk-row a").click()
    page.get_by_label("Your answer").fill("Here I am")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".wl-said-by-us").last).to_contain_text("Here I am")
    page.get_by_role("button", name="Give back to the bot").click()
    expect(page.locator(".wl-notice")).to_contain_text("nobody waits here any more")


def test_a_picture_is_seen_where_it_was_sent(say: Say, visit: Visit, simulator: Simulator) -> None:
    say("Hi")
    simulator.receive(f"whatsapp:{ASHA}", Writing(body="My car", files=[File("image/png", PNG)]))
    page = visit("agent", "/whatsapp_logs/conversations")
    page.locator(".wl-talk-row a").click()
    picture = page.locator(".wl-picture img")
    expect(picture).to_be_visible(timeout=10_000)
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1


def test_the_pages_are_accessible_and_narrow_without_loss(
    say: Say, visit: Visit, dsn: str, simulator: Simulator
) -> None:
    assert violations(visit("agent", "/whatsapp_logs/conversations")) == []
    say("Hi")
    simulator.receive(
        f"whatsapp:{ASHA}",
        Writing(body="x" * 300, files=[File("image/png", PNG), File("application/pdf", b"%PDF-1.4")]),
    )
    page = visit("agent", "/whatsapp_logs/conversations", width=360)
    expect(page.locator(".wl-talk-waiting")).to_be_visible(timeout=10_000)
    assert violations(page) == []
    assert width_of(page) == 360
    page.locator(".wl-talk-row a").click()
    expect(page.locator(".wl-picture img")).to_be_visible(timeout=10_000)
    for width in (360, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert violations(page) == []
        assert width_of(page) == width
    at_the_end = "one => Math.abs(one.scrollTop) < 2"
    assert page.locator(".wl-talk-scroll").evaluate(at_the_end), "it begins at the latest message"
    add_notice(dsn)
    close_window(dsn, simulator)
    page.reload()
    expect(page.get_by_text("Send an approved template instead").first).to_be_visible()
    assert violations(page) == []


def test_the_log_leads_to_the_conversation_by_key_and_click_and_back(
    say: Say, visit: Visit, service: WhatsAppService
) -> None:
    say("person")
    page = visit("agent", "/whatsapp_logs")
    id_ = service.desk.ids_of([ASHA])[ASHA]
    badge = page.locator("#wl-sections .wl-waits")
    expect(badge).to_contain_text("1")
    page.keyboard.press("j")
    page.keyboard.press("c")
    page.wait_for_url(f"**/whatsapp_logs/conversations/{id_}")
    page.get_by_role("link", name="In the log").click()
    page.wait_for_url("**/whatsapp_logs?client=1")
    assert ASHA[1:] not in page.url
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#wl-message")).to_be_visible()
    page.keyboard.press("c")
    page.wait_for_url(f"**/whatsapp_logs/conversations/{id_}")
    page.goto("/whatsapp_logs")
    page.locator(".wl-talk-link").first.click()  # and not the message's dialog, which the row opens
    page.wait_for_url(f"**/whatsapp_logs/conversations/{id_}")
    page.goto("/whatsapp_logs")
    expect(badge).to_contain_text("1")
    service.desk.give_back(id_)
    expect(badge).to_have_count(0, timeout=10_000)  # by itself
    assert violations(page) == []


def test_two_clerks_see_each_other_and_answer_once(say: Say, visit: Visit, service: WhatsAppService) -> None:
    say("person")
    path = f"/whatsapp_logs/conversations/{service.desk.ids_of([ASHA])[ASHA]}"
    arjun, anna = visit("agent", path), visit("administrator", path)
    draft = anna.get_by_label("Your answer")
    draft.press_sequentially("I look it up for you")
    others = arjun.locator("#wl-talk-others")
    expect(others).to_contain_text("administrator@office.example.test is writing an answer", timeout=10_000)
    assert violations(arjun) == []
    arjun.get_by_label("Your answer").fill("It is on its way.")
    arjun.get_by_role("button", name="Send").click()
    expect(arjun.locator(".wl-said-by-us").last).to_contain_text("It is on its way.")
    expect(anna.locator("#wl-talk-others")).to_contain_text("agent@office.example.test answered", timeout=10_000)
    expect(draft).to_have_value("I look it up for you"), "what she types stays"
    anna.get_by_role("button", name="Send").click()
    expect(anna.get_by_role("alert")).to_contain_text("agent@office.example.test answered")
    expect(draft).to_have_value("I look it up for you")
    assert violations(anna) == []
    expect(anna.locator(".wl-said-by-us").last).to_contain_text("It is on its way.")
    draft.fill("And I send you a copy.")
    anna.get_by_role("button", name="Send").click()
    expect(anna.locator(".wl-said-by-us").last).to_contain_text("And I send you a copy.")
    expect(arjun.locator(".wl-said-by-us").last).to_contain_text("And I send you a copy.", timeout=10_000)
