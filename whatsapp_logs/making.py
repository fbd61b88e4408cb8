"""Have Twilio keep the shapes of the bot's questions. What it does not take is sent as text, as everything was before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs import interactive
from whatsapp_logs.catalogue import Content, Field
from whatsapp_logs.channels.base import TemplateGateway
from whatsapp_logs.errors import Refused
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import interactive as contents
from whatsapp_logs.store import queue

log = logging.getLogger(__name__)

_LANGUAGE = "en"
_TOGETHER = 50


def want_usual(conn: Connection[Any]) -> None:
    """Have made what an office needs on its first day."""
    if contents.want(conn, {one.name: asdict(one.content) for one in interactive.usual()}):
        queue.defer(conn, "make_contents")


def make(transactions: Transactions, provider: TemplateGateway) -> list[str]:
    """Make what is wanted; returns the names of what was made. Raises ProviderAway: the rest is made later.

    No connection is held while Twilio is asked. An answer that is lost leaves a shape at Twilio that nobody uses.
    """
    with transactions() as conn:
        wanted = contents.wanted(conn, now=datetime.now(UTC), limit=_TOGETHER)
    made = []
    for one in wanted:
        try:
            sid = provider.create(name=one.name, language=_LANGUAGE, content=_content(one.content))
        except Refused as error:
            log.warning("questions of the shape %s stay text: %s", one.name, error)
            with transactions() as conn:
                contents.refused(conn, one.name, problem=str(error), now=datetime.now(UTC))
            continue
        with transactions() as conn:
            contents.made(conn, one.name, content_sid=sid, now=datetime.now(UTC))
        made.append(one.name)
    return made


def _content(kept: Mapping[str, Any]) -> Content:
    fields = tuple(Field(**one) for one in kept["fields"])
    return Content(**{**kept, "fields": fields, "actions": tuple(kept["actions"])})
