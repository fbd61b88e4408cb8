"""The portal's own clients and policies: adopted whatever their keys are, never changed."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import errors

from whatsapp_logs.store import migrate

NewEmpty = Callable[..., str]


def key_of(dsn: str, column: str = "client_id") -> tuple[str, str | None]:
    """The column's type, and what it points to."""
    with psycopg.connect(dsn) as conn:
        row = conn.execute(
            """
            SELECT format_type(a.atttypid, a.atttypmod), (
                SELECT pg_get_constraintdef(f.oid) FROM pg_constraint AS f
                WHERE f.conrelid = a.attrelid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]
                  AND f.conparentid = 0)
            FROM pg_attribute AS a WHERE a.attrelid = 'whatsapp_logs.messages'::regclass AND a.attname = %s
            """,
            (column,),
        ).fetchone()
    assert row
    return row[0], row[1] and row[1].removeprefix(f"FOREIGN KEY ({column}) REFERENCES ").removesuffix(
        " ON DELETE SET NULL"
    )


@pytest.mark.parametrize(
    ("table", "kind", "target"),
    [
        ("client_id INTEGER PRIMARY KEY", "integer", "clients(client_id)"),
        ("client_id BIGSERIAL PRIMARY KEY", "bigint", "clients(client_id)"),
        ("client_id TEXT PRIMARY KEY", "text", "clients(client_id)"),
        ("client_id VARCHAR(12) PRIMARY KEY", "character varying", "clients(client_id)"),
        ("client_id CHAR(8) PRIMARY KEY", "character(8)", "clients(client_id)"),
        ("client_id UUID PRIMARY KEY", "uuid", "clients(client_id)"),
        ("id UUID PRIMARY KEY", "uuid", "clients(id)"),
        ('"Client No" SMALLINT PRIMARY KEY', "smallint", 'clients("Client No")'),
        ("id SERIAL PRIMARY KEY, client_id TEXT UNIQUE", "text", "clients(client_id)"),
        ("id SERIAL PRIMARY KEY, client_id TEXT", "integer", "clients(id)"),
        ("client_id NUMERIC(10, 0) PRIMARY KEY", "numeric(10,0)", "clients(client_id)"),
        ("client_id client_number PRIMARY KEY", "bigint", "clients(client_id)"),
        ('client_id TEXT COLLATE "C" PRIMARY KEY', "text", "clients(client_id)"),
    ],
)
def test_a_portals_key_is_adopted_with_its_type(new_empty: NewEmpty, table: str, kind: str, target: str) -> None:
    dsn = new_empty(
        "CREATE DOMAIN number AS bigint; CREATE DOMAIN client_number AS number NOT NULL CHECK (VALUE > 0);"
        f"CREATE TABLE clients ({table}, name text)"
    )
    migrate.apply(dsn)
    assert key_of(dsn) == (kind, target)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE clients (client_id int, office int, PRIMARY KEY (client_id, office))",
        "CREATE TABLE clients (client_id int)",
        "CREATE TABLE clients (client_id int, UNIQUE (client_id) DEFERRABLE)",
        "CREATE UNLOGGED TABLE clients (client_id int PRIMARY KEY)",
        "CREATE TABLE clients (client_id int, gone bool); CREATE UNIQUE INDEX ON clients (client_id) WHERE NOT gone",
        "CREATE TABLE people (id int PRIMARY KEY); CREATE VIEW clients AS SELECT id AS client_id FROM people",
        "CREATE MATERIALIZED VIEW clients AS SELECT 1 AS client_id",
    ],
)
def test_where_no_key_can_be_pointed_to_the_id_is_kept_as_text(new_empty: NewEmpty, sql: str) -> None:
    dsn = new_empty(sql)
    told: list[str] = []
    migrate.apply(dsn, tell=told.append)
    assert key_of(dsn) == ("text", None)
    assert any("client_id is kept as text" in line for line in told)


def test_a_key_in_a_collation_of_its_own_is_pointed_to(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as conn:
        try:
            conn.execute(
                "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
                "CREATE DOMAIN folded AS text COLLATE caseless;"
                "CREATE TABLE clients (client_id folded PRIMARY KEY)"
            )
        except errors.FeatureNotSupported:
            pytest.skip("This PostgreSQL was built without ICU.")
        migrate.apply(empty)
        conn.execute("INSERT INTO clients VALUES ('c-1')")
        conn.execute("INSERT INTO whatsapp_logs.messages (recipient, client_id) VALUES ('+447700900123', 'C-1')")
    assert key_of(empty) == ("text", "clients(client_id)")


def test_a_partitioned_table_is_pointed_to(new_empty: NewEmpty) -> None:
    dsn = new_empty(
        "CREATE TABLE policies (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE policies_1 PARTITION OF policies DEFAULT"
    )
    migrate.apply(dsn)
    assert key_of(dsn, "policy_id") == ("integer", "policies(id)")


def test_absent_tables_are_created_as_the_specification_has_them(empty: str) -> None:
    migrate.apply(empty)
    assert key_of(empty) == ("integer", "clients(client_id)")
    assert key_of(empty, "policy_id") == ("integer", "policies(policy_id)")
    with psycopg.connect(empty) as conn:
        assert conn.execute("INSERT INTO clients (name) VALUES ('Ada') RETURNING client_id").fetchone() == (1,)


def test_a_domain_that_forbids_null_does_not_forbid_a_message_without_a_client(new_empty: NewEmpty) -> None:
    dsn = new_empty("CREATE DOMAIN number AS bigint NOT NULL; CREATE TABLE clients (client_id number PRIMARY KEY)")
    migrate.apply(dsn)
    with psycopg.connect(dsn) as conn:
        conn.execute("INSERT INTO clients VALUES (7)")
        conn.execute("INSERT INTO whatsapp_logs.messages (recipient, client_id) VALUES ('+447700900123', 7)")
        conn.execute("DELETE FROM clients")
        assert conn.execute("SELECT client_id FROM whatsapp_logs.messages").fetchone() == (None,)


def test_a_client_the_portal_does_not_have_is_refused(new_empty: NewEmpty) -> None:
    dsn = new_empty("CREATE TABLE clients (client_id text PRIMARY KEY)")
    migrate.apply(dsn)
    with psycopg.connect(dsn) as conn, pytest.raises(errors.ForeignKeyViolation):
        conn.execute("INSERT INTO whatsapp_logs.messages (recipient, client_id) VALUES ('+447700900123', 'C-1')")


def test_the_portals_tables_are_not_touched(new_empty: NewEmpty) -> None:
    dsn = new_empty("CREATE TABLE clients (id text PRIMARY KEY, note text); INSERT INTO clients VALUES ('C-1', 'x')")
    with psycopg.connect(dsn, autocommit=True) as conn:
        query = "SELECT (SELECT relacl::text FROM pg_class WHERE oid = 'clients'::regclass), xmin::text, clients FROM clients"
        before = conn.execute(query).fetchall()
        migrate.apply(dsn)
        assert conn.execute(query).fetchall() == before
