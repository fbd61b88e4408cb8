"""Codes of a phone: set up, asked for, each good once; and fault 27: an administrator's password alone opened everything."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pyotp
import pytest
from werkzeug.test import TestResponse

from portal import database, demo, second_factors, throttle
from portal.app import create_app
from portal.config import PortalConfig
from portal.sealing import CannotOpen, Seal
from portal.start import prepare
from tests.portal.conftest import SEAL, SECRET_KEY, Browser, Office

OFFICE_PAGES = ("/", "/clients/", "/policies/1", "/account", "/whatsapp_logs", "/api/whatsapp/messages")


@pytest.fixture(scope="module")
def strict(office: Office) -> Iterator[Office]:
    """The same office as it is without the demo's setting: administrators need a second factor."""
    app = create_app(PortalConfig(database_url=office.dsn, secret_key=SECRET_KEY), service=office.service)
    yield Office(app, office.dsn, office.service)
    database.close(app)


@pytest.fixture
def add(office: Office) -> Iterator[Callable[[str], str]]:
    """A function from a role to the user name of somebody new in it, with the demo's password."""

    def add_person(role: str) -> str:
        with psycopg.connect(office.dsn) as conn:
            conn.execute(
                """
                INSERT INTO people (username, name, role, password_hash, timezone)
                SELECT %(role)s || '.fay', 'Fay Tan', %(role)s, password_hash, timezone
                FROM people WHERE username = 'arjun.agent'
                """,
                {"role": role},
            )
        return f"{role}.fay"

    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM sign_in_attempts")
    yield add_person
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM people WHERE name = 'Fay Tan'")


class Person(Browser):
    """Somebody who has typed their name and password; `answer` is what came of it."""

    answer: TestResponse


def signed_in(office: Office, username: str) -> Person:
    person = Person(office.app.test_client())
    person.answer = person.sign_in(username)
    return person


def set_up(person: Browser, page: str = "/account/second-factor") -> tuple[pyotp.TOTP, list[str], TestResponse]:
    """Scan the code, type the first one; returns the phone, the recovery codes and the page that shows them."""
    key = re.search(r"<code>([A-Z2-7 ]+)</code>", person.get(page).text)
    assert key
    phone = pyotp.TOTP(key[1].replace(" ", ""))
    answer = person.submit(page, "/account/second-factor", code=phone.now())
    return phone, re.findall(r"<code>([a-z0-9-]{29})</code>", answer.text), answer


def later(phone: pyotp.TOTP, steps: int = 1) -> str:
    """The code that the phone shows in a while."""
    return phone.at(int(time.time()) + steps * second_factors.STEP_S)


def forget_last_step(office: Office) -> None:
    """As if the last code had been used long ago."""
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE second_factors SET last_step = 0")


def type_code(person: Browser, **fields: str) -> TestResponse:
    return person.submit("/sign-in/code", "/sign-in/code", **fields)


def test_fault_27_an_administrator_without_a_second_factor_is_led_to_it_and_can_do_nothing_else(
    strict: Office, add: Callable[[str], str]
) -> None:
    person = signed_in(strict, add("administrator"))
    assert person.answer.location == "/"
    assert person.get("/").location == "/account/second-factor?next=/"
    for page in OFFICE_PAGES:
        answer = person.client.get(page, follow_redirects=True)
        assert "Set up your second factor" in answer.text or answer.status_code == 401, page
        assert "Harbour Street" not in answer.text
    fields = person.hidden_fields("/account/second-factor", "/account/second-factor")
    for form in ("/policies/1/send", "/account/password", "/clients/1/message", "/account/sign-ins/end"):
        assert person.post(form, fields).location.startswith("/account/second-factor"), form
    assert person.post("/api/whatsapp/refresh_all_statuses", fields).status_code in (401, 403)
    _, codes, page = set_up(person, "/account/second-factor?next=/clients/")
    assert len(set(codes)) == second_factors.RECOVERY_CODES
    assert 'href="/clients/"' in page.text
    assert person.get("/clients/").status_code == 200


def test_fault_27_the_password_alone_opens_nothing_once_there_is_a_second_factor(
    strict: Office, add: Callable[[str], str]
) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(strict, username))
    thief = signed_in(strict, username)
    assert thief.answer.location == "/sign-in/code"
    for page in OFFICE_PAGES:
        answer = thief.get(page)
        assert answer.status_code == 401 or answer.location.startswith("/sign-in"), page
    assert thief.post("/account/password", {"new_password": "otter kettle violin"}).status_code == 401
    assert type_code(thief, code="000000").status_code == 401
    assert thief.get("/").location == "/sign-in?next=/"
    assert type_code(thief, code=later(phone)).location == "/"
    assert thief.get("/").status_code == 200


