"""The log's pages as a browser without JavaScript gets them, on the real database.

The tests named test_mistake_… keep the first portal's mistakes from coming back.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.service_fixtures import Person, make_portal
from whatsapp_logs import Config, Draft, MediaFile, Message, Source, StatusReport, Template, WhatsAppService
from whatsapp_logs.web import asking, assets

STATIC = Path(assets.__file__).parent / "static"
PDF = MediaFile(content=b"%PDF-1.7 a policy of nobody", content_type="application/pdf", filename="policy.pdf")
XSS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "*<b onclick=alert(1)>*",
    "</textarea></dialog><svg/onload=alert(1)>",
    "\u202eevil\u2028line",
)


@pytest.fixture
def agent(signed_in: Callable[[str], Person]) -> Person:
    return signed_in("agent")


@pytest.fixture
def logged(service: WhatsAppService) -> Callable[..., Message]:
    """A function that logs one message at a status, created at a moment."""

    def log(status: str = "queued", *, at: datetime | None = None, to: str = "+447700900123", **facts: Any) -> Message:
        report = {name: facts.pop(name) for name in ("error_code", "error_message") if name in facts}
        message = service.send(Draft(to=to, **{"body": "Hello", **facts}))
        if at is not None:
            with service.transaction() as conn:
                conn.execute("UPDATE whatsapp_logs.messages SET created_at = %s WHERE id = %s", (at, message.id))
        told = StatusReport(provider_status=status, message_id=message.id, provider_id=f"SM{message.id:032x}", **report)
        service.record([told], source=Source.CALLBACK)
        return service.message(message.id)

    return log


def rows(answer: TestResponse) -> list[int]:
    """The ids of the messages that a page lists."""
    return [int(found) for found in re.findall(r'id="wl-row-(\d+)"', answer.text)]


def words(answer: TestResponse) -> str:
    """The page's text as a person reads it."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def figure(answer: TestResponse, name: str) -> str:
    found = re.search(rf'id="wl-figure-{name}".*?<b>(.*?)</b>', answer.text, re.DOTALL)
    assert found
    return unescape(found[1])


# --- the list ---------------------------------------------------------------------------------------------------------


