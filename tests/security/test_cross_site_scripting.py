"""Script in every text that the database keeps, and a real Chromium that opens every page: nothing runs, nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest
from flask import url_for
from playwright.sync_api import Browser, BrowserContext, Page, expect
from werkzeug.routing import Rule

from tests.browser_fixtures import PATIENCE_MS
from tests.portal.conftest import COOKIE
from tests.security import filling
from tests.security.payloads import MARK, PRODUCT, XSS
from tests.security.target import Target, listening
from tests.spreadsheet import read_csv, read_xlsx
from tests.test_export import _DANGEROUS
from whatsapp_logs import links

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MOST_PER_ROUTE = len(XSS)
# These are downloads or pictures of somebody's file: asked for without opening them, and judged by their headers.
FILES = frozenset({
    "whatsapp_logs.export", "whatsapp_logs.api_export", "whatsapp_logs.document", "whatsapp_machines.document",
    "policies.document", "renewals.document", "whatsapp_logs.campaign_file", "whatsapp_logs.file", "told.export",
})  # fmt: skip
HARMLESS = re.compile(r"application/(pdf|octet-stream|vnd\..*)|image/(png|jpeg)|text/(csv|plain)\b.*")
# What the pages are known to show: a walk that misses one of these walks past what it is about.
SHOWN = frozenset({
    "messages.body", "messages.recipient", "messages.sender", "messages.created_by", "messages.error_message",
    "messages.error_code", "messages.template_name", "messages.template_sid", "messages.provider_id",
    "messages.wait_reason", "messages.message_type", "media.filename", "status_events.provider_status",
    "status_events.error_message", "status_events.error_code", "status_events.payload", "status_events.provider_id",
    "reconciliation_differences.ours", "reconciliation_differences.theirs", "reconciliation_differences.provider_id",
    "reconciliations.problem", "refreshes.problem", "people.name", "clients.name", "clients.phone", "clients.email",
    "clients.address", "policies.policy_number", "policies.insurer", "policies.insured", "roles.changed_by",
    "api_tokens.name", "api_tokens.created_by", "api_tokens.last_used_from", "legal_holds.reason", "legal_holds.placed_by",
    "templates.name", "template_versions.body", "template_versions.actions", "template_versions.variables",
    "template_versions.rejection_reason", "template_versions.created_by", "template_versions.content_type",
    "template_events.reason", "template_events.told_by", "template_sync.problem",
    "campaigns.name", "campaigns.source", "campaigns.created_by", "campaigns.released_by", "campaigns.stopped_by",
    "campaigns.asked_by", "campaign_recipients.cells", "campaign_recipients.address", "campaign_recipients.reason",
    "erasures.what", "erasures.reason", "erasures.person", "accesses.person", "accesses.address",
    "consent_events.wording", "consent_events.source", "consent_events.address",
    "conversations.profile_name", "conversations.address", "conversations.handed_over_to", "renewal_rules.created_by",
    "renewal_rules.template", "renewal_rules.fields",
})  # fmt: skip

# Addresses whose query a page gives back.
ECHOES = (
    ("/whatsapp_logs", "status"), ("/whatsapp_logs", "date_from"), ("/whatsapp_logs", "client"),
    ("/clients/", "q"), ("/policies/", "q"), ("/sign-in", "next"),
)  # fmt: skip

TELL = """document.addEventListener('securitypolicyviolation', (event) => {
    console.error('CSP: ' + event.effectiveDirective + ' ' + event.blockedURI);
})"""
LOOK = r"""([mark, product, tag]) => {
    const found = window.__xss === undefined ? [] : ['a script ran'];
    for (const one of document.querySelectorAll(`[${mark}]`)) found.push('element: ' + one.outerHTML.slice(0, 200));
    for (const one of document.querySelectorAll('*')) for (const {name, value} of one.attributes) {
        if (/^on|hx-on/i.test(name)) found.push(`handler: ${name}=${value}`);
        const leads = /^(xlink:)?(href|src|action|formaction|data|srcdoc|poster)$/i.test(name);
        const draws = one.tagName === 'IMG' && value.startsWith('data:image/svg+xml');  // in an image no script runs
        if (leads && !draws && /^[\0- ]*(javascript|vbscript|data):/i.test(value)) found.push(`address: ${name}=${value}`);
        const asks = /^(data-)?hx-(get|post|put|patch|delete)$/i.test(name);
        if (asks && !/^\/(?!\/)/.test(value)) found.push(`htmx: ${name}=${value}`);
    }
    if (document.documentElement.textContent.includes(product)) found.push('a template was evaluated');
    const tags = new RegExp(`(?:${tag}|\\\\u00a7)(\\w+\\.\\w+)`, 'g');  // in JSON the tag is an escape
    return [found, [...document.documentElement.outerHTML.matchAll(tags)].map((hit) => hit[1])];
}"""


class Walker:
    """A page that is looked at after every step; `complaints` is all that went wrong, `shown` the columns that were seen."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.complaints: list[str] = []
        self.shown: set[str] = set()
        self.context, self.address = context, address
        context.add_init_script(TELL)
        context.on("request", self._judge)
        self.page = self.open()

    def open(self) -> Page:
        page = self.context.new_page()
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog on {page.url}"), dialog.dismiss()))
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda said: (
                self.complaints.append(f"{page.url}: {said.text}")
                if "CSP" in said.text or "Content Security Policy" in said.text
                else None
            ),
        )
        return page

    def go(self, path: str, *statuses: int) -> None:
        answer = self.page.goto(self.address + path)
        assert answer is not None
        assert answer.status in (statuses or (200,)), (path, answer.status)
        self.look(path)

    def look(self, where: str) -> None:
        """What the page holds now, after scripts of its own have run."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        found, shown = self.page.evaluate(LOOK, [MARK, PRODUCT, filling.TAG])
        self.complaints += [f"{where}: {one}" for one in found]
        self.shown.update(shown)

    def _judge(self, request: object) -> None:
        url = request.url  # type: ignore[attr-defined]
        if not url.startswith(self.address + "/"):
            self.complaints.append(f"asked for {url}")


@pytest.fixture(scope="module")
def messages(target: Target) -> list[int]:
    """The ids worth opening, in a database whose every text is a payload."""
    target.signed_in()  # while the names are still names
    ids = filling.write_messages(target)
    filling.fill(target.dsn)
    return ids


@pytest.fixture
def walker(target: Target, messages: list[int], browser: Browser) -> Iterator[Walker]:
    """An administrator's browser, which has complained of nothing when the test ends."""
    with listening(target.app) as address:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies([{"name": COOKIE, "value": target.cookies["anna.admin"], "url": address}])
        walker = Walker(context, address)
        yield walker
        context.close()
    assert walker.complaints == []


