"""Rows of the access log: written, read, and never changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from whatsapp_logs.access_log import Access, AccessFilter, Act, Look
from whatsapp_logs.filters import Cursor
from whatsapp_logs.store.words import is_one_of

_SAME_LOOK = timedelta(minutes=15)  # a page that keeps itself up to date is one look, not hundreds
_MAX_WORD, _MAX_ADDRESSES = 200, 20


def write(conn: Connection[Any], look: Look) -> None:
    """Write a look down, unless it is the same person's same look of the last quarter of an hour."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.accesses (person, act, message_id, subjects, about, address)
        SELECT %(person)s, %(act)s, %(message_id)s, %(subjects)s, %(about)s, %(address)s
        WHERE NOT EXISTS (
            SELECT FROM whatsapp_logs.accesses AS a
            WHERE a.person = %(person)s AND a.at > statement_timestamp() - %(same)s AND a.act = %(act)s
              AND a.act <> 'exported' AND a.message_id IS NOT DISTINCT FROM %(message_id)s::bigint
              AND a.subjects = %(subjects)s::text[] AND a.about = %(about)s::jsonb
              AND a.address IS NOT DISTINCT FROM %(address)s::text
        )
        """,
        {
            "person": look.person.replace("\0", "")[:_MAX_WORD],
            "act": look.act.value,
            "message_id": look.message_id,
            "subjects": list(look.subjects),
            "about": Jsonb(dict(look.about)),
            "address": look.address and look.address[:_MAX_WORD],
            "same": _SAME_LOOK,
        },
    )


def page(
    conn: Connection[Any], wanted: AccessFilter, *, whom: list[str], before: Cursor | None = None, limit: int
) -> list[Access]:
    """Looks, newest first. `whom` are the words for the filter's client: its own, and those of its numbers."""
    parts, parameters = _conditions(wanted, whom)
    if before is not None:
        parts.append(sql.SQL("(a.at, a.id) < (%(at)s, %(id)s)"))
        parameters |= {"at": before.created_at, "id": before.id}
    query = sql.SQL(
        "SELECT a.id, a.at, a.person, a.act, a.message_id, a.subjects, a.about, a.address"
        " FROM {} AS a WHERE {} ORDER BY a.at DESC, a.id DESC LIMIT %(limit)s"
    ).format(sql.SQL(_MAY_HAVE_SHOWN if wanted.client_id else "whatsapp_logs.accesses"), sql.SQL(" AND ").join(parts))
    with conn.cursor(row_factory=kwargs_row(_access)) as cursor:
        return cursor.execute(query, parameters | {"limit": limit}).fetchall()


def of_client(conn: Connection[Any], client_id: str) -> tuple[list[str], list[str]]:
    """The numbers of the client's latest thousand messages (twenty at most), and the policies they were about."""
    row = conn.execute(
        """
        WITH latest AS (
            SELECT CASE direction WHEN 'inbound' THEN sender ELSE recipient END AS number, policy_id::text AS policy
            FROM whatsapp_logs.messages WHERE client_id = %(client)s
            ORDER BY created_at DESC, id DESC LIMIT 1000
        )
        SELECT ARRAY(SELECT DISTINCT number FROM latest WHERE number IS NOT NULL AND number <> 'erased' LIMIT %(most)s),
               ARRAY(SELECT DISTINCT policy FROM latest WHERE policy IS NOT NULL)
        """,
        {"client": client_id, "most": _MAX_ADDRESSES},
    ).fetchone()
    return ([], []) if row is None else (row[0], row[1])


def people(conn: Connection[Any], *, limit: int = 200) -> list[str]:
    """Everybody who has ever looked, by name: walked from name to name, not counted."""
    rows = conn.execute(
        """
        WITH RECURSIVE known AS (
            (SELECT person, 1 AS n FROM whatsapp_logs.accesses ORDER BY person LIMIT 1)
            UNION ALL
            SELECT (SELECT a.person FROM whatsapp_logs.accesses AS a WHERE a.person > k.person ORDER BY a.person LIMIT 1), k.n + 1
            FROM known AS k WHERE k.person IS NOT NULL AND k.n < %(limit)s
        )
        SELECT person FROM known WHERE person IS NOT NULL
        """,
        {"limit": limit},
    ).fetchall()
    return [row[0] for row in rows]


def _conditions(wanted: AccessFilter, whom: list[str]) -> tuple[list[sql.Composable], dict[str, Any]]:
    parts: list[sql.Composable] = [sql.SQL("true")]
    parameters: dict[str, Any] = {}
    given: list[tuple[str, Any, str]] = [
        ("person", wanted.person, "a.person = %(person)s"),
        ("message", wanted.message_id, "a.message_id = %(message)s"),
        ("since", wanted.since, "a.at >= %(since)s"),
        ("until", wanted.until, "a.at < %(until)s"),
    ]
    for name, value, condition in given:
        if value:
            parts.append(sql.SQL(condition))
            parameters[name] = value
    if wanted.acts:  # written out, because one plan does not suit an act that is rare and one that is not
        parts.append(is_one_of("a.act", [act.value for act in wanted.acts]))
    if wanted.client_id:
        parameters |= {"whom": whom, "client": wanted.client_id}
    return parts, parameters


# Looks at this customer, and exports whose days and types held a message of theirs. Statuses move, so that they leave none out.
_MAY_HAVE_SHOWN = """
(
    -- Word by word: many words at once look like half the table, and the whole of it would be read.
    SELECT * FROM whatsapp_logs.accesses WHERE id = ANY (ARRAY(
        SELECT found.id FROM unnest(%(whom)s::text[]) AS word
        CROSS JOIN LATERAL (SELECT id FROM whatsapp_logs.accesses WHERE subjects @> ARRAY[word]) AS found))
    UNION ALL
    SELECT e.* FROM whatsapp_logs.accesses AS e
    WHERE e.act = 'exported' AND e.subjects = '{}' AND EXISTS (
        SELECT FROM whatsapp_logs.messages AS m
        WHERE m.client_id = %(client)s AND m.created_at < e.at
          AND (e.about->>'since' IS NULL OR m.created_at >= (e.about->>'since')::timestamptz)
          AND (e.about->>'until' IS NULL OR m.created_at < (e.about->>'until')::timestamptz)
          AND (e.about->'types' IS NULL OR e.about->'types' ? m.message_type)
          AND m.direction = COALESCE(e.about->>'direction', 'outbound')))
"""


def _access(**row: Any) -> Access:
    row["act"] = Act(row["act"])
    row["subjects"] = tuple(row["subjects"])
    return Access(**row)
