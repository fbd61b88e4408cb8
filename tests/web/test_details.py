"""One message: what its page tells, its document, asking Twilio again, settling it, sending it again; and who may do so."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import psycopg
import pytest

from tests.faults.test_provider_away import turn_the_clock
from tests.service_fixtures import Person, make_portal
from tests.web.reading import rows, words
from whatsapp_logs import Draft, MediaFile, Source, StatusReport, Template, WhatsAppService
from whatsapp_logs.message import Inbound

PDF = MediaFile(content=b"%PDF-1.7 a policy of nobody", content_type="application/pdf", filename="policy.pdf")


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


@pytest.mark.parametrize("code", ["99999", "63024", None])
def test_a_number_that_twilios_words_quote_is_hidden_from_a_viewer(logged, agent, signed_in, code):
    message = logged("failed", error_code=code, error_message="The number +44 7700 900123 is not on WhatsApp")
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{message.id}"):
        assert "900123" not in signed_in("viewer").get(path).text
    if code != "63024":  # there the list says what the code means
        assert "The number •••• 0123 is not on WhatsApp" in signed_in("viewer").get("/whatsapp_logs").text
        assert "The number +44 7700 900123 is not" in agent.get("/whatsapp_logs").text


def test_a_viewer_cannot_guess_a_number_digit_by_digit(logged, signed_in):
    wanted = logged(to="+447700900123")
    viewer = signed_in("viewer")
    for part in ("900123", "00900123", "7700900"):
        answer = viewer.post("/whatsapp_logs", data={"phone": part}, follow_redirects=True)
        assert rows(answer) == []
        assert part == "7700900" or "You may search by the whole number only." in words(answer)
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
        f"messages/{message.id}/not_sent",
        "refresh_all",
        "refreshes/1/cancel",
    ):
        assert person.post(f"/whatsapp_logs/{path}").status_code == 403


def test_fault_22_a_change_without_its_token_is_refused(app, logged):
    message = logged("failed")
    person = app.test_client()
    person.get("/sign_in/agent")
    of_message = (f"/messages/{message.id}/{verb}" for verb in ("refresh", "resend", "not_sent"))
    for path in ("", *of_message, "/refresh_all"):
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
        "The 24-hour window has closed",
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


def test_a_document_whose_name_has_letters_of_any_language_opens(service, agent):
    shown = service.send(Draft(to="+447700900123", media=replace(PDF, filename="Łukasz’s policy.pdf")))
    header = agent.get(f"/whatsapp_logs/messages/{shown.id}/document").headers["Content-Disposition"]
    header.encode("latin-1")  # else no server can send it
    assert "UTF-8''%C5%81ukasz%E2%80%99s%20policy.pdf" in header


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
        conn.execute("UPDATE whatsapp_logs.messages SET unconfirmed_at = now(), status = 'failed', failed_at = now()")
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


# --- what belongs together --------------------------------------------------------------------------------------------


def test_a_message_that_was_sent_again_says_so_and_is_not_sent_a_third_time(service, logged, agent):
    failed = logged("failed", error_code="30008")
    path = f"/whatsapp_logs/messages/{failed.id}"
    before = agent.get(path)
    assert "Send again…" in words(before)
    agent.post(f"{path}/resend", data={"confirm": "yes", "request_key": "first"})
    for page in (path, "/whatsapp_logs"):
        answer = agent.get(page)
        assert f"Sent again as Message {failed.id + 1}" in words(answer)
        assert f'href="{path[: -len(str(failed.id))]}{failed.id + 1}"' in answer.text
    assert "Send again…" not in words(agent.get(path))
    assert agent.post(f"{path}/resend").headers["Location"].endswith(path)  # no question any more
    other = agent.post(f"{path}/resend", data={"confirm": "yes", "request_key": "second"})
    assert other.status_code == 400
    assert f"sent again already, as Message {failed.id + 1}" in words(other)
    assert service.status_counts()["queued"] == 1


def test_an_open_failed_message_learns_that_somebody_else_sent_it_again(logged, agent):
    failed = logged("failed", error_code="30008")
    page = agent.get(f"/whatsapp_logs/messages/{failed.id}")
    address = unescape(re.search(r'hx-get="([^"]+seen[^"]+)"', page.text)[1])  # type: ignore[index]
    agent.post(f"/whatsapp_logs/messages/{failed.id}/resend", data={"confirm": "yes", "request_key": "other"})
    assert "Sent again as" in words(agent.get(address, headers={"HX-Request": "true"}))


def test_an_unconfirmed_message_says_what_is_known_and_what_to_do(service, agent):
    lost = service.send(Draft(to="+447700900123", body="Hello", created_by="somebody"))
    with service.transaction() as conn:
        conn.execute(
            """
            UPDATE whatsapp_logs.messages SET wait_reason = 'Twilio took too long to answer.',
                last_status_check = created_at + interval '13 s',
                claimed_at = created_at + interval '2 s', unconfirmed_at = created_at + interval '12 s'
            """
        )
    path = f"/whatsapp_logs/messages/{lost.id}"
    text = words(agent.get(path))
    for part in (
        "Nobody knows yet whether it was sent",
        "The log has looked for it in Twilio’s list ever since, last just now: it is not there.",
        "What to do: Wait.",
        "you can settle it here",
        "What was handed over (nobody knows yet whether it arrived)",
        "Handed over to Twilio",
        "Twilio’s answer was lost Twilio took too long to answer",
        "Last looked up just now",
    ):
        assert part in text, part
    assert "Not asked yet" not in text
    assert "As the customer" not in text
    assert "It was not sent" not in text
    found = StatusReport(
        provider_status="sent",
        message_id=lost.id,
        provider_id="SM" + "d" * 32,
        happened_at=lost.created_at + timedelta(seconds=15),
    )
    service.record([found], source=Source.REFRESH)
    settled = words(agent.get(path))
    assert "Nobody knows" not in settled
    assert settled.index("Handed over to Twilio; its answer was lost") < settled.index("by asking Twilio")


def test_an_answer_is_its_customers_whose_number_it_came_from(service, app, agent):
    log = app.extensions["whatsapp_logs"]
    log.client_names = lambda ids: dict.fromkeys(ids, "Asha Rao")
    with service.transaction() as conn:
        conn.execute("INSERT INTO clients (name, phone, address) VALUES ('Asha Rao', '+447700900123', '1 Road')")
    service.send(Draft(to="+447700900123", body="Hello", client_id=1))
    answer = Inbound(provider_id="SM" + "f" * 32, sender="+447700900123", recipient="+15550100100", body="Yes please")
    received = service.receive(answer)
    text = words(agent.get(f"/whatsapp_logs/messages/{received}"))
    assert "Client, by the number Asha Rao" in text
    assert "Asha Rao" in words(agent.get("/whatsapp_logs?direction=inbound"))


def test_advice_ends_in_one_full_stop(logged, agent):
    for code in ("69999", "63003", "21610"):
        text = words(agent.get(f"/whatsapp_logs/messages/{logged('failed', error_code=code).id}"))
        assert "What to do:" in text
        assert not re.search(r"\.\s*\.", text), code
        assert "To address" not in text


def test_an_outcome_says_when_and_by_whom_and_stands_above_the_whole_log_only(logged, agent, work):
    logged("sent")
    agent.post("/whatsapp_logs/refresh_all")
    work()
    assert re.search(r"asked, .* \d\d:\d\d by agent@office", words(agent.get("/whatsapp_logs")))
    assert "asked, " not in words(agent.get("/whatsapp_logs?status=sent"))
    assert "goes on when you close" not in words(agent.get("/whatsapp_logs/refreshes/1"))


# --- settled by a person ----------------------------------------------------------------------------------------------


@pytest.fixture
def lost(service, simulator, dsn):
    """A message that Twilio never got, whose answer was lost two hours ago, and which has been looked up since."""
    simulator.settings.create_error, simulator.settings.drop_rate = "500", 1.0
    message = service.send(Draft(to="+447700900123", body="Hello", created_by="somebody"))
    service.deliver([message.id])
    simulator.settings.create_error = None
    service.settle_unconfirmed()
    turn_the_clock(dsn, timedelta(hours=2))
    return service.message(message.id)


def test_a_person_settles_what_twilio_never_shows_after_a_question(service, lost, agent):
    path = f"/whatsapp_logs/messages/{lost.id}"
    page = agent.get(path)
    for part in ("Nobody knows yet", "last 2 h ago: it is not there", "Look in Twilio’s console", "It was not sent…"):
        assert part in words(page), part
    question = agent.post(f"{path}/not_sent")
    assert "Was this message not sent?" in words(question)
    assert "the customer gets it twice" in words(question)
    assert 'name="csrf_token"' in question.text
    assert service.message(lost.id).is_unconfirmed, "asking changes nothing"
    settled = agent.post(f"{path}/not_sent", data={"confirm": "yes"}, follow_redirects=True)
    text = words(settled)
    for part in (
        "It counts as not sent now, and can be sent again.",
        "Failed",
        "agent@office.example.test declared that it was not sent. Twilio’s list, asked just before, did not show it.",
        "Send again…",
        "Twilio’s answer was lost",
        "Declared not sent by agent@office.example.test",
        "Last looked up just now",
        "none: it is not in Twilio’s list",
    ):
        assert part in text, part
    assert "word for word" not in text, "Twilio did not say it"
    assert "found here" not in text
    assert "Declared not sent" in words(agent.get("/whatsapp_logs"))
    again = words(agent.post(f"{path}/resend"))
    assert "Send this message again?" in again
    assert "Asked again just now, it still does not." in again


def test_a_script_gets_the_question_and_its_outcome_in_place(lost, agent):
    path = f"/whatsapp_logs/messages/{lost.id}/not_sent"
    for data, expected in (({}, "Was this message not sent?"), ({"confirm": "yes"}, "It counts as not sent now")):
        answer = agent.post(path, data=data, headers={"HX-Request": "true"})
        assert answer.status_code == 200
        assert answer.text.lstrip().startswith("<article")
        assert expected in words(answer)


def test_who_may_not_send_settles_nothing_and_is_told_who_may(service, lost, signed_in):
    for role in ("viewer", "compliance"):
        person = signed_in(role)
        text = words(person.get(f"/whatsapp_logs/messages/{lost.id}"))
        assert "Have somebody who may send messages look" in text
        assert "It was not sent…" not in text
        answer = person.post(f"/whatsapp_logs/messages/{lost.id}/not_sent", data={"confirm": "yes"})
        assert answer.status_code == 403
    assert service.message(lost.id).is_unconfirmed


def test_a_message_that_was_just_lost_is_not_settled_by_a_person(service, dsn, lost, agent):
    turn_the_clock(dsn, timedelta(hours=-1.5))
    path = f"/whatsapp_logs/messages/{lost.id}"
    assert "What to do: Wait." in words(agent.get(path))
    for data in ({}, {"confirm": "yes"}):
        answer = agent.post(f"{path}/not_sent", data=data)
        assert answer.status_code == 400
        assert "It is too soon" in words(answer)
    assert service.message(lost.id).is_unconfirmed


def test_an_open_message_learns_that_it_may_be_settled_now(dsn, lost, agent):
    turn_the_clock(dsn, timedelta(hours=-1, minutes=-1))
    page = agent.get(f"/whatsapp_logs/messages/{lost.id}")
    assert "It was not sent…" not in words(page)
    address = unescape(re.search(r'hx-get="([^"]+seen[^"]+)"', page.text)[1])  # type: ignore[index]
    with psycopg.connect(dsn) as conn:  # as time goes by: nothing else of the message is another one
        conn.execute("UPDATE whatsapp_logs.messages SET unconfirmed_at = unconfirmed_at - interval '2 minutes'")
    assert "It was not sent…" in words(agent.get(address, headers={"HX-Request": "true"}))


def test_while_twilio_is_away_a_person_settles_nothing_and_is_told_why(service, simulator, lost, agent):
    simulator.go_away()
    path = f"/whatsapp_logs/messages/{lost.id}"
    answer = agent.post(f"{path}/not_sent", data={"confirm": "yes"}, follow_redirects=True)
    assert "Twilio cannot be reached. Try again in a few minutes. Until Twilio has been asked" in words(answer)
    assert service.message(lost.id) == lost


def test_a_message_that_is_found_at_the_press_says_so(service, lost, agent):
    found = StatusReport(provider_status="delivered", message_id=lost.id, provider_id="SM" + "e" * 32)
    service.record([found], source=Source.CALLBACK)
    for data in ({}, {"confirm": "yes"}):
        answer = agent.post(f"/whatsapp_logs/messages/{lost.id}/not_sent", data=data, follow_redirects=True)
        assert "Twilio has this message after all" in words(answer)
    assert service.message(lost.id).error_code is None


def test_what_twilio_has_after_all_is_a_warning_and_no_button_to_send_it_again(service, lost, agent):
    path = f"/whatsapp_logs/messages/{lost.id}"
    service.declare_not_sent(lost.id, created_by="asha")
    late = StatusReport(provider_status="sent", message_id=lost.id, provider_id="SM" + "e" * 32)
    service.record([late], source=Source.CALLBACK)
    text = words(agent.get(path))
    for part in (
        "In doubt Declared not sent, but Twilio has it",
        "Twilio has it after all asha declared that it was not sent.",
        "Do not send it again.",
        "Handed over to Twilio; its answer was lost",
        "Declared not sent by asha",
        "Sent by Twilio’s callback",
        "SM" + "e" * 32,
    ):
        assert part in text, part
    assert "Send again…" not in text
    assert "Declared not sent, but Twilio has it" in words(agent.get("/whatsapp_logs?status=failed"))
    answer = agent.post(f"{path}/resend", data={"confirm": "yes", "request_key": "k"})
    assert answer.status_code == 400
    assert "still may" in words(answer)


def test_a_message_that_came_after_all_still_tells_that_it_was_sent_again(service, lost, agent):
    path = f"/whatsapp_logs/messages/{lost.id}"
    service.declare_not_sent(lost.id, created_by="asha")
    again = service.send_again(lost.id, created_by="asha", request_key="again")
    for word, advice in (("sent", "the same message may come twice"), ("delivered", "")):
        late = StatusReport(provider_status=word, message_id=lost.id, provider_id="SM" + "e" * 32)
        service.record([late], source=Source.CALLBACK)
        text = words(agent.get(path))
        assert f"Sent again as Message {again.id}" in text
        assert advice in text
        assert word == "delivered" or f"Sent again as Message {again.id}" in words(agent.get("/whatsapp_logs"))


def test_before_a_declared_message_is_sent_again_twilio_is_asked_once_more(service, simulator, lost, agent):
    path = f"/whatsapp_logs/messages/{lost.id}"
    service.declare_not_sent(lost.id, created_by="asha")
    simulator.go_away()
    answer = agent.post(f"{path}/resend", follow_redirects=True)
    assert "Until Twilio has been asked once more, it is not sent again." in words(answer)
    simulator.come_back()
    assert "Send this message again?" in words(agent.post(f"{path}/resend"))
    theirs = service.send(Draft(to=lost.recipient, body=lost.body))
    service.deliver([theirs.id])
    simulator.wait_idle()
    [sid] = [one.sid for one in simulator.messages()]
    with service.transaction() as conn:  # as if Twilio's list had shown our message late
        conn.execute("UPDATE whatsapp_logs.messages SET provider_id = 'another' WHERE id = %s", (theirs.id,))
    simulator.ledger.change(sid, created_at=lost.claimed_at.timestamp(), status="sent")
    answer = agent.post(f"{path}/resend", follow_redirects=True)
    assert "Twilio has this message after all." in words(answer)
    assert "Send this message again?" not in words(answer)
    assert service.message(lost.id).provider_id == sid


def test_refreshing_a_declared_message_says_what_the_list_shows(service, lost, agent):
    service.declare_not_sent(lost.id, created_by="asha")
    answer = agent.post(f"/whatsapp_logs/messages/{lost.id}/refresh", follow_redirects=True)
    assert "Twilio’s list still does not show this message." in words(answer)
