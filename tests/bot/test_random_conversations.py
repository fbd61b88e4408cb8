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
from whatsapp_logs.bot import Answer, Heard, Manners, Memory, Reply
from whatsapp_logs.bot_words import OLD_MENU
from whatsapp_logs.catalogue import filled
from whatsapp_logs.interactive import pressable

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


@dataclass(frozen=True)
class Shown:
    """A question on the phone: its name, what can be pressed, and the policies that its first numbers stand for."""

    menu: str
    numbers: tuple[str, ...]
    policies: tuple[str, ...]
    wish: str


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
    menus, shown = [""], list[Shown]()
    for n in range(1, steps + 1):
        pause = chance.choices((chance.choice((0, 1)), chance.choice((5, 20, 60)), chance.choice(LONG)), (8, 6, 1))[0]
        now += timedelta(seconds=pause)
        if chance.random() < 0.01:
            office.numbers = chance.choice(({ASHA: "1", BRUNO: "2"}, {BRUNO: "2"}, {ASHA: "2"}, {NOBODY: "1"}))
        office.is_broken = chance.random() < 0.01
        pressed = chance.choice(shown[-1:] * 3 + shown[-4:]) if shown and chance.random() < 0.25 else None
        heard = heard_at_random(chance, n, now, address, menus, memory)
        if pressed is not None:  # on the phone every list that was ever sent can be pressed
            choice = chance.choice(pressed.numbers)
            heard = Heard(id=n, at=now, address=address, text="A line", choice=choice, quoted_menu=pressed.menu)
        given = len(office.given_out)
        knew = model.may_be_told(now, is_on_file=office.numbers.get(address) is not None)
        memory, said = step(office, model, memory, heard, now, seen)
        if pressed is not None and said is not None:
            check_press(
                pressed, heard, said, office.given_out[given:], is_newest=pressed is shown[-1], knew=knew, seen=seen
            )
        menus.append(memory.menu)
        for one in said.answers if said else ():
            if one.offered:
                check_pressable(one, menu=bot.menu_name(n))
                numbers = tuple(each.number for each in one.offered)
                shown.append(Shown(bot.menu_name(n), numbers, memory.choices, memory.wish))
        if heard.consent == "opt_out" or (said and said.reason):
            shown.clear()  # what was shown before counts no longer; whether it is taken so, presses of unknown lists tell
        if said and chance.random() < 0.02:  # staff give the conversation back
            shown.clear()
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
    if heard.consent == "opt_out" or not (allowed or told or model.may_be_told(now, is_on_file=True)):
        model.proved_at = (
            None  # a number that is off the file for a while tells nothing meanwhile, and is no other person's
        )
    if not heard.provider_answered and said.outcome != "too_fast":
        model.spoke_at = now
    seen[f"{memory.step} → {said.memory.step}"] += 1
    seen[said.outcome] += 1
    seen["documents"] += len(office.given_out) - given
    kept = Memory.from_json(json.loads(json.dumps(said.memory.as_json())))
    assert kept == said.memory
    return kept, said


def check_press(
    pressed: Shown,
    heard: Heard,
    said: Reply,
    given: list[tuple[str, str]],
    *,
    is_newest: bool,
    knew: bool,
    seen: Counter[str],
) -> None:
    """A pressed line means what it says on the phone, or nothing: no old list's number is ever taken for a newer one's."""
    if said.outcome == "too_fast":
        return
    text = said.answers[0].text or ""
    if not is_newest:
        seen["old lists pressed"] += 1
        assert text.startswith(OLD_MENU), text[:80]
        assert not given
    elif knew and heard.choice in pressed.numbers[: len(pressed.policies)]:
        wanted = pressed.policies[int(heard.choice) - 1]
        seen["lines pressed"] += 1
        if pressed.wish == "documents":
            assert {policy_id for _, policy_id in given} <= {wanted}
            seen["documents by pressing"] += len(given)
        else:
            assert not given


def check_pressable(one: Answer, *, menu: str) -> None:
    """What is offered fits Twilio's shapes, and says exactly what is sent as text where it cannot be pressed."""
    found = pressable(one.text or "", one.offered, menu=menu)
    assert found is not None, one.text
    assert filled(found.content.body, found.values) == one.text
    (shape,) = found.content.types().values()
    lines = shape.get("items") or shape["actions"]
    assert 1 <= len(lines) <= (10 if "items" in shape else 3)
    ids = [found.values[line["id"].strip("{}")] for line in lines]
    assert ids == [f"{menu}:{each.number}" for each in one.offered]


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
        "old lists pressed",
        "lines pressed",
        "documents by pressing",
    ):
        assert seen[reached], f"the generator never came to {reached}"
    assert seen["documents"] > 100
