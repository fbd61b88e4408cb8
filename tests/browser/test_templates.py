"""A template's life in a real Chromium: written with a mistake, mended, submitted, approved, sent with, and paused by WhatsApp."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask, render_template_string
from playwright.sync_api import Route, expect

from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from tests.service_fixtures import make_portal
from tests.test_templates import WANTED, approved, saved
from tests.twilio.elsewhere import post_content
from whatsapp_logs import Config, Draft, WhatsAppService
from whatsapp_logs.config import GATE_RULES
from whatsapp_logs.message import Inbound
from whatsapp_logs.twilio.simulator import Simulator

pytestmark = pytest.mark.browser
LIST = "/whatsapp_logs/templates"


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, gate_off=GATE_RULES - {"template"})


@pytest.fixture
def app(service: WhatsAppService) -> Flask:
    app = make_portal(service)
    page = "<!doctype html><html lang='en'><title>Write</title><main><h1>Write</h1>{{ whatsapp_logs_window('07700 900123') }}"
    app.add_url_rule("/write", view_func=lambda: render_template_string(page))
    return app


def test_a_template_is_written_mended_submitted_approved_used_and_paused(
    service: WhatsAppService, simulator: Simulator, worker: None, visit: Visit
) -> None:
    simulator.settings.review_by_hand = True
    page = visit("administrator", LIST)
    expect(page.locator(".wl-empty")).to_contain_text("Twilio has not been asked yet")
    page.get_by_role("link", name="New template").click()

    # Written with a mistake, which is said while it is typed.
    page.get_by_label("Name", exact=True).fill("claim_received")
    page.get_by_label("Text with").press_sequentially(
        "{{1}}, we have received your claim {{2}} and will call you.", delay=4
    )
    problem = page.locator("#wl-problem-body")
    expect(problem).to_have_text("The text begins with a field. Put a word before it, such as “Hello”.")
    expect(page.get_by_label("Text with")).to_be_focused()
    expect(page.get_by_label("Text with")).to_have_value("{{1}}, we have received your claim {{2}} and will call you.")

    # Mended: the fields are there already, and the preview follows.
    page.keyboard.press("Control+Home")
    page.keyboard.type("Hello ", delay=4)
    expect(problem).to_have_text("")
    for key, name, sample in (("1", "client name", "Asha Example"), ("2", "claim number", "CL-0001")):
        field = page.get_by_role("group", name=f"Field {key}")
        field.get_by_label("What it holds").press_sequentially(name, delay=4)
        field.get_by_label("A sample").press_sequentially(sample, delay=4)
    expect(page.locator(".wl-preview .wl-body")).to_have_text(
        "Hello Asha Example, we have received your claim CL-0001 and will call you."
    )
    page.get_by_role("button", name="Save the draft").click()
    expect(page.locator(".wl-notice")).to_contain_text("Saved as a draft")

    # Submitted; the open page sees the verdict come.
    page.get_by_role("button", name="Submit for approval").click()
    expect(page.locator(".wl-now")).to_contain_text("Waiting for approval")
    (version,) = service.template_versions(1)
    simulator.approve_template(version.content_sid or "")
    service.synchronise_templates()
    expect(page.locator(".wl-now")).to_contain_text("Approved")
    expect(page).to_have_url(re.compile(f"{LIST}/1$"))

    # Sent with, and seen with its version.
    template = service.template("claim_received", {"1": "Ben", "2": "CL-7"})
    sent = service.send(Draft(to="+447700900123", body="Hello Ben", template=template))
    page.goto(f"/whatsapp_logs/messages/{sent.id}")
    expect(page.locator(".wl-now")).to_contain_text("Read")
    page.get_by_role("link", name="claim_received, version 1").click()
    page.locator(".wl-sections").get_by_role("link", name="Templates").click()
    row = page.get_by_role("row", name="claim_received")
    expect(row.locator(".wl-used")).to_have_text("1last just now")

    # Paused: the list, the alarm and the gate say so.
    simulator.pause_template(version.content_sid or "")
    page.get_by_role("button", name="Synchronise now").click()
    expect(page.locator(".wl-notice")).to_contain_text("1 changed")
    expect(row).to_contain_text("Paused")
    row.get_by_role("link").click()
    expect(page.locator(".wl-advice")).to_contain_text("Too many customers blocked or reported messages with it.")
    refused = service.send(Draft(to="+447700900123", body="Hello Ben", template=template))
    page.goto(f"/whatsapp_logs/messages/{refused.id}")
    expect(page.locator(".wl-advice")).to_contain_text(
        "WhatsApp has paused the template claim_received because too many people complained about it."
    )
    page.goto("/whatsapp_logs/health")
    expect(page.locator("#wl-alarm-template_stopped")).to_contain_text("claim_received is paused")


def test_without_javascript_a_template_is_written_too(visit: Visit, service: WhatsAppService) -> None:
    page = visit("administrator", f"{LIST}/new", java_script_enabled=False)
    page.get_by_label("Name", exact=True).fill("claim_received")
    page.get_by_label("Text with").fill(WANTED.body)
    page.get_by_role("button", name="Check and preview").click()
    expect(page.locator("#wl-problem-sample_2")).to_contain_text("Give a sample for {{2}}")
    for key in ("1", "2"):
        field = page.get_by_role("group", name=f"Field {key}")
        field.get_by_label("What it holds").fill(WANTED.names[key])
        field.get_by_label("A sample").fill(WANTED.samples[key])
    page.get_by_role("button", name="Check and preview").click()
    expect(page.locator(".wl-preview .wl-body")).to_contain_text("Hello Asha Example")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.locator("h1")).to_have_text("claim_received")
    assert service.template_versions(1)[0].body == WANTED.body


def test_what_is_typed_while_the_server_answers_is_not_taken_back(visit: Visit) -> None:
    page = visit("administrator", f"{LIST}/new", clock_stands=True)
    held: list[Route] = []
    page.route("**/templates/preview", lambda route: held.append(route))
    body = page.get_by_label("Text with")
    body.press_sequentially("Hello {{1}}, we have received")
    with page.expect_request("**/templates/preview"):
        page.clock.run_for(300)  # a pause in the typing, after which the form is asked for
    page.keyboard.type(" your claim")  # before the next pause
    with page.expect_response("**/templates/preview"):
        held[0].continue_()
    page.clock.run_for(100)  # in which the answer is put in, and the form not asked for again
    expect(page.get_by_role("group", name="Field 1")).to_be_visible()
    expect(body).to_have_value("Hello {{1}}, we have received your claim")
    expect(body).to_be_focused()


def test_the_countdown_of_the_window_runs_and_ends_by_itself(
    config: Config, service: WhatsAppService, visit: Visit
) -> None:
    service.receive(Inbound(provider_id="SM" + "1" * 32, sender="+447700900123", recipient=config.sender, body="Hi"))

    def written(ago: timedelta) -> None:
        with service.transaction() as conn:
            conn.execute("UPDATE whatsapp_logs.contacts SET last_inbound_at = %s", (datetime.now(UTC) - ago,))

    written(timedelta(hours=21, minutes=48, seconds=5))
    page = visit("agent", "/write")
    expect(page.locator("[data-wl-left]")).to_have_text("2 h 10 min")
    assert violations(page) == []
    written(timedelta(hours=23, minutes=58, seconds=1))
    page = visit("agent", "/write", clock_stands=True)
    left, window = page.locator("[data-wl-left]"), page.locator(".wl-window")
    page.clock.run_for(1000)
    expect(left).to_have_text("less than a minute")
    expect(window).not_to_contain_text("from now on only approved templates")
    page.clock.run_for(61_000)
    expect(window).to_contain_text("from now on only approved templates")


def test_the_pages_are_accessible_and_narrow_without_loss(
    service: WhatsAppService, simulator: Simulator, visit: Visit
) -> None:
    def look(path: str = "", *, press: str = "") -> None:
        page = visit("administrator", f"{LIST}{path}", width=360)
        if press:
            page.get_by_role("button", name=press).click()
        assert violations(page) == [], path
        assert width_of(page) == 360, path

    look()
    look("/new")
    look("/new", press="Check and preview")
    version = approved(service, simulator, replace(WANTED, buttons=("Call me", "All fine")))
    look(f"/{version.template_id}")
    look(f"/{version.template_id}/edit")
    simulator.reject_template(version.content_sid or "", "INVALID_FORMAT: two variables stand side by side")
    post_content(simulator, name="a_name_of_a_template_that_somebody_made_in_the_console_and_that_is_very_long_indeed")
    saved(service, replace(WANTED, name="with_document", has_document=True))
    service.synchronise_templates()
    look(f"/{version.template_id}")
    look()
    simulator.go_away()
    look(press="Synchronise now")
    look("?archived=1")
