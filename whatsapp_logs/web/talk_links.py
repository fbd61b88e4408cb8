"""The ways to conversations: from a list's rows, a client's messages, and the number of those who wait for a person."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flask import url_for

from whatsapp_logs.errors import WhatsAppLogsError
from whatsapp_logs.message import Message
from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.web import current
from whatsapp_logs.web.access import viewer

log = logging.getLogger(__name__)


def of_messages(messages: Iterable[Message]) -> dict[str, str]:
    """Where the conversations with these messages' customers are, by their number; for whoever may read what was written."""
    return _of_addresses(viewer(), (one.sender if one.direction == "inbound" else one.recipient for one in messages))


def of_client(person: Viewer, messages: Iterable[Message]) -> str | None:
    """Where the conversation is that these messages, all of one client, belong to: the one with the latest word."""
    found = _of_addresses(person, (one.sender if one.direction == "inbound" else one.recipient for one in messages))
    return next(reversed(found.values()), None)


def waiting(person: Viewer | None) -> int:
    """How many customers wait for a person's answer, for whoever may answer or read them; 0 for everybody else."""
    if person is None or not person.may(Right.TEXTS):
        return 0
    try:
        return current.extension().waiting.count(current.service())
    except WhatsAppLogsError as error:  # a number beside a link takes no page away; what is wrong, the page says itself
        log.warning("nobody knows how many customers wait: %s", error)
        return 0


def _of_addresses(person: Viewer, addresses: Iterable[str | None]) -> dict[str, str]:
    if not person.may(Right.TEXTS):
        return {}
    asked = sorted({address for address in addresses if address})
    found = current.service().desk.ids_of(asked) if asked else {}
    below = url_for("whatsapp_logs.conversation", conversation_id=0).removesuffix("0") if found else ""
    return {address: f"{below}{id_}" for address, id_ in found.items()}
