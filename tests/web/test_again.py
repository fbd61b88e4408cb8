"""The same question again, while nothing has changed: the portal is not asked who that is, and nobody learns what they may not."""

from __future__ import annotations

import pytest
from flask import Flask, request

from tests.service_fixtures import Person
from tests.web.reading import poll_url
from whatsapp_logs import WhatsAppService


@pytest.fixture
def asked(app: Flask) -> list[str]:
    """The polls that reach the portal's own code."""
    paths: list[str] = []
    app.before_request(lambda: paths.append(request.path) if request.path.endswith("/live") else None)
    return paths


@pytest.fixture
def poll(logged, agent: Person) -> str:
    logged()
    return poll_url(agent.get("/whatsapp_logs"))


def change_something(service: WhatsAppService) -> None:
    with service.transaction() as conn:
        conn.execute("SELECT pg_current_xact_id()")


def test_the_same_poll_is_answered_the_same_without_asking_the_portal(asked, agent, poll):
    answers = [agent.get(poll) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [204] * 5
    assert {tuple(sorted(answer.headers.items())) for answer in answers} == {tuple(sorted(answers[0].headers.items()))}
    assert answers[0].headers["Cache-Control"] == "no-store"
    assert len(asked) == 1


def test_somebody_else_is_asked_who_they_are(asked, agent, poll, app):
    assert agent.get(poll).status_code == 204
    assert app.test_client().get(poll).status_code in (302, 401)
    forger = app.test_client()
    forger.set_cookie("session", "forged")
    assert forger.get(poll).status_code in (302, 401)
    assert agent.get(poll, headers={"Authorization": "Bearer x"}).status_code == 204
    assert len(asked) == 4


def test_after_any_transaction_the_portal_is_asked_again(asked, agent, poll, service, monkeypatch):
    monkeypatch.setattr("whatsapp_logs.web.news._LOOK_EVERY_S", -1)
    assert agent.get(poll).status_code == 204
    change_something(service)
    assert agent.get(poll).status_code == 204
    assert len(asked) == 2


def test_a_session_may_end_by_the_clock_alone(asked, agent, poll, monkeypatch):
    monkeypatch.setattr("whatsapp_logs.web.again._ASK_AGAIN_S", -1)
    assert [agent.get(poll).status_code for _ in range(3)] == [204] * 3
    assert len(asked) == 3


def test_a_database_that_is_away_is_said_as_ever(agent, poll, service, monkeypatch):
    monkeypatch.setattr("whatsapp_logs.web.news._LOOK_EVERY_S", -1)
    assert agent.get(poll).status_code == 204
    service.close()
    assert agent.get(poll).status_code == 503


@pytest.fixture
def with_cookies(app: Flask) -> None:
    """A portal that renews its cookie with each answer."""
    app.after_request(lambda response: response.set_cookie("seen", "1") or response)


def test_an_answer_that_sets_a_cookie_is_not_given_again(with_cookies, asked, agent, poll):
    assert [agent.get(poll).status_code for _ in range(2)] == [204, 204]
    assert len(asked) == 2
