"""Asking for a client or a policy in the portal's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import unescape

import pytest
from flask import Flask

from tests.service_fixtures import make_portal
from tests.web.reading import rows, words
from whatsapp_logs import Draft, Found, WhatsAppService

CLIENTS = {"1": "Joan Thompson", "2": "Brian Thompson", "3": "Asha Rao"}
POLICIES = {"1": "HH-1001"}


def find(text: str) -> Found:
    return Found(
        client_ids=[int(one) for one, name in CLIENTS.items() if text.lower() in name.lower()],
        policy_ids=[one for one, number in POLICIES.items() if text in number],
    )


def named(book: dict[str, str]):
    def names(ids: Iterable[str]) -> dict[str, str]:
        return {one: book[one] for one in ids}

    return names


@pytest.fixture
def app(service: WhatsAppService) -> Flask:
    with service.transaction() as conn:
        for name in CLIENTS.values():
            conn.execute("INSERT INTO clients (name, phone, address) VALUES (%s, '+447700900123', '1 Road')", (name,))
        conn.execute(
            """
            INSERT INTO policies (policy_number, client_id, product, insurer, insured, sum_insured, excess, premium, currency,
                starts_on, ends_on, status)
            VALUES ('HH-1001', 3, 'home', 'Invented', 'A house', 1, 0, 1, 'GBP', '2026-01-01', '2026-12-31', 'active')
            """
        )
    for client in (1, 2, 3):
        service.send(
            Draft(to=f"+44770090010{client}", body="Hello", client_id=client, policy_id=1 if client == 3 else None)
        )
    return make_portal(service, find=find, client_names=named(CLIENTS), policy_names=named(POLICIES))


@pytest.mark.parametrize(("typed", "query", "shown"), [("joan", "client=1", [1]), ("HH-1001", "policy=1", [3])])
def test_one_match_is_the_list_and_its_name_is_not_in_the_address(agent, typed, query, shown):
    answer = agent.post("/whatsapp_logs", data={"whom": typed, "status": "queued"})
    assert answer.headers["Location"] == f"/whatsapp_logs?status=queued&{query}"
    page = agent.get(answer.headers["Location"])
    assert rows(page) == shown
    again = {name: unescape(value) for name, value in re.findall(r'name="(client|policy)" value="([^"]*)"', page.text)}
    kept = agent.post("/whatsapp_logs", data={**again, "type": "general"}).headers["Location"]
    assert query in kept  # the form goes on meaning the same one
    assert rows(agent.get(re.findall(r'wl-chosen.*?href="([^"]+)"', page.text)[0].replace("&amp;", "&"))) == [3, 2, 1]


def test_several_are_a_short_list_to_choose_from(agent):
    answer = agent.post("/whatsapp_logs", data={"whom": "Thompson"})
    assert answer.status_code == 200
    assert rows(answer) == []
    links = re.findall(r'href="([^"]+)">(\w+ Thompson)</a>', answer.text)
    assert {name: link for link, name in links} == {
        "Joan Thompson": "/whatsapp_logs?client=1",
        "Brian Thompson": "/whatsapp_logs?client=2",
    }
    assert rows(agent.get(links[0][0])) == [1]


def test_nobody_of_that_name_is_said_beside_the_field(agent):
    answer = agent.post("/whatsapp_logs", data={"whom": "Nobody <b>"})
    assert answer.status_code == 400
    assert "No client or policy is called “Nobody <b>”" in words(answer)
    assert re.search(r'name="whom"[^>]* aria-invalid="true"', answer.text)


def test_a_list_without_rows_names_its_client_all_the_same(agent):
    assert "Joan Thompson" in words(agent.get("/whatsapp_logs?client=1&status=read"))


def test_without_the_portals_help_ids_are_asked_for(service):
    service.send(Draft(to="+447700900101", body="Hello"))
    app = make_portal(service)
    person = app.test_client()
    person.get("/sign_in/agent")
    text = person.get("/whatsapp_logs").text
    assert 'name="whom"' not in text
    assert "Client id" in text
