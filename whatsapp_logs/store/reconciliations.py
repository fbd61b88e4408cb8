"""Comparisons with the provider's list: their runs, what differed, and the rows of ours they are about."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row, kwargs_row

from whatsapp_logs.message import NOT_SENT, ProviderMessage, Status
from whatsapp_logs.store.text import storable

_COLUMNS = """id, day, started_by, started_at, heartbeat_at, asked, problem, retry_at, finished_at, theirs, ours, equal,
    imported, attached, unknown_to_provider, status_differed, price_differed, prices_learnt, other_senders"""
_MAX_WORD = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """One day's comparison. The figures are None until it has finished; `problem` without `finished_at` is a pause."""

    id: int
    day: date
    started_by: str | None
    started_at: datetime
    heartbeat_at: datetime
    asked: int
    problem: str | None
    retry_at: datetime | None
    finished_at: datetime | None
    theirs: int | None
    ours: int | None
    equal: int | None
    imported: int | None
    attached: int | None
    unknown_to_provider: int | None
    status_differed: int | None
    price_differed: int | None
    prices_learnt: int | None
    other_senders: int | None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.finished_at is not None

    @property
    def is_clean(self) -> bool:
        """Whether both sides were compared whole and told the same."""
        return self.is_finished and self.problem is None and self.theirs == self.ours == self.equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One message on which the two sides did not agree; `kind` says how, `ours` and `theirs` what each told."""

    provider_id: str
    kind: str
    message_id: int | None
    ours: str | None = None
    theirs: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A message of ours as far as it is compared."""

    id: int
    provider_id: str
    status: Status
    price: Decimal | None
    price_unit: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WithoutSid:
    """When a recipient was sent something that the provider may have without our knowing; `until` is None while that goes on."""

    recipient: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one attempt counted; the differences are counted from their rows, which outlive an interrupted attempt."""

    theirs: int = 0
    prices_learnt: int = 0
    other_senders: int = 0


def start(conn: Connection[Any], day: date, *, started_by: str | None) -> tuple[Reconciliation, bool]:
    """The day's run under way, or a new one; the second value says whether it is new."""
    new = conn.execute(
        """
        INSERT INTO whatsapp_logs.reconciliations (day, started_by) VALUES (%(day)s, %(by)s)
        ON CONFLICT DO NOTHING RETURNING id
        """,
        {"day": day, "by": started_by},
    ).fetchone()
    running = _one(conn, "day = %(key)s AND finished_at IS NULL", day)
    if running is None:  # the one we met has finished in this very moment
        return start(conn, day, started_by=started_by)
    return running, new is not None


def get(conn: Connection[Any], reconciliation_id: int) -> Reconciliation | None:
    """The run of that id."""
    return _one(conn, "id = %(key)s", reconciliation_id)


