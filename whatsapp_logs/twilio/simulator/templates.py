"""The templates that the simulated account has from the start, approved, and how Twilio fills any template in.

Twilio wants a variable in a media URL to follow a fixed host and a slash. The simulator also knows templates whose
whole media URL is the variable `{{3}}`, so that a first run needs no public host:

- POLICY_DOCUMENT            1 = customer's name, 2 = policy number, 3 = full URL of the document
- POLICY_DOCUMENT_BY_PATH    1 and 2 as above, 3 = path of the document under `Settings.media_base_url`
- RENEWAL_REMINDER           1 = customer's name, 2 = policy number, 3 = renewal date
- RENEWAL_REMINDER_DOCUMENT  1, 2, 3 as above, 4 = full URL of the document
- RENEWAL_REMINDER_DOCUMENT_BY_PATH  1, 2, 3 as above, 4 = path of the document under `Settings.media_base_url`
- GENERAL_NOTICE             1 = customer's name, 2 = the notice
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from whatsapp_logs.twilio.simulator import rules

POLICY_DOCUMENT = "HX00000000000000000000000000000001"
RENEWAL_REMINDER = "HX00000000000000000000000000000002"
RENEWAL_REMINDER_DOCUMENT = "HX00000000000000000000000000000003"
GENERAL_NOTICE = "HX00000000000000000000000000000004"
POLICY_DOCUMENT_BY_PATH = "HX00000000000000000000000000000005"
RENEWAL_REMINDER_DOCUMENT_BY_PATH = "HX00000000000000000000000000000006"

_MEDIA_BASE = "{media_base_url}"
VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,16})\s*\}\}")
# WhatsApp refuses newlines, tabs and more than four blanks in a row inside a variable (63013).
_FORBIDDEN_IN_VARIABLE = re.compile(r"[\n\r\t]| {5,}")


Kind = Literal["reply", "list", "link", "call", "other"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to press on the phone. `id` is what the office is told of a reply, or the address a link opens."""

    kind: Kind
    title: str
    id: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A template: its words, its samples, the media URL when it carries a document, and what can be pressed."""

    sid: str
    name: str
    body: str
    samples: Mapping[str, str]
    media: str | None = None
    language: str = "en_GB"
    category: str = "UTILITY"
    choices: tuple[Choice, ...] = ()
    menu: str = ""  # the words on the button that opens a list


@dataclass(frozen=True, slots=True)
class Rendered:
    """A filled-in template: the text and file the customer gets, or the code WhatsApp refuses it with."""

    text: str
    media_url: str | None
    error_code: int | None
    choices: tuple[Choice, ...] = ()


_SAMPLE_URL = "https://media.example.test/sample.pdf"
TEMPLATES: Mapping[str, Template] = {
    template.sid: template
    for template in (
        Template(
            POLICY_DOCUMENT,
            "policy_document",
            "Hello {{1}}, here is your policy document {{2}}. Please keep it in a safe place.",
            {"1": "Asha Example", "2": "POL-0001", "3": _SAMPLE_URL},
            media="{{3}}",
        ),
        Template(
            POLICY_DOCUMENT_BY_PATH,
            "policy_document_by_path",
            "Hello {{1}}, here is your policy document {{2}}. Please keep it in a safe place.",
            {"1": "Asha Example", "2": "POL-0001", "3": "sample.pdf"},
            media=_MEDIA_BASE + "/{{3}}",
        ),
        Template(
            RENEWAL_REMINDER,
            "renewal_reminder",
            "Hello {{1}}, your policy {{2}} is due for renewal on {{3}}. Please contact us to renew it in time.",
            {"1": "Asha Example", "2": "POL-0001", "3": "12 May 2026"},
        ),
        Template(
            RENEWAL_REMINDER_DOCUMENT,
            "renewal_reminder_document",
            "Hello {{1}}, your policy {{2}} is due for renewal on {{3}}. The renewal papers are attached.",
            {"1": "Asha Example", "2": "POL-0001", "3": "12 May 2026", "4": _SAMPLE_URL},
            media="{{4}}",
        ),
        Template(
            RENEWAL_REMINDER_DOCUMENT_BY_PATH,
            "renewal_reminder_document_by_path",
            "Hello {{1}}, your policy {{2}} is due for renewal on {{3}}. The renewal papers are attached.",
            {"1": "Asha Example", "2": "POL-0001", "3": "12 May 2026", "4": "sample.pdf"},
            media=_MEDIA_BASE + "/{{4}}",
        ),
        Template(
            GENERAL_NOTICE,
            "general_notice",
            "Hello {{1}}, a notice from your insurance office: {{2}} Please reply if you have a question.",
            {"1": "Asha Example", "2": "our office is closed on Monday."},
        ),
    )
}


def read_variables(text: str | None) -> dict[str, str]:
    """The ContentVariables of a create call; ValueError unless it is a JSON object of scalar values (21656)."""
    if not text:
        return {}
    values = json.loads(text)
    if not isinstance(values, dict) or any(isinstance(value, dict | list) for value in values.values()):
        raise ValueError("ContentVariables is not a JSON object of strings")
    return {str(key): "" if value is None else str(value) for key, value in values.items()}


def render(template: Template, variables: Mapping[str, str], *, media_base_url: str) -> Rendered:
    """Fill the template in; a variable that is missing shows its sample, exactly as at Twilio."""
    values = {**template.samples, **variables}
    text = _fill(template.body, values)
    media_url = None
    if template.media:
        media_url = _fill(template.media.replace(_MEDIA_BASE, media_base_url.rstrip("/")), values)
    error_code = None
    if any(_FORBIDDEN_IN_VARIABLE.search(value) for value in values.values()):
        error_code = 63013
    elif len(text) > rules.MAX_TEMPLATE_CHARACTERS:
        error_code = 63021
    choices = tuple(
        replace(
            choice,
            title=_fill(choice.title, values),
            id=_fill(choice.id, values),
            description=_fill(choice.description, values),
        )
        for choice in template.choices
    )
    return Rendered(text, media_url, error_code, choices)


def _fill(pattern: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda match: values.get(match[1], match[0]), pattern)
