"""Campaigns and the tables of their recipients. Nothing here commits; a table that is replaced is superseded, not deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from psycopg import Connection, sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from whatsapp_logs.message import Status
from whatsapp_logs.store.text import storable, storable_json

_COLUMNS = """
    c.id, c.name, c.state, c.message_type, c.template_version_id, c.columns, c.mapping, c.upload, c.source, c.audience,
    c.content_sha256, c.recipients, c.forecast, c.checked_at, c.tested_at, c.test_message_id, c.retry_of, c.created_by,
    c.created_at, c.changed_by, c.changed_at, c.asked_by, c.asked_at, c.released_by, c.released_at, c.queued_up_to, c.stopped_by,
    c.ended_at, c.check_asked_at, c.checked_up_to, c.prepared_by"""
_ROW_COLUMNS = """
    r.position, r.cells, r.address, r.client_id, r.policy_id, r.variables, r.problem, r.reason, r.resend_of, r.message_id"""
_BEYOND = 2**63 - 1  # no campaign has this id
_WRITTEN_TOGETHER = 5000  # rows of one statement
_HAVE_PREPARED = """,
    prepared_by = prepared_by || ARRAY(SELECT hand FROM unnest(%(hands)s::text[]) AS hand WHERE hand <> ALL (prepared_by))"""
_SETTABLE = frozenset({
    "name", "state", "message_type", "template_version_id", "columns", "mapping", "source", "audience", "content_sha256",
    "recipients", "forecast", "checked_at", "tested_at", "test_message_id", "changed_by", "changed_at", "asked_by", "asked_at",
    "released_by", "released_at", "queued_up_to", "stopped_by", "ended_at",
    "check_asked_at", "checked_up_to",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One campaign. `state` is draft, waiting (for its release), running, paused, done or canceled.

    `prepared_by` is who began it, whoever changed it, and whoever asked for its release, in the order in which they came;
    `people` are these, and those that a program from before that column knew of.
    """

    id: int
    name: str
    state: str
    message_type: str
    template_version_id: int | None
    columns: list[str]
    mapping: dict[str, Any]
    upload: int
    source: str | None
    audience: dict[str, str] | None
    content_sha256: bytes | None
    recipients: int
    forecast: dict[str, Any] | None
    checked_at: datetime | None
    tested_at: datetime | None
    test_message_id: int | None
    retry_of: int | None
    created_by: str
    created_at: datetime
    changed_by: str
    changed_at: datetime
    asked_by: str | None
    asked_at: datetime | None
    released_by: str | None
    released_at: datetime | None
    queued_up_to: int
    stopped_by: str | None
    ended_at: datetime | None
    check_asked_at: datetime | None
    checked_up_to: int
    prepared_by: list[str]

    @property
    def people(self) -> list[str]:
        """Everybody who has had a hand in it: none of them releases it."""
        known = [self.created_by, *self.prepared_by, self.changed_by, self.asked_by]
        return list(dict.fromkeys(person for person in known if person))

    @property
    def is_draft(self) -> bool:
        """Whether it may still be changed."""
        return self.state == "draft"

    @property
    def has_begun(self) -> bool:
        """Whether it was released, whatever became of it."""
        return self.released_at is not None

    @property
    def is_under_way(self) -> bool:
        """Whether anything may still be handed over."""
        return self.state in ("running", "paused")

    @property
    def is_uploaded(self) -> bool:
        """Whether its table is the office's own: the portal has not said who its people are."""
        return self.audience is None and self.retry_of is None

    @property
    def is_mapped(self) -> bool:
        """Whether the table's columns have been given their meaning."""
        return bool(self.mapping) and self.template_version_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A row of the table. `problem` and `reason` say why it is left out."""

    position: int
    cells: list[str]
    address: str | None = None
    client_id: str | None = None
    policy_id: str | None = None
    variables: dict[str, str] | None = None
    problem: str | None = None
    reason: str | None = None
    resend_of: int | None = None
    message_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Recipient):
    """A row with what became of its message; `status` is None while it has none."""

    status: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    wait_reason: str | None = None
    is_unconfirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a campaign is. `to_queue` rows are not messages yet; `waiting` messages are not handed over yet."""

    by_status: Mapping[Status, int] = field(default_factory=dict)
    waiting: int = 0
    unconfirmed: int = 0
    to_queue: int = 0
    left_out: int = 0
    next_due_at: datetime | None = None
    wait_reason: str | None = None

    @property
    def messages(self) -> int:
        """How many rows have become messages."""
        return sum(self.by_status.values())

    @property
    def total(self) -> int:
        """How many rows are or will be messages."""
        return self.messages + self.to_queue

    @property
    def handed_over(self) -> int:
        """How many need nothing more from us."""
        return self.messages - self.waiting


