"""Files that customers send: fetched from the provider once, kept by what they are, and tried again while that may help."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from psycopg import Connection

from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.config import Config
from whatsapp_logs.errors import ProviderAway, Refused, UnknownToProvider
from whatsapp_logs.file_types import sniff
from whatsapp_logs.message import MediaFile, Message
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import messages, queue, sent_files

log = logging.getLogger(__name__)

_WAITS = (timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=3))


def collect(transactions: Transactions, gateway: Gateway, message_id: int, place: int, *, config: Config) -> None:
    """Fetch one file and keep it. No connection is held while the provider is asked."""
    with transactions() as conn:
        file = sent_files.get(conn, message_id, place)
        message = messages.get(conn, message_id) if file is not None and not file.url else None
    if file is None or file.state != "waiting":
        return
    try:
        url = file.url or _found(transactions, gateway, message, place)
        content = gateway.fetch_file(url, max_bytes=config.max_media_bytes)
    except (Refused, UnknownToProvider) as error:
        _note(transactions, partial(sent_files.fail, file=file, problem=str(error), next_try_at=None))
        log.warning("file %s of message %s is not kept: %s", place, message_id, error.code)
        return
    except ProviderAway as error:
        wait = _WAITS[file.attempts] if file.attempts < len(_WAITS) else None
        at = None if wait is None else datetime.now(UTC) + wait
        with transactions() as conn:
            sent_files.fail(conn, file, problem=str(error), next_try_at=at, now=datetime.now(UTC))
            if at is not None:
                queue.defer(conn, "fetch_file", at=at, message_id=message_id, place=place)
        log.warning("file %s of message %s waits: %s", place, message_id, error)
        return
    kind, ending = sniff(content)
    name = f"message-{message_id}{f'-{place + 1}' if place else ''}.{ending}"
    kept = MediaFile(content=content, content_type=kind, filename=name)
    _note(transactions, partial(sent_files.store, file=file, content=kept))
    log.info("file %s of message %s kept as %s, %s bytes", place, message_id, kind, len(content))


def _found(transactions: Transactions, gateway: Gateway, message: Message | None, place: int) -> str:
    """Where the file is: no webhook has told, so Twilio is asked, once for all files of the message. Raises Refused."""
    found = gateway.files_of(message.provider_id) if message is not None and message.provider_id else []
    with transactions() as conn:
        if message is not None:
            sent_files.tell(conn, message.id, found)
    if place >= len(found):
        raise Refused("The file is not at Twilio any more. Ask the customer to send it again.", code="gone")
    return found[place][0]


def ask_again(conn: Connection[Any], message_id: int, place: int) -> bool:
    """Somebody wants a file that has not come; False when there is none."""
    asked = sent_files.try_again(conn, message_id, place, now=datetime.now(UTC))
    if asked:
        queue.defer(conn, "fetch_file", message_id=message_id, place=place)
    return asked


def _note(transactions: Transactions, write: partial[None]) -> None:
    with transactions() as conn:
        write(conn, now=datetime.now(UTC))
