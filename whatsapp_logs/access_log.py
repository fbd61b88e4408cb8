"""What the access log says: an act, whose messages it was about, and how it was asked; numbers only as keyed digests."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from whatsapp_logs.config import Config
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import Message

MIN_PART = 5  # digits: a search for fewer is about nobody in particular


class Act(StrEnum):
    """What somebody did. `link` is an expiring link's document, fetched by whoever had it: Twilio, as a rule."""

    OPENED = "opened"
    DOCUMENT = "document"
    LINK = "link"
    SEARCHED = "searched"
    LISTED = "listed"
    EXPORTED = "exported"
    ACCESS_LOG = "access_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look, to be written down. `person` is the portal's name for whoever it was, `address` where they were."""

    person: str
    act: Act
    address: str | None = None
    message_id: int | None = None
    subjects: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Look):
    """A look as it stands in the log."""

    id: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFilter:
    """Which looks a page shows. `client_id` means all that may have shown that client's messages."""

    person: str = ""
    acts: tuple[Act, ...] = ()
    message_id: int | None = None
    client_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


def of_message(message: Message, config: Config) -> tuple[str, ...]:
    """Whom a message is about."""
    other = message.sender if message.direction == "inbound" else message.recipient
    return subjects(config, client_id=message.client_id, policy_id=message.policy_id, number=other)


def of_filter(wanted: MessageFilter, config: Config) -> tuple[str, ...]:
    """Whom a list is about; nobody in particular, unless it asks for a client, a policy or a number."""
    return subjects(config, client_id=wanted.client_id, policy_id=wanted.policy_id, number=wanted.phone)


def subjects(
    config: Config, *, client_id: str | None = None, policy_id: str | None = None, number: str | None = None
) -> tuple[str, ...]:
    """Words that stand for a client, a policy and a number; the same words for the same ones as long as SECRET_KEY is."""
    found = [f"client:{client_id}"] if client_id else []
    found += [f"policy:{policy_id}"] if policy_id else []
    found += [f"number:{digest(config, number)}"] if number else []
    return tuple(found)


def numbers(config: Config, addresses: Iterable[str]) -> list[str]:
    """The words that stand for these numbers, and for each part of one that somebody may have searched for."""
    parts = {part for address in addresses for part in _parts(address.removeprefix("+"))}
    return [f"number:{digest(config, part)}" for part in sorted(parts)]


def digest(config: Config, number: str) -> str:
    """A number's keyed digest: who has the table alone cannot try all numbers there are. The sign before it is no part of it."""
    plain = number.removeprefix("+")
    return hmac.new(config.secret_key.encode(), f"access-log:{plain}".encode(), hashlib.sha256).hexdigest()[:24]


def _parts(number: str) -> set[str]:
    if not number.isdigit():
        return {number}
    starts = range(len(number) - MIN_PART + 1)
    return {number[start:end] for start in starts for end in range(start + MIN_PART, len(number) + 1)} | {number}


def asked(wanted: MessageFilter) -> dict[str, Any]:
    """How a list was asked for, without whom it was about."""
    told: dict[str, Any] = {
        "statuses": [status.value for status in wanted.statuses],
        "types": list(wanted.types),
        "since": None if wanted.since is None else wanted.since.isoformat(),
        "until": None if wanted.until is None else wanted.until.isoformat(),
        "days": [None if day is None else day.isoformat() for day in (wanted.date_from, wanted.date_to)],
        "error_code": wanted.error_code,
        "direction": wanted.direction if wanted.direction != "outbound" else "",
        "digits": len(wanted.phone) if wanted.phone.isdigit() else None,
    }
    if told["days"] == [None, None]:
        del told["days"]
    return {name: value for name, value in told.items() if value not in (None, "", [])}
