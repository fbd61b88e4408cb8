"""The story of an office, told on the whole portal as `./run` starts it: PostgreSQL, web server, worker, simulator, Chromium."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.looks import settled
from tests.browser_fixtures import PATIENCE_MS
from tests.start.processes import PATIENCE_S, data_folder, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
PASSWORD = "harbour-lane-demo"
# Every word that a status shows, in the order in which a message meets them.
JOURNEY = ["Queued", "Sending", "Sent", "Delivered", "Read"]
# Counts what the page showed at any moment, also between two looks of the test.
WATCH = """() => {
    window.seen = [];
    const look = () => {
        const word = document.querySelector('#wl-list [data-wl-row]')?.dataset.wlRow.split(' ')[0];
        if (word && window.seen.at(-1) !== word) window.seen.push(word);
    };
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
    look();
}"""


class Portal:
    """The started portal: its address and its simulated customers' phones."""

    def __init__(self, data_dir: Path, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        said = ""
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        assert "is ready" in said, said
        ports = json.loads((data_dir / "running.json").read_text())
        self.address, self.phones = (f"http://127.0.0.1:{ports[name]}" for name in ("web", "simulator"))

    def simulate(self, **settings: object) -> None:
        requests.post(f"{self.phones}/_simulator/settings", json=settings, timeout=PATIENCE_S).raise_for_status()

    def release(self) -> None:
        """Let the callbacks go that `simulate(hold=True)` keeps."""
        requests.post(f"{self.phones}/_simulator/release", timeout=PATIENCE_S).raise_for_status()

    def written(self) -> list[dict[str, Any]]:
        """All messages at the simulated Twilio."""
        messages: list[dict[str, Any]] = requests.get(f"{self.phones}/_simulator/messages", timeout=PATIENCE_S).json()
        return messages


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TWILIO_", "DATABASE_"))}
    with data_folder() as data_dir:
        process = subprocess.Popen(
            [sys.executable, "-m", "portal", "start"],
            cwd=ROOT,
            env=environment | {"DATA_DIR": str(data_dir), "PORT": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield Portal(data_dir, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def sign_in(browser: Browser, portal: Portal) -> Iterator[Callable[[str], Page]]:
    """A function from a user name to that person's portal, in a window of its own; no page may complain in its console."""
    contexts, complaints = [], []

    def open_portal(username: str) -> Page:
        context = browser.new_context(base_url=portal.address, viewport={"width": 1440, "height": 900})
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/")
        page.get_by_label("User name").fill(username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
        return page

    yield open_portal
    for context in contexts:
        context.close()
    assert complaints == []


def open_policy(page: Page, client: str) -> None:
    page.get_by_role("link", name="Clients", exact=True).first.click()
    page.get_by_label("Find a client").fill(client)
    page.get_by_label("Find a client").press("Enter")
    page.get_by_role("link", name=client).click()
    page.locator("main a[href*='/policies/']").first.click()


def open_log(page: Page) -> Locator:
    """The log's first row, when it and the script that opens it are there."""
    page.get_by_role("navigation").get_by_role("link", name="WhatsApp Logs").click()
    row = settled(page).locator("#wl-list [data-wl-row]").first
    expect(row).to_be_visible()
    return row


def top_status(row: Locator, status: str) -> None:
    expect(row).to_have_attribute("data-wl-row", re.compile(f"^{status} "))


def test_an_agent_sends_a_policy_and_watches_it_being_read(portal: Portal, sign_in: Callable[[str], Page]) -> None:
    page = sign_in("arjun.agent")
    expect(page.get_by_role("heading", name="WhatsApp messages")).to_be_visible()
    open_policy(page, "Peter Novák")
    address = page.get_by_role("link", name="View PDF").get_attribute("href")
    assert address
    document = page.request.get(address)
    assert document.body().startswith(b"%PDF")

    portal.simulate(hold=True)  # else it may have been read before anybody looks
    page.get_by_role("button", name="Send document").click()
    expect(page.get_by_text("Queued for Peter Novák")).to_be_visible()
    row = open_log(page)
    page.evaluate(WATCH)
    portal.release()
    page.evaluate("() => { window.name = 'the same page'; window.scrollTo(0, 120); }")
    button = page.get_by_role("button", name="Refresh all statuses")
    button.focus()
    expect(row).to_contain_text("Peter Novák")
    top_status(row, "read")

    seen = page.evaluate("() => window.seen")
    assert seen == [status for status in map(str.lower, JOURNEY) if status in seen], seen
    assert len(seen) > 1  # it changed before our eyes; that a change is seen within 2 s is asked in test_log_page.py
    assert seen[-1] == "read"
    assert page.evaluate("() => [window.name, window.scrollY]") == ["the same page", 120]
    expect(button).to_be_focused()

    row.get_by_role("link").first.click()
    details = page.get_by_role("dialog")
    for words in (
        "As the customer sees it",
        "Timeline",
        "Twilio SID",
        "Twilio price",
        "Segments",
        "Template",
        "arjun.agent",
    ):
        expect(details).to_contain_text(words)
    for status in JOURNEY:
        expect(details).to_contain_text(status)
    expect(details.get_by_role("link", name="Peter Novák").first).to_be_visible()
    sid = re.search(r"[SM]M[0-9a-f]{32}", details.inner_text())
    assert sid
    assert any(message["sid"] == sid[0] and message["status"] == "read" for message in portal.written())


def test_a_renewal_reminder_carries_an_uploaded_document(
    portal: Portal, sign_in: Callable[[str], Page], tmp_path: Path
) -> None:
    paper = tmp_path / "renewal terms.pdf"
    paper.write_bytes(b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n")
    page = sign_in("arjun.agent")
    page.get_by_role("link", name="Renewals", exact=True).click()
    page.get_by_role("link", name="Send reminder").first.click()
    page.get_by_label("Document").set_input_files(paper)
    page.get_by_role("button", name="Send reminder").click()
    row = open_log(page)
    expect(row).to_contain_text("Renewal reminder")
    top_status(row, "read")
    row.get_by_role("link").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("renewal terms.pdf")


def test_a_number_that_is_not_on_whatsapp_ends_failed_with_what_to_do(sign_in: Callable[[str], Page]) -> None:
    page = sign_in("arjun.agent")
    open_policy(page, "Grace Thompson")
    page.get_by_role("button", name="Send document").click()
    row = open_log(page)
    top_status(row, "failed")
    expect(row).to_contain_text("not on WhatsApp")
    row.get_by_role("link").first.click()
    details = page.get_by_role("dialog")
    expect(details).to_contain_text("63003")
    expect(details).to_contain_text("Check the number")


def test_refresh_all_repairs_what_lost_callbacks_left_behind(portal: Portal, sign_in: Callable[[str], Page]) -> None:
    page = sign_in("anna.admin")
    open_policy(page, "Emily Carter")  # all her callbacks are lost on the way
    page.get_by_role("button", name="Send document").click()
    row = open_log(page)
    top_status(row, "sending")
    wait_until(lambda: any(one["to"].endswith("7700900105") and one["status"] == "read" for one in portal.written()))
    top_status(row, "sending")
    page.get_by_role("button", name="Refresh all statuses").click()
    top_status(row, "read")
    expect(page.get_by_text(re.compile(r"\d+ asked"))).to_be_visible()


@pytest.mark.parametrize("username", ["clara.compliance", "vera.viewer"])
def test_who_may_only_read_finds_nothing_to_press(username: str, sign_in: Callable[[str], Page]) -> None:
    page = sign_in(username)
    row = open_log(page)
    expect(page.get_by_role("button", name="Refresh all statuses")).to_have_count(0)
    if username == "vera.viewer":
        expect(row).to_contain_text("••••")
        assert "+44" not in page.locator("#wl-list").inner_text()
