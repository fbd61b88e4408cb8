"""A client's contact details as somebody types them: cleaned, checked, the phone number in E.164."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import phonenumbers
from phonenumbers import ValidationResult

MAX_CHARACTERS = {"name": 100, "phone": 50, "email": 254, "address": 300}
MAX_ADDRESS_LINES = 6
_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+")
_WHICH_PHONE = "Write the number with its country code, like +44 7700 900123."
_WRONG_LENGTH = {
    ValidationResult.TOO_SHORT: "This phone number is too short.",
    ValidationResult.TOO_LONG: "This phone number is too long.",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "This phone number lacks its area code.",
    ValidationResult.INVALID_COUNTRY_CODE: "No country has this code.",
}


class NotAccepted(ValueError):
    """Details that cannot be kept. `problems` says per field what to do, for the person who typed them."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Checked details: `phone` is E.164, `address` has lines as on an envelope."""

    name: str
    phone: str
    email: str | None
    address: str


def typed(form: Mapping[str, str]) -> dict[str, str]:
    """What the form says, without what nobody can see or type."""
    return {field: _visible(form.get(field, "")) for field in MAX_CHARACTERS}


def check(typed: Mapping[str, str], *, region: str) -> Contact:
    """The details to keep; `region` completes national numbers. Raises NotAccepted with every problem."""
    problems = {
        field: f"This has {len(typed[field])} characters; {most} are enough."
        for field, most in MAX_CHARACTERS.items()
        if len(typed[field]) > most
    }
    name, email, address = " ".join(typed["name"].split()), typed["email"].strip(), _lines(typed["address"])
    phone, wrong_phone = _e164(typed["phone"], region)
    if not name:
        problems["name"] = "Write the client’s name."
    if wrong_phone:
        problems.setdefault("phone", wrong_phone)
    if email and not _EMAIL.fullmatch(email):
        problems.setdefault("email", "This is not an e-mail address. Correct it, or leave it empty.")
    if not address:
        problems["address"] = "Write the postal address."
    elif address.count("\n") >= MAX_ADDRESS_LINES:
        problems.setdefault("address", f"Write the address in up to {MAX_ADDRESS_LINES} lines.")
    if problems:
        raise NotAccepted({field: problems[field] for field in typed if field in problems})  # in the form's order
    return Contact(name=name, phone=phone, email=email or None, address=address)


def _e164(text: str, region: str) -> tuple[str, str | None]:
    """The number in E.164, or what is wrong with it. Whether it is in use is for WhatsApp to say."""
    text = re.sub(r"^\s*(whatsapp|tel)\s*:", "", text, flags=re.IGNORECASE).strip()
    if not text:
        return "", "Write the phone number."
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return "", f"This is not a phone number. {_WHICH_PHONE}"
    if number.extension or re.search(r"[^\W\d_]", text):  # "0800 FLOWERS" would be read as digits
        return "", f"A phone number for WhatsApp has neither letters nor an extension. {_WHICH_PHONE}"
    length = phonenumbers.is_possible_number_with_reason(number)
    if length != ValidationResult.IS_POSSIBLE:
        wrong = _WRONG_LENGTH.get(length, "A phone number of this country has another length.")
        return "", f"{wrong} {_WHICH_PHONE}"
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164), None


def _visible(text: str) -> str:
    """The text without control and direction characters, which play tricks on the reader; line breaks stay."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\t", " ")
    return "".join(char for char in text if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co"))


def _lines(text: str) -> str:
    return "\n".join(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)
