"""Templates, their versions, and how their approval changed. Versions are never removed; a message stays pinned to its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from whatsapp_logs.catalogue import STOPPED, Field, Version
from whatsapp_logs.store.text import storable, storable_json

COUNT_UP_TO = 1000  # uses of a template are counted so far
_LISTED_UP_TO = 300
_VERSION = """
    v.id, v.template_id, t.name, t.language, v.version, v.content_sid, v.content_type, v.body, v.media_url, v.media_variable,
    v.actions, v.variables, v.category, v.approval, v.rejection_reason, v.created_by, v.created_at, v.submitted_by,
    v.submitted_at, v.decided_at, v.checked_at, t.archived_at"""
_FROM = "FROM whatsapp_logs.template_versions AS v JOIN whatsapp_logs.templates AS t ON t.id = v.template_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the catalogue: a template's latest version, its latest approved one, and how it was used.

    `used` counts messages of the last 30 days, up to 1 001; `last_used_at` is of whatever age.
    """

    latest: Version
    approved: int | None
    used: int
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """How a version's approval or category changed. `told_by` is twilio, or who submitted it."""

    id: int
    version_id: int
    approval: str
    category: str
    reason: str | None
    told_by: str
    at: datetime


# --- reading ---


def entries(conn: Connection[Any], *, archived: bool, now: datetime) -> list[Entry]:
    """The catalogue by name, up to 300 templates; how often each was used costs an index walk that ends at 1 000."""
    rows = conn.execute(
        """
        SELECT latest.id, good.version, used.n, used.last_used_at
        FROM whatsapp_logs.templates AS t
        JOIN LATERAL (
            SELECT v.id FROM whatsapp_logs.template_versions AS v WHERE v.template_id = t.id ORDER BY v.version DESC LIMIT 1
        ) AS latest ON true
        LEFT JOIN LATERAL (
            SELECT v.version FROM whatsapp_logs.template_versions AS v
            WHERE v.template_id = t.id AND v.approval = 'approved' ORDER BY v.version DESC LIMIT 1
        ) AS good ON true
        JOIN LATERAL (
            SELECT (sum(lately.n))::integer AS n, max(latest.at) AS last_used_at
            FROM whatsapp_logs.template_versions AS v
            CROSS JOIN LATERAL (
                SELECT count(*) AS n FROM (
                    SELECT FROM whatsapp_logs.messages AS m WHERE m.template_version_id = v.id AND m.created_at > %(since)s
                    ORDER BY m.created_at DESC LIMIT %(limit)s) AS counted  -- in order: else a version without uses reads all
            ) AS lately
            LEFT JOIN LATERAL (
                SELECT m.created_at AS at FROM whatsapp_logs.messages AS m WHERE m.template_version_id = v.id
                ORDER BY m.created_at DESC LIMIT 1
            ) AS latest ON true
            WHERE v.template_id = t.id
        ) AS used ON true
        WHERE (t.archived_at IS NOT NULL) = %(archived)s
        ORDER BY t.name, t.language LIMIT %(most)s
        """,
        {"archived": archived, "since": now - timedelta(days=30), "limit": COUNT_UP_TO + 1, "most": _LISTED_UP_TO},
    ).fetchall()
    known = {one.id: one for one in versions(conn, [row[0] for row in rows])}
    return [
        Entry(latest=known[row[0]], approved=row[1], used=min(row[2], COUNT_UP_TO + 1), last_used_at=row[3])
        for row in rows
    ]


def versions(conn: Connection[Any], ids: Sequence[int]) -> list[Version]:
    """The versions of these ids."""
    return _versions(conn, "WHERE v.id = ANY (%(ids)s) ORDER BY v.id", {"ids": list(ids)})


def version(conn: Connection[Any], version_id: int) -> Version | None:
    """One version."""
    return next(iter(versions(conn, [version_id])), None)


