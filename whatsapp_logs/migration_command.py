"""`run_whatsapp_migration.py`: print the schema's SQL for an SQL editor, or apply it. Standard output is nothing but SQL."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from whatsapp_logs import database_address
from whatsapp_logs.config import environment
from whatsapp_logs.errors import WhatsAppLogsError
from whatsapp_logs.store import describe, migrate

_DESCRIPTION = "Print the SQL that sets up WhatsApp Logs (PostgreSQL 15 or newer), or apply it with --apply."
_WHERE_TO_PASTE = """\
The SQL above sets up WhatsApp Logs. It may be run any number of times.
  1. Copy it into your database's SQL editor and run it as the owner of the portal's tables.
     Supabase: https://app.supabase.com/project/YOUR_PROJECT/sql
     psql:     python run_whatsapp_migration.py | psql -v ON_ERROR_STOP=1 "$DATABASE_URL"
     Or let this program do it: python run_whatsapp_migration.py --apply
  2. Restart the portal.
  3. Open /whatsapp_logs.
An existing table whatsapp_logs is imported and kept aside, never dropped."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    wanted = _parser().parse_args(argv)
    if not (wanted.apply or wanted.describe):
        _print_sql(migrate.script() + (migrate.grant_script(wanted.grant) if wanted.grant else ""))
        _hint(_WHERE_TO_PASTE)
        return 0
    dsn = wanted.database_url or environment().get("DATABASE_URL", "").strip()
    if not dsn:
        _hint("There is no DATABASE_URL, neither in the environment nor in .env. Set it, or give --database-url.")
        return 2
    if problem := database_address.problem("DATABASE_URL", dsn):
        _hint(problem)
        return 2
    try:
        if wanted.describe:
            _print_sql(describe.schema(dsn))
        else:
            _apply(dsn)
            if wanted.grant:
                migrate.grant(dsn, wanted.grant)
                _hint(f"The role {wanted.grant} may work with the log now; it cannot change its history or its schema.")
    except WhatsAppLogsError as error:
        _hint(str(error))
        return 1
    return 0


def _apply(dsn: str) -> None:
    steps = migrate.apply(dsn, tell=_hint)
    newest = migrate.migrations()[-1].version
    _hint(
        f"{steps} of {newest} steps applied. Restart the portal, then open /whatsapp_logs."
        if steps
        else f"The database has schema {newest} already; nothing was changed."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run_whatsapp_migration.py", description=_DESCRIPTION)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--apply", action="store_true", help="apply the SQL to the database, in one transaction")
    action.add_argument("--describe", action="store_true", help="print the schema the database has, for reading")
    parser.add_argument(
        "--grant", metavar="ROLE", help="and let this role of the database work with the log, as no owner"
    )
    parser.add_argument("--database-url", metavar="URL", help="default: DATABASE_URL of the environment or of .env")
    return parser


def _print_sql(text: str) -> None:
    try:
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # `| head`: keep Python from complaining once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _hint(text: str) -> None:
    print(text, file=sys.stderr)
