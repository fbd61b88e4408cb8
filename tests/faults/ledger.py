"""The reckoning: what was asked for, what the log says, and what the simulator's own ledger says."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import namedtuple_row

from tests.faults.forger import MARK
from tests.faults.schedule import Wish
from whatsapp_logs.message import Status

TIMES_SHOWN = 5


class Theirs(NamedTuple):
    """A message as the simulator keeps it; `message_id` is our id in the address it calls back."""

    sid: str
    status: str
    error_code: int | None
    message_id: int


class Attempt(NamedTuple):
    """One attempt at a callback; `number` is 0 for one that was dropped on purpose."""

    callback_id: int
    sid: str
    status: str
    number: int
    answer: int | None
    at: float


@dataclass
class Reckoning:
    """What the comparison found. The four lists must be empty; the counts are for people."""

    messages: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    forged: list[str] = field(default_factory=list)
    unconfirmed: int = 0  # visibly: handed over without an answer, and nowhere at the provider
    unresolved: int = (
        0  # visibly unconfirmed: it or its twin, equal in every word, is at the provider; nobody can tell which
    )
    refused: int = 0  # failed with a reason, never at the provider
    crossed: int = 0  # twins, equal in every word, that took each other's SID

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.wrong or self.forged)

    @property
    def closing_line(self) -> str:
        return (
            f"messages {self.messages}, lost {len(self.lost)}, doubled {len(self.doubled)}, wrong {len(self.wrong)}, "
            f"forged {len(self.forged)}"
        )

    def details(self) -> list[str]:
        """The first few of each kind, in words."""
        named = {"lost": self.lost, "doubled": self.doubled, "wrong": self.wrong, "forged": self.forged}
        return [f"  {name}: {one}" for name, found in named.items() for one in found[:TIMES_SHOWN]]


def reckon(conn: Connection[Any], ledger: Path, wishes: Sequence[Wish]) -> Reckoning:
    """Compare row by row, in both directions."""
    result = Reckoning(messages=len(wishes))
    rows = _rows(conn)
    theirs = defaultdict(list)
    for message in provider_messages(ledger):
        theirs[message.message_id].append(message)
    by_sid = {message.sid: message for found in theirs.values() for message in found}
    wish_of: dict[int, Wish] = {}
    for wish in wishes:
        found = rows.get(wish.key, [])
        if not found:
            result.lost.append(f"{wish.key} is not in the log")
        elif len(found) > 1:
            result.doubled.append(f"{wish.key} is {len(found)} rows")
        for row in found:
            wish_of[row.id] = wish
    twins = _twins(wishes)
    for row in (row for found in rows.values() for row in found):
        _compare(result, row, theirs.pop(row.id, []), by_sid, is_twin=wish_of[row.id].key in twins)
    for strangers in theirs.values():
        result.doubled += [f"{message.sid} is at the provider and nobody asked for it" for message in strangers]
    result.lost += _acknowledged_and_gone(conn, ledger)
    result.wrong += _miscounted(conn)
    result.forged += _forged(conn)
    return result


def provider_messages(ledger: Path) -> list[Theirs]:
    """Every message of the simulator that was sent with one of our callback addresses."""
    rows = _ask(
        ledger, "SELECT sid, status, error_code, status_callback FROM messages WHERE direction = 'outbound-api'"
    )
    return [Theirs(*row[:3], int(row[3].partition("message=")[2].partition("#")[0])) for row in rows]


def attempts(ledger: Path) -> list[Attempt]:
    """Every attempt at a status callback, dropped ones too."""
    return [
        Attempt(*row)
        for row in _ask(
            ledger,
            "SELECT c.id, c.message_sid, c.status, a.attempt, a.answer, a.at FROM attempts AS a"
            " JOIN callbacks AS c ON c.id = a.callback_id WHERE c.kind = 'status'",
        )
    ]


def _compare(result: Reckoning, row: Any, theirs: list[Theirs], by_sid: dict[str, Theirs], *, is_twin: bool) -> None:
    if len(theirs) > 1:
        result.doubled.append(f"message {row.id} is at the provider {len(theirs)} times")
    elif not theirs and row.provider_id is None:
        _compare_unsent(result, row)
    elif row.provider_id is None and is_twin and row.unconfirmed_at is not None:
        result.unresolved += 1
    elif row.provider_id is None:
        known = f"{theirs[0].sid}, {theirs[0].status}"
        result.wrong.append(f"message {row.id} ({row.status}, unconfirmed {row.unconfirmed_at}) is {known}")
    else:
        own = by_sid.get(row.provider_id)
        if own is None:
            result.wrong.append(f"message {row.id} has a SID that the provider does not know")
            return
        if own.message_id != row.id:
            if not is_twin:
                result.wrong.append(f"message {row.id} has the SID of message {own.message_id}")
            result.crossed += is_twin
        code = None if own.error_code is None else str(own.error_code)
        if (row.status, row.error_code) != (Status.from_provider(own.status), code):
            result.wrong.append(f"message {row.id} is {row.status} {row.error_code}, really {own.status} {code}")


def _compare_unsent(result: Reckoning, row: Any) -> None:
    """Nothing at the provider: then the row has to say so to people."""
    if row.status == Status.FAILED and row.error_code:
        result.refused += 1
    elif row.unconfirmed_at is not None and row.wait_reason:
        result.unconfirmed += 1
    else:
        state = f"{row.status}, claimed {row.claimed_at}, retry {row.retry_at}, {row.wait_reason or 'no reason'}"
        result.lost.append(f"message {row.id} was never sent: {state}")


def _rows(conn: Connection[Any]) -> dict[str, list[Any]]:
    """Our rows by the wish they came from; the portal's form puts more into its key."""
    rows = defaultdict(list)
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        for row in cursor.execute(
            """
            SELECT id, substring(request_key FROM 'faults-[0-9]+-[0-9]+') AS wish, status::text, provider_id, error_code,
                   claimed_at, unconfirmed_at, retry_at, wait_reason
            FROM whatsapp_logs.messages WHERE request_key LIKE '%faults-%'
            """
        ):
            rows[row.wish].append(row)
    return rows


