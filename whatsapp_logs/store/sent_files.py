"""The files of customers' messages: told by the webhook, fetched by a job, kept in `media`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from whatsapp_logs.conversation import SentFile
from whatsapp_logs.message import MediaFile
from whatsapp_logs.store import media
from whatsapp_logs.store.text import storable

_SELECT = """
    SELECT f.message_id, f.place, f.url, f.claimed_type, f.media_id::text AS media_id, f.state, f.problem, f.attempts,
           f.next_try_at, d.filename, d.content_type, length(d.content) AS size
    FROM whatsapp_logs.message_media AS f LEFT JOIN whatsapp_logs.media AS d ON d.id = f.media_id"""


def insert(conn: Connection[Any], message_id: int, found: Sequence[tuple[str, str]]) -> None:
    """Note the files of a new message, as (address, claimed type); told twice, they are noted once."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.message_media (message_id, place, url, claimed_type)
        SELECT %(id)s, f.place - 1, f.url, left(f.claimed_type, 100)
        FROM unnest(%(urls)s::text[], %(types)s::text[]) WITH ORDINALITY AS f (url, claimed_type, place)
        ON CONFLICT DO NOTHING
        """,
        {
            "id": message_id,
            "urls": [storable(url) for url, _ in found],
            "types": [storable(kind) for _, kind in found],
        },
    )


def insert_unknown(conn: Connection[Any], message_id: int, files: int) -> None:
    """Note that so many files came with a message, of which nothing else is known yet."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.message_media (message_id, place)
        SELECT %(id)s, place FROM generate_series(0, %(files)s - 1) AS place ON CONFLICT DO NOTHING
        """,
        {"id": message_id, "files": files},
    )


def tell(conn: Connection[Any], message_id: int, found: Sequence[tuple[str, str]]) -> None:
    """Where files are of which only their number was known, as (address, claimed type)."""
    conn.execute(
        """
        UPDATE whatsapp_logs.message_media AS m SET url = f.url, claimed_type = left(f.claimed_type, 100)
        FROM unnest(%(urls)s::text[], %(types)s::text[]) WITH ORDINALITY AS f (url, claimed_type, place)
        WHERE m.message_id = %(id)s AND m.place = f.place - 1 AND m.url IS NULL AND m.state = 'waiting'
        """,
        {
            "id": message_id,
            "urls": [storable(url) for url, _ in found],
            "types": [storable(kind) for _, kind in found],
        },
    )


def of_messages(conn: Connection[Any], ids: Sequence[int]) -> list[SentFile]:
    """The files of these messages, in their order."""
    return _rows(conn, "WHERE f.message_id = ANY (%(ids)s) ORDER BY f.message_id, f.place", {"ids": list(ids)})


def get(conn: Connection[Any], message_id: int, place: int) -> SentFile | None:
    """One file."""
    found = _rows(conn, "WHERE f.message_id = %(id)s AND f.place = %(place)s", {"id": message_id, "place": place})
    return found[0] if found else None


def due(conn: Connection[Any], *, now: datetime, limit: int) -> list[tuple[int, int]]:
    """Files whose next try is overdue by a minute: their job was lost. As (message, place)."""
    rows = conn.execute(
        """
        SELECT message_id, place FROM whatsapp_logs.message_media
        WHERE state = 'waiting' AND coalesce(next_try_at, updated_at) < %(now)s - interval '1 minute'
        ORDER BY updated_at LIMIT %(limit)s
        """,
        {"now": now, "limit": limit},
    ).fetchall()
    return [(row[0], row[1]) for row in rows]


def store(conn: Connection[Any], file: SentFile, content: MediaFile, *, now: datetime) -> None:
    """Keep what was fetched, unless somebody was quicker, or the message has been erased meanwhile."""
    row = conn.execute(
        """
        SELECT 1 FROM whatsapp_logs.message_media
        WHERE message_id = %(id)s AND place = %(place)s AND state IN ('waiting', 'failed') FOR UPDATE
        """,
        {"id": file.message_id, "place": file.place},
    ).fetchone()
    if row is None:
        return
    media_id = media.insert(conn, content)
    conn.execute(
        """
        UPDATE whatsapp_logs.message_media
        SET state = 'stored', media_id = %(media_id)s, problem = NULL, next_try_at = NULL, attempts = attempts + 1,
            updated_at = %(now)s
        WHERE message_id = %(id)s AND place = %(place)s
        """,
        {"id": file.message_id, "place": file.place, "media_id": media_id, "now": now},
    )
    if file.place == 0:  # the message's own document, as it is for ours: lists and the message's page show it
        conn.execute(
            "UPDATE whatsapp_logs.messages SET media_id = %(media_id)s, updated_at = %(now)s WHERE id = %(id)s",
            {"id": file.message_id, "media_id": media_id, "now": now},
        )


def fail(conn: Connection[Any], file: SentFile, *, problem: str, next_try_at: datetime | None, now: datetime) -> None:
    """It has not come. With `next_try_at` it is tried again then; without, only if somebody asks for it."""
    conn.execute(
        """
        UPDATE whatsapp_logs.message_media
        SET state = CASE WHEN %(next)s::timestamptz IS NULL THEN 'failed' ELSE 'waiting' END, problem = %(problem)s,
            next_try_at = %(next)s, attempts = attempts + 1, updated_at = %(now)s
        WHERE message_id = %(id)s AND place = %(place)s AND state IN ('waiting', 'failed')
        """,
        {"id": file.message_id, "place": file.place, "problem": problem, "next": next_try_at, "now": now},
    )


def try_again(conn: Connection[Any], message_id: int, place: int, *, now: datetime) -> bool:
    """Somebody asks for a file that has not come; False when it has, or there is none."""
    return (
        conn.execute(
            """
            UPDATE whatsapp_logs.message_media SET state = 'waiting', attempts = 0, next_try_at = %(now)s, updated_at = %(now)s
            WHERE message_id = %(id)s AND place = %(place)s AND state IN ('waiting', 'failed')
            """,
            {"id": message_id, "place": place, "now": now},
        ).rowcount
        > 0
    )


def _rows(conn: Connection[Any], condition: str, parameters: dict[str, Any]) -> list[SentFile]:
    with conn.cursor(row_factory=class_row(SentFile)) as cursor:
        return cursor.execute(f"{_SELECT} {condition}".encode(), parameters).fetchall()
