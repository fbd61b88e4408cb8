"""Statuses coming in: 50 000 new messages go to sent, delivered and read, in batches of 1 000 with a durable commit each.

Ours writes events, state, counts and side list. The baseline updates a copy of the same rows that has its two keys and nothing
else, row by row; one statement for a thousand of them is the least that can be done. The first portal committed each row.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg

from benches.measure import Line
from benches.place import Place
from whatsapp_logs import track
from whatsapp_logs.message import Source, StatusReport

T = TypeVar("T")
BATCH = 1000
STEPS = ("sent", "delivered", "read")
ONE_BY_ONE = 1000
# What Twilio sends with each.
_FORM = {
    "AccountSid": "AC" + "0" * 32,
    "ApiVersion": "2010-04-01",
    "From": "whatsapp:+15550100100",
    "ChannelPrefix": "whatsapp",
}


def measure(place: Place) -> Iterator[Line]:
    """Updates a second beside the baselines, and the share of heap-only updates."""
    count = 5_000 if place.is_smoke else 50_000
    with place.scratch() as dsn, closing(psycopg.connect(dsn)) as conn:
        sids = _write_messages(conn, count)
        before = _updates(conn)
        ours, bare, sets = [], [], []
        for step in STEPS:  # in turn, so that a busy machine is busy for both
            reports = [_report(sid, step) for sid in sids]
            ours.append(_per_second(reports, lambda some: _record(conn, some)))
            bare.append(_per_second(sids, lambda some, step=step: _update_each(conn, some, step)))  # type: ignore[misc]
            sets.append(_per_second(sids, lambda some, step=step: _update_set(conn, some, step)))  # type: ignore[misc]
        updated, heap_only = (after - earlier for after, earlier in zip(_updates(conn), before, strict=True))
        rate, baseline = statistics.median(ours), statistics.median(bare)
        yield Line(
            "status updates with events and counts ÷ bare UPDATE of a row", rate, "/s", rate / baseline, ">= 0.5"
        )
        yield Line("status updates ÷ one bare UPDATE of all rows", rate, "/s", rate / statistics.median(sets))
        yield Line("status updates that are heap-only", 100 * heap_only / updated, "%", heap_only / updated, ">= 0.9")
        one_by_one = _per_second(sids[:ONE_BY_ONE], lambda some: _update_one_by_one(conn, some))
        yield Line("status updates ÷ first portal's, a commit each", rate, "/s", rate / one_by_one)


def _write_messages(conn: psycopg.Connection[Any], count: int) -> list[str]:
    """New messages that have just been handed over, in the log, in the bare copy and in the first portal's table."""
    mark = f"B{time.time_ns():x}"
    conn.execute(
        """
        INSERT INTO whatsapp_logs.messages (recipient, sender, body, provider_id, status, claimed_at)
        SELECT bench.phone(n), '+15550100100', 'Your policy is due for renewal soon.', %(mark)s || n, 'sending', now()
        FROM generate_series(1, %(count)s) AS n
        """,
        {"mark": mark, "count": count},
    )
    conn.execute("DROP TABLE IF EXISTS bench.bare")
    conn.execute("CREATE TABLE bench.bare (LIKE whatsapp_logs.messages) WITH (fillfactor = 80)")
    conn.execute("INSERT INTO bench.bare SELECT * FROM whatsapp_logs.messages ORDER BY id DESC LIMIT 500000")
    conn.execute("ALTER TABLE bench.bare ADD PRIMARY KEY (id)")
    conn.execute("CREATE UNIQUE INDEX ON bench.bare (provider_id)")
    conn.execute(
        """
        INSERT INTO first_portal.whatsapp_logs (message_sid, phone_number, message_type, status)
        SELECT %(mark)s || n, bench.phone(n), 'general', 'sending' FROM generate_series(1, %(count)s) AS n
        """,
        {"mark": mark, "count": ONE_BY_ONE},
    )
    conn.commit()
    sids = [f"{mark}{n}" for n in range(1, count + 1)]
    random.Random(1).shuffle(sids)  # neighbours do not change in the same moment
    return sids


def _per_second(items: Sequence[T], write: Callable[[Sequence[T]], None]) -> float:
    began = time.perf_counter()
    for first in range(0, len(items), BATCH):
        write(items[first : first + BATCH])
    return len(items) / (time.perf_counter() - began)


def _report(sid: str, step: str) -> StatusReport:
    form = _FORM | {"MessageSid": sid, "SmsSid": sid, "MessageStatus": step}
    return StatusReport(provider_status=step, provider_id=sid, payload=form)


def _record(conn: psycopg.Connection[Any], reports: Sequence[StatusReport]) -> None:
    track.record(conn, reports, source=Source.CALLBACK, now=datetime.now(UTC))
    conn.commit()


def _update_each(conn: psycopg.Connection[Any], sids: Sequence[str], step: str) -> None:
    """A statement for each row, all on their way before the first is answered."""
    with conn.pipeline():
        for sid in sids:
            conn.execute(
                "UPDATE bench.bare SET status = %s, delivered_at = now(), updated_at = now() WHERE provider_id = %s",
                [step, sid],
            )
    conn.commit()


def _update_set(conn: psycopg.Connection[Any], sids: Sequence[str], step: str) -> None:
    """One statement for all rows: the least that PostgreSQL can do."""
    conn.execute(
        """
        UPDATE bench.bare SET status = %(step)s, delivered_at = now(), updated_at = now()
        FROM unnest(%(sids)s::text[]) AS told (sid) WHERE provider_id = told.sid
        """,
        {"step": step, "sids": list(sids)},
    )
    conn.commit()


def _update_one_by_one(conn: psycopg.Connection[Any], sids: Sequence[str]) -> None:
    for sid in sids:
        conn.execute(
            "UPDATE first_portal.whatsapp_logs SET status = 'delivered', delivered_at = now() WHERE message_sid = %s",
            [sid],
        )
        conn.commit()


def _updates(conn: psycopg.Connection[Any]) -> tuple[int, int]:
    """How many rows of the log have been updated so far, and how many of them heap-only."""
    conn.execute("SELECT pg_stat_force_next_flush()")
    conn.commit()
    row = conn.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'whatsapp_logs.messages'::regclass"
    ).fetchone()
    conn.commit()
    assert row is not None
    return row[0], row[1]
