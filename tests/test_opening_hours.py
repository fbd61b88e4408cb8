"""When the office is open, and how a setting says it."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from whatsapp_logs import Config
from whatsapp_logs.errors import ConfigError
from whatsapp_logs.opening_hours import in_words, is_open, read
from whatsapp_logs.records import load

LONDON = ZoneInfo("Europe/London")
ENV = {"DATABASE_URL": "postgresql://127.0.0.1/x", "SECRET_KEY": "a secret key for tests only"}


@pytest.mark.parametrize(
    ("day", "clock", "there"),
    [
        (25, "09:00", True),
        (25, "17:29", True),
        (25, "17:30", False),
        (25, "08:59", False),
        (28, "10:00", True),
        (28, "13:00", False),
        (29, "10:00", False),
    ],
)
def test_open_and_closed(day: int, clock: str, there: bool) -> None:
    hours, minutes = clock.split(":")
    moment = datetime(2026, 11, day, int(hours), int(minutes), tzinfo=LONDON)
    assert is_open(read("Mon-Fri 09:00-17:30; Sat 9:00-12:00"), moment) == there


def test_a_week_may_go_round_its_end_and_nothing_means_always() -> None:
    assert is_open(read("Sun-Thu 09:00-17:00"), datetime(2026, 11, 29, 10, tzinfo=LONDON))
    assert not is_open(read("Sun-Thu 09:00-17:00"), datetime(2026, 11, 27, 10, tzinfo=LONDON))
    assert is_open((), datetime(2026, 11, 29, 3, tzinfo=LONDON))


def test_in_words() -> None:
    said = "Monday to Friday, 9:00 to 17:30 and Saturday, 9:00 to 12:00"
    assert in_words(read("mon-fri 09:00-17:30, Saturday 9:00-12:00")) == said


def test_settings_of_the_bot() -> None:
    env = {"RECORDS": "portal.records:make", "OFFICE_HOURS": "Mon-Fri 09:00-17:30", "BOT_SILENT_HOURS": "4"}
    config = Config.from_env(ENV | env)
    assert (config.records, config.bot_silent_hours, len(config.office_hours)) == ("portal.records:make", 4, 1)
    assert Config.from_env(ENV | {"RECORDS": "none", "OFFICE_HOURS": "none"}).records == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"OFFICE_HOURS": "always"},
        {"OFFICE_HOURS": "Mon-Fri 17:00-09:00"},
        {"OFFICE_HOURS": "Xyz 09:00-17:00"},
        {"OFFICE_HOURS": "Mon 25:00-26:00"},
        {"RECORDS": "portal.records"},
        {"RECORDS": "os:system('x')"},
        {"BOT_ANSWERS_PER_MINUTE": "0"},
    ],
)
def test_settings_that_cannot_be_are_told_by_their_name(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Config.from_env(ENV | wrong)


def test_records_that_are_not_there_are_told(config: Config) -> None:
    for path in ("no.such:make", "portal.records:nothing"):
        with pytest.raises(ConfigError, match="RECORDS"):
            load(path)
