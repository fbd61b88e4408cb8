"""Bring the database up to date: `python -m portal.start.prepare [--demo]`.

A process of its own, so that the supervisor stays small and can be stopped meanwhile. MIGRATION_DATABASE_URL is the owner of the
tables; the role of DATABASE_URL is then granted what the running portal needs, and no more.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from portal import demo, second_factors
from portal.sealing import Seal
from whatsapp_logs.config import encryption_problems, environment
from whatsapp_logs.errors import ConfigError, SchemaMismatch, WhatsAppLogsError

# In this order: the log's foreign keys point to the portal's tables.
MIGRATIONS = ("portal.migrate", "whatsapp_logs.store.migrate")


def main() -> None:
    env = environment()
    if problems := encryption_problems(env):
        sys.exit(str(ConfigError(problems)))
    dsn = env["DATABASE_URL"]
    owner = env.get("MIGRATION_DATABASE_URL", "").strip() or dsn
    try:
        for name in MIGRATIONS:
            importlib.import_module(name).apply(owner)
        _seal_second_factors(owner, env)
        if owner != dsn:
            role = _role(owner, str(conninfo_to_dict(dsn).get("user") or ""))
            for name in MIGRATIONS:
                importlib.import_module(name).grant(owner, role)
        if "--demo" in sys.argv:
            demo.seed(owner)
    except (WhatsAppLogsError, psycopg.Error) as problem:
        sys.exit(f"The database could not be prepared: {problem}")


def _seal_second_factors(owner: str, env: Mapping[str, str]) -> None:
    """Seal what an earlier program has written as it was, or with the previous key."""
    if env.get("SECRET_KEY"):
        seal = Seal(secret_key=env["SECRET_KEY"], previous_secret_key=env.get("PREVIOUS_SECRET_KEY", ""))
        with psycopg.connect(owner, application_name="portal prepare") as conn:
            second_factors.seal_all(conn, seal=seal)


def _role(owner: str, user: str) -> str:
    """The role of that user; made if it is not there and the database asks nobody for a password, as the embedded one."""
    # Supabase's pooler writes the project behind the role: portal_app.abcdefgh.
    with psycopg.connect(owner, autocommit=True, application_name="portal prepare") as conn:
        for name in (user, user.partition(".")[0]):
            if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is not None:
                return name
        if conn.info.password or not user:
            raise SchemaMismatch(
                f"There is no role {user!r}, which DATABASE_URL names. Create it: CREATE ROLE … LOGIN PASSWORD '…'"
            )
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(user)))
    return user


if __name__ == "__main__":
    main()
