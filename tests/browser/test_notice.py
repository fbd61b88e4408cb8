"""The notice's preview in a real browser, and without scripts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from portal import database, demo
from portal.app import create_app
from portal.config import PortalConfig
from tests.browser_fixtures import PATIENCE_MS
from whatsapp_logs import MessageFilter, WhatsAppService

pytestmark = pytest.mark.browser
TYPED = "the repairer\nhas   your car"
READ = "Hello Oliver Bennett, a notice from your insurance office: {} Please reply if you have a question."


@pytest.fixture
def portal(service: WhatsAppService, dsn: str) -> Iterator[str]:
    """The portal's address."""
    demo.seed(dsn)
    app = create_app(PortalConfig(database_url=dsn, secret_key=service.config.secret_key), service=service)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()
    database.close(app)


@pytest.fixture
def open_client(browser: Browser, portal: str) -> Iterator[Callable[..., Page]]:
    """A function that opens a client's page as an agent; the page may not complain of anything."""
    contexts, complaints = [], []

    def open_page(*, scripts: bool) -> Page:
        context = browser.new_context(base_url=portal, java_script_enabled=scripts)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/sign-in?next=/clients/2")
        page.get_by_label("User name").fill("arjun.agent")
        page.get_by_label("Password").fill(demo.PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Oliver Bennett", exact=True)).to_be_visible()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def test_the_notice_is_shown_while_it_is_written_word_for_word_as_it_is_sent(
    open_client: Callable[..., Page], service: WhatsAppService
) -> None:
    page = open_client(scripts=True)
    words, bubble = page.get_by_label("Message to Oliver Bennett"), page.locator(".bubble")
    expect(bubble).to_have_text(READ.format("…"))
    words.fill("Does Thursday suit you?")
    expect(bubble).to_have_text(READ.format("Does Thursday suit you?"))
    words.fill(TYPED)
    expect(bubble).to_have_text(READ.format("the repairer has your car."))
    shown = bubble.text_content()
    page.get_by_role("button", name="Send message").click()
    expect(page.get_by_text("Queued for Oliver Bennett")).to_be_visible()
    message = service.page(MessageFilter(), limit=1).messages[0]
    assert message.body == shown


def test_without_scripts_the_notice_is_sent_all_the_same(open_client: Callable[..., Page]) -> None:
    page = open_client(scripts=False)
    expect(page.locator(".bubble")).to_have_text(READ.format("…"))
    page.get_by_label("Message to Oliver Bennett").fill(TYPED)
    page.get_by_role("button", name="Send message").click()
    expect(page.get_by_text("Queued for Oliver Bennett")).to_be_visible()


def test_the_length_is_counted_while_it_is_typed_and_ends_where_the_notice_does(
    open_client: Callable[..., Page],
) -> None:
    page = open_client(scripts=True)
    page.get_by_label("Message to Oliver Bennett").fill("the repairer")
    expect(page.get_by_text("12 of 600 characters")).to_be_visible()
    page.get_by_label("Message to Oliver Bennett").fill("")
    page.get_by_label("Message to Oliver Bennett").press_sequentially("x" * 3)
    expect(page.get_by_text("3 of 600 characters")).to_be_visible()


def test_the_reminder_shown_is_the_one_that_goes_out_once_a_file_is_chosen(open_client: Callable[..., Page]) -> None:
    page = open_client(scripts=True)
    page.goto("/renewals/4")
    expect(page.get_by_text("Please contact us to renew it in time.")).to_be_visible()
    expect(page.get_by_text("The renewal papers are attached.")).to_be_hidden()
    page.get_by_label("Document").set_input_files({"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1"})
    expect(page.get_by_text("The renewal papers are attached.")).to_be_visible()
    expect(page.get_by_text("Please contact us to renew it in time.")).to_be_hidden()


def test_without_scripts_both_reminders_are_shown_by_their_headings(open_client: Callable[..., Page]) -> None:
    page = open_client(scripts=False)
    page.goto("/renewals/4")
    for heading in ("Without a document", "With a document"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
