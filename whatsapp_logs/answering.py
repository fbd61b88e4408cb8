"""What customers write is answered once, or handed to a person once: message, answers and memory change in one transaction."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import Connection

from whatsapp_logs import bot, bot_words, bulk, gate, interactive, opening_hours
from whatsapp_logs.config import Config
from whatsapp_logs.consent import word_of
from whatsapp_logs.conversation import Conversation, Turn
from whatsapp_logs.errors import DatabaseAway
from whatsapp_logs.message import GENERAL, POLICY_DOCUMENT, Draft, Path, Template
from whatsapp_logs.records import Records
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import consent_events, conversations, messages, queue
from whatsapp_logs.store import interactive as contents
from whatsapp_logs.store.pool import atomic

log = logging.getLogger(__name__)

_TOGETHER = 20
_TOO_OLD = timedelta(minutes=15)  # the customer has put the phone away: a person looks at it
_OVERLOOKED = timedelta(seconds=30)
_KEY = "bot:"


def answer(transactions: Transactions, conversation_id: int, *, records: Records | None, config: Config) -> int:
    """Look at everything this customer has written that nobody has looked at; returns how many messages that were.

    The answers leave in order: one job hands those to one message over, and waits for those to the message before.
    """
    with transactions() as conn:
        held = conversations.hold(conn, conversation_id)
        if held is None or held.is_erased:
            return 0
        due = conversations.due(conn, conversation_id, limit=_TOGETHER)
        for turn in due:
            now = datetime.now(UTC)
            outcome = _take(conn, held, turn, records=records, config=config, now=now)
            conversations.finish_turn(conn, turn.message_id, outcome=outcome, now=now)
            log.info("message %s of conversation %s: %s", turn.message_id, held.id, outcome)
            held = conversations.get(conn, conversation_id) or held
        if len(due) == _TOGETHER:
            queue.defer(conn, "answer", conversation_id=conversation_id)
        return len(due)


def overlooked(conn: Connection[Any], *, now: datetime) -> list[int]:
    """Conversations whose job was lost."""
    return conversations.overlooked(conn, before=now - _OVERLOOKED, limit=200)


def is_with_staff(held: Conversation, config: Config, *, now: datetime) -> bool:
    """Whether a person answers, and the bot is silent: until they give it back, or nothing was done for some hours."""
    return held.handed_over_at is not None and now - held.handed_over_at < timedelta(hours=config.bot_silent_hours)


def _take(
    conn: Connection[Any], held: Conversation, turn: Turn, *, records: Records | None, config: Config, now: datetime
) -> str:
    """Deal with one message; returns what became of it."""
    consent = word_of(turn.body, opt_out_type=turn.opt_out_type)
    if consent == "opt_out":
        if records is not None:
            heard = _heard(conn, held, turn, consent=consent)
            said = bot.reply(heard, bot.Memory.from_json(held.bot), records, manners=bot.Manners(), now=now)
            conversations.remember(conn, held.id, said.memory.as_json(), client_id=held.client_id)
        return "stopped"
    if consent_events.has_opted_out(conn, held.address):
        return _for_staff(conn, held, turn, outcome="stopped", reason="stopped")
    if is_with_staff(held, config, now=now):
        return _for_staff(conn, held, turn, outcome="for_staff", reason=held.handed_over_reason or "asked")
    if records is None:
        return _for_staff(conn, held, turn, outcome="for_staff", reason="no_bot")
    if now - turn.received_at > _TOO_OLD or turn.is_overtaken:
        return _for_staff(conn, held, turn, outcome="too_old", reason="too_old")
    try:
        with atomic(conn):
            return _answer(conn, held, turn, consent, records=records, config=config, now=now)
    except (DatabaseAway, psycopg.OperationalError, psycopg.InterfaceError):
        raise  # the job is done again
    except Exception as error:  # noqa: BLE001 - whatever the bot or the records have, the customer is not left alone with it
        # Where it happened, and not what it said: that may hold what the customer wrote.
        place = "".join(traceback.format_tb(error.__traceback__))
        log.error("the bot failed on message %s (%s):\n%s", turn.message_id, type(error).__name__, place)
        conversations.call_person(conn, held.id, reason="error", since=turn.received_at, handed_over_at=now)
        return "error"


def _answer(
    conn: Connection[Any],
    held: Conversation,
    turn: Turn,
    consent: str | None,
    *,
    records: Records,
    config: Config,
    now: datetime,
) -> str:
    client_id = records.client_of(held.address)
    heard = _heard(conn, held, turn, consent=consent)
    said = bot.reply(heard, bot.Memory.from_json(held.bot), records, manners=_manners(config, now=now), now=now)
    drafts = [
        Draft(
            to=held.address,
            message_type=POLICY_DOCUMENT if one.file else GENERAL,
            body=one.text,
            media=one.file,
            policy_id=one.policy_id,
            client_id=said.memory.client_id or client_id,
            created_by="bot",
            request_key=f"{_KEY}{turn.message_id}:{n}",
            path=Path.BOT,
        )
        for n, one in enumerate(said.answers)
    ]
    drafts = [
        _with_something_to_press(conn, draft, one.offered, turn=turn, office=records.office, config=config, now=now)
        for draft, one in zip(drafts, said.answers, strict=True)
    ]
    if drafts:
        bulk.queue_messages(conn, drafts, config=config, now=now, in_order_of=f"conversation {held.id}")
    conversations.remember(conn, held.id, said.memory.as_json(), client_id=client_id)
    if said.reason is not None:
        conversations.call_person(conn, held.id, reason=said.reason, since=turn.received_at, handed_over_at=now)
    return said.outcome


def _with_something_to_press(
    conn: Connection[Any],
    draft: Draft,
    offered: Sequence[bot_words.Choice],
    *,
    turn: Turn,
    office: str,
    config: Config,
    now: datetime,
) -> Draft:
    """The same words with buttons or a list, where Twilio keeps that shape and it may be sent now; else as text, and it is made."""
    template = _menu_of_the_office(draft, office, config=config)
    if template is None and offered and draft.body and config.bot_buttons:
        found = interactive.pressable(draft.body, offered, menu=bot.menu_name(turn.message_id))
        sid = contents.sid_of(conn, found.name) if found else None
        if found and sid:
            template = Template(sid=sid, name=found.name, variables=found.values)
        elif found and contents.want(conn, {found.name: asdict(found.content)}):
            queue.defer(conn, "make_contents")
    if template is None:
        return draft
    pressed = replace(draft, template=template)
    (verdict,) = gate.examine(conn, [pressed], config=config, now=now)
    return draft if verdict.refusal is not None else pressed


def _menu_of_the_office(draft: Draft, office: str, *, config: Config) -> Template | None:
    sid = config.templates.get("bot_menu")
    if sid is None or draft.body != bot_words.menu(office):
        return None
    return Template(sid=sid, name="bot_menu", variables={"1": office})


def _for_staff(conn: Connection[Any], held: Conversation, turn: Turn, *, outcome: str, reason: str) -> str:
    conversations.call_person(conn, held.id, reason=reason, since=turn.received_at, handed_over_at=None)
    return outcome


def _heard(conn: Connection[Any], held: Conversation, turn: Turn, *, consent: str | None) -> bot.Heard:
    """The message as the bot understands it. A payload of ours names its list and the choice: "m120:2"."""
    menu, _, choice = (turn.payload or "").partition(":")
    if not (menu.startswith("m") and menu[1:].isdecimal() and choice.isdecimal() and len(choice) == 1):
        menu, choice = _menu_of(conn, turn.replied_sid) if turn.replied_sid else "", ""
    return bot.Heard(
        id=turn.message_id,
        at=turn.received_at,
        address=held.address,
        text=turn.body or "",
        kind="text" if turn.kind == "button" else turn.kind,
        choice=choice,
        quoted_menu=menu,
        consent=consent,
        provider_answered=turn.opt_out_type is not None,
    )


def _menu_of(conn: Connection[Any], sid: str) -> str:
    """The list that the message with this SID may have been: each answer of the bot's names what it answers."""
    quoted = messages.by_provider_id(conn, sid)
    key = (quoted.request_key or "") if quoted else ""
    return bot.menu_name(int(key.split(":")[1])) if key.startswith(_KEY) else ""


def _manners(config: Config, *, now: datetime) -> bot.Manners:
    closed = not opening_hours.is_open(config.office_hours, now.astimezone(config.zone))
    return replace(
        bot.Manners(),
        answers_per_minute=config.bot_answers_per_minute,
        opening_hours=opening_hours.in_words(config.office_hours) if closed else "",
    )
