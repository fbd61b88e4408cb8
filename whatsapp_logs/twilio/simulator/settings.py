"""What can be made to go wrong, changeable while the simulator runs (attributes in Python, JSON over HTTP)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

CREATE_ERRORS = (
    "429",
    "500",
    "html",
    "refuse",
    "500_after_accept",
    "timeout_after_accept",
    "cut_after_accept",
)
READ_ERRORS = ("429", "500", "html", "refuse")


@dataclass
class Settings:
    """The faults and the account's set-up.

    Rates are probabilities from 0 to 1. Every time ending in `_s` is in seconds; `delay_s` is multiplied by the pace,
    the others are real time, because clients measure their time-outs in real time.
    """

    # Status callbacks
    drop_rate: float = 0.0
    double_rate: float = 0.0
    reorder_rate: float = 0.0  # share that waits a random while (times the pace), so that later ones overtake
    delay_s: tuple[float, float] = (0.0, 0.0)  # uniformly between the two
    hold: bool = False  # keep every callback back until Simulator.release()
    # Answers of the API
    create_error: str | None = None  # one of CREATE_ERRORS; only those ending in _after_accept create a message
    create_error_rate: float = 1.0
    read_error: str | None = None  # one of READ_ERRORS, for fetch and list
    read_error_rate: float = 1.0
    hang_s: float = 30.0  # how long timeout_after_accept keeps the caller waiting before the connection is cut
    latency_s: float = 0.0  # added to every answer of the API
    max_concurrent: int | None = None  # more requests than this at the same time are answered 429
    # The sender's limits; null is none. Messages a second are real time: a campaign's rate is measured in it.
    messages_per_s: float | None = None  # what is over it waits as queued
    queue_limit: int | None = None  # more waiting: refused with 21611, through a Messaging Service failed with 30001
    daily_customers: int | None = None  # more customers first written to within 24 hours fail with 63018
    # Lists
    list_lag_s: float = 0.0  # younger messages are missing from lists (fetching them by SID works)
    list_hides_unsent: bool = False  # messages without date_sent are missing from every list, not only filtered ones
    date_sent_at_create: bool = False  # date_sent is set before the message is sent
    # WhatsApp
    enforce_window: bool = True  # free text outside the 24-hour window fails with 63016
    auto_read: bool = True  # customers read what they get; off: mark it read by hand
    stop_opts_out: bool = True  # STOP bars the customer at Twilio; unconfirmed for WhatsApp, so that it can be off
    # Inbound STOP, START and HELP carry OptOutType, and later messages fail with 21610 instead of being refused.
    advanced_opt_out: bool = False
    review_by_hand: bool = False  # submitted templates stay pending until Simulator.approve_template() and its like
    # The account
    media_auth: bool = True  # customers' files are given out to the account's login only
    inbound_url: str | None = None  # where customers' messages are posted
    media_base_url: str = "http://127.0.0.1:8000"  # fixed part of media URLs in *_by_path templates

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "delay_s": list(self.delay_s)}

    def update(self, changes: Mapping[str, object]) -> None:
        """Change some settings, all or none; ValueError names the first that does not fit."""
        known = {item.name for item in fields(self)}
        checked = {}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"unknown setting {name!r}; known: {', '.join(sorted(known))}")
            checked[name] = _checked(name, value, getattr(type(self)(), name))
        for name, value in checked.items():
            setattr(self, name, value)


def _checked(name: str, value: object, default: object) -> object:
    if name in ("create_error", "read_error"):
        return _one_of(name, value, CREATE_ERRORS if name == "create_error" else READ_ERRORS)
    if name in ("max_concurrent", "queue_limit", "daily_customers", "messages_per_s"):
        return _limit(name, value)
    if name == "delay_s":
        return _span(value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false")
        return value
    if isinstance(default, float):
        number = _number(name, value)
        if name.endswith("_rate") and number > 1:
            raise ValueError(f"{name} is a share between 0 and 1")
        return number
    if value is None or isinstance(value, str):
        return value or default
    raise ValueError(f"{name} is a text")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> object:
    if value is None or value in allowed:
        return value
    raise ValueError(f"{name} is null or one of {', '.join(allowed)}")


def _limit(name: str, value: object) -> object:
    fits = (int, float) if name.endswith("_per_s") else int
    if value is None or (isinstance(value, fits) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError(f"{name} is a positive {'' if name.endswith('_per_s') else 'whole '}number or null")


def _span(value: object) -> tuple[float, float]:
    if isinstance(value, list | tuple) and len(value) == 2:
        low, high = (_number("delay_s", item) for item in value)
        return min(low, high), max(low, high)
    seconds = _number("delay_s", value)
    return seconds, seconds


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} is a number, zero or more")
    return float(value)
