"""The desk where customers' messages are answered, by the bot or by staff. Every method is a line into a verb."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from psycopg import Connection

from whatsapp_logs import answering, collecting, gate, send
from whatsapp_logs.bot import Memory
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.config import Config
from whatsapp_logs.conversation import Conversation, SentFile
from whatsapp_logs.errors import AlreadyAnswered, InvalidInput, MessageNotFound
from whatsapp_logs.filters import Cursor
from whatsapp_logs.message import Draft, MediaFile, Message, Path, Status
from whatsapp_logs.records import Records, load
from whatsapp_logs.store import consent_events, contacts, conversations, media, messages, queue, sent_files
from whatsapp_logs.store.pool import Database

WAITING_SHOWN = 100
_WRITES_FOR = timedelta(seconds=12)  # since the last sign; a page gives one every five seconds
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A part of a conversation, oldest message first. `older` is where the part before begins."""

    conversation: Conversation
    messages: list[Message]
    files: dict[int, list[SentFile]]
    older: Cursor | None
    window_until: datetime | None
    is_with_staff: bool
    has_opted_out: bool
    writing: tuple[str, ...]  # who is writing an answer just now

    @property
    def seen(self) -> int:
        """The last message that is shown; 0 where there is none."""
        return max((one.id for one in self.messages), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of conversations with the last words of each; `older` is where the next page begins."""

    waiting: list[Conversation]
    others: list[Conversation]
    last: dict[int, Message]
    windows: dict[int, datetime | None]
    opted_out: frozenset[str]  # addresses
    older: Cursor | None


class Desk:
    """One process's; made by its service."""

    def __init__(
        self, config: Config, database: Database, *, gateway: Callable[[], Gateway], records: Records | None
    ) -> None:
        self._config, self._database, self._gateway, self._given = config, database, gateway, records

    @cached_property
    def records(self) -> Records | None:
        """The office's records; None without: then there is no bot, and every message waits for a person. Raises ConfigError."""
        return self._given or (load(self._config.records) if self._config.records else None)

    # --- the worker's part ---

    def answer(self, conversation_id: int) -> int:
        """Look at what this customer has written; see `answering.answer`."""
        return answering.answer(self._database.transaction, conversation_id, records=self.records, config=self._config)

    def fetch_file(self, message_id: int, place: int) -> None:
        """Fetch a file that came with a message; see `collecting.collect`."""
        collecting.collect(self._database.transaction, self._gateway(), message_id, place, config=self._config)

    def rescue(self) -> None:
        """Begin again what a lost job has left: answers, and files."""
        now = datetime.now(UTC)
        with self._database.transaction() as conn:
            for conversation_id in answering.overlooked(conn, now=now):
                queue.defer(conn, "answer", conversation_id=conversation_id)
            for message_id, place in sent_files.due(conn, now=now, limit=200):
                queue.defer(conn, "fetch_file", message_id=message_id, place=place)

    # --- looking ---

    def listed(self, *, before: Cursor | None = None, limit: int = 30) -> Listed:
        """A page of conversations. Who waits stands on the first page only."""
        now = datetime.now(UTC)
        with self._database.reading() as conn:
            waiting = [] if before else conversations.waiting(conn, limit=WAITING_SHOWN)
            found = conversations.page(conn, before=before, limit=limit + 1)
            others = found[:limit]
            shown = [*waiting, *others]
            return Listed(
                waiting=waiting,
                others=others,
                last=conversations.last_words(conn, shown) if shown else {},
                windows={one.id: gate.window_until(one.last_inbound_at, now=now) for one in shown},
                opted_out=consent_events.opted_out(conn, [one.address for one in shown]) if shown else frozenset(),
                older=Cursor(others[-1].last_inbound_at, others[-1].id) if len(found) > limit else None,
            )

    def waiting(self) -> int:
        """How many customers wait for a person, counted up to `WAITING_SHOWN`."""
        with self._database.reading() as conn:
            return conversations.count_waiting(conn, limit=WAITING_SHOWN)

    def conversation(self, conversation_id: int) -> Conversation:
        """The conversation of that id. Raises MessageNotFound."""
        with self._database.reading() as conn:
            return _found(conversations.get(conn, conversation_id))

    def ids_of(self, addresses: Sequence[str]) -> dict[str, int]:
        """The conversations with these customers: address → id."""
        with self._database.reading() as conn:
            return conversations.ids_of(conn, addresses)

    def chat(self, conversation_id: int, *, before: Cursor | None = None, limit: int = 50) -> Chat:
        """The latest messages, or those before. Raises MessageNotFound."""
        now = datetime.now(UTC)
        with self._database.reading() as conn:
            held = _found(conversations.get(conn, conversation_id))
            found = [] if held.is_erased else conversations.chat(conn, held.address, before=before, limit=limit + 1)
            shown = found[:limit][::-1]
            files: dict[int, list[SentFile]] = {}
            for file in sent_files.of_messages(conn, [one.id for one in shown if one.direction == "inbound"]):
                files.setdefault(file.message_id, []).append(file)
            last = contacts.last_inbound_at(conn, held.address, our_number=self._config.sender)
            return Chat(
                conversation=held,
                messages=shown,
                files=files,
                older=Cursor(shown[0].created_at, shown[0].id) if len(found) > limit else None,
                window_until=gate.window_until(last, now=now),
                is_with_staff=answering.is_with_staff(held, self._config, now=now),
                has_opted_out=consent_events.has_opted_out(conn, held.address),
                writing=tuple(conversations.writing(conn, conversation_id, since=now - _WRITES_FOR)),
            )

    def file(self, message_id: int, place: int) -> MediaFile:
        """A file that a customer has sent. Raises MessageNotFound."""
        with self._database.reading() as conn:
            kept = sent_files.get(conn, message_id, place)
            content = media.get(conn, kept.media_id) if kept and kept.media_id else None
            return _found(content, "This file is not in the log.")

    # --- staff ---

    def reply(self, conversation_id: int, draft: Draft, *, seen: int | None = None) -> gate.Verdict | Message:
        """Send a member of staff's answer, who has the conversation from then on; the gate's verdict where it refuses, and no row.

        Asked twice with one request_key, the first one's message. `seen` is the last message that they have read: raises
        AlreadyAnswered when a colleague has answered since, and the customer has written nothing more. Raises MessageNotFound.
        """
        now = datetime.now(UTC)
        with self._database.transaction() as conn:
            held = _found(conversations.hold(conn, conversation_id))
            if held.is_erased:
                raise MessageNotFound("This conversation was erased.")
            draft = replace(draft, to=held.address, path=Path.REPLY, client_id=draft.client_id or held.client_id)
            known = messages.by_request_key(conn, draft.request_key) if draft.request_key else None
            if known is not None:
                return known
            if seen is not None:
                _check_unanswered(conn, held, draft, seen=seen, now=now)
            (verdict,) = gate.examine(conn, [draft], config=self._config, now=now)
            if verdict.refusal is not None:
                return verdict
            message = send.queue_message(conn, draft, config=self._config, now=now)
            if message.status is not Status.FAILED:
                person = draft.created_by or "staff"
                conversations.take(conn, conversation_id, person=person, now=now, is_answered=True)
                conversations.stop_writing(conn, conversation_id, person=person)
            return message

    def write_on(self, conversation_id: int, *, person: str) -> None:
        """This person is writing an answer: their colleagues see it. Raises MessageNotFound."""
        with self._database.transaction() as conn:
            _found(conversations.get(conn, conversation_id))
            conversations.write_on(conn, conversation_id, person=person, now=datetime.now(UTC))

    def take(self, conversation_id: int, *, person: str) -> None:
        """This member of staff answers from now on; the bot is silent."""
        with self._database.transaction() as conn:
            _found(conversations.hold(conn, conversation_id))
            conversations.take(conn, conversation_id, person=person, now=datetime.now(UTC), is_answered=False)

    def give_back(self, conversation_id: int) -> None:
        """The bot answers from the next message on; nobody waits any more. Who was locked stays locked."""
        with self._database.transaction() as conn:
            held = _found(conversations.hold(conn, conversation_id))
            kept = Memory.from_json(held.bot)
            fresh = Memory(failures=kept.failures, locked_until=kept.locked_until)
            conversations.give_back(conn, conversation_id, fresh.as_json())

    def fetch_again(self, message_id: int, place: int) -> None:
        """Try once more to get a file. Raises InvalidInput where there is nothing to get."""
        with self._database.transaction() as conn:
            if not collecting.ask_again(conn, message_id, place):
                raise InvalidInput("file", "This file is here already, or was never sent.")


def _check_unanswered(conn: Connection[Any], held: Conversation, draft: Draft, *, seen: int, now: datetime) -> None:
    theirs = conversations.last_answer(conn, held.address)
    if theirs is None or theirs.id <= seen or theirs.created_by == draft.created_by:
        return
    ago = max(1, int((now - theirs.created_at).total_seconds()))
    when = f"{ago} s" if ago < 60 else f"{ago // 60} min" if ago < 3600 else f"{ago // 3600} h"
    text = f"{theirs.created_by or 'A colleague'} answered {when} ago, and the customer has not written since. Read it: it stands"
    raise AlreadyAnswered(f"{text} above. What you wrote is still here; send it if it is needed all the same.")


def _found(value: T | None, text: str = "There is no such conversation.") -> T:
    if value is None:
        raise MessageNotFound(text)
    return value
