"""Signing in and out, and guessing at passwords."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from portal import database, demo, people, throttle
from portal.app import create_app
from tests.portal.conftest import COOKIE, Browser, Office
from tests.web.reading import poll_url

Open = Callable[[str | None], Browser]


@pytest.fixture(autouse=True)
def no_earlier_attempts(office: Office) -> None:
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM sign_in_attempts")


@pytest.mark.parametrize(("username", "password", "role"), demo.DEMO_SIGN_INS)
def test_every_demo_sign_in_works(browser: Open, username: str, password: str, role: str) -> None:
    person = browser(None)
    assert person.sign_in(username, password).location == "/"
    assert f'<span class="role">{role}</span>' in person.get("/").text


def test_fault_27_unknown_user_and_wrong_password_read_the_same(browser: Open) -> None:
    pages = [browser(None).sign_in(name, "wrong") for name in ("arjun.agent", "nobody.here")]
    assert [page.status_code for page in pages] == [401, 401]
    unknown, wrong = (re.findall(r'role="alert"[^>]*>([^<]+)', page.text) for page in pages)
    assert unknown == wrong == ["User name or password is not right."]


def test_fault_27_the_sixth_attempt_in_a_row_is_refused_even_with_the_right_password(browser: Open) -> None:
    person = browser(None)
    for _ in range(throttle.LIMIT_SAME_PERSON_AND_ADDRESS):
        assert person.sign_in("vera.viewer", "wrong").status_code == 401
    assert person.sign_in("vera.viewer").status_code == 429
    assert person.sign_in("arjun.agent").status_code == 302  # somebody else at the same desk


def test_fault_27_an_unknown_user_takes_as_long_as_a_wrong_password(browser: Open, office: Office) -> None:
    person, took = browser(None), {"arjun.agent": [], "nobody.here": []}
    fields = person.hidden_fields("/sign-in", "/sign-in")
    for _ in range(5):
        for username, times in took.items():
            with psycopg.connect(office.dsn) as conn:
                conn.execute("DELETE FROM sign_in_attempts")
            began = time.process_time()  # what it costs: how long it takes is the machine's affair too
            assert person.post("/sign-in", {**fields, "username": username, "password": "wrong"}).status_code == 401
            times.append(time.process_time() - began)
    known, unknown = (min(times) for times in took.values())
    assert 0.5 < unknown / known < 2, took  # without the hash it would be a twentieth


@pytest.mark.parametrize(
    ("counter", "most", "username", "address"),
    [
        ("address 203.0.113.5", throttle.LIMIT_SAME_ADDRESS, "vera.viewer", "203.0.113.5"),
        ("person vera.viewer", throttle.LIMIT_SAME_PERSON, "vera.viewer", "203.0.113.77"),
    ],
    ids=["many names from one address", "one name from many addresses"],
)
def test_fault_27_guessing_is_throttled_however_it_is_spread(
    browser: Open, office: Office, counter: str, most: int, username: str, address: str
) -> None:
    person = browser(None)
    fields = {**person.hidden_fields("/sign-in", "/sign-in"), "username": username, "password": demo.PASSWORD}
    before = {"REMOTE_ADDR": address}
    with psycopg.connect(office.dsn) as conn:
        conn.execute(
            "INSERT INTO sign_in_attempts SELECT %s, date_bin('1 minute', now(), 'epoch'), %s", (counter, most)
        )
    for claimed in ({}, {"X-Forwarded-For": "198.51.100.9"}, {"Forwarded": "for=198.51.100.9"}):
        answer = person.client.post("/sign-in", data=fields, environ_base=before, headers=claimed)
        assert (answer.status_code, "Too many attempts" in answer.text) == (429, True)
    assert person.client.get("/").status_code == 302


def test_the_right_password_after_some_mistakes_clears_them(browser: Open) -> None:
    person = browser(None)
    for _ in range(2):
        for _ in range(throttle.LIMIT_SAME_PERSON_AND_ADDRESS - 1):
            person.sign_in("anna.admin", "wrong")
        assert person.sign_in("anna.admin").status_code == 302
        person = browser(None)


def test_fault_27_signing_out_ends_the_session_for_a_kept_cookie_too(browser: Open) -> None:
    person = browser(None)
    person.sign_in("arjun.agent")
    kept = person.client.get_cookie(COOKIE)
    assert kept
    person.submit("/", "/sign-out")
    thief = browser(None)
    thief.client.set_cookie(COOKIE, kept.value)
    assert thief.get("/").location == "/sign-in?next=/"


def test_fault_27_a_changed_password_ends_the_sessions_made_with_the_old_one(browser: Open, office: Office) -> None:
    with psycopg.connect(office.dsn) as conn:
        added = conn.execute(
            """
            INSERT INTO people (username, name, role, password_hash, timezone)
            SELECT 'nora.new', 'Nora New', role, password_hash, timezone FROM people WHERE username = 'arjun.agent'
            RETURNING user_id
            """
        ).fetchone()
    person = browser(None)
    person.sign_in("nora.new")
    assert person.get("/").status_code == 200
    with psycopg.connect(office.dsn) as conn:
        people.set_password(conn, added[0] if added else 0, "another password")
    assert person.get("/").status_code == 302
    assert person.sign_in("nora.new", "another password").status_code == 302


def test_signing_in_leads_to_the_page_that_was_wanted(browser: Open) -> None:
    person = browser(None)
    wanted = person.get("/clients/?q=rao").location
    assert wanted == "/sign-in?next=/clients/?q%3Drao"
    answer = person.submit(wanted, "/sign-in", username="arjun.agent", password=demo.PASSWORD)
    assert answer.location == "/clients/?q=rao"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example.test/", "//evil.example.test/", "/\\evil.example.test", "javascript:alert(1)", "",
        "///evil.example.test/", "////evil.example.test/", "/\\/evil.example.test", "//\\evil.example.test/",
        "/\\\\evil.example.test", "/\t/evil.example.test", "//evil.example.test@portal/", "\\\\evil.example.test",
    ],
)  # fmt: skip
def test_signing_in_never_leads_to_another_site(browser: Open, elsewhere: str) -> None:
    person = browser(None)
    answer = person.submit("/sign-in", "/sign-in", username="arjun.agent", password=demo.PASSWORD, next=elsewhere)
    assert answer.location == "/"


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Open) -> None:
    cookie = browser(None).sign_in("arjun.agent").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_a_null_character_in_the_form_is_a_wrong_password_not_a_defect(browser: Open) -> None:
    assert browser(None).sign_in("arjun\0.agent", "x\0").status_code == 401


def test_fault_27_a_page_left_open_stops_asking_for_news_with_the_sign_out(office, monkeypatch):
    monkeypatch.setattr("whatsapp_logs.web.news._LOOK_EVERY_S", -1)
    person = Browser(office.app.test_client())
    person.sign_in(*demo.DEMO_SIGN_INS[0][:2])
    address = poll_url(person.get("/whatsapp_logs"))
    cookie = person.client.get_cookie(COOKIE)
    assert cookie
    assert [person.get(address).status_code for _ in range(2)] == [204, 204]
    person.submit("/", "/sign-out")
    person.client.set_cookie(COOKIE, cookie.value)  # the other window, whose poll was on its way
    assert person.get(address).status_code == 302


def test_attempts_are_not_forgotten_all_at_once_when_five_minutes_are_over(browser: Open, office: Office) -> None:
    person = browser(None)
    for _ in range(throttle.LIMIT_SAME_PERSON_AND_ADDRESS):
        person.sign_in("vera.viewer", "wrong")
    for minutes, status in ((3, 429), (3, 302)):  # counted by the minute: for at least four, and for five at most
        with psycopg.connect(office.dsn) as conn:
            conn.execute("UPDATE sign_in_attempts SET started_at = started_at - make_interval(mins => %s)", (minutes,))
        assert person.sign_in("vera.viewer").status_code == status


def test_a_new_sign_in_ends_the_earlier_one_of_this_browser(browser: Open) -> None:
    person = browser(None)
    person.sign_in("arjun.agent")
    kept = person.client.get_cookie(COOKIE)
    assert kept
    answer = person.post(
        "/sign-in",
        {**person.hidden_fields("/", "/sign-out"), "username": "clara.compliance", "password": demo.PASSWORD},
    )
    assert answer.status_code == 302
    thief = browser(None)
    thief.client.set_cookie(COOKIE, kept.value)
    assert thief.get("/").location == "/sign-in?next=/"


@pytest.mark.parametrize(("trusted", "known_as"), [(0, "127.0.0.1"), (1, "192.0.2.7")])
def test_the_callers_address_is_the_proxys_word_only_if_the_proxy_is_trusted(
    office: Office, trusted: int, known_as: str
) -> None:
    config = replace(office.app.config["PORTAL"], trusted_proxies=trusted)
    app = create_app(config, service=office.service)
    person = Browser(app.test_client())
    headers = {"X-Forwarded-For": "198.51.100.9, 192.0.2.7", "X-Forwarded-Host": "evil.example.test"}
    fields = person.hidden_fields("/sign-in", "/sign-in")
    person.client.post(
        "/sign-in", data={**fields, "username": "vera.viewer", "password": demo.PASSWORD}, headers=headers
    )
    assert office.row("SELECT address FROM sign_ins ORDER BY sign_in_id DESC LIMIT 1") == (known_as,)
    database.close(app)


def test_who_signed_in_who_failed_and_who_was_refused_are_lines_of_the_log(
    browser: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    person = browser(None)
    person.sign_in("vera.viewer", "wrong")
    person.sign_in("my secret password", "wrong")
    person.sign_in("vera.viewer")
    person.get("/people/")
    person.get("/whatsapp_logs/access")
    person.post("/sign-out", {"csrf_token": "forged"})
    person.submit("/", "/sign-out")
    said = [record.getMessage() for record in caplog.records if record.name.startswith(("portal", "whatsapp_logs"))]
    for line in (
        "sign-in refused user=vera.viewer address=127.0.0.1",
        "sign-in refused user=(unknown) address=127.0.0.1",
        "signed in user=vera.viewer role=viewer",
        "refused user=vera.viewer endpoint=staff.index: has not the right",
        "refused user=vera.viewer endpoint=whatsapp_logs.access_log: NotAllowed",
        "refused endpoint=auth.sign_out address=127.0.0.1: token missing, foreign or stale",
        "signed out user=vera.viewer",
    ):
        assert line in said, said
    assert "my secret password" not in caplog.text
