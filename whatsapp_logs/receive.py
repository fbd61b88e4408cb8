"""What a customer writes: the row, their conversation, their window, what they say of their consent, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from whatsapp_logs import ledger
from whatsapp_logs.conversation import kind_of, payload_of
from whatsapp_logs.message import MOST_FILES, Inbound, ProviderMessage
from whatsapp_logs.store import contacts, conversations, inbound, queue, sent_files, status_events

_MAX_WORD = 100


def receive(conn: Connection[Any], received: Inbound, *, now: datetime) -> int:
    """Write a customer's message down; returns its id. Told twice, it is one row, answered once, and says its word of consent once.

    The job that answers it, and those that fetch its files, commit with it.
    """
    return receive_all(conn, [received], now=now)[0]


def receive_all(conn: Connection[Any], received: Sequence[Inbound], *, now: datetime) -> list[int]:
    """The same of several that arrived together, in the order in which they did; their ids."""
    # In one order for all, so that nobody deadlocks: first all SIDs, then customer by customer, each one's messages as they came.
    for sid in sorted({one.provider_id for one in received}):
        status_events.lock(conn, sid)
    ids = [inbound.insert(conn, one, now=now) for one in received]
    for id_, one in sorted(zip(ids, received, strict=True), key=lambda pair: (pair[1].sender, pair[0])):
        _hear(
            conn,
            id_,
            sender=one.sender,
            our_number=one.recipient,
            text=one.body,
            at=now,
            name=one.profile_name,
            kind=kind_of(one),
            payload=payload_of(one),
            replied_sid=_word(one, "OriginalRepliedMessageSid"),
            opt_out_type=_word(one, "OptOutType"),
            media=one.media,
        )
    return ids


def restored(conn: Connection[Any], found: Sequence[tuple[int, ProviderMessage]], *, now: datetime) -> None:
    """Messages of customers that were found in the provider's list: what their webhook would have done, at the provider's time."""
    theirs = [(id_, one) for id_, one in found if one.direction == "inbound" and one.sender]
    # In one order for all, so that nobody deadlocks.
    for message_id, one in sorted(theirs, key=lambda pair: (str(pair[1].sender), pair[0])):
        at = one.created_at or one.report.sent_at or now
        kind = "file" if one.files else "text"
        is_told = _hear(
            conn, message_id, sender=str(one.sender), our_number=one.recipient, text=one.body, at=at, kind=kind
        )
        if one.files and not is_told:  # the list tells how many; where they are is asked when they are fetched
            sent_files.insert_unknown(conn, message_id, min(one.files, MOST_FILES))
            _fetch(conn, message_id, min(one.files, MOST_FILES))


def _hear(
    conn: Connection[Any],
    message_id: int,
    *,
    sender: str,
    our_number: str,
    text: str | None,
    at: datetime,
    name: str | None = None,
    opt_out_type: str | None = None,
    media: Sequence[tuple[str, str]] = (),
    **facts: str | None,
) -> bool:
    """Whether all of that was done before."""
    if conversations.is_told(conn, message_id):
        return True  # whoever tells of it at the same time waits for the other, at the SID
    conversation_id = conversations.hear(conn, sender, our_number=our_number, message_id=message_id, at=at, name=name)
    contacts.hear_from(conn, sender, our_number=our_number, at=at)
    ledger.hear(conn, address=sender, text=text, opt_out_type=opt_out_type, message_id=message_id, at=at)
    conversations.add_turn(
        conn,
        message_id=message_id,
        conversation_id=conversation_id,
        received_at=at,
        opt_out_type=opt_out_type,
        **{name_: value for name_, value in facts.items() if value is not None},
    )
    if media:
        sent_files.insert(conn, message_id, media)
        _fetch(conn, message_id, len(media))
    queue.defer(conn, "answer", conversation_id=conversation_id)
    return False


def _fetch(conn: Connection[Any], message_id: int, files: int) -> None:
    queue.defer_many(conn, "fetch_file", [{"message_id": message_id, "place": n} for n in range(files)])


def _word(received: Inbound, name: str) -> str | None:
    return str(received.payload.get(name) or "")[:_MAX_WORD] or None
