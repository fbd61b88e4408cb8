"""Jobs that commit with the rows they are about. A task is named here and registered in jobs.py, so there is no circle."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import procrastinate
from psycopg import Connection

SCHEMA = "whatsapp_logs"
# What the clock or a person starts has 0: it must not wait behind a campaign's thousands of hand-overs.
_PRIORITY = {"deliver": -1, "run_campaigns": -2}
_app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())


def defer(conn: Connection[Any], task: str, *, at: datetime | None = None, **arguments: Any) -> None:
    """Put a job for `task` into the caller's transaction; it runs after the commit, not before `at`."""
    defer_many(conn, task, [arguments], at=at)


def defer_many(
    conn: Connection[Any],
    task: str,
    each: Sequence[dict[str, Any]],
    *,
    at: datetime | None = None,
    lock: str | None = None,
) -> None:
    """A job for each of these sets of arguments, in one statement. Of jobs with one `lock` none begins before another ends.

    The queue's functions are unqualified in the library, so the search path is borrowed for one statement and given back.
    """
    before = conn.execute(
        "SELECT current_setting('search_path'), set_config('search_path', %s, true)", [SCHEMA]
    ).fetchone()
    options: dict[str, Any] = {"priority": _PRIORITY.get(task, 0)} | ({"schedule_at": at} if at is not None else {})
    options |= {"lock": lock} if lock is not None else {}
    _app.configure_task(task, connection=conn, **options).batch_defer(*each)
    conn.execute("SELECT set_config('search_path', %s, true)", [before[0] if before else "public"])


def is_waiting(conn: Connection[Any], task: str) -> bool:
    """Whether a job for `task` waits already, to run at once or later."""
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM whatsapp_logs.procrastinate_jobs WHERE task_name = %(task)s AND status = 'todo')",
        {"task": task},
    ).fetchone()
    return bool(row and row[0])
