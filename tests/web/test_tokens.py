"""Programs read the API by tokens: for some rights, until some day, known only once, ended by a press."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.service_fixtures import Person
from whatsapp_logs import Right, WhatsAppService
from whatsapp_logs.access_log import AccessFilter
from whatsapp_logs.web.limits import Limit, PeopleLimits

SignIn = Callable[[str], Person]
READER = frozenset({Right.SEE})


@pytest.fixture
def program(app: Flask) -> FlaskClient:
    """A program without a session."""
    return app.test_client()


def make(service: WhatsAppService, *rights: Right, lasts: timedelta = timedelta(days=1)) -> dict[str, str]:
    """The headers of a program with a new token."""
    token = service.make_api_token(name="Nightly report", rights=READER | set(rights), created_by="anna", lasts=lasts)
    return {"Authorization": f"Bearer {token}"}


def test_an_administrator_makes_a_token_that_is_shown_once_and_opens_the_api(signed_in: SignIn, program, logged, dsn):
    logged(to="+447700900123")
    admin = signed_in("administrator")
    page = admin.post("/whatsapp_logs/tokens", data={"name": "Nightly report", "days": "90", "right": ["see the log"]})
    found = re.search(r'id="wl-token">(wlt_[\w-]{43})<', page.text)
    assert found
    assert page.headers["Cache-Control"] == "no-store"
    assert found[1] not in admin.get("/whatsapp_logs/tokens").text
    with psycopg.connect(dsn) as conn:
        (kept,) = conn.execute(
            "SELECT string_agg(to_jsonb(t)::text, '') FROM whatsapp_logs.api_tokens AS t"
        ).fetchone() or ("",)
    assert found[1] not in kept
    answer = program.get("/api/whatsapp/messages", headers={"Authorization": f"Bearer {found[1]}"})
    assert answer.status_code == 200
    (row,) = answer.get_json()["messages"]
    assert (row["masked"], "900123" in row["to"]) == (True, False)


def test_a_token_may_do_what_it_was_given_and_needs_no_csrf_token(service, program, logged):
    message = logged("sent")
    plain, refreshing = make(service), make(service, Right.REFRESH)
    body = {"message_sid": message.provider_id}
    assert program.post("/api/whatsapp/refresh_status", json=body, headers=plain).status_code == 403
    assert program.post("/api/whatsapp/refresh_status", json=body, headers=refreshing).status_code in (200, 404)
    assert program.get("/api/whatsapp/export", headers=plain).status_code == 403
    assert program.get("/whatsapp_logs", headers=refreshing).status_code == 401  # the API only


def test_an_ended_an_expired_and_a_made_up_token_open_nothing(service, program, signed_in: SignIn):
    ended, expired = make(service), make(service, lasts=timedelta(seconds=-1))
    (number,) = [token.id for token in service.api_tokens() if token.name == "Nightly report" and token.expires_at][:1]
    signed_in("administrator").post(f"/whatsapp_logs/tokens/{number}/revoke")
    for headers in (
        ended,
        expired,
        {"Authorization": "Bearer wlt_" + "x" * 43},
        {"Authorization": "Bearer wlt_\udcff"},
    ):
        answer = program.get("/api/whatsapp/stats", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.get_json()["success"] is False
    (listed,) = [token for token in service.api_tokens() if token.id == number]
    assert listed.revoked_by == "administrator@office.example.test"


def test_its_last_use_and_its_looks_are_known(service, program, logged):
    message = logged()
    program.get(f"/api/whatsapp/message_details/{message.provider_id}", headers=make(service))
    (token,) = service.api_tokens()
    assert token.last_used_at is not None
    assert token.last_used_from == "127.0.0.1"
    (look,) = service.accesses(AccessFilter())
    assert look.person == f"Nightly report (token {token.id})"


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"name": "", "days": "90", "right": "see the log"}, "what the token is for"),
        ({"name": "x" * 61, "days": "90", "right": "see the log"}, "what the token is for"),
        ({"name": "x", "days": "9999", "right": "see the log"}, "how long"),
        ({"name": "x", "days": "90", "right": "send messages"}, "at least one"),
        ({"name": "x", "days": "90"}, "at least one"),
    ],
)
def test_what_cannot_be_made_is_said(service, signed_in: SignIn, form, field):
    answer = signed_in("administrator").post("/whatsapp_logs/tokens", data=form)
    assert answer.status_code == 400
    assert field in unescape(answer.text)
    assert service.api_tokens() == []


@pytest.mark.parametrize("role", ["agent", "compliance", "viewer"])
def test_fault_21_only_an_administrator_makes_and_ends_tokens(service, signed_in: SignIn, role):
    make(service)
    (token,) = service.api_tokens()
    person = signed_in(role)
    assert person.get("/whatsapp_logs/tokens").status_code == 403
    assert (
        person.post("/whatsapp_logs/tokens", data={"name": "x", "days": "90", "right": "see the log"}).status_code
        == 403
    )
    assert person.post(f"/whatsapp_logs/tokens/{token.id}/revoke").status_code == 403
    assert "/whatsapp_logs/tokens" not in person.get("/whatsapp_logs").text
    assert [one.revoked_at for one in service.api_tokens()] == [None]


def test_fault_22_a_session_still_needs_its_csrf_token_beside_a_made_up_header(app, signed_in: SignIn):
    admin = signed_in("administrator")
    admin.token = ""
    refused = admin.post("/api/whatsapp/refresh_all_statuses", headers={"Authorization": "Bearer something"})
    assert refused.status_code == 400


def test_a_program_that_calls_too_often_is_told_when_to_come_back(app, service, program):
    app.extensions["whatsapp_logs"].calls_of_tokens = Limit(3, clock=lambda: 0.0)
    one, other = make(service), make(service)
    answers = [program.get("/api/whatsapp/stats", headers=one) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert program.get("/api/whatsapp/stats", headers=other).status_code == 200


@pytest.mark.parametrize("path", ["/whatsapp_logs", "/api/whatsapp/messages"])
def test_a_person_who_asks_too_often_is_told_in_words_when_to_come_back(app, signed_in: SignIn, path: str):
    agent, viewer = signed_in("agent"), signed_in("viewer")
    app.extensions["whatsapp_logs"].people = PeopleLimits(3, 3, clock=lambda: 0.0)
    answers = [agent.get(path) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert "more than 3 pages in a minute. Wait" in answers[-1].text
    assert viewer.get(path).status_code == 200  # each has their own


def test_a_change_too_many_is_not_done_and_looking_goes_on(app, signed_in: SignIn):
    admin = signed_in("administrator")
    app.extensions["whatsapp_logs"].people = PeopleLimits(100, 1, clock=lambda: 0.0)
    assert admin.post("/api/whatsapp/refresh_all_statuses").status_code in (200, 202)
    refused = admin.post("/api/whatsapp/refresh_all_statuses")
    assert refused.status_code == 429
    assert "this one was not done" in refused.json["message"]
    assert admin.get("/whatsapp_logs").status_code == 200


def test_a_limit_fills_up_with_time_and_forgets_the_callers_longest_unheard_of():
    now = 0.0
    limit = Limit(60, clock=lambda: now)
    assert [limit.take("a") for _ in range(60)] == [0] * 60
    assert limit.take("a") == 1
    now = 10.0
    assert [limit.take("a") for _ in range(10)] == [0] * 10
    assert limit.take("a") > 0