def of_template(conn: Connection[Any], template_id: int) -> list[Version]:
    """All versions of a template, the latest first."""
    return _versions(conn, "WHERE v.template_id = %(id)s ORDER BY v.version DESC", {"id": template_id})


def of_sids(conn: Connection[Any], sids: Sequence[str]) -> list[Version]:
    """The versions that the provider keeps under these ids."""
    return _versions(conn, "WHERE v.content_sid = ANY (%(sids)s)", {"sids": list(sids)})


def latest(conn: Connection[Any], *, name: str, language: str | None) -> Version | None:
    """The version of that name that was submitted last, whatever became of it; of several languages the first's."""
    found = _versions(
        conn,
        """
        WHERE t.name = %(name)s AND (%(language)s::text IS NULL OR t.language = %(language)s)
        ORDER BY t.id, v.approval IN ('draft', 'unsubmitted'), v.version DESC LIMIT 1
        """,
        {"name": name, "language": language},
    )
    return next(iter(found), None)


def usable(conn: Connection[Any], *, name: str | None = None, language: str | None = None) -> list[Version]:
    """The latest approved version of each template that is not archived, by name; of one name, the one that was there first."""
    conditions = ["v.approval = 'approved'", "t.archived_at IS NULL"]
    conditions += ["t.name = %(name)s"] if name is not None else []
    conditions += ["t.language = %(language)s"] if language is not None else []
    return _versions(
        conn,
        f"""
        WHERE {" AND ".join(conditions)} AND NOT EXISTS (
            SELECT FROM whatsapp_logs.template_versions AS later
            WHERE later.template_id = v.template_id AND later.approval = 'approved' AND later.version > v.version)
        ORDER BY t.name, t.id
        """,
        {"name": name, "language": language},
    )


def events(conn: Connection[Any], template_id: int, *, limit: int = 200) -> list[Event]:
    """What became of a template's versions, the latest first."""
    with conn.cursor(row_factory=class_row(Event)) as cursor:
        return cursor.execute(
            """
            SELECT e.id, e.version_id, e.approval, e.category, e.reason, e.told_by, e.at
            FROM whatsapp_logs.template_events AS e JOIN whatsapp_logs.template_versions AS v ON v.id = e.version_id
            WHERE v.template_id = %(id)s ORDER BY e.id DESC LIMIT %(limit)s
            """,
            {"id": template_id, "limit": limit},
        ).fetchall()


def field_names(conn: Connection[Any]) -> dict[tuple[str, str], dict[str, str]]:
    """What the office calls the fields of each template, by (name, language): key → name; those without a name are left out."""
    rows = conn.execute(
        """
        SELECT t.name, t.language, jsonb_object_agg(f ->> 'key', f ->> 'name' ORDER BY v.version)
        FROM whatsapp_logs.templates AS t JOIN whatsapp_logs.template_versions AS v ON v.template_id = t.id
        CROSS JOIN LATERAL jsonb_array_elements(v.variables) AS f
        WHERE f ->> 'name' <> f ->> 'key' GROUP BY t.name, t.language
        """
    ).fetchall()
    return {(row[0], row[1]): row[2] for row in rows}


# --- writing versions ---


