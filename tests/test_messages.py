"""Lists and counts: right rows in the right order, each exactly once, and numbers that equal count(*)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from whatsapp_logs import MessageFilter, Status, WhatsAppService
from whatsapp_logs.filters import Cursor
from whatsapp_logs.message import FAILURES, IN_FLIGHT, Source, StatusReport
from whatsapp_logs.store import counts, messages

STATUSES = ["sent", "delivered", "read", "failed", "delivered", "undelivered", "read", "sent"]
START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def log(service: WhatsAppService) -> WhatsAppService:
    """130 messages, a minute apart, of two types, to 13 numbers; several share one creation time."""
    with service.transaction() as conn:
        for n in range(130):
            sid = f"SM{n:032}"
            service.log_message(
                conn=conn,
                message_sid=sid,
                to=f"+4477009002{n % 13:02}",
                message_type="general" if n % 2 else "policy_document",
                created_at=START + timedelta(minutes=n // 3 * 3),
            )
    reports = [_report(n) for n in range(130)]
    service.record(reports, source=Source.CALLBACK)
    return service


def _report(n: int) -> StatusReport:
    status = STATUSES[n % 8]
    return StatusReport(
        provider_status=status, provider_id=f"SM{n:032}", error_code="63003" if status in FAILURES else None
    )


def walk(service: WhatsAppService, wanted: MessageFilter, *, limit: int = 7) -> list[int]:
    ids: list[int] = []
    cursor: Cursor | None = None
    while True:
        page = service.page(wanted, before=cursor, limit=limit)
        ids += [message.id for message in page.messages]
        cursor = page.older
        if cursor is None:
            return ids


@pytest.mark.parametrize(
    "wanted",
    [
        MessageFilter(),
        MessageFilter(statuses=(Status.FAILED,)),
        MessageFilter(statuses=(Status.SENT, Status.FAILED, Status.UNDELIVERED)),
        MessageFilter(statuses=(Status.DELIVERED, Status.READ)),
        MessageFilter(statuses=(Status.SENT, Status.READ), types=("general",)),
        MessageFilter(phone="900207"),
        MessageFilter(phone="9002", statuses=(Status.SENT,)),
        MessageFilter(types=("policy_document",), date_from=START.date(), date_to=START.date()),
        MessageFilter(error_code="63003"),
        MessageFilter(error_code="63003", statuses=(Status.FAILED, Status.READ)),
        MessageFilter(error_code="63003", statuses=(Status.READ,)),
        MessageFilter(error_code="63003", phone="900207"),
        MessageFilter(statuses=(Status.FAILED,), date_from=START.date(), date_to=START.date(), types=("general",)),
        MessageFilter(phone="123456"),
    ],
    ids=str,
)
def test_every_list_shows_each_of_its_rows_once_newest_first(
    log: WhatsAppService, wanted: MessageFilter, dsn: str
) -> None:
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            "SELECT id, status::text, message_type, recipient, created_at, error_code"
            " FROM whatsapp_logs.messages ORDER BY created_at DESC, id DESC"
        ).fetchall()
    expected = [
        row[0]
        for row in rows
        if (not wanted.statuses or row[1] in wanted.statuses)
        and (not wanted.types or row[2] in wanted.types)
        and wanted.phone in row[3]
        and (wanted.since is None or wanted.until is None or wanted.since <= row[4] < wanted.until)
        and (not wanted.error_code or row[5] == wanted.error_code)
    ]
    assert walk(log, wanted) == expected
    assert log.count(wanted) == len(expected)


@pytest.mark.parametrize(
    "wanted",
    [
        MessageFilter(),
        MessageFilter(statuses=(Status.FAILED,)),
        MessageFilter(statuses=(Status.QUEUED, Status.SENT)),
        MessageFilter(statuses=(Status.FAILED,), error_code="99999"),
        MessageFilter(error_code="99999"),
        MessageFilter(statuses=(Status.FAILED,), date_from=START.date(), date_to=START.date()),
    ],
    ids=str,
)
def test_a_page_never_reads_the_whole_log(service: WhatsAppService, dsn: str, wanted: MessageFilter) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, failed_at, status, created_at)
            SELECT '+447700900222', CASE WHEN n % 50 = 0 THEN now() END,
                   CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'read' END::whatsapp_logs.status,
                   now() - make_interval(mins => n)
            FROM generate_series(1, 20000) AS n
            """
        )
        conn.execute("ANALYZE")
    with service.transaction() as conn:
        messages.page(conn, wanted)
        scans = conn.execute(
            "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'whatsapp_logs.messages'::regclass"
        ).fetchone()
    assert scans == (0,)


