"""The log's list as a browser without JavaScript gets it: rows, figures, filters, pages, live answers, states."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import zlib
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import psycopg
import pytest
from jinja2 import StrictUndefined

from tests.start.processes import wait_until
from tests.web.reading import figure, poll_url, rows, words
from whatsapp_logs import Draft, MediaFile, Source, StatusReport
from whatsapp_logs.message import Inbound
from whatsapp_logs.web import assets

STATIC = Path(assets.__file__).parent / "static"


def test_a_row_says_all_that_matters(logged, agent):
    pdf = MediaFile(content=b"%PDF-1.7", content_type="application/pdf", filename="policy.pdf")
    logged("undelivered", message_type="policy_document", media=pdf, body="Your *policy*", error_code="63003")
    text = words(agent.get("/whatsapp_logs"))
    for part in (
        "just now",
        "+44 7700 900123",
        "Policy document",
        "Undelivered",
        "The customer’s number is not on WhatsApp",
        "Your policy",
    ):
        assert part in text


def test_every_figure_links_to_exactly_the_rows_it_counts(logged, agent):
    for status in ("queued", "sending", "sent", "delivered", "delivered", "read", "failed", "undelivered", "canceled"):
        logged(status)
    page = agent.get("/whatsapp_logs")
    links = dict(re.findall(r'id="wl-figure-(\w+)">\s*<a href="([^"]+)"', page.text))
    shown = {name: (figure(page, name), len(rows(agent.get(unescape(url))))) for name, url in links.items()}
    assert shown == {
        "total": ("9", 9),
        "delivered": ("3", 3),
        "read": ("1", 1),
        "rate": ("60.0\u202f%", 5),
        "flight": ("3", 3),
        "failed": ("2", 2),
    }


def test_every_status_pill_counts_its_rows(logged, agent):
    for status in ("queued", "delivered", "delivered", "failed"):
        logged(status, client_id=None)
    for address in ("/whatsapp_logs", f"/whatsapp_logs?date_from={datetime.now(UTC).date() - timedelta(days=1)}"):
        page = agent.get(address)
        pills = re.findall(r'id="wl-pill-(\w+)" href="([^"]+)">\w+ <span class="wl-n">(\d+)</span>', page.text)
        assert len(pills) == 6
        for status, url, count in pills:
            assert len(rows(agent.get(unescape(url)))) == int(count), (address, status)


def test_several_statuses_at_once(logged, agent):
    logged("delivered")
    read, failed = logged("read"), logged("failed")
    assert rows(agent.get("/whatsapp_logs?status=read&status=failed")) == [failed.id, read.id]


def test_pages_go_on_without_gap_or_repetition(service, agent):
    made = [service.send(Draft(to="+447700900123", body=str(n))).id for n in range(120)]
    seen, address = [], "/whatsapp_logs"
    while address:
        page = agent.get(address)
        seen += rows(page)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        address = unescape(older[1]) if older else ""
    assert seen == made[::-1]
    assert "101 – 120 of 120" in words(page)
    newer = re.search(r'rel="prev" href="([^"]+)"', page.text)
    assert newer
    assert rows(agent.get(unescape(newer[1]))) == made[::-1][50:100]


def test_fault_23_old_page_numbers_still_answer_and_end_in_words(service, agent):
    made = [service.send(Draft(to="+447700900123", body=str(n))).id for n in range(60)]
    assert rows(agent.get("/whatsapp_logs?page=2")) == made[9::-1]
    for page, status in (("3", 404), ("201", 404), ("9" * 25, 404), ("0", 400), ("-1", 400), ("1.5", 400), ("x", 400)):
        answer = agent.get(f"/whatsapp_logs?page={page}")
        assert answer.status_code == status, page
        assert "All messages" in answer.text


def test_old_filter_names_still_answer(logged, agent):
    logged("delivered", message_type="general")
    wanted = logged("read", message_type="policy_document")
    address = (
        "/whatsapp_logs?status_filter=read&message_type_filter=policy_document&date_from=2020-01-01&phone_filter=all"
    )
    assert rows(agent.get(address)) == [wanted.id]


@pytest.mark.parametrize(
    "field", ["status", "type", "client", "policy", "error_code", "date_from", "date_to", "before", "row"]
)
@pytest.mark.parametrize("value", ["%25", "%00", "'--", "%F0%9F%98%80", "..%2F", "9" * 200, "100%25_"])
def test_fault_23_no_query_breaks_the_page(agent, field, value):
    answer = agent.get(f"/whatsapp_logs?{field}={value}")
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert f"<code>{field}</code>" in answer.text


def test_fault_23_signs_of_sql_patterns_are_just_characters(logged, agent):
    logged(message_type="policy_document")
    for value in ("policy_documen_", "policy%25"):
        assert rows(agent.get(f"/whatsapp_logs?type={value}")) == []


def test_customers_messages_are_listed_apart_and_masked_alike(service, agent, signed_in):
    service.send(Draft(to="+447700900123", body="Hello"))
    inbound = Inbound(provider_id="SM" + "f" * 32, sender="+447700900123", recipient="+15550100100", body="Yes please")
    received = service.receive(inbound)
    page = agent.get("/whatsapp_logs?direction=inbound")
    assert rows(page) == [received]
    assert "Yes please" in page.text
    assert "Refresh status" not in agent.get(f"/whatsapp_logs/messages/{received}").text
    for path in ("?direction=inbound", f"/messages/{received}"):
        shown = signed_in("viewer").get(f"/whatsapp_logs{path}").text
        assert "900123" not in shown
        assert "Yes please" not in shown


def test_what_customers_wrote_is_one_quiet_link_away(service, logged, agent):
    logged()
    assert "received" not in words(agent.get("/whatsapp_logs"))
    assert "No customer has written yet." in words(agent.get("/whatsapp_logs?direction=inbound"))
    service.receive(Inbound(provider_id="SM" + "f" * 32, sender="+447700900123", recipient="+15550100100", body="Yes"))
    assert '<a href="/whatsapp_logs?direction=inbound">1 received</a>' in agent.get("/whatsapp_logs").text


# --- phone numbers stay out of addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["+44 7700 900123", "0044 7700 900123", "07700 900123", "900 123", "(0)7700-900123"])
def test_a_phone_search_takes_any_form_and_leaves_no_number_in_the_address(logged, agent, typed):
    wanted = logged(to="+447700900123")
    logged(to="+447700900999")
    answer = agent.post("/whatsapp_logs", data={"phone": typed})
    assert answer.status_code == 303
    assert not re.search(r"\d{5,}", answer.headers["Location"])
    page = agent.get(answer.headers["Location"])
    assert rows(page) == [wanted.id]
    links = [link for link in re.findall(r'(?:href|hx-get)="([^"]+)"', page.text) if "static" not in link]
    assert not [link for link in links if "900123" in link]


def test_the_old_address_with_a_number_is_answered_with_one_without(logged, agent):
    wanted = logged()
    answer = agent.get("/whatsapp_logs?phone_filter=%2B447700900123&status_filter=queued")
    assert (answer.status_code, "7700" in answer.headers["Location"]) == (303, False)
    assert rows(agent.get(answer.headers["Location"])) == [wanted.id]


def test_a_foreign_phone_link_asks_for_the_number_again(agent, signed_in, logged):
    logged()
    link = agent.post("/whatsapp_logs", data={"phone": "900123"}).headers["Location"]
    answer = signed_in("administrator").get(link)
    assert answer.status_code == 400
    assert "type it again" in answer.text


def test_a_phone_search_is_in_no_cookie_and_ends_after_half_a_day(agent, logged, dsn):
    logged()
    answer = agent.post("/whatsapp_logs", data={"phone": "900123"})
    link = answer.headers["Location"]
    assert agent.get(link).status_code == 200
    cookie = agent.get_cookie("session")
    assert cookie is not None
    payload = cookie.value.lstrip(".").partition(".")[0]
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    assert b"900123" not in (zlib.decompress(raw) if cookie.value.startswith(".") else raw)
    assert agent.post("/whatsapp_logs", data={"phone": "900123"}).headers["Location"] == link
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.phone_searches SET made_at = made_at - interval '13 hours'")
    assert agent.get(link).status_code == 400


@pytest.mark.parametrize("typed", ["%", "12", "\x00", "' OR 1=1 --", "x" * 5000])
def test_what_is_no_phone_number_is_refused_beside_the_form(logged, agent, typed):
    logged()
    answer = agent.post("/whatsapp_logs", data={"phone": typed, "date_from": "2026-01-31", "status": "read"})
    assert answer.status_code == 400
    assert re.search(r'name="phone"[^>]* aria-invalid="true"', answer.text)
    assert 'role="alert" id="wl-problem"' in answer.text
    assert 'value="2026-01-31"' in answer.text  # nothing has to be typed again
    assert '<input type="hidden" name="status" value="read">' in answer.text
    assert rows(answer) == []  # all messages could be taken for the answer


# --- live -------------------------------------------------------------------------------------------------------------


def news(person, address):
    """The answer that brings news: pages look together, a few times a second."""
    answers = []

    def has_news():
        answers.append(person.get(address))
        return answers[-1].status_code != 204

    wait_until(has_news)
    return answers[-1]


def test_live_is_silent_until_something_visible_changes(service, logged, agent):
    message = logged()
    address = poll_url(agent.get("/whatsapp_logs"))
    assert agent.get(address).status_code == 204
    told = StatusReport(provider_status="read", message_id=message.id)
    service.record([told], source=Source.CALLBACK)
    changed = news(agent, address)
    assert (rows(changed), figure(changed, "read")) == ([message.id], "1")
    assert agent.get(poll_url(changed)).status_code == 204
    logged()
    assert news(agent, poll_url(changed)).status_code == 200


def test_live_counts_change_even_where_no_row_shown_does(logged, agent):
    logged("failed")
    page = agent.get("/whatsapp_logs?status=failed")
    logged("delivered")
    assert figure(news(agent, poll_url(page)), "delivered") == "1"


def test_all_who_look_at_the_same_list_cost_the_database_one_look(service, logged, signed_in):
    logged()
    people = [signed_in("agent"), signed_in("administrator"), signed_in("viewer")]
    addresses = [poll_url(person.get("/whatsapp_logs")) for person in people]
    assert [person.get(address).status_code for person, address in zip(people, addresses, strict=True)] == [204] * 3
    service.close()  # nothing more can be asked of the database, and nobody has to
    assert people[0].get(addresses[0]).status_code == 204


def test_a_message_polls_for_itself(service, logged, agent):
    message = logged()
    page = agent.get(f"/whatsapp_logs/messages/{message.id}")
    address = unescape(re.search(r'hx-get="([^"]+seen[^"]+)"', page.text)[1])  # type: ignore[index]
    assert agent.get(address, headers={"HX-Request": "true"}).status_code == 204
    service.record([StatusReport(provider_status="sent", message_id=message.id)], source=Source.CALLBACK)
    fragment = agent.get(address, headers={"HX-Request": "true"})
    assert fragment.text.strip().startswith("<article")


# --- states -----------------------------------------------------------------------------------------------------------


def test_an_empty_log_teaches(agent, signed_in):
    assert "Send yourself a test message" in agent.get("/whatsapp_logs").text
    assert "Send yourself a test message" not in signed_in("viewer").get("/whatsapp_logs").text


def test_an_empty_result_offers_to_clear_the_filters(logged, agent):
    logged()
    assert "Clear filters" in agent.get("/whatsapp_logs?status=canceled").text


def test_waiting_unconfirmed_and_silent_messages_say_so(service, logged, agent):
    waiting, lost = service.send(Draft(to="+447700900101", body="a")), service.send(Draft(to="+447700900102", body="b"))
    silent = logged("sent", to="+447700900103")
    with service.transaction() as conn:
        conn.execute(
            "UPDATE whatsapp_logs.messages SET retry_at = now() + interval '6 min', wait_reason = %s WHERE id = %s",
            ("Twilio is busy (429). The message waits and is tried again.", waiting.id),
        )
        conn.execute("UPDATE whatsapp_logs.messages SET unconfirmed_at = now() WHERE id = %s", (lost.id,))
        conn.execute(
            "UPDATE whatsapp_logs.messages SET sent_at = now() - interval '50 hours' WHERE id = %s", (silent.id,)
        )
    text = words(agent.get("/whatsapp_logs"))
    assert re.search(r"Waiting Twilio is busy \(429\), next try \d\d:\d\d", text)
    assert "Unconfirmed" in text
    assert "Sent not confirmed for 2 days" in text


def test_the_page_is_light(service, agent):
    for n in range(50):
        service.send(Draft(to=f"+4477009000{n:02d}", body=f"Message {n}: " + "some words to read " * 20))
    total = len(gzip.compress(agent.get("/whatsapp_logs").data))
    total += sum(len(gzip.compress((STATIC / name).read_bytes())) for name in (assets.STYLE, *assets.SCRIPTS))
    assert total < 100_000


def test_a_portal_may_have_jinja_refuse_undefined_names(app, logged, agent):
    app.jinja_env.undefined = StrictUndefined
    message = logged("failed", error_code="63016")
    for path in ("", "?page=0", "?status=canceled", "/live", f"/messages/{message.id}", "/unmatched"):
        assert agent.get(f"/whatsapp_logs{path}").status_code in (200, 400), path
    assert agent.post("/whatsapp_logs", data={"phone": "x"}).status_code == 400
    run = agent.post("/whatsapp_logs/refresh_all", headers={"HX-Request": "true"})
    assert "Asking Twilio" in run.text
    for mode in ({}, {"HX-Request": "true"}):
        assert agent.post(f"/whatsapp_logs/messages/{message.id}/resend", headers=mode).status_code == 200


def test_vendored_files_are_what_was_published():
    listed = dict(reversed(line.split()) for line in (STATIC / "vendor/SHA256SUMS").read_text().splitlines())
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (STATIC / "vendor").glob("*.js")}
    assert found == listed
    assert {name.removeprefix("vendor/") for name in assets.SCRIPTS if "/" in name} == set(found)


def test_pages_hold_nothing_inline(logged, agent):
    message = logged("failed", error_code="63016")
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{message.id}", "/whatsapp_logs/unmatched"):
        text = agent.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)", text), path


def test_addresses_that_people_type_lead_to_the_page(agent):
    for path in ("/whatsapp_logs/", "/whatsapp_logs/refresh_all"):
        answer = agent.get(path)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/whatsapp_logs"), path


def test_an_old_day_is_said_once(logged, agent):
    logged("read", at=datetime.now(UTC) - timedelta(days=20))
    text = re.search(r'<td role="cell" class="wl-time">(.*?)</time>', agent.get("/whatsapp_logs").text, re.DOTALL)
    assert text
    assert re.search(r">\d\d? \w{3}<small>\d\d:\d\d</small>", text[1])
