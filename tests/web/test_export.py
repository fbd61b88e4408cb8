"""Downloading the list: the page's rows and words, for whom they are meant, by links without a phone number."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from tests.service_fixtures import Person, make_portal
from tests.spreadsheet import read_csv, read_xlsx
from tests.web.reading import rows as rows_shown
from whatsapp_logs import Draft, Message, MessageFilter, Right, Viewer, WhatsAppLogs, WhatsAppService
from whatsapp_logs.export import MAX_SHEET_ROWS, Reader
from whatsapp_logs.message import Inbound
from whatsapp_logs.web import asking

# Messages in every state that the page has words for, newest last: status, then columns, then a report's facts.
STATES: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("queued", "", {}),
    ("scheduled", "send_at = now() + interval '1 day'", {}),
    ("queued", "retry_at = now() + interval '6 min', wait_reason = 'Twilio is busy (429). Tried again.'", {}),
    ("queued", "retry_at = now() + interval '6 min', wait_reason = ''", {}),
    ("sending", "unconfirmed_at = now(), provider_id = NULL", {}),
    ("failed", "unconfirmed_at = now(), provider_id = NULL", {"error_message": "Gone"}),
    ("sent", "", {}),
    ("sent", "sent_at = now() - interval '25 hours'", {}),
    ("sent", "sent_at = now() - interval '47 hours 59 min'", {}),
    ("sent", "sent_at = now() - interval '49 hours'", {}),
    ("sent", "sent_at = NULL, created_at = now() - interval '20 days'", {}),
    ("delivered", "", {}),
    ("read", "", {}),
    ("canceled", "", {}),
    ("failed", "", {"error_code": "63016"}),
    ("undelivered", "", {"error_code": "63024", "error_message": "Twilio's own words"}),
    ("failed", "", {"error_code": "not_sent", "error_message": "Anna said so"}),
    ("failed", "provider_id = NULL", {"error_code": "not_sent", "error_message": "Anna said so"}),
    ("failed", "", {"error_code": "99999", "error_message": "A word nobody knows"}),
    ("failed", "", {"error_code": "99999"}),
    ("failed", "message_type = ''", {"error_message": "Without a code"}),
    ("read", "message_type = 'claim_notice_2'", {}),
)
FILTERS = (
    "",
    "status=failed",
    "status=failed&status=undelivered&status=canceled",
    "status=sent&status=read",
    "status=delivered",
    "type=claim_notice_2",
    "error_code=63016",
    "status=read&error_code=63016",
    "date_from=2100-01-01",
    "direction=inbound",
)


@pytest.fixture
def compliance(signed_in: Callable[[str], Person]) -> Person:
    return signed_in("compliance")


@pytest.fixture
def every_state(service: WhatsAppService, logged: Callable[..., Message]) -> list[Message]:
    made = []
    for n, (status, columns, facts) in enumerate(STATES):
        message = logged(status, to=f"+4477009001{n:02d}", body=f"Text {n}", message_type="renewal_reminder", **facts)
        if columns:
            with service.transaction() as conn:
                conn.execute(f"UPDATE whatsapp_logs.messages SET {columns} WHERE id = %s".encode(), (message.id,))
        made.append(message)
    service.send_again(made[-4].id, created_by="somebody", request_key="again")
    service.receive(Inbound(provider_id="SMf", sender="+447700900100", recipient="+15550100100", body="Yes"))
    return made


def told_on_page(page: str) -> list[dict[str, str]]:
    """What the page's list says of each message, cell by cell, in the words of a file's columns."""

    def text(html: str) -> str:
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())

    told = []
    for row_id, row in re.findall(r'<tr role="row" id="wl-row-(\d+)"(.*?)</tr>', page, re.DOTALL):
        state = re.search(r'class="wl-state">(.*?)</td>', row, re.DOTALL)
        assert state
        word, reason = (
            re.search(r"<b>(.*?)</b>", state[1]),
            re.search(r'<small class="wl-(?:bad|warn)">(.*?)</small>', state[1]),
        )
        again = re.search(r">Message (\d+)</a>", state[1])
        kind, message = re.search(r'class="wl-type">(.*?)</td>', row), re.search(r'class="wl-words">(.*?)</td>', row)
        recipient = re.search(r'class="wl-open"[^>]*>(.*?)</a>', row)
        assert word
        assert kind
        assert message
        assert recipient
        told.append(
            {
                "Log id": row_id,
                "Status": text(word[1]),
                "Reason": text(reason[1]) if reason else "",
                "Sent again as": again[1] if again else "",
                "Type": text(kind[1]),
                "Message": text(message[1]),
                "Number": text(recipient[1]).replace(" ", ""),
            }
        )
    return told


@pytest.mark.parametrize("query", FILTERS)
def test_a_file_has_the_pages_rows_in_its_order_and_its_words(every_state, compliance, query):
    shown = told_on_page(compliance.get(f"/whatsapp_logs?{query}").text)
    answer = compliance.get(f"/whatsapp_logs/export?{query}")
    told = read_csv([answer.data])
    assert [row["Log id"] for row in told] == [row["Log id"] for row in shown]
    for on_page, in_file in zip(shown, told, strict=True):
        in_file["Number"] = (in_file.get("Recipient") or in_file["Sender"]).removeprefix("'")
        # A file is read on another day: it says the whole moment, and each moment in its own column only.
        on_page["Reason"] = re.sub(r"(next try ).*|^\d\d:\d\d$", r"\1", on_page["Reason"])
        in_file["Reason"] = re.sub(r"(next try )\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", r"\1", in_file["Reason"])
        assert {name: in_file[name] for name in on_page} == on_page


def test_the_words_of_this_test_are_all_that_there_are(every_state, compliance):
    told = read_csv([compliance.get("/whatsapp_logs/export").data])
    assert {row["Status"] for row in told} == {
        *("Queued", "Scheduled", "Waiting", "Unconfirmed", "Sent", "Sending", "Delivered", "Read"),
        *("Canceled", "Failed", "Undelivered", "In doubt"),
    } - {"Sending"}
    reasons = {row["Reason"].partition(" 2")[0] for row in told}
    assert reasons >= {"not confirmed for 1 day", "not confirmed for", "Twilio is busy (429), next try", "Gone"}


def test_all_pages_of_the_list_are_in_the_file(service, compliance):
    for n in range(120):
        service.send(Draft(to="+447700900123", body=f"Message {n}"))
    listed, address = [], "/whatsapp_logs"
    while address:
        page = compliance.get(address)
        listed += rows_shown(page)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        address = unescape(older[1]) if older else ""
    assert [int(row["Log id"]) for row in read_csv([compliance.get("/whatsapp_logs/export").data])] == listed
    assert len(listed) == 120


def test_the_file_is_in_the_viewers_zone_and_named_by_the_day(logged, compliance):
    logged(at=datetime(2026, 3, 31, 22, 59, 59, tzinfo=UTC))
    logged(at=datetime(2026, 3, 31, 23, 0, 0, tzinfo=UTC))  # 1 April in London's summer time
    compliance.set_cookie(asking.ZONE_COOKIE, "Europe/London")
    answer = compliance.get("/whatsapp_logs/export?date_from=2026-03-31&date_to=2026-03-31")
    assert [row["Time (Europe/London)"] for row in read_csv([answer.data])] == ["2026-03-31 23:59:59"]
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(
        r"attachment; filename=whatsapp-logs-20\d\d-\d\d-\d\d\.csv", answer.headers["Content-Disposition"]
    )


def test_excel_gets_the_same_rows(every_state, compliance):
    answer = compliance.get("/whatsapp_logs/export?format=xlsx&status=failed")
    sheet, told = read_xlsx([answer.data]), read_csv([compliance.get("/whatsapp_logs/export?status=failed").data])
    assert answer.headers["Content-Disposition"].endswith(".xlsx")
    for in_sheet, in_csv in zip(sheet, told, strict=True):
        for name in ("Status", "Reason", "Type", "Message", "Error code"):
            assert in_sheet[name] == (in_csv[name] or None), name
        assert in_sheet["Recipient"] == in_csv["Recipient"].removeprefix("'")
        assert str(in_sheet["Time (UTC)"]) == in_csv["Time (UTC)"]


# --- who, and what they may see ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/whatsapp_logs/export", "/api/whatsapp/export"])
@pytest.mark.parametrize(
    ("role", "status"), [("administrator", 200), ("compliance", 200), ("agent", 403), ("viewer", 403), (None, 401)]
)
def test_fault_21_only_who_has_the_right_gets_a_file_and_is_offered_one(app, signed_in, logged, path, role, status):
    logged()
    person = signed_in(role) if role else app.test_client()
    assert person.get(path).status_code == status
    if role:
        assert ("wl-export" in person.get("/whatsapp_logs").text) is (status == 200)


@pytest.fixture
def auditor(service: WhatsAppService) -> Person:
    """Somebody who may take the log away, but sees neither numbers nor texts."""
    app = Flask("portal_of_an_auditor")
    app.config.update(SECRET_KEY=service.config.secret_key, TESTING=True)
    viewer = Viewer("auditor", frozenset({Right.SEE, Right.EXPORT}))
    WhatsAppLogs(service).init_app(app, current_user=lambda: viewer)
    return Person(app, response_wrapper=app.response_class)


@pytest.mark.parametrize("direction", ["outbound", "inbound"])
@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_who_may_not_see_numbers_and_texts_gets_them_in_no_file(service, auditor, logged, form, direction):
    text = "The number +44 7700 900123, or 447700900123, is not on WhatsApp"
    logged("failed", to="+447700900123", body="Secret words", error_code="99999", error_message=text)
    service.receive(Inbound(provider_id="SMf", sender="+447700900123", recipient="+15550100100", body="Secret words"))
    answer = auditor.get(f"/whatsapp_logs/export?format={form}&direction={direction}")
    row = (read_csv if form == "csv" else read_xlsx)([answer.data])[0]
    shown = "•••• 0123"
    assert (row.get("Recipient") or row["Sender"], row["Message"]) == (shown, "Text hidden")
    assert not re.search("7700|Secret", str(row))
    if direction == "outbound":
        assert row["Reason"] == f"The number {shown}, or {shown}, is not on WhatsApp"
        page = told_on_page(auditor.get("/whatsapp_logs").text)[0]
        assert (page["Number"], page["Message"]) == (shown.replace(" ", ""), "Text hidden")
        assert page["Reason"] == row["Reason"]
    assert "numbers and texts hidden" in auditor.get("/whatsapp_logs").text


# --- phone numbers stay out of addresses ------------------------------------------------------------------------------


def test_a_phone_search_is_exported_by_a_link_without_the_number(logged, compliance):
    wanted = logged(to="+447700900123")
    logged(to="+447700900999")
    page = compliance.get(compliance.post("/whatsapp_logs", data={"phone": "07700 900123"}).headers["Location"])
    links = [unescape(link) for link in re.findall(r'id="wl-export-\w+" href="([^"]+)"', page.text)]
    assert len(links) == 2
    for link, read in zip(links, (read_csv, read_xlsx), strict=True):
        assert "900123" not in link
        answer = compliance.get(link)
        assert [int(float(str(row["Log id"]))) for row in read([answer.data])] == [wanted.id]
        assert "900123" not in str(answer.headers)


def test_the_api_takes_the_first_portals_names(logged, compliance):
    wanted = logged("read", to="+447700900123")
    logged("read", to="+447700900999")
    logged("failed", to="+447700900123")
    answer = compliance.get("/api/whatsapp/export?status_filter=read&phone_filter=900123")
    assert [row["Log id"] for row in read_csv([answer.data])] == [str(wanted.id)]
    refused = compliance.get("/api/whatsapp/export?format=pdf")
    assert (refused.status_code, refused.get_json()["field"]) == (400, "format")


# --- when it cannot be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["format=pdf", "status=none", "date_from=x", "client=x", "format=xlsx&policy=x", "phone=x"]
)
def test_what_cannot_be_used_is_a_page_that_says_so(compliance, query):
    answer = compliance.get(f"/whatsapp_logs/export?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "text/html")
    assert "Content-Disposition" not in answer.headers


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_fault_17_an_outage_is_a_page_and_no_empty_file(config, form):
    away = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:1/none", pool_timeout_s=0.3))
    person = Person(make_portal(away))
    person.get("/sign_in/compliance")
    answer = person.get(f"/whatsapp_logs/export?format={form}")
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "The database cannot be reached" in answer.text
    assert answer.headers["Retry-After"]
    away.close()


def test_a_third_download_at_a_time_is_asked_to_come_again(service, compliance):
    for _ in range(600):
        service.send(Draft(to="+447700900123", body="x"))
    reader = Reader(name="others", zone=ZoneInfo("UTC"))
    others = [service.export(MessageFilter(), reader) for _ in range(2)]
    for blocks in others:
        next(blocks)
    refused = compliance.get("/whatsapp_logs/export")
    assert refused.status_code == 503
    assert "An export is under way. Try again in a moment." in refused.text
    assert refused.headers["Retry-After"]
    assert compliance.get("/whatsapp_logs").status_code == 200
    others[0].close()
    for _ in range(3):  # somebody goes away, again and again
        compliance.get("/whatsapp_logs/export", buffered=False).close()
    assert len(read_csv([compliance.get("/whatsapp_logs/export").data])) == 600
    others[1].close()


def test_asking_for_headers_only_keeps_no_place(compliance, logged):
    logged()
    for _ in range(5):
        assert compliance.head("/whatsapp_logs/export").status_code == 200


def test_a_list_that_excel_cannot_hold_is_offered_as_csv_alone(service, logged, compliance):
    logged()
    assert "wl-export-xlsx" in compliance.get("/whatsapp_logs").text
    with service.transaction() as conn:
        conn.execute(
            "INSERT INTO whatsapp_logs.count_totals VALUES ('outbound', 'whatsapp', 'general', 'read', %s)",
            (MAX_SHEET_ROWS,),
        )
    page = compliance.get("/whatsapp_logs").text
    assert "wl-export-csv" in page
    assert "wl-export-xlsx" not in page
    assert "choose fewer days" in page
    refused = compliance.get("/whatsapp_logs/export?format=xlsx")
    assert refused.status_code == 400
    assert "take CSV" in refused.text


def test_an_empty_list_offers_no_file(logged, compliance):
    logged()
    assert "wl-export" not in compliance.get("/whatsapp_logs?status=canceled").text
