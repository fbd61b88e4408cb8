"""A call of Twilio, before any framework: the form it posts, the proof that it is Twilio's, the report that it makes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl

from whatsapp_logs import phone
from whatsapp_logs.config import Config
from whatsapp_logs.errors import InvalidInput, NotAllowed
from whatsapp_logs.message import MOST_FILES, Inbound, StatusReport
from whatsapp_logs.twilio.signature import Form, Secrets, is_signed

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
MAX_WORD = 100  # of what is indexed; the payload keeps the whole form
_MAX_PARAMETERS = 500  # Twilio sends about 15, an advertisement's reply about 40
_MAX_ID = 2**63 - 1
# The answer to a customer's message asks Twilio for no reply, because replies go out as messages of the log.
NO_REPLY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


class NotTwilio(NotAllowed):
    """The call is not signed for our account; `reason` is for our own counts."""

    def __init__(self, reason: str) -> None:
        super().__init__("This call is not signed by Twilio for our account.")
        self.reason = reason


def read_form(body: bytes) -> Form:
    """Names and values as posted, blank and repeated ones too; raises InvalidInput for too many."""
    try:
        pairs = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError as error:
        raise InvalidInput("body", "The form has too many fields.") from error
    return Form(pairs)


def proven(form: Form, config: Config, *, path: str, query: str, header: Callable[[str], str | None]) -> Form:
    """The form, if Twilio posted it for our account, as PostgreSQL can keep it; raises NotTwilio. `header` tells one by its name.

    The address that was signed is the public one that we gave to Twilio. What the request says of its own host and scheme is
    anybody's to write, and behind a proxy it is wrong.
    """
    url = f"{config.public_base_url}{path}" + (f"?{query}" if query else "")
    secrets = Secrets((config.twilio_auth_token, config.twilio_secondary_auth_token), (config.twilio_webhook_key,))
    if not is_signed(form, header, url=url, secrets=secrets):
        raise NotTwilio("signature wrong" if header("X-Twilio-Signature") else "no signature")
    if form.getall("AccountSid") != [config.twilio_account_sid]:
        raise NotTwilio("another account")
    return form if "\0" not in "".join(chain(form, *form.values())) else Form(_storable(_pairs(form)))


def status_report(form: Form, message: str) -> StatusReport:
    """What a status callback reports; `message` is what its address says of our own id."""
    return StatusReport(
        provider_status=form.first("MessageStatus", "SmsStatus")[:MAX_WORD] or "(none)",
        provider_id=form.first("MessageSid", "SmsSid")[:MAX_WORD] or None,
        message_id=_our_id(message),
        error_code=form.first("ErrorCode")[:MAX_WORD] or None,
        error_message=form.first("ErrorMessage", "ChannelStatusMessage") or None,
        payload=payload(form),
    )


def inbound(form: Form) -> Inbound:
    """A customer's message; raises InvalidInput for one without a SID, which could be told twice and written down twice."""
    sid = form.first("MessageSid", "SmsSid")[:MAX_WORD]
    if not sid:
        log.error("inbound message without MessageSid; its fields: %s", ", ".join(sorted(form)))
        raise InvalidInput("MessageSid", "The message has no MessageSid.")
    return Inbound(
        provider_id=sid,
        sender=_address(form.first("From", "ExternalUserId", "WaId")),
        recipient=_address(form.first("To")),
        body=form.first("Body") or None,
        profile_name=form.first("ProfileName") or None,
        media=tuple(
            (form.first(f"MediaUrl{n}"), form.first(f"MediaContentType{n}"))
            for n in range(MOST_FILES)
            if form.first(f"MediaUrl{n}")
        ),
        payload=payload(form),
    )


def payload(form: Form) -> dict[str, Any]:
    """The whole form: a text for each name, a list where a name was repeated."""
    return {name: values[0] if len(values) == 1 else values for name, values in form.items()}


def _address(text: str) -> str:
    return phone.from_provider(text)[:MAX_WORD] or "(none)"


def _pairs(form: Form) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, values in form.items() for value in values)


def _storable(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """PostgreSQL keeps no NUL, in no column; its picture stands for it."""
    picture = "\N{SYMBOL FOR NULL}"
    return ((name.replace("\0", picture), value.replace("\0", picture)) for name, value in pairs)


def _our_id(text: str) -> int | None:
    """The id that we wrote into the callback's address; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MAX_ID else None
