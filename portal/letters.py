"""What a rule sends: an approved template, and which facts of the policy fill in its fields. No page; rules and worker use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from portal import sending
from portal.config import OFFICE
from portal.format import long_date, money
from portal.policy import Policy
from whatsapp_logs import Template, WhatsAppService
from whatsapp_logs.catalogue import UNCLEAN, Version
from whatsapp_logs.gate import not_approved

MAX_WORDS = 200  # of a field that is the same for all
DOCUMENTS = {
    "papers": "The renewal papers: the latest uploaded since cover began, else the policy’s schedule",
    "schedule": "The policy’s schedule, always",
}
# What a field may be filled with: how the form calls it, and its text for a policy.
FACTS: Mapping[str, tuple[str, Callable[[Policy, date], str]]] = {
    "client_name": ("Client’s name", lambda policy, _: policy.client_name),
    "first_name": ("Client’s first name", lambda policy, _: policy.client_name.split(" ")[0]),
    "policy_number": ("Policy number", lambda policy, _: policy.policy_number),
    "product": ("Product, like “home insurance”", lambda policy, _: f"{policy.product} insurance"),
    "insurer": ("Insurer", lambda policy, _: policy.insurer),
    "insured": ("What is insured", lambda policy, _: policy.insured),
    "due_date": ("Due date, last day of cover", lambda policy, _: long_date(policy.ends_on)),
    "days_left": ("Days until the due date", lambda policy, today: str(max(0, (policy.ends_on - today).days))),
    "premium": ("Premium", lambda policy, _: money(policy.premium, policy.currency)),
    "sum_insured": ("Sum insured", lambda policy, _: money(policy.sum_insured, policy.currency, cents=False)),
    "office": ("Name of the office", lambda _policy, _today: OFFICE),
}
# Words in a field's name that tell what it holds, the more telling ones first.
_SOUNDS_LIKE = (
    ("first_name", r"first.?name|given.?name"),
    ("days_left", r"days"),
    ("policy_number", r"policy|number|reference"),
    ("due_date", r"date|due|expir|renewal|until"),
    ("premium", r"premium|price|amount|cost"),
    ("sum_insured", r"sum"),
    ("insurer", r"insurer|company"),
    ("product", r"product|cover|kind|type"),
    ("insured", r"insured|car|house|object"),
    ("office", r"office|broker|us$|sender"),
    ("client_name", r"name|client|customer|holder"),
)
_BUILT_IN = {"1": "client name", "2": "policy number", "3": "renewal date"}
# The templates that the portal has always known, and which field takes their document.
_KNOWN = {"renewal_reminder": None, "renewal_reminder_document": "4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A template that may be sent with now. `name` and `language` are how a rule names it.

    `version` is the catalogue's; none where the catalogue does not know it yet: then the portal's own words are the template's.
    """

    name: str
    language: str | None
    sid: str
    version: Version | None

    @property
    def key(self) -> str:
        """The letter as one word of a form."""
        return f"{self.name}/{self.language or ''}"

    @property
    def label(self) -> str:
        """How the office calls it."""
        return f"{self.version.name} ({self.version.language})" if self.version else self.name

    @property
    def fields(self) -> Mapping[str, str]:
        """What has to be filled in: key → the field's name."""
        return _BUILT_IN if self.version is None else {one.key: one.name for one in self.version.to_fill_in}

    @property
    def media_variable(self) -> str | None:
        """The placeholder that takes the document's link, where a document goes with it."""
        return _KNOWN[self.name] if self.version is None else self.version.media_variable

    @property
    def is_advertising(self) -> bool:
        """Whether only those get it who agreed to advertising."""
        return self.version is not None and self.version.category == "MARKETING"

    def text(self, values: Mapping[str, str], policy: Policy) -> str:
        """The words as the client reads them."""
        if self.version is None:
            return sending.reminder_text(policy, with_document=self.media_variable is not None)
        return self.version.text(values)

    def template(self, values: Mapping[str, str]) -> Template:
        """The template as a message carries it."""
        return Template(sid=self.sid, name=self.name, variables=values, media_variable=self.media_variable)


