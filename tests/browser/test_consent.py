"""A customer asks us to stop, in a real Chromium: the ledger, the refused repetition, an agreement recorded, and START."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import expect

from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from tests.start.processes import wait_until
from whatsapp_logs import Config, Draft, StatusReport, WhatsAppService
from whatsapp_logs.message import Source, Template
from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER, Simulator

pytestmark = pytest.mark.browser
CUSTOMER = "+447700900222"


@pytest.fixture
def service(config: Config) -> Iterator[WhatsAppService]:
    """The gate as it is in earnest."""
    service = WhatsAppService(replace(config, gate_off=frozenset({"quiet_hours"})))
    yield service
    service.close()


def test_who_asked_us_to_stop_gets_nothing_until_they_write_start(
    service: WhatsAppService, simulator: Simulator, live: str, visit: Visit
) -> None:
    simulator.settings.inbound_url = f"{live}/whatsapp/inbound"
    fields = {"1": "Asha", "2": "POL-0001", "3": "12 May 2027"}
    reminder = Template(sid=RENEWAL_REMINDER, name="renewal_reminder", variables=fields)
    failed = service.send(Draft(to=CUSTOMER, body="Hello Asha, your policy is due.", template=reminder))
    service.record([StatusReport(provider_status="failed", message_id=failed.id)], source=Source.SEND)

    def says(words: str, lines: int) -> None:
        simulator.receive(f"whatsapp:{CUSTOMER}", words)
        wait_until(lambda: len(service.consent_of(CUSTOMER)) == lines)

    says("Stop", 1)
    page = visit("agent", "/whatsapp_logs/consent")
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("Asked us to stop")
    expect(row).to_contain_text("“Stop”")
    assert violations(page) == []

    page.goto(f"{live}/whatsapp_logs/messages/{failed.id}")
    page.get_by_role("button", name="Send again…").click()
    asked = page.locator("#wl-message")
    expect(asked.get_by_role("alert")).to_contain_text("This customer asked us to stop")
    expect(asked).to_contain_text("Call or write a letter.")
    expect(asked.get_by_role("button", name="Send again")).to_have_count(0)

    says("START", 2)
    page.goto(f"{live}/whatsapp_logs/messages/{failed.id}")
    page.get_by_role("button", name="Send again…").click()
    page.get_by_role("button", name="Send again", exact=True).click()
    expect(page.locator("#wl-message")).to_contain_text("This is the new message")

    page.goto(f"{live}/whatsapp_logs/consent")
    page.get_by_label("Phone number").fill("07700 900222")
    page.locator("[name=scope]").select_option("marketing")
    page.get_by_label("In which words, and where").fill("Ticked the box on the proposal of 3 March")
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_text("The gate goes by it from now on.")).to_be_visible()
    expect(page.locator("tbody tr").first).to_contain_text("advertising")
    page.set_viewport_size({"width": 390, "height": 800})
    assert width_of(page) <= 390
    assert violations(page) == []
