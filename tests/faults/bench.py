"""One run: ask, break, heal, reckon."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from tests.faults import ledger, schedule
from tests.faults.asker import read_progress
from tests.faults.forger import Forger
from tests.faults.harness import Bench, Outage
from tests.faults.ledger import Reckoning, Times
from whatsapp_logs import WhatsAppService, refresh, send
from whatsapp_logs.errors import DatabaseAway
from whatsapp_logs.store import queue

SWEEP_EVERY_S = 10.0  # while things go wrong: somebody presses "Refresh all statuses"
LOOK_EVERY_S = 1.0
HEAL_TIMEOUT_S = 120.0
PATIENT_TIMEOUT_S = 900.0
CLOCK_AHEAD = timedelta(minutes=3)  # longer than any wait of the worker's but those between attempts at Twilio
RESUMED_TOGETHER = 25
DRAIN_TIMEOUT_S = 900.0
WAITING_JOBS = """
    SELECT FROM whatsapp_logs.procrastinate_jobs
    WHERE task_name = 'deliver' AND status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())
"""
# A refresh that tells of no progress for some seconds has lost its worker; for the product it takes a minute to be sure.
SILENT_REFRESH = """
    UPDATE whatsapp_logs.refreshes SET heartbeat_at = heartbeat_at - %(ahead)s
    WHERE finished_at IS NULL AND heartbeat_at < now() - interval '4 seconds' AND heartbeat_at > now() - interval '1 minute'