def _twins(wishes: Iterable[Wish]) -> set[str]:
    """The keys of wishes that share person and words with another one."""
    same = defaultdict(list)
    for wish in wishes:
        same[(wish.to, wish.client_id, wish.words)].append(wish.key)
    return {key for keys in same.values() if len(keys) > 1 for key in keys}


def _acknowledged_and_gone(conn: Connection[Any], ledger: Path) -> list[str]:
    """Callbacks that were answered 2xx and of which no event is left."""
    taken = {(a.sid, a.status) for a in attempts(ledger) if a.answer is not None and 200 <= a.answer < 300}
    kept = set(conn.execute("SELECT provider_id, provider_status FROM whatsapp_logs.status_events").fetchall())
    return [f"the report {status} of {sid} was acknowledged and is gone" for sid, status in sorted(taken - kept)]


def _miscounted(conn: Connection[Any]) -> list[str]:
    """Statuses whose rolled-up count is not the number of rows."""
    found = conn.execute(
        """
        WITH rolled AS (
            SELECT status::text, n FROM whatsapp_logs.count_totals
            UNION ALL SELECT status::text, n FROM whatsapp_logs.count_deltas
            UNION ALL SELECT status::text, -1 FROM whatsapp_logs.messages
        )
        SELECT status, sum(n) FROM rolled GROUP BY status HAVING sum(n) <> 0
        """
    ).fetchall()
    return [f"the count of {status} is {off:+} beside the rows" for status, off in found]


def _forged(conn: Connection[Any]) -> list[str]:
    found = conn.execute(
        "SELECT provider_id, provider_status FROM whatsapp_logs.status_events WHERE error_code = %s", [MARK]
    ).fetchall()
    return [f"a forged {status} of {sid} was believed" for sid, status in found]


def _ask(ledger: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as conn:
        return conn.execute(query).fetchall()


@dataclass
class Times:
    """Seconds: from each lost callback to the log knowing that status or a later one; and after each death of PostgreSQL."""

    to_correct: list[float] = field(default_factory=list)
    by_source: dict[str, int] = field(default_factory=dict)
    never: int = 0


def time_lost_callbacks(conn: Connection[Any], ledger: Path) -> Times:
    """Match what no attempt of the provider could tell us with the moment at which we knew all the same."""
    tried: dict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts(ledger):
        tried[(attempt.sid, attempt.status)].append(attempt)
    known = defaultdict(list)
    for sid, status, received_at, source in conn.execute(
        "SELECT provider_id, status::text, received_at, source::text FROM whatsapp_logs.status_events"
        " WHERE provider_id IS NOT NULL AND status IS NOT NULL"
    ):
        known[sid].append((received_at, Status(status).rank, source))
    times = Times()
    for (sid, word), made in tried.items():
        status = Status.from_provider(word)
        if status is None or any(a.answer is not None and a.answer < 300 for a in made):
            continue
        learnt = min(((at, source) for at, rank, source in known[sid] if rank >= status.rank), default=None)
        if learnt is None:
            times.never += 1
            continue
        at, source = learnt
        times.to_correct.append(max(0.0, _seconds(at) - min(a.at for a in made)))
        times.by_source[source] = times.by_source.get(source, 0) + 1
    return times


def first_after(conn: Connection[Any], at: float, source: str) -> float | None:
    """Seconds from a moment to the first event of a source that was committed after it."""
    row = conn.execute(
        "SELECT min(received_at) FROM whatsapp_logs.status_events WHERE received_at > to_timestamp(%s) AND source::text = %s",
        [at, source],
    ).fetchone()
    return None if row is None or row[0] is None else _seconds(row[0]) - at


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
