"""The view `whatsapp_logs`: what code written for the old table reads and writes."""

# ruff: noqa: DTZ001 - the old table's times have no zone

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import dict_row

from tests.migrations.conftest import OLD_TABLE
from whatsapp_logs.message import Status
from whatsapp_logs.store import migrate

Conn = psycopg.Connection[dict[str, Any]]
COLUMNS = [
    "log_id", "message_sid", "policy_id", "client_id", "phone_number", "message_type", "message_content", "media_url",
    "status", "error_code", "error_message", "sent_at", "delivered_at", "read_at", "last_status_check", "created_by",
    "created_at", "updated_at",
]  # fmt: skip
SID = "SM" + "0" * 32


@pytest.fixture
def conn(empty: str) -> Iterator[Conn]:
    """A connection to a migrated database of the test's own."""
    migrate.apply(empty)
    with psycopg.connect(empty, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def insert(conn: Conn, **values: object) -> dict[str, Any]:
    values = {"message_sid": SID, "phone_number": "whatsapp:+447700900123", "message_type": "general"} | values
    columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
    query = f"INSERT INTO whatsapp_logs ({columns}) VALUES ({places}) RETURNING *"
    row = conn.execute(query.encode(), tuple(values.values())).fetchone()
    assert row
    return row


def update(conn: Conn, setting: str, *parameters: object) -> dict[str, Any]:
    query = f"UPDATE whatsapp_logs SET {setting} WHERE message_sid = %s RETURNING *"
    row = conn.execute(query.encode(), (*parameters, SID)).fetchone()
    assert row
    return row


def messages(conn: Conn) -> list[dict[str, Any]]:
    return conn.execute("SELECT * FROM whatsapp_logs.messages ORDER BY id").fetchall()


def words(conn: Conn) -> list[tuple[str, str]]:
    found = conn.execute("SELECT source, provider_status FROM whatsapp_logs.status_events ORDER BY id").fetchall()
    return [(row["source"], row["provider_status"]) for row in found]


def test_it_has_the_specifications_columns_and_types(new_empty: Callable[..., str]) -> None:
    query = """
        SELECT column_name, data_type FROM information_schema.columns
        WHERE table_name = %s AND table_schema = 'public' ORDER BY ordinal_position"""
    dsn = new_empty(OLD_TABLE)
    with psycopg.connect(dsn, autocommit=True) as conn:
        specified = conn.execute(query, ("whatsapp_logs",)).fetchall()
        migrate.apply(dsn)
        found = conn.execute(query, ("whatsapp_logs",)).fetchall()
    assert [row[0] for row in found] == COLUMNS
    # A view's column cannot be a smaller number than the message's own without losing its index.
    assert {old[0]: (old[1], new[1]) for old, new in zip(specified, found, strict=True) if old[1] != new[1]} == {
        "log_id": ("integer", "bigint")
    }


def test_an_insert_answers_with_its_number_and_is_a_message(conn: Conn) -> None:
    row = insert(conn, message_content="Hello", created_by="bot")
    [message] = messages(conn)
    assert row["log_id"] == message["id"]
    assert (row["phone_number"], row["status"]) == ("+447700900123", "queued")
    assert abs(row["created_at"] - message["created_at"].replace(tzinfo=None)) < timedelta(seconds=1)
    assert (message["body"], message["provider"], message["provider_id"]) == ("Hello", "twilio", SID)
    assert words(conn) == [("import", "queued")]


def test_a_callback_that_came_before_the_insert_is_not_lost(conn: Conn) -> None:
    conn.execute(
        "SELECT whatsapp_logs.record(%s, 'callback')",
        (f'[{{"provider_id": "{SID}", "status": "delivered", "provider_status": "delivered"}}]',),
    )
    assert insert(conn)["status"] == "delivered"


def test_an_old_queued_never_turns_back_a_delivered(conn: Conn) -> None:
    insert(conn, status="delivered")
    assert update(conn, "status = 'queued'")["status"] == "delivered"
    assert words(conn)[-1] == ("import", "queued")


def test_a_status_moves_forward_with_its_time(conn: Conn) -> None:
    insert(conn)
    at = datetime(2024, 5, 1, 9, 30)
    row = update(conn, "status = 'delivered', delivered_at = %s, updated_at = now()", at)
    assert (row["status"], row["delivered_at"]) == ("delivered", at)
    assert messages(conn)[0]["delivered_at"].isoformat() == "2024-05-01T09:30:00+00:00"


def test_what_is_known_is_not_cleared(conn: Conn) -> None:
    insert(conn, status="read", delivered_at=datetime(2024, 5, 1, 9), read_at=datetime(2024, 5, 1, 10))
    row = update(
        conn, "status = 'read', delivered_at = NULL, read_at = NULL, error_code = NULL, last_status_check = now()"
    )
    assert (row["delivered_at"], row["read_at"]) == (datetime(2024, 5, 1, 9), datetime(2024, 5, 1, 10))
    assert row["last_status_check"] is not None


def test_a_failure_brings_its_code(conn: Conn) -> None:
    insert(conn)
    row = update(conn, "status = 'failed', error_code = '63016', error_message = 'Outside window'")
    assert (row["status"], row["error_code"], row["error_message"]) == ("failed", "63016", "Outside window")


def test_an_unknown_word_is_an_event_and_the_status_stays(conn: Conn) -> None:
    insert(conn, status="sent")
    assert update(conn, "status = 'Teleported'")["status"] == "sent"
    assert words(conn)[-1] == ("import", "teleported")


def test_a_policy_can_be_linked_later(conn: Conn) -> None:
    insert(conn)
    conn.execute("INSERT INTO policies (policy_number) VALUES ('P-1')")
    assert update(conn, "policy_id = 1")["policy_id"] == 1
    assert len(words(conn)) == 1


def test_an_unknown_client_is_refused_as_before(conn: Conn) -> None:
    with pytest.raises(errors.ForeignKeyViolation):
        insert(conn, client_id=77)


def test_a_sid_is_logged_once_as_before(conn: Conn) -> None:
    insert(conn)
    with pytest.raises(errors.UniqueViolation):
        insert(conn)


@pytest.mark.parametrize("column", ["message_sid", "phone_number", "message_type"])
def test_what_had_to_be_given_still_has_to_be(conn: Conn, column: str) -> None:
    with pytest.raises(errors.NotNullViolation):
        insert(conn, **{column: None})


@pytest.mark.parametrize(
    "setting",
    ["phone_number = '+447700900999'", "message_content = 'Other'", "created_by = 'me'", "log_id = 9",
     "message_sid = 'SM1'", "message_sid = NULL", "created_at = now()", "media_url = 'x'", "message_type = 'x'"],
)  # fmt: skip
def test_what_was_sent_to_whom_cannot_be_changed(conn: Conn, setting: str) -> None:
    before = insert(conn, message_content="Hello")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="keeps what was sent to whom"):
        update(conn, setting)
    assert conn.execute("SELECT * FROM whatsapp_logs").fetchall() == [before]


