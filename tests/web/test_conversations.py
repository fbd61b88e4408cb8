"""The pages of conversations: who waits, what was said, the box to answer in, files, rights and looks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import psycopg
import pytest
from flask import Flask

from tests.service_fixtures import Person, make_portal
from tests.web.twilio_calls import Twilio, inbound_form, sid
from whatsapp_logs import Config, Draft, MediaFile, MessageFilter, WhatsAppService
from whatsapp_logs.access_log import AccessFilter, Act
from whatsapp_logs.bot_words import REASONS
from whatsapp_logs.message import Inbound, Path
from whatsapp_logs.store import sent_files
from whatsapp_logs.twilio.simulator import templates

NUMBER, TEXT = "+447700900123", "Strictly between us"
LIST = "/whatsapp_logs/conversations"
KEY = "a-key-of-this-form-alone"
SignIn = Callable[[str], Person]
Hear = Callable[..., int]


@pytest.fixture
def hear(service: WhatsAppService) -> Hear:
    """A function that lets a customer write; returns their conversation's id. Nobody is a bot here: each message waits."""
    told = iter(range(1_000, 10_000))

    def write(text: str = TEXT, sender: str = NUMBER, **more: object) -> int:
        received = Inbound(provider_id=sid(next(told)), sender=sender, recipient="+15550100100", body=text, **more)  # type: ignore[arg-type]
        service.receive(received)
        id_ = service.desk.ids_of([sender])[sender]
        service.desk.answer(id_)
        return id_

    return write


def seen(html: str) -> str:
    match = re.search(r"seen=([0-9a-f]+)", html)
    assert match
    return match[1]


def plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_who_waits_longest_stands_on_top_and_others_below(
    hear: Hear, agent: Person, dsn: str, service: WhatsAppService
) -> None:
    first, second, third = (hear(f"word {n}", f"+44770090070{n}") for n in range(3))
    service.desk.give_back(second)
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "UPDATE whatsapp_logs.conversations SET waiting_since = now() - interval '3 hours' WHERE id = %s", (third,)
        )
    html = agent.get(LIST).text
    assert re.findall(r'id="wl-talk-(\d+)"', html) == [str(third), str(first), str(second)]
    assert "Waits 3 h" in html
    assert "23 h 58 min left" in html  # a minute before the provider closes it, as the gate does
    assert "Waiting for a person" in html


def test_the_empty_list_says_what_will_stand_here(agent: Person) -> None:
    assert "No customer has written yet" in agent.get(LIST).text


def test_last_words_are_ours_or_theirs(hear: Hear, agent: Person) -> None:
    id_ = hear()
    assert TEXT in agent.get(LIST).text
    agent.post(f"{LIST}/{id_}/reply", data={"body": "Certainly", "request_key": KEY})
    html = plain(agent.get(LIST).text)
    assert "We: Certainly" in html
    assert TEXT not in html


def test_pages_go_on_where_the_last_one_ended(hear: Hear, agent: Person, service: WhatsAppService, dsn: str) -> None:
    ids = [hear("word", f"+4477009{n:05d}") for n in range(40)]
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.conversations SET waiting_since = NULL")
    html = agent.get(LIST).text
    older = re.search(r'rel="next" href="([^"]+)"', html)
    assert older
    shown = re.findall(r'id="wl-talk-(\d+)"', html) + re.findall(
        r'id="wl-talk-(\d+)"', agent.get(unescape(older[1])).text
    )
    assert shown == [str(id_) for id_ in reversed(ids)]


def test_both_sides_stand_in_one_conversation_with_days_between(hear: Hear, agent: Person, logged, dsn: str) -> None:
    logged("read", body="Your policy is on its way", to=NUMBER, at=datetime.now(UTC) - timedelta(days=3))
    id_ = hear()
    html = agent.get(f"{LIST}/{id_}").text
    assert html.index("Your policy is on its way") < html.index(TEXT)
    assert html.count('class="wl-talk-day" id="wl-day') == 2
    assert "wl-said-by-us" in html
    assert "wl-said-by-them" in html


def test_earlier_messages_are_a_page_of_their_own(hear: Hear, agent: Person) -> None:
    for n in range(60):
        id_ = hear(f"word number {n}.")
    html = agent.get(f"{LIST}/{id_}").text
    assert "word number 59." in html
    assert "word number 9." not in html
    earlier = re.search(r'href="([^"]+before=[^"]+)"', html)
    assert earlier
    older = agent.get(unescape(earlier[1])).text
    assert "word number 9." in older
    assert "word number 59." not in older
    assert "Your answer" not in older
    assert "data-wl-live" not in older


