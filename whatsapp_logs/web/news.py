"""Whether a page has news, found out once for everybody who looks at the same list: two hundred open pages cost what one costs."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whatsapp_logs.web import listing
from whatsapp_logs.web.asking import Asked

if TYPE_CHECKING:
    from whatsapp_logs.alarms import Alarm
    from whatsapp_logs.service import WhatsAppService

_LOOK_EVERY_S = 0.2  # the database is asked for its state no oftener than that, by all pages together
_WORDS_AGE_S = 5.0  # "3 min ago" changes without a change in the log
_MOST = 500  # lists remembered
_ALARMS_EVERY_S = 5.0
_WAITING_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    digest: str
    state: str
    at: float


class Strip:
    """The alarms above the log, looked for once in a while for all pages together: what they are about takes minutes to happen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._raised: list[Alarm] = []
        self._looked_at = -_ALARMS_EVERY_S

    def alarms(self, service: WhatsAppService) -> list[Alarm]:
        """What somebody should look at; see `service.alarms`."""
        with self._lock:
            if time.monotonic() - self._looked_at > _ALARMS_EVERY_S:
                self._raised = service.alarms()
                self._looked_at = time.monotonic()
            return self._raised


class Waiting:
    """How many customers wait for a person, counted once a second for all pages together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known, self._counted_at = 0, -_WAITING_EVERY_S

    def count(self, service: WhatsAppService) -> int:
        """Counted up to 100, as pages say; see `desk.waiting`."""
        with self._lock:
            if time.monotonic() - self._counted_at > _WAITING_EVERY_S:
                self._known = service.desk.waiting()
                self._counted_at = time.monotonic()
            return self._known


class News:
    """What each list shows by now, remembered for as long as the database has not changed."""

    def __init__(self, waiting: Waiting) -> None:
        self._lock = threading.Lock()
        self._waiting = waiting
        self._state, self._looked_at = "", 0.0
        self._known: OrderedDict[Asked, _Known] = OrderedDict()

    def look(self, service: WhatsAppService, asked: Asked) -> tuple[str, str]:
        """The fingerprint of what this list shows now (see `listing.digest`), and the state of the database in which it does."""
        state, now = self._state_now(service), time.monotonic()
        known = self._known.get(asked)
        if known is None or known.state != state or now - known.at > _WORDS_AGE_S:
            known = _Known(listing.digest(service, asked, waiting=self._waiting.count(service)), state, now)
            with self._lock:
                self._known[asked] = known
                self._known.move_to_end(asked)
                while len(self._known) > _MOST:
                    self._known.popitem(last=False)
        return known.digest, state

    def _state_now(self, service: WhatsAppService) -> str:
        with self._lock:  # whoever comes meanwhile waits for the one answer
            if time.monotonic() - self._looked_at > _LOOK_EVERY_S:
                self._state = service.state()
                self._looked_at = time.monotonic()
            return self._state
