"""A table of versions 1.0 to 1.2: every row is in the log afterwards, and the table is kept."""

# ruff: noqa: DTZ001 - the old table's times have no zone
from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.migrations.conftest import OLD_TABLE
from whatsapp_logs.errors import SchemaMismatch
from whatsapp_logs.store import migrate

ASIDE = "public.whatsapp_logs_before_migration"


def sid(number: int) -> str:
    return f"SM{number:032x}"


def rows(dsn: str, query: str, parameters: tuple[object, ...] = ()) -> list[dict[str, Any]]:
    with psycopg.connect(dsn, row_factory=dict_row) as conn:
        return conn.execute(query.encode(), parameters).fetchall()


def run(dsn: str, sql: str, parameters: tuple[object, ...] = ()) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.encode(), parameters or None)


def write_old(dsn: str, **values: object) -> None:
    values = {"phone_number": "+447700900123", "message_type": "general", "message_sid": sid(1)} | values
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    run(dsn, f"INSERT INTO whatsapp_logs ({columns}) VALUES ({places})", tuple(values.values()))


def utc(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[misc, arg-type]


def test_a_row_keeps_all_18_values(old: str) -> None:
    run(old, "INSERT INTO clients (name) VALUES ('Ada'); INSERT INTO policies (policy_number) VALUES ('P-1')")
    moments = ("sent_at", "delivered_at", "read_at", "last_status_check", "created_at", "updated_at")
    write_old(
        old,
        **{name: datetime(2024, 5, 1, 9, minute) for minute, name in enumerate(moments)},
        client_id=1, policy_id=1, log_id=41, message_type="policy_document", message_content="Your policy",
        media_url="https://portal.example.test/p.pdf", status="read", created_by="ada",
    )  # fmt: skip
    before = rows(old, "SELECT * FROM whatsapp_logs")
    migrate.apply(old)
    assert rows(old, "SELECT * FROM whatsapp_logs") == before
    assert rows(old, f"SELECT * FROM {ASIDE}") == before


def test_times_without_zone_are_read_as_utc_whatever_the_database_says(old: str) -> None:
    with psycopg.connect(old, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} SET timezone = 'Asia/Tokyo'".encode())
    write_old(old, status="delivered", delivered_at=datetime(2024, 5, 1, 9))
    told: list[str] = []
    migrate.apply(old, tell=told.append)
    assert "times without a zone read as UTC (this database's own zone is Asia/Tokyo)" in " ".join(told)
    [message] = rows(old, "SELECT delivered_at FROM whatsapp_logs.messages")
    assert message["delivered_at"] == utc(2024, 5, 1, 9)


def test_statuses_and_times_become_events_of_the_import(old: str) -> None:
    sent, delivered, read = (datetime(2024, 5, 1, 9, minute) for minute in (0, 1, 2))
    write_old(old, status="read", sent_at=sent, delivered_at=delivered, read_at=read)
    migrate.apply(old)
    events = rows(old, "SELECT status::text, source, happened_at FROM whatsapp_logs.status_events ORDER BY id")
    assert [(e["status"], e["source"], e["happened_at"].replace(tzinfo=None)) for e in events] == [
        ("sent", "import", sent),
        ("delivered", "import", delivered),
        ("read", "import", read),
    ]


def test_a_failed_attempt_with_a_made_up_sid_is_kept_and_never_asked_about(old: str) -> None:
    write_old(old, message_sid="FAILED_1700000000", status="failed", error_code="63016", error_message="Outside window")
    migrate.apply(old)
    [message] = rows(old, "SELECT * FROM whatsapp_logs.messages")
    assert (message["provider"], message["provider_id"]) == ("unknown", "FAILED_1700000000")
    assert (message["status"], message["error_code"]) == ("failed", "63016")
    assert message["failed_at"] is not None
    assert [row["message_sid"] for row in rows(old, "SELECT * FROM whatsapp_logs")] == ["FAILED_1700000000"]


def test_a_status_word_unknown_to_us_stays_as_an_event(old: str) -> None:
    write_old(old, status="Teleported")
    migrate.apply(old)
    [event] = rows(old, "SELECT * FROM whatsapp_logs.status_events")
    assert (event["status"], event["provider_status"], event["payload"]["status"]) == (None, "teleported", "Teleported")
    assert rows(old, "SELECT status FROM whatsapp_logs") == [{"status": "queued"}]


def test_proof_of_receipt_outranks_a_failure_written_over_it(old: str) -> None:
    write_old(old, status="failed", error_code="30008", delivered_at=datetime(2024, 5, 1, 9))
    migrate.apply(old)
    [message] = rows(old, "SELECT * FROM whatsapp_logs.messages")
    assert (message["status"], message["error_code"], message["failed_at"]) == ("delivered", None, None)
    assert message["delivered_at"] == utc(2024, 5, 1, 9)
    assert {row["provider_status"] for row in rows(old, "SELECT * FROM whatsapp_logs.status_events")} == {
        "failed",
        "delivered",
    }


def test_the_import_leaves_nothing_for_the_fold_to_move(old: str) -> None:
    _fill(old, 200)
    migrate.apply(old)
    assert rows(old, "SELECT whatsapp_logs.fold(ARRAY(SELECT id FROM whatsapp_logs.messages))") == []


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("whatsapp:+447700900123", "+447700900123"),
        (" WhatsApp:+44 7700 900123", "+447700900123"),
        ("0044 (7700) 900-123", "+447700900123"),
        ("07700 900123", "07700 900123"),
        ("GB.13491208655302", "GB.13491208655302"),
    ],
)
def test_numbers_lose_the_channels_prefix(old: str, written: str, kept: str) -> None:
    run(old, "ALTER TABLE whatsapp_logs ALTER phone_number TYPE varchar(50)")
    write_old(old, phone_number=written)
    migrate.apply(old)
    assert rows(old, "SELECT phone_number FROM whatsapp_logs") == [{"phone_number": kept}]
    [event] = rows(old, "SELECT payload FROM whatsapp_logs.status_events")
    assert event["payload"].get("phone_number", kept) == written


