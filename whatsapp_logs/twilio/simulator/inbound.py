"""The customer writes: the inbound message, its webhook form, and the TwiML the account may answer with."""

from __future__ import annotations

import logging
from xml.etree import ElementTree

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.ledger import Message, new_sid

logger = logging.getLogger(__name__)

MAX_TWIML_BYTES = 64 * 1024
MAX_REPLIES = 10


def message(customer: str, sender: str, body: str, *, now: float) -> Message:
    """The ledger's row of an inbound message; Twilio dates it by the webhook."""
    return Message(
        sid=new_sid("SM"), direction="inbound", to=sender, from_=customer, customer=customer, body=body,
        phone_text=body, status="received", created_at=now, updated_at=now, sent_at=now,
    )  # fmt: skip


def params(account_sid: str, received: Message, *, name: str, opt_out: bool) -> dict[str, str]:
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
        "NumMedia": "0",
        "NumSegments": str(received.num_segments),
    }
    if rules.is_whatsapp(received.customer):
        values |= {
            "ProfileName": name,
            "WaId": rules.bare(received.customer).removeprefix("+"),
            "MessageType": "text",
            "ReferralNumMedia": "0",
        }
    if opt_out and (kind := _opt_out_type(received.body)):
        values["OptOutType"] = kind
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


def _opt_out_type(body: str) -> str | None:
    word = body.strip().upper()
    if word in rules.OPT_OUT_WORDS:
        return "STOP"
    if word in rules.OPT_IN_WORDS:
        return "START"
    return "HELP" if word in ("HELP", "INFO") else None
