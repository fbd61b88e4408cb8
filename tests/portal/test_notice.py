"""Words of one's own within the approved notice, which arrives at any time; and a message sent again to a corrected number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from portal import database, demo
from portal.app import create_app
from portal.config import PortalConfig
from portal.format import readable_phone
from tests.portal.conftest import SECRET_KEY, Browser, Office
from whatsapp_logs import Source, Status, StatusReport, WhatsAppService
from whatsapp_logs.twilio.simulator import GENERAL_NOTICE, Simulator
from whatsapp_logs.twilio.simulator.templates import TEMPLATES, Rendered, render

NOT_ON_WHATSAPP = "+447700900003"


@pytest.fixture(scope="module")
def noticing(office: Office) -> Iterator[Office]:
    """The same office after its notice was approved."""
    service = WhatsAppService(replace(office.service.config, templates={"general_notice": GENERAL_NOTICE}))
    app = create_app(PortalConfig(database_url=office.dsn, secret_key=SECRET_KEY), service=service)
    yield Office(app, office.dsn, service)
    database.close(app)
    service.close()


@pytest.fixture
def agent(noticing: Office) -> Browser:
    return signed_in(noticing)


def signed_in(office: Office) -> Browser:
    person = Browser(office.app.test_client())
    assert person.sign_in("arjun.agent").status_code == 302
    return person


def as_whatsapp_fills_it_in(variables: dict[str, str] | None) -> Rendered:
    return render(TEMPLATES[GENERAL_NOTICE], variables or {}, media_base_url="")


def preview(html: str) -> str:
    bubble = re.search(r"<blockquote.*?</blockquote>", html, re.DOTALL)
    assert bubble
    return re.sub(r"<[^>]+>", "", bubble[0])


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("Our office is closed on Monday.", "Our office is closed on Monday."),
        ("the repairer has your car", "the repairer has your car."),  # the notice goes on after it
        ("Line one\r\n\r\nline two\tand      blanks", "Line one line two and blanks."),
        ("Does Thursday suit you?", "Does Thursday suit you?"),
        ("नमस्ते, आपका दावा स्वीकार हो गया है।", "नमस्ते, आपका दावा स्वीकार हो गया है।"),
        ("x" * 599 + ".", "x" * 599 + "."),
        ("x" * 600, "x" * 600 + "."),
    ],
)
def test_the_log_holds_the_notice_word_for_word_as_whatsapp_fills_it_in(
    noticing: Office, agent: Browser, typed: str, read: str
) -> None:
    assert agent.submit("/clients/2", "/clients/2/message", body=typed).status_code == 303
    message = noticing.newest()
    filled = as_whatsapp_fills_it_in(message.variables)
    assert filled.error_code is None
    assert message.body == filled.text
    assert (message.status, message.message_type, message.template_name) == (Status.QUEUED, "general", "general_notice")
    (name,) = noticing.row("SELECT name FROM clients WHERE client_id = 2")
    assert message.variables == {"1": name, "2": read}


def test_the_page_shows_the_notice_before_it_is_sent_and_no_warning(agent: Browser) -> None:
    html = agent.get("/clients/2").text
    assert preview(html) == as_whatsapp_fills_it_in({"1": "Oliver Bennett", "2": "…"}).text
    assert "arrives at any time" in html
    assert "only within 24 hours" not in html


def test_without_an_approved_notice_the_page_warns_as_before(office: Office) -> None:
    html = signed_in(office).get("/clients/2").text
    assert "only within 24 hours" in html
    assert "<blockquote" not in html


def test_too_long_a_notice_is_said_beside_the_field_with_the_words_kept(noticing: Office, agent: Browser) -> None:
    before = noticing.message_count()
    answer = agent.submit("/clients/2", "/clients/2/message", body="y" * 601)
    assert answer.status_code == 400
    assert 'aria-describedby="problem window"' in answer.text
    assert 'maxlength="600"' in answer.text
    assert "The message has 601 characters; a notice may have 600." in answer.text
    assert "y" * 601 + "</textarea>" in answer.text
    assert "y" * 601 + "." in preview(answer.text)
    assert noticing.message_count() == before


def test_what_is_typed_into_the_preview_is_text(agent: Browser) -> None:
    answer = agent.submit("/clients/2", "/clients/2/message", body="<script>alert(1)</script>" + "z" * 600)
    assert "<script>alert" not in answer.text


def test_the_form_pressed_twice_is_one_notice(noticing: Office, agent: Browser) -> None:
    fields = agent.hidden_fields("/clients/13", "/clients/13/message")
    before = noticing.message_count()
    for _ in range(2):
        assert agent.post("/clients/13/message", {**fields, "body": "Once"}).status_code == 303
    assert noticing.message_count() == before + 1


@pytest.fixture
def on_the_wire(service: WhatsAppService, dsn: str) -> Iterator[Office]:
    """A portal of this test's own, whose messages go to the simulator."""
    demo.seed(dsn)
    app = create_app(PortalConfig(database_url=dsn, secret_key=SECRET_KEY), service=service)
    yield Office(app, dsn, service)
    database.close(app)


