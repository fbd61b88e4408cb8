"""Questions with something to press: a text and its choices as content that Twilio keeps once for all customers. No I/O.

Everything that is said is a field: line by line, because fields hold no line breaks. So what Twilio keeps is a mere shape, with
nothing personal in it, and a few dozen shapes do for all questions. Within an open window they need no approval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count

from whatsapp_logs import bot_words as words
from whatsapp_logs.catalogue import LIST, QUICK_REPLY, UNCLEAN, Content, Field, filled
from whatsapp_logs.records import PolicyFacts

_MOST_BUTTONS, _BUTTON = 3, 20  # more than three buttons need an approval
_MOST_LINES, _LINE, _DESCRIPTION = 10, 24, 72
_BODY = 1024  # with anything to press
_SAMPLE = "sample"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressable:
    """A shape by its name, and the fields that make it this very question."""

    name: str
    content: Content
    values: dict[str, str]


def pressable(text: str, offered: Sequence[words.Choice], *, menu: str) -> Pressable | None:
    """The question with buttons (three at most) or a list (ten at most); None where it does not fit, and is sent as text.

    Each choice brings `menu` and its number back, so that an answer to an older list is known.
    """
    values: dict[str, str] = {}
    keys = map(str, count(1))

    def field(value: str) -> str:
        key = next(keys)
        values[key] = value
        return f"{{{{{key}}}}}"

    lines = text.split("\n")
    body = "\n".join(field(line) if line else "" for line in lines)
    are_buttons = len(offered) <= _MOST_BUTTONS and all(len(one.title) <= _BUTTON for one in offered)
    actions = tuple(
        {
            "title": field(one.title),
            "target": field(f"{menu}:{one.number}"),
            **({} if are_buttons else {"description": field(_short(one.description))}),
        }
        for one in offered
    )
    too_long = len(text) > _BODY or len(offered) > _MOST_LINES or any(len(one.title) > _LINE for one in offered)
    if not offered or too_long or any(UNCLEAN.search(value) or not value.strip() for value in values.values()):
        return None
    shape = "_".join(str(len(part.split("\n"))) for part in text.split("\n\n"))
    content = Content(
        content_type=QUICK_REPLY if are_buttons else LIST,
        body=body,
        actions=actions,
        fields=tuple(Field(key=key, name=key, sample=_SAMPLE) for key in values),
        button="" if are_buttons else "Choose",
    )
    assert filled(body, values) == text, "what is sent is what is written down"
    return Pressable(
        name=f"bot_{'buttons' if are_buttons else 'list'}_{len(offered)}_lines_{shape}", content=content, values=values
    )


def usual() -> Iterator[Pressable]:
    """The shapes that an office needs on its first day; others are made when they are first needed."""
    policies = [PolicyFacts(id=str(n), number="1", label="Policy", ends_on=date(2030, 1, 1)) for n in range(4)]
    asked: list[tuple[str, Sequence[words.Choice]]] = [
        (words.menu("Office"), words.MENU),
        (words.OFFER, words.YES_OR_NO),
    ]
    asked.append((words.one_policy(policies[0]), words.ONE_POLICY))
    for n in range(1, len(policies) + 1):
        asked.append((words.renewal_dates(policies[:n]), words.AFTER_DATES))
        asked.append((words.policy_list(policies[:n], question="Which?"), words.listed(policies[:n])))
    for before in ("", f"{words.NOT_UNDERSTOOD}\n\n"):
        for text, offered in asked:
            found = pressable(before + text, offered, menu="m1")
            assert found is not None, text
            yield found


def _short(text: str) -> str:
    return text if len(text) <= _DESCRIPTION else f"{text[: _DESCRIPTION - 1]}…"