def test_the_same_number_in_another_form_is_no_change(conn: Conn) -> None:
    insert(conn)
    assert update(conn, "phone_number = 'whatsapp:+44 7700 900123'")["phone_number"] == "+447700900123"


def test_a_made_up_sid_gives_way_to_the_real_one_and_its_early_callbacks(conn: Conn) -> None:
    conn.execute(
        "SELECT whatsapp_logs.record(%s, 'callback')",
        (f'[{{"provider_id": "{SID}", "status": "sent", "provider_status": "sent"}}]',),
    )
    insert(conn, message_sid="PENDING_7")
    row = conn.execute("UPDATE whatsapp_logs SET message_sid = %s RETURNING *", (SID,)).fetchone()
    assert row
    assert (row["message_sid"], row["status"]) == (SID, "sent")
    assert messages(conn)[0]["provider"] == "twilio"


def test_rows_are_not_deleted(conn: Conn) -> None:
    insert(conn)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="Messages are evidence: message 1 is not deleted"):
        conn.execute("DELETE FROM whatsapp_logs")


def test_only_outbound_whatsapp_messages_are_in_it(conn: Conn) -> None:
    insert(conn)
    for direction, channel in (("inbound", "whatsapp"), ("outbound", "sms")):
        conn.execute(
            "INSERT INTO whatsapp_logs.messages (direction, channel, recipient) VALUES (%s, %s, '+447700900123')",
            (direction, channel),
        )
    assert len(conn.execute("SELECT * FROM whatsapp_logs").fetchall()) == 1
    assert len(messages(conn)) == 3


def test_a_message_not_yet_handed_over_can_be_reported_on_by_its_number(conn: Conn) -> None:
    conn.execute("INSERT INTO whatsapp_logs.messages (recipient) VALUES ('+447700900123')")
    conn.execute("UPDATE whatsapp_logs SET status = 'sending' WHERE log_id = 1")
    assert messages(conn)[0]["status"] == "sending"


def test_a_row_is_found_by_sid_through_the_index(conn: Conn) -> None:
    conn.execute(
        """
        INSERT INTO whatsapp_logs.messages (recipient, provider_id)
        SELECT '+44770090' || lpad(n::text, 4, '0'), 'SM' || n FROM generate_series(1, 3000) AS n
        """
    )
    conn.execute("ANALYZE whatsapp_logs.messages")
    for condition in ("message_sid = 'x'", "log_id = 1", "phone_number = '+447700900123'", "client_id = 1"):
        plan = str(conn.execute(f"EXPLAIN SELECT * FROM whatsapp_logs WHERE {condition}".encode()).fetchall())
        assert "Index Cond" in plan, plan


def test_old_code_and_callbacks_of_one_message_meet_no_deadlock(empty: str, conn: Conn) -> None:
    insert(conn)
    failures: list[psycopg.Error] = []

    def poll(own: Conn, number: int) -> None:
        update(own, "status = %s, last_status_check = clock_timestamp()", f"odd{number}")

    def call_back(own: Conn, number: int) -> None:
        report = f'[{{"provider_id": "{SID}", "provider_status": "word{number}"}}]'
        own.execute("SELECT whatsapp_logs.record(%s, 'callback')", (report,))

    def work(act: Callable[[Conn, int], None]) -> None:
        try:
            with psycopg.connect(empty, autocommit=True, row_factory=dict_row) as own:
                for number in range(60):
                    act(own, number)
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(act,)) for act in (poll, poll, call_back, call_back)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(words(conn)) == 1 + 60 + 60


def test_the_words_of_the_database_are_those_of_the_program(conn: Conn) -> None:
    known = [str(status) for status in Status]
    for word in [*known, "accepted", "partially_delivered", "receiving", "cancelled", " Sent ", "odd", ""]:
        row = conn.execute("SELECT whatsapp_logs.known_status(%s)::text AS status", (word,)).fetchone()
        assert row == {"status": Status.from_provider(word)}
