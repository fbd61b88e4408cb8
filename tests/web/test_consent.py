"""The page of the ledger of consent: what it shows, to whom, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from flask import Flask

from tests.service_fixtures import Person, make_portal
from whatsapp_logs import Draft, WhatsAppService
from whatsapp_logs.access_log import AccessFilter
from whatsapp_logs.message import Inbound

CUSTOMER, OUR_NUMBER = "+447700900222", "+15550100100"
PAGE = "/whatsapp_logs/consent"
SignIn = Callable[[str], Person]


@pytest.fixture
def app(service: WhatsAppService) -> Flask:
    """A portal that knows whose number is whose."""
    return make_portal(
        service,
        client_phone=lambda client_id: CUSTOMER if client_id == "7" else None,
        client_names=lambda ids: {one: f"Client No {one}" for one in ids},
    )


def writes(service: WhatsAppService, text: str, *, n: int = 1, sender: str = CUSTOMER) -> None:
    service.receive(Inbound(provider_id=f"SM{n:032d}", sender=sender, recipient=OUR_NUMBER, body=text))


def record(person: Person, **fields: str):
    given = {"kind": "opt_in", "scope": "marketing", "wording": "Ticked the box", "client": "7"} | fields
    return person.post(PAGE, data=given, follow_redirects=True)


def test_an_empty_ledger_says_what_will_stand_there(signed_in: SignIn) -> None:
    assert "STOP and START come here by themselves" in signed_in("viewer").get(PAGE).text


def test_a_message_that_lacks_an_agreement_leads_to_where_it_is_recorded(
    service: WhatsAppService, signed_in: SignIn
) -> None:
    service.config = replace(service.config, consent_required="always")
    template = service.template("general_notice", {"1": "Asha", "2": "we are closed."})
    message = service.send(Draft(to=CUSTOMER, body="Hello", template=template))
    page = signed_in("agent").get(f"/whatsapp_logs/messages/{message.id}").text
    assert "No agreement to messages is recorded" in page
    assert f'<a class="wl-button" href="{PAGE}">Record the agreement</a>' in page
    again = signed_in("agent").post(f"/whatsapp_logs/messages/{message.id}/resend").text
    assert f'href="{PAGE}">Record the customer&#39;s agreement</a>' in again


def test_stop_stands_there_with_its_words_and_its_message(
    service: WhatsAppService, signed_in: SignIn, dsn: str
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO clients (client_id, name, phone, address) OVERRIDING SYSTEM VALUE VALUES (7, 'Asha Rao', %s, '1 Road')",
            [CUSTOMER],
        )
    service.send(Draft(to=CUSTOMER, body="x", client_id="7"))
    writes(service, "Stop!")
    page = signed_in("agent").get(PAGE).text
    assert "Asked us to stop" in page
    assert "“Stop!”" in page
    assert "+44 7700 900222" in page
    assert f'href="{PAGE}?client=7">Client No 7' in page  # by the number that we wrote to
    page = signed_in("viewer").get(PAGE).text
    assert "Stop!" not in page
    assert "900222" not in page


def test_what_holds_now_is_said_on_a_clients_page(service: WhatsAppService, signed_in: SignIn) -> None:
    agent = signed_in("agent")
    assert "Nothing is recorded" in agent.get(f"{PAGE}?client=7").text
    page = record(agent).text
    assert "Recorded. The gate goes by it from now on." in page
    assert "Agreed: advertising" in page
    assert "told a member of staff: agent@office.example.test" in page
    writes(service, "STOP")
    assert "Nothing is sent until they write START" in agent.get(f"{PAGE}?client=7").text
    (line,) = [line for line in service.consent_of(CUSTOMER) if line.source == "staff"]
    assert (line.client_id, line.scope, line.wording) == ("7", "marketing", "Ticked the box")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"wording": " "}, "it is the proof"),
        ({"kind": "perhaps"}, "Choose whether"),
        ({"scope": "some"}, "Choose what it is about"),
        ({"happened_on": "2099-01-01"}, "has not come yet"),
        ({"happened_on": "yesterday"}, "Write the day like"),
        ({"client": "", "phone": "12"}, "too short"),
        ({"client": "", "phone": ""}, "write their phone number"),
        ({"client": "8"}, "knows no number of this client"),
    ],
)
def test_what_is_no_record_is_refused_in_words_and_kept_in_the_form(
    fields: dict[str, str], says: str, service: WhatsAppService, signed_in: SignIn
) -> None:
    answer = record(signed_in("agent"), **fields)
    assert answer.status_code == 400
    assert says in answer.text
    if fields.get("client", "7") == "7" and "wording" not in fields:
        assert "Ticked the box" in answer.text
    assert service.consent_page() == []


def test_a_day_of_the_past_is_kept(service: WhatsAppService, signed_in: SignIn) -> None:
    record(signed_in("agent"), happened_on="2026-03-03")
    (line,) = service.consent_of(CUSTOMER)
    assert line.happened_at == datetime(2026, 3, 3, 12, tzinfo=UTC)
    assert datetime.now(UTC) - line.received_at < timedelta(minutes=1)


def test_recording_needs_the_right_to_send(service: WhatsAppService, signed_in: SignIn) -> None:
    assert record(signed_in("compliance")).status_code == 403
    assert "Record what a customer said" not in signed_in("compliance").get(PAGE).text
    assert service.consent_page() == []


def test_pages_follow_one_another_and_each_line_stands_on_one(service: WhatsAppService, signed_in: SignIn) -> None:
    for n in range(53):
        writes(service, "STOP" if n % 2 else "START", n=n, sender=f"+4477009{n:05d}")
    viewer = signed_in("agent")
    first = viewer.get(PAGE).text
    assert first.count("<tr role") == 51
    older = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = viewer.get(older).text
    assert second.count("<tr role") == 4
    assert "‹ Newest" in second
    assert viewer.get(f"{PAGE}?kind=opt_out").text.count("<tr role") == 27


def test_looking_at_a_clients_lines_is_a_look(service: WhatsAppService, signed_in: SignIn) -> None:
    signed_in("agent").get(f"{PAGE}?client=7")
    assert [access.subjects for access in service.accesses(AccessFilter())] == [("client:7",)]