# --- campaigns ---


def insert(conn: Connection[Any], *, name: str, created_by: str, retry_of: int | None = None) -> int:
    """A new draft; its id."""
    row = conn.execute(
        """
        INSERT INTO whatsapp_logs.campaigns (name, created_by, changed_by, prepared_by, retry_of)
        VALUES (%(name)s, %(by)s, %(by)s, ARRAY[%(by)s::text], %(retry_of)s) RETURNING id
        """,
        {"name": storable(name), "by": created_by, "retry_of": retry_of},
    ).fetchone()
    assert row is not None
    return int(row[0])


def change(conn: Connection[Any], campaign_id: int, **values: Any) -> None:
    """Set these columns. Whoever changes it, or asks for its release, has prepared it from then on."""
    unknown = values.keys() - _SETTABLE
    if unknown:
        raise TypeError(f"not columns of a campaign to be set: {sorted(unknown)}")
    given = {
        name: Jsonb(storable(value)) if isinstance(value, (dict, list)) else storable(value)
        for name, value in values.items()
    }
    sets = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in given)
    hands = [given[name] for name in ("changed_by", "asked_by") if given.get(name) is not None]
    if hands:
        sets += sql.SQL(_HAVE_PREPARED)
        given["hands"] = list(dict.fromkeys(hands))
    conn.execute(
        sql.SQL("UPDATE whatsapp_logs.campaigns SET {} WHERE id = %(id)s").format(sets), given | {"id": campaign_id}
    )


def get(conn: Connection[Any], campaign_id: int, *, hold: bool = False) -> Campaign | None:
    """The campaign of that id; with `hold`, nobody else moves it until this transaction ends."""
    found = _campaigns(conn, f"c.id = %(id)s{' FOR NO KEY UPDATE' if hold else ''}", id=campaign_id)
    return found[0] if found else None


def latest(conn: Connection[Any], *, before: int | None = None, limit: int = 50) -> list[Campaign]:
    """Campaigns, the newest first."""
    return _campaigns(
        conn,
        "c.id < %(before)s ORDER BY c.id DESC LIMIT %(limit)s",
        before=_BEYOND if before is None else before,
        limit=limit,
    )


def retries_of(conn: Connection[Any], campaign_id: int) -> list[Campaign]:
    """The campaigns that tried its failed ones again."""
    return _campaigns(conn, "c.retry_of = %(id)s ORDER BY c.id", id=campaign_id)


def same_table(conn: Connection[Any], campaign: Campaign, *, since: datetime) -> list[Campaign]:
    """Other campaigns that sent this very table since then."""
    if campaign.content_sha256 is None:
        return []
    return _campaigns(
        conn,
        "c.content_sha256 = %(sha256)s AND c.id <> %(id)s AND c.released_at > %(since)s ORDER BY c.id DESC",
        sha256=campaign.content_sha256,
        id=campaign.id,
        since=since,
    )