def test_a_notice_reaches_a_client_who_has_never_written(
    on_the_wire: Office, simulator: Simulator, work: Callable[[], None]
) -> None:
    signed_in(on_the_wire).submit("/clients/2", "/clients/2/message", body="Your claim is settled")
    work()
    simulator.wait_idle()
    (message,) = simulator.messages()
    assert (message.status, message.error_code) == ("read", None)
    assert message.body == on_the_wire.newest().body
    assert "Your claim is settled." in message.body


def test_a_failed_message_is_sent_again_to_the_corrected_number(
    on_the_wire: Office, simulator: Simulator, work: Callable[[], None]
) -> None:
    person = signed_in(on_the_wire)
    (client_id,) = on_the_wire.row("SELECT client_id FROM clients WHERE phone = %(phone)s", phone=NOT_ON_WHATSAPP)
    person.submit(f"/clients/{client_id}", f"/clients/{client_id}/message", body="Your claim is settled")
    work()
    simulator.wait_idle()
    failed = on_the_wire.newest()
    on_the_wire.service.refresh_message(failed)
    page = f"/whatsapp_logs/messages/{failed.id}"
    html = person.get(page).text
    assert f'href="/clients/{client_id}"' in html
    assert "/resend" not in html  # to the same number it would fail again

    edit = f"/clients/{client_id}/edit"
    details = {"name": "Grace Thompson", "phone": "07700 900777", "email": "", "address": "1 Quay Road"}
    assert person.submit(edit, edit, **details).status_code == 303
    assert "The client’s number is now <b>+44 7700 900777</b>" in person.get(page).text
    question = person.submit(page, f"{page}/resend")
    assert "+44 7700 900777: the number has been corrected since" in question.text
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', question.text))
    assert person.post(f"{page}/resend", fields).status_code == 303
    work()
    simulator.wait_idle()
    again = on_the_wire.newest()
    assert (again.resend_of, again.recipient, again.body) == (failed.id, "+447700900777", failed.body)
    assert again.provider_id
    assert simulator.message(again.provider_id).status == "read"


def test_a_document_refused_for_its_number_goes_with_the_corrected_message(on_the_wire: Office) -> None:
    person = signed_in(on_the_wire)
    on_the_wire.row("UPDATE clients SET phone = '+44 1' WHERE client_id = 4 RETURNING 1")
    (policy_id,) = on_the_wire.row("SELECT policy_id FROM policies WHERE client_id = 4 LIMIT 1")
    person.submit(f"/policies/{policy_id}", f"/policies/{policy_id}/send")
    refused = on_the_wire.newest()
    assert (refused.status, refused.error_code) == (Status.FAILED, "invalid_number")

    details = {"name": "Kwame Asante", "phone": "07700 900778", "email": "", "address": "1 Quay Road"}
    person.submit("/clients/4/edit", "/clients/4/edit", **details)
    page = f"/whatsapp_logs/messages/{refused.id}"
    question = person.submit(page, f"{page}/resend")
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', question.text))
    person.post(f"{page}/resend", fields)
    again = on_the_wire.newest()
    assert (again.status, again.recipient) == (Status.QUEUED, "+447700900778")
    assert again.media_filename == refused.media_filename is not None


def test_advice_that_a_new_number_does_not_follow_is_still_given(noticing: Office, agent: Browser) -> None:
    sid = "SM" + "9" * 32
    message = noticing.service.log_message(message_sid=sid, to="+447700900779", body="Hello", client_id=2)
    window_closed = StatusReport(provider_status="failed", provider_id=sid, error_code="63016")
    noticing.service.record([window_closed], source=Source.CALLBACK)
    html = agent.get(f"/whatsapp_logs/messages/{message.id}").text
    assert "Send an approved template instead" in html
    (number,) = noticing.row("SELECT phone FROM clients WHERE client_id = 2")
    assert f"The client’s number is now <b>{readable_phone(str(number))}</b>" in html
