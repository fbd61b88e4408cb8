"""Codes of an authenticator app (TOTP, RFC 6238) and recovery codes: rows of `second_factors` and `recovery_codes`.

The secret is kept sealed (`portal/sealing.py`). Recovery codes are kept as hashes; with 120 random bits each they need no slow one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import pyotp
from psycopg import Connection
from psycopg.rows import class_row

from portal.config import OFFICE
from portal.sealing import CannotOpen, Seal

STEP_S = 30
RECOVERY_CODES = 10
_DRIFT = (0, -1, 1)  # steps that a phone's clock may be wrong by
_GROUPS = 6  # of four signs: 120 bits
_SIGNS = "abcdefghjkmnpqrstuvwxyz023456789"  # 32 of them, none like another: no i, l, o or 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How it is with somebody's second factor; `since` is None while there is none."""

    since: datetime | None
    recovery_codes: int


def standing(conn: Connection, user_id: int) -> Standing:
    """How it is with this person's."""
    with conn.cursor(row_factory=class_row(Standing)) as cursor:
        found = cursor.execute(
            """
            SELECT f.since, (SELECT count(*) FROM recovery_codes AS c WHERE c.user_id = f.user_id) AS recovery_codes
            FROM second_factors AS f WHERE f.user_id = %s AND f.secret IS NOT NULL
            """,
            (user_id,),
        ).fetchone()
    return found or Standing(None, 0)


def begin(conn: Connection, user_id: int, *, seal: Seal) -> str:
    """The secret to be set up; the same until a code of it was right. What is in use stays in use so long."""
    row = conn.execute("SELECT new_secret FROM second_factors WHERE user_id = %s FOR UPDATE", (user_id,)).fetchone()
    if row and row[0]:
        try:
            return seal.open(row[0], owner=user_id)
        except CannotOpen:  # by nobody any more, and nothing hangs on it yet
            conn.execute("UPDATE second_factors SET new_secret = NULL WHERE user_id = %s", (user_id,))
    secret = pyotp.random_base32()
    kept = conn.execute(
        """
        INSERT INTO second_factors AS f (user_id, new_secret) VALUES (%(user)s, %(sealed)s)
        ON CONFLICT (user_id) DO UPDATE SET new_secret = coalesce(f.new_secret, EXCLUDED.new_secret)
        RETURNING new_secret
        """,
        {"user": user_id, "sealed": seal.close(secret, owner=user_id)},
    ).fetchone()
    assert kept is not None
    return seal.open(kept[0], owner=user_id)  # somebody else's, where two pages were opened at once


def address(secret: str, username: str) -> str:
    """What the QR code says to the app."""
    return pyotp.TOTP(secret).provisioning_uri(name=username, issuer_name=OFFICE)


def finish(conn: Connection, user_id: int, code: str, *, at: float, seal: Seal) -> bool:
    """Put the new secret to use if this is its code at that time (seconds since 1970). Raises CannotOpen."""
    row = conn.execute("SELECT new_secret FROM second_factors WHERE user_id = %s FOR UPDATE", (user_id,)).fetchone()
    step = _step(seal.open(row[0], owner=user_id), code, at) if row and row[0] else None
    if step is None:
        return False
    conn.execute(
        """
        UPDATE second_factors SET secret = new_secret, new_secret = NULL, last_step = %(step)s, since = now()
        WHERE user_id = %(user)s
        """,
        {"user": user_id, "step": step},
    )
    return True


def use_code(conn: Connection, user_id: int, code: str, *, at: float, seal: Seal) -> bool:
    """Whether this is a code of that time which nobody has used; now it is used. Raises CannotOpen.

    On the way a secret that is not sealed by the key of today is.
    """
    row = conn.execute("SELECT secret FROM second_factors WHERE user_id = %s", (user_id,)).fetchone()
    if row is None or not row[0]:
        return False
    kept = row[0]
    secret = seal.open(kept, owner=user_id)
    step = _step(secret, code, at)
    if step is None:
        return False
    now_kept = kept if seal.is_current(kept, owner=user_id) else seal.close(secret, owner=user_id)
    used = conn.execute(
        """
        UPDATE second_factors SET last_step = %(step)s, secret = %(now_kept)s
        WHERE user_id = %(user)s AND last_step < %(step)s AND secret = %(kept)s
        """,
        {"user": user_id, "step": step, "kept": kept, "now_kept": now_kept},
    )
    return used.rowcount == 1


def seal_all(conn: Connection, *, seal: Seal) -> int:
    """Seal what the key of today has not sealed; returns how many people's. What no key opens stays as it is."""
    rows = conn.execute("SELECT user_id, secret, new_secret FROM second_factors ORDER BY user_id FOR UPDATE").fetchall()
    sealed = [(*_sealed_again(kept, user_id, seal), user_id) for user_id, *kept in rows]
    changed = [now for now, (_, *kept) in zip(sealed, rows, strict=True) if list(now[:2]) != kept]
    with conn.cursor() as cursor:
        cursor.executemany("UPDATE second_factors SET secret = %s, new_secret = %s WHERE user_id = %s", changed)
    return len(changed)


def use_recovery_code(conn: Connection, user_id: int, code: str) -> bool:
    """Whether this is one of the person's recovery codes; now it is gone."""
    used = conn.execute("DELETE FROM recovery_codes WHERE user_id = %s AND code_hash = %s", (user_id, _hashed(code)))
    return used.rowcount == 1


def new_recovery_codes(conn: Connection, user_id: int) -> list[str]:
    """Ten new ones, to be shown once; the old ones are good for nothing any more."""
    codes = [
        "-".join("".join(secrets.choice(_SIGNS) for _ in range(4)) for _ in range(_GROUPS))
        for _ in range(RECOVERY_CODES)
    ]
    conn.execute("DELETE FROM recovery_codes WHERE user_id = %s", (user_id,))
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO recovery_codes (user_id, code_hash) VALUES (%s, %s)",
            [(user_id, _hashed(code)) for code in codes],
        )
    return codes


def remove(conn: Connection, user_id: int) -> None:
    """As if there had never been one."""
    conn.execute("DELETE FROM second_factors WHERE user_id = %s", (user_id,))
    conn.execute("DELETE FROM recovery_codes WHERE user_id = %s", (user_id,))


def _sealed_again(kept: Sequence[str | None], owner: int, seal: Seal) -> list[str | None]:
    again = list(kept)
    for at, one in enumerate(kept):
        if one and not seal.is_current(one, owner=owner):
            with suppress(CannotOpen):
                again[at] = seal.close(seal.open(one, owner=owner), owner=owner)
    return again


def _step(secret: str, code: str, at: float) -> int | None:
    """The step of which this is the code, one before and one after `at` included."""
    digits = "".join(unicodedata.normalize("NFKC", code).split())
    now, totp = int(at // STEP_S), pyotp.TOTP(secret, interval=STEP_S)
    for step in (now + drift for drift in _DRIFT):
        if hmac.compare_digest(totp.generate_otp(step).encode(), digits.encode()):
            return step
    return None


def _hashed(code: str) -> bytes:
    """However it was typed: dashes, blanks and capitals do not matter."""
    return hashlib.sha256("".join(sign for sign in code.casefold() if sign.isalnum()).encode()).digest()