def every(service: WhatsAppService) -> list[Letter]:
    """Every template that a rule may send now: those that the settings name, and the catalogue's, by name."""
    named = service.templates_named()
    found = [
        Letter(name=name, language=None, sid=service.config.templates[name], version=version)
        for name, version in named.items()
        if (name in _KNOWN if version is None else version.approval == "approved" and version.is_filled_in)
    ]
    taken = {letter.sid for letter in found}
    found += [
        Letter(name=version.name, language=version.language, sid=version.content_sid, version=version)
        for version in service.templates_of_policies()
        if version.content_sid and version.content_sid not in taken and version.name not in named
    ]
    return sorted(found, key=lambda letter: (letter.label, letter.key))


def of_rule(letters: Sequence[Letter], template: str, language: str | None) -> Letter | None:
    """The letter that a rule names; without a language the first of that name."""
    return next(
        (one for one in letters if one.name == template and language in (None, one.language)),
        None,
    )


def problem(
    service: WhatsAppService, letter: Letter | None, *, template: str, language: str | None, fields: Mapping[str, Any]
) -> str | None:
    """Why a rule cannot send, in words for the office; None where it can."""
    if letter is None:
        version = service.templates_named().get(template) or service.latest_template(template, language=language)
        if version is None:
            return f"There is no template {template} any more."
        if version.approval == "approved":
            return f"The template {version.name} was archived, or cannot be filled in from a policy."
        reason = f" Its reason: {version.rejection_reason}." if version.rejection_reason else ""
        return f"{not_approved(version.name, version.approval)}{reason}"
    missing = [name for key, name in letter.fields.items() if key not in fields]
    if missing:
        which = ", ".join(f"“{name}”" for name in missing)
        return f"The template’s newest version has a field that this rule does not fill in: {which}."
    return None


def values(letter: Letter, fields: Mapping[str, Any], policy: Policy, today: date) -> dict[str, str]:
    """What the template's fields hold for this policy, on one line each as WhatsApp wants it."""
    return {key: sending.one_line(_value(fields.get(key, {}), policy, today)) for key in letter.fields}


def guess(letter: Letter) -> dict[str, dict[str, str]]:
    """What fields are filled with, as far as their names tell."""
    found: dict[str, dict[str, str]] = {}
    for key, name in letter.fields.items():
        fact = next((fact for fact, sound in _SOUNDS_LIKE if re.search(sound, name.lower())), None)
        if fact is not None:
            found[key] = {"from": fact}
    return found


def typed(letter: Letter, form: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The form's meaning of each field, as far as it has one, and what is wrong, by the form's field."""
    fields: dict[str, dict[str, str]] = {}
    problems: dict[str, str] = {}
    for key, name in letter.fields.items():
        fact, words = form.get(f"from-{key}", ""), form.get(f"text-{key}", "").replace("\0", "").strip()
        if fact in FACTS:
            fields[key] = {"from": fact}
        elif fact:
            problems[f"from-{key}"] = f"Choose what “{name}” is filled with."
        elif not words:
            problems[f"from-{key}"] = f"Choose what “{name}” is filled with, or write the same words for all."
        elif len(words) > MAX_WORDS:
            problems[f"text-{key}"] = f"“{name}” has {len(words)} characters; write up to {MAX_WORDS}."
        elif UNCLEAN.search(words):
            problems[f"text-{key}"] = (
                f"“{name}” has a line break, a tab or more than four blanks: WhatsApp refuses those."
            )
        else:
            fields[key] = {"text": words}
    return fields, problems


def in_words(letter: Letter | None, template: str, fields: Mapping[str, Any], document: str | None) -> tuple[str, str]:
    """What a rule sends, and what fills it in, for its card and its history."""
    names = letter.fields if letter else {}
    paper = {"papers": ", with the renewal papers", "schedule": ", with the policy’s schedule"}.get(document or "", "")
    in_order = sorted(fields.items(), key=lambda item: (len(item[0]), item[0]))
    filled = [f"{names.get(key, f'field {key}').capitalize()}: {_source(given)}" for key, given in in_order]
    return f"{letter.label if letter else template}{paper}", ", ".join(filled)


def _source(given: Mapping[str, str]) -> str:
    return (
        FACTS[given["from"]][0].lower().partition(",")[0]
        if given.get("from") in FACTS
        else f"“{given.get('text', '')}”"
    )


def _value(given: Mapping[str, str], policy: Policy, today: date) -> str:
    fact = FACTS.get(given.get("from", ""))
    return fact[1](policy, today) if fact else given.get("text", "")
