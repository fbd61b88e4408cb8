"""Who looks at what, written down before it is shown: what cannot be written down is not shown."""

from __future__ import annotations

from typing import Any

from flask import request

from whatsapp_logs import access_log
from whatsapp_logs.access_log import Act, Look
from whatsapp_logs.conversation import Conversation
from whatsapp_logs.filters import MessageFilter
from whatsapp_logs.message import Message
from whatsapp_logs.web import current
from whatsapp_logs.web.access import viewer


def at_message(message: Message, act: Act = Act.OPENED) -> None:
    """Somebody opens a message, or its document."""
    _note(act, message_id=message.id, subjects=access_log.of_message(message, current.service().config))


def at_conversation(conversation: Conversation) -> None:
    """Somebody reads what a customer and we have written."""
    config = current.service().config
    number = None if conversation.is_erased else conversation.address
    whom = access_log.subjects(config, client_id=conversation.client_id, number=number)
    _note(Act.OPENED, subjects=whom, about={"conversation": conversation.id})


def at_list(wanted: MessageFilter) -> None:
    """Somebody asks for the messages of a client, a policy or a number. A list of nobody in particular is not a look at anybody."""
    whom = access_log.of_filter(wanted, current.service().config)
    if whom:
        act = Act.SEARCHED if wanted.phone else Act.LISTED
        _note(act, subjects=whom, about=access_log.asked(wanted))


def at_names(words: str, client_ids: list[str], policy_ids: list[str]) -> None:
    """Somebody searches by words, and is shown these clients and policies."""
    config = current.service().config
    found = [access_log.subjects(config, client_id=one) for one in client_ids]
    found += [access_log.subjects(config, policy_id=one) for one in policy_ids]
    about = {"words": access_log.digest(config, words.casefold())}
    _note(Act.SEARCHED, subjects=tuple(word for words in found for word in words), about=about)


def at_file(wanted: MessageFilter, *, form: str) -> None:
    """Somebody takes a list away."""
    about = access_log.asked(wanted) | {"format": form}
    _note(Act.EXPORTED, subjects=access_log.of_filter(wanted, current.service().config), about=about)


def at_campaign(campaign_id: int, *, form: str) -> None:
    """Somebody takes a campaign's table away."""
    _note(Act.EXPORTED, about={"campaign": campaign_id, "format": form})


def at_access_log(**about: Any) -> None:
    """Somebody looks at who has looked."""
    _note(Act.ACCESS_LOG, about={name: value for name, value in about.items() if value})


def by_link(media_id: str) -> None:
    """A document is fetched by its expiring link, by whoever was given it."""
    _write(Look(person="(link)", act=Act.LINK, address=request.remote_addr, about={"document": media_id}))


def _note(act: Act, **facts: Any) -> None:
    _write(Look(person=viewer().name, act=act, address=request.remote_addr, **facts))


def _write(look: Look) -> None:
    current.service().note_access(look)
