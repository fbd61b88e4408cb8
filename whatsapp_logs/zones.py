"""Which time it is for somebody, as far as their telephone number tells: the zones of its country."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import phonenumbers

from whatsapp_logs.errors import InvalidInput


def of_number(address: str) -> tuple[ZoneInfo, ...]:
    """The zones in which the owner of this number may live; none for what tells no country."""
    try:
        number = phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        return ()
    region = phonenumbers.region_code_for_number(number) or phonenumbers.region_code_for_country_code(
        number.country_code or 0
    )
    return _by_country().get(region or "", ())


def named(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises InvalidInput."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput("timezone", f"{name!r} is not a time zone: write one like Europe/London.") from error


def likeliest(address: str, *, office: ZoneInfo, now: datetime) -> ZoneInfo:
    """One zone for the owner of this number: the office's where it can be, else the one whose time most of the country has."""
    zones = of_number(address)
    if not zones or office.key in {zone.key for zone in zones}:
        return office
    offsets = Counter(now.astimezone(zone).utcoffset() for zone in zones)
    return max(zones, key=lambda zone: offsets[now.astimezone(zone).utcoffset()])


def moment(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """When it is that time there, in UTC: of a time that comes twice the first; for one that is left out, when clocks go on."""
    written = datetime.combine(day, clock.replace(tzinfo=None))
    first, second = (written.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(zone).replace(tzinfo=None) == written:
        return first
    # Left out: with the offset of before, it is read as too late; with that of after, as too early. Clocks jump in between.
    early, late = second, first
    offset = early.astimezone(zone).utcoffset()
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        early, late = (middle, late) if middle.astimezone(zone).utcoffset() == offset else (early, middle)
    return late.replace(microsecond=0)


def night_until(zones: tuple[ZoneInfo, ...], now: datetime, *, begins: time, ends: time) -> datetime | None:
    """When it is day in all of these zones, if it is night in one of them now; None by day. `begins` to `ends` spans midnight."""
    at = now
    for _ in range(
        1 + len(zones)
    ):  # each step ends one zone's night; a country whose zones lie 12 h apart has no day for all
        waking = [ends_at for zone in zones if (ends_at := _night_ends(zone, at, begins=begins, ends=ends)) is not None]
        if not waking:
            break
        at = max(waking)
    return None if at == now else at


def _night_ends(zone: ZoneInfo, at: datetime, *, begins: time, ends: time) -> datetime | None:
    local = at.astimezone(zone)
    clock = local.time()
    is_night = clock >= begins or clock < ends if begins > ends else begins <= clock < ends
    if not is_night:
        return None
    day = local.date() if clock < ends else local.date() + timedelta(days=1)
    return datetime.combine(day, ends, tzinfo=zone).astimezone(at.tzinfo)


@cache
def _by_country() -> dict[str, tuple[ZoneInfo, ...]]:
    """tzdata's zone.tab: country, place, zone."""
    found: dict[str, list[ZoneInfo]] = defaultdict(list)
    table = resources.files("tzdata").joinpath("zoneinfo/zone.tab").read_text("utf-8")
    for line in table.splitlines():
        if not line.startswith("#"):
            country, _place, name, *_ = line.split("\t")
            found[country].append(ZoneInfo(name))
    return {country: tuple(zones) for country, zones in found.items()}
