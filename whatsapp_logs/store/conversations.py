"""The rows of conversations and turns: who wrote last, what is due, who waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from whatsapp_logs.conversation import Conversation, Turn
from whatsapp_logs.filters import Cursor
from whatsapp_logs.message import Message, Path
from whatsapp_logs.store import messages
from whatsapp_logs.store.text import storable

_COLUMNS = """id, address, our_number, profile_name, client_id, last_inbound_id, last_inbound_at, bot, handed_over_at,
    handed_over_to, handed_over_reason, waiting_since, updated_at"""
_MAX_NAME = 100


def hear(
    conn: Connection[Any], address: str, *, our_number: str, message_id: int, at: datetime, name: str | None
) -> int:
    """The customer has written; returns their conversation's id. Told late, what is known of their last word never moves back."""
    row = conn.execute(
        """
        INSERT INTO whatsapp_logs.conversations AS c (address, our_number, profile_name, last_inbound_id, last_inbound_at)
        VALUES (%(address)s, %(our_number)s, %(name)s, %(message_id)s, %(at)s)
        ON CONFLICT (address, our_number) DO UPDATE
        SET last_inbound_id = CASE WHEN EXCLUDED.last_inbound_at >= c.last_inbound_at THEN EXCLUDED.last_inbound_id
                                   ELSE c.last_inbound_id END,
            profile_name = coalesce(EXCLUDED.profile_name, c.profile_name),
            last_inbound_at = greatest(c.last_inbound_at, EXCLUDED.last_inbound_at), updated_at = now()
        RETURNING id
        """,
        {
            "address": address,
            "our_number": our_number,
            "name": storable(name)[:_MAX_NAME] if name else None,
            "message_id": message_id,
            "at": at,
        },
    ).fetchone()
    assert row is not None
    return int(row[0])


def is_told(conn: Connection[Any], message_id: int) -> bool:
    """Whether this message is part of a conversation already."""
    row = conn.execute("SELECT 1 FROM whatsapp_logs.turns WHERE message_id = %(id)s", {"id": message_id}).fetchone()
    return row is not None


def add_turn(conn: Connection[Any], *, message_id: int, conversation_id: int, **facts: Any) -> None:
    """The message is to be looked at by the bot. `facts` are columns of `turns`."""
    given = {"kind": "text", "payload": None, "replied_sid": None, "opt_out_type": None, **storable(facts)}
    conn.execute(
        """
        INSERT INTO whatsapp_logs.turns (message_id, conversation_id, kind, payload, replied_sid, opt_out_type, received_at)
        VALUES (%(message_id)s, %(conversation_id)s, %(kind)s, %(payload)s, %(replied_sid)s, %(opt_out_type)s, %(received_at)s)
        """,
        {"message_id": message_id, "conversation_id": conversation_id, **given},
    )


def hold(conn: Connection[Any], conversation_id: int) -> Conversation | None:
    """The conversation, while everybody else who would answer it, take it or give it back waits for this transaction.

    Not its row: a webhook that tells of one more message never waits for an answer to the last.
    """
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('conversation', %(id)s))", {"id": conversation_id})
    return get(conn, conversation_id)


def get(conn: Connection[Any], conversation_id: int) -> Conversation | None:
    """The conversation of that id."""
    found = _rows(conn, "WHERE id = %(id)s", {"id": conversation_id})
    return found[0] if found else None


def of_address(conn: Connection[Any], address: str, *, our_number: str) -> Conversation | None:
    """The conversation with that customer."""
    found = _rows(
        conn, "WHERE address = %(address)s AND our_number = %(ours)s", {"address": address, "ours": our_number}
    )
    return found[0] if found else None


def ids_of(conn: Connection[Any], addresses: Sequence[str]) -> dict[str, int]:
    """Which of these customers have a conversation: address → its id (the latest, where several of our numbers have one)."""
    rows = conn.execute(
        """
        SELECT address, id FROM whatsapp_logs.conversations WHERE address = ANY (%(addresses)s) ORDER BY last_inbound_at
        """,
        {"addresses": list(addresses)},
    ).fetchall()
    return dict(rows)


def due(conn: Connection[Any], conversation_id: int, *, limit: int) -> list[Turn]:
    """What nobody has looked at yet, in the order in which it arrived."""
    with conn.cursor(row_factory=class_row(Turn)) as cursor:
        return cursor.execute(
            """
            SELECT t.message_id, t.kind, t.payload, t.replied_sid, t.opt_out_type, t.received_at, m.body,
                   EXISTS (SELECT FROM whatsapp_logs.conversations AS c
                           JOIN whatsapp_logs.turns AS later ON later.message_id = c.last_inbound_id
                           WHERE c.id = t.conversation_id AND later.done_at IS NOT NULL
                             AND later.received_at > t.received_at + interval '1 minute') AS is_overtaken
            FROM whatsapp_logs.turns AS t JOIN whatsapp_logs.messages AS m ON m.id = t.message_id
            WHERE t.conversation_id = %(id)s AND t.done_at IS NULL ORDER BY t.message_id LIMIT %(limit)s
            """,
            {"id": conversation_id, "limit": limit},
        ).fetchall()


