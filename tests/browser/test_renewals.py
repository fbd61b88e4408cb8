"""Reminders by rule, told in a real Chromium: a rule is made, looked at, switched on; who was not reached is called; the report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import psycopg
import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from portal import database, reminders
from tests.browser import portal_app
from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from whatsapp_logs import WhatsAppService
from whatsapp_logs.twilio.simulator import Simulator

pytestmark = pytest.mark.browser
LONDON = ZoneInfo("Europe/London")


@pytest.fixture
def app(service: WhatsAppService, dsn: str) -> Iterator[Flask]:
    app = portal_app.make(service, dsn)
    yield app
    database.close(app)


def at_ten() -> datetime:
    return datetime.combine(datetime.now(LONDON).date(), time(10), LONDON).astimezone(UTC)


def some_policy(dsn: str) -> tuple[str, str, int]:
    """Its holder, its number, and in how many days it is due."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            """
            SELECT c.name, p.policy_number, p.ends_on - (now() AT TIME ZONE 'Europe/London')::date
            FROM policies AS p JOIN clients AS c USING (client_id)
            WHERE p.status = 'active' AND p.ends_on > now() + interval '20 days' AND c.phone LIKE '+4477009002__'
            ORDER BY p.ends_on LIMIT 1
            """
        ).fetchone()
    assert row
    return row


def test_a_rule_is_looked_at_switched_on_and_reminds(
    service: WhatsAppService, dsn: str, visit: Visit, simulator: Simulator, work: Callable[[], None]
) -> None:
    name, number, days = some_policy(dsn)
    service.synchronise_templates()
    page = portal_app.sign_in(visit(None, "/sign-in"), "anna.admin")
    page.get_by_role("link", name="Renewals", exact=True).click()
    page.get_by_role("navigation", name="Renewals").get_by_role("link", name="Rules").click()
    new = page.get_by_role("region", name="A new rule")
    new.get_by_label("What it sends").select_option("renewal_reminder_document_by_path (en_GB)")
    new.get_by_role("button", name="Write the rule").click()
    page.get_by_label("Days before the due date").fill(str(days))
    words = page.locator("#reading")
    expect(words).to_contain_text("The renewal papers are attached.")
    page.get_by_label("is filled with: renewal date").select_option("Days until the due date")
    expect(words).to_contain_text(re.compile(r"is due for renewal on \d+\. The"))
    page.get_by_label("is filled with: renewal date").select_option("The same words for all")
    page.get_by_label("these words: renewal date").fill("the day on your schedule")
    expect(words).to_contain_text("is due for renewal on the day on your schedule.")
    page.get_by_label("is filled with: renewal date").select_option("Due date, last day of cover")
    page.get_by_role("button", name="Make the rule").click()

    expect(page.get_by_role("heading", name="What would go out today")).to_be_visible()
    row = page.get_by_role("row").filter(has_text=number)
    expect(row).to_contain_text(name)
    expect(row).to_contain_text("Leaves")
    page.get_by_role("button", name="Switch this rule on").click()
    card = page.locator(".cases > li").filter(has_text=f"{days} days before")
    expect(card).to_contain_text("On")

    made = reminders.run(service, zone=LONDON, now=at_ten()).made
    assert made >= 1
    work()
    assert len(simulator.messages()) == made
    assert reminders.run(service, zone=LONDON, now=at_ten()).made == 0
    page.reload()
    expect(card).to_contain_text(f"{made} today")
    card.get_by_text("History").click()
    expect(card).to_contain_text("Switched on")
    card.get_by_role("button", name="Pause").click()
    expect(card).to_contain_text("Paused")


def test_who_was_not_reached_is_called_and_counts_as_told(visit: Visit) -> None:
    page = portal_app.sign_in(visit(None, "/sign-in"), "arjun.agent")
    page.goto("/renewals/unreached/")
    first = page.locator(".cases > li").first
    name, number = first.locator("h3 a").inner_text(), first.locator("p a").first.inner_text()
    whole = page.get_by_role("navigation", name="Why").get_by_role("link").first
    count = int(whole.inner_text().removeprefix("All "))
    first.get_by_label("Whose this is").select_option("Arjun Mehta")
    first.get_by_role("button", name="Assign").click()
    page.get_by_role("link", name="Mine").click()
    expect(page.locator(".cases > li")).to_have_count(1)
    first.get_by_text("Note what was done").click()
    first.get_by_label("What was done").select_option("Called: they know")
    first.get_by_label("Note (optional)").fill("Renews by card")
    first.get_by_role("button", name="Note it").click()
    expect(page.locator(".note.ok")).to_contain_text("They know, so this is done.")
    expect(whole).to_have_text(f"All {count - 1}")
    page.get_by_role("link", name="Done 1").click()
    expect(page.locator(".cases > li")).to_contain_text([name])
    expect(page.locator(".cases > li")).to_contain_text(["Renews by card — arjun.agent"])

    page.get_by_role("navigation", name="Renewals").get_by_role("link", name="Told in time?").click()
    row = page.get_by_role("row").filter(has_text=number)
    expect(row).to_contain_text("by telephone")


def test_each_number_of_the_report_leads_to_its_list(visit: Visit) -> None:
    page = portal_app.sign_in(visit(None, "/sign-in"), "clara.compliance")
    page.goto("/renewals/told/")
    figures = page.locator(".figures a")
    for n in range(figures.count()):
        figure = figures.nth(n)
        count = int(figure.locator("b").inner_text())
        figure.click()
        expect(figures.nth(n)).to_have_attribute("aria-current", "true")
        expect(page.locator("tbody tr")).to_have_count(min(count, 50))
    page.get_by_role("link", name="All answers").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Take it as a file (CSV)").click()
    text = download.value.path().read_text("utf-8-sig")
    assert text.startswith("Due,Policy,Client,Answer,Told (Europe/London)")
    assert len(text.splitlines()) > 10


def test_the_pages_are_accessible_and_narrow_without_loss(visit: Visit) -> None:
    page: Page = portal_app.sign_in(visit(None, "/sign-in", width=390), "anna.admin")
    rules, queue, report = "rules/", "unreached/", "told/"
    for path in (
        rules,
        "rules/preview",
        "rules/preview?rule_id=1",
        "rules/new?letter=renewal_reminder_document/",
        "rules/1/change",
        queue,
        f"{queue}?reason=done",
        report,
        f"{report}?state=ahead",
    ):
        page.goto(f"/renewals/{path}")
        for fold in page.locator("main summary").all()[:3]:
            fold.click()
        assert violations(page) == [], path
        assert width_of(page) == 390, path
