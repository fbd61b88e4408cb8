"""The ledger: every message and file the simulated Twilio knows, which tests compare our log with."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from whatsapp_logs.twilio.simulator.database import Database
from whatsapp_logs.twilio.simulator.rules import Step
from whatsapp_logs.twilio.simulator.templates import Choice


@dataclass(frozen=True, slots=True)
class Message:
    """A message as Twilio keeps it. Times are seconds since the epoch."""

    sid: str
    direction: str  # inbound, outbound-api or outbound-reply
    to: str
    from_: str | None  # None until a Messaging Service has picked the sender
    customer: str  # the other party: `to` of outbound messages, `from_` of inbound ones
    body: str
    phone_text: str  # what the customer's phone shows: without the body WhatsApp drops beside a document
    status: str
    created_at: float
    updated_at: float
    service_sid: str | None = None
    content_sid: str | None = None
    content_variables: str | None = None
    media_urls: tuple[str, ...] = ()
    num_segments: int = 1
    error_code: int | None = None
    refused_with: int | None = None  # found wrong on acceptance, reported only when the message is sent
    price: str | None = None
    status_callback: str | None = None
    steps: tuple[Step, ...] = ()
    sent_at: float | None = None
    send_at: float | None = None
    choices: tuple[Choice, ...] = ()  # what the customer can press
    menu: str = ""  # the words on the button that opens the list of choices
    n: int | None = None  # order of creation, from 1; lists and page tokens go by it


@dataclass(frozen=True, slots=True)
class Media:
    """A file that was fetched for a message; `content` is empty when only its description was asked for."""

    sid: str
    message_sid: str
    url: str
    content_type: str
    created_at: float
    content: bytes = b""


_COLUMNS = tuple(item.name for item in fields(Message))
_SELECT = "SELECT " + ", ".join(f'"{name}"' for name in _COLUMNS) + " FROM messages"  # noqa: S608 - words of ours; values are parameters
_INSERT = (
    "INSERT INTO messages (" + ", ".join(f'"{name}"' for name in _COLUMNS) + ") VALUES ("  # noqa: S608 - words of ours; values are parameters
    + ", ".join(f":{name}" for name in _COLUMNS) + ")"
)  # fmt: skip


def new_sid(prefix: str) -> str:
    return prefix + secrets.token_hex(16)


class Ledger:
    """Messages and media, newest first wherever there is an order."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, message: Message) -> None:
        self._database.run(_INSERT, _packed(asdict(message)))

    def find(self, sid: str) -> Message | None:
        row = self._database.row(f"{_SELECT} WHERE sid = ?", (sid,))
        return _message(row) if row else None

    def change(self, sid: str, **values: object) -> None:
        """Set columns of one message."""
        assignments = ", ".join(f'"{name}" = :{name}' for name in values)
        self._database.run(f"UPDATE messages SET {assignments} WHERE sid = :_sid", {**_packed(values), "_sid": sid})  # noqa: S608 - words of ours; values are parameters

    def delete(self, sid: str) -> None:
        with self._database.transaction():
            self._database.run("DELETE FROM media WHERE message_sid = ?", (sid,))
            self._database.run("DELETE FROM messages WHERE sid = ?", (sid,))

    def page(self, conditions: Sequence[str], values: dict[str, object], *, limit: int) -> list[Message]:
        """The newest messages that meet all conditions (SQL over the columns of `messages`)."""
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"{_SELECT}{where} ORDER BY n DESC LIMIT :_limit"
        return [_message(row) for row in self._database.rows(sql, {**values, "_limit": limit})]

    def all(self) -> list[Message]:
        """Every message, oldest first."""
        return [_message(row) for row in self._database.rows(f"{_SELECT} ORDER BY n")]

    def conversations(self, *, limit: int) -> list[Message]:
        """The newest message of each customer, the customer heard of last first."""
        newest = "n IN (SELECT max(n) FROM messages GROUP BY customer ORDER BY max(n) DESC LIMIT :_limit)"
        return self.page([newest], {}, limit=limit)

    def add_media(self, media: Media) -> None:
        self._database.run(
            "INSERT INTO media (sid, message_sid, url, content_type, content, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (media.sid, media.message_sid, media.url, media.content_type, media.content, media.created_at),
        )

    def media_of(self, message_sid: str) -> list[Media]:
        """The files of a message, without their bytes."""
        rows = self._database.rows(
            "SELECT sid, message_sid, url, content_type, created_at FROM media WHERE message_sid = ? ORDER BY rowid",
            (message_sid,),
        )
        return [Media(*row) for row in rows]  # type: ignore[arg-type]

    def delete_media(self, sid: str) -> None:
        self._database.run("DELETE FROM media WHERE sid = ?", (sid,))

    def find_media(self, sid: str) -> Media | None:
        row = self._database.row(
            "SELECT sid, message_sid, url, content_type, created_at, content FROM media WHERE sid = ?", (sid,)
        )
        return Media(*row) if row else None  # type: ignore[arg-type]


def _packed(values: dict[str, Any]) -> dict[str, object]:
    """Column values as SQLite takes them: lists become JSON."""
    packed = dict(values)
    if "media_urls" in packed:
        packed["media_urls"] = json.dumps(packed["media_urls"])
    if "choices" in packed:
        packed["choices"] = json.dumps(
            [choice if isinstance(choice, dict) else asdict(choice) for choice in packed["choices"]]
        )
    if "steps" in packed:
        steps = [step if isinstance(step, dict) else asdict(step) for step in packed["steps"]]
        packed["steps"] = json.dumps([[step["status"], step["after_s"], step["error_code"]] for step in steps])
    return packed


def _message(row: Sequence[Any]) -> Message:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["media_urls"] = tuple(json.loads(values["media_urls"]))
    values["choices"] = tuple(Choice(**choice) for choice in json.loads(values["choices"]))
    values["steps"] = tuple(Step(*step) for step in json.loads(values["steps"]))
    return Message(**values)
