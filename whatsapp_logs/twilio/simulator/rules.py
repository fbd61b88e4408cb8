"""What WhatsApp and Twilio do with a message, as data and pure functions: times, limits, magic numbers, journeys.

Facts are from Twilio's documentation; where sources disagree docs/twilio.md says which one is followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

API_VERSION = "2010-04-01"
WINDOW_S = 24 * 3600.0
SIGNED_URL_S = 4 * 3600.0  # of a file's second address
MAX_BODY_CHARACTERS = 1600
MAX_TEMPLATE_CHARACTERS = 1024
MAX_MEDIA_LINKS = 10
MAX_MEDIA_BYTES = 16 * 1024 * 1024
MAX_STATUS_CALLBACK_CHARACTERS = 4000
MIN_SCHEDULE_S, MAX_SCHEDULE_S = 15 * 60.0, 35 * 24 * 3600.0
DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 1000

# Seconds a step takes at pace 1. Added up: sending 0.3, sent 1, delivered 2, read 4 seconds after the create call.
SENDING_AFTER_S, SENT_AFTER_S, DELIVERED_AFTER_S, READ_AFTER_S = 0.3, 0.7, 1.0, 2.0
QUEUED_AFTER_S = 0.1  # from accepted or scheduled, when a Messaging Service picks the sender
PRICE_AFTER_S = 3.0  # the price is known some time after the receipt
SLOW_STEP_S = 30.0

PRICE_USD = "-0.00500"

FINAL = frozenset({"read", "failed", "undelivered", "canceled", "received"})
NOT_YET_SENT = frozenset({"accepted", "scheduled", "queued", "sending"})
# Twilio sends no callback for the first status and none for sending; queued only when a service picked the sender.
SILENT = frozenset({"accepted", "scheduled", "sending"})

# What a message fails with by the state of its template, inside the 24 hours too (there unconfirmed).
TEMPLATE_REFUSALS = {"rejected": 63040, "paused": 63041, "disabled": 63042}
MAX_SESSION_BUTTONS = 3  # of a template that WhatsApp has not approved

OPT_OUT_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
OPT_IN_WORDS = frozenset({"START", "UNSTOP", "YES"})
HELP_WORDS = frozenset({"HELP", "INFO"})
REPLY_KNOWN_S = 7 * 24 * 3600.0  # a reply to an older message does not say what it replies to

# WhatsApp shows no text beside these: the Body of a document, audio or video message is dropped.
_TEXT_SURVIVES_WITH = ("image/",)
WHATSAPP_MEDIA_TYPES = frozenset(
    {
        "image/jpeg", "image/png", "image/webp",
        "audio/ogg", "audio/amr", "audio/3gpp", "audio/aac", "audio/mpeg", "audio/mp4", "video/mp4",
        "application/pdf", "text/vcard", "text/x-vcard",
        "application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    }
)  # fmt: skip

ERROR_TEXTS = {
    11751: "MMS has exceeded the maximum media size",
    12300: "Invalid Content-Type",
    20001: "Invalid parameter",
    20003: "Authenticate",
    20004: "Method not allowed",
    20007: "Page size too large",
    20009: "Cannot delete this Message because it is still in progress",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    21211: "The 'To' number is not a valid phone number",
    21212: "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID",
    21266: "'To' and 'From' number cannot be the same",
    21481: "Invalid page token",
    21602: "Message body is required",
    21603: "A 'From' or 'MessagingServiceSid' parameter is required",
    21604: "A 'To' phone number is required",
    21609: "The 'StatusCallback' URL is not a valid URL",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "This 'From' number has exceeded the maximum number of queued messages",
    21617: "The concatenated message body exceeds the 1600 character limit",
    21620: "Invalid media URL(s)",
    21623: "Number of media files exceeds allowed limit",
    21654: "ContentSid is required when ContentVariables is given",
    21655: "The ContentSid is invalid",
    21656: "The Content Variables parameter is invalid",
    21705: "The Messaging Service Sid is invalid",
    21910: "Message From/To pair violates the channel rules: both must be of the same channel",
    30001: "Queue overflow",
    30400: "The requested change is not valid: only Status=canceled or an empty Body may be posted, not both",
    30409: "Message is not in a cancelable state",
    35111: "The SendAt parameter is required when ScheduleType is given",
    35114: "SendAt time must be between 15 minutes and 35 days in the future",
    35126: "ScheduleType is not supported: use fixed",
    63003: "Channel could not find To address",
    63005: "Channel did not accept given content",
    63007: "Could not find a Channel with the specified From address",
    63013: "Channel policy violation",
    63014: "Message failed to be delivered because it was blocked by a user action",
    63016: "Failed to send freeform message because you are outside the allowed window. "
    "If you are using WhatsApp, please use a Message Template",
    63018: "Rate limit exceeded for Channel",
    63019: "Media failed to download",
    63021: "Channel invalid content error",
    63024: "Invalid message recipient",
    63026: "Message was flagged as spam",
    63027: "Template does not exist for a language and locale",
    63040: "Template rejected",
    63041: "Template paused",
    63042: "Template disabled",
    63049: "Meta chose not to deliver this marketing message",
    92009: "The template associated with this SID has already been submitted for approval",
}

Create = Literal["accept", "refuse", "429 twice", "500 after accept", "cut after accept", "html"]
Callbacks = Literal["normal", "lost", "doubled and reversed"]


@dataclass(frozen=True, slots=True)
class Magic:
    """What a magic recipient does; `does` is the sentence for people."""

    number: str
    does: str
    ending: str = "read"
    error_code: int | None = None
    create: Create = "accept"
    callbacks: Callbacks = "normal"
    slow: bool = False
    detour: str | None = None


MAGIC: tuple[Magic, ...] = (
    Magic("+15005550001", "refused at once: not a valid number", create="refuse", error_code=21211),
    Magic("+447700900003", "fails: the number is not on WhatsApp", "failed", 63003),
    Magic("+447700900014", "fails: blocked by the recipient's action", "failed", 63014),
    Magic("+447700900016", "fails: outside the 24-hour window, whatever was sent", "failed", 63016),
    Magic("+447700900018", "fails: the sender's WhatsApp limit is reached", "failed", 63018),
    Magic("+447700900019", "fails: the file could not be downloaded", "failed", 63019),
    Magic("+447700900024", "fails: the recipient cannot receive this message", "failed", 63024),
    Magic("+447700900026", "sent, then undelivered: flagged as spam", "undelivered", 63026),
    Magic("+447700900049", "sent, then undelivered: Meta held the marketing message back", "undelivered", 63049),
    Magic("+447700900100", "stays at sent for ever: the customer has blocked the sender", "sent"),
    Magic("+447700900101", "delivered, never read: read receipts are off", "delivered"),
    Magic("+447700900102", "the first two creates answer 429 and are not accepted", create="429 twice"),
    Magic("+447700900103", "create answers 500 although the message was accepted", create="500 after accept"),
    Magic("+447700900104", "create is accepted, then the connection is cut unanswered", create="cut after accept"),
    Magic("+447700900105", "every callback is lost: the status is learnt only by asking", callbacks="lost"),
    Magic("+447700900106", "callbacks arrive twice and in reverse order", callbacks="doubled and reversed"),
    Magic("+447700900107", "slow: 30 seconds for each step", slow=True),
    Magic("+447700900108", "refused at once: the customer has opted out", create="refuse", error_code=21610),
    Magic("+447700900109", "create answers an HTML 503 page and nothing is accepted", create="html"),
    Magic("+447700900110", "an unknown status, teleported, comes between sent and delivered", detour="teleported"),
    Magic("+447700900111", "fails with an error code nobody knows, without a text", "failed", 63999),
)  # fmt: skip
_MAGIC_BY_NUMBER = {magic.number: magic for magic in MAGIC}
_ORDINARY = Magic("", "delivered and read")


@dataclass(frozen=True, slots=True)
class Step:
    """The next status of a message and the seconds (at pace 1) until it is reached."""

    status: str
    after_s: float
    error_code: int | None = None


def magic_for(address: str) -> Magic:
    """The rules of a recipient; every number outside the table is an ordinary customer."""
    return _MAGIC_BY_NUMBER.get(bare(address), _ORDINARY)


def departure(magic: Magic, *, by_service: bool) -> tuple[Step, ...]:
    """The steps from acceptance to sending; what follows is decided only then, as at Twilio."""
    steps = (Step("queued", QUEUED_AFTER_S), Step("sending", SENDING_AFTER_S))
    return _at_speed(magic, steps if by_service else steps[1:])


def journey(magic: Magic, *, whatsapp: bool, blocked: bool, receipts: bool) -> tuple[Step, ...]:
    """The steps that follow sending for a message that WhatsApp (or the carrier) takes."""
    sent, delivered, read = (
        Step("sent", SENT_AFTER_S),
        Step("delivered", DELIVERED_AFTER_S),
        Step("read", READ_AFTER_S),
    )
    if magic.ending == "failed":
        steps: tuple[Step, ...] = (Step("failed", SENT_AFTER_S, magic.error_code),)
    elif magic.ending == "undelivered":
        steps = (sent, Step("undelivered", DELIVERED_AFTER_S, magic.error_code))
    elif blocked or magic.ending == "sent":
        steps = (sent,)
    elif magic.ending == "delivered" or not whatsapp or not receipts:
        steps = (sent, delivered)
    else:
        steps = (sent, delivered, read)
    if magic.detour:
        steps = (steps[0], Step(magic.detour, DELIVERED_AFTER_S), *steps[1:])
    return _at_speed(magic, steps)


def failure(magic: Magic, error_code: int) -> tuple[Step, ...]:
    """The single step of a message that Twilio or WhatsApp refuses while sending it."""
    return _at_speed(magic, (Step("failed", SENT_AFTER_S, error_code),))


def text_survives(content_type: str) -> bool:
    """Whether WhatsApp shows the Body beside a file of this type."""
    return content_type.startswith(_TEXT_SURVIVES_WITH) and content_type != "image/webp"


def is_whatsapp(address: str | None) -> bool:
    return bool(address) and str(address).startswith("whatsapp:")


def bare(address: str) -> str:
    """The address without its channel prefix."""
    return address.removeprefix("whatsapp:")


def is_address(address: str) -> bool:
    """Whether `address` is +E.164, whatsapp:+E.164, or a WhatsApp user id without a number (whatsapp:CC.id)."""
    if re.fullmatch(r"(whatsapp:)?\+[1-9][0-9]{6,14}", address):
        return True
    return bool(re.fullmatch(r"whatsapp:[A-Z]{2}\.[A-Za-z0-9]{1,128}", address))


def opt_out_type(body: str) -> str | None:
    """STOP, START or HELP when the whole text is one of Twilio's words for it."""
    word = body.strip().upper()
    kinds = (("STOP", OPT_OUT_WORDS), ("START", OPT_IN_WORDS), ("HELP", HELP_WORDS))
    return next((kind for kind, words in kinds if word in words), None)


def count_segments(text: str, *, whatsapp: bool) -> int:
    """SMS segments: 160 GSM-7 characters (153 when joined), else 70 (67); always 1 on WhatsApp."""
    if whatsapp or not text:
        return 1
    single, joined = (160, 153) if text.isascii() else (70, 67)
    return 1 if len(text) <= single else -(-len(text) // joined)


def error_text(code: int | None) -> str | None:
    """Twilio's words for a code; None for codes that Twilio reports without words."""
    return ERROR_TEXTS.get(code) if code is not None else None


def _at_speed(magic: Magic, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(replace(step, after_s=SLOW_STEP_S) for step in steps) if magic.slow else steps