def test_the_office_decides_who_needs_one(office: Office, add: Callable[[str], str]) -> None:
    agent, administrator = add("agent"), add("administrator")
    needed = {}
    for who in ("nobody", "administrators", "everyone"):
        config = PortalConfig(database_url=office.dsn, secret_key=SECRET_KEY, require_second_factor=who)
        app = create_app(config, service=office.service)
        people = [signed_in(Office(app, office.dsn, office.service), name) for name in (agent, administrator)]
        needed[who] = [person.get("/").location is not None for person in people]
        database.close(app)
    assert needed == {"nobody": [False, False], "administrators": [False, True], "everyone": [True, True]}


def test_a_code_is_good_once_even_for_two_who_send_it_at_once(office: Office, add: Callable[[str], str]) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(office, username))
    (step,) = office.row("SELECT max(last_step) FROM second_factors")
    assert isinstance(step, int)
    used = phone.generate_otp(step)
    assert type_code(signed_in(office, username), code=used).status_code == 401  # by setting up
    code = later(phone)
    first, second = signed_in(office, username), signed_in(office, username)
    assert type_code(first, code=code).location == "/"
    answer = type_code(second, code=code)
    assert answer.status_code == 401
    assert "was used already" in answer.text


@pytest.mark.parametrize(("steps", "is_right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_phone_may_be_one_step_early_or_late(
    office: Office, add: Callable[[str], str], steps: int, is_right: bool
) -> None:
    username, at = add("agent"), 1_800_000_010.0
    with psycopg.connect(office.dsn) as conn:
        (user_id,) = office.row("SELECT user_id FROM people WHERE username = %(name)s", name=username)
        assert isinstance(user_id, int)
        phone = pyotp.TOTP(second_factors.begin(conn, user_id, seal=SEAL))
        assert second_factors.finish(conn, user_id, phone.at(int(at) - 300), at=at - 300, seal=SEAL)
        assert (
            second_factors.use_code(conn, user_id, phone.at(int(at) + steps * second_factors.STEP_S), at=at, seal=SEAL)
            is is_right
        )


def test_a_code_may_be_typed_with_a_blank_or_in_another_scripts_digits(
    office: Office, add: Callable[[str], str]
) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(office, username))
    code = later(phone)
    assert type_code(signed_in(office, username), code=f" {code[:3]} {code[3:]} ").location == "/"
    forget_last_step(office)
    wide = "".join(chr(ord(digit) - ord("0") + 0xFF10) for digit in later(phone))
    assert type_code(signed_in(office, username), code=wide).location == "/"


def test_guessing_at_codes_is_slowed_down_from_wherever_it_comes(office: Office, add: Callable[[str], str]) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(office, username))
    person = signed_in(office, username)
    fields = person.hidden_fields("/sign-in/code", "/sign-in/code")
    for n in range(throttle.LIMIT_CODES):
        answer = person.client.post(
            "/sign-in/code", data={**fields, "code": "000000"}, environ_base={"REMOTE_ADDR": f"192.0.2.{n}"}
        )
        assert answer.status_code == 401
    assert type_code(person, code=later(phone)).status_code == 429
    assert type_code(person, recovery_code="abcd-efgh-jkmn-pqrs").status_code == 429


def test_a_recovery_code_signs_in_once_however_it_is_typed(office: Office, add: Callable[[str], str]) -> None:
    username = add("agent")
    _, codes, _ = set_up(signed_in(office, username))
    person = signed_in(office, username)
    assert type_code(person, recovery_code=codes[3].upper().replace("-", " ")).location == "/"
    assert "9 are left" in person.get("/").text
    assert type_code(signed_in(office, username), recovery_code=codes[3]).status_code == 401
    for code in codes[:3] + codes[4:8]:
        last = signed_in(office, username)
        assert type_code(last, recovery_code=code).location == "/"
    assert "You have 2 recovery codes left." in last.get("/").text


def test_new_recovery_codes_end_the_old_ones(office: Office, add: Callable[[str], str]) -> None:
    username = add("agent")
    person = signed_in(office, username)
    _, old, _ = set_up(person)
    page = person.submit("/account/recovery-codes", "/account/recovery-codes").text
    new = re.findall(r"<code>([a-z0-9-]{29})</code>", page)
    assert len(new) == len(set(new) - set(old)) == second_factors.RECOVERY_CODES
    assert type_code(signed_in(office, username), recovery_code=old[0]).status_code == 401
    assert type_code(signed_in(office, username), recovery_code=new[0]).location == "/"


