"""Who may read the log, and what the migrating role needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from tests.migrations.conftest import OLD_TABLE
from whatsapp_logs.errors import SchemaMismatch
from whatsapp_logs.store import migrate

EVERYTHING = """
    SELECT c.oid::regclass::text AS thing, c.oid, c.relkind FROM pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S')
      AND (c.relnamespace = 'whatsapp_logs'::regnamespace
           OR c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'whatsapp_logs%')
"""


@pytest.fixture
def office(server: str) -> Iterator[str]:
    """A role that owns nothing."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute("CREATE ROLE office LOGIN")
        yield "office"
        admin.execute("DROP ROLE IF EXISTS office")


def as_role(dsn: str, role: str) -> str:
    return make_conninfo(dsn, options=f"-c role={role}")


def prepare(dsn: str, sql: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(sql.encode())


@pytest.mark.parametrize("role", ["anon", "authenticated", "public"])
@pytest.mark.parametrize("with_old_table", [True, False])
def test_the_roles_of_the_web_can_do_nothing(supabase: str, role: str, with_old_table: bool) -> None:
    if with_old_table:
        prepare(supabase, OLD_TABLE + "GRANT SELECT (phone_number) ON whatsapp_logs TO anon, authenticated, PUBLIC;")
    migrate.apply(supabase)
    with psycopg.connect(supabase) as conn:
        assert conn.execute(
            "SELECT has_schema_privilege(%s, 'whatsapp_logs', 'USAGE, CREATE')", (role,)
        ).fetchone() == (False,)
        things = conn.execute(EVERYTHING.encode()).fetchall()
        assert len(things) > 15
        for thing, oid, kind in things:
            check = (
                "has_sequence_privilege(%s, %s::oid, 'USAGE, SELECT, UPDATE')"
                if kind == "S"
                else "has_table_privilege(%s, %s::oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
            )
            assert conn.execute(f"SELECT {check}".encode(), (role, oid)).fetchone() == (False,), thing
            if kind != "S":
                column = "SELECT has_any_column_privilege(%s, %s::oid, 'SELECT, INSERT, UPDATE, REFERENCES')"
                assert conn.execute(column, (role, oid)).fetchone() == (False,), thing
        callable_ = (
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'whatsapp_logs'::regnamespace"
        )
        assert (
            conn.execute(f"{callable_} AND has_function_privilege(%s, p.oid, 'EXECUTE')".encode(), (role,)).fetchall()
            == []
        )


def test_clients_made_by_the_migration_are_closed_too(supabase: str) -> None:
    migrate.apply(supabase)
    for role in ("anon", "authenticated"):
        with psycopg.connect(as_role(supabase, role)) as conn, pytest.raises(errors.InsufficientPrivilege):
            conn.execute("SELECT * FROM public.clients")
    with psycopg.connect(supabase) as conn:
        closed = "SELECT relname FROM pg_class WHERE relname IN ('clients', 'policies') AND relrowsecurity ORDER BY 1"
        assert conn.execute(closed).fetchall() == [("clients",), ("policies",)]


def test_the_table_set_aside_is_under_row_level_security(old: str) -> None:
    migrate.apply(old)
    with psycopg.connect(old) as conn:
        aside = "SELECT relrowsecurity FROM pg_class WHERE relname = 'whatsapp_logs_before_migration'"
        assert conn.execute(aside).fetchone() == (True,)


def test_a_role_that_used_the_old_table_uses_the_view(new_empty: Callable[..., str], supabase: str) -> None:
    prepare(supabase, OLD_TABLE)  # Supabase's default grants let service_role use it
    migrate.apply(supabase)
    with psycopg.connect(as_role(supabase, "service_role"), autocommit=True) as conn:
        conn.execute(
            "INSERT INTO whatsapp_logs (message_sid, phone_number, message_type) VALUES ('SM1', '+447700900123', 'general')"
        )
        row = conn.execute("UPDATE whatsapp_logs SET status = 'sent' RETURNING status").fetchone()
        assert row == ("sent",)
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute("INSERT INTO whatsapp_logs.messages (recipient) VALUES ('+447700900123')")


FORBIDDEN = (
    "UPDATE whatsapp_logs.status_events SET happened_at = now()",
    "DELETE FROM whatsapp_logs.status_events",
    "TRUNCATE whatsapp_logs.status_events",
    "ALTER TABLE whatsapp_logs.status_events DISABLE TRIGGER ALL",
    "UPDATE whatsapp_logs.accesses SET person = 'nobody'",
    "DELETE FROM whatsapp_logs.accesses",
    "DELETE FROM whatsapp_logs.messages",
    "DROP TABLE whatsapp_logs.messages",
    "CREATE TABLE whatsapp_logs.mine (id integer)",
    "CREATE FUNCTION whatsapp_logs.mine() RETURNS void LANGUAGE sql AS ''",
    "ALTER TABLE whatsapp_logs.messages DISABLE ROW LEVEL SECURITY",
    "INSERT INTO whatsapp_logs.migrations VALUES (9999, 'x', 'x')",
    "SELECT whatsapp_logs.grant_to('office')",
)


def test_a_granted_role_works_with_the_log_and_cannot_change_its_history(empty: str, office: str) -> None:
    migrate.apply(empty)
    migrate.grant(empty, office)
    with psycopg.connect(as_role(empty, office), autocommit=True) as conn:
        migrate.check_current(conn)
        conn.execute("INSERT INTO whatsapp_logs.messages (recipient, provider_id) VALUES ('+447700900123', 'SM1')")
        report = '[{"provider_id": "SM1", "status": "sent", "provider_status": "sent"}]'
        conn.execute("SELECT whatsapp_logs.record(%s, 'callback')", (report,))
        assert conn.execute("SELECT status FROM whatsapp_logs").fetchone() == ("sent",)
        assert conn.execute("UPDATE whatsapp_logs.messages SET wait_reason = NULL").rowcount == 1
        conn.execute("INSERT INTO whatsapp_logs.procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')")
        conn.execute("UPDATE whatsapp_logs SET status = 'delivered' WHERE message_sid = 'SM1'")
        early = '[{"provider_id": "SM2", "status": "read", "provider_status": "read"}]'
        conn.execute("SELECT whatsapp_logs.record(%s, 'callback')", (early,))
        conn.execute(
            "INSERT INTO whatsapp_logs (message_sid, phone_number, message_type) VALUES ('SM2', '+447700900123', 'x')"
        )
        row = conn.execute("SELECT status FROM whatsapp_logs WHERE message_sid = 'SM2'").fetchone()
        assert row == ("read",)  # adopted, which is an UPDATE that only the log's own functions may do
        for forbidden in FORBIDDEN:
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(forbidden.encode())
    prepare(empty, "DROP OWNED BY office")


def test_a_role_that_was_granted_tables_by_hand_is_told_that_it_sees_no_row(empty: str, office: str) -> None:
    migrate.apply(empty)
    prepare(
        empty,
        "GRANT USAGE ON SCHEMA whatsapp_logs TO office; GRANT SELECT ON ALL TABLES IN SCHEMA whatsapp_logs TO office",
    )
    prepare(empty, "INSERT INTO whatsapp_logs.messages (recipient) VALUES ('+447700900123')")
    with psycopg.connect(as_role(empty, office)) as conn:
        assert conn.execute("SELECT count(*) FROM whatsapp_logs.messages").fetchone() == (0,)
        with pytest.raises(SchemaMismatch, match="--apply --grant office"):
            migrate.check_current(conn)
    migrate.grant(empty, office)
    with psycopg.connect(as_role(empty, office)) as conn:
        migrate.check_current(conn)
        assert conn.execute("SELECT count(*) FROM whatsapp_logs.messages").fetchone() == (1,)
    prepare(empty, "DROP OWNED BY office")


def test_every_table_has_row_level_security_and_a_new_one_is_granted_by_the_next_migration(
    empty: str, office: str
) -> None:
    migrate.apply(empty)
    migrate.grant(empty, office)
    prepare(empty, "DELETE FROM whatsapp_logs.migrations WHERE version = 15; DROP TABLE whatsapp_logs.api_tokens")
    migrate.apply(empty)
    with psycopg.connect(as_role(empty, office)) as conn:
        assert conn.execute("SELECT count(*) FROM whatsapp_logs.api_tokens").fetchone() == (0,)
        open_tables = conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'whatsapp_logs'::regnamespace AND relkind IN ('r', 'p')"
            " AND NOT relrowsecurity AND relname <> 'migrations'"
        ).fetchall()
        assert open_tables == []
    prepare(empty, "DROP OWNED BY office")


