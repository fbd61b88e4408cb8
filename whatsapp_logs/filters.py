"""What a list shows and where it stands: from a query string and back to one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.message import Status

# The first portal's query names still answer; the value "all" (or nothing) meant no filter.
_OLD_NAMES = {"status": "status_filter", "type": "message_type_filter"}
_UTC = ZoneInfo("UTC")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages a list shows. Days are calendar days of `zone`, the last one included; empty means everything.

    `phone` is any part of a number as digits, or a whole WhatsApp user id; it never stands in a URL.
    """

    statuses: tuple[Status, ...] = ()
    types: tuple[str, ...] = ()
    phone: str = ""
    date_from: date | None = None
    date_to: date | None = None
    client_id: str = ""
    policy_id: str = ""
    error_code: str = ""
    campaign_id: str = ""
    direction: str = "outbound"
    zone: ZoneInfo = _UTC

    @property
    def since(self) -> datetime | None:
        """The first moment shown, aware UTC."""
        return None if self.date_from is None else _midnight(self.date_from, self.zone)

    @property
    def until(self) -> datetime | None:
        """The first moment no longer shown, aware UTC."""
        return None if self.date_to is None else _midnight(self.date_to + timedelta(days=1), self.zone)

    @property
    def is_empty(self) -> bool:
        """Whether every outgoing message is shown."""
        return self == MessageFilter(zone=self.zone)

    @property
    def is_counted(self) -> bool:
        """Whether the rolled-up counts know the exact number of rows."""
        return self == MessageFilter(statuses=self.statuses, types=self.types, direction=self.direction, zone=self.zone)

    @property
    def is_counted_by_day(self) -> bool:
        """Whether the daily counts know the number of rows, but for the parts of a day at either end."""
        return replace(self, date_from=None, date_to=None).is_counted

    def only(self, *statuses: Status) -> MessageFilter:
        """The same list, of these statuses."""
        return replace(self, statuses=statuses)

    def to_query(self) -> list[tuple[str, str]]:
        """The filter as query parameters, without the phone."""
        pairs = [("status", status.value) for status in self.statuses]
        pairs += [("type", name) for name in self.types]
        for name, day in (("date_from", self.date_from), ("date_to", self.date_to)):
            if day is not None:
                pairs.append((name, day.isoformat()))
        named = (("client", self.client_id), ("policy", self.policy_id), ("error_code", self.error_code))
        for name, text in (*named, ("campaign", self.campaign_id)):
            if text:
                pairs.append((name, text))
        if self.direction != "outbound":
            pairs.append(("direction", self.direction))
        return pairs

    @classmethod
    def from_query(cls, query: Mapping[str, Sequence[str]], *, zone: ZoneInfo, phone: str = "") -> MessageFilter:
        """Read a filter from `query` (name → all its values); raises InvalidInput naming the parameter."""
        wanted = cls(
            statuses=_statuses(_values(query, "status")),
            types=tuple(dict.fromkeys(_word("type", value) for value in _values(query, "type"))),
            phone=phone,
            date_from=_day(query, "date_from"),
            date_to=_day(query, "date_to"),
            client_id=_one(query, "client"),
            policy_id=_one(query, "policy"),
            error_code=_one(query, "error_code"),
            campaign_id=_number(query, "campaign"),
            direction=_direction(_one(query, "direction")),
            zone=zone,
        )
        if wanted.date_from and wanted.date_to and wanted.date_from > wanted.date_to:
            raise InvalidInput("date_to", "The last day is before the first.")
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The clients and policies that a portal knows by somebody's words, the likeliest first; ids in its key types or as text."""

    client_ids: Sequence[str | int] = ()
    policy_ids: Sequence[str | int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceField:
    """A question by which a portal chooses recipients. `choices` are values with their words; without them it is a number."""

    name: str
    label: str
    choices: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """Somebody whom a portal has chosen: their number, the portal's ids, and what a template may say of them, by name."""

    to: str
    client_id: str | int | None = None
    policy_id: str | int | None = None
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Whom a portal can choose by itself: the questions, and whoever fits their answers. An answer left out asks nothing."""

    fields: Sequence[AudienceField]
    find: Callable[[Mapping[str, str]], Iterable[Addressee]]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list: after the message of that creation time and id (newest first)."""

    created_at: datetime
    id: int

    def encode(self) -> str:
        """The cursor as one URL-safe word: microseconds since 1970, a dash, the id."""
        return f"{(self.created_at - _EPOCH) // timedelta(microseconds=1)}-{self.id}"

    @classmethod
    def decode(cls, text: str, *, field: str = "before") -> Cursor:
        """The cursor of a word made by `encode`; raises InvalidInput for any other."""
        match = re.fullmatch(r"(\d{1,17})-(\d{1,19})", text, re.ASCII)
        if not match or int(match[2]) > _MAX_ID:
            raise InvalidInput(field, "This page address is damaged. Go back to the first page.")
        try:
            return cls(_EPOCH + timedelta(microseconds=int(match[1])), int(match[2]))
        except OverflowError as error:
            raise InvalidInput(field, "This page address is damaged. Go back to the first page.") from error


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def _values(query: Mapping[str, Sequence[str]], name: str) -> list[str]:
    found = [*query.get(name, ()), *query.get(_OLD_NAMES.get(name, ""), ())]
    return [value.strip() for value in found if value.strip() and value.strip().lower() != "all"]


def _one(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = _values(query, name)
    return _word(name, values[0]) if values else ""


def _number(query: Mapping[str, Sequence[str]], name: str) -> str:
    value = _one(query, name)
    if value and not (value.isascii() and value.isdigit() and int(value) <= _MAX_ID):
        raise InvalidInput(name, f"There is no {name} “{value[:40]}”.")
    return value


def _word(name: str, value: str) -> str:
    if not _WORD.fullmatch(value):
        raise InvalidInput(name, f"“{value[:40]}” cannot be searched for here.")
    return value


def _statuses(words: Iterable[str]) -> tuple[Status, ...]:
    found = []
    for word in words:
        status = Status.from_provider(word)
        if status is None:
            raise InvalidInput("status", f"“{word[:40]}” is not a status. Statuses are: {', '.join(Status)}.")
        found.append(status)
    return tuple(sorted(set(found), key=lambda status: status.rank))


def _day(query: Mapping[str, Sequence[str]], name: str) -> date | None:
    values = _values(query, name)
    if not values:
        return None
    try:
        day = date.fromisoformat(values[0][:10] if "T" in values[0] else values[0])
    except ValueError as error:
        raise InvalidInput(name, f"“{values[0][:40]}” is not a day. Write it like 2026-11-23.") from error
    if not 1970 <= day.year <= 9000:
        raise InvalidInput(name, "Choose a day between 1970 and 9000.")
    return day


def _direction(word: str) -> str:
    if word not in ("", "outbound", "inbound"):
        raise InvalidInput("direction", "A direction is outbound or inbound.")
    return word or "outbound"
