"""One thread that calls back when a timer is due: a heap in memory over the timers in the database."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from whatsapp_logs.twilio.simulator.queue import Timer

MAX_BATCH = 100  # one transaction each: small enough that the API hardly waits for it


class Scheduler:
    """Hands due timers over in batches, earliest first; `take` runs on the scheduler's thread."""

    def __init__(self, take: Callable[[Sequence[Timer]], None]) -> None:
        self._take = take
        self._heap: list[Timer] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="simulator-scheduler", daemon=True)

    def start(self, timers: Iterable[Timer]) -> None:
        with self._wake:
            self._heap = list(timers)
            heapq.heapify(self._heap)
        self._thread.start()

    def add(self, timer: Timer) -> None:
        with self._wake:
            heapq.heappush(self._heap, timer)
            if self._heap[0] is timer:
                self._wake.notify()

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._wait_for_due():
            self._take(batch)

    def _wait_for_due(self) -> list[Timer]:
        """The next due timers; an empty list means that the scheduler is to stop."""
        with self._wake:
            while not self._stopping:
                wait_s = self._heap[0].due - time.time() if self._heap else None
                if wait_s is not None and wait_s <= 0:
                    return self._pop_due()
                self._wake.wait(wait_s)
            return []

    def _pop_due(self) -> list[Timer]:
        now = time.time()
        batch: list[Timer] = []
        while self._heap and self._heap[0].due <= now and len(batch) < MAX_BATCH:
            batch.append(heapq.heappop(self._heap))
        return batch