def latest(conn: Connection[Any], *, limit: int = 60) -> list[Reconciliation]:
    """The last run of each day, the newest day first."""
    with conn.cursor(row_factory=class_row(Reconciliation)) as cursor:
        return cursor.execute(
            f"""
            SELECT DISTINCT ON (day) {_COLUMNS} FROM whatsapp_logs.reconciliations ORDER BY day DESC, id DESC LIMIT %(limit)s
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            {"limit": limit},
        ).fetchall()


def differences(conn: Connection[Any], reconciliation_id: int, *, limit: int) -> list[Difference]:
    """What differed in a run, the gravest kinds first."""
    with conn.cursor(row_factory=class_row(Difference)) as cursor:
        return cursor.execute(
            """
            SELECT provider_id, kind, message_id, ours, theirs FROM whatsapp_logs.reconciliation_differences
            WHERE reconciliation_id = %(id)s
            ORDER BY array_position(ARRAY['unknown_to_provider', 'held_back', 'imported', 'attached', 'status', 'price'], kind),
                     message_id, provider_id
            LIMIT %(limit)s
            """,
            {"id": reconciliation_id, "limit": limit},
        ).fetchall()


def found_at(conn: Connection[Any], message_id: int) -> datetime | None:
    """When the message was found at the provider because the log had no record of it; None for messages of the log's own."""
    row = conn.execute(
        """
        SELECT r.started_at FROM whatsapp_logs.reconciliation_differences AS d
        JOIN whatsapp_logs.reconciliations AS r ON r.id = d.reconciliation_id
        WHERE d.message_id = %(id)s AND d.kind = 'imported'
        """,
        {"id": message_id},
    ).fetchone()
    return None if row is None else row[0]


# --- a run's life ------------------------------------------------------------------------------------------------------


def take_over(conn: Connection[Any], reconciliation_id: int, *, silent_s: int) -> Reconciliation | None:
    """Begin or resume the run, unless another worker told of progress within `silent_s`; None when it is not ours to do."""
    with conn.cursor(row_factory=class_row(Reconciliation)) as cursor:
        return cursor.execute(
            f"""
            UPDATE whatsapp_logs.reconciliations
            SET taken_at = clock_timestamp(), heartbeat_at = clock_timestamp(), problem = NULL, retry_at = NULL, asked = 0
            WHERE id = %(id)s AND finished_at IS NULL
              AND (taken_at IS NULL OR heartbeat_at < clock_timestamp() - make_interval(secs => %(silent_s)s))
            RETURNING {_COLUMNS}
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            {"id": reconciliation_id, "silent_s": silent_s},
        ).fetchone()


def progress(conn: Connection[Any], reconciliation_id: int, *, asked: int) -> None:
    """A sign of life: so many more messages have been compared."""
    conn.execute(
        """
        UPDATE whatsapp_logs.reconciliations SET asked = asked + %(asked)s, heartbeat_at = clock_timestamp()
        WHERE id = %(id)s
        """,
        {"id": reconciliation_id, "asked": asked},
    )


def pause(conn: Connection[Any], reconciliation_id: int, *, problem: str, retry_at: datetime) -> None:
    """Stop for now: the provider does not answer. Whoever comes after `retry_at` goes on."""
    conn.execute(
        """
        UPDATE whatsapp_logs.reconciliations SET taken_at = NULL, problem = %(problem)s, retry_at = %(retry_at)s
        WHERE id = %(id)s AND finished_at IS NULL
        """,
        {"id": reconciliation_id, "problem": problem, "retry_at": retry_at},
    )


def due(conn: Connection[Any], *, silent_s: int) -> list[int]:
    """Runs that wait for a worker: paused ones whose time has come, and those whose worker fell silent."""
    rows = conn.execute(
        """
        SELECT id FROM whatsapp_logs.reconciliations
        WHERE finished_at IS NULL
          AND (retry_at <= clock_timestamp()
               OR (retry_at IS NULL AND heartbeat_at < clock_timestamp() - make_interval(secs => %(silent_s)s)))
        ORDER BY id
        """,
        {"silent_s": silent_s},
    ).fetchall()
    return [row[0] for row in rows]


def last_day(conn: Connection[Any], *, settled_h: int) -> date | None:
    """The newest day whose run began when the day had been over for `settled_h` hours."""
    row = conn.execute(
        """
        SELECT max(day) FROM whatsapp_logs.reconciliations
        WHERE started_at >= (day + 1)::timestamp AT TIME ZONE 'UTC' + make_interval(hours => %(settled_h)s)
        """,
        {"settled_h": settled_h},
    ).fetchone()
    return None if row is None else row[0]


def finish(conn: Connection[Any], reconciliation_id: int, figures: Figures, *, problem: str | None = None) -> None:
    """Write the result down; `problem` says in words why it is not complete."""
    conn.execute(
        """
        WITH noted AS (
            SELECT count(*) FILTER (WHERE kind = 'imported') AS imported,
                   count(*) FILTER (WHERE kind = 'attached') AS attached,
                   count(*) FILTER (WHERE kind IN ('imported', 'held_back')) AS only_theirs,
                   count(*) FILTER (WHERE kind = 'unknown_to_provider') AS unknown_to_provider,
                   count(*) FILTER (WHERE kind = 'status') AS status_differed,
                   count(*) FILTER (WHERE kind = 'price') AS price_differed,
                   count(DISTINCT provider_id) FILTER (WHERE kind <> 'unknown_to_provider') AS unequal
            FROM whatsapp_logs.reconciliation_differences WHERE reconciliation_id = %(id)s
        )
        UPDATE whatsapp_logs.reconciliations AS r
        SET finished_at = clock_timestamp(), problem = %(problem)s, retry_at = NULL,
            theirs = %(theirs)s, ours = %(theirs)s - n.only_theirs + n.unknown_to_provider,
            equal = GREATEST(%(theirs)s - n.unequal, 0), imported = n.imported,
            attached = n.attached, unknown_to_provider = n.unknown_to_provider, status_differed = n.status_differed,
            price_differed = n.price_differed, prices_learnt = %(prices_learnt)s, other_senders = %(other_senders)s
        FROM noted AS n WHERE r.id = %(id)s AND r.finished_at IS NULL
        """,
        {"id": reconciliation_id, "problem": problem, **asdict(figures)},
    )


def note(conn: Connection[Any], reconciliation_id: int, found: Sequence[Difference]) -> None:
    """Keep what differed; the same difference found again by a resumed run is one row."""
    if not found:
        return
    conn.execute(
        """
        INSERT INTO whatsapp_logs.reconciliation_differences (reconciliation_id, provider_id, kind, message_id, ours, theirs)
        SELECT %(id)s, d.provider_id, d.kind, d.message_id, d.ours, d.theirs
        FROM jsonb_to_recordset(%(found)s::jsonb)
            AS d (provider_id text, kind text, message_id bigint, ours text, theirs text)
        ON CONFLICT DO NOTHING
        """,
        {"id": reconciliation_id, "found": json.dumps([asdict(one) for one in found])},
    )


# --- our rows ----------------------------------------------------------------------------------------------------------


def known(conn: Connection[Any], provider_ids: Iterable[str]) -> dict[str, Known]:
    """Our messages of these SIDs."""
    return _known(conn, "m.provider_id = ANY (%(sids)s)", {"sids": list(provider_ids)})


def of_day(conn: Connection[Any], begin: datetime, end: datetime) -> dict[str, Known]:
    """Our messages that the provider was given between these moments, by SID.

    What waited longer than two days for the provider is not looked for here: the sweep asks for it by SID. What was brought in
    from elsewhere may carry made-up ids, or be older than the provider's memory, and is left alone.
    """
    return _known(
        conn,
        """
        m.id IN (SELECT id FROM whatsapp_logs.messages WHERE created_at >= %(begin)s - interval '2 days' AND created_at < %(end)s
                 UNION
                 SELECT id FROM whatsapp_logs.messages WHERE send_at >= %(begin)s - interval '2 days' AND send_at < %(end)s)
        AND m.provider = 'twilio' AND m.provider_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM whatsapp_logs.status_events AS e WHERE e.message_id = m.id AND e.source = 'import')
        AND COALESCE(m.sent_at, m.claimed_at, m.created_at) >= %(begin)s
        AND COALESCE(m.sent_at, m.claimed_at, m.created_at) < %(end)s
        """,
        {"begin": begin, "end": end},
    )


def without_sid(conn: Connection[Any], recipients: Iterable[str]) -> list[WithoutSid]:
    """When these recipients were sent what the provider may have without our knowing its SID.

    A message that nobody has claimed is proved not to be at the provider. One that a person has declared not sent may be.
    """
    with conn.cursor(row_factory=class_row(WithoutSid)) as cursor:
        return cursor.execute(
            """
            SELECT m.recipient, min(m.created_at) AS since, NULL::timestamptz AS until
            FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
            WHERE r.status IN ('scheduled', 'queued') AND m.claimed_at IS NOT NULL AND m.provider_id IS NULL
              AND m.recipient = ANY (%(recipients)s)
            GROUP BY m.recipient
            UNION ALL
            SELECT m.recipient, m.claimed_at, m.unconfirmed_at
            FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
            WHERE r.status = 'failed' AND r.error_code = %(not_sent)s AND m.unconfirmed_at IS NOT NULL
              AND m.claimed_at IS NOT NULL AND m.provider_id IS NULL AND m.recipient = ANY (%(recipients)s)
            """,
            {"recipients": list(recipients), "not_sent": NOT_SENT},
        ).fetchall()


def insert(conn: Connection[Any], found: Sequence[ProviderMessage], *, now: datetime) -> dict[str, int]:
    """Write messages down that only the provider knew; returns their new ids by SID. One that has just appeared is left alone."""
    rows = conn.execute(
        """
        INSERT INTO whatsapp_logs.messages
            (direction, message_type, recipient, sender, body, provider_id, status, created_at)
        SELECT f.direction, 'general', f.recipient, f.sender, f.body, f.provider_id,
               (CASE f.direction WHEN 'inbound' THEN 'received' ELSE 'queued' END)::whatsapp_logs.status,
               f.created_at
        FROM jsonb_to_recordset(%(found)s::jsonb)
            AS f (direction text, recipient text, sender text, body text, provider_id text, created_at timestamptz)
        ORDER BY f.created_at, f.provider_id
        ON CONFLICT DO NOTHING
        RETURNING provider_id, id
        """,
        {"found": json.dumps([_as_json(one, now) for one in found])},
    ).fetchall()
    return dict(rows)


def _as_json(found: ProviderMessage, now: datetime) -> dict[str, Any]:
    at = found.created_at or found.report.sent_at or now
    values = {
        "direction": found.direction,
        "recipient": found.recipient[:_MAX_WORD] or "(none)",
        "sender": found.sender,
        "body": found.body,
        "provider_id": found.report.provider_id,
        "created_at": at.isoformat(),
    }
    return {name: storable(value) for name, value in values.items() if value is not None}


def _known(conn: Connection[Any], condition: str, parameters: dict[str, Any]) -> dict[str, Known]:
    with conn.cursor(row_factory=kwargs_row(_as_known)) as cursor:
        rows = cursor.execute(
            f"""
            SELECT m.id, m.provider_id, m.status, m.price, m.price_unit FROM whatsapp_logs.messages AS m WHERE {condition}
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            parameters,
        ).fetchall()
    return {row.provider_id: row for row in rows}


def _as_known(**row: Any) -> Known:
    return Known(**row | {"status": Status(row["status"])})


def _one(conn: Connection[Any], condition: str, key: object) -> Reconciliation | None:
    with conn.cursor(row_factory=class_row(Reconciliation)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM whatsapp_logs.reconciliations WHERE {condition}".encode(),  # noqa: S608 - words of ours; values are parameters
            {"key": key},
        ).fetchone()
