"""Second factors' secrets, sealed before they become rows: AES-256-GCM by a key of their own, made from `SECRET_KEY` (HKDF).

Whoever reads the database, a backup of it or its files, without the portal's environment, can make no codes.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from whatsapp_logs.errors import Unavailable

_SEALED = "sealed:1:"  # a secret in base32 has no colon: what was written before there were seals is told apart by it
_NONCE_BYTES = 12
_PURPOSE = b"portal second factors 1"


class CannotOpen(Unavailable):
    """A second factor's secret was sealed by a key that is not known any more."""

    def __init__(self) -> None:
        super().__init__(
            "A second factor was sealed by another SECRET_KEY: set PREVIOUS_SECRET_KEY to that one, or reset it."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What seals by `secret_key`, and opens what that key or the previous one has sealed."""

    secret_key: str = field(repr=False)
    previous_secret_key: str = field(default="", repr=False)

    def close(self, secret: str, *, owner: int) -> str:
        """The secret as a row keeps it; in the row of anybody but `owner` it opens no more."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(_key(self.secret_key)).encrypt(nonce, secret.encode(), _bound_to(owner))
        return _SEALED + base64.b64encode(nonce + sealed).decode()

    def open(self, kept: str, *, owner: int) -> str:
        """The secret in a row, also one that is not sealed yet. Raises CannotOpen."""
        if not kept.startswith(_SEALED):
            return kept
        for key in filter(None, (self.secret_key, self.previous_secret_key)):
            try:
                sealed = base64.b64decode(kept.removeprefix(_SEALED), validate=True)
                return (
                    AESGCM(_key(key)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(owner)).decode()
                )
            except (InvalidTag, ValueError, binascii.Error):
                continue
        raise CannotOpen()

    def is_current(self, kept: str, *, owner: int) -> bool:
        """Whether the row is sealed by the key of today."""
        try:
            return kept.startswith(_SEALED) and bool(Seal(secret_key=self.secret_key).open(kept, owner=owner))
        except CannotOpen:
            return False


def _key(secret_key: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret_key.encode())


def _bound_to(owner: int) -> bytes:
    return f"person {owner}".encode()
