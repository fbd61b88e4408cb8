"""What the pages show: lists, documents, errors, an outage, headers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

from portal import database
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import COOKIE, SECRET_KEY, Browser, Office

Open = Callable[[str | None], Browser]


def clients_on(html: str) -> list[int]:
    return [int(found) for found in re.findall(r'class="main" href="/clients/(\d+)"', html)]


def test_the_pages_of_clients_hold_every_client_once_and_lead_back(office: Office, browser: Open) -> None:
    person, path, pages = browser("arjun.agent"), "/clients/", []
    while path:
        html = person.get(path).text
        pages.append(clients_on(html))
        following = re.search(r'rel="next" href="([^"]+)"', html)
        previous = re.search(r'rel="prev" href="([^"]+)"', html)
        path = following[1].replace("&amp;", "&") if following else ""
    (n,) = office.row("SELECT count(*) FROM clients")
    assert sum(map(len, pages)) == len({client for page in pages for client in page}) == n
    assert previous
    assert clients_on(person.get(previous[1].replace("&amp;", "&")).text) == pages[-2]


@pytest.mark.parametrize("text", ["asha", "ASHA rao", "HOM-", "+44 7700 900 200", "07700900200", "900200"])
def test_a_client_is_found_by_name_policy_or_any_form_of_the_phone(browser: Open, text: str) -> None:
    person = browser("arjun.agent")
    answer = person.get(str(person.submit("/clients/", "/clients/", q=text).location))
    assert 1 in clients_on(answer.text)


@pytest.mark.parametrize("text", ["%", "_", "\\", "' or 1=1 --", "\0", "<script>alert(1)</script>", "x" * 5000, "💬"])
def test_a_strange_search_matches_itself_or_nothing(browser: Open, text: str) -> None:
    person = browser("arjun.agent")
    answer = person.get(str(person.submit("/clients/", "/clients/", q=text).location))
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text
    assert len(clients_on(answer.text)) == (25 if text == "\0" else 0)


@pytest.mark.parametrize(
    "path", ["/clients/?after=abc", "/clients/?before=-1", "/policies/?after=999999999999999999999"]
)
def test_a_strange_page_number_is_a_page_all_the_same(browser: Open, path: str) -> None:
    assert browser("arjun.agent").get(path).status_code == 200


def test_each_figure_of_the_dashboard_is_the_length_of_the_list_it_leads_to(browser: Open) -> None:
    person = browser("arjun.agent")
    figures = re.findall(r'<a href="(/renewals/[^"]*)"><b>(\d+)</b>', person.get("/").text)
    assert len(figures) == 2
    for path, figure in figures:
        assert person.get(path).text.count("<tr>") - 1 == int(figure)


def test_renewals_show_who_was_reminded_when_and_how_that_went(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    (policy_id,) = office.row(
        """
        SELECT p.policy_id FROM policies AS p WHERE p.status = 'active' AND p.ends_on BETWEEN current_date + 1 AND current_date + 29
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.policy_id = p.policy_id)
          AND NOT EXISTS (SELECT FROM whatsapp_logs.consent_events AS e JOIN clients AS c ON c.phone = e.address
                          WHERE c.client_id = p.client_id) LIMIT 1
        """
    )
    row = rf"/policies/{policy_id}\".*?</tr>"

    def shown() -> str:
        found = re.search(row, person.get("/renewals/").text, re.DOTALL)
        assert found
        return found[0]

    assert "Not yet" in shown()
    assert "Send reminder" in shown()
    person.submit(f"/renewals/{policy_id}", f"/renewals/{policy_id}/remind")
    assert "Queued" in shown()
    assert "Send again" in shown()
    assert "Reminded already" in person.get(f"/renewals/{policy_id}").text


def test_a_policy_is_in_force_only_between_its_dates(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    (expired, number) = office.row(
        "SELECT policy_id, policy_number FROM policies WHERE status = 'active' AND ends_on < current_date LIMIT 1"
    )
    assert '<span class="tag expired">Expired</span>' in person.get(f"/policies/{expired}").text
    search = person.client.get(f"/clients/?q={number}", follow_redirects=True).text
    (in_force,) = office.row(
        """
        SELECT count(*) FROM policies WHERE client_id = (SELECT client_id FROM policies WHERE policy_id = %(expired)s)
          AND status = 'active' AND current_date BETWEEN starts_on AND ends_on
        """,
        expired=expired,
    )
    assert f'class="num">{in_force}</td>' in search


def test_the_renewal_page_shows_what_goes_out_with_a_document_and_without(browser: Open) -> None:
    html = browser("arjun.agent").get("/renewals/4").text
    assert re.search(r"<h3>Without a document</h3><blockquote[^>]*>[^<]*Please contact us to renew", html)
    assert re.search(r"<h3>With a document</h3><blockquote[^>]*>[^<]*The renewal papers are attached", html)


def test_renewals_come_soonest_first(browser: Open) -> None:
    days = re.findall(r'<time datetime="([0-9-]+)"', browser("arjun.agent").get("/renewals/?due=90").text)
    assert len(days) > 20
    assert days == sorted(days)


def test_the_policy_document_is_a_pdf_with_number_insurer_and_name(office: Office, browser: Open) -> None:
    answer = browser("arjun.agent").get("/policies/1/document.pdf")
    number, insurer = office.row("SELECT policy_number, insurer FROM policies WHERE policy_id = 1")
    assert answer.mimetype == "application/pdf"
    assert answer.data.startswith(b"%PDF-")
    assert str(number) in answer.headers["Content-Disposition"]
    assert str(number).encode() in answer.data  # the title in the document's information
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-layout", "-", "-"], input=answer.data, capture_output=True, check=True)
        for expected in (str(number), str(insurer), "Asha Rao", "Total"):
            assert expected in text.stdout.decode()


def test_the_same_policy_makes_the_same_document(browser: Open) -> None:
    first, second = (browser("arjun.agent").get("/policies/2/document.pdf").data for _ in range(2))
    assert first == second


def test_every_policy_of_the_office_can_be_printed(office: Office, browser: Open) -> None:
    (last,) = office.row("SELECT max(policy_id) FROM policies")
    assert isinstance(last, int)
    person = browser("arjun.agent")
    for policy_id in range(1, last + 1):
        assert person.get(f"/policies/{policy_id}/document.pdf").status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/clients/999999", "/policies/0", "/renewals/documents/999999"])
def test_what_is_not_there_is_said_on_a_page_of_the_portal(browser: Open, path: str) -> None:
    answer = browser("arjun.agent").get(path)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
    assert "Sign out" in answer.text  # the navigation stays


def test_pages_are_kept_by_nobody_and_run_nothing_foreign(browser: Open) -> None:
    answer = browser("arjun.agent").get("/clients/1")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert " style=" not in answer.text
    assert " onclick=" not in answer.text


def test_the_style_sheet_may_be_kept_for_ever_under_its_fingerprint(browser: Open) -> None:
    link = re.search(
        r'<link rel="stylesheet" href="(/static/portal\.css\?v=[0-9a-f]{12})"', browser(None).get("/sign-in").text
    )
    assert link
    assert "max-age=31536000" in browser(None).get(link[1]).headers["Cache-Control"]


def test_a_page_says_that_the_database_is_away_and_shows_no_zeros(office: Office, browser: Open) -> None:
    """The first portal's mistake 7: a dead database showed "0 messages"."""
    away = PortalConfig(database_url="postgresql://nobody@127.0.0.1:9/none", secret_key=SECRET_KEY)
    app = create_app(away, service=office.service)
    try:
        person = Browser(app.test_client())
        cookie = browser("arjun.agent").client.get_cookie(COOKIE)
        assert cookie
        person.client.set_cookie(COOKIE, cookie.value)
        answer = person.get("/")
        assert answer.status_code == 503
        assert "The database cannot be reached" in answer.text
        assert "<b>0</b>" not in answer.text
        assert person.get("/health").status_code == 503
    finally:
        database.close(app)


