"""The export menu in a real Chromium: downloads, a menu that stays open, keyboard, narrow screens, no JavaScript."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.looks import violations, width_of
from tests.browser_fixtures import Visit
from tests.spreadsheet import read_csv, read_xlsx
from whatsapp_logs import Draft, WhatsAppService

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def logged(service: WhatsAppService) -> None:
    for n in range(3):
        service.send(Draft(to=f"+44770090010{n}", body=f"Message {n}"))


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_both_files_come_by_a_press(visit: Visit, scripts):
    page = visit("compliance", "/whatsapp_logs", java_script_enabled=scripts)
    for name, read in (("CSV", read_csv), ("Excel", read_xlsx)):
        page.locator(".wl-export summary").click()
        with page.expect_download() as begun:
            page.get_by_role("link", name=name, exact=True).click()
        assert begun.value.suggested_filename.startswith("whatsapp-logs-20")
        rows = read([Path(begun.value.path()).read_bytes()])
        assert [row["Message"] for row in rows] == ["Message 2", "Message 1", "Message 0"]
        if scripts:  # a menu goes when something has been chosen
            expect(page.locator(".wl-menu")).to_be_hidden()
        else:
            page.locator(".wl-export summary").click()


def test_the_menu_stays_open_while_the_list_changes_and_says_how_many_there_are_now(service, visit: Visit):
    page = visit("compliance", "/whatsapp_logs")
    page.locator(".wl-export summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".wl-menu")).to_contain_text("All 3 messages")
    page.keyboard.press("Tab")
    expect(page.locator("#wl-export-csv")).to_be_focused()
    service.send(Draft(to="+447700900199", body="The newest"))
    expect(page.locator(".wl-menu")).to_contain_text("All 4 messages")
    expect(page.locator("#wl-export-csv")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".wl-menu")).to_be_hidden()
    expect(page.locator(".wl-export summary")).to_be_focused()
    page.locator(".wl-export summary").click()
    page.locator("h1").click()
    expect(page.locator(".wl-menu")).to_be_hidden()


def test_axe_finds_nothing_in_the_menu(visit: Visit):
    page = visit("compliance", "/whatsapp_logs?status=queued")
    page.locator(".wl-export summary").click()
    expect(page.locator(".wl-menu")).to_contain_text("All 3 messages of this filter")
    assert violations(page) == []


@pytest.mark.parametrize("width", [320, 390, 768])
def test_the_menu_fits_a_narrow_screen(service, visit: Visit, width):
    with service.transaction() as conn:  # the longest that the line above it can be
        conn.execute(
            "INSERT INTO whatsapp_logs.count_totals VALUES ('outbound', 'whatsapp', 'general', 'read', 9876543)"
        )
        conn.execute(
            "INSERT INTO whatsapp_logs.count_totals VALUES ('inbound', 'whatsapp', 'general', 'received', 98765)"
        )
    page = visit("compliance", "/whatsapp_logs", width=width, height=800)
    page.locator(".wl-export summary").click()
    expect(page.locator(".wl-menu")).to_contain_text("Excel holds")
    menu = page.locator(".wl-menu").bounding_box()
    assert menu
    assert menu["x"] >= 0
    assert menu["x"] + menu["width"] <= width
    assert width_of(page) <= width
