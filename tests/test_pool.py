"""What the database refuses is said truly: away, slow, in the way of somebody else, or our own defect."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest

from whatsapp_logs import Config, WhatsAppService
from whatsapp_logs.errors import DatabaseAway

_TWICE = (
    "INSERT INTO whatsapp_logs.addresses (address, grams) SELECT {text}, '{{}}' FROM generate_series(1, {times}) AS n"
)


def test_a_statement_that_takes_too_long_says_so_and_not_that_the_database_is_away(config: Config) -> None:
    service = WhatsAppService(replace(config, statement_timeout_s=0.05))
    with pytest.raises(DatabaseAway, match="took too long"), service.transaction() as conn:
        conn.execute("SELECT pg_sleep(5)")
    service.close()


def test_a_lock_that_is_not_given_says_so(config: Config, dsn: str) -> None:
    service = WhatsAppService(replace(config, statement_timeout_s=0.05))
    with psycopg.connect(dsn) as holder:
        holder.execute("LOCK TABLE whatsapp_logs.media")
        with pytest.raises(DatabaseAway, match="took too long"), service.transaction() as conn:
            conn.execute("LOCK TABLE whatsapp_logs.media")
    service.close()


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        (_TWICE.format(text="'a'", times=2), "UniqueViolation"),
        (_TWICE.format(text="string_agg(md5(n::text), '')", times=1000), "ProgramLimitExceeded"),
        (
            "UPDATE whatsapp_logs.messages SET body = 'x'; INSERT INTO whatsapp_logs.no_such_table VALUES (1)",
            "UndefinedTable",
        ),
        (
            "INSERT INTO whatsapp_logs.messages (recipient, resend_of) VALUES ('+447700900123', 9)",
            "ForeignKeyViolation",
        ),
    ],
    ids=["unique", "too large for an index", "no such table", "no such message"],
)
def test_a_defect_is_no_outage(statement: str, error: str, service: WhatsAppService) -> None:
    with pytest.raises(psycopg.Error) as raised, service.transaction() as conn:
        conn.execute(statement.encode())
    assert type(raised.value).__name__ == error


def test_the_pool_recovers_when_all_its_connections_were_cut(service: WhatsAppService, dsn: str) -> None:
    service.server()
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert service.server().version
