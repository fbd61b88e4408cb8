"""The fixtures themselves: what other tests rely on."""

from __future__ import annotations

import psycopg
import pytest


def test_each_test_gets_a_database_of_its_own(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("CREATE TABLE public.left_behind (id int)")
    conn.commit()
    with psycopg.connect(dsn) as other:
        assert other.execute("SELECT count(*) FROM public.left_behind").fetchone() == (0,)


def test_nothing_of_another_test_is_seen(dsn: str, conn: psycopg.Connection) -> None:
    assert conn.execute("SELECT to_regclass('public.left_behind')").fetchone() == (None,)


def test_a_commit_on_the_shared_database_is_refused(conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute("CREATE TABLE public.savepoint_only (id int)")
    with pytest.raises(AssertionError, match="database of its own"):
        conn.commit()


def test_the_shared_database_stays_clean(conn: psycopg.Connection) -> None:
    assert conn.execute("SELECT to_regclass('public.savepoint_only')").fetchone() == (None,)


def test_the_session_is_utf8_and_utc(conn: psycopg.Connection) -> None:
    row = conn.execute("SELECT current_setting('server_encoding'), current_setting('TimeZone'), lower('ÄÉ')").fetchone()
    assert row == ("UTF8", "UTC", "äé")
