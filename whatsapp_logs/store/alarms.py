"""What alarms are made of: a few cheap questions to the log, none of which counts messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from psycopg import Connection

from whatsapp_logs.message import TOO_LATE
from whatsapp_logs.store import health, templates

_LATEST_EVENTS = (
    10_000  # callbacks are looked for among so many: silence must not be paid with a walk over the whole table
)
COUNT_UP_TO = 1000
_KEEP_REFUSED_DAYS = 30
_TEMPLATE_USED_WITHIN = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many there are (counting stops at 1 000), since when the oldest one waits, and why, where that is known."""

    count: int
    oldest: datetime | None
    reason: str | None = None


_NOBODY = Backlog(count=0, oldest=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The state of the log's surroundings at one moment."""

    now: datetime
    worker_silence_s: float | None
    waiting: Backlog  # messages that are due and that nobody has handed over; of campaigns see `standing`
    unconfirmed: Backlog
    parked: Backlog
    last_callback: datetime | None
    unheard: int  # messages handed over longer ago than the threshold, all after the last callback
    refused: Mapping[str, int]  # reason → calls of the last hour
    unknown_words: tuple[str, ...]  # provider's statuses of the last day
    codes: tuple[str, ...]  # error codes of the last day
    watched_since: datetime
    reconciled_day: date | None  # the newest day compared without a problem
    too_late: int = 0  # scheduled messages of the last day that were not sent because their time had passed long ago
    gaps: tuple[tuple[date, int, int], ...]  # day, run, messages that one side did not know; of the last two days
    stopped_templates: tuple[tuple[int, str, str], ...] = ()  # id, name, approval: used within a week, and refused now
    standing: Backlog = Backlog(count=0, oldest=None)  # running campaigns with messages due that nobody hands over
    customers: Backlog = _NOBODY  # who waits for a person's answer
    files: Backlog = _NOBODY  # customers' files that could not be fetched
    bot_failures: int = 0  # messages of the last day at which the bot failed
    robots: int = 0  # messages of the last hour that came faster than people write


def read(conn: Connection[Any], *, callback_silence: timedelta) -> Readings:
    """Take all readings: 4 to 20 ms beside half a million messages; no question grows with the log."""
    server = health.look(conn)
    last_callback = _last_callback(conn)
    silent = last_callback is None or server.now - last_callback > callback_silence
    reconciled_day, gaps = _reconciled(conn)
    return Readings(
        now=server.now,
        worker_silence_s=server.worker_silence_s,
        waiting=_waiting(conn),
        unconfirmed=_unconfirmed(conn),
        parked=_parked(conn),
        last_callback=last_callback,
        unheard=_unheard(conn, last_callback, before=server.now - callback_silence) if silent else 0,
        refused=_refused(conn),
        unknown_words=_unknown_words(conn),
        codes=_codes(conn),
        too_late=_too_late(conn),
        watched_since=_watched_since(conn),
        reconciled_day=reconciled_day,
        gaps=gaps,
        stopped_templates=templates.stopped(conn, within=_TEMPLATE_USED_WITHIN),
        standing=_standing(conn),
        customers=_customers(conn),
        files=_files(conn),
        **_bot(conn),
    )


def count_refused(conn: Connection[Any], calls: Mapping[tuple[str, str], int]) -> None:
    """Add calls that were refused, per (route, reason): one row an hour for each, however many there are."""
    rows = [(route, reason, n) for (route, reason), n in sorted(calls.items())]
    conn.execute(
        """
        INSERT INTO whatsapp_logs.refused_calls AS c (hour, route, reason, n, last_at)
        SELECT date_trunc('hour', now()), r.route, r.reason, r.n, now()
        FROM unnest(%(routes)s::text[], %(reasons)s::text[], %(counts)s::bigint[]) AS r (route, reason, n)
        ON CONFLICT (hour, route, reason) DO UPDATE SET n = c.n + EXCLUDED.n, last_at = EXCLUDED.last_at
        """,
        {
            "routes": [row[0] for row in rows],
            "reasons": [row[1] for row in rows],
            "counts": [row[2] for row in rows],
        },
    )


def forget_old(conn: Connection[Any]) -> None:
    """Throw old counts and old self-tests away."""
    conn.execute(
        "DELETE FROM whatsapp_logs.refused_calls WHERE hour < now() - make_interval(days => %(days)s)",
        {"days": _KEEP_REFUSED_DAYS},
    )
    conn.execute("DELETE FROM whatsapp_logs.self_tests WHERE begun_at < now() - interval '1 day'")


def _waiting(conn: Connection[Any]) -> Backlog:
    return _backlog(
        conn,
        """
        (SELECT COALESCE(m.send_at, m.created_at) AS since, m.wait_reason AS reason
         FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
         WHERE r.status = 'queued' AND m.provider_id IS NULL AND m.unconfirmed_at IS NULL AND m.campaign_id IS NULL
           AND COALESCE(m.send_at, m.created_at) <= now()
         ORDER BY r.created_at LIMIT %(limit)s)
        UNION ALL
        (SELECT r.send_at, m.wait_reason
         FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
         WHERE r.status = 'scheduled' AND r.send_at <= now() AND m.provider_id IS NULL AND m.unconfirmed_at IS NULL
         ORDER BY r.send_at LIMIT %(limit)s)
        LIMIT %(limit)s
        """,
    )


def _standing(conn: Connection[Any]) -> Backlog:
    """Running campaigns that should move and whose runner is silent, since then; or to which Twilio has said no for long."""
    return _backlog(
        conn,
        """
        SELECT CASE WHEN s.failures >= 5 THEN n.due_at ELSE COALESCE(s.heartbeat_at, c.released_at) END AS since, s.reason AS reason
        FROM whatsapp_logs.campaigns AS c LEFT JOIN whatsapp_logs.senders AS s ON true
        CROSS JOIN LATERAL (
            SELECT r.due_at FROM whatsapp_logs.campaign_recipients AS r
            WHERE r.campaign_id = c.id AND r.due_at <= now() ORDER BY r.due_at LIMIT 1
        ) AS n
        WHERE c.state = 'running' LIMIT %(limit)s
        """,
    )


def _unconfirmed(conn: Connection[Any]) -> Backlog:
    return _backlog(
        conn,
        """
        SELECT m.unconfirmed_at AS since, m.wait_reason AS reason
        FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
        WHERE r.status IN ('scheduled', 'queued') AND m.provider_id IS NULL AND m.unconfirmed_at IS NOT NULL
        ORDER BY r.created_at LIMIT %(limit)s
        """,
    )


def _parked(conn: Connection[Any]) -> Backlog:
    return _backlog(
        conn,
        """
        SELECT received_at AS since, NULL::text AS reason FROM whatsapp_logs.status_events
        WHERE message_id IS NULL ORDER BY received_at LIMIT %(limit)s
        """,
    )


def _customers(conn: Connection[Any]) -> Backlog:
    return _backlog(
        conn,
        """
        SELECT waiting_since AS since, handed_over_reason AS reason FROM whatsapp_logs.conversations
        WHERE waiting_since IS NOT NULL ORDER BY waiting_since LIMIT %(limit)s
        """,
    )


def _files(conn: Connection[Any]) -> Backlog:
    return _backlog(
        conn,
        """
        SELECT updated_at AS since, problem AS reason FROM whatsapp_logs.message_media
        WHERE state = 'failed' AND updated_at > now() - interval '30 days' ORDER BY updated_at LIMIT %(limit)s
        """,
    )


def _bot(conn: Connection[Any]) -> dict[str, int]:
    row = conn.execute(
        """
        SELECT count(*) FILTER (WHERE outcome = 'error'),
               count(*) FILTER (WHERE outcome = 'too_fast' AND done_at > now() - interval '1 hour')
        FROM whatsapp_logs.turns WHERE outcome IN ('error', 'too_fast') AND done_at > now() - interval '1 day'
        """
    ).fetchone()
    assert row is not None
    return {"bot_failures": row[0], "robots": row[1]}


def _backlog(conn: Connection[Any], oldest_first: str) -> Backlog:
    row = conn.execute(
        f"SELECT count(*), min(since), (array_agg(reason ORDER BY since))[1] FROM ({oldest_first}) AS waiting".encode(),  # noqa: S608 - words of ours; values are parameters
        {"limit": COUNT_UP_TO},
    ).fetchone()
    assert row is not None
    return Backlog(count=row[0], oldest=row[1], reason=row[2])


def _last_callback(conn: Connection[Any]) -> datetime | None:
    """When a provider last reported by itself; if it has not for very many events, the time of the oldest of those.

    A customer's message is no report: those may arrive while the reports' own way is broken.
    """
    row = conn.execute(
        """
        SELECT COALESCE(max(received_at) FILTER (WHERE source = 'callback' AND status IS DISTINCT FROM 'received'),
                        CASE WHEN count(*) = %(limit)s THEN min(received_at) END)
        FROM (SELECT received_at, source, status FROM whatsapp_logs.status_events ORDER BY id DESC LIMIT %(limit)s) AS latest
        """,
        {"limit": _LATEST_EVENTS},
    ).fetchone()
    return None if row is None else row[0]


def _unheard(conn: Connection[Any], last_callback: datetime | None, *, before: datetime) -> int:
    """Messages that we handed over since the last callback; what other code sent need not call us back."""
    row = conn.execute(
        """
        SELECT count(*) FROM (
            SELECT FROM whatsapp_logs.messages
            WHERE created_at > GREATEST(%(since)s::timestamptz - interval '1 hour', %(before)s::timestamptz - interval '1 day')
              AND direction = 'outbound' AND provider_id IS NOT NULL AND attempts > 0
              AND claimed_at > COALESCE(%(since)s::timestamptz, '-infinity') AND claimed_at < %(before)s
            ORDER BY created_at DESC LIMIT %(limit)s) AS unheard
        """,
        {"since": last_callback, "before": before, "limit": COUNT_UP_TO},
    ).fetchone()
    return int(row[0]) if row else 0


def _refused(conn: Connection[Any]) -> dict[str, int]:
    rows = conn.execute(
        """
        SELECT reason, sum(n)::bigint FROM whatsapp_logs.refused_calls
        WHERE hour >= date_trunc('hour', now()) - interval '1 hour' AND last_at > now() - interval '1 hour' GROUP BY reason
        """
    ).fetchall()
    return dict(rows)


def _unknown_words(conn: Connection[Any]) -> tuple[str, ...]:
    rows = conn.execute(
        """
        SELECT DISTINCT provider_status FROM whatsapp_logs.status_events
        WHERE status IS NULL AND received_at > now() - interval '1 day' AND provider_status <> 'not_found'
        ORDER BY provider_status LIMIT 20
        """
    ).fetchall()
    return tuple(row[0] for row in rows)


def _codes(conn: Connection[Any]) -> tuple[str, ...]:
    rows = conn.execute(
        """
        SELECT DISTINCT error_code FROM (
            SELECT m.error_code FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
            WHERE r.status IN ('failed', 'undelivered') AND r.created_at > now() - interval '1 day'
            ORDER BY r.created_at DESC LIMIT %(limit)s) AS failures
        WHERE error_code IS NOT NULL ORDER BY error_code
        """,
        {"limit": COUNT_UP_TO},
    ).fetchall()
    return tuple(row[0] for row in rows)


def _too_late(conn: Connection[Any]) -> int:
    """Of the thousand that were asked for last."""
    row = conn.execute(
        """
        SELECT count(*) FROM (
            SELECT m.failed_at FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
            WHERE r.error_code = %(code)s ORDER BY r.created_at DESC, r.message_id DESC LIMIT %(limit)s) AS latest
        WHERE failed_at > now() - interval '1 day'
        """,
        {"code": TOO_LATE, "limit": COUNT_UP_TO},
    ).fetchone()
    return int(row[0]) if row else 0


def _watched_since(conn: Connection[Any]) -> datetime:
    row = conn.execute("SELECT max(applied_at) FROM whatsapp_logs.migrations WHERE version <= 7").fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


def _reconciled(conn: Connection[Any]) -> tuple[date | None, tuple[tuple[date, int, int], ...]]:
    last = conn.execute(
        """
        SELECT max(day) FROM whatsapp_logs.reconciliations
        WHERE finished_at IS NOT NULL AND problem IS NULL
          AND started_at >= (day + 1)::timestamp AT TIME ZONE 'UTC'  -- a day that is not over is not reconciled
        """
    ).fetchone()
    rows = conn.execute(
        """
        SELECT day, id, unknown FROM (
            SELECT DISTINCT ON (day) day, id,
                   (theirs - ours + unknown_to_provider) + unknown_to_provider AS unknown  -- only theirs + only ours
            FROM whatsapp_logs.reconciliations
            WHERE day >= (now() AT TIME ZONE 'UTC')::date - 2 AND finished_at IS NOT NULL AND problem IS NULL
            ORDER BY day DESC, id DESC) AS latest
        WHERE unknown > 0 ORDER BY day DESC
        """
    ).fetchall()
    return (None if last is None else last[0]), tuple((row[0], row[1], row[2]) for row in rows)
