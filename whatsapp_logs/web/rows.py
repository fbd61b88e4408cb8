"""A list's rows as the texts that stand in them, so that the template only has to escape them: a page is drawn in half the time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from markupsafe import Markup

from whatsapp_logs import wording
from whatsapp_logs.message import Message
from whatsapp_logs.web import format
from whatsapp_logs.web.words import Words, icons


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message of a list, in words. `state` is another one as soon as the message's status says something else."""

    id: int
    url: str
    state: str
    said: str  # for a screen reader, when the state has changed
    moment: str
    age: str
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


def rows(
    messages: Iterable[Message],
    words: Words,
    *,
    clients: Mapping[str, str],
    policies: Mapping[str, str],
    client_of: Callable[[Message], str | None],
    sent_again: Mapping[int, int],
) -> list[Row]:
    """The rows of these messages, as this viewer may see them; the names are what `words.names` tells."""
    return [
        _row(
            message,
            words,
            who=clients.get(client_of(message) or "", ""),
            policy=policies.get(message.policy_id or "") or message.policy_id or "",
            again=sent_again.get(message.id),
        )
        for message in messages
    ]


def _row(message: Message, words: Words, *, who: str, policy: str, again: int | None) -> Row:
    status, address = words.status(message), words.address(words.other_side(message))
    age = words.relative(message.created_at)
    text = format.first_words(message.body) or message.media_filename or "–"
    return Row(
        id=message.id,
        url=words.message_url(message.id),
        state=f"{message.status.value} {status.word}",
        said=f"{who or address}: {status.word.lower()}",
        moment=message.created_at.isoformat(timespec="seconds"),
        age=age,
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
        file_icon=icons()["file"] if message.media_filename and words.sees_numbers else Markup(""),
        text=text if words.sees_numbers else wording.TEXT_HIDDEN,
    )
