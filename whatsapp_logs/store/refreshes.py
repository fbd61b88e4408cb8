"""Runs of "refresh all": one at a time, their progress readable from anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import ClientCursor, Connection
from psycopg.rows import class_row, dict_row

_COLUMNS = "id, started_by, started_at, heartbeat_at, found, asked, changed, failed, problem, cancel_asked, finished_at"
Place = tuple[datetime, int]  # the message before which to go on


@dataclass(frozen=True, slots=True)
class Refresh:
    """A run and how far it is. `found` is None until the messages to ask about have been counted."""

    id: int
    started_by: str | None
    started_at: datetime
    heartbeat_at: datetime
    found: int | None
    asked: int
    changed: int
    failed: int
    problem: str | None
    cancel_asked: bool
    finished_at: datetime | None

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will happen."""
        return self.finished_at is not None


@dataclass(frozen=True, slots=True)
class Pending:
    """A message whose provider is to be asked."""

    id: int
    provider_id: str
    created_at: datetime


@dataclass(frozen=True)
class Days:
    """Which messages are asked about: those that left since `since`, as far as they were made since then or a while before.

    `sent_made_since` holds for what is "sent", `open_made_since` for what is not even that; what was made before `oldest` the
    provider does not know any more.
    """

    now: datetime
    since: datetime
    sent_made_since: datetime
    open_made_since: datetime
    delivered_since: datetime
    oldest: datetime


def _pending(_reading: Any) -> Any:
    return lambda row: Pending(*row[:3])


def start(conn: Connection[Any], *, started_by: str | None) -> tuple[Refresh, bool]:
    """The run under way, or a new one; the second value says whether it is new."""
    inserted = conn.execute(
        "INSERT INTO whatsapp_logs.refreshes (started_by) VALUES (%(by)s) ON CONFLICT DO NOTHING RETURNING id",
        {"by": started_by},
    ).fetchone()
    with conn.cursor(row_factory=class_row(Refresh)) as cursor:
        running = cursor.execute(
            f"SELECT {_COLUMNS} FROM whatsapp_logs.refreshes WHERE finished_at IS NULL".encode()  # noqa: S608 - words of ours; values are parameters
        ).fetchone()
    if running is None:  # the one we met has finished in this very moment
        return start(conn, started_by=started_by)
    return running, inserted is not None


def get(conn: Connection[Any], refresh_id: int) -> Refresh | None:
    """The run of that id."""
    with conn.cursor(row_factory=class_row(Refresh)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM whatsapp_logs.refreshes WHERE id = %(id)s".encode(),  # noqa: S608 - words of ours; values are parameters
            {"id": refresh_id},
        ).fetchone()


def latest(conn: Connection[Any]) -> Refresh | None:
    """The run under way, or the last one."""
    with conn.cursor(row_factory=class_row(Refresh)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM whatsapp_logs.refreshes ORDER BY id DESC LIMIT 1".encode()  # noqa: S608 - words of ours; values are parameters
        ).fetchone()


