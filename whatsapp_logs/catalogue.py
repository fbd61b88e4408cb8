"""What a template is: what it says, its fields, its versions. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from whatsapp_logs.message import Template

TEXT, MEDIA, QUICK_REPLY, LIST = "twilio/text", "twilio/media", "twilio/quick-reply", "twilio/list-picker"
UNCLEAN = re.compile(
    r"[\n\r\t]| {5,}"
)  # what no field may hold (63013): line breaks, tabs, more than four blanks in a row
DOCUMENT = "document"  # what the field is called that takes a document's link

WAITING = frozenset({"received", "pending"})  # for WhatsApp's verdict
OPEN = frozenset({"draft", "unsubmitted"})  # may still be submitted
STOPPED = frozenset({"rejected", "paused", "disabled", "deleted"})  # messages with it are refused
# Twilio's codes of messages that failed because of their template: its approval has changed, and the catalogue is behind.
TEMPLATE_CODES = frozenset({"63027", "63040", "63041", "63042"})

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,16})\s*\}\}")
# What the fields of the office's usual templates hold; Twilio knows numbers only.
_USUAL_FIELDS: Mapping[str, Mapping[str, str]] = {
    "renewal_reminder_document": {"1": "client name", "2": "policy number", "3": "renewal date", "4": DOCUMENT},
    "renewal_reminder": {"1": "client name", "2": "policy number", "3": "renewal date"},
    "policy_document": {"1": "client name", "2": "policy number", "3": DOCUMENT},
    "general_notice": {"1": "client name", "2": "notice"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A placeholder: its key ("1"), what it holds in the office's words, and a sample that WhatsApp's reviewers see."""

    key: str
    name: str
    sample: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a template says. `actions` are buttons and lines to choose: kind, title and target, as dicts of texts."""

    content_type: str
    body: str
    media_url: str | None = None
    media_variable: str | None = None
    actions: tuple[Mapping[str, str], ...] = ()
    fields: tuple[Field, ...] = ()
    button: str = ""  # what opens a list

    @property
    def samples(self) -> dict[str, str]:
        """Key → sample."""
        return {one.key: one.sample for one in self.fields}

    def types(self) -> dict[str, dict[str, Any]]:
        """The same in the shape of Twilio's Content API; of what this program writes itself, so no links or calls."""
        shape: dict[str, Any] = {"body": self.body}
        if self.media_url:
            shape["media"] = [self.media_url]
        if self.content_type == LIST:
            lines = [{"item": a["title"], "id": a["target"], "description": a["description"]} for a in self.actions]
            shape |= {"button": self.button, "items": lines}
        elif self.actions:
            shape["actions"] = [{"type": "QUICK_REPLY", "title": a["title"], "id": a["target"]} for a in self.actions]
        return {self.content_type: shape}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTemplate:
    """A template as the provider lists it; `approval` and `category` are its own words, lower and upper case."""

    sid: str
    name: str
    language: str
    content: Content
    approval: str
    category: str
    rejection_reason: str | None
    created_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a template. Once it was submitted, only what Twilio thinks of it changes, and what we call its fields."""

    id: int
    template_id: int
    name: str
    language: str
    version: int
    content_sid: str | None
    content_type: str
    body: str
    media_url: str | None
    media_variable: str | None
    actions: list[dict[str, str]]
    variables: list[dict[str, str]]
    category: str
    approval: str
    rejection_reason: str | None
    created_by: str
    created_at: datetime
    submitted_by: str | None
    submitted_at: datetime | None
    decided_at: datetime | None
    checked_at: datetime | None
    archived_at: datetime | None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The placeholders in their order."""
        return tuple(
            Field(key=v["key"], name=v.get("name") or v["key"], sample=v.get("sample") or "") for v in self.variables
        )

    @property
    def content(self) -> Content:
        """What it says."""
        return Content(
            content_type=self.content_type,
            body=self.body,
            media_url=self.media_url,
            media_variable=self.media_variable,
            actions=tuple(self.actions),
            fields=self.fields,
        )

    @property
    def to_fill_in(self) -> tuple[Field, ...]:
        """The placeholders that a sender fills in: not the document's link, which the log fills in itself."""
        return tuple(one for one in self.fields if one.key != self.media_variable)

    @property
    def fingerprint(self) -> str:
        """Changes with what it says; tells whether somebody else has changed a draft meanwhile."""
        said = (self.id, self.body, self.media_url, self.actions, self.variables, self.category)
        return hashlib.blake2b(json.dumps(said, sort_keys=True).encode(), digest_size=8).hexdigest()

    @property
    def is_filled_in(self) -> bool:
        """Whether an office has anything to say with it: it is no one-time password, and its document, if any, can be ours."""
        is_foreign = self.media_variable is not None and (self.media_url or "").startswith(
            "{{"
        )  # the host is a field too
        return self.category != "AUTHENTICATION" and not is_foreign

    @property
    def is_of_words_alone(self) -> bool:
        """Whether a person or a campaign may send it with nothing but its fields: no document, no one-time password."""
        return self.media_variable is None and self.is_filled_in

    def with_values(self, values: Mapping[str, str]) -> Template:
        """The template as a message carries it."""
        assert self.content_sid is not None, "only what Twilio has is sent"
        return Template(sid=self.content_sid, name=self.name, variables=values, media_variable=self.media_variable)

    def text(self, values: Mapping[str, str] | None = None) -> str:
        """The words as the recipient reads them; without values, with the samples."""
        return filled(self.body, self.content.samples if values is None else values)

    @property
    def submitted_name(self) -> str:
        """The name under which WhatsApp gets it. Each version has its own: a rejected name is blocked for 30 days."""
        name = re.sub(r"[^a-z0-9_]+", "_", self.name.lower())
        return name if self.version == 1 else f"{name}_v{self.version}"


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with each placeholder's value in its place; one without a value stays as it is written."""
    return PLACEHOLDER.sub(lambda match: values.get(match[1]) or match[0], text)


