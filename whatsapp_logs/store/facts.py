"""What the gate has to know of many drafts and their recipients, in one statement each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import args_row, class_row

from whatsapp_logs.store.text import storable_json

_LOOKED_AT = 50  # of a recipient's latest messages: more in a day is beyond every limit
_OF_A_MESSAGE = """
    id, path, status, created_at, send_at, claimed_at, retry_at, provider_id, body, template_sid, variables, message_type,
    media_url, media_id"""
_WAITED = timedelta(days=7)  # for nights and limits, at most, before a message without a set time left


class Facts(NamedTuple):
    """Of one draft, by its `place`: the recipient's last word, their consent, and what they were sent within the day.

    `opted_out_at` is when they asked us to stop, if that holds, `has_agreed` whether they agreed to all messages; `marketing` is
    opt_in, opt_out, or None where nothing was said.
    `twin` is the latest message of the day before or after with the same content that has not failed, `twin_at` when it left or
    is due; `lately` counts what nobody had asked for, and `oldest_at` is when the first of it left.
    """

    place: int
    last_inbound_at: datetime | None
    last_initiated_at: datetime | None
    opted_out_at: datetime | None
    opted_out_by: str | None
    has_agreed: bool
    marketing: str | None
    lately: int
    oldest_at: datetime | None
    twin: int | None
    twin_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFacts:
    """Of one template version: what the provider thinks of it and what has to be filled in (key → the field's name)."""

    id: int
    content_sid: str
    name: str
    language: str
    category: str
    approval: str
    rejection_reason: str | None
    media_variable: str | None
    fields: dict[str, str]


def of_drafts(
    conn: Connection[Any], drafts: Sequence[Mapping[str, Any]], *, our_number: str, now: datetime, within: timedelta
) -> dict[int, Facts]:
    """By `place`. Each draft: place, recipient, body, template_sid, variables, media_sha256 (hex) or media_id, media_url,
    message_type, leaves_at; of a message that waits already also its id and `timed`: later ones that left before it count too.
    The day is the one before `leaves_at`, and a message counts in it by when it left or is due, not by when it was asked for.
    """
    with conn.cursor(row_factory=args_row(Facts)) as cursor:
        rows = cursor.execute(
            f"""
            SELECT d.place, c.last_inbound_at, c.last_initiated_at,
                   CASE WHEN everything.kind = 'opt_out' THEN everything.happened_at END AS opted_out_at,
                   CASE WHEN everything.kind = 'opt_out' THEN everything.source END AS opted_out_by,
                   coalesce(everything.kind = 'opt_in', false) AS has_agreed,
                   CASE WHEN marketing.happened_at >= coalesce(everything.happened_at, '-infinity') THEN marketing.kind
                        ELSE everything.kind END AS marketing,
                   coalesce(day.lately, 0) AS lately, day.oldest_at, day.twin, day.twin_at
            FROM jsonb_to_recordset(%(drafts)s::jsonb) AS d (
                place integer, recipient text, body text, template_sid text, variables jsonb, media_sha256 text, media_id uuid,
                media_url text, message_type text, id bigint, timed boolean, leaves_at timestamptz)
            LEFT JOIN whatsapp_logs.contacts AS c ON c.address = d.recipient AND c.our_number = %(our_number)s
            LEFT JOIN LATERAL (
                SELECT e.kind, e.happened_at, e.source FROM whatsapp_logs.consent_events AS e
                WHERE e.address = d.recipient AND e.scope = 'all' ORDER BY e.happened_at DESC, e.id DESC LIMIT 1
            ) AS everything ON true
            LEFT JOIN LATERAL (
                SELECT e.kind, e.happened_at FROM whatsapp_logs.consent_events AS e
                WHERE e.address = d.recipient AND e.scope = 'marketing' ORDER BY e.happened_at DESC, e.id DESC LIMIT 1
            ) AS marketing ON true
            LEFT JOIN LATERAL (
                SELECT count(*) FILTER (WHERE l.counts) AS lately, min(l.leaves_at) FILTER (WHERE l.counts) AS oldest_at,
                       max(l.id) FILTER (WHERE l.same) AS twin,
                       (array_agg(l.leaves_at ORDER BY l.id DESC) FILTER (WHERE l.same))[1] AS twin_at
                FROM (
                    SELECT m.id, m.leaves_at,
                           m.path NOT IN ('reply', 'bot') AND m.leaves_at <= d.leaves_at
                           AND (d.id IS NULL OR m.id < d.id OR (m.id <> d.id AND m.claimed_at < %(now)s)) AS counts,
                           (d.id IS NULL OR m.id < d.id OR (d.timed AND m.id <> d.id AND m.claimed_at IS NOT NULL))
                           AND m.body IS NOT DISTINCT FROM d.body AND m.template_sid IS NOT DISTINCT FROM d.template_sid
                           AND m.variables IS NOT DISTINCT FROM d.variables AND m.message_type = d.message_type
                           AND m.media_url IS NOT DISTINCT FROM d.media_url
                           AND (SELECT encode(f.sha256, 'hex') FROM whatsapp_logs.media AS f WHERE f.id = m.media_id)
                               IS NOT DISTINCT FROM coalesce(d.media_sha256, (
                                   SELECT encode(f.sha256, 'hex') FROM whatsapp_logs.media AS f WHERE f.id = d.media_id)) AS same
                    FROM (
                        SELECT n.*, CASE WHEN n.claimed_at IS NULL AND n.provider_id IS NULL
                                         THEN greatest(coalesce(n.retry_at, n.send_at, n.created_at), %(now)s)
                                         ELSE coalesce(n.claimed_at, n.send_at, n.created_at) END AS leaves_at
                        FROM (
                            (SELECT {_OF_A_MESSAGE} FROM whatsapp_logs.messages
                             WHERE recipient = d.recipient AND direction = 'outbound' AND send_at IS NULL
                               AND created_at > d.leaves_at - %(waited)s
                             ORDER BY created_at DESC, id DESC LIMIT %(looked_at)s)
                            UNION ALL
                            (SELECT {_OF_A_MESSAGE} FROM whatsapp_logs.messages
                             WHERE recipient = d.recipient AND direction = 'outbound' AND send_at IS NOT NULL
                               AND send_at > d.leaves_at - %(within)s * 2 AND send_at < d.leaves_at + %(within)s
                             ORDER BY send_at DESC LIMIT %(looked_at)s)
                        ) AS n
                        WHERE n.status NOT IN ('failed', 'undelivered', 'canceled')
                    ) AS m
                    WHERE m.leaves_at > d.leaves_at - %(within)s AND m.leaves_at < d.leaves_at + %(within)s
                ) AS l
            ) AS day ON true
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            {
                "drafts": storable_json(list(drafts)),
                "our_number": our_number,
                "now": now,
                "within": within,
                "waited": _WAITED,
                "looked_at": _LOOKED_AT,
            },
        ).fetchall()
    return {row.place: row for row in rows}


def of_templates(conn: Connection[Any], sids: Sequence[str]) -> dict[str, TemplateFacts]:
    """The versions of these Content SIDs that the catalogue knows."""
    with conn.cursor(row_factory=class_row(TemplateFacts)) as cursor:
        rows = cursor.execute(
            """
            SELECT v.id, v.content_sid, t.name, t.language, v.category, v.approval, v.rejection_reason, v.media_variable,
                   coalesce(
                       (SELECT jsonb_object_agg(f ->> 'key', f ->> 'name') FROM jsonb_array_elements(v.variables) AS f), '{}'
                   ) AS fields
            FROM whatsapp_logs.template_versions AS v JOIN whatsapp_logs.templates AS t ON t.id = v.template_id
            WHERE v.content_sid = ANY (%(sids)s)
            """,
            {"sids": list(sids)},
        ).fetchall()
    return {row.content_sid: row for row in rows}


def knows_templates(conn: Connection[Any]) -> bool:
    """Whether the catalogue was ever filled from the provider: only then is a template that it lacks one that is not there."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM whatsapp_logs.template_versions WHERE checked_at IS NOT NULL)"
    ).fetchone()
    return bool(row and row[0])


def written_to_first(
    conn: Connection[Any], *, our_number: str, since: datetime, limit: int
) -> tuple[int, datetime | None]:
    """How many customers this number began a conversation with since then, counted up to `limit`, and when the first was."""
    row = conn.execute(
        """
        SELECT count(*), min(last_initiated_at) FROM (
            SELECT last_initiated_at FROM whatsapp_logs.contacts
            WHERE our_number = %(our_number)s AND last_initiated_at > %(since)s ORDER BY last_initiated_at DESC LIMIT %(limit)s
        ) AS latest
        """,
        {"our_number": our_number, "since": since, "limit": limit},
    ).fetchone()
    assert row is not None
    return row[0], row[1]