def test_nothing_new_is_204_and_one_more_message_is_news(hear: Hear, agent: Person) -> None:
    id_ = hear()
    for path in (LIST, f"{LIST}/{id_}"):
        word = seen(agent.get(path).text)
        assert agent.get(f"{path}?seen={word}").status_code == 204
        hear("and another thing")
        answer = agent.get(f"{path}?seen={word}", headers={"HX-Request": "true"})
        assert answer.status_code == 200
        assert "and another thing" in answer.text
        assert "<html" not in answer.text


def test_an_answer_goes_out_once_and_ends_the_waiting(hear: Hear, agent: Person, service: WhatsAppService) -> None:
    id_ = hear()
    form = {"body": "Certainly.\r\nTomorrow?", "request_key": KEY}
    for _ in range(2):
        answer = agent.post(f"{LIST}/{id_}/reply", data=form)
        assert answer.status_code == 303
    sent = [one for one in service.desk.chat(id_).messages if one.direction == "outbound"]
    assert [(one.body, one.path, one.created_by) for one in sent] == [
        ("Certainly.\nTomorrow?", Path.REPLY, "agent@office.example.test")
    ]
    held = service.desk.conversation(id_)
    assert (held.waiting_since, held.handed_over_to) == (None, "agent@office.example.test")
    agent.post(f"{LIST}/{id_}/reply", data={**form, "body": "Other words"})
    assert len(service.desk.chat(id_).messages) == 3, "another answer, from a form that was changed after going back"


@pytest.mark.parametrize(
    ("body", "says"), [("", "Write an answer first"), ("x" * 1601, "1,601 characters"), ("\0 ", "Write an answer")]
)
def test_what_cannot_be_sent_is_said_beside_the_box(hear: Hear, agent: Person, body: str, says: str) -> None:
    answer = agent.post(f"{LIST}/{hear()}/reply", data={"body": body, "request_key": KEY})
    assert answer.status_code == 400
    assert says in answer.text
    assert "wl-bad" in answer.text.partition('role="alert"')[0].rpartition("<p")[2]
    assert 'aria-invalid="true"' in answer.text


def test_the_gates_sentence_stands_beside_the_words_which_are_kept(
    hear: Hear, config: Config, dsn: str, service: WhatsAppService
) -> None:
    strict = WhatsAppService(replace(config, gate_off=frozenset()))
    person = Person(make_portal(strict), response_wrapper=make_portal(strict).response_class)
    person.token = person.get("/sign_in/agent").text
    id_ = hear()
    assert "Your answer" in person.get(f"{LIST}/{id_}").text
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - interval '25 hours'")
    answer = person.post(f"{LIST}/{id_}/reply", data={"body": "My words", "request_key": KEY})
    assert answer.status_code == 400
    assert "more than 24 hours old" in answer.text
    assert "Send an approved template instead" in answer.text
    assert len(service.desk.chat(id_).messages) == 1
    strict.close()