def hold_starts(conn: Connection[Any], person: str) -> None:
    """Have this person's other campaigns wait with their beginning for this transaction, so that each counts those before it."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('start ' || %(person)s, 0))", {"person": person})


def started_alone(conn: Connection[Any], person: str, *, since: datetime) -> int:
    """How many recipients this person's campaigns have had since then without anybody else's release."""
    row = conn.execute(
        """
        SELECT coalesce(sum((forecast ->> 'reached')::integer), 0) FROM whatsapp_logs.campaigns
        WHERE released_by = %(person)s AND asked_by = %(person)s AND released_at > %(since)s
        """,
        {"person": person, "since": since},
    ).fetchone()
    return int(row[0]) if row else 0


def running(conn: Connection[Any]) -> list[Campaign]:
    """What the runner works at."""
    return _campaigns(conn, "c.state = 'running' ORDER BY c.id")


# --- the table of recipients ---


def add_rows(
    conn: Connection[Any],
    campaign_id: int,
    upload: int,
    rows: Iterable[tuple[Sequence[str], str | None, str | None, int | None]],
) -> int:
    """Write a table: each row's cells, client, policy, and the message it tries again; returns how many."""
    position, waiting = 0, iter(rows)
    while some := list(islice(waiting, _WRITTEN_TOGETHER)):
        values = [
            {
                "position": n,
                "cells": list(cells),
                "client_id": client_id,
                "policy_id": policy_id,
                "resend_of": resend_of,
            }
            for n, (cells, client_id, policy_id, resend_of) in enumerate(some, position + 1)
        ]
        position += len(values)
        conn.execute(
            """
            INSERT INTO whatsapp_logs.campaign_recipients (campaign_id, upload, position, cells, client_id, policy_id, resend_of)
            SELECT %(id)s, %(upload)s, r.position, r.cells, r.client_id, r.policy_id, r.resend_of
            FROM jsonb_to_recordset(%(rows)s::jsonb) AS r (
                position integer, cells jsonb, client_id text, policy_id text, resend_of bigint)
            """,
            {"id": campaign_id, "upload": upload, "rows": storable_json(values)},
        )
    return position


def begin_upload(conn: Connection[Any], campaign_id: int) -> int:
    """The number of a new table, which supersedes the one before."""
    row = conn.execute(
        "UPDATE whatsapp_logs.campaigns SET upload = upload + 1 WHERE id = %(id)s RETURNING upload", {"id": campaign_id}
    ).fetchone()
    assert row is not None
    return int(row[0])


