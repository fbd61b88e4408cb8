"""Templates on their way to the provider and back: submissions, and the comparison of the catalogue with the provider's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from whatsapp_logs.catalogue import WAITING, ProviderTemplate
from whatsapp_logs.store import queue, templates
from whatsapp_logs.store.text import storable, storable_json

_HOUR, _SOON = timedelta(hours=1), timedelta(minutes=3)
_SUBMITTING = timedelta(minutes=1)  # so long a submission may be under way; then its process is dead
# A provider's templates as rows: see `_listed`.
_LISTED = """
    jsonb_to_recordset(%(listed)s::jsonb) AS l (
        sid text, name text, language text, content_type text, body text, media_url text, media_variable text, actions jsonb,
        variables jsonb, approval text, category text, reason text, created_at timestamptz)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """When Twilio was last asked for its templates, when it last answered, and why not since."""

    asked_at: datetime | None
    asked_by: str | None
    checked_at: datetime | None
    listed: int | None
    problem: str | None
    wanted_at: datetime | None


# --- submitting ---


def begin_submission(conn: Connection[Any], version_id: int, *, submitted_by: str) -> bool:
    """Claim the version for a submission; False when it is submitted already, or just being submitted."""
    return (
        conn.execute(
            """
            UPDATE whatsapp_logs.template_versions SET submitted_at = clock_timestamp(), submitted_by = %(by)s
            WHERE id = %(id)s AND approval IN ('draft', 'unsubmitted')
              AND (submitted_at IS NULL OR submitted_at < clock_timestamp() - %(patience)s)
            """,
            {"id": version_id, "by": submitted_by, "patience": _SUBMITTING},
        ).rowcount
        == 1
    )


def is_being_submitted(conn: Connection[Any], version_id: int) -> bool:
    """Whether a submission is under way: then the draft must stay as it is."""
    row = conn.execute(
        """
        SELECT FROM whatsapp_logs.template_versions
        WHERE id = %(id)s AND approval IN ('draft', 'unsubmitted') AND submitted_at > clock_timestamp() - %(patience)s
        """,
        {"id": version_id, "patience": _SUBMITTING},
    ).fetchone()
    return row is not None


def give_submission_back(conn: Connection[Any], version_id: int) -> None:
    """It could not be submitted, and may be tried again at once."""
    conn.execute(
        """
        UPDATE whatsapp_logs.template_versions SET submitted_at = NULL, submitted_by = NULL
        WHERE id = %(id)s AND approval IN ('draft', 'unsubmitted')
        """,
        {"id": version_id},
    )


def created(conn: Connection[Any], version_id: int, *, content_sid: str) -> None:
    """The provider has it; what it says is fixed from now on."""
    conn.execute(
        """
        UPDATE whatsapp_logs.template_versions
        SET content_sid = %(sid)s, approval = 'unsubmitted', decided_at = clock_timestamp(), checked_at = clock_timestamp()
        WHERE id = %(id)s AND content_sid IS NULL
          AND NOT EXISTS (SELECT FROM whatsapp_logs.template_versions AS k WHERE k.content_sid = %(sid)s)
        """,
        {"id": version_id, "sid": content_sid},
    )


def submitted(conn: Connection[Any], version_id: int, *, approval: str, told_by: str) -> None:
    """WhatsApp has been asked."""
    conn.execute(
        """
        WITH asked AS (
            UPDATE whatsapp_logs.template_versions
            SET approval = %(approval)s, rejection_reason = NULL, submitted_by = coalesce(submitted_by, %(by)s),
                submitted_at = coalesce(submitted_at, now()), decided_at = clock_timestamp(), checked_at = clock_timestamp()
            WHERE id = %(id)s AND approval = 'unsubmitted' RETURNING id, approval, category
        )
        INSERT INTO whatsapp_logs.template_events (version_id, approval, category, told_by)
        SELECT id, approval, category, %(by)s FROM asked
        """,
        {"id": version_id, "approval": storable(approval), "by": told_by},
    )


# --- synchronising ---


def read(conn: Connection[Any]) -> Sync:
    """When the catalogue was last compared with the provider's."""
    with conn.cursor(row_factory=class_row(Sync)) as cursor:
        row = cursor.execute(
            "SELECT asked_at, asked_by, checked_at, listed, problem, wanted_at FROM whatsapp_logs.template_sync"
        ).fetchone()
    assert row is not None
    return row