def finish_turn(conn: Connection[Any], message_id: int, *, outcome: str, now: datetime) -> None:
    """The message was answered, or handed over: once."""
    conn.execute(
        """
        UPDATE whatsapp_logs.turns SET done_at = %(now)s, outcome = %(outcome)s
        WHERE message_id = %(id)s AND done_at IS NULL
        """,
        {"id": message_id, "outcome": outcome, "now": now},
    )


def remember(conn: Connection[Any], conversation_id: int, bot: dict[str, Any], *, client_id: str | None) -> None:
    """What the bot knows by now."""
    conn.execute(
        "UPDATE whatsapp_logs.conversations SET bot = %(bot)s, client_id = %(client_id)s, updated_at = now() WHERE id = %(id)s",
        {"id": conversation_id, "bot": Jsonb(storable(bot)), "client_id": client_id},
    )


def call_person(
    conn: Connection[Any], conversation_id: int, *, reason: str, since: datetime, handed_over_at: datetime | None
) -> None:
    """The customer waits for a person since then, if they do not already; with `handed_over_at` the bot is silent from then on."""
    conn.execute(
        """
        UPDATE whatsapp_logs.conversations
        SET waiting_since = coalesce(waiting_since, %(since)s),
            handed_over_reason = CASE WHEN waiting_since IS NULL OR %(at)s::timestamptz IS NOT NULL THEN %(reason)s
                                      ELSE handed_over_reason END,
            handed_over_to = CASE WHEN %(at)s::timestamptz IS NOT NULL THEN NULL ELSE handed_over_to END,
            handed_over_at = coalesce(%(at)s, handed_over_at), updated_at = now()
        WHERE id = %(id)s
        """,
        {"id": conversation_id, "reason": reason, "since": since, "at": handed_over_at},
    )


def take(conn: Connection[Any], conversation_id: int, *, person: str, now: datetime, is_answered: bool) -> None:
    """A member of staff has the conversation; once they have answered, the customer waits no longer."""
    conn.execute(
        """
        UPDATE whatsapp_logs.conversations
        SET handed_over_at = %(now)s, handed_over_to = %(person)s,
            waiting_since = CASE WHEN %(is_answered)s THEN NULL ELSE waiting_since END, updated_at = now()
        WHERE id = %(id)s
        """,
        {"id": conversation_id, "person": person, "now": now, "is_answered": is_answered},
    )


def write_on(conn: Connection[Any], conversation_id: int, *, person: str, now: datetime) -> None:
    """This person is writing an answer just now."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.answering_now AS a (conversation_id, person, written_at)
        VALUES (%(id)s, %(person)s, %(now)s)
        ON CONFLICT (conversation_id, person) DO UPDATE SET written_at = EXCLUDED.written_at
        """,
        {"id": conversation_id, "person": person, "now": now},
    )


def stop_writing(conn: Connection[Any], conversation_id: int, *, person: str) -> None:
    """They have sent it."""
    conn.execute(
        """
        UPDATE whatsapp_logs.answering_now SET written_at = '-infinity'
        WHERE conversation_id = %(id)s AND person = %(person)s
        """,
        {"id": conversation_id, "person": person},
    )


def writing(conn: Connection[Any], conversation_id: int, *, since: datetime) -> list[str]:
    """Who has been writing an answer since then."""
    rows = conn.execute(
        """
        SELECT person FROM whatsapp_logs.answering_now
        WHERE conversation_id = %(id)s AND written_at >= %(since)s ORDER BY person
        """,
        {"id": conversation_id, "since": since},
    ).fetchall()
    return [row[0] for row in rows]


def last_answer(conn: Connection[Any], address: str) -> Message | None:
    """What a person of ours has last answered this customer, if nothing has come from them since; the nearest rows of an index."""
    return next((one for one in chat(conn, address, before=None, limit=1) if one.path == Path.REPLY), None)


def give_back(conn: Connection[Any], conversation_id: int, bot: dict[str, Any]) -> None:
    """The bot answers again from the next message on; nobody waits."""
    conn.execute(
        """
        UPDATE whatsapp_logs.conversations
        SET handed_over_at = NULL, handed_over_to = NULL, handed_over_reason = NULL, waiting_since = NULL, bot = %(bot)s,
            updated_at = now()
        WHERE id = %(id)s
        """,
        {"id": conversation_id, "bot": Jsonb(bot)},
    )