def test_health_says_ok_to_anybody(browser: Open) -> None:
    assert browser(None).get("/health").text == "ok\n"


@pytest.mark.parametrize("text", ["Mrs Thompson", "thompson grace"])
def test_the_log_finds_a_client_by_the_name_that_people_say(office: Office, browser: Open, text: str) -> None:
    (client_id,) = office.row("SELECT client_id FROM clients WHERE name = 'Grace Thompson'")
    person = browser("arjun.agent")
    token = re.search(r'name="csrf_token" value="([^"]+)"', person.get("/whatsapp_logs").text)
    assert token
    answer = person.client.post("/whatsapp_logs", data={"whom": text, "csrf_token": token[1]})
    assert answer.headers["Location"] == f"/whatsapp_logs?client={client_id}"


@pytest.mark.parametrize(("page", "typed", "found"), [("/clients/", "Rao", "Asha Rao"), ("/policies/", "MOT-", "MOT-")])
def test_what_is_searched_for_stands_in_no_address(browser: Open, page: str, typed: str, found: str) -> None:
    person = browser("arjun.agent")
    answer = person.submit(page, page, q=typed)
    assert answer.status_code == 303
    assert typed not in str(answer.location)
    shown = person.get(str(answer.location)).text
    assert found in shown
    assert f'value="{typed}"' in shown
    assert f"q={typed}" not in shown
    assert person.get(f"{page}?q={typed}").location == answer.location  # an address of earlier days
    foreign = browser("clara.compliance").get(str(answer.location)).text
    assert "Type it again" in foreign
    assert f'value="{typed}"' not in foreign
