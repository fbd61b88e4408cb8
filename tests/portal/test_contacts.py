"""Correcting a client's contact details: who may, what is accepted in which form, what is said of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape

import pytest

from tests.portal.conftest import Browser, Office

Open = Callable[[str | None], Browser]
PAGE = "/clients/30/edit"
GOOD = {
    "name": "Alice Pemberton",
    "phone": "+44 7700 900555",
    "email": "alice@example.test",
    "address": "1 Quay Road\nBath BA1 0AB",
}


@pytest.fixture(autouse=True)
def put_back(office: Office) -> Iterator[None]:
    """Other tests look at the same office: leave the client as found."""
    name, phone, email, address = kept(office)
    yield
    office.row(
        """
        UPDATE clients SET name = %(name)s, phone = %(phone)s, email = %(email)s, address = %(address)s
        WHERE client_id = 30 RETURNING 1
        """,
        name=name,
        phone=phone,
        email=email,
        address=address,
    )


def kept(office: Office) -> tuple[object, ...]:
    return office.row("SELECT name, phone, email, address FROM clients WHERE client_id = 30")


def problem_beside(html: str, field: str) -> str:
    """The sentence that the field names as its description; the field has to be marked as invalid."""
    control = re.search(rf'<(?:input|textarea) id="{field}"[^>]*>', html)
    assert control
    assert 'aria-invalid="true"' in control[0]
    assert f'aria-describedby="{field}-problem' in control[0]
    said = re.search(rf'id="{field}-problem">([^<]+)<', html)
    assert said
    return unescape(said[1])


@pytest.mark.parametrize("username", ["arjun.agent", "anna.admin"])
def test_agents_and_administrators_are_led_to_the_form_and_find_what_is_kept(browser: Open, username: str) -> None:
    person = browser(username)
    assert 'href="/clients/1/edit"' in person.get("/clients/1").text
    html = person.get("/clients/1/edit").text
    assert 'value="Asha Rao"' in html
    assert 'value="+44 7700 900200"' in html


@pytest.mark.parametrize("username", ["clara.compliance", "vera.viewer"])
def test_whoever_changes_nothing_sees_no_link_and_no_form(office: Office, browser: Open, username: str) -> None:
    person, before = browser(username), kept(office)
    assert 'href="/clients/1/edit"' not in person.get("/clients/1").text
    assert person.get(PAGE).status_code == 403
    assert person.post(PAGE, dict(GOOD)).status_code == 403
    assert kept(office) == before


@pytest.mark.parametrize(
    "phone",
    [
        "+447700900555",
        "07700 900555",
        "(07700) 900-555",
        "0044 7700 900555",
        "+44 (0)7700 900555",
        "whatsapp:+447700900555",
        " tel:+44-7700-900555 ",
        "\u202a+44 7700 900555\u202c",  # as copied from a telephone's address book
        "٠٧٧٠٠ ٩٠٠٥٥٥",
    ],
)
def test_a_phone_number_in_any_form_is_kept_in_the_one_form(office: Office, browser: Open, phone: str) -> None:
    person = browser("arjun.agent")
    answer = person.submit(PAGE, PAGE, **GOOD | {"phone": phone})
    assert (answer.status_code, answer.location) == (303, "/clients/30")
    assert kept(office)[1] == "+447700900555"
    page = person.get("/clients/30").text
    assert "Saved. Messages to Alice Pemberton now go to +44 7700 900555." in page


def test_a_number_from_abroad_is_kept_with_its_country(office: Office, browser: Open) -> None:
    browser("arjun.agent").submit(PAGE, PAGE, **GOOD | {"phone": "+1 (212) 555-0100"})
    assert kept(office)[1] == "+12125550100"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("phone", "", "Write the phone number."),
        ("phone", "not yet known", "This is not a phone number."),
        ("phone", "+44 12", "too short"),
        ("phone", "900555", "lacks its area code"),
        ("phone", "07700 9005550000000", "too long"),
        ("phone", "+999 7700 900555", "not a phone number"),
        ("phone", "07700 FLOWER", "neither letters nor an extension"),
        ("phone", "07700 900555 ext. 12", "neither letters nor an extension"),
        ("phone", "+44 7700 900555 " * 20, "characters"),
        ("name", " \u200b ", "Write the client’s name."),
        ("name", "x" * 101, "This has 101 characters; 100 are enough."),
        ("email", "alice", "This is not an e-mail address."),
        ("email", "alice@localhost", "This is not an e-mail address."),
        ("address", "\n \n", "Write the postal address."),
        ("address", "\n".join("abcdefg"), "up to 6 lines"),
    ],
)
def test_what_cannot_be_kept_is_said_beside_its_field_and_nothing_is_changed(
    office: Office, browser: Open, field: str, value: str, says: str
) -> None:
    before = kept(office)
    answer = browser("arjun.agent").submit(PAGE, PAGE, **GOOD | {"name": "Somebody Else", field: value})
    assert answer.status_code == 400
    assert says in problem_beside(answer.text, field)
    assert answer.text.count('aria-invalid="true"') == 1
    assert kept(office) == before


def test_everything_wrong_is_said_at_once_and_what_was_typed_is_still_there(browser: Open) -> None:
    typed = {"name": "", "phone": "<b>12</b>", "email": "alice(at)example.test", "address": ""}
    html = browser("arjun.agent").submit(PAGE, PAGE, **typed).text
    for field in typed:
        assert problem_beside(html, field)
    assert html.count("autofocus") == 1
    assert 'value="alice(at)example.test"' in html
    assert "<b>12" not in html


def test_details_are_cleaned_and_the_email_may_be_left_out(office: Office, browser: Open) -> None:
    typed = GOOD | {"name": "  Zoë \t O’Neill\0 ", "email": " ", "address": "\r\n 1  Quay Road \r\n\r\nBath\r\n"}
    assert browser("arjun.agent").submit(PAGE, PAGE, **typed).status_code == 303
    assert kept(office) == ("Zoë O’Neill", "+447700900555", None, "1 Quay Road\nBath")


def test_a_client_who_is_not_there_cannot_be_edited(browser: Open) -> None:
    person = browser("arjun.agent")
    token = person.hidden_fields(PAGE, PAGE)
    assert person.get("/clients/999999/edit").status_code == 404
    assert person.post("/clients/999999/edit", {**token, **GOOD}).status_code == 404
