"""The account's content templates as Twilio's Content API keeps them, each with what WhatsApp says to it.

The templates of `templates.TEMPLATES` are there from the start, approved; what has been decided about them since
(paused, disabled …) is kept, their words are put back at every start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whatsapp_logs.twilio.simulator import templates
from whatsapp_logs.twilio.simulator.database import Database
from whatsapp_logs.twilio.simulator.templates import Choice, Kind, Template

PREDEFINED_AT = 1_767_603_600.0  # 2026-01-05 09:00 UTC
NAME_BLOCKED_S = 30 * 24 * 3600.0

_BUTTONS: Mapping[str, Kind] = {"QUICK_REPLY": "reply", "URL": "link", "PHONE_NUMBER": "call"}
_COLUMNS = (
    "sid", "friendly_name", "language", "variables", "types", "created_at", "updated_at", "name", "category", "status",
    "rejection_reason", "allow_category_change", "n",
)  # fmt: skip
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM contents"  # noqa: S608 - words of ours; values are parameters


@dataclass(frozen=True, slots=True)
class Content:
    """One content template: its words in `types` (Twilio's own JSON) and its approval; times in seconds since the epoch."""

    sid: str
    friendly_name: str
    language: str
    variables: Mapping[str, str]
    types: Mapping[str, Mapping[str, Any]]
    created_at: float
    updated_at: float
    name: str = ""  # the name it was submitted under; blank until then, as are the two below
    category: str = ""
    status: str = "unsubmitted"
    rejection_reason: str = ""
    allow_category_change: bool = True
    n: int | None = None  # order of creation; lists and page tokens go by it

    @property
    def content_type(self) -> str:
        """The type that WhatsApp shows: the richest one; plain text is there for channels that know nothing better."""
        return next((kind for kind in self.types if kind != "twilio/text"), next(iter(self.types)))

    def as_template(self) -> Template:
        """The words, samples, file and buttons that go to a WhatsApp phone."""
        shape = self.types[self.content_type]
        media = shape.get("media")
        return Template(
            self.sid, self.friendly_name, str(shape.get("body") or shape.get("title") or ""), self.variables,
            media=str(media[0] if isinstance(media, list) else media) if media else None,
            language=self.language, category=self.category, choices=_choices(shape), menu=str(shape.get("button", "")),
        )  # fmt: skip


class Contents:
    """Content templates in the database, newest first wherever there is an order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction():
            for template in templates.TEMPLATES.values():
                self._put_back(template)

    def add(self, content: Content) -> None:
        self._database.run(
            "INSERT INTO contents (sid, friendly_name, language, variables, types, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (content.sid, content.friendly_name, content.language, json.dumps(dict(content.variables)),
             json.dumps(content.types), content.created_at, content.updated_at),
        )  # fmt: skip

    def find(self, sid: str) -> Content | None:
        row = self._database.row(f"{_SELECT} WHERE sid = ?", (sid,))
        return _content(row) if row else None

    def page(self, *, before: int | None, limit: int) -> list[Content]:
        rows = self._database.rows(
            f"{_SELECT} WHERE n < ? ORDER BY n DESC LIMIT ?", (before if before is not None else 1 << 62, limit)
        )
        return [_content(row) for row in rows]

    def change(self, sid: str, **values: object) -> None:
        """Set columns of one template; `types` and `variables` are JSON."""
        assignments = ", ".join(f"{name} = :{name}" for name in values)
        self._database.run(f"UPDATE contents SET {assignments} WHERE sid = :_sid", {**values, "_sid": sid})  # noqa: S608 - words of ours; values are parameters

    def delete(self, sid: str) -> None:
        self._database.run("DELETE FROM contents WHERE sid = ?", (sid,))

    def block_name(self, name: str, *, until: float) -> None:
        """WhatsApp takes no template of this name until then: one was rejected."""
        self._database.run("INSERT OR REPLACE INTO blocked_names (name, until) VALUES (?, ?)", (name, until))

    def is_blocked(self, name: str, now: float) -> bool:
        row = self._database.row("SELECT 1 FROM blocked_names WHERE name = ? AND until > ?", (name, now))
        return row is not None

    def _put_back(self, template: Template) -> None:
        shape: dict[str, object] = {"body": template.body}
        if template.media:
            shape["media"] = [template.media]
        types = {"twilio/media" if template.media else "twilio/text": shape}
        self._database.run(
            "INSERT INTO contents (sid, friendly_name, language, variables, types, created_at, updated_at, name,"
            " category, status, allow_category_change)"
            " VALUES (:sid, :name, :language, :variables, :types, :at, :at, :name, :category, 'approved', 0)"
            " ON CONFLICT (sid) DO UPDATE SET types = :types, variables = :variables, language = :language",
            {"sid": template.sid, "name": template.name, "language": template.language, "at": PREDEFINED_AT,
             "variables": json.dumps(dict(template.samples)), "types": json.dumps(types),
             "category": template.category},
        )  # fmt: skip


def _content(row: Sequence[Any]) -> Content:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["variables"], values["types"] = json.loads(values["variables"]), json.loads(values["types"])
    values["allow_category_change"] = bool(values["allow_category_change"])
    return Content(**values)


def _choices(shape: Mapping[str, Any]) -> tuple[Choice, ...]:
    """What the customer can press: the actions of buttons and cards, the items of a list."""
    listed = [
        Choice("list", str(item.get("item", "")), str(item.get("id", "")), str(item.get("description") or ""))
        for item in shape.get("items") or ()
        if isinstance(item, dict)
    ]
    pressed = [
        Choice(_BUTTONS.get(str(action.get("type", "QUICK_REPLY")), "other"), str(action.get("title", "")),
               str(action.get("id") or action.get("url") or action.get("phone") or ""))
        for action in shape.get("actions") or ()
        if isinstance(action, dict)
    ]  # fmt: skip
    return (*listed, *pressed)
