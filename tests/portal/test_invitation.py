"""Letting somebody in by a link; and fault 27: a new sign-in's password was printed, passed on, and known to two people."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pyotp
import pytest
from werkzeug.test import TestResponse

from portal import add_person, database, demo, invitations
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import SECRET_KEY, Browser, Office

Open = Callable[[str | None], Browser]
NEW = "otter kettle violin"
FACTS = {"name": "Ivy Green", "username": "ivy.green", "role": "agent", "timezone": "Asia/Kolkata"}


@pytest.fixture(autouse=True)
def without_ivy(office: Office) -> Iterator[None]:
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM sign_in_attempts")
    yield
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM people WHERE username = 'ivy.green'")


def invite(browser: Open, **facts: str) -> str:
    """Invite Ivy; returns the path of her link."""
    answer = browser("anna.admin").submit("/people/invite", "/people/invite", **(FACTS | facts))
    assert answer.status_code == 200
    return link_on(answer)


def link_on(answer: TestResponse) -> str:
    link = re.search(r">(http://localhost/invitation/[\w-]{43})</textarea>", answer.text)
    assert link, answer.text
    return urlsplit(link[1]).path


def choose(person: Browser, link: str, password: str = NEW, again: str | None = None) -> TestResponse:
    """Open the link and choose a password."""
    assert person.get(link).location == "/invitation"
    return person.submit(
        "/invitation", "/invitation", new_password=password, new_password_again=password if again is None else again
    )


def ivys_id(office: Office) -> object:
    return office.row("SELECT user_id FROM people WHERE username = 'ivy.green'")[0]


def test_fault_27_an_invited_person_chooses_a_password_that_nobody_else_has_seen(office: Office, browser: Open) -> None:
    link = invite(browser)
    ivy = browser(None)
    assert choose(ivy, link).location == "/"
    page = ivy.get("/").text
    assert "<b>Ivy Green</b>" in page
    assert browser(None).sign_in("ivy.green", NEW).location == "/"
    assert office.row("SELECT role, timezone FROM people WHERE username = 'ivy.green'") == ("agent", "Asia/Kolkata")


def test_fault_27_a_link_works_once(browser: Open) -> None:
    link = invite(browser)
    choose(browser(None), link)
    late = browser(None)
    late.get(link)
    assert "This link is no longer good" in late.get("/invitation").text


def test_fault_27_of_two_who_use_a_link_at_once_one_gets_in(office: Office, browser: Open) -> None:
    link = invite(browser)
    passwords = ["otter kettle violin", "harvest moon ladder"]
    people = [browser(None) for _ in passwords]
    fields = []
    for person in people:
        person.get(link)
        fields.append(person.hidden_fields("/invitation", "/invitation"))
    answers: list[int] = []

    def send(person: Browser, hidden: dict[str, object], password: str) -> None:
        typed = {**hidden, "new_password": password, "new_password_again": password}
        answers.append(person.post("/invitation", typed).status_code)

    threads = [threading.Thread(target=send, args=each) for each in zip(people, fields, passwords, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [302, 404]
    assert [browser(None).sign_in("ivy.green", each).status_code for each in passwords].count(302) == 1


def test_a_link_ends_after_72_hours(office: Office, browser: Open) -> None:
    link = invite(browser)
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE invitations SET expires_at = expires_at - interval '71 hours 59 minutes'")
    ivy = browser(None)
    ivy.get(link)
    assert "Welcome, Ivy Green" in ivy.get("/invitation").text
    fields = ivy.hidden_fields("/invitation", "/invitation")
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE invitations SET expires_at = expires_at - interval '2 minutes'")
    answer = ivy.post("/invitation", {**fields, "new_password": NEW, "new_password_again": NEW})
    assert answer.status_code == ivy.get("/invitation").status_code == 404
    assert ivy.get("/").status_code == 302


def test_opening_a_link_uses_nothing_up_and_takes_the_token_out_of_the_address(browser: Open) -> None:
    link = invite(browser)
    for _ in range(3):  # a chat's preview, a scanner, the person
        person = browser(None)
        assert person.get(link).location == "/invitation"
        assert link.rpartition("/")[2] not in person.get("/invitation").text
    assert choose(browser(None), link).location == "/"


def test_a_newer_link_ends_the_older_one(office: Office, browser: Open) -> None:
    old = invite(browser)
    page = f"/people/{ivys_id(office)}"
    new = link_on(browser("anna.admin").submit(page, f"{page}/link"))
    late = browser(None)
    late.get(old)
    assert late.get("/invitation").status_code == 404
    assert choose(browser(None), new).location == "/"


def test_a_changed_password_ends_a_link_that_nobody_has_used(office: Office, browser: Open) -> None:
    ivy = browser(None)
    choose(ivy, invite(browser))
    page = f"/people/{ivys_id(office)}"
    link = link_on(browser("anna.admin").submit(page, f"{page}/link"))
    chosen = {"new_password": "harvest moon ladder", "new_password_again": "harvest moon ladder"}
    assert ivy.submit("/account/password", "/account/password", **chosen).location == "/account"
    late = browser(None)
    late.get(link)
    assert late.get("/invitation").status_code == 404


def test_the_database_knows_no_token(office: Office, browser: Open) -> None:
    token = invite(browser).rpartition("/")[2]
    (rows,) = office.row("SELECT string_agg(i::text, '') FROM invitations AS i")
    assert token not in str(rows)
    assert token.encode().hex() not in str(rows)


def test_a_token_is_written_into_no_log(browser: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    link = invite(browser)
    choose(browser(None), link, "short")
    choose(browser(None), link)
    assert "invited user=ivy.green" in caplog.text
    assert link.rpartition("/")[2] not in caplog.text


@pytest.mark.parametrize(
    ("password", "again", "sentence"),
    [
        ("short", "short", "Too short"),
        ("ivy.green.2026", "ivy.green.2026", "little more than your name"),
        (NEW, "otter kettle viola", "The two are not the same."),
    ],
)
def test_a_password_that_will_not_do_uses_nothing_up(browser: Open, password: str, again: str, sentence: str) -> None:
    link, ivy = invite(browser), browser(None)
    answer = choose(ivy, link, password, again)
    assert answer.status_code == 400
    assert sentence in answer.text
    assert choose(ivy, link).location == "/"


def test_somebody_invited_cannot_sign_in_before_they_chose_a_password(browser: Open) -> None:
    invite(browser)
    for password in ("", " ", NEW):
        assert browser(None).sign_in("ivy.green", password).status_code == 401


def test_an_invited_administrator_sets_up_the_second_factor_next(office: Office, browser: Open) -> None:
    link = invite(browser, role="administrator")
    app = create_app(PortalConfig(database_url=office.dsn, secret_key=SECRET_KEY), service=office.service)
    ivy = Browser(app.test_client())
    assert choose(ivy, link).location == "/"
    assert ivy.get("/").location == "/account/second-factor?next=/"
    database.close(app)


def test_a_new_link_for_a_forgotten_password_ends_the_sign_ins_but_not_the_second_factor(
    office: Office, browser: Open
) -> None:
    ivy = browser(None)
    choose(ivy, invite(browser))
    key = re.search(r"<code>([A-Z2-7 ]+)</code>", ivy.get("/account/second-factor").text)
    assert key
    phone = pyotp.TOTP(key[1].replace(" ", ""))
    ivy.submit("/account/second-factor", "/account/second-factor", code=phone.now())
    page = f"/people/{ivys_id(office)}"
    link = link_on(browser("anna.admin").submit(page, f"{page}/link"))
    assert ivy.get("/").status_code == 200  # until the link is used
    finder = browser(None)
    assert choose(finder, link, "harvest moon ladder").location == "/sign-in/code"
    assert ivy.get("/").status_code == 302
    assert finder.get("/").location == "/sign-in?next=/"


def test_a_link_opened_where_somebody_else_is_signed_in_says_so_and_signs_them_out(
    office: Office, browser: Open
) -> None:
    link, vera = invite(browser), browser(None)
    vera.sign_in("vera.viewer")
    vera.get(link)
    assert "This browser is signed in as Vera Hughes." in vera.get("/invitation").text
    choose(vera, link)
    assert "<b>Ivy Green</b>" in vera.get("/").text


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"username": "ivy green"}, "Letters a to z"),
        ({"username": "Ívy"}, "Letters a to z"),
        ({"username": "anna.admin"}, "Somebody has this user name already."),
        ({"name": " "}, "Type the name"),
        ({"role": ""}, "Choose a role"),
        ({"role": "owner"}, "Choose a role"),
        ({"timezone": "Nowhere"}, "Choose the time zone"),
    ],
)
def test_an_invitation_that_will_not_do_is_refused_with_what_to_do(
    browser: Open, wrong: dict[str, str], sentence: str
) -> None:
    answer = browser("anna.admin").submit("/people/invite", "/people/invite", **(FACTS | wrong))
    assert answer.status_code == 400
    assert sentence in answer.text
    assert "/invitation/" not in answer.text


def test_an_operator_lets_the_first_administrator_in_and_helps_a_lost_phone(
    office: Office, browser: Open, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", office.dsn)
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://portal.example.test/office/")

    def link(*options: str) -> str:
        assert add_person.main(["Ivy.Green", "compliance", *options]) == 0
        said = capsys.readouterr().out.split()[-1]
        assert said.startswith("https://portal.example.test/office/invitation/")
        return urlsplit(said).path.removeprefix("/office")

    first, second = link(), link("--name", "Ivy Ann Green")
    late = browser(None)
    late.get(first)
    assert late.get("/invitation").status_code == 404
    ivy = browser(None)
    assert choose(ivy, second).location == "/"
    assert "<b>Ivy Ann Green</b>" in ivy.get("/").text
    key = re.search(r"<code>([A-Z2-7 ]+)</code>", ivy.get("/account/second-factor").text)
    assert key
    ivy.submit("/account/second-factor", "/account/second-factor", code=pyotp.TOTP(key[1].replace(" ", "")).now())
    assert browser(None).sign_in("ivy.green", NEW).location == "/sign-in/code"
    link("--reset-second-factor")
    assert ivy.get("/").status_code == 302
    assert browser(None).sign_in("ivy.green", NEW).location == "/"


def test_without_a_known_address_the_operator_still_gets_the_links_path(
    office: Office, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", office.dsn)
    monkeypatch.delenv("PUBLIC_BASE_URL", raising=False)
    assert add_person.main(["ivy.green", "viewer"]) == 0
    assert f"<the portal's address>{invitations.PATH}/" in capsys.readouterr().out


def test_the_demo_password_is_none_that_may_be_chosen(browser: Open) -> None:
    answer = choose(browser(None), invite(browser), demo.PASSWORD)
    assert answer.status_code == 400
