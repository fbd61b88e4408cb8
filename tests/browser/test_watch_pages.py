"""Health and reconciliations in a real Chromium: the test of the callback's way, a run that is watched, accessibility."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from whatsapp_logs import WhatsAppService
from whatsapp_logs.twilio.simulator import Simulator

pytestmark = pytest.mark.browser


def test_the_callback_is_tested_in_place(worker: None, visit: Visit) -> None:
    page = visit("administrator", "/whatsapp_logs/health")
    page.get_by_role("button", name="Test the callback").click()
    expect(page.locator("#wl-self-test li")).to_have_count(5)
    expect(page.locator("#wl-self-test .wl-bad")).to_have_count(0)
    expect(page).to_have_url(re.compile("/health$"))


def test_a_reconciliation_is_watched_until_it_has_finished(simulator: Simulator, worker: None, visit: Visit) -> None:
    simulator.receive("+447700900222", "Is anybody there?")
    page = visit("administrator", "/whatsapp_logs/reconciliations")
    today = datetime.now(UTC).date()
    page.get_by_label("Day").fill(today.isoformat())
    page.get_by_role("button", name="Reconcile this day").click()
    expect(page.locator("h1")).to_have_text(f"Reconciled {today.day} {today:%b}: 1 at Twilio, 0 here")
    expect(page.locator("#wl-reconciliation li")).to_contain_text("Imported, and marked as found at Twilio.")


def test_the_pages_are_accessible_and_narrow_without_loss(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None], visit: Visit
) -> None:
    simulator.receive("+447700900222", "Is anybody there?")
    run = service.reconcile_day(datetime.now(UTC).date(), started_by=None)
    service.run_reconciliation(run.id)
    service.count_refused({("/whatsapp/inbound", "no signature"): 3})
    for path in ("health", "reconciliations", f"reconciliations/{run.id}", ""):
        page = visit("administrator", f"/whatsapp_logs/{path}".rstrip("/"), width=360)
        assert violations(page) == [], path
        assert width_of(page) == 360, path


def test_without_javascript_everything_works(worker: None, visit: Visit) -> None:
    page = visit("administrator", "/whatsapp_logs/health", java_script_enabled=False)
    page.get_by_role("button", name="Test the callback").click()
    expect(page.locator("#wl-self-test li")).to_have_count(5)
