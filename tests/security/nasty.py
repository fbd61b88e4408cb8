"""Values that nobody types: each as it stands in an address or a form, so that it need not be text at all."""

from __future__ import annotations

import base64
import random
from urllib.parse import quote, unquote_to_bytes

LONG = 1_000_000
# Percent-encoded already: bytes that are no UTF-8, halves of surrogate pairs, encodings that end too soon.
RAW = (
    "%00", "a%00b", "%ED%A0%80", "%ED%BF%BF", "%FF%FE", "%C0%80", "%F4%90%80%80", "%", "%z", "%u0041",
    "%0d%0aSet-Cookie:a=b", "%E2%80%AE", "%EF%BF%BE", "+", "", "%20", "%09%0B%0C", "%F0%9F%98", "%25%30%30", "&", ";",
    "=", "#", "?",
)  # fmt: skip
TEXTS = (
    "%", "_", "\\", "%%", "a%b_c", "'", '"', "`", "' or 1=1 --", "'; DROP TABLE clients; --", "\" or \"\"=\"", "$$",
    "$1", "%s", "%(id)s", "{}", "{0}", "{{7*7}}", "../../etc/passwd", "..\\..\\", "C:\\", "//evil.example.test",
    "http://169.254.169.254/", "javascript:alert(1)", "<script>alert(1)</script>", "\n", "\r\nX: y", "\t", "\x1b[31m",
    "\x7f", "\u200b", "\u202e", "\u2028", "\ufeff", "\U0010ffff", "😀" * 50, "é" * 100, "ﷺ" * 60, "İ", "ß", "ſ", "１２３",
    "²", "٣", "on", "null", "None", "undefined", "true", "NaN", "Infinity", "-Infinity", "[]", "[object Object]",
    '{"$gt": ""}', "*", "**", "|", "||", "&&", "a" * 101, "a" * 5000, "0" * 400, "😀", "all", "ALL", " all ",
)  # fmt: skip
NUMBERS = (
    "0", "1", "2", "-1", "-0", "+1", "01", "1.0", "1e3", "0x10", "1_000", " 1", "1 ", "200", "201", "1000000000000",
    "2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551616",
    "9" * 40, "9" * 400, "9" * 5000, "-9223372036854775809", "１", "٣٤",
)  # fmt: skip
DATES = (
    "0000-00-00", "0001-01-01", "1969-12-31", "1970-01-01", "9000-12-31", "9001-01-01", "9999-12-31", "2026-02-29",
    "2026-02-30", "2026-13-01", "2026-1-1", "20261123", "2026-W48-1", "2026-11-23T10:00:00Z", "2026-11-23T", "T",
    "today", "10000-01-01", "-0001-01-01", "2026-11-23", "2026-10-25", "2026-03-29", "12/31/2026",
)  # fmt: skip
CURSORS = (
    "1764000000000000-1", "0-0", "99999999999999999-1", "1-9223372036854775807", "1-9223372036854775808",
    "99999999999999999999-1", "-", "--", "1764000000000000-", "-1-1", "1" * 17 + "-" + "9" * 19,
    "1764000000000000-1" * 200, "1764000000000000 1",
)  # fmt: skip
USUAL = (
    "failed", "queued", "delivered", "read", "outbound", "inbound", "policy_document", "general", "63016", "anna",
    "Rao", "P-", "+447700900123", "csv", "xlsx", "yes", "overdue", "90", "5", "10", "a b c", "k" * 24,
    "SM" + "0" * 32,
)  # fmt: skip
KINDS = (TEXTS, NUMBERS, DATES, CURSORS, USUAL)


class Nasty:
    """Values by chance, the same for the same seed."""

    def __init__(self, seed: object) -> None:
        self.chance = random.Random(str(seed))
        self._long = self.chance.randrange(1000)

    def encoded(self) -> str:
        """A value as it stands in an address."""
        dice = self.chance.random()
        if dice < 0.2:
            return self.chance.choice(RAW)
        if dice < 0.25:
            return quote(self.chance.randbytes(self.chance.randrange(1, 40)), safe="")
        return quote(self.text(), safe="")

    def value(self) -> bytes:
        """The same as bytes, for where nothing is encoded."""
        return unquote_to_bytes(self.encoded())

    def text(self) -> str:
        """A value that is text."""
        dice = self.chance.random()
        if dice < 0.8:
            return self.chance.choice(self.chance.choice(KINDS))
        if dice < 0.9:
            return self.chance.choice(TEXTS) + self.chance.choice(self.chance.choice(KINDS)) * self.chance.choice(
                (1, 1, 2, 30)
            )
        if dice < 0.95:
            return base64.urlsafe_b64encode(self.chance.randbytes(self.chance.randrange(60))).decode()
        return "".join(chr(self._letter()) for _ in range(self.chance.randrange(1, 30)))

    def pairs(self, names: tuple[str, ...], *, most: int = 5) -> str:
        """Fields with values, as a query or a form: some of them several times, some of a name that nobody knows."""
        parts = []
        for _ in range(self.chance.randrange(most + 1)):
            name = self.chance.choice(names) if names and self.chance.random() < 0.93 else self.encoded()
            suffix = self.chance.choice(("[]", "[0]", "%00", ".x")) if self.chance.random() < 0.02 else ""
            parts += [f"{name}{suffix}={self.encoded()}"] * self.chance.choice((1,) * 12 + (2, 40))
        return "&".join(parts)

    def is_time_for_a_long_one(self) -> bool:
        """Whether this input is one of the few of a million characters."""
        self._long += 1
        return self._long % 2000 == 0

    def _letter(self) -> int:
        point = self.chance.choice(
            (self.chance.randrange(128), self.chance.randrange(0x3000), self.chance.randrange(0x110000))
        )
        return 0x2603 if 0xD800 <= point < 0xE000 else point
