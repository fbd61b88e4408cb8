"""Any way of writing a number → one address; any part of a number → the digits to look for."""

from __future__ import annotations

import random

import phonenumbers
import pytest

from whatsapp_logs import phone
from whatsapp_logs.errors import InvalidInput, InvalidPhone


@pytest.mark.parametrize(
    "written",
    [
        "+44 7700 900123",
        "07700 900123",
        "0044 7700 900123",
        "+44 (0)7700 900-123",
        "whatsapp:+447700900123",
        " 7700900123 ",
    ],
)
def test_a_number_written_in_any_form_becomes_one_address(written: str) -> None:
    assert phone.to_address(written, region="GB") == "+447700900123"


@pytest.mark.parametrize(
    "written", ["", "abc", "12", "+44", "+999 123456789", "0" * 500, "+44 7700 900123 456", "whatsapp:", "\x00"]
)
def test_what_cannot_be_a_number_is_refused_with_a_sentence(written: str) -> None:
    with pytest.raises(InvalidPhone) as refused:
        phone.to_address(written, region="GB")
    assert refused.value.reason.endswith(".")


def test_a_whatsapp_user_id_is_an_address_too() -> None:
    assert phone.to_address("whatsapp:GB.1a2B3c", region="GB") == "GB.1a2B3c"


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("+91 98765 43210", "919876543210"),
        ("0091 98765 43210", "919876543210"),
        ("091 98765 43210", "919876543210"),
        ("011 91 98765 43210", "919876543210"),
        ("07700 900123", "7700900123"),
        ("+44 (0)7700 900123", "447700900123"),
        ("９００１２３", "900123"),
        ("…0123", "0123"),
        ("900 12", "90012"),
        ("%900_123'", "900123"),
    ],
)
def test_a_typed_part_is_searched_by_its_digits(typed: str, digits: str) -> None:
    assert phone.search_digits(typed) == digits


@pytest.mark.parametrize("typed", ["", "%", "_", "ab", "12", "' or 1=1", "9" * 500])
def test_a_search_without_enough_digits_says_so(typed: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        phone.search_digits(typed)
    assert refused.value.field == "phone"


def test_a_masked_number_shows_its_last_four_digits_only() -> None:
    assert phone.masked("+447700900123") == "•••• 0123"
    assert phone.masked("123") == "••••"


def test_what_is_taken_as_it_stands_is_what_reading_it_through_makes_of_it() -> None:
    """E.164 is not read through, for its cost; random digits behind every country's code tell whether that changes anything."""
    chance, codes = random.Random(5), list(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
    for _ in range(8000):
        text = f"+{chance.choice(codes)}{''.join(chance.choices('0123456789', k=chance.randint(4, 12)))}"
        try:
            number = phonenumbers.parse(text, "GB")
            reason = phonenumbers.is_possible_number_with_reason(number)
            is_possible = reason == phonenumbers.ValidationResult.IS_POSSIBLE
            address = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if is_possible else None
        except phonenumbers.NumberParseException:
            address = None
        if address is None:
            with pytest.raises(InvalidPhone):
                phone.to_address(text, region="GB")
        else:
            assert phone.to_address(text, region="GB") == address
