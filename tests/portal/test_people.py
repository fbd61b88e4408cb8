"""The page of people: who sees it, what it shows, and what an administrator can do to others and not to themselves."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

import psycopg
import pyotp
import pytest

from portal import demo, people, staff
from tests.portal.conftest import Browser, Office

Open = Callable[[str | None], Browser]


@pytest.fixture
def ken(office: Office) -> Iterator[int]:
    """Somebody to manage: their number. They sign in as ken.lane with the demo's password."""
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM sign_in_attempts")
        row = conn.execute(
            """
            INSERT INTO people (username, name, role, password_hash, timezone)
            SELECT 'ken.lane', 'Ken Lane', role, password_hash, timezone FROM people WHERE username = 'arjun.agent'
            RETURNING user_id
            """
        ).fetchone()
    assert row
    yield row[0]
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM people WHERE username = 'ken.lane'")


def signed_in(browser: Open, username: str = "ken.lane") -> Browser:
    person = browser(None)
    assert person.sign_in(username).location == "/"
    return person


def do(browser: Open, user_id: int, what: str, **fields: object) -> str:
    """Press a button of the person's page; returns the page that comes then."""
    anna, page = browser("anna.admin"), f"/people/{user_id}"
    answer = anna.submit(page, f"{page}/{what}", **fields)
    assert answer.location == page, answer.text
    return anna.get(page).text


def row_of(page: str, name: str) -> str:
    rows = [row for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if name in row]
    assert len(rows) == 1
    return re.sub(r"<[^>]+>|\s+", " ", rows[0])


@pytest.mark.parametrize(("username", "_password", "role"), demo.DEMO_SIGN_INS)
def test_people_are_in_the_navigation_for_who_may_manage_them(
    browser: Open, username: str, _password: str, role: str
) -> None:
    person = browser(username)
    assert ('<a href="/people/">People</a>' in person.get("/").text) == (role == "administrator")
    assert person.get("/people/").status_code == (200 if role == "administrator" else 403)


def test_the_list_shows_role_second_factor_last_sign_in_and_state(office: Office, browser: Open, ken: int) -> None:
    page = browser("anna.admin").get("/people/").text
    assert "Agent  Off  Never  Active" in re.sub(r" {2,}", "  ", row_of(page, "Ken Lane"))
    person = signed_in(browser)
    key = re.search(r"<code>([A-Z2-7 ]+)</code>", person.get("/account/second-factor").text)
    assert key
    person.submit("/account/second-factor", "/account/second-factor", code=pyotp.TOTP(key[1].replace(" ", "")).now())
    shown = row_of(browser("anna.admin").get("/people/").text, "Ken Lane")
    assert " On " in shown
    assert "Never" not in shown


def test_a_changed_role_counts_from_the_next_click(browser: Open, ken: int) -> None:
    person = signed_in(browser)
    assert person.get("/clients/1/edit").status_code == 200
    assert "Ken Lane is now a viewer." in do(browser, ken, "role", role="viewer")
    assert person.get("/clients/1/edit").status_code == 403
    anna = browser("anna.admin")
    fields = anna.hidden_fields(f"/people/{ken}", f"/people/{ken}/role")
    assert anna.post(f"/people/{ken}/role", {**fields, "role": "owner"}).status_code == 400


def test_an_administrator_signs_somebody_out_everywhere(browser: Open, ken: int) -> None:
    desk, phone = signed_in(browser), signed_in(browser)
    assert "In 2 browsers" in browser("anna.admin").get(f"/people/{ken}").text
    assert "Ken Lane is signed out everywhere." in do(browser, ken, "sign-ins")
    assert [person.get("/").status_code for person in (desk, phone)] == [302, 302]
    assert signed_in(browser).get("/").status_code == 200


def test_a_reset_second_factor_lets_somebody_in_by_password_and_signs_the_phone_out(browser: Open, ken: int) -> None:
    person = signed_in(browser)
    key = re.search(r"<code>([A-Z2-7 ]+)</code>", person.get("/account/second-factor").text)
    assert key
    person.submit("/account/second-factor", "/account/second-factor", code=pyotp.TOTP(key[1].replace(" ", "")).now())
    assert browser(None).sign_in("ken.lane").location == "/sign-in/code"
    assert "The second factor of Ken Lane is reset." in do(browser, ken, "second-factor")
    assert person.get("/").status_code == 302
    assert signed_in(browser).get("/").status_code == 200