def rows(
    conn: Connection[Any], campaign: Campaign, *, after: int = 0, limit: int = 100, only_problems: bool = False
) -> list[Recipient]:
    """Rows of the table that counts, from the one after that position on."""
    condition = "AND r.problem IS NOT NULL" if only_problems else ""
    with conn.cursor(row_factory=class_row(Recipient)) as cursor:
        return cursor.execute(
            f"""
            SELECT {_ROW_COLUMNS} FROM whatsapp_logs.campaign_recipients AS r
            WHERE r.campaign_id = %(id)s AND r.upload = %(upload)s AND r.position > %(after)s {condition}
            ORDER BY r.position LIMIT %(limit)s
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            {"id": campaign.id, "upload": campaign.upload, "after": after, "limit": limit},
        ).fetchall()


def checked(conn: Connection[Any], campaign: Campaign, found: Sequence[Mapping[str, Any]]) -> None:
    """Write down what the check found of these rows: position, address, client_id, policy_id, variables, problem, reason."""
    conn.execute(
        """
        UPDATE whatsapp_logs.campaign_recipients AS r
        SET address = f.address, client_id = f.client_id, policy_id = f.policy_id, variables = f.variables, problem = f.problem,
            reason = f.reason
        FROM jsonb_to_recordset(%(found)s::jsonb) AS f (
            position integer, address text, client_id text, policy_id text, variables jsonb, problem text, reason text)
        WHERE r.campaign_id = %(id)s AND r.upload = %(upload)s AND r.position = f.position
        """,
        {"found": storable_json(list(found)), "id": campaign.id, "upload": campaign.upload},
    )


def problems(conn: Connection[Any], campaign: Campaign) -> dict[str, tuple[int, str]]:
    """Why rows are left out: code → how many, and the sentence of the first."""
    found = conn.execute(
        """
        SELECT r.problem, count(*), (array_agg(r.reason ORDER BY r.position))[1] FROM whatsapp_logs.campaign_recipients AS r
        WHERE r.campaign_id = %(id)s AND r.upload = %(upload)s AND r.problem IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1
        """,
        {"id": campaign.id, "upload": campaign.upload},
    ).fetchall()
    return {code: (n, text) for code, n, text in found}


# --- from rows to messages ---


def queued(
    conn: Connection[Any], campaign: Campaign, written: Sequence[tuple[int, int, datetime | None, str | None]]
) -> None:
    """These rows are messages now: position, message, from when on it is to be handed over (None: it was refused), why so late."""
    conn.execute(
        """
        WITH w AS (
            SELECT * FROM unnest(%(positions)s::integer[], %(ids)s::bigint[], %(due)s::timestamptz[], %(reasons)s::text[])
                AS w (position, message_id, due_at, reason)
        ), told AS (
            UPDATE whatsapp_logs.messages AS m SET retry_at = w.due_at, wait_reason = w.reason
            FROM w WHERE m.id = w.message_id AND w.reason IS NOT NULL
        )
        UPDATE whatsapp_logs.campaign_recipients AS r SET message_id = w.message_id, due_at = w.due_at
        FROM w WHERE r.campaign_id = %(id)s AND r.upload = %(upload)s AND r.position = w.position
        """,
        {
            "id": campaign.id,
            "upload": campaign.upload,
            "positions": [one[0] for one in written],
            "ids": [one[1] for one in written],
            "due": [one[2] for one in written],
            "reasons": [one[3] for one in written],
        },
    )


def next_due(conn: Connection[Any], *, now: datetime, limit: int) -> list[int]:
    """Messages that are to be handed over, of all running campaigns in turn; their rows and campaigns are held.

    A campaign that somebody pauses or cancels at this moment waits until this transaction has ended.
    """
    found = conn.execute(
        """
        WITH c AS MATERIALIZED (
            SELECT id, upload FROM whatsapp_logs.campaigns WHERE state = 'running' ORDER BY id FOR SHARE
        ), turns AS (
            SELECT c.id, n.upload, n.position, n.message_id, n.turn
            FROM c CROSS JOIN LATERAL (
                SELECT r.upload, r.position, r.message_id, row_number() OVER (ORDER BY r.due_at, r.position) AS turn
                FROM whatsapp_logs.campaign_recipients AS r
                WHERE r.campaign_id = c.id AND r.due_at <= %(now)s ORDER BY r.due_at, r.position LIMIT %(limit)s
            ) AS n
            ORDER BY n.turn, c.id LIMIT %(limit)s
        )
        SELECT t.message_id FROM turns AS t ORDER BY t.turn, t.id
        """,
        {"now": now, "limit": limit},
    ).fetchall()
    return [row[0] for row in found]


def claim(conn: Connection[Any], ids: Sequence[int], *, now: datetime) -> set[int]:
    """Take those of these messages that still wait for the runner; nobody else gets them."""
    found = conn.execute(
        """
        WITH taken AS (
            UPDATE whatsapp_logs.messages
            SET claimed_at = %(now)s, attempts = attempts + 1, retry_at = NULL, wait_reason = NULL, updated_at = %(now)s
            WHERE id IN (SELECT id FROM whatsapp_logs.messages WHERE id = ANY (%(ids)s) ORDER BY id FOR NO KEY UPDATE)
              AND status = 'queued' AND claimed_at IS NULL AND provider_id IS NULL
            RETURNING id
        ), over AS (
            UPDATE whatsapp_logs.campaign_recipients SET due_at = NULL WHERE message_id = ANY (%(ids)s)
        )
        SELECT id FROM taken
        """,
        {"ids": list(ids), "now": now},
    ).fetchall()
    return {row[0] for row in found}


def put_off(conn: Connection[Any], each: Mapping[int, tuple[datetime, str]]) -> None:
    """Have these messages wait, each until its time and for its reason; a claim on one is given back."""
    conn.execute(
        """
        WITH w AS (
            SELECT * FROM unnest(%(ids)s::bigint[], %(until)s::timestamptz[], %(reasons)s::text[]) AS w (id, until, reason)
        ), told AS (
            UPDATE whatsapp_logs.messages AS m
            SET claimed_at = NULL, retry_at = w.until, wait_reason = w.reason, updated_at = now()
            FROM w WHERE m.id = w.id AND m.provider_id IS NULL
        )
        UPDATE whatsapp_logs.campaign_recipients AS r SET due_at = w.until FROM w WHERE r.message_id = w.id
        """,
        {
            "ids": list(each),
            "until": [until for until, _ in each.values()],
            "reasons": [reason for _, reason in each.values()],
        },
    )


def withdraw(conn: Connection[Any], ids: Sequence[int]) -> None:
    """Undo claims of this transaction's: nothing is handed over after all."""
    conn.execute(
        "UPDATE whatsapp_logs.messages SET claimed_at = NULL, attempts = attempts - 1 WHERE id = ANY (%(ids)s)",
        {"ids": list(ids)},
    )


def media_variables(conn: Connection[Any], ids: Sequence[int]) -> dict[int, str | None]:
    """The template placeholder of each message's document link."""
    found = conn.execute(
        "SELECT id, media_variable FROM whatsapp_logs.messages WHERE id = ANY (%(ids)s)", {"ids": list(ids)}
    ).fetchall()
    return dict(found)


def drop_due(conn: Connection[Any], campaign_id: int) -> list[int]:
    """Nothing of this campaign waits for the runner any more; the messages that did, and that nobody has claimed."""
    found = conn.execute(
        """
        WITH dropped AS (
            UPDATE whatsapp_logs.campaign_recipients SET due_at = NULL
            WHERE campaign_id = %(id)s AND due_at IS NOT NULL RETURNING message_id
        )
        SELECT m.id FROM dropped JOIN whatsapp_logs.messages AS m ON m.id = dropped.message_id
        WHERE m.status = 'queued' AND m.claimed_at IS NULL AND m.provider_id IS NULL ORDER BY m.id
        """,
        {"id": campaign_id},
    ).fetchall()
    return [row[0] for row in found]


def drop_canceled(conn: Connection[Any]) -> list[tuple[int, str | None]]:
    """Messages that came back to the runner after their campaign was canceled, with who did that; they wait no more."""
    return conn.execute(
        """
        UPDATE whatsapp_logs.campaign_recipients AS r SET due_at = NULL
        FROM whatsapp_logs.campaigns AS c
        WHERE c.id = r.campaign_id AND c.state = 'canceled' AND r.due_at IS NOT NULL AND r.message_id IS NOT NULL
        RETURNING r.message_id, c.stopped_by
        """
    ).fetchall()


def finished(conn: Connection[Any]) -> list[int]:
    """End the running campaigns of which nothing is left to queue or to hand over, and no answer is awaited; their ids."""
    found = conn.execute(
        """
        UPDATE whatsapp_logs.campaigns AS c SET state = 'done', ended_at = now()
        WHERE c.state = 'running' AND c.queued_up_to >= c.recipients
          AND NOT EXISTS (SELECT FROM whatsapp_logs.campaign_recipients AS r WHERE r.campaign_id = c.id AND r.due_at IS NOT NULL)
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.campaign_id = c.id AND m.status = 'queued'
                          AND m.provider_id IS NULL AND m.unconfirmed_at IS NULL)
        RETURNING c.id
        """
    ).fetchall()
    return [row[0] for row in found]


def earliest(conn: Connection[Any]) -> datetime | None:
    """When the runner has next to do something: the earliest message due, or now for a table that is not all queued yet."""
    row = conn.execute(
        """
        SELECT min(CASE WHEN c.queued_up_to < c.recipients THEN now() ELSE n.due_at END)
        FROM whatsapp_logs.campaigns AS c LEFT JOIN LATERAL (
            SELECT r.due_at FROM whatsapp_logs.campaign_recipients AS r
            WHERE r.campaign_id = c.id AND r.due_at IS NOT NULL ORDER BY r.due_at LIMIT 1
        ) AS n ON true
        WHERE c.state = 'running'
        """
    ).fetchone()
    return row[0] if row else None


# --- how far ---


def progress(conn: Connection[Any], campaign: Campaign) -> Progress:
    """How far a campaign is, from its messages and its table."""
    counted = conn.execute(
        """
        SELECT m.status, count(*),
               count(*) FILTER (WHERE m.status = 'queued' AND m.provider_id IS NULL AND m.unconfirmed_at IS NULL),
               count(*) FILTER (WHERE m.status = 'queued' AND m.provider_id IS NULL AND m.unconfirmed_at IS NOT NULL)
        FROM whatsapp_logs.messages AS m WHERE m.campaign_id = %(id)s GROUP BY m.status
        """,
        {"id": campaign.id},
    ).fetchall()
    table = conn.execute(
        """
        SELECT count(*) FILTER (WHERE r.problem IS NULL AND r.message_id IS NULL), count(*) FILTER (WHERE r.problem IS NOT NULL)
        FROM whatsapp_logs.campaign_recipients AS r WHERE r.campaign_id = %(id)s AND r.upload = %(upload)s
        """,
        {"id": campaign.id, "upload": campaign.upload},
    ).fetchone()
    due = conn.execute(
        """
        SELECT r.due_at, m.wait_reason FROM whatsapp_logs.campaign_recipients AS r
        JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
        WHERE r.campaign_id = %(id)s AND r.due_at IS NOT NULL ORDER BY r.due_at, r.position LIMIT 1
        """,
        {"id": campaign.id},
    ).fetchone()
    assert table is not None
    return Progress(
        by_status={Status(status): n for status, n, _, _ in counted},
        waiting=sum(n for _, _, n, _ in counted),
        unconfirmed=sum(n for _, _, _, n in counted),
        to_queue=table[0] if campaign.is_under_way else 0,
        left_out=table[1],
        next_due_at=due[0] if due else None,
        wait_reason=due[1] if due else None,
    )


def in_doubt(
    conn: Connection[Any], campaign_id: int, *, now: datetime, waited: timedelta, after: int = 0, limit: int
) -> list[int]:
    """Its messages whose answer was lost for so long, and that were looked up since; ids, from the one after `after` on."""
    found = conn.execute(
        """
        SELECT m.id FROM whatsapp_logs.messages AS m
        WHERE m.campaign_id = %(id)s AND m.id > %(after)s AND m.status IN ('scheduled', 'queued') AND m.provider_id IS NULL
          AND m.unconfirmed_at <= %(now)s - %(waited)s AND m.last_status_check >= m.unconfirmed_at
        ORDER BY m.id LIMIT %(limit)s
        """,
        {"id": campaign_id, "now": now, "waited": waited, "after": after, "limit": limit},
    ).fetchall()
    return [row[0] for row in found]


def failures(conn: Connection[Any], campaign: Campaign) -> list[tuple[str, int, str | None]]:
    """Why its messages failed: each code, how often, and the words of the first; those sent again since are left out."""
    return conn.execute(
        """
        SELECT coalesce(m.error_code, ''), count(*), (array_agg(m.error_message ORDER BY m.id))[1]
        FROM whatsapp_logs.messages AS m
        WHERE m.campaign_id = %(id)s AND m.status IN ('failed', 'undelivered') AND m.erased_at IS NULL
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS again WHERE again.resend_of = m.id)
        GROUP BY 1 ORDER BY 2 DESC, 1
        """,
        {"id": campaign.id},
    ).fetchall()


def copy_failed(conn: Connection[Any], campaign: Campaign, into: int, upload: int, codes: Sequence[str]) -> int:
    """Write the rows whose message failed with one of these codes, and was not sent again, into another campaign's table."""
    done = conn.execute(
        """
        INSERT INTO whatsapp_logs.campaign_recipients (campaign_id, upload, position, cells, client_id, policy_id, resend_of)
        SELECT %(into)s, %(new)s, row_number() OVER (ORDER BY r.position), r.cells, r.client_id, r.policy_id, m.id
        FROM whatsapp_logs.campaign_recipients AS r JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
        WHERE r.campaign_id = %(id)s AND r.upload = %(upload)s AND m.status IN ('failed', 'undelivered') AND m.erased_at IS NULL
          AND coalesce(m.error_code, '') = ANY (%(codes)s)
          AND NOT (m.error_code = 'not_sent' AND m.provider_id IS NOT NULL)
          AND NOT EXISTS (SELECT FROM whatsapp_logs.messages AS again WHERE again.resend_of = m.id)
        """,
        {"id": campaign.id, "upload": campaign.upload, "into": into, "new": upload, "codes": list(codes)},
    )
    return done.rowcount


def results(
    conn: Connection[Any], campaign: Campaign, *, after: int = 0, limit: int = 100, only_problems: bool = False
) -> list[Result]:
    """Each row of the table with what became of it, from the one after that position on."""
    condition = "AND r.problem IS NOT NULL" if only_problems else ""
    with conn.cursor(row_factory=class_row(Result)) as cursor:
        return cursor.execute(
            f"""
            SELECT {_ROW_COLUMNS}, m.status::text AS status, m.error_code, m.error_message, m.wait_reason,
                   coalesce(m.unconfirmed_at IS NOT NULL AND m.provider_id IS NULL AND m.status = 'queued', false) AS is_unconfirmed
            FROM whatsapp_logs.campaign_recipients AS r LEFT JOIN whatsapp_logs.messages AS m ON m.id = r.message_id
            WHERE r.campaign_id = %(id)s AND r.upload = %(upload)s AND r.position > %(after)s {condition}
            ORDER BY r.position LIMIT %(limit)s
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            {"id": campaign.id, "upload": campaign.upload, "after": after, "limit": limit},
        ).fetchall()


# --- privacy ---


def erase_tables(conn: Connection[Any], *, before: datetime) -> int:
    """Erase the tables of campaigns that ended or were left before then; returns how many rows."""
    row = conn.execute("SELECT whatsapp_logs.erase_campaign_tables(%(before)s)", {"before": before}).fetchone()
    return int(row[0]) if row else 0


def erase_rows(conn: Connection[Any], addresses: Sequence[str]) -> int:
    """Erase what the tables of campaigns say of these numbers; returns how many rows."""
    row = conn.execute(
        "SELECT whatsapp_logs.erase_campaign_rows(%(addresses)s)", {"addresses": list(addresses)}
    ).fetchone()
    return int(row[0]) if row else 0


def _campaigns(conn: Connection[Any], condition: str, **parameters: Any) -> list[Campaign]:
    with conn.cursor(row_factory=class_row(Campaign)) as cursor:
        return cursor.execute(
            f"SELECT {_COLUMNS} FROM whatsapp_logs.campaigns AS c WHERE {condition}".encode(),  # noqa: S608 - words of ours
            parameters,
        ).fetchall()
