"""The portal's own tables: numbered SQL files, each applied once, remembered in `portal_migrations`."""

from __future__ import annotations

import os
from importlib import resources

import psycopg
from psycopg import sql

_LOCK = 7_423_901_553  # any constant but the feature's: two migrators wait for each other
_LESS = {
    "portal_migrations": "SELECT",
    "role_changes": "SELECT, INSERT",  # what was done is only ever added to
    "renewal_rule_changes": "SELECT, INSERT",
    "renewal_notes": "SELECT, INSERT, UPDATE (note, erased_at)",  # a trigger lets them be emptied, and nothing else
}


def apply(dsn: str) -> int:
    """Bring the database up to date; returns how many steps were missing. Runs before the feature's own migration."""
    with psycopg.connect(dsn, application_name="portal migrate") as conn:
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        conn.execute(
            """
            CREATE TABLE IF NOT EXISTS public.portal_migrations (
                version    integer PRIMARY KEY,
                name       text NOT NULL,
                applied_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
        applied = {version for (version,) in conn.execute("SELECT version FROM public.portal_migrations")}
        missing = [step for step in steps() if step[0] not in applied]
        for version, name, text in missing:
            conn.execute("SET LOCAL search_path = public")
            conn.execute(text.encode(), prepare=False)
            conn.execute("INSERT INTO public.portal_migrations (version, name) VALUES (%s, %s)", (version, name))
    return len(missing)


def grant(dsn: str, role: str) -> None:
    """Let the role read and write the portal's tables, and change no schema. Done after every migration, for what is new."""
    with psycopg.connect(dsn, application_name="portal migrate") as conn:
        name = sql.Identifier(role)
        tables = conn.execute(
            """
            SELECT tablename FROM pg_tables
            WHERE schemaname = 'public' AND pg_has_role(tableowner, 'USAGE') AND tablename NOT LIKE 'whatsapp_logs%'
            """
        ).fetchall()
        for (table,) in tables:
            rights = _LESS.get(table, "SELECT, INSERT, UPDATE, DELETE")
            conn.execute(sql.SQL("GRANT {} ON public.{} TO {}").format(sql.SQL(rights), sql.Identifier(table), name))
        conn.execute(sql.SQL("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}").format(name))


def steps() -> list[tuple[int, str, str]]:
    """Every step as (version, name, SQL), in order."""
    files = (file for file in resources.files("portal.migrations").iterdir() if file.name.endswith(".sql"))
    found = []
    for file in files:
        version, _, name = file.name.removesuffix(".sql").partition("_")
        found.append((int(version), name, file.read_text(encoding="utf-8")))
    return sorted(found)


if __name__ == "__main__":
    print(f"{apply(os.environ['DATABASE_URL'])} steps applied")
