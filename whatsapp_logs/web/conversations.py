"""Conversations: who has written and who waits, one customer and us side by side, the box to answer in."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from whatsapp_logs import gate
from whatsapp_logs.access_log import Act
from whatsapp_logs.bot_words import REASONS
from whatsapp_logs.catalogue import Version
from whatsapp_logs.conversation import Conversation
from whatsapp_logs.desk import Chat
from whatsapp_logs.errors import AlreadyAnswered, InvalidInput, MessageNotFound
from whatsapp_logs.filters import Cursor
from whatsapp_logs.message import Draft, Message, Path, Status
from whatsapp_logs.rights import Right
from whatsapp_logs.web import asking, current, format, looks, talk_links, words
from whatsapp_logs.web.access import requires, viewer
from whatsapp_logs.web.file_names import content_disposition
from whatsapp_logs.web.notices import leave_notice, take_notice

_ROOT = "/whatsapp_logs/conversations"
_ONE = f"{_ROOT}/<int:conversation_id>"
_FILE = "/whatsapp_logs/messages/<int:message_id>/files/<int:place>"
_MAX_ID, _MAX_PLACE = 2**63 - 1, 99
_MAX_TEXT = 1600  # WhatsApp's own limit at Twilio (21617)
_MAX_FIELD = 600
_CONFLICT = 409  # somebody has answered meanwhile: no mistake of whoever writes now
_ANSWERED_JUST_NOW = timedelta(minutes=5)
# Drawn by an <img> of ours only: opened by itself, every file of a customer is a download.
_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def register(blueprint: Blueprint) -> None:
    """Add the routes."""
    blueprint.add_url_rule(_ROOT, "conversations", conversations)
    blueprint.add_url_rule(_ONE, "conversation", conversation)
    blueprint.add_url_rule(f"{_ONE}/reply", "reply", reply, methods=["POST"])
    blueprint.add_url_rule(f"{_ONE}/writing", "writing", writing, methods=["POST"])
    blueprint.add_url_rule(f"{_ONE}/template", "reply_by_template", reply_by_template, methods=["POST"])
    blueprint.add_url_rule(f"{_ONE}/take", "take", take, methods=["POST"])
    blueprint.add_url_rule(f"{_ONE}/give_back", "give_back", give_back, methods=["POST"])
    blueprint.add_url_rule(f"{_ONE}/log", "conversation_in_log", conversation_in_log, methods=["POST"])
    blueprint.add_url_rule(_FILE, "file", file)
    blueprint.add_url_rule(f"{_FILE}/again", "file_again", file_again, methods=["POST"])


@requires(Right.SEE)
def conversations() -> str | Response:
    """A page of conversations; for a script only the list, and 204 when it shows what was `seen`."""
    before = request.args.get("before")
    found = current.service().desk.listed(before=Cursor.decode(before, field="before") if before else None)
    now = g.whatsapp_logs_now = datetime.now(UTC)
    clients = _clients([*found.waiting, *found.others])
    shown = [
        (
            one.id,
            one.updated_at,
            found.last[one.id].id if one.id in found.last else 0,
            format.left(found.windows[one.id], now=now),
            one.address in found.opted_out,
        )
        for one in [*found.waiting, *found.others]
    ]
    seen = _digest(
        shown, [format.left_since(one.waiting_since, now=now) for one in found.waiting], talk_links.waiting(viewer())
    )
    if request.args.get("seen") == seen:
        return Response(status=204)
    return render_template(
        "whatsapp_logs/_conversations.html" if "HX-Request" in request.headers else "whatsapp_logs/conversations.html",
        found=found,
        clients=clients,
        reasons=REASONS,
        seen=seen,
        before=before,
        now=now,
        notice=take_notice(),
        has_bot=bool(current.service().config.records),
        is_news="HX-Request" in request.headers,
    )


@requires(Right.TEXTS)
def conversation(conversation_id: int) -> str | Response:
    """One conversation; for a script only what was said, and 204 when that is what was `seen`."""
    before = request.args.get("before")
    chat = current.service().desk.chat(
        _id(conversation_id), before=Cursor.decode(before, field="before") if before else None
    )
    looks.at_conversation(chat.conversation)
    now = g.whatsapp_logs_now = datetime.now(UTC)
    seen = _fingerprint(chat, now)
    if request.args.get("seen") == seen:
        return Response(status=204)
    if "HX-Request" in request.headers:
        return render_template("whatsapp_logs/_talk.html", **_shown(chat, seen=seen, now=now), is_news=True)
    return _page(chat, now=now)


@requires(Right.SEND)
def reply(conversation_id: int) -> BaseResponse | tuple[str, int]:
    """Answer in one's own words. What the gate refuses is said beside the words, which stay in their box."""
    body = request.form.get("body", "").replace("\r\n", "\n").replace("\0", "").strip()
    if not body:
        return _refused(conversation_id, "Write an answer first.", body="")
    if len(body) > _MAX_TEXT:
        return _refused(
            conversation_id, f"The answer has {len(body):,} characters; WhatsApp takes {_MAX_TEXT:,}.", body=body
        )
    return _send(conversation_id, Draft(to="", body=body), body=body)


