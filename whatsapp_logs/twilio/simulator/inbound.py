"""The customer writes: the inbound message, its webhook form, and the TwiML the account may answer with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.ledger import Message, new_sid

logger = logging.getLogger(__name__)

MAX_TWIML_BYTES = 64 * 1024
MAX_REPLIES = 10


@dataclass(frozen=True, slots=True)
class File:
    """A picture, document or voice note that the customer attaches."""

    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Button:
    """The button of a message that the customer presses; `of_template` tells WhatsApp's two kinds of answer apart."""

    text: str
    payload: str = ""
    kind: str = "REPLY"
    of_template: bool = False


@dataclass(frozen=True, slots=True)
class ListItem:
    """The line of a list that the customer chooses."""

    id: str
    title: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Location:
    latitude: float
    longitude: float
    label: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Writing:
    """What a customer sends: text, files, a pressed button, a chosen line, a place; perhaps as a reply to a message.

    `user_id` (`GB.…`) is what WhatsApp calls somebody beside their number, or instead of it when they hide it.
    """

    body: str = ""
    name: str = "Asha Example"
    files: Sequence[File] = ()
    button: Button | None = None
    item: ListItem | None = None
    location: Location | None = None
    reply_to: str | None = None
    user_id: str | None = None

    @property
    def words(self) -> str:
        """The Body: the visible words of a button or line are repeated in it."""
        return self.body or (self.button.text if self.button else self.item.title if self.item else "")

    @property
    def kind(self) -> str:
        """WhatsApp's word for it, which Twilio passes on as MessageType."""
        if self.button or self.item:
            return "button" if self.button and self.button.of_template else "interactive"
        if self.location:
            return "location"
        return _file_kind(self.files[0].content_type) if self.files else "text"


def message(
    customer: str, sender: str, written: Writing, *, sid: str, media_urls: tuple[str, ...], now: float
) -> Message:
    """The ledger's row of an inbound message; Twilio dates it by the webhook."""
    place = written.location
    shown = f"Location {place.latitude}, {place.longitude} {place.label}".strip() if place else written.words
    return Message(
        sid=sid, direction="inbound", to=sender, from_=customer, customer=customer, body=written.words,
        phone_text=shown, status="received", created_at=now, updated_at=now, sent_at=now, media_urls=media_urls,
    )  # fmt: skip


def params(
    account_sid: str, received: Message, written: Writing, *, replied_to: Message | None, opt_out: bool
) -> dict[str, str]:
    """The form of the inbound webhook."""
    values = {
        "ApiVersion": rules.API_VERSION,
        "AccountSid": account_sid,
        "MessageSid": received.sid,
        "SmsSid": received.sid,
        "SmsMessageSid": received.sid,
        "SmsStatus": "received",
        "From": received.customer,
        "To": received.to,
        "Body": received.body,
        "NumMedia": str(len(received.media_urls)),
        "NumSegments": str(received.num_segments),
    }
    for n, (url, file) in enumerate(zip(received.media_urls, written.files, strict=True)):
        values |= {f"MediaUrl{n}": url, f"MediaContentType{n}": file.content_type}
    if rules.is_whatsapp(received.customer):
        values |= _whatsapp_params(received, written, replied_to)
    if opt_out and (kind := rules.opt_out_type(received.body)):
        values["OptOutType"] = kind
    return values


def _whatsapp_params(received: Message, written: Writing, replied_to: Message | None) -> dict[str, str]:
    values = {"ProfileName": written.name, "MessageType": written.kind, "ReferralNumMedia": "0"}
    address = rules.bare(received.customer)
    if address.startswith("+"):
        values["WaId"] = address.removeprefix("+")
    user_id = written.user_id or (address if not address.startswith("+") else "")
    if user_id:
        values["ExternalUserId"] = f"whatsapp:{rules.bare(user_id)}"
    if replied_to and received.created_at - replied_to.created_at < rules.REPLY_KNOWN_S:
        values |= {
            "OriginalRepliedMessageSid": replied_to.sid,
            "OriginalRepliedMessageSender": replied_to.from_ or "",
        }
    if button := written.button:
        values |= {"ButtonText": button.text, "ButtonPayload": button.payload, "ButtonType": button.kind}
    if item := written.item:
        values |= {"ListId": item.id, "ListTitle": item.title}
    if place := written.location:
        values |= {"Latitude": str(place.latitude), "Longitude": str(place.longitude)}
        values |= {name: text for name, text in (("Label", place.label), ("Address", place.address)) if text}
    return values


def replies(twiml: bytes) -> list[str]:
    """The texts of the <Message> verbs in a TwiML answer; none when it is empty or cannot be read."""
    if not twiml.strip() or len(twiml) > MAX_TWIML_BYTES or b"<!DOCTYPE" in twiml:
        return []
    try:
        root = ElementTree.fromstring(twiml)  # noqa: S314 - short, without a DTD, and our own portal's
    except ElementTree.ParseError:
        logger.warning("The inbound webhook answered something that is not XML (Twilio's 12100)")
        return []
    texts = [(verb.findtext("Body") or verb.text or "").strip() for verb in root.findall("Message")]
    return [text for text in texts if text][:MAX_REPLIES]


def reply(asked: Message, text: str, *, now: float) -> Message:
    """The message a TwiML <Message> becomes."""
    return Message(
        sid=new_sid("SM"), direction="outbound-reply", to=asked.customer, from_=asked.to, customer=asked.customer,
        body=text, phone_text=text, status="queued", created_at=now, updated_at=now,
        steps=rules.departure(rules.magic_for(asked.customer), by_service=False),
    )  # fmt: skip


def _file_kind(content_type: str) -> str:
    if content_type == "image/webp":
        return "sticker"
    family = content_type.partition("/")[0]
    return family if family in ("image", "audio", "video") else "document"