def take_over(conn: Connection[Any], refresh_id: int, *, silent_s: int) -> Refresh | None:
    """Begin or resume the run, unless another worker told of progress within `silent_s`; None when it is not ours to do."""
    with conn.cursor(row_factory=class_row(Refresh)) as cursor:
        return cursor.execute(
            f"""
            UPDATE whatsapp_logs.refreshes SET taken_at = clock_timestamp(), heartbeat_at = clock_timestamp()
            WHERE id = %(id)s AND finished_at IS NULL
              AND (taken_at IS NULL OR heartbeat_at < clock_timestamp() - make_interval(secs => %(silent_s)s))
            RETURNING {_COLUMNS}
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            {"id": refresh_id, "silent_s": silent_s},
        ).fetchone()


def silent(conn: Connection[Any], *, silent_s: int) -> int | None:
    """The run whose worker has fallen silent, if there is one."""
    row = conn.execute(
        """
        SELECT id FROM whatsapp_logs.refreshes
        WHERE finished_at IS NULL AND heartbeat_at < clock_timestamp() - make_interval(secs => %(silent_s)s)
        """,
        {"silent_s": silent_s},
    ).fetchone()
    return None if row is None else int(row[0])


def found(conn: Connection[Any], refresh_id: int, count: int) -> None:
    """Say how many messages there are to ask about, besides those that an interrupted worker has asked about already."""
    conn.execute(
        "UPDATE whatsapp_logs.refreshes SET found = asked + %(n)s, heartbeat_at = clock_timestamp() WHERE id = %(id)s",
        {"id": refresh_id, "n": count},
    )


def progress(conn: Connection[Any], refresh_id: int, *, asked: int, changed: int, failed: int) -> bool:
    """Add to the run's figures; returns whether somebody asked it to stop."""
    row = conn.execute(
        """
        UPDATE whatsapp_logs.refreshes
        SET asked = asked + %(asked)s, changed = changed + %(changed)s, failed = failed + %(failed)s,
            heartbeat_at = clock_timestamp()
        WHERE id = %(id)s RETURNING cancel_asked
        """,
        {"id": refresh_id, "asked": asked, "changed": changed, "failed": failed},
    ).fetchone()
    return bool(row and row[0])


def finish(conn: Connection[Any], refresh_id: int, *, problem: str | None = None) -> None:
    """End the run; `problem` says in words why it is not complete."""
    conn.execute(
        """
        UPDATE whatsapp_logs.refreshes SET finished_at = clock_timestamp(), problem = %(problem)s, found = COALESCE(found, 0)
        WHERE id = %(id)s AND finished_at IS NULL
        """,
        {"id": refresh_id, "problem": problem},
    )


def ask_to_cancel(conn: Connection[Any], refresh_id: int) -> None:
    """Ask the run to stop after the batch it is at."""
    conn.execute("UPDATE whatsapp_logs.refreshes SET cancel_asked = true WHERE id = %(id)s", {"id": refresh_id})


def pending(conn: Connection[Any], days: Days) -> list[Pending]:
    """All messages of these days whose status may still change at the provider: what is not final, then what is delivered.

    `read` is learnt only by asking when its callback was lost. What a person has declared not sent, but the provider has, is
    asked about as long as the provider knows it.
    """
    return _read(conn, _PENDING.format(due=""), **vars(days))


def due(conn: Connection[Any], days: Days, *, limit: int) -> list[Pending]:
    """Those of `pending` of which nothing was asked for long enough: a tenth of their age, at least two minutes, at most a day."""
    return _read(conn, f"{_PENDING.format(due=_DUE)} LIMIT %(limit)s", **vars(days), limit=limit)


def left_behind(
    conn: Connection[Any], days: Days, *, before: Place, ended: timedelta, limit: int
) -> tuple[list[Pending], Place | None]:
    """Of the next `limit` messages that are "sent", newest first: those not asked about since they have come to their end.

    That is so long after they left. What is among `pending` is left out. Also where to go on; None when there are no older ones.
    """
    at, id_ = before
    bounds = vars(days) | {"at": at, "id": id_, "ended": ended, "limit": limit}
    found = _read(conn, _LEFT_BEHIND, row=dict_row, **bounds)
    wanted = [Pending(row["id"], row["provider_id"], row["created_at"]) for row in found if row["is_wanted"]]
    return wanted, (found[-1]["created_at"], found[-1]["id"]) if len(found) == limit else None


def _read(conn: Connection[Any], query: str, *, row: Any = _pending, **parameters: Any) -> list[Any]:
    with ClientCursor(conn, row_factory=row) as cursor:  # planned for these very days: they may be an hour, or a month
        return cursor.execute(query.encode(), parameters).fetchall()


# Imported rows may carry made-up ids: their provider is another.
_AT_PROVIDER = "m.provider_id IS NOT NULL AND m.provider = 'twilio'"
_LEFT = "GREATEST(m.created_at, m.send_at, m.claimed_at, m.sent_at)"  # when it left, or was made
# What has its time in no index of those days, because it was made long before, is found by when it was meant to leave.
_PENDING = f"""
    SELECT m.id, m.provider_id, m.created_at, 0 AS turn
    FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
    WHERE r.status = 'sent' AND r.created_at >= %(sent_made_since)s AND {_LEFT} >= %(since)s AND {_AT_PROVIDER} {{due}}
    UNION ALL
    SELECT m.id, m.provider_id, m.created_at, 0
    FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
    WHERE r.status IN ('scheduled', 'queued', 'sending') AND r.created_at >= %(open_made_since)s AND {_AT_PROVIDER} {{due}}
    UNION ALL
    SELECT m.id, m.provider_id, m.created_at, 0 FROM whatsapp_logs.messages AS m
    WHERE m.send_at >= %(since)s AND m.send_at <= %(now)s AND m.status IN ('scheduled', 'queued', 'sending', 'sent')
      AND m.created_at < CASE m.status WHEN 'sent' THEN %(sent_made_since)s ELSE %(open_made_since)s END AND {_AT_PROVIDER} {{due}}
    UNION ALL
    SELECT m.id, m.provider_id, m.created_at, 0
    FROM whatsapp_logs.rare_statuses AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
    WHERE r.status = 'failed' AND r.error_code = 'not_sent' AND r.created_at >= %(oldest)s AND {_AT_PROVIDER} {{due}}
    UNION ALL
    SELECT m.id, m.provider_id, m.created_at, 1 FROM whatsapp_logs.messages AS m
    WHERE m.created_at >= %(delivered_since)s AND m.status = 'delivered' AND m.direction = 'outbound' AND {_AT_PROVIDER} {{due}}
    ORDER BY turn, created_at DESC, id DESC"""  # noqa: S608 - words of ours; values are parameters
_DUE = f"""
      AND %(now)s - COALESCE(m.last_status_check, {_LEFT})
          > LEAST(GREATEST((%(now)s - {_LEFT}) / 10, interval '2 minutes'), interval '1 day')"""
_LEFT_BEHIND = f"""
    SELECT r.message_id AS id, r.created_at, m.provider_id, COALESCE(
           {_AT_PROVIDER} AND COALESCE(m.last_status_check, '-infinity') < {_LEFT} + %(ended)s
           AND NOT ({_LEFT} >= %(since)s AND (m.created_at >= %(sent_made_since)s
                                              OR COALESCE(m.send_at BETWEEN %(since)s AND %(now)s, false))), false) AS is_wanted
    FROM (
        SELECT message_id, created_at FROM whatsapp_logs.rare_statuses
        WHERE status = 'sent' AND created_at >= %(oldest)s AND (created_at, message_id) < (%(at)s, %(id)s)
        ORDER BY created_at DESC, message_id DESC LIMIT %(limit)s
    ) AS r LEFT JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
    ORDER BY r.created_at DESC, r.message_id DESC"""  # noqa: S608 - words of ours; values are parameters