@requires(Right.SEND)
def writing(conversation_id: int) -> Response:
    """This person is writing an answer, of which nothing is told."""
    current.service().desk.write_on(_id(conversation_id), person=viewer().name)
    return Response(status=204)


@requires(Right.SEND)
def reply_by_template(conversation_id: int) -> BaseResponse | tuple[str, int]:
    """Answer with an approved template: WhatsApp delivers it at any time."""
    wanted = request.form.get("template", "")
    chosen = next((one for one in current.service().templates_of_words() if str(one.id) == wanted), None)
    if chosen is None:
        return _refused(conversation_id, "This template cannot be sent any more. Choose another.", body="")
    typed = {one.key: " ".join(request.form.get(f"field_{one.key}", "").split()) for one in chosen.fields}
    if any(not value or len(value) > _MAX_FIELD for value in typed.values()):
        text = f"Fill in every field of the template, each with up to {_MAX_FIELD} characters."
        return _refused(conversation_id, text, body="", typed=typed, chosen=chosen)
    draft = Draft(to="", body=chosen.text(typed), template=chosen.with_values(typed))
    return _send(conversation_id, draft, body="", typed=typed, chosen=chosen)


@requires(Right.SEND)
def take(conversation_id: int) -> BaseResponse:
    """This person answers from now on; the bot is silent."""
    current.service().desk.take(_id(conversation_id), person=viewer().name)
    return redirect(url_for("whatsapp_logs.conversation", conversation_id=conversation_id), 303)


@requires(Right.SEND)
def give_back(conversation_id: int) -> BaseResponse:
    """Nobody waits any more; the bot, where there is one, answers the next message."""
    current.service().desk.give_back(_id(conversation_id))
    has_bot = bool(current.service().config.records)
    leave_notice("Done: nobody waits here any more." + (" The bot answers the next message." if has_bot else ""))
    return redirect(url_for("whatsapp_logs.conversations"), 303)


@requires(Right.TEXTS)
def conversation_in_log(conversation_id: int) -> BaseResponse:
    """The log's list of this customer's number; the number stays in the database, a word for it goes into the address."""
    held = current.service().desk.conversation(_id(conversation_id))
    if held.is_erased:
        raise MessageNotFound("This conversation was erased.")
    return redirect(asking.asked_by_number(held.address).url(), 303)


@requires(Right.TEXTS)
def file(message_id: int, place: int) -> Response:
    """A file that a customer has sent: always a download, never a page of ours."""
    message = _message(message_id, place)
    looks.at_message(message, Act.DOCUMENT)
    content = current.service().desk.file(message_id, place)
    is_picture = content.content_type in _PICTURES
    response = Response(content.content, mimetype=content.content_type if is_picture else "application/octet-stream")
    response.headers["Content-Disposition"] = content_disposition("attachment", content.filename)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "private, no-store"
    return response


@requires(Right.SEND)
def file_again(message_id: int, place: int) -> BaseResponse:
    """Try once more to get a file."""
    message = _message(message_id, place)
    current.service().desk.fetch_again(message_id, place)
    found = current.service().desk.ids_of([str(message.sender)])
    if message.sender in found:
        return redirect(url_for("whatsapp_logs.conversation", conversation_id=found[message.sender]), 303)
    return redirect(url_for("whatsapp_logs.message", message_id=message_id), 303)


def _send(conversation_id: int, draft: Draft, **typed: Any) -> BaseResponse | tuple[str, int]:
    key = request.form.get("request_key", "")[:80]
    if len(key) < 16:
        raise InvalidInput("request_key", "This form is no longer valid. Reload the page and send it again.")
    draft = _by_viewer(draft, key=f"reply:{viewer().name}:{conversation_id}:{key}:{_digest(draft.body)}")
    try:
        answer = current.service().desk.reply(_id(conversation_id), draft, seen=_seen_by_form())
    except AlreadyAnswered as quicker:
        return _refused(conversation_id, str(quicker), status=_CONFLICT, **typed)
    if isinstance(answer, gate.Verdict):
        refusal = answer.refusal
        return _refused(conversation_id, refusal.text if refusal else "It cannot be sent.", **typed)
    if answer.status is Status.FAILED:
        return _refused(conversation_id, answer.error_message or "It cannot be sent.", **typed)
    return redirect(url_for("whatsapp_logs.conversation", conversation_id=conversation_id, _anchor="reply"), 303)


