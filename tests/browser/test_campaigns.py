"""The story of a campaign in a real Chromium: a table, its meaning, its problems, the release, the progress; the phone and axe."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Page, expect

from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from tests.campaign_tables import fill_catalogue, people, prepared, set_going
from whatsapp_logs import Config, WhatsAppService
from whatsapp_logs.twilio.simulator import Simulator

pytestmark = pytest.mark.browser
ROOT = "/whatsapp_logs/campaigns"


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, sender_rate=80, gate_off=config.gate_off - {"variables"})


@pytest.fixture
def notice(dsn: str) -> int:
    return fill_catalogue(dsn)["general_notice"]


def table() -> bytes:
    out = io.StringIO(newline="")
    rows = [(f"+155501{n:05d}", f"Client {n}", f"we are closed on day {n}.") for n in range(2000, 2060)]
    twin, nameless = ("+15550102000", "Client 2000", "we are closed on day 2000."), ("+15550102999", "", "x")
    wrong = [("no number", "Ben", "we are closed."), twin, nameless]
    csv.writer(out, delimiter=";").writerows([("Mobile", "Customer name", "Message"), *rows, *wrong])
    return out.getvalue().encode("utf-8-sig")


def shot(page: Page, name: str) -> None:
    """Keep what the page looks like, where somebody wants to look at it."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_a_campaign_from_its_table_to_its_end(
    visit: Visit, notice: int, simulator: Simulator, request: pytest.FixtureRequest
) -> None:
    agent = visit("agent", ROOT)
    expect(agent.get_by_role("heading", name="No campaign yet")).to_be_visible()
    shot(agent, "campaigns-empty")
    agent.get_by_role("link", name="New campaign").first.click()
    agent.get_by_label("Table").set_input_files({"name": "days.csv", "mimeType": "text/csv", "buffer": table()})
    agent.get_by_role("button", name="Read the table").click()
    expect(agent.get_by_role("heading", name="What goes out")).to_be_visible()
    agent.get_by_label("Template").select_option(str(notice))
    agent.get_by_role("button", name="Choose").click()
    agent.locator("[name=field-2]").select_option(label="Message")
    agent.get_by_role("button", name="Show the first rows").click()
    expect(agent.locator(".wl-bubble").first).to_have_text(
        "Hello Client 2000, a notice from your insurance office: we are closed on day 2000. Please reply if you have a question."
    )
    shot(agent, "campaign-fields")
    agent.get_by_role("button", name="Save, and check all rows").click()
    expect(agent.locator(".wl-outlook").first).to_contain_text("60")
    expect(agent.get_by_text("The very same message to this number stands in row 1 already.")).to_be_visible()
    shot(agent, "campaign-problems")
    agent.get_by_label("Your number").fill("07700 900199")
    agent.get_by_role("button", name="Send the test").click()
    expect(agent.locator(".wl-notice").first).to_contain_text("on its way to you")
    agent.get_by_role("button", name="Ask for the release").click()
    expect(agent.get_by_text("somebody else with the right to release")).to_be_visible()

    other = visit("administrator", agent.url.removeprefix(agent.evaluate("location.origin")))
    other.get_by_role("button", name="Release: send to 60 people").click()
    bar = other.get_by_role("progressbar", name="Messages handed over")
    expect(bar).to_be_visible()
    other.evaluate("() => { window.name = 'the same page'; }")
    other.get_by_role("button", name="Pause").click()
    expect(other.locator("#wl-campaign")).to_contain_text("Paused")
    shot(other, "campaign-paused")
    request.getfixturevalue("worker")  # only now: else it may be done before anybody presses “Pause”
    other.get_by_role("button", name="Go on").click()
    expect(other.locator("#wl-campaign")).to_contain_text("Done")  # by itself, nobody reloads
    shot(other, "campaign-done")
    sent = [message.to for message in simulator.messages()]
    assert len(sent) == len(set(sent)) == 61  # sixty and the test


def test_what_waits_and_what_failed_is_said_with_the_way_on(
    visit: Visit, service: WhatsAppService, notice: int, work: Callable[[], None], dsn: str, simulator: Simulator
) -> None:
    campaign_id = prepared(service, people(6), notice)
    simulator.settings.create_error = "429"
    set_going(service, campaign_id)
    work()
    page = visit("agent", f"{ROOT}/{campaign_id}", width=390)
    expect(page.locator("#wl-campaign")).to_contain_text("Twilio is busy (429)")
    shot(page, "campaign-waits-390")
    simulator.settings.create_error = None
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.senders SET resume_at = NULL")
        conn.execute(
            """
            SELECT whatsapp_logs.record(jsonb_agg(jsonb_build_object(
                'message_id', id, 'provider_status', 'failed', 'status', 'failed', 'error_message', 'no',
                'error_code', CASE id % 2 WHEN 0 THEN '63018' ELSE '63003' END)), 'callback')
            FROM whatsapp_logs.messages
            """
        )
    work()
    page.reload()
    expect(page.get_by_role("heading", name="Why messages failed")).to_be_visible()
    shot(page, "campaign-failed-390")
    page.get_by_role("button", name="Try 3 people again", exact=True).click()
    expect(page.get_by_text(f"Tries again those who failed in campaign {campaign_id}")).to_be_visible()
    assert width_of(page) <= 390


def test_it_works_without_javascript(
    visit: Visit, service: WhatsAppService, notice: int, work: Callable[[], None]
) -> None:
    campaign_id = prepared(service, people(3), notice, person="agent@office.example.test")
    page = visit("agent", f"{ROOT}/{campaign_id}", java_script_enabled=False)
    page.get_by_role("button", name="Send to 3 people").click()
    work()
    page.reload()
    expect(page.locator("#wl-campaign")).to_contain_text("Done")


def test_axe_finds_nothing(visit: Visit, service: WhatsAppService, notice: int) -> None:
    draft = prepared(service, people(60), notice)
    running = prepared(service, people(3, first=100), notice)
    set_going(service, running)
    paths = [
        "",
        "/new",
        f"/{draft}",
        f"/{draft}/fields",
        f"/{draft}/recipients",
        f"/{running}",
        f"/{running}/recipients",
    ]
    page = visit("administrator", ROOT, width=390)
    for path in paths:
        page.goto(f"{ROOT}{path}")
        assert violations(page) == [], path
        assert width_of(page) <= 390, path
