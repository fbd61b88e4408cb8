"""Reading a create call: everything Twilio refuses at once, and what it only finds wrong while sending."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from whatsapp_logs.twilio.simulator import rules, templates
from whatsapp_logs.twilio.simulator.contents import Contents
from whatsapp_logs.twilio.simulator.ledger import Message, new_sid
from whatsapp_logs.twilio.simulator.settings import Settings
from whatsapp_logs.twilio.simulator.wire import ApiError

Form = Mapping[str, Sequence[str]]


def read_message(
    form: Form, *, contents: Contents, settings: Settings, whatsapp_from: str | None, now: float
) -> Message:
    """The message a create call asks for; ApiError for what Twilio refuses at once."""
    to, sender, service = _one(form, "To"), _one(form, "From"), _one(form, "MessagingServiceSid")
    _check_parties(to, sender, service, whatsapp_from)
    content_sid = _one(form, "ContentSid") or None
    filled = _template(form, contents, settings) if content_sid else _free_form(form)
    media_urls = filled.media_urls
    callback = _one(form, "StatusCallback") or None
    if callback and not _is_callback_url(callback):
        raise ApiError(400, 21609)
    send_at = _send_at(form, now) if service else None  # without a service Twilio sends at once
    status = "queued" if not service else "scheduled" if send_at else "accepted"
    steps = rules.departure(rules.magic_for(to), by_service=bool(service))
    whatsapp = rules.is_whatsapp(to)
    return Message(
        sid=new_sid("MM" if media_urls else "SM"), direction="outbound-api", to=to, from_=sender or None, customer=to,
        body=filled.body, phone_text=filled.body, status=status, created_at=now, updated_at=now, service_sid=service or None,
        content_sid=content_sid, content_variables=_one(form, "ContentVariables") or None, media_urls=media_urls,
        num_segments=rules.count_segments(filled.body, whatsapp=whatsapp), refused_with=filled.refused_with,
        choices=filled.choices, menu=filled.menu,
        status_callback=callback, steps=steps, send_at=send_at,
        sent_at=now if settings.date_sent_at_create else None,
    )  # fmt: skip


def _check_parties(to: str, sender: str, service: str, whatsapp_from: str | None) -> None:
    if not to:
        raise ApiError(400, 21604)
    if not sender and not service:
        raise ApiError(400, 21603)
    if not rules.is_address(to):
        raise ApiError(400, 21211, f"The 'To' number {to} is not a valid phone number.")
    if service and not re.fullmatch(r"MG[0-9a-f]{32}", service):
        raise ApiError(400, 21705)
    if not sender:
        return
    if not rules.is_address(sender):
        raise ApiError(400, 21212)
    if rules.is_whatsapp(sender) != rules.is_whatsapp(to):
        raise ApiError(400, 21910)
    if sender == to:
        raise ApiError(400, 21266)
    if whatsapp_from and rules.is_whatsapp(sender) and sender != whatsapp_from:
        raise ApiError(400, 63007)


@dataclass(frozen=True, slots=True)
class Words:
    """What a message says: text, files, what can be pressed, and the code it is to fail with later."""

    body: str
    media_urls: tuple[str, ...] = ()
    choices: tuple[templates.Choice, ...] = ()
    menu: str = ""
    refused_with: int | None = None


def _free_form(form: Form) -> Words:
    body, media_urls = _one(form, "Body"), tuple(url for url in form.get("MediaUrl", ()) if url)
    if _one(form, "ContentVariables"):
        raise ApiError(400, 21654)
    if not body and not media_urls:
        raise ApiError(400, 21602)
    if len(body) > rules.MAX_BODY_CHARACTERS:
        raise ApiError(400, 21617)
    if len(media_urls) > rules.MAX_MEDIA_LINKS:
        raise ApiError(400, 21623)
    if not all(_is_web_url(url) for url in media_urls):
        raise ApiError(400, 21620)
    return Words(body, media_urls)


def _template(form: Form, contents: Contents, settings: Settings) -> Words:
    """The filled-in template. Whether WhatsApp has approved it is looked at only when the message is sent."""
    content = contents.find(_one(form, "ContentSid"))
    if content is None:
        raise ApiError(400, 21655)
    try:
        values = templates.read_variables(_one(form, "ContentVariables"))
    except ValueError as error:
        raise ApiError(400, 21656) from error
    template = content.as_template()
    filled = templates.render(template, values, media_base_url=settings.media_base_url)
    media_urls = (filled.media_url,) if filled.media_url else ()
    return Words(filled.text, media_urls, filled.choices, template.menu, filled.error_code)


def _send_at(form: Form, now: float) -> float | None:
    schedule_type, send_at = _one(form, "ScheduleType"), _one(form, "SendAt")
    if not schedule_type and not send_at:
        return None
    if schedule_type != "fixed":
        raise ApiError(400, 35126)
    if not send_at:
        raise ApiError(400, 35111)
    try:
        at = datetime.fromisoformat(send_at)
    except ValueError as error:
        raise ApiError(400, 35114) from error
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    # A second of grace: the SDK prints whole seconds.
    if not rules.MIN_SCHEDULE_S - 1 <= seconds - now <= rules.MAX_SCHEDULE_S:
        raise ApiError(400, 35114)
    return seconds


def _is_callback_url(url: str) -> bool:
    if len(url) > rules.MAX_STATUS_CALLBACK_CHARACTERS or not _is_web_url(url):
        return False
    return "_" not in (urlsplit(url).hostname or "")


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"\s", url)


def _one(form: Form, name: str) -> str:
    values = form.get(name)
    return values[-1].strip() if name in ("To", "From") and values else values[-1] if values else ""
