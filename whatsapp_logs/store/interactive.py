"""The bot's questions with something to press, as Twilio keeps them: one row for each shape, with its id as soon as it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

_AGAIN_AFTER = timedelta(hours=6)  # what Twilio has refused it hardly takes a minute later


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A shape that Twilio does not keep yet."""

    name: str
    content: dict[str, Any]


def sid_of(conn: Connection[Any], name: str) -> str | None:
    """Twilio's id of this shape; None while it is not made."""
    row = conn.execute(
        "SELECT content_sid FROM whatsapp_logs.interactive_contents WHERE name = %(name)s", {"name": name}
    ).fetchone()
    return None if row is None else row[0]


def want(conn: Connection[Any], shapes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Have these shapes made, by name; whether any of them is new."""
    added = conn.execute(
        """
        INSERT INTO whatsapp_logs.interactive_contents (name, content)
        SELECT w.key, w.value FROM jsonb_each(%(wanted)s) AS w ON CONFLICT (name) DO NOTHING
        """,
        {"wanted": Jsonb({name: dict(content) for name, content in shapes.items()})},
    )
    return added.rowcount > 0


def wanted(conn: Connection[Any], *, now: datetime, limit: int) -> list[Wanted]:
    """Shapes to be made now."""
    with conn.cursor(row_factory=class_row(Wanted)) as cursor:
        return cursor.execute(
            """
            SELECT name, content FROM whatsapp_logs.interactive_contents
            WHERE content_sid IS NULL AND (tried_at IS NULL OR tried_at < %(before)s) ORDER BY name LIMIT %(limit)s
            """,
            {"before": now - _AGAIN_AFTER, "limit": limit},
        ).fetchall()


def made(conn: Connection[Any], name: str, *, content_sid: str, now: datetime) -> None:
    """Twilio keeps the shape."""
    conn.execute(
        """
        UPDATE whatsapp_logs.interactive_contents SET content_sid = %(sid)s, tried_at = %(now)s, problem = NULL
        WHERE name = %(name)s AND content_sid IS NULL
        """,
        {"name": name, "sid": content_sid, "now": now},
    )


def refused(conn: Connection[Any], name: str, *, problem: str, now: datetime) -> None:
    """Twilio does not take the shape: its questions stay text."""
    conn.execute(
        "UPDATE whatsapp_logs.interactive_contents SET tried_at = %(now)s, problem = %(problem)s WHERE name = %(name)s",
        {"name": name, "problem": problem, "now": now},
    )


def put_away(conn: Connection[Any], names: Sequence[str]) -> None:
    """In the catalogue these stand among what was archived: nobody chooses them."""
    conn.execute(
        """
        UPDATE whatsapp_logs.templates SET archived_at = now(), archived_by = 'bot'
        WHERE name = ANY (%(names)s) AND archived_at IS NULL
          AND id IN (SELECT v.template_id FROM whatsapp_logs.template_versions AS v
                     JOIN whatsapp_logs.interactive_contents AS i ON i.content_sid = v.content_sid)
        """,
        {"names": list(names)},
    )