def test_setting_it_up_ends_the_sign_ins_that_were_made_without_it(office: Office, add: Callable[[str], str]) -> None:
    username = add("agent")
    elsewhere, here = signed_in(office, username), signed_in(office, username)
    set_up(here)
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302


def test_a_wrong_first_code_sets_nothing_up_and_the_same_key_stays_on_the_page(
    office: Office, add: Callable[[str], str]
) -> None:
    username = add("agent")
    person = signed_in(office, username)
    key = re.search(r"<code>[A-Z2-7 ]+</code>", person.get("/account/second-factor").text)
    assert key
    answer = person.submit("/account/second-factor", "/account/second-factor", code="000000")
    assert answer.status_code == 400
    assert key[0] in answer.text
    assert signed_in(office, username).answer.location == "/"


def test_another_phone_replaces_the_first_only_when_its_code_was_right(
    office: Office, add: Callable[[str], str]
) -> None:
    username = add("agent")
    person = signed_in(office, username)
    old, _, _ = set_up(person)
    person.get("/account/second-factor")  # looked at, not done
    assert type_code(signed_in(office, username), code=later(old)).location == "/"
    new, _, _ = set_up(person)
    assert type_code(signed_in(office, username), code=later(old)).status_code == 401
    assert type_code(signed_in(office, username), code=later(new)).location == "/"


def test_who_need_not_have_one_may_turn_it_off_and_administrators_may_not(
    strict: Office, add: Callable[[str], str]
) -> None:
    agent, administrator = signed_in(strict, add("agent")), signed_in(strict, add("administrator"))
    for person in (agent, administrator):
        set_up(person)
    form = "/account/second-factor/off"
    agent.submit(form, form)
    assert signed_in(strict, "agent.fay").answer.location == "/"
    assert "Your role needs one." in administrator.get(form).text
    assert administrator.post(form, administrator.hidden_fields("/account", "/sign-out")).status_code == 403


def test_a_code_has_to_be_typed_within_ten_minutes_of_the_password(office: Office, add: Callable[[str], str]) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(office, username))
    person = signed_in(office, username)
    fields = person.hidden_fields("/sign-in/code", "/sign-in/code")
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE sign_ins SET expires_at = expires_at - interval '10 minutes' WHERE waits_for_code")
    assert person.post("/sign-in/code", {**fields, "code": later(phone)}).location == "/sign-in"


def test_the_key_is_a_picture_that_the_pages_own_policy_allows(office: Office, add: Callable[[str], str]) -> None:
    answer = signed_in(office, add("agent")).get("/account/second-factor")
    assert re.search(r'<img src="data:image/svg\+xml[^"]+" alt="QR code', answer.text)
    assert "img-src 'self' data:" in answer.headers["Content-Security-Policy"]
    assert 'autocomplete="one-time-code"' in answer.text
    assert 'inputmode="numeric"' in answer.text


def test_codes_and_keys_are_written_into_no_log(
    office: Office, add: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    username = add("agent")
    phone, codes, _ = set_up(signed_in(office, username))
    code = later(phone)
    type_code(signed_in(office, username), code=code)
    type_code(signed_in(office, username), recovery_code=codes[0])
    for secret in (phone.secret, *codes, demo.PASSWORD):
        assert secret not in caplog.text


def _kept(office: Office, username: str) -> str:
    sql = "SELECT secret FROM second_factors JOIN people USING (user_id) WHERE username = %(name)s"
    return str(office.row(sql, name=username)[0])


def _write(office: Office, username: str, secret: str) -> None:
    with psycopg.connect(office.dsn) as conn:
        conn.execute(
            "UPDATE second_factors SET secret = %s WHERE user_id = (SELECT user_id FROM people WHERE username = %s)",
            (secret, username),
        )


def test_no_row_tells_the_key_and_none_is_good_for_somebody_else(office: Office, add: Callable[[str], str]) -> None:
    username, other = add("agent"), add("viewer")
    person = signed_in(office, username)
    shown = re.search(r"<code>([A-Z2-7 ]+)</code>", person.get("/account/second-factor").text)
    assert shown
    secret = shown[1].replace(" ", "")
    everything = "SELECT string_agg(f::text, ' ') FROM second_factors AS f"
    assert secret not in str(office.row(everything)[0])  # while it is being set up
    phone, _, _ = set_up(person)
    assert phone.secret == secret
    assert secret not in str(office.row(everything)[0])
    set_up(signed_in(office, other))
    _write(office, other, _kept(office, username))
    moved = signed_in(office, other)
    answer = type_code(moved, code=later(phone))
    assert answer.status_code == 503
    assert "secret key was changed" in answer.text
    assert moved.get("/clients/").location.startswith("/sign-in")


def test_a_secret_that_an_earlier_program_wrote_works_and_is_sealed_by_its_next_use(
    office: Office, add: Callable[[str], str]
) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(office, username))
    _write(office, username, phone.secret)
    assert type_code(signed_in(office, username), code=later(phone)).location == "/"
    assert phone.secret not in _kept(office, username)
    forget_last_step(office)
    assert type_code(signed_in(office, username), code=later(phone)).location == "/"


