"""A list's rows as HTML, each drawn once for all who look: a page is asked for again and again, and most of it is as it was."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flask import current_app
from markupsafe import Markup

from whatsapp_logs import wording
from whatsapp_logs.message import Message
from whatsapp_logs.web import format
from whatsapp_logs.web.words import Words, icons

_MOST = 5_000  # rows remembered, about 1 kB each


class Drawn(NamedTuple):
    """A row's HTML, and those of its words that change while the message does not."""

    age: str
    detail: str
    html: Markup


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message of a list, in words. `state` is another one as soon as the message's status says something else."""

    id: int
    url: str
    state: str
    said: str  # for a screen reader, when the state has changed
    moment: str
    age: str
    counts_on: bool
    clock: str
    full: str
    who: str  # the client's name, or the address
    address: str  # beside a name
    type: str
    icon: Markup
    word: str
    tone: str
    detail: str
    again: int | None  # the message as which it was sent again
    again_url: str
    policy: str
    file_icon: Markup
    text: str
    talk_icon: Markup
    talk_url: str  # the conversation with the customer; empty where there is none, or the viewer may not read it


class Rows:
    """The rows of an application's lists. Remembered by all that their words depend on, so that nothing has to be forgotten."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Markup] = {}

    def draw(
        self,
        messages: Iterable[Message],
        words: Words,
        *,
        clients: Mapping[str, str],
        policies: Mapping[str, str],
        client_of: Callable[[Message], str | None],
        sent_again: Mapping[int, int],
        talks: Mapping[str, str],
    ) -> list[Drawn]:
        """The rows of these messages, as this viewer may see them; the names are what `words.names` tells.

        `talks` are the addresses of the conversations that they may open, by the customer's.
        """
        seen_as = (
            words.zone.key,
            words.now.astimezone(words.zone).date(),
            words.sees_numbers,
            words.sees_texts,
            words.message_url(0),
        )
        drawn = []
        for message in messages:
            who = clients.get(client_of(message) or "", "")
            policy = policies.get(message.policy_id or "") or message.policy_id or ""
            again = sent_again.get(message.id)
            age, status = words.relative(message.created_at), words.status(message)
            talk = talks.get(words.other_side(message) or "", "")
            key = (message.id, message.updated_at, age, status, who, policy, again, talk, seen_as)
            html = self._known.get(key)
            if html is None:
                if len(self._known) >= _MOST:
                    self._known.clear()
                row = _row(message, words, status, age=age, who=who, policy=policy, again=again, talk=talk)
                html = self._known[key] = _html(row)
            drawn.append(Drawn(age, status.detail, html))
        return drawn


def _html(row: Row) -> Markup:
    draw = current_app.jinja_env.get_template("whatsapp_logs/_row.html").module.row  # type: ignore[attr-defined]
    return Markup(draw(row))  # noqa: S704 - a template's output, escaped there


def _row(
    message: Message,
    words: Words,
    status: format.StatusWords,
    *,
    age: str,
    who: str,
    policy: str,
    again: int | None,
    talk: str,
) -> Row:
    address = words.address(words.other_side(message))
    text = format.first_words(message.body) or message.media_filename or "–"
    return Row(
        id=message.id,
        url=words.message_url(message.id),
        state=f"{message.status.value} {status.word}",
        said=f"{who or address}: {status.word.lower()}",
        moment=message.created_at.isoformat(timespec="seconds"),
        age=age,
        counts_on=format.counts_on(age),
        clock=words.clock(message.created_at).removeprefix(f"{age}, "),
        full=words.full(message.created_at),
        who=who or address,
        address=address if who else "",
        type=format.message_type(message.message_type),
        icon=icons()[status.icon],
        word=status.word,
        tone=status.tone,
        detail=status.detail,
        again=again,
        again_url=words.message_url(again) if again is not None else "",
        policy=policy,
        file_icon=icons()["file"] if message.media_filename and words.sees_texts else Markup(""),
        text="Erased" if message.erased_at else text if words.sees_texts else wording.TEXT_HIDDEN,
        talk_icon=icons()["talk"],
        talk_url=talk,
    )
