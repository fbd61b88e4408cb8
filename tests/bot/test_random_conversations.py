"""The bot against a model of what it may do, over random conversations: no crash, nothing lost, nothing for somebody unknown."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from tests.bot.office import ASHA, BRUNO, NOBODY, Office
from whatsapp_logs import bot
from whatsapp_logs.bot import Heard, Manners, Memory, Reply

STEPS, CONVERSATIONS = 24_000, 120
MANNERS = Manners(answers_per_minute=12)
SECRETS = ("MOT-26-001", "HOM-26-002", "TRV-26-003", "24 March 2027")
PROOFS = {
    ASHA: ("MOT-26-001", "24 March 1980"),
    BRUNO: ("TRV-26-003", "BS1 0AA"),
    NOBODY: ("MOT-26-001", "24 March 1980"),
}
LONG = (600, 1799, 1801, 4 * 3600, 25 * 3600)
WORDS = (
    "Hi", "menu", "1", "2", "3", "4", "5", "9", "0", "policies", "document", "renewal", "person", "help", "thanks", "qwertz",
    "MOT-26-001", "24 March 1980", "BS1 0AA", "TRV-26-003", "wrong 123", "", " ", "🙂", "\u202e1", "1\n2", "x" * 1600, "' OR 1=1",
    "{0}", "%s", "ＭＥＮＵ", "yes", "no",
)  # fmt: skip


@dataclass
class Model:
    """What may be told, worked out from what was said alone: the bot's own memory is not asked."""

    proved_at: datetime | None = None
    spoke_at: datetime | None = None
    wrong: list[datetime] = field(default_factory=list)

    def may_be_told(self, now: datetime, *, is_on_file: bool) -> bool:
        return (
            is_on_file
            and self.proved_at is not None
            and self.spoke_at is not None
            and now - self.spoke_at < timedelta(minutes=30)
        )


class Watched(Office):
    """An office that notes each attempt to prove something, and fails now and then when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[bool] = []
        self.is_broken = False

    def identify(self, address: str, *, policy_number: str, detail: str) -> str | None:
        if self.is_broken:
            raise RuntimeError("the office's database is away")
        found = super().identify(address, policy_number=policy_number, detail=detail)
        self.attempts.append(found is not None)
        return found


def conversation(chance: random.Random, steps: int, seen: Counter[str]) -> None:
    office, address = Watched(), chance.choice((ASHA, ASHA, BRUNO, NOBODY))
    memory, model, now = Memory(), Model(), datetime(2026, 11, 25, 9, tzinfo=UTC)
    menus = [""]
    for n in range(1, steps + 1):
        pause = chance.choices((chance.choice((0, 1)), chance.choice((5, 20, 60)), chance.choice(LONG)), (8, 6, 1))[0]
        now += timedelta(seconds=pause)
        if chance.random() < 0.01:
            office.numbers = chance.choice(({ASHA: "1", BRUNO: "2"}, {BRUNO: "2"}, {ASHA: "2"}, {NOBODY: "1"}))
        office.is_broken = chance.random() < 0.01
        heard = heard_at_random(chance, n, now, address, menus, memory)
        memory, said = step(office, model, memory, heard, now, seen)
        menus.append(memory.menu)
        if said and chance.random() < 0.02:  # staff give the conversation back
            memory = Memory(failures=memory.failures, locked_until=memory.locked_until)
            model.proved_at = None


def heard_at_random(
    chance: random.Random, n: int, now: datetime, address: str, menus: list[str], memory: Memory
) -> Heard:
    kind = chance.choices(("text", "file", "location", "sticker"), (40, 1, 1, 1))[0]
    proof = dict(zip(("number", "detail"), PROOFS[address], strict=True)).get(memory.step)
    digits = "1230" if memory.step in ("list", "policy", "menu") and chance.random() < 0.4 else ""
    text = proof if proof and chance.random() < 0.6 else chance.choice(digits or WORDS)
    consent = chance.choices((None, "opt_out", "opt_in"), (60, 1, 1))[0]
    is_button = chance.random() < 0.2
    return Heard(
        id=n, at=now, address=address, kind=kind, text=text, consent=consent,
        choice=chance.choice("0123456789") if is_button else "",
        quoted_menu=chance.choice((memory.menu, *menus[-3:], "m999999")) if is_button or chance.random() < 0.1 else "",
        provider_answered=consent is None and chance.random() < 0.01,
    )  # fmt: skip


def step(
    office: Watched, model: Model, memory: Memory, heard: Heard, now: datetime, seen: Counter[str]
) -> tuple[Memory, Reply | None]:
    given, attempts = len(office.given_out), len(office.attempts)
    allowed = model.may_be_told(now, is_on_file=office.numbers.get(heard.address) is not None)
    try:
        said = bot.reply(heard, memory, office, manners=MANNERS, now=now)
    except RuntimeError:
        assert office.is_broken, "only the records may fail"
        seen["records failed"] += 1
        return memory, None
    tried = office.attempts[attempts:]
    assert len(tried) <= 1
    if tried and tried[0]:
        allowed, model.proved_at, model.wrong = True, now, []
    elif tried:
        model.wrong.append(now)
        assert len([at for at in model.wrong if now - at < timedelta(hours=24)]) <= bot.MOST_FAILURES, "it locks"
    texts = " ".join(one.text or "" for one in said.answers)
    told = (
        len(office.given_out) > given or any(one.file for one in said.answers) or any(word in texts for word in SECRETS)
    )
    assert not told or allowed, f"told somebody unknown: {texts[:200]}"
    for client, policy_id in office.given_out[given:]:
        assert office.numbers[heard.address] == client
        assert policy_id in {one.id for one in office.of_client[client]}
    check_shape(heard, said)
    if heard.consent == "opt_out" or (model.proved_at is not None and not (allowed or told)):
        model.proved_at = None
    if not heard.provider_answered and said.outcome != "too_fast":
        model.spoke_at = now
    seen[f"{memory.step} → {said.memory.step}"] += 1
    seen[said.outcome] += 1
    seen["documents"] += len(office.given_out) - given
    kept = Memory.from_json(json.loads(json.dumps(said.memory.as_json())))
    assert kept == said.memory
    return kept, said


def check_shape(heard: Heard, said: Reply) -> None:
    """Every message is answered, or a person is called, or it asked for silence; and what is said can be sent."""
    silent = heard.consent == "opt_out" or heard.provider_answered
    assert bool(said.answers) or said.reason is not None or silent
    assert not (silent and said.answers)
    assert len(said.answers) <= 2
    for one in said.answers:
        assert (one.text is None) != (one.file is None)
        assert one.text is None or 0 < len(one.text) <= 1600


@pytest.mark.parametrize("seed", [1])
def test_random_conversations(seed: int) -> None:
    chance, seen = random.Random(seed), Counter[str]()
    for _ in range(CONVERSATIONS):
        conversation(chance, STEPS // CONVERSATIONS, seen)
    print(f"{STEPS} steps: {dict(seen)}")
    for reached in (
        "detail → list",
        "list → policy",
        "number → detail",
        "menu → offer",
        "records failed",
        "too_fast",
        "stopped",
    ):
        assert seen[reached], f"the generator never came to {reached}"
    assert seen["documents"] > 100