def overlooked(conn: Connection[Any], *, before: datetime, limit: int) -> list[int]:
    """Conversations with messages that should have been looked at: their job was lost."""
    rows = conn.execute(
        """
        SELECT DISTINCT conversation_id FROM whatsapp_logs.turns WHERE done_at IS NULL AND received_at < %(before)s
        LIMIT %(limit)s
        """,
        {"before": before, "limit": limit},
    ).fetchall()
    return [row[0] for row in rows]


def waiting(conn: Connection[Any], *, limit: int) -> list[Conversation]:
    """Who waits for a person, the longest first."""
    return _rows(conn, "WHERE waiting_since IS NOT NULL ORDER BY waiting_since, id LIMIT %(limit)s", {"limit": limit})


def count_waiting(conn: Connection[Any], *, limit: int) -> int:
    """How many wait for a person; not counted beyond the limit."""
    row = conn.execute(
        """
        SELECT count(*) FROM (
            SELECT FROM whatsapp_logs.conversations WHERE waiting_since IS NOT NULL LIMIT %(limit)s
        ) AS waiting
        """,
        {"limit": limit},
    ).fetchone()
    assert row is not None
    return int(row[0])


def page(conn: Connection[Any], *, before: Cursor | None, limit: int) -> list[Conversation]:
    """Conversations in which nobody waits, the one with the latest word of a customer first."""
    older = "AND (last_inbound_at, id) < (%(at)s, %(id)s)" if before else ""
    return _rows(
        conn,
        f"WHERE waiting_since IS NULL {older} ORDER BY last_inbound_at DESC, id DESC LIMIT %(limit)s",
        {"at": before and before.created_at, "id": before and before.id, "limit": limit},
    )


def last_words(conn: Connection[Any], found: Sequence[Conversation]) -> dict[int, Message]:
    """The latest message of each of these conversations, theirs or ours: one look into an index for each."""
    rows = conn.execute(
        """
        SELECT c.id, last.id
        FROM unnest(%(ids)s::bigint[], %(addresses)s::text[], %(inbound)s::bigint[]) AS c (id, address, inbound)
        CROSS JOIN LATERAL (
            SELECT m.id, m.created_at FROM (
                (SELECT o.id, o.created_at FROM whatsapp_logs.messages AS o
                 WHERE o.recipient = c.address AND o.direction = 'outbound' ORDER BY o.created_at DESC, o.id DESC LIMIT 1)
                UNION ALL
                SELECT i.id, i.created_at FROM whatsapp_logs.messages AS i WHERE i.id = c.inbound
            ) AS m ORDER BY m.created_at DESC, m.id DESC LIMIT 1
        ) AS last
        """,
        {
            "ids": [one.id for one in found],
            "addresses": [one.address for one in found],
            "inbound": [one.last_inbound_id for one in found],
        },
    ).fetchall()
    known = {message.id: message for message in messages.many(conn, [row[1] for row in rows])}
    return {conversation: known[message] for conversation, message in rows if message in known}


def chat(conn: Connection[Any], address: str, *, before: Cursor | None, limit: int) -> list[Message]:
    """What the customer and we have written, the latest first, older than `before`: the nearest rows of two indexes."""
    older = "AND (m.created_at, m.id) < (%(at)s, %(id)s)" if before else ""
    query = f"""
        SELECT id FROM (
            (SELECT m.id, m.created_at FROM whatsapp_logs.messages AS m
             WHERE m.recipient = %(address)s AND m.direction = 'outbound' {older}
             ORDER BY m.created_at DESC, m.id DESC LIMIT %(limit)s)
            UNION ALL
            (SELECT m.id, m.created_at FROM whatsapp_logs.messages AS m
             WHERE m.sender = %(address)s AND m.direction = 'inbound' {older}
             ORDER BY m.created_at DESC, m.id DESC LIMIT %(limit)s)
        ) AS both_sides ORDER BY created_at DESC, id DESC LIMIT %(limit)s"""  # noqa: S608 - words of ours; values are parameters
    parameters = {"address": address, "at": before and before.created_at, "id": before and before.id, "limit": limit}
    ids = [row[0] for row in conn.execute(query.encode(), parameters).fetchall()]
    known = {message.id: message for message in messages.many(conn, ids)}
    return [known[id_] for id_ in ids if id_ in known]


def _rows(conn: Connection[Any], condition: str, parameters: dict[str, Any]) -> list[Conversation]:
    with conn.cursor(row_factory=class_row(Conversation)) as cursor:
        query = f"SELECT {_COLUMNS} FROM whatsapp_logs.conversations {condition}"  # noqa: S608 - words of ours; values are parameters
        return cursor.execute(query.encode(), parameters).fetchall()
