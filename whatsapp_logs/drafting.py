"""What somebody wants a template to say, and what WhatsApp would object to, before it is asked. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from whatsapp_logs.catalogue import (
    DOCUMENT,
    MEDIA,
    PLACEHOLDER,
    QUICK_REPLY,
    TEXT,
    UNCLEAN,
    Content,
    Field,
    Version,
    in_order,
    is_number,
)

CATEGORIES = ("UTILITY", "MARKETING")  # AUTHENTICATION is for sign-in codes, with a form of its own
LANGUAGES = (
    "en_GB", "en_US", "en", "ar", "bn", "cs", "da", "de", "el", "es", "fi", "fr", "gu", "hi", "it", "ja", "ml", "mr",
    "nl", "pa", "pl", "pt_PT", "pt_BR", "ro", "ru", "sv", "ta", "te", "tr", "uk", "ur", "zh_CN",
)  # fmt: skip
MAX_NAME, MAX_BODY, MAX_FIELD_NAME, MAX_SAMPLE, MAX_FIELDS = 100, 1024, 40, 250, 100
MAX_BUTTONS, MAX_BUTTON = 3, 20
SAMPLE_DOCUMENT = "whatsapp_logs/static/sample.pdf"  # below the public address: WhatsApp's reviewers open it

_NAME = re.compile(r"[a-z0-9_]+")
_WORD = re.compile(r"\w[\w'’-]*")
_ADJACENT = re.compile(r"\}\}\s*\{\{")
_FIRST = re.compile(r"\s*\{\{")
_LAST = re.compile(r"\}\}\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody wants a template to say, as they filled in the form. `names` and `samples` are by key."""

    name: str
    language: str = "en_GB"
    category: str = "UTILITY"
    body: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, str] = field(default_factory=dict)
    buttons: tuple[str, ...] = ()
    has_document: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The placeholders of the text, in their order."""
        return in_order(PLACEHOLDER.findall(self.body))

    @property
    def document_key(self) -> str:
        """The placeholder of the document's link: the number after the text's last."""
        return str(max((int(key) for key in self.keys if is_number(key)), default=0) + 1)

    def content(self, *, public_base_url: str) -> Content:
        """What the template will be."""
        fields = [
            Field(key=key, name=self.names.get(key, "").strip(), sample=self.samples.get(key, "").strip())
            for key in self.keys
        ]
        media_url = None
        if self.has_document:  # WhatsApp wants a fixed host, and the variable after a slash
            media_url = f"{public_base_url}/{{{{{self.document_key}}}}}"
            fields.append(Field(key=self.document_key, name=DOCUMENT, sample=SAMPLE_DOCUMENT))
        actions = tuple(
            {"kind": "reply", "title": title, "target": _id_of(title, n)} for n, title in enumerate(self.buttons, 1)
        )
        return Content(
            content_type=MEDIA if self.has_document else QUICK_REPLY if actions else TEXT,
            body=self.body.strip(),
            media_url=media_url,
            media_variable=self.document_key if self.has_document else None,
            actions=actions,
            fields=tuple(fields),
        )

    @classmethod
    def of(cls, version: Version) -> Wanted:
        """The form filled in with a version, to write the next one."""
        return cls(
            name=version.name,
            language=version.language,
            category=version.category,
            body=version.body,
            names={one.key: one.name for one in version.to_fill_in},
            samples={one.key: one.sample for one in version.to_fill_in},
            buttons=tuple(action.get("title", "") for action in version.actions),
            has_document=version.media_url is not None,
        )


def problems_of(wanted: Wanted, *, is_new: bool = True) -> dict[str, str]:
    """What WhatsApp, or an office that has to understand it in a year, would object to: the form's field → a sentence.

    Not `is_new`: name and language are a template's that is there already, and need not be of our making.
    """
    found: dict[str, str] = {}
    if is_new and not (_NAME.fullmatch(wanted.name) and len(wanted.name) <= MAX_NAME):
        found["name"] = f"Write a name of small letters, digits and underscores, up to {MAX_NAME}: renewal_reminder."
    if is_new and wanted.language not in LANGUAGES:
        found["language"] = "Choose the language in which the text is written."
    if wanted.category not in CATEGORIES:
        found["category"] = "Choose whether this is about the customer's own policies, or advertising."
    body = _problem_of_body(wanted)
    if body is not None:
        found["body"] = body
    for key in wanted.keys:
        found |= _problems_of_field(wanted, key)
    return found | _problems_of_extras(wanted)


def _problems_of_extras(wanted: Wanted) -> dict[str, str]:
    found = {}
    for n, title in enumerate(wanted.buttons, 1):
        if len(title) > MAX_BUTTON or "{{" in title:
            found[f"button_{n}"] = f"Write up to {MAX_BUTTON} characters without a field."
        elif title in wanted.buttons[: n - 1]:
            found[f"button_{n}"] = "Another button says the same: nobody could tell the answers apart."
    if len(wanted.buttons) > MAX_BUTTONS:
        found["button_1"] = f"WhatsApp shows up to {MAX_BUTTONS} buttons."
    if wanted.has_document and wanted.buttons:
        found["has_document"] = (
            "A template has a document or buttons, not both: send the buttons as a message of their own."
        )
    return found


def _problem_of_body(wanted: Wanted) -> str | None:
    body, keys = wanted.body, wanted.keys
    fixed = PLACEHOLDER.sub(" ", body)
    words = len(_WORD.findall(fixed))
    lacking = next((n for n in range(1, len(keys) + 1) if str(n) not in keys), None)
    odd = next((key for key in keys if not is_number(key)), None)
    rules: tuple[tuple[object, str], ...] = (
        (not body.strip(), "Write the text of the template."),
        (len(body) > MAX_BODY, f"The text has {len(body):,} characters; WhatsApp takes {MAX_BODY:,}."),
        ("{{" in fixed or "}}" in fixed, "A field is not written as it has to be: two braces, a number, two braces, like {{1}}."),
        (odd, f"Number the fields, {{{{1}}}}, {{{{2}}}} and so on: {{{{{odd}}}}} is no number."),
        (lacking, f"Number the fields without a gap: there is no {{{{{lacking}}}}}."),
        (len(keys) > MAX_FIELDS, f"The text has {len(keys)} fields; WhatsApp takes {MAX_FIELDS}."),
        (_ADJACENT.search(body), "Two fields stand side by side. Put a word between them."),
        (_FIRST.match(body), "The text begins with a field. Put a word before it, such as “Hello”."),
        (_LAST.search(body), "The text ends with a field. Put a word after it."),
        (words < 2 * len(keys) + 1, f"{len(keys)} {'field needs' if len(keys) == 1 else 'fields need'} at least "
         f"{2 * len(keys) + 1} words of fixed text around them; there {'is' if words == 1 else 'are'} {words}."),
    )  # fmt: skip
    return next((sentence for is_broken, sentence in rules if is_broken), None)


def _problems_of_field(wanted: Wanted, key: str) -> dict[str, str]:
    name, sample = wanted.names.get(key, "").strip(), wanted.samples.get(key, "").strip()
    found = {}
    others = [wanted.names.get(other, "").strip() for other in wanted.keys if other != key]
    if not name or len(name) > MAX_FIELD_NAME:
        found[f"name_{key}"] = f"Say what {{{{{key}}}}} holds, in up to {MAX_FIELD_NAME} characters: client name."
    elif name in others:
        found[f"name_{key}"] = "Another field has this name: senders could not tell them apart."
    if not sample:
        found[f"sample_{key}"] = f"Give a sample for {{{{{key}}}}}: WhatsApp approves nothing without one. Invent it."
    elif len(sample) > MAX_SAMPLE:
        found[f"sample_{key}"] = f"The sample has {len(sample)} characters; {MAX_SAMPLE} are enough."
    elif UNCLEAN.search(sample):
        found[f"sample_{key}"] = (
            "The sample has a line break, a tab or more than four blanks in a row; WhatsApp refuses those."
        )
    return found


def _id_of(title: str, n: int) -> str:
    """What Twilio tells us when the button is pressed."""
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_") or f"button_{n}"
