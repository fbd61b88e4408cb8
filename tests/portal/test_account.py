"""Somebody's own account: a new password, where they are signed in, and that nobody stays signed in for nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import psycopg
import pytest
from werkzeug.test import TestResponse

from portal import demo, passwords, throttle
from tests.portal.conftest import COOKIE, Browser, Office

Open = Callable[[str | None], Browser]
NEW = "otter kettle violin"


@pytest.fixture
def nora(office: Office) -> Iterator[str]:
    """Somebody of their own for each test: their user name."""
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM sign_in_attempts")
        conn.execute(
            """
            INSERT INTO people (username, name, role, password_hash, timezone)
            SELECT 'nora.own', 'Nora Own', role, password_hash, timezone FROM people WHERE username = 'arjun.agent'
            """
        )
    yield "nora.own"
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM people WHERE username = 'nora.own'")


def signed_in(browser: Open, username: str, password: str = demo.PASSWORD) -> Browser:
    person = browser(None)
    assert person.sign_in(username, password).status_code == 302
    return person


def earlier(office: Office, column: str, interval: str) -> None:
    """Move a time of Nora's sign-ins into the past."""
    with psycopg.connect(office.dsn) as conn:
        conn.execute(
            f"""
            UPDATE sign_ins SET {column} = {column} - %s::interval
            WHERE user_id = (SELECT user_id FROM people WHERE username = 'nora.own')
            """.encode(),
            (interval,),
        )


def change(person: Browser, new: str, again: str | None = None) -> TestResponse:
    return person.submit(
        "/account/password", "/account/password", new_password=new, new_password_again=new if again is None else again
    )


def test_a_changed_password_ends_all_other_sign_ins_and_this_one_goes_on(browser: Open, nora: str) -> None:
    here, elsewhere = signed_in(browser, nora), signed_in(browser, nora)
    assert change(here, NEW).location == "/account"
    assert "Your password is changed." in here.get("/account").text
    assert elsewhere.get("/account").location == "/sign-in?next=/account"
    assert browser(None).sign_in(nora).status_code == 401
    assert browser(None).sign_in(nora, NEW).status_code == 302


@pytest.mark.parametrize(
    ("new", "again", "sentence"),
    [
        ("short", "short", "Too short"),
        ("Password1234", "Password1234", "passwords like this one are tried first"),
        ("nora.own.2026", "nora.own.2026", "little more than your name"),
        (NEW, "otter kettle viola", "The two are not the same."),
    ],
)
def test_a_password_that_will_not_do_is_refused_and_the_old_one_stays(
    browser: Open, nora: str, new: str, again: str, sentence: str
) -> None:
    person = signed_in(browser, nora)
    answer = change(person, new, again)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert f'value="{new}"' not in answer.text
    assert browser(None).sign_in(nora).status_code == 302


def test_an_account_shows_where_somebody_is_signed_in_and_ends_one_or_all_others(browser: Open, nora: str) -> None:
    here, phone, desk = (signed_in(browser, nora) for _ in range(3))
    page = here.get("/account").text
    assert page.count("From 127.0.0.1") == 3
    assert page.count("This browser") == 1
    forms = re.findall(r'action="(/account/sign-ins/\d+/end)"', page)
    assert len(forms) == 2
    here.submit("/account", forms[0])  # the last used first: the desk
    assert [person.get("/").status_code for person in (here, phone, desk)] == [200, 200, 302]
    here.submit("/account", "/account/sign-ins/end")
    assert [person.get("/").status_code for person in (here, phone, desk)] == [200, 302, 302]


def test_nobody_ends_somebody_elses_sign_in(office: Office, browser: Open, nora: str) -> None:
    person = signed_in(browser, nora)
    (number,) = office.row(
        "SELECT max(sign_in_id) FROM sign_ins JOIN people USING (user_id) WHERE username = 'nora.own'"
    )
    arjun = browser("arjun.agent")
    fields = arjun.hidden_fields("/", "/sign-out")
    assert arjun.post(f"/account/sign-ins/{number}/end", fields).status_code == 303
    assert person.get("/").status_code == 200


def test_a_sign_in_at_which_nobody_does_anything_ends_after_an_hour(office: Office, browser: Open, nora: str) -> None:
    person = signed_in(browser, nora)
    earlier(office, "seen_at", "59 minutes")
    assert person.get("/").status_code == 200  # somebody is there: the hour begins anew
    earlier(office, "seen_at", "59 minutes")
    assert person.get("/").status_code == 200
    earlier(office, "seen_at", "61 minutes")
    assert person.get("/").location == "/sign-in?next=/"
    assert "Your session has ended" in person.get("/sign-in?next=/").text


@pytest.mark.parametrize("poll", ["/whatsapp_logs/live?seen=x", "/whatsapp_logs/latest?client=1&seen=x"])
def test_a_page_that_asks_for_news_by_itself_keeps_nobody_signed_in(
    office: Office, browser: Open, nora: str, poll: str
) -> None:
    person = signed_in(browser, nora)
    earlier(office, "seen_at", "59 minutes")
    assert person.client.get(poll, headers={"HX-Request": "true"}).status_code == 200
    earlier(office, "seen_at", "2 minutes")
    assert person.get(poll).status_code == 302