@pytest.fixture
def notice(dsn: str) -> int:
    """An approved template in the catalogue."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            """
            WITH t AS (INSERT INTO whatsapp_logs.templates (name, created_by) VALUES ('general_notice', 'anna') RETURNING id)
            INSERT INTO whatsapp_logs.template_versions
                (template_id, version, content_sid, content_type, body, variables, approval, created_by, checked_at)
            SELECT id, 1, %s, 'twilio/text', 'Hello {{1}}, a notice: {{2}} Please reply.',
                   '[{"key": "1", "name": "client name", "sample": "Asha"}, {"key": "2", "name": "notice", "sample": "…"}]',
                   'approved', 'anna', now() FROM t RETURNING id
            """,
            (templates.GENERAL_NOTICE,),
        ).fetchone()
    assert row
    return int(row[0])


def close_window(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - interval '25 hours'")


def test_outside_the_window_an_approved_template_is_offered_and_sent(
    hear: Hear, agent: Person, service: WhatsAppService, dsn: str, notice: int
) -> None:
    id_ = hear()
    assert "general notice" not in agent.get(f"{LIST}/{id_}").text
    close_window(dsn)
    html = agent.get(f"{LIST}/{id_}").text
    assert "general notice" in html
    assert "Your answer</label>" not in html
    form = {"template": notice, "field_1": "Asha", "field_2": "we have  called\nyou", "request_key": KEY}
    assert agent.post(f"{LIST}/{id_}/template", data=form).status_code == 303
    sent = service.desk.chat(id_).messages[-1]
    assert (sent.body, sent.template_sid) == (
        "Hello Asha, a notice: we have called you Please reply.",
        templates.GENERAL_NOTICE,
    )
    assert sent.variables == {"1": "Asha", "2": "we have called you"}


@pytest.mark.parametrize("change", [{"field_2": " "}, {"template": "999"}, {"template": ""}, {"field_2": "x" * 700}])
def test_a_template_that_is_not_filled_in_or_not_there_is_not_sent(
    hear: Hear, agent: Person, service: WhatsAppService, dsn: str, notice: int, change: dict[str, str]
) -> None:
    id_ = hear()
    close_window(dsn)
    form = {"template": str(notice), "field_1": "Asha", "field_2": "we have called", "request_key": KEY} | change
    answer = agent.post(f"{LIST}/{id_}/template", data=form)
    assert answer.status_code == 400
    if "field_2" in change:
        assert 'value="Asha"' in answer.text, "what was typed stays"
    assert len(service.desk.chat(id_).messages) == 1


def test_after_stop_nothing_can_be_written(hear: Hear, agent: Person) -> None:
    hear()
    id_ = hear("STOP")
    html = agent.get(f"{LIST}/{id_}").text
    assert "has asked us to stop" in html
    assert "<textarea" not in html
    assert agent.post(f"{LIST}/{id_}/reply", data={"body": "But", "request_key": KEY}).status_code == 400
    listed = plain(agent.get(LIST).text)
    assert "asked us to stop" in listed
    assert " left" not in listed
    hear("START")
    assert "asked us to stop" not in plain(agent.get(LIST).text)


def test_taking_and_giving_back(hear: Hear, agent: Person, service: WhatsAppService) -> None:
    id_ = hear()
    assert agent.post(f"{LIST}/{id_}/take").status_code == 303
    held = service.desk.conversation(id_)
    assert held.handed_over_to == "agent@office.example.test"
    assert held.waiting_since is not None, "taken is not answered"
    assert "agent@office.example.test has it" in plain(agent.get(LIST).text)
    assert agent.post(f"{LIST}/{id_}/give_back").status_code == 303
    held = service.desk.conversation(id_)
    assert (held.handed_over_at, held.waiting_since) == (None, None)


@pytest.mark.parametrize(
    ("role", "reads", "answers"), [("viewer", False, False), ("compliance", True, False), ("agent", True, True)]
)
def test_who_may_read_and_who_may_answer(hear: Hear, signed_in: SignIn, role: str, reads: bool, answers: bool) -> None:
    id_, person = hear(), signed_in(role)
    listed = person.get(LIST)
    assert listed.status_code == 200
    assert (TEXT in listed.text) == reads
    assert (f"{LIST}/{id_}" in listed.text) == reads
    page = person.get(f"{LIST}/{id_}")
    assert (page.status_code == 200) == reads
    assert ("<textarea" in page.text) == answers
    for path in (f"{LIST}/{id_}/reply", f"{LIST}/{id_}/template", f"{LIST}/{id_}/take", f"{LIST}/{id_}/give_back"):
        answer = person.post(path, data={"body": "x", "request_key": KEY})
        assert (answer.status_code != 403) == answers, path
    assert person.get("/whatsapp_logs/messages/1/files/0").status_code == (404 if reads else 403)


def test_a_number_is_masked_for_whoever_may_not_see_it(hear: Hear, signed_in: SignIn) -> None:
    hear()
    assert "900123" not in signed_in("viewer").get(LIST).text
    assert "0123" in signed_in("viewer").get(LIST).text


def test_no_token_no_answer(hear: Hear, agent: Person, service: WhatsAppService) -> None:
    id_ = hear()
    agent.token = ""
    for name in ("reply", "template", "take", "give_back"):
        assert agent.post(f"{LIST}/{id_}/{name}", data={"body": "x", "request_key": KEY}).status_code == 400
    assert len(service.desk.chat(id_).messages) == 1


def test_reading_a_conversation_is_a_look_and_counts_once(
    hear: Hear, agent: Person, service: WhatsAppService, signed_in: SignIn
) -> None:
    id_ = hear()
    for _ in range(3):
        agent.get(f"{LIST}/{id_}")
    agent.get(LIST)
    (look,) = service.accesses(AccessFilter())
    assert (look.act, look.about) == (Act.OPENED, {"conversation": id_})
    assert look.subjects[0].startswith("number:")
    assert NUMBER[1:] not in str(look)
    assert f"Read conversation {id_}" in signed_in("compliance").get("/whatsapp_logs/access").text


def test_no_address_holds_a_number(hear: Hear, agent: Person) -> None:
    id_ = hear()
    for path in (LIST, f"{LIST}/{id_}"):
        for link in re.findall(r'(?:href|action|hx-get)="([^"]*)"', agent.get(path).text):
            assert "900123" not in link


def test_what_a_customer_writes_is_no_html(hear: Hear, agent: Person) -> None:
    nasty = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    id_ = hear(nasty, profile_name=nasty)
    for path in (LIST, f"{LIST}/{id_}"):
        assert "<script>alert" not in agent.get(path).text
        assert "<img src=x" not in agent.get(path).text


def test_a_files_page_is_a_download_of_what_it_is(hear: Hear, agent: Person, service: WhatsAppService) -> None:
    id_ = hear(media=(("https://api.twilio.com/1", "image/png"), ("https://api.twilio.com/2", "text/html")))
    message = service.desk.chat(id_).messages[0].id
    assert "A file is being fetched" in agent.get(f"{LIST}/{id_}").text
    png = MediaFile(content=b"\x89PNG\r\n\x1a\n", content_type="image/png", filename="message-1.png")
    html = MediaFile(content=b"<script>", content_type="application/octet-stream", filename="message-1-2.bin")
    with service.transaction() as conn:
        for file, content in zip(sent_files.of_messages(conn, [message]), (png, html), strict=True):
            sent_files.store(conn, file, content, now=datetime.now(UTC))
    page = agent.get(f"{LIST}/{id_}").text
    assert f'<img src="/whatsapp_logs/messages/{message}/files/0"' in page
    assert "unknown type" in page
    for place, kind in ((0, "image/png"), (1, "application/octet-stream")):
        answer = agent.get(f"/whatsapp_logs/messages/{message}/files/{place}")
        assert answer.mimetype == kind
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "no-store" in answer.headers["Cache-Control"]
    opened = agent.get(f"/whatsapp_logs/messages/{message}/document")
    assert opened.headers["Content-Disposition"].startswith("attachment")
    acts = [look.act for look in service.accesses(AccessFilter(message_id=message))]
    assert Act.DOCUMENT in acts
    assert agent.get(f"/whatsapp_logs/messages/{message}/files/7").status_code == 404
    assert agent.get(f"/whatsapp_logs/messages/{10**19}/files/0").status_code == 404


def test_a_file_that_has_not_come_says_why_and_is_asked_for_again(
    hear: Hear, agent: Person, service: WhatsAppService
) -> None:
    id_ = hear(media=(("https://evil.example.test/1", "image/png"),))
    message = service.desk.chat(id_).messages[0].id
    service.desk.fetch_file(message, 0)
    html = agent.get(f"{LIST}/{id_}").text
    assert "not opened" in html
    assert "Try again" in html
    assert agent.post(f"/whatsapp_logs/messages/{message}/files/0/again").status_code == 303
    assert "A file is being fetched" in agent.get(f"{LIST}/{id_}").text


def test_the_webhook_makes_a_conversation_that_a_message_leads_to(app, service: WhatsAppService, agent: Person) -> None:
    twilio = Twilio(app.test_client(), service.config.public_base_url)
    form = inbound_form(sid(1), TEXT)
    for _ in range(3):
        assert twilio.post("/whatsapp/inbound", form).status_code == 200
    (id_,) = service.desk.ids_of([NUMBER]).values()
    chat = service.desk.chat(id_)
    assert [one.body for one in chat.messages] == [TEXT]
    assert chat.conversation.profile_name == "Asha"
    assert chat.window_until is not None
    assert f"{LIST}/{id_}" in agent.get(f"/whatsapp_logs/messages/{chat.messages[0].id}").text


@pytest.mark.parametrize("path", ["/0", "/99999", f"/{10**19}", "/abc", "?before=nonsense", "/1?before=%00"])
def test_odd_addresses_are_told_so(agent: Person, path: str) -> None:
    assert agent.get(LIST + path).status_code in (400, 404)


def test_an_erased_conversation_says_so(hear: Hear, agent: Person, service: WhatsAppService) -> None:
    id_ = hear()
    with service.transaction() as conn:
        conn.execute("SELECT whatsapp_logs.erase_conversations(%s)", ([NUMBER],))
    html = agent.get(f"{LIST}/{id_}").text
    assert "Erased conversation" in html
    assert TEXT not in html
    assert "<textarea" not in html
    assert "Erased" in agent.get(LIST).text
    assert agent.post(f"{LIST}/{id_}/reply", data={"body": "x", "request_key": KEY}).status_code == 404


def test_every_reason_is_a_phrase() -> None:
    assert all(text and not text.endswith(".") for text in REASONS.values())


def test_the_box_closes_when_the_gate_does_and_not_a_minute_later(
    hear: Hear, service: WhatsAppService, dsn: str
) -> None:
    """The gate takes the window for closed a minute early, as the provider's clock decides: the page has to say the same."""
    strict = WhatsAppService(replace(service.config, gate_off=frozenset({"quiet_hours"})))
    id_ = hear("Hi")
    for seconds, is_open in ((24 * 3600 - 90, True), (24 * 3600 - 30, False)):
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - make_interval(secs => %s)", [seconds]
            )
        verdict = strict.preview(Draft(to=NUMBER, body="Yes", path=Path.REPLY))
        assert (strict.desk.chat(id_).window_until is not None, verdict.refusal is None) == (is_open, is_open)
    strict.close()


