"""Bring the database up to date: `python -m portal.start.prepare [--demo]`.

A process of its own, so that the supervisor stays small and can be stopped meanwhile.
"""

from __future__ import annotations

import importlib
import os
import sys

import psycopg

from portal import demo
from whatsapp_logs.errors import WhatsAppLogsError

# In this order: the log's foreign keys point to the portal's tables.
MIGRATIONS = ("portal.migrate", "whatsapp_logs.store.migrate")


def main() -> None:
    dsn = os.environ["DATABASE_URL"]
    try:
        for name in MIGRATIONS:
            importlib.import_module(name).apply(dsn)
        if "--demo" in sys.argv:
            demo.seed(dsn)
    except (WhatsAppLogsError, psycopg.Error) as problem:
        sys.exit(f"The database could not be prepared: {problem}")


if __name__ == "__main__":
    main()
