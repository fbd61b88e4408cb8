"""Which passwords may be chosen, and that each is known again."""

from __future__ import annotations

import pytest
from werkzeug.security import generate_password_hash

from portal import demo, passwords

NAMES = ("asha.rao", "Asha Rao")


@pytest.mark.parametrize(
    "good",
    [
        "otter kettle violin",
        "lamp-gravel-fourteen",
        "Zwölf Boxkämpfer!",
        "雨が降るので傘を持って歩く",
        "x7Qp-2vLm-9sKd",
        "asha keeps nineteen goats",
        "".join(chr(0x4E00 + n * 37 % 5000) for n in range(1000)),
    ],
)
def test_a_long_password_of_any_characters_may_be_chosen(good: str) -> None:
    assert passwords.problem(good, names=NAMES) is None


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ("otter lamp!", "Too short: use at least 12 characters."),
        ("otter " * 167, "Too long: use at most 1000 characters."),
        ("aaaaaaaaaaaa", passwords.REPEATS),
        ("gravelgravelgravel", passwords.REPEATS),
        ("abcdefghijklm", passwords.REPEATS),
        ("0123456789012", passwords.REPEATS),
        ("qwertyuiop[]", passwords.REPEATS),
        ("Password1234", passwords.COMMON),
        ("P@ssw0rd!!2026", passwords.COMMON),
        ("123-Dragon-4567", passwords.COMMON),
        ("i love you so much", passwords.COMMON),
        ("1q2w3e4r5t6y", passwords.COMMON),
        ("asha.rao.2026", passwords.ONLY_NAMES),
        ("Rao-Asha-Rao-7!", passwords.ONLY_NAMES),
        ("harbour & lane 1", passwords.ONLY_NAMES),
        (demo.PASSWORD, passwords.ONLY_NAMES),
    ],
)
def test_what_is_tried_first_is_refused_with_what_to_do_instead(bad: str, sentence: str) -> None:
    found = passwords.problem(bad, names=NAMES)
    assert found is not None
    assert found.startswith(sentence)


def test_letters_put_together_in_another_way_are_the_same_password() -> None:
    kept = passwords.hashed("caf\u00e9 kettle violin")
    assert passwords.is_right(kept, "cafe\u0301 kettle violin")
    assert not passwords.is_right(kept, "cafe kettle violin")


def test_a_hash_of_before_normalising_still_knows_its_password() -> None:
    kept = generate_password_hash("cafe\u0301 kettle violin")
    assert passwords.is_right(kept, "cafe\u0301 kettle violin")
    assert not passwords.is_right(kept, "cafe\u0301 kettle viola")


def test_nobody_has_the_empty_hash() -> None:
    assert not passwords.is_right("", "")
