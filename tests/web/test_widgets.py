"""The log on a portal's own pages: a card of figures, a client's latest messages. Rights hold, an outage breaks nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape

import pytest
from flask import Flask, render_template_string

from tests.service_fixtures import Person, make_portal
from whatsapp_logs import Config, Draft, Source, StatusReport, WhatsAppService
from whatsapp_logs.message import Inbound

HOME = "<main>{{ whatsapp_logs_widget() }}{{ whatsapp_logs_messages(client_id=request.args.get('client', '')) }}</main>"


@pytest.fixture
def app(service: WhatsAppService) -> Flask:
    return with_home(make_portal(service))


def with_home(app: Flask) -> Flask:
    app.add_url_rule("/home", "home", lambda: render_template_string(HOME))
    return app


@pytest.fixture
def client_id(service: WhatsAppService) -> str:
    with service.transaction() as conn:
        row = conn.execute(
            "INSERT INTO clients (name, phone, address) VALUES ('Asha Rao', '+447700900123', '1 Road') RETURNING client_id"
        ).fetchone()
    assert row
    return str(row[0])


def test_the_card_shows_figures_and_the_last_failures(service, signed_in):
    for n in range(2):
        service.send(Draft(to="+447700900123", body=str(n)))
    service.record([StatusReport(provider_status="failed", message_id=1, error_code="63003")], source=Source.CALLBACK)
    home = signed_in("agent").get("/home").text
    assert "The customer’s number is not on WhatsApp" in home
    assert home.count("<script") == 3  # once, however many widgets a page has
    links = [unescape(link) for link in re.findall(r'<dd[^>]*><a href="([^"]+)"[^>]*>(?:2|1)<', home)]
    assert [len(re.findall(r'id="wl-row-', signed_in("agent").get(link).text)) for link in links] == [2, 1, 2]


def test_a_clients_messages_are_theirs_alone_and_kept_up_to_date(service, signed_in, client_id):
    service.send(Draft(to="+447700900123", body="Hello", client_id=client_id))
    service.send(Draft(to="+447700900999", body="Hello"))
    agent = signed_in("agent")
    home = agent.get(f"/home?client={client_id}").text
    assert "wl-brief-1" in home
    assert "wl-brief-2" not in home
    address = re.search(r'hx-get="([^"]+latest[^"]+)"', home)
    assert address
    assert agent.get(unescape(address[1])).status_code == 204
    service.record([StatusReport(provider_status="read", message_id=1)], source=Source.CALLBACK)
    changed = agent.get(unescape(address[1]))
    assert "Read" in changed.text
    for odd in ("²", "-1", "9" * 5000, "x", ""):  # how many: what is no number is the usual number
        assert agent.get(f"/whatsapp_logs/latest?client={client_id}&limit={odd}").status_code == 200
    assert "<script" not in changed.text


def test_a_viewer_sees_masked_numbers_and_a_stranger_nothing(service, app, signed_in, client_id):
    service.send(Draft(to="+447700900123", body="Hello", client_id=client_id))
    assert "900123" not in signed_in("viewer").get(f"/home?client={client_id}").text
    assert app.test_client().get("/home").text == "<main></main>"


@pytest.mark.parametrize("odd", ["abc", "99999999999999999999", "%25", "'", "\x00"])
def test_an_id_that_cannot_be_has_no_messages(signed_in: Callable[[str], Person], odd):
    answer = signed_in("agent").get("/home", query_string={"client": odd})
    assert answer.status_code == 200
    assert "No messages yet" in answer.text


def test_an_outage_is_said_and_the_page_stays(config: Config):
    away = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:1/nothing", pool_timeout_s=0.2))
    person = Person(with_home(make_portal(away)))
    person.get("/sign_in/agent")
    answer = person.get("/home")
    assert answer.status_code == 200
    assert answer.text.count("cannot be reached just now") == 2
    assert "Success rate" not in answer.text
    away.close()


def test_a_clients_answers_stand_among_their_messages(service, app, signed_in, client_id):
    app.extensions["whatsapp_logs"].client_phone = lambda _id: "07700 900123"
    service.send(Draft(to="+447700900123", body="Hello", client_id=client_id))
    for n, sender in enumerate(("+447700900123", "+447700900999")):
        service.receive(Inbound(provider_id=f"SM{n:032x}", sender=sender, recipient="+15550100100", body="Yes"))
    home = signed_in("agent").get(f"/home?client={client_id}").text
    latest = home[home.index("wl-latest") :]
    assert re.findall(r"wl-brief-(\d)", latest) == ["2", "1"]  # the newest first, nobody else's
    assert "From the customer" in latest
    assert "Received" in latest


def test_a_clients_messages_lead_to_the_conversation_and_the_portals_own_pages_say_how_many_wait(
    service: WhatsAppService, app: Flask, signed_in: Callable[[str], Person], client_id: str
) -> None:
    app.add_url_rule("/waiting", "waiting", lambda: render_template_string("{{ whatsapp_logs_waiting() }} wait"))
    home = f"/home?client={client_id}"
    service.send(Draft(to="+447700900123", body="Hello", client_id=client_id))
    assert ">Conversation</a>" not in signed_in("agent").get(home).text
    service.receive(Inbound(provider_id="SM1", sender="+447700900123", recipient="+15550100100", body="A word"))
    id_ = service.desk.ids_of(["+447700900123"])["+447700900123"]
    service.desk.answer(id_)
    app.extensions["whatsapp_logs"].waiting._counted_at = float("-inf")
    assert f'<a href="/whatsapp_logs/conversations/{id_}">Conversation</a>' in signed_in("agent").get(home).text
    assert ">Conversation</a>" not in signed_in("viewer").get(home).text
    assert signed_in("agent").get("/waiting").text == "1 wait"
    assert signed_in("viewer").get("/waiting").text == " wait"
    assert app.test_client().get("/waiting").text == " wait"
