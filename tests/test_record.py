"""The fold: whatever order, number and shape reports come in, a message's state is what they say together."""

from __future__ import annotations

import hashlib
import itertools
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from procrastinate.exceptions import ConnectorException

from whatsapp_logs import Config, Draft, Status, WhatsAppService, send, track
from whatsapp_logs.message import Source, StatusReport
from whatsapp_logs.store import counts


def sid(n: int) -> str:
    return f"SM{n:032}"


def log_many(dsn: str, count: int, first: int = 0) -> None:
    """Rows as old code would have left them: queued, with a SID."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, body, provider_id, created_at)
            SELECT '+447700900' || lpad((n %% 1000)::text, 3, '0'), 'x', 'SM' || lpad(n::text, 32, '0'),
                   now() - make_interval(secs => n)
            FROM generate_series(%(first)s::int, %(last)s::int) AS n
            """,
            {"first": first, "last": first + count - 1},
        )


def seconds_to_record(service: WhatsAppService, reports: Sequence[StatusReport]) -> float:
    begun = time.perf_counter()
    service.record(reports, source=Source.CALLBACK)
    return time.perf_counter() - begun


def test_a_thousand_reports_cost_far_less_than_a_thousand_times_one(service: WhatsAppService, dsn: str) -> None:
    """One connection's plans are made for one report and kept: they must not be quadratic in a batch."""
    log_many(dsn, 3000)
    for n in range(10):
        service.record([StatusReport(provider_status="sent", provider_id=sid(n))], source=Source.CALLBACK)
    batch = [StatusReport(provider_status="sent", provider_id=sid(n)) for n in range(1000, 2000)]
    small, big = 1e9, 1e9
    for word in ("sending", "delivered", "read"):  # the best of three: a machine that stands still tells nothing
        told = [replace(one, provider_status=word) for one in batch]
        small = min(small, seconds_to_record(service, told[:100]))
        big = min(big, seconds_to_record(service, told))
    assert big < 25 * small, f"100 reports {small * 1000:.0f} ms, 1 000 reports {big * 1000:.0f} ms"


FLOW = ("queued", "sending", "sent", "delivered", "read")
FAILURES = ("failed", "undelivered", "canceled")
RANKS = {
    word: n
    for n, word in enumerate(["queued", "sending", "sent", "canceled", "failed", "undelivered", "delivered", "read"])
}


def test_fault_5_every_order_of_reports_ends_in_the_documented_state(service: WhatsAppService, dsn: str) -> None:
    """Each permutation of the flow, and each failure at each place of each: one message for each, reported round by round."""
    orders = [list(order) for order in itertools.permutations(FLOW)]
    orders += [
        [*order[:place], failure, *order[place:]]
        for length in (3, 4, 5)
        for order in itertools.permutations(FLOW[:length])
        for failure in FAILURES
        for place in range(length + 1)
    ]
    log_many(dsn, len(orders))
    for turn in range(max(map(len, orders))):
        reports = [
            StatusReport(
                provider_status=order[turn], provider_id=sid(n), error_code="63016" if order[turn] == "failed" else None
            )
            for n, order in enumerate(orders)
            if turn < len(order)
        ]
        service.record(reports, source=Source.CALLBACK)
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            """
            SELECT provider_id, status::text, error_code, failed_at IS NOT NULL, delivered_at IS NOT NULL, read_at IS NOT NULL
            FROM whatsapp_logs.messages ORDER BY provider_id
            """
        ).fetchall()
    for order, (_, status, code, has_failed, is_delivered, is_read) in zip(orders, rows, strict=True):
        end = max(order, key=RANKS.__getitem__)
        assert status == end, order
        assert (has_failed, is_delivered, is_read) == (end in FAILURES, end in ("delivered", "read"), end == "read"), (
            order
        )
        assert code == ("63016" if end in FAILURES and "failed" in order else None), order


