"""Examines every part the log needs and says what to do. Each finding stands alone: one sick part hides no other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from whatsapp_logs.config import Config
from whatsapp_logs.errors import DatabaseAway, WhatsAppLogsError
from whatsapp_logs.service import WhatsAppService

_WORKER_SILENT_S = 30
_WORKER_ANSWERS_S = 5.0
_CLOCK_TOLERANCE_S = 5
_ENOUGH_MAJOR = 15


@dataclass(frozen=True, slots=True)
class Finding:
    """One part, whether it is well, and what was seen or is to be done."""

    part: str
    is_well: bool
    words: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.is_well else 'BAD '}  {self.part:<10} {self.words}"


def examine(config: Config, *, without: Collection[str] = ()) -> list[Finding]:
    """Look at database, schema, worker, clock, Twilio and the public address, in that order; not at those named in `without`.

    When the database cannot be reached that is said once, and the parts that need it are left out.
    """
    with closing(WhatsAppService(config)) as service:
        parts = [part for part in _PARTS if part not in without]
        # One plain attempt: the pool would try again and again, and say so each time.
        away = service.database.why_away() if _IN_DATABASE.intersection(parts) else ""
        if away:
            parts = [part for part in parts if part not in _IN_DATABASE]
        found = list(_examined(service, parts))
    return [_unreachable(away), *found] if away else found


def _examined(service: WhatsAppService, parts: Collection[str]) -> Iterator[Finding]:
    for part in parts:
        try:
            yield Finding(part, True, _PARTS[part](service))
        except DatabaseAway as error:
            yield _unreachable(service.database.why_away() or str(error), part)
        except WhatsAppLogsError as error:
            yield Finding(part, False, str(error))
        except Exception as error:  # noqa: BLE001 - whatever one part has, the others are looked at too
            words = str(error).strip().partition("\n")[0]
            yield Finding(part, False, f"This failed in a way nobody foresaw: {type(error).__name__}: {words}")


def _unreachable(reason: str, part: str = "database") -> Finding:
    return Finding(
        part, False, f"The database cannot be reached ({reason}). Check DATABASE_URL and that the server runs."
    )


def _database(service: WhatsAppService) -> str:
    version = service.server().version
    if version // 10000 < _ENOUGH_MAJOR:
        raise WhatsAppLogsError(f"PostgreSQL {version // 10000} is too old: {_ENOUGH_MAJOR} or newer is needed.")
    return f"PostgreSQL {version // 10000}.{version % 10000} answers."


def _schema(service: WhatsAppService) -> str:
    service.check_schema()
    return "The tables are this program's."


def _worker(service: WhatsAppService) -> str:
    silence_s = service.server().worker_silence_s
    if silence_s is None:
        raise WhatsAppLogsError("No worker runs: messages stay queued. Start `python -m whatsapp_logs worker`.")
    if silence_s > _WORKER_SILENT_S:
        raise WhatsAppLogsError(f"The worker has been silent for {silence_s:.0f} s: messages stay queued. Restart it.")
    return f"A worker runs; its last sign of life was {silence_s:.0f} s ago."


def _clock(service: WhatsAppService) -> str:
    off_s = abs((service.server().now - datetime.now(UTC)).total_seconds())
    if off_s > _CLOCK_TOLERANCE_S:
        raise WhatsAppLogsError(
            f"This machine's clock and the database's are {off_s:.0f} s apart. Switch time synchronisation on."
        )
    return "This machine's clock agrees with the database's."


def _twilio(service: WhatsAppService) -> str:
    service.gateway.check()
    if service.config.simulated:
        return f"The simulator at {service.config.twilio_api_base_url} answers; no message leaves this machine."
    return "Twilio answers and accepts our login."


def _callbacks(service: WhatsAppService) -> str:
    """One signed callback to ourselves through the public address. A worker that is away is another part's finding."""
    last = service.test_callback(worker_timeout_s=_WORKER_ANSWERS_S if _works(service) else 0)[-1]
    if last.is_well:
        return f"A signed callback through {service.config.public_base_url} is believed, and a worker does its job."
    if last.part == "worker" and not _works(service):
        return f"A signed callback through {service.config.public_base_url} is believed."
    raise WhatsAppLogsError(last.words)


def _works(service: WhatsAppService) -> bool:
    try:
        _worker(service)
    except WhatsAppLogsError:
        return False
    return True


_PARTS: dict[str, Callable[[WhatsAppService], str]] = {
    "database": _database,
    "schema": _schema,
    "worker": _worker,
    "clock": _clock,
    "twilio": _twilio,
    "callbacks": _callbacks,
}
_IN_DATABASE = frozenset({"database", "schema", "worker", "clock", "callbacks"})