def _seen_by_form() -> int | None:
    """The last message that the page of this form has shown; None for a form without it."""
    text = request.form.get("seen", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _by_viewer(draft: Draft, *, key: str) -> Draft:
    return Draft(to=draft.to, body=draft.body, template=draft.template, created_by=viewer().name, request_key=key)


def _refused(conversation_id: int, text: str, *, status: int = 400, **typed: Any) -> tuple[str, int]:
    chat = current.service().desk.chat(_id(conversation_id))
    looks.at_conversation(chat.conversation)
    now = g.whatsapp_logs_now = datetime.now(UTC)
    return _page(chat, now=now, refused=text, is_held_back=status == _CONFLICT, **typed), status


def _page(
    chat: Chat,
    *,
    now: datetime,
    refused: str | None = None,
    is_held_back: bool = False,
    body: str = "",
    typed: Mapping[str, str] | None = None,
    chosen: Version | None = None,
) -> str:
    may_send = viewer().may(Right.SEND) and not chat.conversation.is_erased
    needs_template = may_send and chat.window_until is None and not chat.has_opted_out
    return render_template(
        "whatsapp_logs/conversation.html",
        notice=take_notice(),
        refused=refused,
        is_held_back=is_held_back,
        body=body,
        typed_fields=typed or {},
        chosen=chosen,
        templates=current.service().templates_of_words() if needs_template else [],
        request_key=secrets.token_urlsafe(18),
        may_send=may_send,
        needs_template=needs_template,
        max_text=_MAX_TEXT,
        is_latest=not request.args.get("before"),
        **_shown(chat, seen=_fingerprint(chat, now), now=now),
    )


def _shown(chat: Chat, *, seen: str, now: datetime) -> dict[str, Any]:
    held = chat.conversation
    client, who = _clients([held])[held.id]
    return {
        "chat": chat,
        "held": held,
        "client": client,
        "who": who,
        "client_url": current.extension().client_url,
        "others_writing": [one for one in chat.writing if one != viewer().name],
        "answered_by": _answered_by(chat),
        "reason": REASONS.get(held.handed_over_reason or "", ""),
        "has_bot": bool(current.service().config.records),
        "seen": seen,
        "now": now,
    }


def _answered_by(chat: Chat) -> Message | None:
    """A colleague's answer of the last minutes that nothing has followed."""
    last = chat.messages[-1] if chat.messages else None
    if last is None or last.path != Path.REPLY or last.created_by == viewer().name:
        return None
    return last if datetime.now(UTC) - last.created_at < _ANSWERED_JUST_NOW else None


def _clients(found: list[Conversation]) -> dict[int, tuple[str | None, str]]:
    """By conversation: the client's id, as the portal gave it or by what was sent to the number before, and their name."""
    unknown = sorted(one.address for one in found if not one.client_id and not one.is_erased)
    by_address = current.service().clients_of(unknown) if unknown else {}
    client_of = {one.id: one.client_id or by_address.get(one.address) for one in found}
    ids = sorted({client for client in client_of.values() if client})
    names = dict(current.extension().client_names(ids)) if ids else {}
    return {id_: (client, names.get(client or "", "")) for id_, client in client_of.items()}


def _fingerprint(chat: Chat, now: datetime) -> str:
    seen = [(one.id, one.updated_at) for one in chat.messages]
    files = [(one.message_id, one.place, one.state) for some in chat.files.values() for one in some]
    window = format.left(chat.window_until, now=now)
    waits = format.left_since(chat.conversation.waiting_since, now=now)
    answered = _answered_by(chat)
    others = (
        talk_links.waiting(viewer()),
        chat.writing,
        answered and (answered.id, format.since(answered.created_at, now=now)),
    )
    zone = words.Words(viewer()).zone.key
    return _digest(seen, files, chat.conversation.updated_at, window, waits, chat.is_with_staff, others, zone)


def _digest(*facts: Any) -> str:
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def _id(conversation_id: int) -> int:
    if conversation_id > _MAX_ID:
        raise MessageNotFound("There is no such conversation.")
    return conversation_id


def _message(message_id: int, place: int) -> Message:
    if message_id > _MAX_ID or place > _MAX_PLACE:
        raise MessageNotFound("This file is not in the log.")
    return current.service().message(message_id)
