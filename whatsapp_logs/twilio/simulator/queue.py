"""What is still to happen: timers and callbacks, kept in the database so that they survive kill -9."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from whatsapp_logs.twilio.simulator.database import Database

State = Literal["pending", "held", "stashed", "dropped", "done"]


@dataclass(frozen=True, slots=True, order=True)
class Timer:
    """Something due at `due` (seconds since the epoch): a step of a message, a callback, a price."""

    due: float
    id: int
    kind: str
    ref: str


@dataclass(frozen=True, slots=True)
class Callback:
    """One webhook request Twilio means to make; `url` still has the fragment with its retry rules."""

    id: int
    kind: str  # status or inbound
    message_sid: str
    status: str
    url: str
    params: dict[str, str]
    token: str  # I-Twilio-Idempotency-Token: the same for retries and doubles
    state: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one callback: `answer` is the HTTP status, `problem` says why there is none."""

    sid: str
    status: str
    url: str
    attempt: int  # from 1; 0 when the callback was dropped on purpose and never tried
    answer: int | None
    problem: str | None
    at: float
    token: str
    params: dict[str, str]
    kind: str


class Queue:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add_timer(self, due: float, kind: str, ref: str) -> Timer:
        return Timer(due, self._database.run("INSERT INTO timers (due, kind, ref) VALUES (?, ?, ?)", (due, kind, ref)),
                     kind, ref)  # fmt: skip

    def timers(self) -> list[Timer]:
        return [Timer(*row) for row in self._database.rows("SELECT due, id, kind, ref FROM timers")]  # type: ignore[arg-type]

    def has_timer(self, timer_id: int) -> bool:
        return self._database.row("SELECT 1 FROM timers WHERE id = ?", (timer_id,)) is not None

    def remove_timer(self, timer_id: int) -> None:
        self._database.run("DELETE FROM timers WHERE id = ?", (timer_id,))

    def remove_callback_timer(self, callback_id: int) -> None:
        self._database.run("DELETE FROM timers WHERE ref = ? AND kind = 'callback'", (str(callback_id),))

    def remove_timers_of(self, message_sid: str) -> None:
        """Forget the next step of a message; its callbacks and price stay due."""
        self._database.run("DELETE FROM timers WHERE ref = ? AND kind IN ('step', 'depart', 'send_at')", (message_sid,))

    def is_idle(self) -> bool:
        """Whether nothing is under way any more; prices and scheduled messages are not waited for."""
        return self._database.row("SELECT 1 FROM timers WHERE kind NOT IN ('price', 'send_at') LIMIT 1") is None

    def add_callback(self, kind: str, sid: str, status: str, url: str, params: dict[str, str], token: str,
                     state: State) -> int:  # fmt: skip
        return self._database.run(
            "INSERT INTO callbacks (kind, message_sid, status, url, params, token, state) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (kind, sid, status, url, json.dumps(params), token, state),
        )

    def find_callback(self, callback_id: int) -> Callback | None:
        row = self._database.row(
            "SELECT id, kind, message_sid, status, url, params, token, state FROM callbacks WHERE id = ?",
            (callback_id,),
        )
        return _callback(row) if row else None

    def set_state(self, callback_id: int, state: State) -> None:
        self._database.run("UPDATE callbacks SET state = ? WHERE id = ?", (state, callback_id))

    def callbacks_in(self, state: State, *, message_sid: str | None = None) -> list[Callback]:
        """Callbacks in a state, oldest first."""
        rows = self._database.rows(
            "SELECT id, kind, message_sid, status, url, params, token, state FROM callbacks"
            " WHERE state = :state AND (:sid IS NULL OR message_sid = :sid) ORDER BY id",
            {"state": state, "sid": message_sid},
        )
        return [_callback(row) for row in rows]

    def count_held(self) -> int:
        found = self._database.row("SELECT count(*) FROM callbacks WHERE state = 'held'")
        return int(str(found[0])) if found else 0

    def add_attempt(
        self, callback_id: int, attempt: int, *, at: float, answer: int | None, problem: str | None
    ) -> None:
        self._database.run(
            "INSERT INTO attempts (callback_id, attempt, at, answer, problem) VALUES (?, ?, ?, ?, ?)",
            (callback_id, attempt, at, answer, problem),
        )

    def attempts(self, *, limit: int | None = None) -> list[Attempt]:
        """Every attempt (the newest `limit` of them), oldest first."""
        rows = self._database.rows(
            "SELECT c.message_sid, c.status, c.url, a.attempt, a.answer, a.problem, a.at, c.token, c.params, c.kind"
            " FROM attempts AS a JOIN callbacks AS c ON c.id = a.callback_id ORDER BY a.id DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return [_attempt(row) for row in reversed(rows)]


def _callback(row: tuple[Any, ...]) -> Callback:
    callback_id, kind, sid, status, url, params, token, state = row
    return Callback(callback_id, kind, sid, status, url, json.loads(params), token, state)


def _attempt(row: tuple[Any, ...]) -> Attempt:
    sid, status, url, attempt, answer, problem, at, token, params, kind = row
    return Attempt(sid, status, url, attempt, answer, problem, at, token, json.loads(params), kind)