@pytest.fixture
def values(target: Target, messages: list[int]) -> dict[str, list[object]]:
    """What may stand for each argument of a route."""
    with psycopg.connect(target.dsn) as conn:

        def ids(query: str) -> list[object]:
            return [row[0] for row in conn.execute(query.encode()).fetchall()]

        media = ids("SELECT id::text FROM whatsapp_logs.media ORDER BY created_at")
        return {
            "message_id": list(messages),
            "message_sid": ids("SELECT provider_id FROM whatsapp_logs.messages WHERE provider_id !~ '/' ORDER BY id"),
            "refresh_id": ids("SELECT id FROM whatsapp_logs.refreshes ORDER BY id"),
            "reconciliation_id": ids("SELECT id FROM whatsapp_logs.reconciliations ORDER BY id"),
            "campaign_id": ids("SELECT id FROM whatsapp_logs.campaigns ORDER BY id"),
            "client_id": ids("SELECT client_id FROM clients ORDER BY client_id"),
            "policy_id": ids("SELECT policy_id FROM policies ORDER BY policy_id"),
            "document_id": ids("SELECT document_id FROM renewal_documents ORDER BY document_id"),
            "token": [links.media_path(target.service.config, str(one)).rpartition("/")[2] for one in media],
            "conversation_id": ids("SELECT id FROM whatsapp_logs.conversations ORDER BY id"),
            "place": [0],
            "user_id": ids("SELECT user_id FROM people ORDER BY user_id"),
            "template_id": ids("SELECT id FROM whatsapp_logs.templates ORDER BY id"),
            "rule_id": ids("SELECT rule_id FROM renewal_rules ORDER BY rule_id"),
            "filename": ["portal.css", "whatsapp_logs.js", "icon.svg"],
        }


def test_fault_24_no_page_runs_what_somebody_has_written(
    target: Target, walker: Walker, values: dict[str, list[object]]
):
    for rule in target.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()):
            continue
        for path in paths(target, rule, values):
            if rule.endpoint in FILES:
                answer = walker.context.request.get(walker.address + path)
                assert answer.status in (200, 404), (path, answer.status)  # 404: a message without a document
                assert answer.status == 404 or is_inert(answer.headers), (path, answer.headers)
            else:
                walker.go(path, 200, 403, 404)
    assert walker.shown >= SHOWN, sorted(SHOWN - walker.shown)


