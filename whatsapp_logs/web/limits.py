"""How often in a minute: calls of one person, of one token, and calls that prove nothing from one address.

What is signed is not counted.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from whatsapp_logs.errors import WhatsAppLogsError

UNPROVEN_PER_MINUTE = 60
_MOST = 10_000  # callers remembered; the longest unheard of is forgotten first


class TooMany(WhatsAppLogsError):
    """The caller asks too often."""

    def __init__(self, text: str, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(text)


class Limit:
    """So many per minute for each caller, as a bucket that fills steadily: a burst of a minute's worth is fine.

    Kept in the process's memory: with several server processes a caller has as many buckets.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, caller: Hashable) -> int:
        """Count one call; 0 if it is within the limit, else the seconds after which the next one will be."""
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(caller, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - at) * self._per_minute / 60)
            is_within = left >= 1
            self._left[caller] = (left - is_within, now)
            if len(self._left) > _MOST:
                self._left.popitem(last=False)
        return 0 if is_within else max(1, round((1 - left) * 60 / self._per_minute))


class PeopleLimits:
    """How much one signed-in person may ask and change in a minute, wherever they are signed in: far more than anybody's hands."""

    def __init__(
        self, calls_per_minute: int, changes_per_minute: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls, self._changes = Limit(calls_per_minute, clock=clock), Limit(changes_per_minute, clock=clock)
        self._calls_per_minute, self._changes_per_minute = calls_per_minute, changes_per_minute

    def count(self, person: Hashable, *, is_change: bool) -> None:
        """Count one call. Raises TooMany, in words for the person."""
        if wait_s := self._calls.take(person):
            said = f"You have asked for more than {self._calls_per_minute} pages in a minute."
            raise TooMany(f"{said} {_wait(wait_s)}", retry_after_s=wait_s)
        if is_change and (wait_s := self._changes.take(person)):
            said = f"You have changed or sent more than {self._changes_per_minute} things in a minute; this one was not done."
            raise TooMany(f"{said} {_wait(wait_s)}", retry_after_s=wait_s)


def _wait(seconds: int) -> str:
    return f"Wait {seconds} second{'' if seconds == 1 else 's'}, then do it again."
