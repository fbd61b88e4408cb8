"""What the words mean: drafts, messages, what a provider reports of them, and the one order of statuses. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any


class Status(StrEnum):
    """A message's status. The order of definition is the rule "only forward": proof of receipt outranks a failure report."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    CANCELED = "canceled"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    DELIVERED = "delivered"
    READ = "read"
    RECEIVED = "received"

    @property
    def rank(self) -> int:
        """Position in the order; the greatest ever reported is the message's status."""
        return _RANKS[self]

    @property
    def is_final(self) -> bool:
        """Whether no further report is expected (a delivered WhatsApp message may still become read)."""
        return self in FINAL

    @classmethod
    @lru_cache(maxsize=256)  # asked twice of every report; the words are a dozen
    def from_provider(cls, word: str) -> Status | None:
        """Our status for a provider's word; None for a word nobody has told us of (stored and shown, never refused)."""
        word = word.strip().lower()
        word = _SYNONYMS.get(word, word)
        return cls(word) if word in cls._value2member_map_ else None


_RANKS = {status: rank for rank, status in enumerate(Status)}
# Twilio's other words (its message resource, 2026): accepted = a messaging service took it, no sender chosen yet.
_SYNONYMS = {"accepted": "queued", "partially_delivered": "sent", "receiving": "received", "cancelled": "canceled"}

IN_FLIGHT = frozenset({Status.SCHEDULED, Status.QUEUED, Status.SENDING, Status.SENT})
FAILURES = frozenset({Status.FAILED, Status.UNDELIVERED})
REACHED = frozenset({Status.DELIVERED, Status.READ})
FINAL = FAILURES | {Status.CANCELED, Status.READ, Status.RECEIVED}

POLICY_DOCUMENT = "policy_document"
RENEWAL_REMINDER = "renewal_reminder"
GENERAL = "general"
MESSAGE_TYPES = (POLICY_DOCUMENT, RENEWAL_REMINDER, GENERAL)

WHATSAPP = "whatsapp"

ERASED = "erased"  # in the place of the number of a message whose content was erased
TOO_LATE = (
    "too_late"  # the error code of a scheduled message whose time had passed long ago when something could send again
)
# What WhatsApp could not deliver by then it never does, and says nothing: Meta's time-to-live, at most.
KEPT_BY_WHATSAPP = timedelta(days=30)
NOT_FOUND = "not_found"  # our word in an event: the provider was asked, and has no such message
NOT_SENT = "not_sent"  # the error code of a message whose answer was lost and which a person has declared not sent


class Path(StrEnum):
    """By which way a message leaves. Each has its own answer to what the gate finds; see `gate.OUTCOMES`."""

    SINGLE = "single"  # one message that a person or the portal's code asks for
    REPLY = "reply"  # a person answers within a conversation
    BOT = "bot"  # the bot answers what a customer has just written
    AGAIN = "again"  # a failed message's content once more
    SCHEDULED = "scheduled"  # asked for now, to leave at a set time
    CAMPAIGN = "campaign"  # one of many of a campaign
    RENEWAL = "renewal"  # a rule's reminder, asked for by nobody in particular


class Source(StrEnum):
    """Where a status event came from."""

    SEND = "send"
    CALLBACK = "callback"
    REFRESH = "refresh"
    RECONCILE = "reconcile"
    IMPORT = "import"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A document to send: its bytes, MIME type and the name the office knows it by."""

    content: bytes
    content_type: str
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """An approved template (Twilio Content `HX…`) with its values; outside the 24-hour window nothing else is delivered.

    `variables` maps placeholder keys ("1", "2" …) to text. `media_variable` is the key that takes the media link's path below
    the public base URL: WhatsApp wants a fixed host in a template's media address.
    """

    sid: str
    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    media_variable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message somebody asks to be sent.

    `to` takes a number in any form; `body` is the text as the recipient will read it (with a template: the rendered text).
    `request_key` makes asking twice the same as asking once: the second call returns the first one's message.
    `confirmed` are doubts of the gate (`gate.Rule`) that a person has seen and answered with "send it all the same".
    `timezone` is the recipient's (an IANA name) where it is known better than their number tells.
    """

    to: str
    message_type: str = GENERAL
    body: str | None = None
    media: MediaFile | None = None
    media_url: str | None = None
    template: Template | None = None
    policy_id: str | int | None = None
    client_id: str | int | None = None
    created_by: str | None = None
    request_key: str | None = None
    send_at: datetime | None = None
    resend_of: int | None = None
    path: Path = Path.SINGLE
    confirmed: frozenset[str] = frozenset()
    timezone: str | None = None
    campaign_id: int | None = None


