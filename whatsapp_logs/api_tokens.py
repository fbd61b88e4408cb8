"""Tokens for programs: what one may do, and until when. The token itself is known to whoever made it, once."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from whatsapp_logs.rights import Right, Viewer

PREFIX = "wlt_"  # so that people, and programs that look for leaked secrets, know what they see
# What the API has a use for, and no more.
SCOPES = (Right.SEE, Right.NUMBERS, Right.TEXTS, Right.REFRESH, Right.EXPORT)
MAX_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token as it is listed: everything but itself."""

    id: int
    name: str
    rights: frozenset[Right]
    created_by: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    last_used_from: str | None
    revoked_at: datetime | None
    revoked_by: str | None

    @property
    def viewer(self) -> Viewer:
        """The program as somebody who looks; its name stands in the access log."""
        return Viewer(name=f"{self.name} (token {self.id})", rights=self.rights)

    def is_valid(self, now: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and now < self.expires_at


def make() -> str:
    """A new token: 256 random bits behind the prefix."""
    return PREFIX + secrets.token_urlsafe(32)


def hashed(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