def test_preparing_the_database_seals_what_is_not_sealed_or_was_by_the_previous_key(
    office: Office, add: Callable[[str], str]
) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(office, username))
    (user_id,) = office.row("SELECT user_id FROM people WHERE username = %(name)s", name=username)
    assert isinstance(user_id, int)
    new = Seal(secret_key="another secret key of the tests", previous_secret_key=SECRET_KEY)
    with psycopg.connect(office.dsn) as conn:
        conn.execute(
            "DELETE FROM second_factors WHERE user_id <> %s", (user_id,)
        )  # in this transaction, which is undone
        for seal, before in ((SEAL, phone.secret), (new, SEAL.close(phone.secret, owner=user_id))):
            conn.execute("UPDATE second_factors SET secret = %s", (before,))
            assert second_factors.seal_all(conn, seal=seal) == 1
            assert second_factors.seal_all(conn, seal=seal) == 0
            (kept,) = conn.execute("SELECT secret FROM second_factors").fetchone() or ("",)
            assert Seal(secret_key=seal.secret_key).open(kept, owner=user_id) == phone.secret
        assert second_factors.seal_all(conn, seal=Seal(secret_key="a third")) == 0  # no key opens it: nothing is lost
        assert conn.execute("SELECT secret FROM second_factors").fetchone() == (kept,)
        conn.rollback()


def test_run_migrate_seals_what_an_earlier_program_wrote(
    office: Office, add: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    username = add("agent")
    phone, _, _ = set_up(signed_in(office, username))
    _write(office, username, phone.secret)
    for name, value in {"DATABASE_URL": office.dsn, "SECRET_KEY": SECRET_KEY, "MIGRATION_DATABASE_URL": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["prepare"])
    monkeypatch.chdir(tmp_path)  # no .env of ours
    prepare.main()
    assert phone.secret not in _kept(office, username)
    assert type_code(signed_in(office, username), code=later(phone)).location == "/"


def test_a_new_secret_key_beside_the_previous_one_signs_nobody_out_and_alone_says_what_to_do(
    office: Office, add: Callable[[str], str]
) -> None:
    username = add("agent")
    inside = signed_in(office, username)
    phone, codes, _ = set_up(inside)
    cookie = inside.client.get_cookie("portal_session")
    assert cookie

    def under(**keys: str) -> tuple[Office, bool]:
        config = PortalConfig(database_url=office.dsn, require_second_factor="nobody", **keys)
        app = create_app(config, service=office.service)
        known = Browser(app.test_client())
        known.client.set_cookie("portal_session", cookie.value)
        return Office(app, office.dsn, office.service), known.get("/clients/").status_code == 200

    lost, is_in = under(secret_key="another secret key of the tests")
    assert not is_in
    answer = type_code(signed_in(lost, username), code=later(phone))
    assert answer.status_code == 503
    assert "Use a recovery code" in answer.text
    assert type_code(signed_in(lost, username), recovery_code=codes[0]).location == "/"
    changed, is_in = under(secret_key="another secret key of the tests", previous_secret_key=SECRET_KEY)
    assert is_in
    assert type_code(signed_in(changed, username), code=later(phone)).location == "/"
    forget_last_step(office)
    assert type_code(signed_in(lost, username), code=later(phone)).location == "/"  # sealed anew by that use
    for each in (lost, changed):
        database.close(each.app)


@pytest.mark.parametrize("kept", ["sealed:1:", "sealed:1:?", "sealed:1:" + "A" * 80])
def test_what_is_no_seal_of_ours_opens_nothing(kept: str) -> None:
    with pytest.raises(CannotOpen, match="PREVIOUS_SECRET_KEY"):
        SEAL.open(kept, owner=1)