def lock(conn: Connection[Any]) -> None:
    """Wait until nobody else changes the catalogue; until the end of the transaction."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('whatsapp_logs.templates', 0))")


def add_template(conn: Connection[Any], *, name: str, language: str, created_by: str) -> int | None:
    """A new template without a version; None when there is one of that name and language."""
    row = conn.execute(
        """
        INSERT INTO whatsapp_logs.templates (name, language, created_by) VALUES (%(name)s, %(language)s, %(by)s)
        ON CONFLICT DO NOTHING RETURNING id
        """,
        {"name": storable(name), "language": language, "by": created_by},
    ).fetchone()
    return None if row is None else int(row[0])


def put_draft(conn: Connection[Any], template_id: int, values: Mapping[str, Any], *, created_by: str) -> int:
    """Write the template's draft, or a new one as its next version; `values` are columns. Returns the version's id."""
    row = conn.execute(
        """
        INSERT INTO whatsapp_logs.template_versions AS v
            (template_id, version, content_type, body, media_url, media_variable, actions, variables, category, created_by)
        SELECT %(template_id)s, coalesce(max(version), 0) + 1, %(content_type)s, %(body)s, %(media_url)s, %(media_variable)s,
               %(actions)s::jsonb, %(variables)s::jsonb, %(category)s, %(created_by)s
        FROM whatsapp_logs.template_versions WHERE template_id = %(template_id)s
        ON CONFLICT (template_id) WHERE approval = 'draft' DO UPDATE
        SET content_type = EXCLUDED.content_type, body = EXCLUDED.body, media_url = EXCLUDED.media_url,
            media_variable = EXCLUDED.media_variable, actions = EXCLUDED.actions, variables = EXCLUDED.variables,
            category = EXCLUDED.category, created_by = EXCLUDED.created_by, created_at = now()
        RETURNING id
        """,
        {
            **storable(values),
            "actions": storable_json(values["actions"]),
            "variables": storable_json(values["variables"]),
            "template_id": template_id,
            "created_by": created_by,
        },
    ).fetchone()
    assert row is not None
    return int(row[0])


def set_variables(conn: Connection[Any], version_id: int, variables: Sequence[Mapping[str, str]]) -> None:
    """What we call the fields, which Twilio does not know."""
    conn.execute(
        "UPDATE whatsapp_logs.template_versions SET variables = %(variables)s::jsonb WHERE id = %(id)s",
        {"id": version_id, "variables": storable_json(list(variables))},
    )


def set_archived(conn: Connection[Any], template_id: int, *, archived_by: str | None) -> bool:
    """Take the template out of what is offered, or put it back (None); False when there is none."""
    return (
        conn.execute(
            """
            UPDATE whatsapp_logs.templates
            SET archived_at = CASE WHEN %(by)s::text IS NULL THEN NULL ELSE now() END, archived_by = %(by)s WHERE id = %(id)s
            """,
            {"id": template_id, "by": archived_by},
        ).rowcount
        == 1
    )


# --- what alarms ask ---


def stopped(conn: Connection[Any], *, within: timedelta, limit: int = 20) -> tuple[tuple[int, str, str], ...]:
    """Templates that cannot be sent with, were used in that time, and have no approved version after it: (id, name, approval)."""
    rows = conn.execute(
        """
        SELECT DISTINCT ON (t.name, t.id) t.id, t.name, v.approval
        FROM whatsapp_logs.template_versions AS v JOIN whatsapp_logs.templates AS t ON t.id = v.template_id
        CROSS JOIN LATERAL (
            SELECT m.created_at FROM whatsapp_logs.messages AS m WHERE m.template_version_id = v.id
            ORDER BY m.created_at DESC LIMIT 1
        ) AS last
        WHERE v.approval = ANY (%(stopped)s) AND t.archived_at IS NULL
          AND NOT EXISTS (
              SELECT FROM whatsapp_logs.template_versions AS later
              WHERE later.template_id = v.template_id AND later.version > v.version AND later.approval = 'approved')
          AND last.created_at > now() - %(within)s
        ORDER BY t.name, t.id, v.version DESC LIMIT %(limit)s
        """,
        {"stopped": sorted(STOPPED), "within": within, "limit": limit},
    ).fetchall()
    return tuple((row[0], row[1], row[2]) for row in rows)


def _versions(conn: Connection[Any], conditions: str, parameters: Mapping[str, Any]) -> list[Version]:
    with conn.cursor(row_factory=class_row(Version)) as cursor:
        return cursor.execute(f"SELECT {_VERSION} {_FROM} {conditions}".encode(), parameters).fetchall()


def as_json(fields: Sequence[Field]) -> list[dict[str, str]]:
    """Fields as the column `variables` holds them."""
    return [{"key": one.key, "name": one.name, "sample": one.sample} for one in fields]
