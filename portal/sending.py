"""Sending through WhatsApp Logs: what the portal's messages say, and one message for one filled-in form."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from flask import Flask, abort, current_app, redirect, request, url_for
from psycopg import Connection
from werkzeug.wrappers import Response

from portal.access import me, portal_config
from portal.format import long_date, readable_phone, short_date
from portal.notes import say
from portal.policy import Policy
from portal.uploads import Upload
from whatsapp_logs import Draft, MediaFile, Status, Template, WhatsAppService
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.gate import Verdict, rules_of

MAX_CHARACTERS = 1600  # Twilio's limit of a message's text (21617)
MAX_NOTICE_CHARACTERS = 600  # of a template's 1024 (63021): the words around it, and the name, need some
_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_JUST_NOW = timedelta(minutes=1)
FAILURES = frozenset({Status.FAILED, Status.UNDELIVERED})


@dataclass(frozen=True, slots=True)
class Letter:
    """A draft and the name of the person it goes to."""

    to_name: str
    draft: Draft


def init_app(app: Flask, service: WhatsAppService) -> None:
    """Send through this service; forms get `new_request_key()`."""
    app.extensions["portal_whatsapp"] = service
    app.add_template_global(lambda: secrets.token_urlsafe(18), "new_request_key")


def policy_document(policy: Policy, pdf: bytes) -> Letter:
    """The policy schedule, as an approved template: it arrives outside the 24-hour window too."""
    variables = {"1": one_line(policy.client_name), "2": policy.policy_number}
    draft = Draft(
        to=policy.client_phone,
        message_type="policy_document",
        body=document_text(policy),
        media=MediaFile(content=pdf, content_type="application/pdf", filename=f"{policy.policy_number}.pdf"),
        template=service().template("policy_document", variables, media_variable="3"),
        policy_id=policy.policy_id,
        client_id=policy.client_id,
    )
    return Letter(policy.client_name, draft)


def renewal_reminder(policy: Policy, paper: Upload | None) -> Letter:
    """The reminder that renewal is due, with the uploaded document if there is one."""
    variables = {
        "1": one_line(policy.client_name),
        "2": policy.policy_number,
        "3": long_date(policy.ends_on),
    }
    draft = Draft(
        to=policy.client_phone,
        message_type="renewal_reminder",
        body=reminder_text(policy, with_document=paper is not None),
        media=attached(paper),
        template=_reminder_template(variables, with_document=paper is not None),
        policy_id=policy.policy_id,
        client_id=policy.client_id,
    )
    return Letter(policy.client_name, draft)


def document_text(policy: Policy) -> str:
    """What comes with the policy schedule: the words of the approved template."""
    name = one_line(policy.client_name)
    return f"Hello {name}, here is your policy document {policy.policy_number}. Please keep it in a safe place."


def reminder_text(policy: Policy, *, with_document: bool = False) -> str:
    """The reminder as the client will read it: the words of the approved template."""
    ending = "The renewal papers are attached." if with_document else "Please contact us to renew it in time."
    due = f"your policy {policy.policy_number} is due for renewal on {long_date(policy.ends_on)}"
    return f"Hello {one_line(policy.client_name)}, {due}. {ending}"


def to_client(client_id: int, phone: str) -> Verdict:
    """What the gate says of words to this client now: whether anything may be sent, and until when bare words may."""
    template = service().template("general_notice", {"1": "…", "2": "…"})
    return service().preview(Draft(to=phone, body="…", template=template, client_id=client_id))


def general_message(client_id: int, name: str, phone: str, words: str, *, bare: bool = False) -> Letter:
    """Words of the sender's own, within the approved notice: it arrives at any time.

    `bare`, or where no notice is approved: WhatsApp delivers them within 24 hours of the client's last message only.
    """
    if bare:
        return Letter(name, Draft(to=phone, message_type="general", body=words, client_id=client_id))
    template = service().template("general_notice", {"1": one_line(name), "2": as_sentence(words)})
    body = words if template is None else notice_text(name, words)
    return Letter(name, Draft(to=phone, message_type="general", body=body, template=template, client_id=client_id))


def has_notice() -> bool:
    """Whether words of one's own go out within an approved notice."""
    return service().template("general_notice", {}) is not None


def notice_text(name: str, words: str) -> str:
    """The notice as the client will read it: the words of the approved template around the sender's."""
    before, after = notice_frame(name)
    return f"{before}{as_sentence(words)}{after}"


def notice_frame(name: str) -> tuple[str, str]:
    """What the approved notice says before and after the sender's words."""
    return f"Hello {one_line(name)}, a notice from your insurance office: ", " Please reply if you have a question."


