"""A customer and us: the conversation's row, one message's turn in it, the files that came. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from whatsapp_logs.message import Inbound

_MAX_PAYLOAD = 200  # WhatsApp's own limit of a button's id
_STICKER = "image/webp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Everything between one customer and one number of ours.

    `handed_over_at`: a person answers, the bot is silent; `handed_over_to` is who has taken it, None while nobody has.
    `waiting_since`: the customer waits for a person's answer. `client_id` is by the number, and proves nothing.
    """

    id: int
    address: str
    our_number: str
    profile_name: str | None
    client_id: str | None
    last_inbound_id: int | None
    last_inbound_at: datetime
    bot: dict[str, Any]
    handed_over_at: datetime | None
    handed_over_to: str | None
    handed_over_reason: str | None
    waiting_since: datetime | None
    updated_at: datetime

    @property
    def is_erased(self) -> bool:
        """Whether nothing is known any more of who this was."""
        return self.address.startswith("erased:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a customer that nobody has looked at yet. `is_overtaken`: a later word of theirs has been answered."""

    message_id: int
    kind: str
    payload: str | None
    replied_sid: str | None
    opt_out_type: str | None
    received_at: datetime
    body: str | None
    is_overtaken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """A file that came with a customer's message. `state` is waiting, stored, failed or erased; `problem` is for people."""

    message_id: int
    place: int
    url: str | None
    claimed_type: str | None
    media_id: str | None
    state: str
    problem: str | None
    attempts: int
    next_try_at: datetime | None
    filename: str | None
    content_type: str | None
    size: int | None

    @property
    def is_picture(self) -> bool:
        """Whether a browser may draw it."""
        return (self.content_type or "") in ("image/jpeg", "image/png", "image/gif", "image/webp")


def kind_of(received: Inbound) -> str:
    """What kind of message it is: text, button, file, location or sticker."""
    said: Mapping[str, Any] = received.payload
    if said.get("ButtonPayload") or said.get("ListId"):
        return "button"
    if received.media:
        is_sticker = said.get("MessageType") == "sticker" or all(kind == _STICKER for _, kind in received.media)
        return "sticker" if is_sticker else "file"
    return "location" if said.get("Latitude") else "text"


def payload_of(received: Inbound) -> str | None:
    """What the pressed button or the chosen line of a list stands for."""
    said = received.payload.get("ButtonPayload") or received.payload.get("ListId")
    return str(said)[:_MAX_PAYLOAD] if said else None