def test_a_row_says_all_that_matters(logged, agent):
    logged("undelivered", message_type="policy_document", media=PDF, body="Your *policy*", error_code="63003")
    text = words(agent.get("/whatsapp_logs"))
    for part in (
        "just now",
        "+44 7700 900123",
        "Policy document",
        "Undelivered",
        "Number is not on WhatsApp",
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


def test_old_page_numbers_still_answer_and_end_in_words(service, agent):
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
def test_no_query_breaks_the_page(agent, field, value):
    answer = agent.get(f"/whatsapp_logs?{field}={value}")
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert f"<code>{field}</code>" in answer.text


def test_signs_of_sql_patterns_are_just_characters(logged, agent):
    logged(message_type="policy_document")
    for value in ("policy_documen_", "policy%25"):
        assert rows(agent.get(f"/whatsapp_logs?type={value}")) == []


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
    answer = signed_in("agent").get(link)
    assert answer.status_code == 400
    assert "type it again" in answer.text


def test_only_the_last_phone_searches_are_kept(agent):
    links = [agent.post("/whatsapp_logs", data={"phone": f"90012{n}"}).headers["Location"] for n in range(7)]
    assert [agent.get(link).status_code for link in links] == [400] * 2 + [200] * 5


@pytest.mark.parametrize("typed", ["%", "12", "\x00", "' OR 1=1 --", "x" * 5000])
def test_what_is_no_phone_number_is_refused_in_words(agent, typed):
    answer = agent.post("/whatsapp_logs", data={"phone": typed})
    assert answer.status_code == 400
    assert "<code>phone</code>" in answer.text


# --- who may see what -------------------------------------------------------------------------------------------------


def test_a_viewer_sees_no_number_no_text_no_document(logged, signed_in):
    message = logged(body="Secret words", media=PDF)
    viewer = signed_in("viewer")
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{message.id}", "/whatsapp_logs/live"):
        answer = viewer.get(path)
        assert answer.status_code == 200
        for secret in ("7700", "900123", "Secret", "policy.pdf", "word for word"):
            assert secret not in answer.text, (path, secret)
        assert "0123" in answer.text
    assert viewer.get(f"/whatsapp_logs/messages/{message.id}/document").status_code == 403


def test_a_viewer_cannot_guess_a_number_digit_by_digit(logged, signed_in):
    wanted = logged(to="+447700900123")
    viewer = signed_in("viewer")
    for part in ("900123", "00900123", "7700900"):
        answer = viewer.post("/whatsapp_logs", data={"phone": part}, follow_redirects=True)
        assert rows(answer) == []
    answer = viewer.post("/whatsapp_logs", data={"phone": "07700 900123"}, follow_redirects=True)
    assert rows(answer) == [wanted.id]


@pytest.mark.parametrize("role", ["viewer", "compliance"])
def test_who_may_not_change_finds_no_button_and_no_way(logged, signed_in, role):
    message = logged("failed", error_code="63016")
    person = signed_in(role)
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{message.id}"):
        text = person.get(path).text
        assert "Refresh" not in re.sub(r"<title>.*?</title>", "", text).replace("wl-refresh", "")
        assert "Send again" not in text
    for path in (
        f"messages/{message.id}/refresh",
        f"messages/{message.id}/resend",
        "refresh_all",
        "refreshes/1/cancel",
    ):
        assert person.post(f"/whatsapp_logs/{path}").status_code == 403


def test_a_change_without_its_token_is_refused(app, logged):
    message = logged("failed")
    person = app.test_client()
    person.get("/sign_in/agent")
    for path in ("", f"/messages/{message.id}/refresh", f"/messages/{message.id}/resend", "/refresh_all"):
        assert person.post(f"/whatsapp_logs{path}").status_code == 400, path


# --- one message ------------------------------------------------------------------------------------------------------


def test_details_tell_the_whole_story(service, agent):
    template = Template(sid="HX" + "b" * 32, name="policy_document", variables={"1": "Asha"})
    draft = Draft(to="+447700900123", body="Your *policy*", media=PDF, template=template, created_by="agent.smith")
    message, begin = service.send(draft), datetime.now(UTC)
    for status, after_s in (("sent", 2), ("delivered", 5), ("read", 95)):
        told = StatusReport(
            provider_status=status,
            message_id=message.id,
            provider_id="SM" + "c" * 32,
            happened_at=begin + timedelta(seconds=after_s),
            num_segments=1,
            payload={"EventType": status.upper()},
        )
        service.record([told], source=Source.CALLBACK)
    answer = agent.get(f"/whatsapp_logs/messages/{message.id}")
    text = words(answer)
    for part in (
        "agent.smith",
        "SM" + "c" * 32,
        "Twilio price pending",
        "Segments 1",
        "HX" + "b" * 32,
        "+ 1 min 30 s",
        "DELIVERED",
    ):
        assert part.replace(" ", "") in text.replace("\xa0", "").replace(" ", ""), part
    assert "<b>policy</b>" in answer.text
    assert f"/whatsapp_logs/messages/{message.id}/document" in answer.text


def test_an_error_says_what_it_means_and_what_to_do(logged, agent):
    message = logged("failed", error_code="63016", error_message="Outside the allowed window")
    text = words(agent.get(f"/whatsapp_logs/messages/{message.id}"))
    for part in (
        "24-hour window closed",
        "What to do: Send an approved template",
        "63016",
        "at our end",
        "Outside the allowed window",
    ):
        assert part in text


def test_a_code_nobody_knows_is_shown_with_twilios_words(logged, agent):
    message = logged("failed", error_code="69999", error_message="Something new")
    assert "Something new" in words(agent.get("/whatsapp_logs"))
    assert "69999" in words(agent.get(f"/whatsapp_logs/messages/{message.id}"))


def test_the_document_opens_in_place_and_cannot_do_harm(service, agent):
    shown = service.send(Draft(to="+447700900123", media=PDF))
    answer = agent.get(f"/whatsapp_logs/messages/{shown.id}/document")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, PDF.content, "application/pdf")
    assert answer.headers["Content-Disposition"].startswith("inline")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer.headers["Cache-Control"]
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_document_that_could_run_is_only_offered_for_download(service, agent):
    message = service.send(Draft(to="+447700900123", media=PDF))
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.media SET content_type = 'text/html', filename = 'a\"\n.html'")
    answer = agent.get(f"/whatsapp_logs/messages/{message.id}/document")
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_unknown_ids_are_not_found(agent):
    for path in ("messages/1", f"messages/{10**30}", "messages/1/document", "refreshes/1", f"refreshes/{10**30}"):
        assert agent.get(f"/whatsapp_logs/{path}").status_code == 404, path


