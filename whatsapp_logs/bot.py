"""The bot: what one message of a customer leads to, from what is remembered of them. Pure, but for what it asks the records.

Nothing personal is told before the customer has proved who they are in this very conversation; a number alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from whatsapp_logs import bot_words as words
from whatsapp_logs.message import MediaFile
from whatsapp_logs.records import PolicyFacts, Records

MOST_FAILURES = 3
_MINUTE = timedelta(minutes=1)
_MOST_TYPED = 60  # characters of a policy number or a detail that are looked at
_LETTER = 200  # characters from which a text is for a person, whatever words are in it
_MAIN = {"1": "policies", "2": "documents", "3": "renewals", "4": "person", "0": "menu"}
_WISHES = ("policies", "documents", "renewals")
_HANDED_OVER_BY_KIND = {"file": words.FILE, "location": words.LOCATION, "sticker": words.STICKER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How the bot behaves; from the settings."""

    identity_lasts: timedelta = timedelta(minutes=30)
    lock_lasts: timedelta = timedelta(hours=24)
    answers_per_minute: int = 10
    opening_hours: str = ""  # said when somebody asks for a person while the office is closed; empty = open now


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One message of a customer. `quoted_menu` is the menu that a pressed button or a reply belongs to, if it does to one.

    `consent` is opt_in or opt_out where the message says so; `provider_answered`: Twilio itself has answered STOP, START or HELP.
    """

    id: int
    at: datetime
    address: str
    text: str = ""
    kind: str = "text"
    choice: str = ""
    quoted_menu: str = ""
    consent: str | None = None
    provider_answered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One message to the customer: a text, or a document. `offered` may be pressed instead of typed, where that can be shown."""

    text: str | None = None
    file: MediaFile | None = None
    policy_id: str | None = None
    offered: tuple[words.Choice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of a customer. `step` is what the next message answers: menu, number, detail, list, policy or offer.

    `menu` names the last list of choices that was sent, `choices` the policies that its numbers stand for. `wish` is what was asked
    for before the customer had to prove who they are. `answered` are the times of the last minute's answers.
    """

    step: str = "menu"
    menu: str = ""
    choices: tuple[str, ...] = ()
    wish: str = ""
    policy: str = ""
    number: str = ""
    misunderstood: int = 0
    failures: int = 0
    locked_until: datetime | None = None
    client_id: str = ""
    identified_until: datetime | None = None
    answered: tuple[datetime, ...] = ()

    def is_identified(self, now: datetime) -> bool:
        """Whether the customer has proved who they are, lately enough."""
        return bool(self.client_id) and self.identified_until is not None and now < self.identified_until

    def as_json(self) -> dict[str, Any]:
        """For keeping."""
        found = {name: value for name, value in asdict(self).items() if value}
        return {name: _plain(value) for name, value in found.items()}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Memory:
        """What was kept; what another version kept and this one does not understand is forgotten."""
        known: dict[str, Any] = {}
        for field in fields(cls):
            value = kept.get(field.name)
            if value is None:
                continue
            if field.name in ("locked_until", "identified_until"):
                known[field.name] = datetime.fromisoformat(value)
            elif field.name == "answered":
                known[field.name] = tuple(datetime.fromisoformat(one) for one in value)
            else:
                known[field.name] = tuple(value) if field.name == "choices" else value
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a message leads to. `reason` (of `bot_words.REASONS`) says why a person is called; None where none is."""

    memory: Memory
    answers: tuple[Answer, ...] = ()
    reason: str | None = None
    outcome: str = "answered"


def reply(heard: Heard, memory: Memory, records: Records, *, manners: Manners, now: datetime) -> Reply:
    """What this message leads to."""
    memory = replace(memory, answered=tuple(at for at in memory.answered if now - at < _MINUTE))
    if heard.consent == "opt_out":
        return Reply(memory=Memory(failures=memory.failures, locked_until=memory.locked_until), outcome="stopped")
    if heard.provider_answered:
        return Reply(memory=memory)
    if len(memory.answered) >= manners.answers_per_minute:
        return Reply(memory=memory, reason="too_fast", outcome="too_fast")
    if memory.is_identified(now):  # half an hour of silence ends it
        memory = replace(memory, identified_until=now + manners.identity_lasts)
    elif memory.client_id:
        memory = replace(memory, client_id="", identified_until=None, policy="")
    said = _Turn(heard, memory, records, manners, now).take()
    return replace(said, memory=replace(said.memory, answered=(*memory.answered, *(now for _ in said.answers))))


class _Turn:
    """One message, looked at; every method that `take` ends in returns the reply."""

    def __init__(self, heard: Heard, memory: Memory, records: Records, manners: Manners, now: datetime) -> None:
        self.heard, self.memory, self.records, self.manners, self.now = heard, memory, records, manners, now
        self.asked = heard.choice or words.meant(heard.text)

    def take(self) -> Reply:
        if self.heard.kind in _HANDED_OVER_BY_KIND:
            return self._person(self.heard.kind, _HANDED_OVER_BY_KIND[self.heard.kind])
        if self.heard.consent == "opt_in":
            return self._menu(words.WELCOME_BACK)
        if self.heard.quoted_menu not in ("", self.memory.menu) and (self.asked or "").isdecimal():
            return self._shown_again(words.OLD_MENU)
        if len(self.heard.text) > _LETTER:
            return self._person("letter")
        if self.asked == "0" or self.asked == "menu":
            return self._menu()
        if self.asked == "person":
            return self._person("asked")
        if self.asked == "help":
            return self._said(words.HELP.format(office=self.records.office))
        if self.heard.choice and self.memory.choices and self.heard.quoted_menu == self.memory.menu:
            return self._take_from_list()  # one more line of the list that counts, which has been answered once
        steps: dict[str, Callable[[], Reply]] = {
            "number": self._take_number,
            "detail": self._take_detail,
            "list": self._take_from_list,
            "policy": self._take_for_policy,
            "offer": self._take_offer,
        }
        return steps.get(self.memory.step, self._take_from_menu)()

    # --- what the steps make of a message ---

    def _take_from_menu(self) -> Reply:
        wanted = _MAIN.get(self.asked or "", self.asked or "")
        if wanted == "person":
            return self._person("asked")
        if wanted in _WISHES:
            return self._wish(wanted)
        if wanted == "thanks":
            return self._said(words.THANKS)
        return self._not_understood()

    def _take_number(self) -> Reply:
        if self.asked == "4":
            return self._person("asked")
        typed = self.heard.text.strip()[:_MOST_TYPED]
        if not any(char.isdigit() for char in typed):
            return self._not_understood(words.NO_NUMBER)
        return self._keep(words.ASK_DETAIL, step="detail", number=typed, misunderstood=0)

    def _take_detail(self) -> Reply:
        if self.asked == "4":
            return self._person("asked")
        typed = self.heard.text.strip()[:_MOST_TYPED]
        found = self.records.identify(self.heard.address, policy_number=self.memory.number, detail=typed)
        if found is not None:
            self.memory = replace(
                self.memory, client_id=found, identified_until=self.now + self.manners.identity_lasts, failures=0,
                number="", step="menu", misunderstood=0,
            )  # fmt: skip
            return self._wish(self.memory.wish or "policies")
        failures = self.memory.failures + 1
        if failures < MOST_FAILURES:
            return self._keep(words.TRY_AGAIN, step="number", number="", failures=failures)
        self.memory = replace(
            self.memory, failures=0, number="", step="menu", locked_until=self.now + self.manners.lock_lasts
        )
        return self._person("locked", words.LOCKED)

    def _take_from_list(self) -> Reply:
        if not self.memory.is_identified(self.now):
            return self._wish(self.memory.wish or "policies")
        policy = self._chosen()
        if policy is not None:
            if self.memory.wish == "documents":
                return self._document(policy)
            return self._keep(
                words.one_policy(policy), step="policy", policy=policy.id, choices=(), is_menu=True,
                offered=words.ONE_POLICY,
            )  # fmt: skip
        if self.asked in _WISHES:
            return self._wish(str(self.asked))
        return self._thanked_or_lost()

    def _take_for_policy(self) -> Reply:
        if not self.memory.is_identified(self.now):
            return self._wish("policies")
        if self.asked in ("1", "documents"):
            policy = next((one for one in self._policies() if one.id == self.memory.policy), None)
            return self._document(policy) if policy else self._wish("documents")
        if self.asked in ("2", "policies"):
            return self._wish("policies")
        if self.asked in ("3", "renewals"):
            return self._wish("renewals")
        if self.asked == "4":
            return self._person("asked")
        return self._thanked_or_lost()

    def _take_offer(self) -> Reply:
        if self.asked == "1" or self.heard.text.strip().casefold() in ("yes", "yes please", "yes, please"):
            return self._person("not_understood")
        self.memory = replace(self.memory, step="menu")
        return self._take_from_menu()

    # --- what a customer may want ---

    def _wish(self, wish: str) -> Reply:
        """Policies, documents or renewal dates: for whoever has proved who they are."""
        if not self.memory.is_identified(self.now):
            return self._ask_who(wish)
        found = self._policies()
        if not found:
            return self._person("no_policies", words.NO_POLICIES)
        if wish == "renewals":
            return self._keep(
                words.renewal_dates(found), step="menu", wish="", choices=(), misunderstood=0, is_menu=True,
                offered=words.AFTER_DATES,
            )  # fmt: skip
        if wish == "documents" and len(found) == 1:
            return self._document(found[0])
        question = "Of which one shall we send the document?" if wish == "documents" else "Which one is it about?"
        return self._keep(
            words.policy_list(found, question=question), step="list", wish=wish, policy="", misunderstood=0,
            choices=tuple(one.id for one in found[: words.MOST_LISTED]), is_menu=True, offered=words.listed(found),
        )  # fmt: skip

    def _ask_who(self, wish: str) -> Reply:
        if self.memory.locked_until is not None and self.now < self.memory.locked_until:
            return self._person("locked", words.STILL_LOCKED)
        return self._keep(
            words.ASK_NUMBER,
            step="number",
            wish=wish,
            number="",
            choices=(),
            menu="",
            misunderstood=0,
            locked_until=None,
        )

    def _document(self, policy: PolicyFacts) -> Reply:
        assert self.memory.is_identified(self.now), "no document for somebody unknown"
        file = self.records.document(self.memory.client_id, policy.id, address=self.heard.address)
        if file is None:
            return self._person("no_document", words.NO_DOCUMENT)
        memory = replace(self.memory, step="menu", policy="", misunderstood=0)  # its list may be pressed once more
        announced = Answer(text=words.HERE_IT_IS.format(number=policy.number), policy_id=policy.id)
        return Reply(memory=memory, answers=(announced, Answer(file=file, policy_id=policy.id)))

    def _person(self, reason: str, text: str | None = None) -> Reply:
        """A person takes over; identity is kept, so that nobody has to prove it twice."""
        hours = self.manners.opening_hours
        said = words.PERSON_LATER.format(hours=hours) if hours else words.PERSON_NOW
        if text is not None:
            said = f"{text} Our office is open {hours}." if hours else text
        memory = replace(self.memory, step="menu", wish="", policy="", number="", choices=(), misunderstood=0, menu="")
        return Reply(memory=memory, answers=(Answer(text=said),), reason=reason, outcome="handed_over")

    # --- saying things ---

    def _menu(self, before: str = "") -> Reply:
        text = f"{before}\n\n{words.menu(self.records.office)}" if before else words.menu(self.records.office)
        return self._keep(text, step="menu", wish="", policy="", number="", choices=(), misunderstood=0, is_menu=True,
                          offered=words.MENU)  # fmt: skip

    def _shown_again(self, before: str) -> Reply:
        """The question that is open, once more."""
        if self.memory.step in ("list", "policy") and self.memory.is_identified(self.now):
            again = self._wish(self.memory.wish or "policies")
            return replace(
                again,
                answers=(replace(again.answers[0], text=f"{before}\n\n{again.answers[0].text}"), *again.answers[1:]),
            )
        if self.memory.step == "number":
            return self._said(f"{before}\n\n{words.ASK_NUMBER}")
        if self.memory.step == "detail":
            return self._said(f"{before}\n\n{words.ASK_DETAIL}")
        return self._menu(before)

    def _thanked_or_lost(self) -> Reply:
        return self._said(words.THANKS) if self.asked == "thanks" else self._not_understood()

    def _not_understood(self, hint: str | None = None) -> Reply:
        """Once: what was asked, again. Twice in a row: a person is offered."""
        if self.memory.misunderstood:
            return self._keep(
                words.OFFER, step="offer", choices=(), number="", misunderstood=0, is_menu=True, offered=words.YES_OR_NO,
            )  # fmt: skip
        self.memory = replace(self.memory, misunderstood=1)
        if hint is not None:
            return self._said(hint)
        shown = self._shown_again(words.NOT_UNDERSTOOD)
        return replace(shown, memory=replace(shown.memory, misunderstood=1))

    def _said(self, text: str) -> Reply:
        return Reply(memory=self.memory, answers=(Answer(text=text),))

    def _keep(
        self, text: str, *, is_menu: bool = False, offered: tuple[words.Choice, ...] = (), **changes: Any
    ) -> Reply:
        """Say this, and remember that. A list of choices gets a name of its own, by which answers to older ones are known."""
        if is_menu:
            changes["menu"] = menu_name(self.heard.id)
        return Reply(memory=replace(self.memory, **changes), answers=(Answer(text=text, offered=offered),))

    # --- the records, asked for somebody who is known ---

    def _policies(self) -> Sequence[PolicyFacts]:
        if not self.memory.is_identified(self.now):
            return ()
        return self.records.policies(self.memory.client_id, address=self.heard.address)

    def _chosen(self) -> PolicyFacts | None:
        """The policy that a number of the last list stands for. The list is kept: records may have changed since it was sent."""
        asked = self.asked or ""
        if not asked.isdecimal() or not 1 <= int(asked) <= len(self.memory.choices):
            return None
        wanted = self.memory.choices[int(asked) - 1]
        return next((one for one in self._policies() if one.id == wanted), None)


def menu_name(message_id: int) -> str:
    """The name of the list that was sent as the answer to this message."""
    return f"m{message_id}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