def test_activity_is_written_once_a_minute_not_with_each_page(office: Office, browser: Open, nora: str) -> None:
    person = signed_in(browser, nora)
    when = "SELECT max(seen_at) FROM sign_ins JOIN people USING (user_id) WHERE username = 'nora.own'"
    before = office.row(when)
    person.get("/")
    assert office.row(when) == before
    earlier(office, "seen_at", "61 seconds")
    person.get("/")
    assert office.row(when) > before


def test_a_sign_in_ends_after_twelve_hours_whatever_is_done(office: Office, browser: Open, nora: str) -> None:
    person = signed_in(browser, nora)
    earlier(office, "expires_at", "11 hours 59 minutes")
    assert person.get("/").status_code == 200
    earlier(office, "expires_at", "2 minutes")
    assert person.get("/").status_code == 302


def test_a_dangerous_page_asks_for_the_password_again_after_ten_minutes(
    office: Office, browser: Open, nora: str
) -> None:
    person = signed_in(browser, nora)
    assert person.get("/account/password").status_code == 200
    earlier(office, "confirmed_at", "11 minutes")
    wanted = person.get("/account/password").location
    assert wanted == "/sign-in/confirm?next=/account/password"
    page = person.get(wanted)
    assert "Please confirm it is you" in page.text
    wrong = person.submit(wanted, "/sign-in/confirm", password="wrong")
    assert (wrong.status_code, "That is not your password." in wrong.text) == (401, True)
    assert person.submit(wanted, "/sign-in/confirm", password=demo.PASSWORD).location == "/account/password"
    assert person.get("/account/password").status_code == 200
    assert person.get(wanted).location == "/account/password"  # asked for nothing twice


def test_a_form_left_open_too_long_changes_nothing_and_leads_back_after_the_password(
    office: Office, browser: Open, nora: str
) -> None:
    person = signed_in(browser, nora)
    fields = person.hidden_fields("/account/password", "/account/password")
    earlier(office, "confirmed_at", "11 minutes")
    answer = person.post("/account/password", {**fields, "new_password": NEW, "new_password_again": NEW})
    assert answer.location == "/sign-in/confirm?next=/account/password"
    assert "Nothing was changed yet" in person.get(answer.location).text
    assert browser(None).sign_in(nora, NEW).status_code == 401


def test_guessing_at_the_password_of_an_open_session_is_slowed_down(office: Office, browser: Open, nora: str) -> None:
    person = signed_in(browser, nora)
    earlier(office, "confirmed_at", "11 minutes")
    page = "/sign-in/confirm?next=/account/password"
    for _ in range(throttle.LIMIT_SAME_PERSON_AND_ADDRESS):
        assert person.submit(page, "/sign-in/confirm", password="wrong").status_code == 401
    assert person.submit(page, "/sign-in/confirm", password=demo.PASSWORD).status_code == 429


def test_the_new_password_is_written_nowhere(
    office: Office, browser: Open, nora: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    change(signed_in(browser, nora), NEW)
    assert NEW not in caplog.text
    (kept,) = office.row("SELECT password_hash FROM people WHERE username = 'nora.own'")
    assert passwords.is_right(str(kept), NEW)


def test_the_name_in_the_header_leads_to_the_account(browser: Open, nora: str) -> None:
    person = signed_in(browser, nora)
    assert re.search(r'<a class="who" href="/account"[^>]*><b>Nora Own</b>', person.get("/").text)
    cookie = person.client.get_cookie(COOKIE)
    assert cookie
    assert demo.PASSWORD not in cookie.value


@pytest.mark.parametrize("page", ["/whatsapp_logs/privacy", "/whatsapp_logs/tokens"])
def test_erasing_and_making_tokens_ask_for_the_password_again(office: Office, browser: Open, page: str) -> None:
    person = browser(None)
    person.sign_in("anna.admin")
    assert person.get(page).status_code == 200
    fields = person.hidden_fields("/", "/sign-out")
    with psycopg.connect(office.dsn) as conn:
        conn.execute(
            """
            UPDATE sign_ins SET confirmed_at = confirmed_at - interval '11 minutes'
            WHERE sign_in_id = (SELECT max(sign_in_id) FROM sign_ins)
            """
        )
    wanted = f"/sign-in/confirm?next={page}"
    assert person.get(page).location == wanted
    form = {"name": "x", "days": "90", "right": "see the log", "client": "1", "reason": "a reason", "confirm": "yes"}
    for path in {"/whatsapp_logs/privacy": ["/erase", "/holds"], "/whatsapp_logs/tokens": [""]}[page]:
        assert person.post(page + path, {**fields, **form}).location == wanted
    assert (office.service.erasures(), office.service.holds(), office.service.api_tokens()) == ([], [], [])
    before = person.client.get_cookie(COOKIE)
    assert person.submit(wanted, "/sign-in/confirm", password=demo.PASSWORD).location == page
    assert before
    thief = browser(None)
    thief.client.set_cookie(COOKIE, before.value)
    assert thief.get("/").location == "/sign-in?next=/"  # the sign-in goes on under a new token