def test_sending_again_asks_first_and_pressing_twice_sends_once(service, logged, agent):
    failed = logged("failed", error_code="30008", media=PDF, message_type="policy_document")
    path = f"/whatsapp_logs/messages/{failed.id}/resend"
    question = agent.post(path)
    assert service.status_counts().get("queued") is None
    key = re.search(r'name="request_key" value="([^"]+)"', question.text)
    assert key
    answers = [agent.post(path, data={"confirm": "yes", "request_key": key[1]}) for _ in range(2)]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    again = service.message(int(answers[0].headers["Location"].rpartition("/")[2]))
    assert (again.resend_of, again.recipient, again.body) == (failed.id, failed.recipient, failed.body)
    assert (again.media_filename, again.message_type) == ("policy.pdf", "policy_document")


@pytest.mark.parametrize("status", ["queued", "sent", "delivered", "read"])
def test_what_arrived_or_still_may_is_never_sent_again(logged, agent, status):
    message = logged(status)
    answer = agent.post(f"/whatsapp_logs/messages/{message.id}/resend", data={"confirm": "yes", "request_key": "k"})
    assert answer.status_code == 400
    assert "still may" in answer.text


def test_an_unconfirmed_message_is_never_sent_again(service, agent):
    message = service.send(Draft(to="+447700900123", body="Hello"))
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET unconfirmed_at = now(), status = 'failed'")
    answer = agent.post(f"/whatsapp_logs/messages/{message.id}/resend", data={"confirm": "yes", "request_key": "k"})
    assert answer.status_code == 400


def test_refresh_status_tells_what_twilio_said(service, logged, agent):
    message = logged()
    answer = agent.post(f"/whatsapp_logs/messages/{message.id}/refresh", follow_redirects=True)
    assert 'class="wl-notice' in answer.text
    assert "Last checked just now" in answer.text
    assert 'class="wl-notice' not in agent.get(f"/whatsapp_logs/messages/{message.id}").text


def test_twilio_away_is_said_and_the_message_stays(config, logged):
    message = logged()
    cut_off = WhatsAppService(replace(config, twilio_api_base_url="http://127.0.0.1:1"))
    person = Person(make_portal(cut_off))
    person.token = person.get("/sign_in/agent").text
    answer = person.post(f"/whatsapp_logs/messages/{message.id}/refresh", follow_redirects=True)
    assert answer.status_code == 200
    assert "Twilio cannot be reached. Try again in a few minutes." in answer.text
    cut_off.close()


def test_without_credentials_the_log_is_readable_and_says_what_is_missing(config, logged):
    message = logged()
    bare = WhatsAppService(
        replace(config, twilio_account_sid="", twilio_auth_token="", twilio_whatsapp_from="", twilio_api_base_url="")
    )
    person = Person(make_portal(bare))
    person.token = person.get("/sign_in/agent").text
    for path in ("refresh_all", f"messages/{message.id}/refresh"):
        answer = person.post(f"/whatsapp_logs/{path}", follow_redirects=True)
        assert (answer.status_code, "Twilio client not configured" in answer.text) == (200, True), path
    bare.close()


def test_a_second_click_joins_the_refresh_under_way(signed_in):
    first = signed_in("agent").post("/whatsapp_logs/refresh_all")
    second = signed_in("administrator").post("/whatsapp_logs/refresh_all")
    assert first.headers["Location"] == second.headers["Location"]


def test_a_refresh_can_be_stopped(agent, work):
    run = agent.post("/whatsapp_logs/refresh_all").headers["Location"]
    assert "Stopping" in agent.post(f"{run}/cancel", follow_redirects=True).text
    work()
    assert "Stopping" not in agent.get(run).text


def test_reports_nobody_can_place_are_listed(service, agent):
    service.record([StatusReport(provider_status="delivered", provider_id="SM" + "d" * 32)], source=Source.CALLBACK)
    assert "SM" + "d" * 32 in agent.get("/whatsapp_logs/unmatched").text


# --- live -------------------------------------------------------------------------------------------------------------


def poll_url(page: TestResponse) -> str:
    found = re.search(r'hx-get="([^"]+live[^"]+)"', page.text)
    assert found
    return unescape(found[1])