def test_an_unknown_role_is_granted_nothing(empty: str) -> None:
    migrate.apply(empty)
    with pytest.raises(SchemaMismatch, match="CREATE ROLE nobody_here LOGIN"):
        migrate.grant(empty, "nobody_here")


def test_a_role_without_rights_is_told_all_it_lacks(new_empty: Callable[..., str], office: str) -> None:
    dsn = new_empty(OLD_TABLE)
    with pytest.raises(SchemaMismatch) as refused:
        migrate.apply(as_role(dsn, office))
    text = str(refused.value)
    assert "The role office may not set up the log. It lacks: CREATE ON DATABASE" in text
    for lacking in ("CREATE ON SCHEMA public", "REFERENCES ON public.clients", "ownership of public.whatsapp_logs"):
        assert lacking in text
    assert "Run it as the role that owns the portal's tables." in text


def test_an_ordinary_owner_can_migrate_and_no_row_level_policy_hides_a_row(
    new_empty: Callable[..., str], office: str
) -> None:
    dsn = new_empty()
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} OWNER TO office".encode())
    insert = (
        "INSERT INTO whatsapp_logs (message_sid, phone_number, message_type) VALUES (%s, '+447700900123', 'general')"
    )
    prepare(as_role(dsn, office), OLD_TABLE + insert.replace("%s", "'SM0'"))
    prepare(
        dsn, "ALTER TABLE whatsapp_logs ENABLE ROW LEVEL SECURITY; ALTER TABLE whatsapp_logs FORCE ROW LEVEL SECURITY"
    )
    migrate.apply(as_role(dsn, office))
    with psycopg.connect(as_role(dsn, office)) as conn:
        conn.execute(insert, ("SM1",))
        assert conn.execute("SELECT count(*) FROM whatsapp_logs").fetchone() == (2,)
    prepare(dsn, "DROP OWNED BY office CASCADE; DROP SCHEMA IF EXISTS whatsapp_logs CASCADE")
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} OWNER TO postgres".encode())
