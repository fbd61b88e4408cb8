"""Telephone numbers: any way of writing one → E.164. WhatsApp user ids without a number are addresses too."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

import phonenumbers

from whatsapp_logs.errors import InvalidInput, InvalidPhone

_E164 = re.compile(r"\+[1-9][0-9]{5,14}")
_USER_ID = re.compile(r"[A-Z]{2}\.[0-9A-Za-z._-]{1,128}")  # Twilio, WhatsApp user names 2026: "CC.<id>"
_MAX_TEXT = 200
_MIN_SEARCH_DIGITS = 3
_WHOLE_NUMBER_DIGITS = 7
MASK, KEPT_CHARACTERS = "••••", 4
NUMBER_IN_TEXT = r"\+?\d[\d ()-]{2,}([\d ()-]{3}\d)"  # at least seven long; the group is what a masked one keeps


def to_address(text: str, *, region: str) -> str:
    """The address a message goes to: E.164 ("+447700900123") or a WhatsApp user id; `region` completes national numbers.

    A number is refused only when it cannot exist by its length: whether it is in use is for the provider to say.
    """
    text = _without_prefix(text)
    if _is_e164(text) or _USER_ID.fullmatch(text):
        return text
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise InvalidPhone(text) from error
    reason = phonenumbers.is_possible_number_with_reason(number)
    if reason != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise InvalidPhone(text, _LENGTH_WORDS.get(reason))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def from_provider(text: str) -> str:
    """An address as a provider writes it ("whatsapp:+44…", "whatsapp:GB.x") without the channel's prefix; never refused."""
    return _without_prefix(text)


def search_digits(text: str) -> str:
    """The digits to look for when somebody types a number in any form (+91…, 0091…, 091…, blanks, last digits)."""
    if len(text) > _MAX_TEXT:
        raise InvalidInput("phone", "This is too long for a phone number.")
    text = unicodedata.normalize("NFKC", text)  # full-width digits, as some keyboards write them
    digits = "".join(re.findall(r"\d", text.replace("(0)", ""), re.ASCII))
    digits = digits.removeprefix("011") if digits.startswith("011") and len(digits) > 11 else digits
    if len(digits) >= _WHOLE_NUMBER_DIGITS:  # a trunk or international prefix; in a shorter part a zero is a zero
        digits = digits.lstrip("0") or digits
    if len(digits) < _MIN_SEARCH_DIGITS:
        raise InvalidInput("phone", "Type at least three digits of the phone number.")
    return digits


def is_user_id(text: str) -> bool:
    """Whether the text is a WhatsApp user id, the address of somebody who hides their number."""
    return _USER_ID.fullmatch(_without_prefix(text)) is not None


@lru_cache(maxsize=4096)  # a page of fifty asks for the same ones every second or two
def pretty(address: str) -> str:
    """The address as people read it: "+44 7700 900123"; anything that is not a number as it is."""
    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        return address
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def masked(address: str) -> str:
    """The address for those who may not see numbers, and for logs: its last four characters."""
    return f"{MASK} {address[-KEPT_CHARACTERS:]}" if len(address) > KEPT_CHARACTERS else MASK


def masked_in(text: str) -> str:
    """A text with every number in it masked: a provider's words may quote the number that they are about."""
    return re.sub(NUMBER_IN_TEXT, rf"{MASK} \1", text)


def _is_e164(text: str) -> bool:
    """Whether this is E.164 already, of a length that its country has. False for what only reading it through can tell.

    A twentieth of the time of reading it through, which is most of what queueing a campaign asks of Python.
    """
    if not _E164.fullmatch(text):
        return False
    code = next(
        (code for n in (1, 2, 3) if (code := int(text[1 : 1 + n])) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE), 0
    )
    national = text[1 + len(str(code)) :]
    if not code or national.startswith("0"):
        return False
    prefix = _trunk_prefix(code)
    if prefix is None or (prefix and re.match(prefix, national)):
        return False
    return _is_possible_length(code, len(national))


@cache
def _is_possible_length(code: int, digits: int) -> bool:
    """Whether a country's numbers may be so long; all that phonenumbers asks of a possible number."""
    number = phonenumbers.PhoneNumber(country_code=code, national_number=10 ** (digits - 1))
    return bool(phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE)


@cache
def _trunk_prefix(code: int) -> str | None:
    """What a country may write before a national number, as a regular expression; None where nothing is known of the country."""
    region = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[code][0]
    known = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    return None if known is None else known.national_prefix_for_parsing or ""


def _without_prefix(text: str) -> str:
    text = text.strip()
    scheme, colon, rest = text.partition(":")
    return rest.strip() if colon and scheme.isalpha() else text


_LENGTH_WORDS = {
    phonenumbers.ValidationResult.TOO_SHORT: "This phone number is too short. Check its digits.",
    phonenumbers.ValidationResult.TOO_LONG: "This phone number is too long. Check its digits.",
    phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "This phone number lacks its area code.",
    phonenumbers.ValidationResult.INVALID_COUNTRY_CODE: "No country has this code. Check the digits after the +.",
    phonenumbers.ValidationResult.INVALID_LENGTH: "A phone number of this country has another length. Check its digits.",
}
