"""Reports that arrive together share a commit; each is answered after its commit, never before, and none waits for company."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from whatsapp_logs.errors import DatabaseAway
from whatsapp_logs.message import Recorded, StatusReport

Write = Callable[[Sequence[StatusReport]], list[Recorded]]
Told = TypeVar("Told")
Outcome = TypeVar("Outcome")
MOST = 500  # reports of one transaction: more would only make its first ones wait


def _shut() -> threading.Lock:
    gate = threading.Lock()
    gate.acquire()
    return gate


@dataclass(slots=True, eq=False)
class _Ticket:
    """A report whose thread waits: for its outcome, or for its turn to write for everybody who waits.

    `gate` opens when it is called. A lock and no Event: this is the whole cost of waiting, and an Event has a list and a lock more.
    """

    report: StatusReport
    gate: threading.Lock = field(default_factory=_shut)
    outcome: Recorded | None = None
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.outcome is not None or self.error is not None


class Gathering:
    """A group commit for the threads of one process, without a thread or a timer of its own.

    Whoever finds nobody writing writes at once. Who comes meanwhile waits, and is written together with all others by the first of
    them. `write` commits a list of reports or none, and answers in their order.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._is_writing = False

    def record(self, report: StatusReport) -> Recorded:
        """Returns once the report is committed; raises what its writing raised."""
        ticket = _Ticket(report)
        with self._lock:
            self._waiting.append(ticket)
            is_first = not self._is_writing
            self._is_writing = True
        if not is_first:
            ticket.gate.acquire()
        if not ticket.is_done:
            self._write_for_all()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.outcome is not None
        return ticket.outcome

    def _write_for_all(self) -> None:
        """Write what waits, this thread's own report first; then it is the next one's turn, if anybody has come."""
        with self._lock:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        try:
            outcomes = write_each(self._write, [ticket.report for ticket in batch])
            for ticket, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    ticket.error = outcome
                else:
                    ticket.outcome = outcome
        finally:
            with self._lock:
                following = self._waiting[0] if self._waiting else None
                self._is_writing = following is not None
            if following is not None:
                following.gate.release()
            for ticket in batch:
                if not ticket.is_done:  # this thread is being ended
                    ticket.error = DatabaseAway()
                ticket.gate.release()


def write_each(write: Callable[[Sequence[Told]], list[Outcome]], reports: Sequence[Told]) -> list[Outcome | Exception]:
    """What became of each: written together, or each by itself should one of them be odd, so that it takes no other with it."""
    try:
        return list(write(reports))
    except DatabaseAway as error:
        return [error] * len(reports)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to the one report that it is about
        if len(reports) == 1:
            return [error]
        return [outcome for report in reports for outcome in write_each(write, [report])]