def as_sentence(words: str) -> str:
    """The words on one line, and with a full stop, since the notice goes on after them. preview.js does the same."""
    line = one_line(words)
    return f"{line}." if line[-1:].isalnum() else line


def most_characters(*, bare: bool = False) -> int:
    """How long words of one's own may be."""
    return MAX_NOTICE_CHARACTERS if has_notice() and not bare else MAX_CHARACTERS


def problem_with(words: str, *, bare: bool = False) -> str | None:
    """What keeps these words from being sent."""
    if not words:
        return "Write a message first."
    length, most = len(words), most_characters(bare=bare)
    kind = "a notice" if has_notice() and not bare else "a WhatsApp message"
    return f"The message has {length:,} characters; {kind} may have {most:,}." if length > most else None


def send(letter: Letter, *, back_to: str, conn: Connection | None = None) -> Response:
    """Queue the letter, once per filled-in form, and go back with a word that leads to it in the log."""
    draft = replace(
        letter.draft, created_by=me().username, request_key=request_key(letter.draft), confirmed=confirmed()
    )
    try:
        message = service().send(draft, conn=conn)
    except InvalidInput as error:
        if conn is not None:
            conn.rollback()  # What the caller wrote goes with the message.
        say(f"Nothing was sent to {letter.to_name}. {error.reason}", "bad")
        return redirect(back_to, 303)
    to = f"{letter.to_name}, {readable_phone(message.recipient)}"
    href, follow = url_for("whatsapp_logs.message", message_id=message.id), "follow it in WhatsApp Logs"
    if message.status in FAILURES:
        say(f"Not sent to {to}: {message.error_message}", "bad", href=href, link="see it in WhatsApp Logs")
    elif datetime.now(UTC) - message.created_at > _JUST_NOW:
        say(f"This was already queued for {to}; nothing was sent twice", "ok", href=href, link=follow)
    elif draft.send_at is not None:
        coming = url_for("whatsapp_logs.scheduled")
        say(f"Scheduled for {to}. It leaves {when(draft)}", "ok", href=coming, link="all that is coming")
    else:
        say(f"Queued for {to}", "ok", href=href, link=follow)
    return redirect(back_to, 303)


def confirmed() -> frozenset[str]:
    """The doubts of the gate that the form says were asked and answered."""
    try:
        return rules_of(request.form.getlist("confirmed"))
    except InvalidInput:
        abort(400, "This form is no longer valid. Go back, reload the page and send it again.")


def when(draft: Draft) -> str:
    """When a draft leaves, as the office reads it, and as the client does where their clock differs."""
    assert draft.send_at is not None
    office = ZoneInfo(portal_config().timezone)
    here = draft.send_at.astimezone(office)
    said = f"{short_date(here)}, {here:%H:%M}"
    there = draft.send_at.astimezone(service().recipient_zone(draft.to))
    if there.utcoffset() == here.utcoffset():
        return said
    return f"{said} ({_clock(there, here)} where they live)"


def _clock(there: datetime, here: datetime) -> str:
    return f"{there:%H:%M}" if there.date() == here.date() else f"{short_date(there)}, {there:%H:%M}"


def request_key(draft: Draft) -> str:
    """The form's one-time key, bound to sender, addressee and content.

    Pressing the button twice gives the same key, so one message. A form that was changed after going back gives
    another, so the new words are not swallowed.
    """
    key = request.form.get("request_key", "")
    if not _KEY.fullmatch(key):
        abort(400, "This form is no longer valid. Go back, reload the page and send it again.")
    content = draft.media.content if draft.media else b""
    facts = (draft.message_type, draft.client_id, draft.policy_id, draft.to, draft.body, draft.send_at)
    digest = hashlib.sha256(repr(facts).encode() + hashlib.sha256(content).digest()).hexdigest()[:24]
    return f"portal:{me().user_id}:{key}:{digest}"


def _reminder_template(variables: dict[str, str], *, with_document: bool) -> Template | None:
    if with_document:
        return service().template("renewal_reminder_document", variables, media_variable="4")
    return service().template("renewal_reminder", variables)


def attached(paper: Upload | None) -> MediaFile | None:
    if paper is None:
        return None
    return MediaFile(content=paper.content, content_type=paper.content_type, filename=paper.filename)


def one_line(text: str) -> str:
    """WhatsApp refuses line breaks and runs of blanks in a template's values (63013)."""
    return " ".join(text.split())


def service() -> WhatsAppService:
    """The service that this portal sends through."""
    running: WhatsAppService = current_app.extensions["portal_whatsapp"]
    return running