def test_fault_24_nothing_runs_in_what_scripts_put_into_a_page(walker: Walker, messages: list[int]):
    page = walker.page
    walker.go("/whatsapp_logs")
    for opener in page.locator("a.wl-open").all()[:12]:
        page.mouse.move(0, 0)  # else the mouse rests on a row, whose tip may lie over the next one
        opener.click()
        expect(page.locator("#wl-message")).to_be_visible()
        page.locator("#wl-raw summary").click() if page.locator("#wl-raw").count() else None
        walker.look("a message in its dialog")
        page.keyboard.press("Escape")
        expect(page.locator("#wl-dialog")).to_be_hidden()
    for name in ("failed", "queued", "delivered"):
        page.locator(f"#wl-pill-{name}").click()
        page.wait_for_load_state()
        walker.look(f"the list of {name} messages")
    walker.go("/whatsapp_logs?direction=inbound")
    page.evaluate("htmx.trigger('#wl-list', 'wl:poll')")
    walker.look("the list after a poll")
    walker.go("/whatsapp_logs?status=failed")
    again = page.locator("a.wl-open").all()
    for opener in again[:6]:
        page.mouse.move(0, 0)
        opener.click()
        expect(page.locator("#wl-message")).to_be_visible()
        for button in ("Refresh status", "Send again…"):
            if page.get_by_role("button", name=button).count():
                with page.expect_response(re.compile("/(refresh|resend)$")):
                    page.get_by_role("button", name=button).click()
                walker.look(f"after “{button}”")
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Refresh all statuses").click()
    expect(page.locator("#wl-refresh")).not_to_be_empty()
    walker.look("after “Refresh all statuses”")


def test_fault_24_what_an_address_or_a_form_says_is_given_back_as_text(
    walker: Walker, values: dict[str, list[object]], target: Target
):
    page = walker.page
    for n, payload in enumerate(XSS):
        for path, name in ECHOES[n % 2 :: 2]:
            page.goto(f"{walker.address}{path}?{name}={quote(payload)}")
            walker.look(f"{path}?{name}={payload}")
    walker.go("/whatsapp_logs")
    for field in ("whom", "phone"):
        for payload in XSS[::4]:
            page.locator(f".wl-filters [name={field}]").fill(payload)
            page.locator(f".wl-filters [name={field}]").press("Enter")
            page.wait_for_load_state()
            walker.look(f"{field}: {payload}")
            walker.go("/whatsapp_logs")
    client = values["client_id"][0]
    with psycopg.connect(target.dsn) as conn:  # who has no number has no form to write to
        conn.execute("UPDATE clients SET phone = '+447700900123' WHERE client_id = %s", [client])
    for payload in XSS[::4]:
        walker.go(f"/clients/{client}/edit")
        for field in ("name", "phone", "email", "address"):
            page.locator(f"#{field}").fill(payload)
        page.get_by_role("button", name="Save").click()
        page.wait_for_load_state()
        walker.look(f"the form that was not saved: {payload}")
        walker.go(f"/clients/{client}")
        page.locator("#body").fill(payload)
        walker.look(f"the preview: {payload}")
        page.get_by_role("button", name="Send message").click()
        page.wait_for_load_state()
        walker.look(f"after sending: {payload}")
    for policy in values["policy_id"][:6]:
        for address, button in ((f"/policies/{policy}", "Send"), (f"/renewals/{policy}", "Send")):
            walker.go(address)
            found = page.get_by_role("button", name=button)
            if found.count():
                found.first.click()
                page.wait_for_load_state()
                walker.look(f"{address} after “{button}”")


def test_fault_24_a_sign_in_that_failed_gives_the_name_back_as_text(
    target: Target, messages: list[int], browser: Browser
):
    with listening(target.app) as address:
        walker = Walker(browser.new_context(), address)
        for payload in XSS[:3]:
            walker.go("/sign-in")
            walker.page.get_by_label("User name").fill(payload)
            walker.page.get_by_label("Password").fill(payload)
            walker.page.get_by_role("button", name="Sign in").click()
            walker.page.wait_for_load_state()
            walker.look(f"sign-in as {payload}")
        walker.context.close()
    assert walker.complaints == []


def test_fault_24_and_25_in_a_file_it_is_inert_too(target: Target, messages: list[int]):
    admin = target.signed_in()
    answer = admin.get("/whatsapp_logs/export?format=csv")
    for row in read_csv([answer.data]):
        for title, cell in row.items():
            assert not _DANGEROUS.search(cell), (title, cell)
    rows = read_xlsx([admin.get("/whatsapp_logs/export?format=xlsx").data])
    assert {str(row["Message"]).partition(f" {filling.TAG}")[0] for row in rows} >= set(XSS)


def is_inert(headers: dict[str, str]) -> bool:
    """Whether a browser that opens this file runs nothing of it, whatever its bytes are."""
    is_download = headers.get("content-disposition", "").startswith("attachment")
    is_closed_in = "sandbox" in headers.get("content-security-policy", "")
    is_harmless = HARMLESS.fullmatch(headers["content-type"]) is not None
    return headers.get("x-content-type-options") == "nosniff" and (is_download or is_closed_in or is_harmless)


def paths(target: Target, rule: Rule, values: dict[str, list[object]]) -> list[str]:
    """The route's addresses with what there is in the database."""
    if not rule.arguments:
        return [rule.rule]
    argument, *others = sorted(rule.arguments)
    some = values[argument] if argument == "message_id" else values[argument][:MOST_PER_ROUTE]
    with target.app.test_request_context():
        return [url_for(rule.endpoint, **{argument: one}, **{name: values[name][0] for name in others}) for one in some]