def test_ids_of_clients_that_are_gone_are_kept_in_the_event(old: str) -> None:
    run(old, "ALTER TABLE whatsapp_logs DROP CONSTRAINT whatsapp_logs_client_id_fkey")
    write_old(old, client_id=77)
    told: list[str] = []
    migrate.apply(old, tell=told.append)
    assert rows(old, "SELECT client_id FROM whatsapp_logs") == [{"client_id": None}]
    assert rows(old, "SELECT payload ->> 'client_id' AS id FROM whatsapp_logs.status_events") == [{"id": "77"}]
    assert "1 rows imported, 1 of clients that are gone" in " ".join(told)


def test_a_table_of_version_1_0_with_few_columns_is_imported(new_empty: Callable[..., str]) -> None:
    dsn = new_empty("CREATE TABLE whatsapp_logs (message_sid text, phone_number text, status text)")
    for value in (sid(1), sid(1), None, ""):
        run(dsn, "INSERT INTO whatsapp_logs VALUES (%s, '+447700900123', 'sent')", (value,))
    migrate.apply(dsn)
    found = [row["message_sid"] for row in rows(dsn, "SELECT message_sid FROM whatsapp_logs ORDER BY log_id")]
    assert len(set(found)) == 4
    assert [name for name in found if not name.startswith("IMPORTED_")] == [sid(1)]
    assert rows(dsn, "SELECT message_type FROM whatsapp_logs LIMIT 1") == [{"message_type": "general"}]


def test_the_first_portals_text_and_bigint_keys_are_carried_over(new_empty: Callable[..., str]) -> None:
    dsn = new_empty(
        """CREATE TABLE clients (client_id text PRIMARY KEY); INSERT INTO clients VALUES ('C-007');
           CREATE TABLE policies (policy_id bigint PRIMARY KEY); INSERT INTO policies VALUES (5000000000);"""
        + OLD_TABLE.partition("policy_number TEXT);")[2]
        .replace("policy_id INTEGER", "policy_id BIGINT")
        .replace("client_id INTEGER", "client_id TEXT")
    )
    write_old(dsn, client_id="C-007", policy_id=5_000_000_000)
    migrate.apply(dsn)
    assert rows(dsn, "SELECT client_id, policy_id FROM whatsapp_logs") == [
        {"client_id": "C-007", "policy_id": 5_000_000_000}
    ]


def test_columns_of_other_types_are_understood(new_empty: Callable[..., str]) -> None:
    dsn = new_empty(
        """CREATE TABLE clients (id uuid PRIMARY KEY);
           INSERT INTO clients VALUES ('6f1c0b3e-8a53-4b6e-9d0c-000000000001');
           CREATE TABLE whatsapp_logs (log_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), message_sid text,
               phone_number text, client_id text, error_code integer, status text,
               sent_at timestamptz, delivered_at text, created_at date)"""
    )
    run(
        dsn,
        "INSERT INTO whatsapp_logs (message_sid, phone_number, client_id, error_code, status, sent_at, created_at)"
        " SELECT %s, '+447700900123', id::text, 63016, 'failed', '2024-05-01 09:00+02', '2024-05-01' FROM clients",
        (sid(1),),
    )
    migrate.apply(dsn)
    [row] = rows(dsn, "SELECT log_id, client_id::text, error_code, sent_at, created_at FROM whatsapp_logs")
    assert row == {
        "log_id": 1,
        "client_id": "6f1c0b3e-8a53-4b6e-9d0c-000000000001",
        "error_code": "63016",
        "sent_at": datetime(2024, 5, 1, 7),
        "created_at": datetime(2024, 5, 1),
    }


