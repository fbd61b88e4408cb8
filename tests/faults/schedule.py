"""What is asked for and what goes wrong, drawn from a seed: the same seed asks for the same and breaks in the same order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

# Numbers reserved for fiction: +1 NXX 555 0100–0199 in many areas, one person each.
AREAS = (
    "201", "202", "203", "205", "206", "207", "208", "209", "210", "212", "213", "214", "215", "216", "217", "218", "301",
    "302", "303", "304", "305", "307", "308", "309", "310", "312", "313", "314", "315", "316", "401", "402", "404", "405",
    "406", "407", "408", "409", "410", "412", "413", "414", "415", "417", "419", "501", "502", "503", "504", "505", "507",
)  # fmt: skip
# Recipients of the simulator's table for whom something remarkable happens (whatsapp_logs/twilio/simulator/rules.py).
REMARKABLE = tuple(
    f"+4477009{number:05d}" for number in (3, 16, 24, 26, 49, 100, 101, 102, 103, 104, 105, 106, 108, 109, 110, 111)
)
CLIENTS = 60  # of the demo office
KINDS = (
    ("kill a worker", 3),
    ("kill the web server", 1),
    ("kill a web process", 2),
    ("kill PostgreSQL", 1),
    ("kill the asker", 1),
    ("create: 429", 1),
    ("create: 500", 1),
    ("create: html", 1),
    ("create: refuse", 1),
    ("create: 500_after_accept", 1),
    ("create: timeout_after_accept", 1),
    ("create: cut_after_accept", 1),
    ("read: 429", 1),
    ("read: 500", 1),
    ("Twilio away", 1),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A message somebody wants to be sent: through the service, or through the portal's form for a client."""

    key: str
    to: str
    words: str
    template: bool = False
    client_id: int | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing going wrong, `pause_s` after the one before; a fault of Twilio lasts and hits a share of the calls."""

    kind: str
    pause_s: float
    lasts_s: float
    rate: float


def wishes(seed: int, count: int) -> list[Wish]:
    """Messages to many people, to a few people often, and some that nothing but their key tells apart."""
    chance = random.Random(f"wishes {seed}")
    made: list[Wish] = []
    for number in range(count):
        key, words = f"faults-{seed}-{number:06d}", f"Your policy papers are ready, reference {number}."
        kind = chance.random()
        if kind < 0.02 and made:  # a twin: the same words to the same person, asked for on purpose
            earlier = made[-1 - chance.randrange(min(3, len(made)))]
            made.append(Wish(key, earlier.to, earlier.words, earlier.template, earlier.client_id))
        elif kind < 0.03:
            made.append(Wish(key, "", words, client_id=1 + chance.randrange(CLIENTS)))
        elif kind < 0.13:
            made.append(Wish(key, chance.choice(REMARKABLE), words))
        else:
            to = f"+1{chance.choice(AREAS)}555{100 + chance.randrange(100):04d}"
            made.append(Wish(key, to, words, template=chance.random() < 0.4))
    return made


def faults(seed: int, *, mean_pause_s: float) -> Iterator[Fault]:
    """Faults without end: a shuffled pack of all kinds, then another, so that every kind has its turn early."""
    chance = random.Random(f"faults {seed}")
    while True:
        pack = [kind for kind, cards in KINDS for _ in range(cards)]
        chance.shuffle(pack)
        for kind in pack:
            pause_s = chance.uniform(0.3, 1.7) * mean_pause_s
            yield Fault(kind, pause_s, lasts_s=chance.uniform(0.4, 1.4), rate=chance.choice((0.2, 0.5, 1.0)))


def pack_size() -> int:
    """How many faults a pack holds: after so many each kind has had its turn."""
    return sum(cards for _, cards in KINDS)
