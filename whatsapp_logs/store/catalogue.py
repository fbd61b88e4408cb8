"""Approved templates as a person chooses one for an answer: their words, and what has to be filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row


@dataclass(frozen=True, slots=True, kw_only=True)
class Sendable:
    """A version that may be sent now. `fields` are its placeholders in order: key, name, sample."""

    id: int
    content_sid: str
    name: str
    language: str
    body: str
    fields: list[dict[str, str]]

    def filled(self, values: dict[str, str]) -> str:
        """The words as the customer will read them."""
        text = self.body
        for key, value in values.items():
            text = text.replace("{{" + key + "}}", value)
        return text


def sendable(conn: Connection[Any]) -> list[Sendable]:
    """The latest approved version of each template that needs no document, in order of their names."""
    with conn.cursor(row_factory=class_row(Sendable)) as cursor:
        return cursor.execute(
            """
            SELECT DISTINCT ON (t.name, t.language) v.id, v.content_sid, t.name, t.language, v.body, v.variables AS fields
            FROM whatsapp_logs.template_versions AS v JOIN whatsapp_logs.templates AS t ON t.id = v.template_id
            WHERE v.approval = 'approved' AND v.content_sid IS NOT NULL AND v.media_variable IS NULL AND v.media_url IS NULL
              AND t.archived_at IS NULL AND v.category <> 'AUTHENTICATION'
            ORDER BY t.name, t.language, v.version DESC
            """
        ).fetchall()