def test_rows_of_partitioned_clients_are_imported_once(new_empty: Callable[..., str]) -> None:
    dsn = new_empty(
        """CREATE TABLE clients (id int PRIMARY KEY) PARTITION BY RANGE (id);
           CREATE TABLE clients_1 PARTITION OF clients DEFAULT; INSERT INTO clients VALUES (1);
           CREATE TABLE whatsapp_logs (message_sid text, phone_number text, client_id int)"""
    )
    run(dsn, "INSERT INTO whatsapp_logs VALUES (%s, '+447700900123', 1)", (sid(1),))
    migrate.apply(dsn)
    assert rows(dsn, "SELECT client_id FROM whatsapp_logs") == [{"client_id": 1}]


def test_new_messages_are_numbered_after_the_imported_ones(old: str) -> None:
    write_old(old, log_id=500)
    migrate.apply(old)
    write_old(old, message_sid=sid(2))
    assert rows(old, "SELECT log_id FROM whatsapp_logs ORDER BY 1") == [{"log_id": 500}, {"log_id": 501}]


def test_an_empty_old_table_is_set_aside_too(old: str) -> None:
    migrate.apply(old)
    write_old(old)
    assert rows(old, "SELECT log_id FROM whatsapp_logs") == [{"log_id": 1}]
    assert rows(old, f"SELECT count(*) AS n FROM {ASIDE}") == [{"n": 0}]


def test_deleting_a_client_neither_fails_nor_takes_the_evidence_along(old: str) -> None:
    run(old, "INSERT INTO clients (name) VALUES ('Ada')")
    write_old(old, client_id=1)
    migrate.apply(old)
    run(old, "DELETE FROM clients")
    assert rows(old, "SELECT client_id FROM whatsapp_logs") == [{"client_id": None}]
    assert rows(old, f"SELECT client_id FROM {ASIDE}") == [{"client_id": 1}]


def test_what_still_refers_to_the_old_table_is_named(old: str) -> None:
    run(old, "CREATE VIEW failed_messages AS SELECT * FROM whatsapp_logs WHERE status = 'failed'")
    told: list[str] = []
    migrate.apply(old, tell=told.append)
    assert any("view failed_messages still refers to the old table" in line for line in told)


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE whatsapp_logs (id int)", "CREATE VIEW whatsapp_logs AS SELECT 1 AS message_sid"]
)
def test_something_else_of_that_name_is_left_alone(new_empty: Callable[..., str], sql: str) -> None:
    dsn = new_empty(sql)
    with pytest.raises(SchemaMismatch, match="Rename it and run this again"):
        migrate.apply(dsn)
    assert rows(dsn, "SELECT to_regnamespace('whatsapp_logs') AS schema") == [{"schema": None}]


def test_the_totals_count_the_imported_rows(old: str) -> None:
    _fill(old, 100)
    migrate.apply(old)
    counted = rows(
        old, "SELECT status::text, sum(n) AS n FROM whatsapp_logs.count_deltas GROUP BY 1 HAVING sum(n) <> 0"
    )
    told = rows(old, "SELECT status, count(*) AS n FROM whatsapp_logs GROUP BY 1")
    assert {row["status"]: row["n"] for row in counted} == {row["status"]: row["n"] for row in told}


@pytest.mark.slow
def test_thirty_thousand_rows_take_seconds(old: str) -> None:
    started = time.monotonic()
    _fill(old, 30_000)
    filled_s, started = time.monotonic() - started, time.monotonic()
    migrate.apply(old)
    assert time.monotonic() - started < max(10, 20 * filled_s)  # seconds, on a machine that writes them in one or two
    assert rows(old, "SELECT count(*) AS n FROM whatsapp_logs") == [{"n": 30_000}]


def _fill(dsn: str, count: int) -> None:
    run(
        dsn,
        """
        INSERT INTO whatsapp_logs (message_sid, phone_number, message_type, message_content, status, error_code, sent_at,
                                   delivered_at, read_at, last_status_check, created_at, updated_at)
        SELECT 'SM' || md5(n::text), '+4477009' || lpad((n %% 1000)::text, 5, '0'), 'renewal_reminder', repeat('x', 100),
               (ARRAY['queued', 'sending', 'sent', 'delivered', 'read', 'failed', 'undelivered', 'accepted', 'odd'])[1 + n %% 9],
               CASE WHEN n %% 9 IN (2, 5) THEN '63016' END, at, CASE WHEN n %% 9 IN (3, 4, 5) THEN at + '1 min'::interval END,
               CASE WHEN n %% 9 = 4 THEN at + '1 hour'::interval END, at + '2 hours'::interval, at, at + '2 hours'::interval
        FROM generate_series(1, %s) AS n, LATERAL (SELECT timestamp '2024-01-01' + n * interval '1 minute' AS at) AS t
        """,
        (count,),
    )