def is_due(conn: Connection[Any]) -> bool:
    """Whether to ask: hourly; after three minutes while a verdict is awaited or the last attempt failed; at once when wanted."""
    row = conn.execute(
        """
        SELECT s.wanted_at IS NOT NULL OR s.asked_at IS NULL OR s.asked_at < now() - %(hour)s OR (
            s.asked_at < now() - %(soon)s AND (s.problem IS NOT NULL OR EXISTS (
                SELECT FROM whatsapp_logs.template_versions WHERE approval = ANY (%(waiting)s))))
        FROM whatsapp_logs.template_sync AS s
        """,
        {"hour": _HOUR, "soon": _SOON, "waiting": sorted(WAITING)},
    ).fetchone()
    return bool(row and row[0])


def want_news(conn: Connection[Any]) -> None:
    """Have the provider asked at once: a message failed because of its template. Told many times, it is one job."""
    is_first = conn.execute(
        """
        UPDATE whatsapp_logs.template_sync SET wanted_at = now()
        WHERE id IN (SELECT id FROM whatsapp_logs.template_sync WHERE wanted_at IS NULL FOR UPDATE SKIP LOCKED)
        """
    ).rowcount
    if is_first:
        queue.defer(conn, "synchronise_templates")


def begin_sync(conn: Connection[Any], *, asked_by: str | None) -> datetime:
    """Note that the provider is asked; what was written down after the returned moment is newer than its answer."""
    row = conn.execute(
        """
        UPDATE whatsapp_logs.template_sync SET asked_at = clock_timestamp(), asked_by = %(by)s, wanted_at = NULL
        RETURNING asked_at
        """,
        {"by": asked_by},
    ).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


def end_sync(conn: Connection[Any], asked_at: datetime, *, listed: int | None, problem: str | None = None) -> None:
    """The provider has answered, or `problem` says why not; an answer that was overtaken says nothing."""
    conn.execute(
        """
        UPDATE whatsapp_logs.template_sync
        SET checked_at = CASE WHEN %(problem)s::text IS NULL THEN greatest(checked_at, %(at)s) ELSE checked_at END,
            listed = coalesce(%(listed)s, listed), problem = %(problem)s
        WHERE asked_at <= %(at)s OR %(problem)s::text IS NULL
        """,
        {"at": asked_at, "listed": listed, "problem": problem},
    )


def missing(conn: Connection[Any], sids: Sequence[str], *, asked_at: datetime, limit: int) -> list[str]:
    """Templates that we know and the provider's list has not shown, those that were seen longest ago first."""
    rows = conn.execute(
        """
        SELECT content_sid FROM whatsapp_logs.template_versions
        WHERE content_sid IS NOT NULL AND approval <> 'deleted' AND content_sid <> ALL (%(sids)s)
          AND (checked_at IS NULL OR checked_at <= %(at)s)
        ORDER BY checked_at NULLS FIRST, id LIMIT %(limit)s
        """,
        {"sids": list(sids), "at": asked_at, "limit": limit},
    ).fetchall()
    return [row[0] for row in rows]


def take(
    conn: Connection[Any], listed: Sequence[ProviderTemplate], gone: Sequence[str], *, asked_at: datetime
) -> tuple[int, int]:
    """Bring the catalogue to what the provider has; returns how many versions are new and how many have changed.

    What was written down after `asked_at` is newer than this answer, and stays.
    """
    given = {"listed": storable_json([_listed(one) for one in listed]), "gone": list(gone), "at": asked_at}
    conn.execute(
        f"""
        INSERT INTO whatsapp_logs.templates (name, language, created_by, created_at)
        SELECT DISTINCT ON (l.name, l.language) l.name, l.language, 'twilio', coalesce(l.created_at, now())
        FROM {_LISTED} ORDER BY l.name, l.language, l.created_at
        ON CONFLICT DO NOTHING
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        given,
    )
    _adopt(conn, given)
    _follow_words(conn, given)
    return _insert(conn, given), _follow_approval(conn, given)


def _adopt(conn: Connection[Any], given: Mapping[str, Any]) -> None:
    """A draft that the provider has word for word is that: its submission lost the answer."""
    conn.execute(
        f"""
        UPDATE whatsapp_logs.template_versions AS v
        SET content_sid = same.sid, approval = 'unsubmitted', decided_at = now()
        FROM (
            SELECT DISTINCT ON (d.id) d.id, l.sid
            FROM {_LISTED}
            JOIN whatsapp_logs.templates AS t ON (t.name, t.language) = (l.name, l.language)
            JOIN whatsapp_logs.template_versions AS d ON d.template_id = t.id AND d.approval = 'draft' AND d.content_sid IS NULL
            WHERE (d.content_type, d.body, d.actions) = (l.content_type, l.body, l.actions)
              AND d.media_url IS NOT DISTINCT FROM l.media_url
              AND NOT EXISTS (SELECT FROM whatsapp_logs.template_versions AS k WHERE k.content_sid = l.sid)
            ORDER BY d.id, l.created_at
        ) AS same
        WHERE v.id = same.id
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        given,
    )