def content_of(types: Mapping[str, Any], samples: Mapping[str, Any], *, names: Mapping[str, str]) -> Content:
    """A template in Twilio's shape as ours; `names` are the names of its fields as far as they are known."""
    kind = next((kind for kind in types if kind != TEXT), next(iter(types), TEXT))  # WhatsApp shows the richest
    told = types.get(kind)
    shape: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    media = shape.get("media")
    media_url = str(media[0] if isinstance(media, list) else media) if media else None
    in_media = PLACEHOLDER.findall(media_url or "")
    used = in_order(PLACEHOLDER.findall(json.dumps(shape, ensure_ascii=False)))
    return Content(
        content_type=kind,
        body=str(shape.get("body") or shape.get("title") or ""),
        media_url=media_url,
        media_variable=in_media[0] if in_media else None,
        actions=tuple(_actions(shape)),
        fields=tuple(
            Field(
                key=key,
                name=names.get(key) or (DOCUMENT if key in in_media else key),
                sample=str(samples.get(key) or ""),
            )
            for key in used
        ),
    )


def usual_names(template: str) -> Mapping[str, str]:
    """Names for the fields of a template that an office usually has; of any other, none."""
    return next((names for begin, names in _USUAL_FIELDS.items() if template.startswith(begin)), {})


def in_order(keys: Sequence[str]) -> tuple[str, ...]:
    """Keys once each, numbers first and by their size."""
    return tuple(sorted(set(keys), key=lambda key: (not is_number(key), int(key) if is_number(key) else 0, key)))


def _actions(shape: Mapping[str, Any]) -> list[dict[str, str]]:
    kinds = {"QUICK_REPLY": "reply", "URL": "link", "PHONE_NUMBER": "call"}
    listed = [each for key in ("actions", "items") for each in (shape[key] if isinstance(shape.get(key), list) else ())]
    found = []
    for one in listed:
        if not isinstance(one, Mapping):
            continue
        is_line = "item" in one
        target = one.get("id") or one.get("url") or one.get("phone") or one.get("code") or ""
        kind = "line" if is_line else kinds.get(str(one.get("type") or "QUICK_REPLY"), "other")
        found.append({"kind": kind, "title": str(one.get("item") or one.get("title") or ""), "target": str(target)})
    return found


def is_number(key: str) -> bool:
    """Whether the key is a number, as WhatsApp wants it."""
    return key.isascii() and key.isdecimal()