# --- the ways there and back ---


def test_a_row_of_the_log_leads_to_its_conversation_for_whoever_may_read_it(
    hear: Hear, logged, signed_in: SignIn
) -> None:
    logged("read", to=NUMBER)
    stranger = logged("read", to="+447700900124")
    id_ = hear()
    for path in ("/whatsapp_logs", "/whatsapp_logs?direction=inbound"):
        found = re.findall(r'<a class="wl-talk-link"[^>]* href="([^"]+)"', signed_in("agent").get(path).text)
        assert found == [f"{LIST}/{id_}"], path
        assert "wl-talk-link" not in signed_in("viewer").get(path).text, "who sees no texts opens no conversation"
    assert f"wl-talk-of-{stranger.id}" not in signed_in("agent").get("/whatsapp_logs").text


def test_from_the_conversation_back_to_the_log_without_a_number_in_the_address(
    hear: Hear, logged, agent: Person
) -> None:
    ours, other = logged("read", to=NUMBER), logged("read", to="+447700900124")
    answer = agent.post(f"{LIST}/{hear()}/log")
    assert answer.status_code == 303
    assert "900123" not in answer.location
    html = agent.get(answer.location).text
    assert f"wl-row-{ours.id}" in html
    assert f"wl-row-{other.id}" not in html