def test_an_error_stays_when_a_later_failure_brings_none(service: WhatsAppService, dsn: str) -> None:
    log_many(dsn, 1)
    for word, code in (("failed", "63016"), ("undelivered", None), ("failed", None)):
        service.record(
            [StatusReport(provider_status=word, provider_id=sid(0), error_code=code, error_message=code and "why")],
            source=Source.CALLBACK,
        )
    message = service.message_by_sid(sid(0))
    assert (message.status, message.error_code, message.error_message) == (Status.UNDELIVERED, "63016", "why")


@pytest.mark.parametrize(
    "odd",
    [
        {"error_message": "NUL \0 inside"},
        {"error_message": "half a pair \ud83d"},
        {"payload": {"a\0": ["\0", {"b": "\udfff"}]}},
        {"provider_status": "w" * 9000},
        {"provider_status": ""},
        {"provider_id": "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))},
        {"error_code": "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))},
        {"price": Decimal("NaN")},
        {"price": Decimal("-Infinity")},
        {"price": Decimal("1e-400")},
        {"num_segments": 2**80},
        {"message_id": 2**80},
        {"message_id": 987654321},
        {"happened_at": datetime(1, 1, 1, tzinfo=UTC)},
        {"happened_at": datetime.max.replace(tzinfo=UTC)},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_one_odd_report_does_not_cost_the_others(odd: dict[str, Any], service: WhatsAppService, dsn: str) -> None:
    log_many(dsn, 3)
    reports = [StatusReport(provider_status="sent", provider_id=sid(n)) for n in range(3)]
    reports[1] = replace(reports[1], **odd)
    recorded = service.record(reports, source=Source.CALLBACK)
    assert all(outcome.is_new for outcome in recorded)
    assert [service.message_by_sid(sid(n)).status for n in (0, 2)] == [Status.SENT, Status.SENT]


@pytest.mark.parametrize(
    ("code", "table"), [("21610", "consent_events"), ("63033", "consent_events"), ("63041", "procrastinate_jobs")]
)
def test_what_a_report_tells_of_something_else_is_kept_with_it_or_neither_is(
    code: str, table: str, service: WhatsAppService, dsn: str
) -> None:
    log_many(dsn, 2)
    reports = [
        StatusReport(provider_status="sent", provider_id=sid(0)),
        StatusReport(provider_status="failed", provider_id=sid(1), error_code=code),
    ]
    with psycopg.connect(dsn) as conn:
        conn.execute(f"ALTER TABLE whatsapp_logs.{table} ADD CONSTRAINT broken CHECK (id < 0) NOT VALID".encode())
    with pytest.raises((psycopg.errors.CheckViolation, ConnectorException)):
        service.record(reports, source=Source.CALLBACK)
    with psycopg.connect(dsn) as conn:
        assert conn.execute(
            "SELECT count(*) FROM whatsapp_logs.status_events WHERE provider_id IS NOT NULL"
        ).fetchone() == (0,)
        conn.execute(f"ALTER TABLE whatsapp_logs.{table} DROP CONSTRAINT broken".encode())
    assert all(told.is_new for told in service.record(reports, source=Source.CALLBACK))


def test_two_messages_of_a_batch_cannot_both_take_one_sid(service: WhatsAppService) -> None:
    first, second = (service.send(Draft(to="+447700900222", body="x")) for _ in range(2))
    reports = [
        StatusReport(provider_status="sent", provider_id=sid(7), message_id=message.id) for message in (first, second)
    ]
    recorded = service.record(reports, source=Source.CALLBACK)
    assert {outcome.message_id for outcome in recorded} == {first.id}
    assert service.message(second.id).provider_id is None


def test_a_second_sid_for_one_message_is_kept_apart_and_visible(service: WhatsAppService) -> None:
    """It would be the trace of a message sent twice: evidence, never folded into the first one's state."""
    message = service.send(Draft(to="+447700900222", body="x"))
    for n, word in ((1, "sent"), (2, "read")):
        report = StatusReport(provider_status=word, provider_id=sid(n), message_id=message.id)
        service.record([report], source=Source.CALLBACK)
    assert service.message(message.id).status is Status.SENT
    assert [event.provider_id for event in service.unmatched()] == [sid(2)]


def test_a_lost_sent_is_told_by_what_came_after_it(service: WhatsAppService, dsn: str) -> None:
    log_many(dsn, 1)
    left_at, read_at = datetime(2026, 11, 1, 10, tzinfo=UTC), datetime(2026, 11, 1, 11, tzinfo=UTC)
    report = StatusReport(provider_status="read", provider_id=sid(0), sent_at=left_at, happened_at=read_at)
    service.record([report], source=Source.REFRESH)
    message = service.message_by_sid(sid(0))
    assert (message.sent_at, message.delivered_at, message.read_at) == (left_at, read_at, read_at)


def test_a_price_that_comes_late_is_kept_and_not_forgotten_again(service: WhatsAppService, dsn: str) -> None:
    log_many(dsn, 1)
    prices = (None, Decimal("-0.0075"), None)
    for price in prices:
        report = StatusReport(provider_status="delivered", provider_id=sid(0), price=price, price_unit=price and "usd")
        service.record([report], source=Source.REFRESH)
    message = service.message_by_sid(sid(0))
    assert (message.price, message.price_unit) == (Decimal("-0.0075"), "USD")


def test_fault_7_reports_that_race_their_row_are_never_lost(service: WhatsAppService) -> None:
    """Each SID's row is logged while two reports of it, one carrying nothing of ours, come in from other threads."""

    def one(n: int) -> None:
        words = [
            lambda: service.log_message(message_sid=sid(n), to="+447700900222"),
            lambda: service.record([StatusReport(provider_status="sent", provider_id=sid(n))], source=Source.CALLBACK),
            lambda: service.record([StatusReport(provider_status="read", provider_id=sid(n))], source=Source.CALLBACK),
        ]
        with ThreadPoolExecutor(3) as threads:
            for done in [threads.submit(word) for word in words[n % 3 :] + words[: n % 3]]:
                done.result()

    with ThreadPoolExecutor(2) as outer:
        list(outer.map(one, range(60)))
    assert {service.message_by_sid(sid(n)).status for n in range(60)} == {Status.READ}
    assert service.unmatched() == []


WORDS = [*FLOW, *FAILURES, "scheduled", "teleported"]
# Of which message, which status, and with which reason: an error's code and text, either, or neither.
REPORTS = st.tuples(
    st.integers(0, 5),
    st.sampled_from(WORDS),
    st.sampled_from([None, "63016", "63024"]),
    st.sampled_from([None, "a", "b"]),
)
STEPS = st.one_of(
    st.tuples(st.just("log"), st.integers(0, 5), st.sampled_from(["general", "policy_document"])),
    st.tuples(st.just("report"), st.lists(REPORTS, min_size=1, max_size=6)),
    st.tuples(st.just("send"), st.sampled_from(["+447700900222", "no number"])),
    st.tuples(st.just("fold")),
    st.tuples(st.just("undo"), st.lists(REPORTS, min_size=1, max_size=3)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=14))
def test_counts_side_list_and_state_never_drift_whatever_happens_in_whatever_order(
    steps: list[tuple[Any, ...]], config: Config, conn: psycopg.Connection[Any]
) -> None:
    for kind, *what in steps:
        with conn.transaction():
            if kind == "log":
                send.record_sent(
                    conn, config=config, message_sid=sid(what[0]), to="+447700900222", message_type=what[1]
                )
            elif kind == "send":
                send.queue_message(conn, Draft(to=what[0], body="x"), config=config)
            elif kind == "fold":
                counts.fold_deltas(conn)
            else:
                reports = [
                    StatusReport(provider_status=word, provider_id=sid(n), error_code=code, error_message=text)
                    for n, word, code, text in what[0]
                ]
                track.record(conn, reports, source=Source.CALLBACK)
                if kind == "undo":
                    raise psycopg.Rollback
    check_derived(conn)
    conn.rollback()
    conn.execute("SELECT 1")


def check_derived(conn: psycopg.Connection[Any]) -> None:
    """Counts equal count(*), the side list equals its rows, each state is the fold of its events, and nothing known is parked."""
    drifted = conn.execute(
        """
        WITH rolled AS (
            SELECT day, direction, message_type, status, n FROM whatsapp_logs.counts
            UNION ALL SELECT day, direction, message_type, status, n FROM whatsapp_logs.count_deltas
            UNION ALL SELECT (created_at AT TIME ZONE 'UTC')::date, direction, message_type, status, -1 FROM whatsapp_logs.messages
        ), told AS (
            SELECT message_id, max(status) AS status FROM whatsapp_logs.status_events WHERE message_id IS NOT NULL GROUP BY 1
        )
        SELECT 'counts', day::text || status, sum(n)::text FROM rolled GROUP BY day, direction, message_type, status
        HAVING sum(n) <> 0
        UNION ALL
        SELECT 'totals', direction || message_type, status::text FROM (
            SELECT direction, message_type, status, n FROM whatsapp_logs.counts
            UNION ALL SELECT direction, message_type, status, -n FROM whatsapp_logs.count_totals) AS every
        GROUP BY direction, message_type, status HAVING sum(n) <> 0
        UNION ALL
        SELECT 'side list', m.id::text, m.status::text FROM whatsapp_logs.messages AS m
        FULL JOIN whatsapp_logs.rare_statuses AS r ON r.message_id = m.id
        WHERE whatsapp_logs.is_rare(m.status) IS DISTINCT FROM (r.message_id IS NOT NULL)
           OR (r.status, r.message_type) <> (m.status, m.message_type) OR r.error_code <> m.error_code
           OR (r.error_code IS NULL) <> (m.error_code IS NULL) AND r.message_id IS NOT NULL
        UNION ALL
        SELECT 'state', m.id::text, m.status::text FROM whatsapp_logs.messages AS m LEFT JOIN told AS t ON t.message_id = m.id
        WHERE m.status IS DISTINCT FROM GREATEST(t.status, 'queued')
        UNION ALL
        SELECT 'parked', e.provider_id, e.provider_status FROM whatsapp_logs.status_events AS e
        JOIN whatsapp_logs.messages AS m USING (provider_id) WHERE e.message_id IS NULL
        """
    ).fetchall()
    assert drifted == []
    # The whole fold over all events finds nothing that the reports as they came had not brought about.
    assert conn.execute("SELECT whatsapp_logs.fold(ARRAY(SELECT id FROM whatsapp_logs.messages))").fetchall() == []


def test_fault_6_many_threads_reporting_the_same_messages_in_any_order_neither_deadlock_nor_drift(
    service: WhatsAppService, dsn: str
) -> None:
    """With early callbacks that bring our id, roll-ups, and messages of the same numbers being queued meanwhile."""
    with service.transaction() as conn:
        ids = [service.send(Draft(to="+447700900222", body="x"), conn=conn).id for _ in range(30)]

    def report(seed: int) -> None:
        told = [
            StatusReport(provider_status=word, provider_id=sid(n), message_id=ids[n] if chance.random() < 0.5 else None)
            for chance in [random.Random(seed)]
            for n in chance.sample(range(30), 20)
            for word in chance.sample(FLOW, 3)
        ]
        for begin in range(0, len(told), 15):
            service.record(told[begin : begin + 15], source=Source.CALLBACK)
        service.send(Draft(to="+447700900223", body="x"))
        with service.transaction() as conn:
            counts.fold_deltas(conn)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(report, range(24)))
    reports = [StatusReport(provider_status="read", provider_id=sid(n), message_id=ids[n]) for n in range(30)]
    service.record(reports, source=Source.REFRESH)
    with psycopg.connect(dsn) as conn:
        check_derived(conn)
    assert {service.message(id_).status for id_ in ids} == {Status.READ}