def _follow_words(conn: Connection[Any], given: Mapping[str, Any]) -> None:
    """What was never submitted may be written anew at the provider."""
    conn.execute(
        f"""
        UPDATE whatsapp_logs.template_versions AS v
        SET content_type = l.content_type, body = l.body, media_url = l.media_url, media_variable = l.media_variable,
            actions = l.actions, variables = l.variables
        FROM {_LISTED}
        WHERE v.content_sid = l.sid AND v.approval = 'unsubmitted' AND (v.checked_at IS NULL OR v.checked_at <= %(at)s)
          AND (v.content_type, v.body, v.actions, coalesce(v.media_url, ''))
              <> (l.content_type, l.body, l.actions, coalesce(l.media_url, ''))
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        given,
    )


def _insert(conn: Connection[Any], given: Mapping[str, Any]) -> int:
    return conn.execute(
        f"""
        WITH added AS (
            INSERT INTO whatsapp_logs.template_versions
                (template_id, version, content_sid, content_type, body, media_url, media_variable, actions, variables, category,
                 approval, rejection_reason, created_by, created_at, decided_at, checked_at)
            SELECT t.id, last.version + row_number() OVER (PARTITION BY t.id ORDER BY l.created_at, l.sid), l.sid, l.content_type,
                   l.body, l.media_url, l.media_variable, l.actions, l.variables, coalesce(l.category, 'UTILITY'), l.approval,
                   l.reason, 'twilio', coalesce(l.created_at, now()), NULL, %(at)s
            FROM {_LISTED}
            JOIN whatsapp_logs.templates AS t ON (t.name, t.language) = (l.name, l.language)
            CROSS JOIN LATERAL (
                SELECT coalesce(max(o.version), 0) AS version FROM whatsapp_logs.template_versions AS o WHERE o.template_id = t.id
            ) AS last
            WHERE NOT EXISTS (SELECT FROM whatsapp_logs.template_versions AS k WHERE k.content_sid = l.sid)
            ON CONFLICT (content_sid) DO NOTHING
            RETURNING id, approval, category, rejection_reason
        )
        INSERT INTO whatsapp_logs.template_events (version_id, approval, category, reason, told_by)
        SELECT id, approval, category, rejection_reason, 'twilio' FROM added
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        given,
    ).rowcount


def _follow_approval(conn: Connection[Any], given: Mapping[str, Any]) -> int:
    return conn.execute(
        f"""
        WITH before AS (
            SELECT v.id, v.approval, v.category, v.rejection_reason, told.approval AS new_approval,
                   coalesce(told.category, v.category) AS new_category,
                   CASE WHEN told.is_gone THEN v.rejection_reason ELSE told.reason END AS new_reason
            FROM (
                SELECT l.sid, l.approval, l.category, l.reason, false AS is_gone FROM {_LISTED}
                UNION ALL SELECT gone.sid, 'deleted', NULL, NULL, true FROM unnest(%(gone)s::text[]) AS gone (sid)
            ) AS told
            JOIN whatsapp_logs.template_versions AS v ON v.content_sid = told.sid
            WHERE v.checked_at IS NULL OR v.checked_at <= %(at)s
            ORDER BY v.id FOR UPDATE OF v
        ), seen AS (
            UPDATE whatsapp_logs.template_versions AS v
            SET approval = b.new_approval, category = b.new_category, rejection_reason = b.new_reason, checked_at = %(at)s,
                decided_at = CASE WHEN b.approval = b.new_approval THEN v.decided_at ELSE now() END
            FROM before AS b WHERE v.id = b.id
        )
        INSERT INTO whatsapp_logs.template_events (version_id, approval, category, reason, told_by)
        SELECT id, new_approval, new_category, new_reason, 'twilio' FROM before
        WHERE (approval, category) <> (new_approval, new_category) OR rejection_reason IS DISTINCT FROM new_reason
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        given,
    ).rowcount


def _listed(one: ProviderTemplate) -> dict[str, Any]:
    content = one.content
    return {
        "sid": one.sid,
        "name": one.name,
        "language": one.language,
        "content_type": content.content_type,
        "body": content.body,
        "media_url": content.media_url,
        "media_variable": content.media_variable,
        "actions": [dict(action) for action in content.actions],
        "variables": templates.as_json(content.fields),
        "approval": one.approval,
        "category": one.category or None,
        "reason": one.rejection_reason,
        "created_at": one.created_at and one.created_at.isoformat(),
    }