def test_going_back_shows_the_page_one_came_from(log: WhatsAppService) -> None:
    first = log.page(MessageFilter(), limit=20)
    second = log.page(MessageFilter(), before=first.older, limit=20)
    back = log.page(MessageFilter(), after=second.newer, limit=20)
    assert [message.id for message in back.messages] == [message.id for message in first.messages]
    assert back.newer is None
    assert back.older is not None


def test_a_page_number_of_the_first_portal_shows_that_page(log: WhatsAppService) -> None:
    third = log.page(MessageFilter(statuses=(Status.SENT,)), offset=20, limit=10)
    assert [message.id for message in third.messages] == walk(log, MessageFilter(statuses=(Status.SENT,)))[20:30]


def test_counts_equal_the_rows_before_and_after_they_are_rolled_up(log: WhatsAppService, dsn: str) -> None:
    def counted() -> dict[str, int]:
        with psycopg.connect(dsn) as conn:
            return dict(conn.execute("SELECT status::text, count(*) FROM whatsapp_logs.messages GROUP BY 1").fetchall())

    assert log.status_counts() == counted()
    with log.transaction() as conn:
        assert counts.fold_deltas(conn) > 0
    assert log.status_counts() == counted()
    log.record([StatusReport(provider_status="read", provider_id=f"SM{0:032}")], source=Source.CALLBACK)
    assert log.status_counts() == counted()


def test_the_side_list_holds_exactly_what_is_not_delivered_or_read(log: WhatsAppService, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        aside = conn.execute("SELECT message_id, status::text FROM whatsapp_logs.rare_statuses ORDER BY 1").fetchall()
        rows = conn.execute(
            "SELECT id, status::text FROM whatsapp_logs.messages WHERE status NOT IN ('delivered', 'read') ORDER BY 1"
        ).fetchall()
    assert aside == rows


def test_who_deletes_a_message_by_hand_leaves_nothing_of_it_in_the_side_list_and_the_counts(
    service: WhatsAppService, dsn: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO whatsapp_logs.messages (recipient) SELECT '+44770090000' || n FROM generate_series(0, 5) AS n"
        )
        conn.execute("DELETE FROM whatsapp_logs.messages WHERE recipient < '+447700900004'")
        left = conn.execute("SELECT message_id FROM whatsapp_logs.rare_statuses ORDER BY 1").fetchall()
        assert left == conn.execute("SELECT id FROM whatsapp_logs.messages ORDER BY 1").fetchall() != []
    assert service.status_counts() == {Status.QUEUED: 2}


def test_a_message_with_a_history_is_neither_deleted_nor_numbered_anew(log: WhatsAppService, dsn: str) -> None:
    """Not even by the owner of the tables, whom no privilege stops."""
    before = log.status_counts()
    with psycopg.connect(dsn, autocommit=True) as conn:
        (last,) = conn.execute("SELECT max(id) FROM whatsapp_logs.messages").fetchone() or (0,)
        for attempt in (
            "DELETE FROM whatsapp_logs.messages",
            f"DELETE FROM whatsapp_logs.messages WHERE id = {last}",
            f"UPDATE whatsapp_logs.messages SET id = DEFAULT WHERE id = {last}",
            "TRUNCATE whatsapp_logs.messages CASCADE",
        ):
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                conn.execute(attempt.encode())
        known = "SELECT id FROM whatsapp_logs.messages"
        orphans = f"SELECT count(*) FROM whatsapp_logs.status_events WHERE message_id NOT IN ({known})"
        assert conn.execute(orphans.encode()).fetchone() == (0,)
    assert log.message(last) is not None
    assert log.status_counts() == before


def test_deleting_a_client_keeps_the_messages(service: WhatsAppService, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(
            "INSERT INTO public.clients (name, phone, address) VALUES ('Asha', '+447700900222', '1 Quay') RETURNING client_id"
        ).fetchone()
        assert row is not None
        message = service.log_message(message_sid="SM" + "c" * 32, to="+447700900222", client_id=row[0])
        assert service.page(MessageFilter(client_id=str(row[0]))).messages == [message]
        conn.execute("DELETE FROM public.clients WHERE client_id = %s", [row[0]])
    assert service.message(message.id).client_id is None


def test_events_can_neither_be_changed_nor_removed(log: WhatsAppService, dsn: str) -> None:
    for attempt in (
        "UPDATE whatsapp_logs.status_events SET status = 'read'",
        "DELETE FROM whatsapp_logs.status_events",
        "TRUNCATE whatsapp_logs.status_events CASCADE",
    ):
        with psycopg.connect(dsn) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            conn.execute(attempt)


def test_statuses_in_flight_and_failures_do_not_overlap() -> None:
    assert not IN_FLIGHT & FAILURES
