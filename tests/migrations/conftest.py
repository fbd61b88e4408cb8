"""Fixtures for the migrations: every PostgreSQL of this machine, and databases as an office may have them."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from portal.start.binaries import Binaries, find_binaries, inspect
from portal.start.postgres import Server
from tests.postgres_fixtures import memory_or_disk
from tests.postgres_keeper import FAST_AND_FORGETFUL

OLD_TABLE = """
CREATE TABLE clients (client_id SERIAL PRIMARY KEY, name TEXT);
CREATE TABLE policies (policy_id SERIAL PRIMARY KEY, policy_number TEXT);
CREATE TABLE whatsapp_logs (
    log_id SERIAL PRIMARY KEY,
    message_sid VARCHAR(100) UNIQUE NOT NULL,
    policy_id INTEGER REFERENCES policies(policy_id),
    client_id INTEGER REFERENCES clients(client_id),
    phone_number VARCHAR(20) NOT NULL,
    message_type VARCHAR(50) NOT NULL,
    message_content TEXT,
    media_url TEXT,
    status VARCHAR(50) DEFAULT 'queued',
    error_code VARCHAR(20),
    error_message TEXT,
    sent_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    delivered_at TIMESTAMP,
    read_at TIMESTAMP,
    last_status_check TIMESTAMP,
    created_by VARCHAR(100),
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
"""
_numbers = itertools.count(1)


def _found() -> list[Binaries]:
    places = [inspect(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"))]
    found = {binaries.major: binaries for binaries in [*places, find_binaries()] if binaries}
    return [found[major] for major in sorted(found)]


@pytest.fixture(scope="session", params=_found(), ids=lambda binaries: f"postgresql-{binaries.major}")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of a server of its own for each version: these tests make roles, which a whole server shares."""
    binaries: Binaries = request.param
    # The keeper of a later run clears up after a killed one by this name.
    folder = memory_or_disk() / f"whatsapp-logs-tests-{os.geteuid()}-{binaries.major}-{os.getpid()}"
    running = Server(folder, settings=FAST_AND_FORGETFUL, binaries=binaries.bin)
    try:
        yield running.start()
    finally:
        running.stop()
        shutil.rmtree(running.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_empty(server: str) -> Iterator[Callable[..., str]]:
    """A function that returns the DSN of a new database in which `sql` has been run; nothing of ours is in it."""
    made: list[str] = []

    def create(sql: str = "") -> str:
        name = f"migration_{next(_numbers)}"
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY FILE_COPY".encode())
        made.append(name)
        dsn = make_conninfo(server, dbname=name)
        if sql:
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute(sql.encode())
        return dsn

    yield create
    with psycopg.connect(server, autocommit=True) as admin:
        for name in made:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture
def empty(new_empty: Callable[..., str]) -> str:
    """The DSN of a database without anything."""
    return new_empty()


@pytest.fixture
def old(new_empty: Callable[..., str]) -> str:
    """The DSN of a portal's database with an empty table of version 1.2."""
    return new_empty(OLD_TABLE)


@pytest.fixture
def supabase(server: str, new_empty: Callable[..., str]) -> str:
    """The DSN of a database that grants everything new in `public` to the roles of the web, as Supabase's do."""
    roles = ("anon", "authenticated", "service_role")
    with psycopg.connect(server, autocommit=True) as admin:
        for role in roles:
            if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
                admin.execute(f"CREATE ROLE {role} NOLOGIN".encode())
    web, everyone = "anon, authenticated, PUBLIC", "anon, authenticated, service_role"
    kinds = ("TABLES", "SEQUENCES", "FUNCTIONS")
    return new_empty(
        f"GRANT USAGE ON SCHEMA public TO {everyone};"
        + "".join(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO {everyone};" for kind in kinds)
        # More than Supabase does: whatever is made anywhere.
        + "".join(f"ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO {web};" for kind in (*kinds, "SCHEMAS"))
    )
