"""Documents, each stored once per message that carries it."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from psycopg import Connection

from whatsapp_logs.message import MediaFile


def insert(conn: Connection[Any], file: MediaFile) -> str:
    """Store a document; returns its id (a random UUID, so that nobody can guess another's)."""
    row = conn.execute(
        """
        INSERT INTO whatsapp_logs.media (content, content_type, filename, sha256)
        VALUES (%(content)s, %(content_type)s, %(filename)s, %(sha256)s) RETURNING id::text
        """,
        {
            "content": file.content,
            "content_type": file.content_type,
            "filename": file.filename,
            "sha256": hashlib.sha256(file.content).digest(),
        },
    ).fetchone()
    assert row is not None
    return str(row[0])


def get(conn: Connection[Any], media_id: str) -> MediaFile | None:
    """The document of that id; None also for a text that is no id."""
    try:
        key = UUID(media_id)
    except ValueError:
        return None
    row = conn.execute(
        "SELECT content, content_type, filename FROM whatsapp_logs.media WHERE id = %(id)s", {"id": key}
    ).fetchone()
    return None if row is None else MediaFile(content=bytes(row[0]), content_type=row[1], filename=row[2])
