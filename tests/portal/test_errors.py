"""What is said when something is not right: to people with what they typed, to programs as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape

import pytest

from portal import database
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import COOKIE, SECRET_KEY, Browser, Office
from whatsapp_logs.errors import ConfigError

Open = Callable[[str | None], Browser]


@pytest.fixture(scope="module")
def cut_off(office: Office) -> Iterator[Office]:
    """The same portal while its own database is away."""
    away = PortalConfig(database_url="postgresql://nobody@127.0.0.1:9/none", secret_key=SECRET_KEY)
    app = create_app(away, service=office.service)
    yield Office(app, office.dsn, office.service)
    database.close(app)


@pytest.fixture
def stranded(cut_off: Office, browser: Open) -> Browser:
    """Somebody who signed in before the database went away."""
    cookie = browser("arjun.agent").client.get_cookie(COOKIE)
    assert cookie
    person = Browser(cut_off.app.test_client())
    person.client.set_cookie(COOKIE, cookie.value)
    return person


def test_a_host_that_is_none_is_a_request_that_cannot_be_understood(browser: Open) -> None:
    answer = browser(None).client.get("/clients/", headers={"Host": "9" * 400})
    assert answer.status_code == 400


def test_an_unknown_address_of_the_api_is_answered_as_json(browser: Open) -> None:
    answer = browser("arjun.agent").get("/api/whatsapp/nothing")
    assert (answer.status_code, answer.mimetype) == (404, "application/json")
    assert answer.json["success"] is False
    assert "does not exist" in answer.json["message"]


def test_the_wrong_method_is_answered_as_json_too(browser: Open) -> None:
    answer = browser("arjun.agent").client.delete("/api/whatsapp/messages")
    assert answer.mimetype == "application/json"
    assert answer.status_code in (404, 405)


def test_the_api_says_as_json_that_the_database_of_the_sign_ins_is_away(stranded: Browser) -> None:
    answer = stranded.get("/api/whatsapp/status/1")
    assert (answer.status_code, answer.mimetype) == (503, "application/json")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["success"] is False


def test_an_outage_keeps_the_menu_and_offers_to_try_again(stranded: Browser) -> None:
    answer = stranded.get("/clients/1")
    assert answer.status_code == 503
    assert "Arjun Mehta" in answer.text
    assert 'href="/renewals/"' in answer.text
    assert '<a class="button" href="/clients/1">Try again</a>' in answer.text


def test_a_form_sent_into_an_outage_says_that_nothing_was_saved_and_can_be_sent_again(
    office: Office, browser: Open, stranded: Browser
) -> None:
    person = browser("arjun.agent")
    fields = person.hidden_fields("/clients/7", "/clients/7/message")
    cookie, before = person.client.get_cookie(COOKIE), office.message_count()
    assert cookie
    stranded.client.set_cookie(COOKIE, cookie.value)
    answer = stranded.post("/clients/7/message", {**fields, "body": "Typed with <care>\nin two lines"})
    assert answer.status_code == 503
    assert "Nothing was saved" in answer.text
    assert office.message_count() == before
    again = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
    kept = {name: unescape(value) for name, value in again.items()}
    assert kept["body"] == "Typed with <care>\nin two lines"
    assert person.post("/clients/7/message", kept).status_code == 303
    assert office.message_count() == before + 1


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ("/sign-in", "password"),
        ("/sign-in/confirm", "password"),
        ("/sign-in/code", "recovery_code"),
        ("/account/password", "new_password_again"),
    ],
)
def test_a_password_or_code_is_never_shown_again(browser: Open, stranded: Browser, form: str, field: str) -> None:
    person = browser("arjun.agent")
    token, cookie = person.hidden_fields("/", "/sign-out")["csrf_token"], person.client.get_cookie(COOKIE)
    assert cookie
    stranded.client.set_cookie(COOKIE, cookie.value)
    answer = stranded.post(form, {"csrf_token": token, "username": "x", field: "secret-words"})
    assert answer.status_code == 503
    assert "secret-words" not in answer.text


def test_a_form_from_before_a_new_sign_in_is_offered_again_with_its_words(office: Office, browser: Open) -> None:
    stale = browser("anna.admin").hidden_fields("/clients/8", "/clients/8/message")
    person, before = browser("arjun.agent"), office.message_count()
    form = {**stale, "body": "Written before lunch"}
    answer = person.client.post("/clients/8/message", data=form, headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 400
    assert "Written before lunch</blockquote>" in answer.text
    assert office.message_count() == before
    again = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', answer.text.split("<main")[1]))
    assert person.post("/clients/8/message", again).status_code == 303
    assert office.newest().body == "Written before lunch"


def test_words_from_another_site_are_not_offered_for_sending(browser: Open) -> None:
    fields: dict[str, object] = {"request_key": "k" * 24, "body": "Somebody else's words", "csrf_token": "forged"}
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        answer = browser("arjun.agent").client.post("/clients/8/message", data=fields, headers=headers)
        assert answer.status_code == 400
        assert "Somebody else" not in answer.text


@pytest.mark.parametrize(
    ("form", "page"),
    [("/sign-out", "/"), ("/policies/1/send", "/policies/1"), ("/clients/1/message", "/clients/1"),
     ("/renewals/4/remind", "/renewals/4")],
)  # fmt: skip
def test_a_forms_address_opened_again_leads_to_its_page(browser: Open, form: str, page: str) -> None:
    answer = browser("arjun.agent").get(form)
    assert (answer.status_code, answer.location) == (302, page)


def test_every_problem_of_the_portals_settings_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        PortalConfig.from_env(
            {
                "SECURE_COOKIES": "maybe",
                "DISPLAY_TIMEZONE": "Nowhere",
                "REQUIRE_SECOND_FACTOR": "some",
                "SESSION_IDLE_MINUTES": "0",
            }
        )
    assert [problem.split()[0] for problem in told.value.problems] == [
        "DATABASE_URL", "SECRET_KEY", "DISPLAY_TIMEZONE", "SECURE_COOKIES", "REQUIRE_SECOND_FACTOR",
        "SESSION_IDLE_MINUTES",
    ]  # fmt: skip