def test_somebody_removed_is_out_at_once_stays_written_and_can_be_let_in_again(
    office: Office, browser: Open, ken: int
) -> None:
    person = signed_in(browser)
    page = do(browser, ken, "remove")
    assert "Ken Lane is removed and can no longer sign in." in page
    assert person.get("/").status_code == 302
    assert browser(None).sign_in("ken.lane").status_code == 401
    assert "Removed" in row_of(browser("anna.admin").get("/people/").text, "Ken Lane")
    assert "/role" not in page
    anna = browser("anna.admin")
    answer = anna.submit(f"/people/{ken}", f"/people/{ken}/link")
    link = re.search(r">http://localhost(/invitation/[\w-]+)</textarea>", answer.text)
    assert link
    person.get(link[1])
    chosen = {"new_password": "otter kettle violin", "new_password_again": "otter kettle violin"}
    assert person.submit("/invitation", "/invitation", **chosen).location == "/"


def test_nobody_does_these_things_to_themselves(office: Office, browser: Open) -> None:
    anna = browser("anna.admin")
    (mine,) = office.row("SELECT user_id FROM people WHERE username = 'anna.admin'")
    page = anna.get(f"/people/{mine}").text
    assert "This is you" in page
    fields = anna.hidden_fields("/account", "/sign-out")
    for what in ("link", "role", "sign-ins", "second-factor", "remove"):
        answer = anna.post(f"/people/{mine}/{what}", {**fields, "role": "viewer"})
        assert (answer.status_code, f"/people/{mine}/{what}" in page) == (400, False), what
    assert anna.get("/people/").status_code == 200


def test_of_two_administrators_who_remove_each_other_at_once_one_stays(office: Office, ken: int) -> None:
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE people SET role = 'administrator' WHERE user_id = %s", (ken,))
    (anna,) = office.row("SELECT user_id FROM people WHERE username = 'anna.admin'")
    assert isinstance(anna, int)
    outcomes, done = [], threading.Event()

    def demote_the_other(conn: psycopg.Connection) -> None:
        outcomes.append(staff.may_still_change(conn, who=ken, whom=anna))
        done.set()

    with psycopg.connect(office.dsn, autocommit=True) as watch, psycopg.connect(office.dsn) as late:
        with psycopg.connect(office.dsn) as first:
            assert staff.may_still_change(first, who=anna, whom=ken)
            staff.set_role(first, ken, "viewer")
            thread = threading.Thread(target=demote_the_other, args=[late])
            thread.start()
            waits = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
            while not done.is_set() and watch.execute(waits, (late.info.backend_pid,)).fetchone() != (True,):
                pass
        thread.join()
    assert outcomes == [False]


def test_every_page_that_changes_who_can_sign_in_asks_for_the_password_again(
    office: Office, browser: Open, ken: int
) -> None:
    anna = signed_in(browser, "anna.admin")
    fields = anna.hidden_fields("/", "/sign-out")
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE sign_ins SET confirmed_at = now() - interval '11 minutes'")
    for page in ("/people/invite", f"/people/{ken}"):
        assert anna.get(page).location == f"/sign-in/confirm?next={page}"
    for what in ("link", "role", "sign-ins", "second-factor", "remove"):
        form = f"/people/{ken}/{what}"
        assert anna.post(form, {**fields, "role": "viewer"}).location == f"/sign-in/confirm?next={form}"
    wanted = f"/sign-in/confirm?next=/people/{ken}/role"
    back = anna.submit(wanted, "/sign-in/confirm", password=demo.PASSWORD).location
    assert back == f"/people/{ken}/role"
    assert anna.get(back).location == f"/people/{ken}"  # a form's address: its page lies above it
    office.cookies.clear()  # the shared sign-ins are no longer fresh


def test_a_person_who_does_not_exist_is_not_found(browser: Open) -> None:
    anna = browser("anna.admin")
    fields = anna.hidden_fields("/", "/sign-out")
    assert anna.get("/people/999999").status_code == 404
    for what in ("link", "sign-ins", "second-factor", "remove"):
        assert anna.post(f"/people/999999/{what}", fields).status_code == 404


def test_only_administrators_manage_people() -> None:
    roles = [role for role, rights in people.OWN_RIGHTS.items() if people.OwnRight.MANAGE_PEOPLE in rights]
    assert roles == ["administrator"]
