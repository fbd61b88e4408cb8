"""Counts calls that were refused, without giving a forger anything to fill: memory, database or log."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from whatsapp_logs.errors import WhatsAppLogsError

log = logging.getLogger(__name__)

PAUSE_S = 2.0  # between two writes of one process


class Refusals:
    """Adds in memory and writes at most once in a while, outside every request.

    What waits to be written is lost with the process: two seconds' worth. While the database is away it waits for the next call.
    """

    def __init__(self, write: Callable[[Mapping[tuple[str, str], int]], None]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._timer: threading.Timer | None = None

    def add(self, route: str, reason: str) -> bool:
        """Count one call; both words are ours, never the caller's. Returns whether it is the first since the last write."""
        with self._lock:
            self._calls[route, reason] += 1
            is_first = self._timer is None
            if is_first:
                self._start_timer()
            return is_first

    def _start_timer(self) -> None:
        self._timer = threading.Timer(PAUSE_S, self._flush)
        self._timer.daemon = True
        self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            calls, self._calls, self._timer = self._calls, Counter(), None
        try:
            self._write(calls)
        except WhatsAppLogsError as error:
            log.warning("%s refused calls are counted with the next ones: %s", calls.total(), error)
            with self._lock:
                self._calls += calls
