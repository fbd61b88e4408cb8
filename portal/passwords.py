"""Which passwords may be chosen, and how they are kept: length counts, not composition; what is tried first is refused."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from portal.config import OFFICE

LEAST, MOST = 12, 1000
ADVICE = f"At least {LEAST} characters; any are allowed. Four words that do not belong together are strong and easy to remember."
REPEATS = "Too easy to guess: it repeats itself, or follows the alphabet or the keyboard. Use several words instead."
COMMON = "Too easy to guess: passwords like this one are tried first. Use several words that do not belong together."
ONLY_NAMES = (
    "Too easy to guess: it is little more than your name or the office’s. Add words that nobody connects with you."
)

_KEYBOARD = (
    "1234567890-=", "qwertyuiop[]", "asdfghjkl;'#", "zxcvbnm,./", "qwertzuiopü+", "yxcvbnm,.-", "azertyuiop", "qsdfghjklm",
)  # fmt: skip
_NEIGHBOURS = frozenset(pair for row in _KEYBOARD for a, b in pairwise(row) for pair in (a + b, b + a))
_AS_LETTERS = str.maketrans("013457@$!", "oleastasi")
_FEWEST_DIFFERENT, _MOST_FOLLOWING, _FEWEST_OWN_LETTERS = 5, 0.7, 6


def problem(password: str, *, names: Iterable[str] = ()) -> str | None:
    """What is wrong with a password that somebody of these names chooses, as a sentence that says what to do."""
    text = _normal(password)
    if len(text) < LEAST:
        return f"Too short: use at least {LEAST} characters. Four words are easy to remember."
    if len(text) > MOST:
        return f"Too long: use at most {MOST} characters."
    plain = text.casefold()
    if _repeats(plain):
        return REPEATS
    if _is_common(plain):
        return COMMON
    return ONLY_NAMES if _is_only(plain, names) else None


def hashed(password: str) -> str:
    """What is kept of a password. It takes 0.1 s on purpose."""
    return generate_password_hash(_normal(password))


def is_right(password_hash: str, password: str) -> bool:
    """Whether it is the password, however its letters were put together: é is é on every keyboard.

    Hashes of before that was so are of the text as it was typed.
    """
    typed = password[: 4 * MOST]
    normal = _normal(typed)
    return check_password_hash(password_hash, normal) or (normal != typed and check_password_hash(password_hash, typed))


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _repeats(plain: str) -> bool:
    if len(set(plain)) < _FEWEST_DIFFERENT or (plain + plain).find(plain, 1) < len(plain):
        return True
    following = sum(_follows(a, b) for a, b in pairwise(plain))
    return following > _MOST_FOLLOWING * (len(plain) - 1)


def _follows(a: str, b: str) -> bool:
    return abs(ord(a) - ord(b)) <= 1 or a + b in _NEIGHBOURS


def _is_common(plain: str) -> bool:
    forms = {plain, re.sub(r"[\W_]+", "", plain)}
    forms |= {form.translate(_AS_LETTERS) for form in forms} | {_bare(form).translate(_AS_LETTERS) for form in forms}
    return not _common().isdisjoint(forms | {_bare(form) for form in forms})


def _bare(text: str) -> str:
    """Without the digits and signs around it."""
    return re.sub(r"^[\W\d_]+|[\W\d_]+$", "", text)


def _is_only(plain: str, names: Iterable[str]) -> bool:
    words = {word for name in (*names, OFFICE) for word in re.split(r"[\W\d_]+", _normal(name).casefold())}
    known = sorted((word for word in words if len(word) >= 3), key=len, reverse=True)
    rest = re.sub("|".join(map(re.escape, known)), "", plain)
    return rest != plain and len(re.sub(r"[\W\d_]+", "", rest)) < _FEWEST_OWN_LETTERS


@cache
def _common() -> frozenset[str]:
    lines = (Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))
