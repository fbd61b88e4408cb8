"""A message for tomorrow, told in a real Chromium: written, seen among what is coming, changed, canceled; another leaves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from portal import database
from tests.browser import portal_app
from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from tests.start.processes import wait_until
from tests.test_schedule import leave_soon
from whatsapp_logs import Draft, Message, MessageFilter, Status, WhatsAppService
from whatsapp_logs.twilio.simulator import Simulator

pytestmark = pytest.mark.browser
LONDON = ZoneInfo("Europe/London")


@pytest.fixture
def app(service: WhatsAppService, dsn: str) -> Iterator[Flask]:
    app = portal_app.make(service, dsn)
    yield app
    database.close(app)


def tomorrow() -> str:
    return (datetime.now(LONDON).date() + timedelta(days=1)).isoformat()


def later(service: WhatsAppService) -> Message:
    template = service.template("general_notice", {"1": "Asha Rao", "2": "Hello."})
    at = datetime.now(UTC) + timedelta(hours=1)
    return service.send(Draft(to="+447700900200", body="Hello.", template=template, client_id=1, send_at=at))


def write_for_tomorrow(page: Page, clock: str, words: str = "The repairer comes on Thursday") -> None:
    page.goto("/clients/1")
    page.get_by_label("Message to Asha Rao").fill(words)
    page.get_by_text("Send later", exact=True).click()
    page.get_by_label("Day").fill(tomorrow())
    page.get_by_label("Time", exact=True).fill(clock)
    page.get_by_role("button", name="Send message").click()


@pytest.mark.parametrize("with_script", [True, False])
def test_a_message_for_tomorrow_is_changed_and_then_canceled(
    service: WhatsAppService, visit: Visit, simulator: Simulator, with_script: bool
) -> None:
    page = portal_app.sign_in(visit(None, "/sign-in", java_script_enabled=with_script), "arjun.agent")
    write_for_tomorrow(page, "09:30")
    expect(page.locator(".note.ok")).to_contain_text("Scheduled for Asha Rao")
    expect(page.locator(".note.ok")).to_contain_text("09:30")

    page.get_by_role("link", name="all that is coming").click()
    expect(page.get_by_role("heading", level=2)).to_contain_text("Tomorrow, ")
    row = page.locator(".wl-coming li")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("09:30")
    expect(row).to_contain_text("The repairer comes on Thursday")

    row.get_by_role("link", name="Change").click()
    page.get_by_label("Time").fill("10:15")
    page.get_by_label("Field 2").fill("The repairer comes on Friday")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("Changed: message")
    expect(row).to_contain_text("10:15")
    expect(row).to_contain_text("The repairer comes on Friday")

    row.get_by_role("button", name="Cancel it").click()
    expect(page.get_by_text("Nothing is scheduled")).to_be_visible()
    message = service.page(MessageFilter(), limit=1).messages[0]
    assert message.status is Status.CANCELED
    page.goto(f"/whatsapp_logs/messages/{message.id}")
    timeline = page.locator(".wl-timeline")
    expect(timeline).to_contain_text("by arjun.agent: to leave")
    expect(timeline).to_contain_text("Canceled")
    assert simulator.messages() == []


def test_a_scheduled_message_leaves_before_ones_eyes(worker: None, service: WhatsAppService, visit: Visit) -> None:
    page = portal_app.sign_in(visit(None, "/sign-in"), "arjun.agent")
    message = later(service)
    page.goto(f"/whatsapp_logs/messages/{message.id}")
    now = page.locator(".wl-now")
    expect(now).to_contain_text("Scheduled")
    expect(page.get_by_role("button", name="Cancel it")).to_be_visible()
    leave_soon(service, message)
    expect(now).to_contain_text("Read")
    expect(page.get_by_role("button", name="Cancel it")).to_have_count(0)


def test_who_comes_too_late_to_cancel_is_told(worker: None, service: WhatsAppService, visit: Visit) -> None:
    page = portal_app.sign_in(visit(None, "/sign-in"), "arjun.agent")
    message = later(service)
    page.goto("/whatsapp_logs/scheduled")
    expect(page.locator(".wl-coming li").get_by_role("button", name="Cancel it")).to_be_visible()
    leave_soon(service, message)
    wait_until(lambda: service.message(message.id).provider_id is not None)
    page.locator(".wl-coming li").get_by_role("button", name="Cancel it").click()
    expect(page.get_by_role("status").first).to_contain_text("Not canceled. It has left already, at")


def test_the_pages_are_accessible_and_narrow_without_loss(service: WhatsAppService, visit: Visit) -> None:
    page = portal_app.sign_in(visit(None, "/sign-in", width=390), "arjun.agent")
    page.goto("/whatsapp_logs/scheduled")
    assert violations(page) == [], "empty"
    write_for_tomorrow(page, "09:30", "A word " * 60)
    page.goto("/policies/1")
    page.get_by_text("Send document later").click()
    assert violations(page) == [], "the form"
    message = service.page(MessageFilter(), limit=1).messages[0]
    for path in ("/whatsapp_logs/scheduled", f"/whatsapp_logs/scheduled/{message.id}", "/clients/1", "/policies/1"):
        page.goto(path)
        assert violations(page) == [], path
        assert width_of(page) == 390, path