def test_how_many_wait_stands_in_the_navigation_and_comes_by_itself(
    hear: Hear, signed_in: SignIn, app: Flask, service: WhatsAppService
) -> None:
    def waits(html: str) -> list[str]:
        return re.findall(r'class="wl-waits" title="(\S+) waiting for a person"', html)

    agent, now = signed_in("agent"), app.extensions["whatsapp_logs"].waiting
    now._counted_at = float("-inf")  # it is counted once a second
    html = agent.get("/whatsapp_logs").text
    assert waits(html) == []
    word, list_word = seen(html), seen(agent.get(LIST).text)
    id_ = hear()
    hear(sender="+447700900124")
    now._counted_at = float("-inf")
    news = agent.get(f"/whatsapp_logs/live?seen={word}")
    assert (news.status_code, waits(news.text)) == (200, ["2"])
    for path in ("/whatsapp_logs", LIST, f"{LIST}/{id_}", "/whatsapp_logs/templates"):
        assert waits(agent.get(path).text) == ["2"], path
    news = agent.get(f"{LIST}?seen={list_word}", headers={"HX-Request": "true"}).text
    assert 'hx-swap-oob="morph"' in news
    assert waits(news) == ["2"]
    assert waits(signed_in("viewer").get("/whatsapp_logs").text) == []
    service.desk.give_back(id_)
    now._counted_at = float("-inf")
    assert waits(agent.get("/whatsapp_logs").text) == ["1"]


# --- two clerks ---


def form_of(html: str) -> dict[str, str]:
    found = dict(re.findall(r'name="(request_key|seen)" value="([^"]*)"', html))
    assert found.keys() == {"request_key", "seen"}
    return found