"""


@dataclass
class Report:
    """What a run tried, found and measured; times in seconds."""

    reckoning: Reckoning
    tried: Counter[str]
    ended_itself: dict[str, int]
    callbacks: Counter[str]
    forgeries: Counter[int]
    times: Times
    outages: list[Outage]
    back: dict[str, list[float]] = field(default_factory=dict)
    asking_s: float = 0.0
    breaking_s: float = 0.0
    drained_s: float = 0.0
    healing_s: float = 0.0

    def lines(self) -> list[str]:
        """The report for people; the last line is the verdict."""
        forgeries = ", ".join(f"{n} × {status or 'no answer'}" for status, n in sorted(self.forgeries.items()))
        found, times = self.reckoning, self.times
        return [
            "faults tried:  " + ", ".join(f"{kind} {n}" for kind, n in sorted(self.tried.items())),
            "ended without being killed:  "
            + (", ".join(f"{name} {n}" for name, n in self.ended_itself.items() if n) or "nothing"),
            "callbacks:  " + ", ".join(f"{n} {what}" for what, n in self.callbacks.items()),
            f"forged callbacks answered:  {forgeries}",
            f"from a lost callback to the right status:  {_spread(times.to_correct)}; learnt by "
            + ", ".join(f"{source} {n}" for source, n in sorted(times.by_source.items()))
            + f"; never {times.never}",
            f"PostgreSQL from killed to ready:  {_spread([o.ready_at - o.killed_at for o in self.outages])}",
            *(f"from PostgreSQL ready to the next {what}:  {_spread(found)}" for what, found in self.back.items()),
            f"visible in the log:  {found.unconfirmed} unconfirmed and not at Twilio, {found.refused} refused; "
            f"of twins equal in every word {found.unresolved} undecided, {found.crossed} exchanged",
            f"{found.messages} messages asked for in {self.asking_s:.0f} s, broken for {self.breaking_s:.0f} s, all handed over "
            f"after {self.drained_s:.0f} s ({found.messages / max(self.drained_s, 0.1):.0f}/s), right {self.healing_s:.1f} s later",
            *found.details(),
            found.closing_line,
        ]


def run(
    folder: Path, *, seed: int, messages: int, rate: float, mean_pause_s: float, patient: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Report:  # fmt: skip
    """Ask for `messages`, `rate` a second at most, while something goes wrong every `mean_pause_s`.

    Healing turns the clock ahead, so that nobody waits for the worker's two minutes; `patient` leaves all to the clock.
    """
    wishes = schedule.wishes(seed, messages)
    with Bench(folder, seed) as bench, Forger(bench.env, ledger=bench.ledger_file, seed=seed) as forger:
        tell(f"seed {seed}: {messages} messages below {folder}")
        began = time.monotonic()
        asked_at = _break(bench, wishes, rate=rate, mean_pause_s=mean_pause_s, seed=seed, patient=patient)
        broken_at = time.monotonic()
        _drain(bench)
        drained_at = time.monotonic()
        tell(f"broken for {broken_at - began:.0f} s, all handed over after {drained_at - began:.0f} s; healing")
        found = _heal(bench, wishes, patient=patient, tell=tell)
        healed_at = time.monotonic()
        with bench.connect() as conn:
            return Report(
                reckoning=found,
                tried=bench.tried,
                ended_itself={part.name: part.ended_itself for part in bench.parts.values()},
                callbacks=_count_callbacks(bench.ledger_file),
                forgeries=forger.answers,
                times=ledger.time_lost_callbacks(conn, bench.ledger_file),
                outages=bench.outages,
                back=_time_recovery(conn, bench.outages),
                asking_s=asked_at - began,
                breaking_s=broken_at - began,
                drained_s=drained_at - began,
                healing_s=healed_at - drained_at,
            )


def _break(
    bench: Bench, wishes: list[schedule.Wish], *, rate: float, mean_pause_s: float, seed: int, patient: bool,
) -> float:  # fmt: skip
    """Have things go wrong until all is asked for and every kind of fault had its turn; returns when all was asked for."""
    progress = bench.ask_for(wishes, rate=rate)
    chance = random.Random(f"targets {seed}")
    sweep_at = time.monotonic() + SWEEP_EVERY_S
    asked_at = None
    with bench.service() as service:
        for number, fault in enumerate(schedule.faults(seed, mean_pause_s=mean_pause_s)):
            bench.run_for(fault.pause_s)
            if asked_at is None and read_progress(progress) >= len(wishes):
                asked_at = time.monotonic()
                bench.end("asker")
            if asked_at is not None and number >= schedule.pack_size():
                return asked_at
            if not patient and time.monotonic() > sweep_at:
                _try(lambda: service.refresh_all(started_by="bench"))
                sweep_at = time.monotonic() + SWEEP_EVERY_S
            bench.commit(fault, chance=chance.choice)
    raise AssertionError("the faults never end")


def _drain(bench: Bench) -> None:
    """Let everything run undisturbed until no hand-over waits in the queue any more."""
    bench.heal_twilio()
    bench.run_until(bench.answers, timeout_s=60, what="the portal to answer again")

    def is_drained() -> bool:
        bench.heal_twilio()
        bench.run_for(0.2)
        with bench.connect() as conn:
            return conn.execute(WAITING_JOBS).fetchone() is None

    bench.run_until(is_drained, timeout_s=DRAIN_TIMEOUT_S, what="every message to be handed over")


def _heal(bench: Bench, wishes: list[schedule.Wish], *, patient: bool, tell: Callable[[str], None]) -> Reckoning:
    """Let everything run undisturbed until the log is right, or time is up."""
    deadline = time.monotonic() + (PATIENT_TIMEOUT_S if patient else HEAL_TIMEOUT_S)
    told = ""
    with bench.service() as service:
        while True:
            if not patient:
                _try(lambda: _sweep(service))
            bench.run_for(LOOK_EVERY_S)
            with bench.connect() as conn:
                found = ledger.reckon(conn, bench.ledger_file, wishes)
            if found.is_clean or time.monotonic() > deadline:
                return found
            if found.closing_line != told:
                told = found.closing_line
                tell(told)


def _sweep(service: WhatsAppService) -> None:
    """What the worker does by the clock, begun now and with the clock ahead; the workers do it."""
    with service.transaction() as conn:
        conn.execute(SILENT_REFRESH, {"ahead": CLOCK_AHEAD})
        refresh.resume_silent(conn)
        waiting = send.rescue(conn, now=datetime.now(UTC) + CLOCK_AHEAD)
        for begin in range(0, len(waiting), RESUMED_TOGETHER):
            queue.defer(conn, "deliver", ids=waiting[begin : begin + RESUMED_TOGETHER])
        queue.defer(conn, "settle_unconfirmed")
    service.refresh_all(started_by="bench")


def _try(act: Callable[[], object]) -> None:
    """Do it unless the database is away: then it has its turn later."""
    try:
        act()
    except DatabaseAway:
        return


def _count_callbacks(file: Path) -> Counter[str]:
    made = ledger.attempts(file)
    by_report: Counter[tuple[str, str]] = Counter((a.sid, a.status) for a in made if a.number == 1)
    return Counter(
        {
            "dropped": sum(a.number == 0 for a in made),
            "sent": sum(a.number == 1 for a in made),
            "sent twice": sum(n > 1 for n in by_report.values()),
            "repeated after a failure": sum(a.number > 1 for a in made),
            "answered 2xx": sum(a.answer is not None and a.answer < 300 for a in made),
            "answered 5xx": sum(a.answer is not None and a.answer >= 500 for a in made),
            "not answered": sum(a.answer is None and a.number > 0 for a in made),
        }
    )


def _time_recovery(conn: psycopg.Connection[tuple[object, ...]], outages: list[Outage]) -> dict[str, list[float]]:
    """Seconds after each recovery of PostgreSQL until the web server and a worker had written again."""
    names = {"callback taken": "callback", "message handed over": "send"}
    return {
        name: [s for outage in outages if (s := ledger.first_after(conn, outage.ready_at, source)) is not None]
        for name, source in names.items()
    }


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "never measured"
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"median {statistics.median(ordered):.1f} s, p99 {p99:.1f} s, worst {ordered[-1]:.1f} s (of {len(ordered)})"
