"""Bring the database up to date: `python -m portal.start.prepare [--demo]`.

A process of its own, so that the supervisor stays small and can be stopped meanwhile.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

# In this order: the log's foreign keys point to the portal's tables.
MIGRATIONS = ("portal.migrate", "whatsapp_logs.store.migrate")


def main() -> None:
    dsn = os.environ["DATABASE_URL"]
    for name in MIGRATIONS:
        importlib.import_module(name).apply(dsn)
    if "--demo" in sys.argv and importlib.util.find_spec("portal.demo"):
        importlib.import_module("portal.demo").seed(dsn)


if __name__ == "__main__":
    main()
