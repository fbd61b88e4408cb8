"""What a bench prints, and how it takes times: in turn, round by round, so that a busy machine is busy for everybody."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One figure: its value, its ratio to the baseline it names, and the goal of the ratio ("<= 5"; "" where there is none)."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    goal: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the ratio (or, where there is none, the value) keeps to the goal."""
        if not self.goal:
            return True
        word, limit = self.goal.split()
        measured = self.value if self.ratio is None else self.ratio
        return measured <= float(limit) if word == "<=" else measured >= float(limit)

    def __str__(self) -> str:
        ratio = "-" if self.ratio is None else f"{self.ratio:.4g}"
        return (
            f"{self.name:<58} {self.value:>11.4g} {self.unit:<7} {ratio:>9}  "
            f"{self.goal or '-':<9} {'ok' if self.is_ok else 'short'}"
        )


def interleaved(rounds: int, *, first: int = 1, **calls: Callable[[], object]) -> dict[str, float]:
    """The median seconds of each call, taken in turn `rounds` times after the `first` ones, which do not count."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(first + rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if round_ >= first:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def timed(call: Callable[[], object]) -> float:
    """The seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