@dataclass(frozen=True, kw_only=True)  # without slots: `store.messages` fills fifty at once
class Message:
    """One row of the log. Times are aware UTC; `recipient` and `sender` are E.164 or a WhatsApp user id, without channel prefix."""

    id: int
    direction: str
    channel: str
    message_type: str
    recipient: str
    sender: str | None
    body: str | None
    media_url: str | None
    media_id: str | None
    media_filename: str | None
    media_content_type: str | None
    template_sid: str | None
    template_name: str | None
    variables: dict[str, str] | None
    status: Status
    provider: str
    provider_id: str | None
    error_code: str | None
    error_message: str | None
    price: Decimal | None
    price_unit: str | None
    num_segments: int | None
    policy_id: str | None
    client_id: str | None
    created_by: str | None
    request_key: str | None
    send_at: datetime | None
    claimed_at: datetime | None
    unconfirmed_at: datetime | None
    attempts: int
    retry_at: datetime | None
    wait_reason: str | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    failed_at: datetime | None
    last_status_check: datetime | None
    resend_of: int | None
    created_at: datetime
    updated_at: datetime
    erased_at: datetime | None = None
    path: str = Path.SINGLE
    confirmed: Sequence[str] | None = None
    timezone: str | None = None
    template_version_id: int | None = None
    campaign_id: int | None = None

    @property
    def is_unconfirmed(self) -> bool:
        """Handed to the provider, but the answer was lost: nobody may send again before it has been looked up."""
        is_open = self.unconfirmed_at is not None and self.provider_id is None
        return is_open and not self.is_declared_not_sent and not self.is_declared_sent

    @property
    def is_declared_sent(self) -> bool:
        """Its answer was lost, and a person has declared that it was sent; the provider has told nothing of it."""
        return self.status is Status.SENT and self.unconfirmed_at is not None and self.provider_id is None

    @property
    def is_declared_not_sent(self) -> bool:
        """Its answer was lost, the provider's list did not show it, and a person has declared that it was not sent."""
        return self.status is Status.FAILED and self.error_code == NOT_SENT

    @property
    def is_contradicted(self) -> bool:
        """Declared not sent, but the provider has it after all: the customer may have it, or get it."""
        return self.is_declared_not_sent and self.provider_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """What a provider said of one message at one moment.

    `provider_status` is its own word; `happened_at` its own time where it gives one. At least one of `provider_id` (Twilio SID)
    and `message_id` (our row) is known. `sent_at` is when the message left the provider, which a later status may tell too.
    `price` keeps the provider's sign: Twilio's are negative.
    """

    provider_status: str
    provider_id: str | None = None
    message_id: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    happened_at: datetime | None = None
    sent_at: datetime | None = None
    price: Decimal | None = None
    price_unit: str | None = None
    num_segments: int | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> Status | None:
        """The report in our words; None when the provider's word is unknown to us."""
        return Status.from_provider(self.provider_status)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusEvent:
    """A stored report. `happened_at` is the provider's time or, where it gave none, ours; `received_at` is always ours."""

    id: int
    message_id: int | None
    provider_id: str | None
    status: Status | None
    provider_status: str
    error_code: str | None
    error_message: str | None
    source: Source
    happened_at: datetime
    received_at: datetime
    payload: dict[str, Any]

    @property
    def is_of_the_office(self) -> bool:
        """Whether a person has changed the message, or canceled it. `payload` names them."""
        return self.source is Source.SEND and bool(self.payload.keys() & {"changed_by", "canceled_by"})

    @property
    def is_declaration(self) -> bool:
        """Whether a person has said this, and no provider: that the message was sent, or not. `payload` names the person."""
        is_word = self.error_code == NOT_SENT or (self.status is Status.SENT and "created_by" in self.payload)
        return self.source is Source.SEND and self.provider_id is None and is_word


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What became of one report: the message it belongs to (None = parked) and whether it told anything new."""

    provider_id: str | None
    message_id: int | None
    is_new: bool
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """A message from a customer, as its webhook told it."""

    provider_id: str
    sender: str
    recipient: str
    body: str | None
    profile_name: str | None = None
    media: tuple[tuple[str, str], ...] = ()
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A claimed message as a gateway gets it: complete, with the links that the provider will call."""

    message_id: int
    recipient: str
    body: str | None
    media_url: str | None
    template: Template | None
    status_callback: str


MOST_FILES = 10  # of one message of a customer


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderMessage:
    """A message as the provider lists it: enough to report its status, and to recognise one of ours or log a foreign one."""

    report: StatusReport
    direction: str
    recipient: str
    sender: str | None
    body: str | None
    created_at: datetime | None
    files: int = 0  # how many came with it