def test_live_is_silent_until_something_visible_changes(service, logged, agent):
    message = logged()
    address = poll_url(agent.get("/whatsapp_logs"))
    assert agent.get(address).status_code == 204
    told = StatusReport(provider_status="read", message_id=message.id)
    service.record([told], source=Source.CALLBACK)
    changed = agent.get(address)
    assert (changed.status_code, rows(changed), figure(changed, "read")) == (200, [message.id], "1")
    assert agent.get(poll_url(changed)).status_code == 204
    logged()
    assert agent.get(poll_url(changed)).status_code == 200


def test_live_counts_change_even_where_no_row_shown_does(logged, agent):
    logged("failed")
    page = agent.get("/whatsapp_logs?status=failed")
    logged("delivered")
    assert figure(agent.get(poll_url(page)), "delivered") == "1"


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


# --- the first portal's mistakes --------------------------------------------------------------------------------------


def test_mistake_4_the_message_column_holds_the_messages_words(logged, agent):
    logged(body="The words themselves")
    assert "The words themselves" in agent.get("/whatsapp_logs").text


def test_mistake_5_the_last_day_of_a_range_is_included_in_the_viewers_zone(logged, agent):
    inside = logged(at=datetime(2026, 3, 31, 22, 59, 59, tzinfo=UTC))
    outside = logged(at=datetime(2026, 3, 31, 23, 0, 0, tzinfo=UTC))  # 1 April in London's summer time
    agent.set_cookie(asking.ZONE_COOKIE, "Europe/London")
    page = agent.get("/whatsapp_logs?date_from=2026-03-01&date_to=2026-03-31")
    assert rows(page) == [inside.id]
    assert rows(agent.get("/whatsapp_logs?date_from=2026-04-01&date_to=2026-04-01")) == [outside.id]


def test_mistake_6_totals_are_right_above_a_thousand_rows_and_the_rate_leaves_out_rows_in_flight(service, agent):
    with service.transaction() as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, status)
            SELECT '+447700900' || lpad((n % 1000)::text, 3, '0'),
                   (CASE WHEN n <= 900 THEN 'delivered' WHEN n <= 1000 THEN 'failed' ELSE 'sent' END)::whatsapp_logs.status
            FROM generate_series(1, 2500) AS n
            """
        )
    page = agent.get("/whatsapp_logs")
    shown = {name: figure(page, name) for name in ("total", "delivered", "rate", "flight", "failed")}
    assert shown == {
        "total": "2\u202f500",
        "delivered": "900",
        "rate": "90.0\u202f%",
        "flight": "1\u202f500",
        "failed": "100",
    }
    assert "1 – 50 of 2\u202f500" in page.text
    assert "900 delivered or read of 1\u202f000 that reached an end" in unescape(page.text)


def test_mistake_7_a_dead_database_is_said_and_shows_no_zeros(config: Config):
    dead = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:1/nothing", pool_timeout_s=0.2))
    person = Person(make_portal(dead))
    person.get("/sign_in/agent")
    for path in ("/whatsapp_logs", "/whatsapp_logs/messages/1", "/whatsapp_logs/live"):
        answer = person.get(path)
        assert answer.status_code == 503
        assert "The database cannot be reached" in answer.text
        assert "wl-figure" not in answer.text
        assert "No messages" not in answer.text
        assert answer.headers["Retry-After"]
    dead.close()


@pytest.mark.parametrize("evil", XSS)
def test_mistake_10_nothing_from_outside_runs(service, agent, evil):
    message = service.log_message(
        message_sid="SM" + "e" * 32,
        to="+447700900123",
        body=evil,
        created_by=evil[:90],
        message_type=evil[:40],
        media_url=evil,
    )
    told = StatusReport(
        provider_status=evil,
        provider_id=message.provider_id,
        error_code="99999",
        error_message=evil,
        payload={evil: [evil, {"x": evil}]},
    )
    failed = StatusReport(
        provider_status="failed", provider_id=message.provider_id, error_code="99999", error_message=evil
    )
    service.record([told, failed], source=Source.CALLBACK)
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{message.id}"):
        html = agent.get(path).text
        assert not re.search(r"<(script(?! src=)|img|b onclick|svg/)", html), path
        assert 'href="javascript:' not in html
        assert not re.search(r">\s*49\s*<", html)  # an evaluated template