def test_a_second_answer_to_the_same_question_is_held_back_once_with_its_words(
    hear: Hear, signed_in: SignIn, service: WhatsAppService
) -> None:
    page = f"{LIST}/{hear()}"
    arjun, anna = signed_in("agent"), signed_in("administrator")
    forms = [form_of(one.get(page).text) for one in (arjun, anna)]
    assert arjun.post(f"{page}/reply", data={"body": "Tomorrow.", **forms[0]}).status_code == 303
    held_back = anna.post(f"{page}/reply", data={"body": "On Friday, I think.", **forms[1]})
    assert held_back.status_code == 409
    assert "agent@office.example.test answered" in held_back.text
    assert ">On Friday, I think.</textarea>" in held_back.text, "the draft is kept"
    assert "wl-warn" in held_back.text.partition('role="alert"')[0].rpartition("<p")[2], "and no mistake of hers"
    assert "aria-invalid" not in held_back.text
    assert "Tomorrow." in held_back.text, "and beside it what was answered"
    sent = [one.body for one in service.page(MessageFilter()).messages]
    assert sent == ["Tomorrow."]
    again = anna.post(f"{page}/reply", data={"body": "On Friday, I think.", **form_of(held_back.text)})
    assert again.status_code == 303, "she has read it, and means it"
    assert len(service.page(MessageFilter()).messages) == 2


def test_what_is_no_second_answer_passes(hear: Hear, signed_in: SignIn, service: WhatsAppService) -> None:
    id_ = hear()
    page = f"{LIST}/{id_}"
    arjun, anna = signed_in("agent"), signed_in("administrator")
    old, own = form_of(anna.get(page).text), form_of(arjun.get(page).text)
    assert arjun.post(f"{page}/reply", data={"body": "Tomorrow.", **own}).status_code == 303
    own["request_key"] += "again"
    assert arjun.post(f"{page}/reply", data={"body": "And bring the papers.", **own}).status_code == 303, "one's own"
    hear("And what about my house?")
    assert anna.post(f"{page}/reply", data={"body": "It is fine.", **old}).status_code == 303, "a new question"
    assert len(service.page(MessageFilter()).messages) == 3


def test_a_template_is_an_answer_too(hear: Hear, signed_in: SignIn, dsn: str, service: WhatsAppService) -> None:
    page = f"{LIST}/{hear()}"
    arjun, anna = signed_in("agent"), signed_in("administrator")
    forms = [form_of(one.get(page).text) for one in (arjun, anna)]
    assert arjun.post(f"{page}/reply", data={"body": "Tomorrow.", **forms[0]}).status_code == 303
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            """
            WITH t AS (INSERT INTO whatsapp_logs.templates (name, created_by) VALUES ('notice', 'anna') RETURNING id)
            INSERT INTO whatsapp_logs.template_versions
                (template_id, version, content_sid, content_type, body, variables, approval, created_by, checked_at)
            SELECT id, 1, %s, 'twilio/text', 'Hello.', '[]', 'approved', 'anna', now() FROM t RETURNING id
            """,
            (templates.GENERAL_NOTICE,),
        ).fetchone()
    assert row
    held_back = anna.post(f"{page}/template", data={"template": row[0], **forms[1]})
    assert held_back.status_code == 409
    assert len(service.page(MessageFilter()).messages) == 1


def test_who_is_writing_is_news_for_everybody_else(hear: Hear, signed_in: SignIn, dsn: str) -> None:
    page = f"{LIST}/{hear()}"
    arjun, anna = signed_in("agent"), signed_in("administrator")
    word = seen(anna.get(page).text)
    assert arjun.post(f"{page}/writing").status_code == 204
    news = anna.get(f"{page}?seen={word}", headers={"HX-Request": "true"})
    assert "agent@office.example.test is writing an answer" in plain(news.text)
    assert "is writing" not in plain(arjun.get(page).text), "not to himself"
    assert signed_in("viewer").post(f"{page}/writing").status_code == 403
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.answering_now SET written_at = now() - interval '13 seconds'")
    assert "is writing" not in plain(anna.get(page).text), "he has stopped"
    arjun.post(f"{page}/writing")
    arjun.post(f"{page}/reply", data={"body": "Tomorrow.", **form_of(arjun.get(page).text)})
    told = plain(anna.get(page).text)
    assert "is writing" not in told
    assert "agent@office.example.test answered 5 s ago" in told
