"""Fixtures for every test; each group has its own module."""

import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.postgres_fixtures", "tests.service_fixtures", "tests.browser_fixtures"]

# How long an example takes is the machine's affair. Where a change waits for the outcome everybody is asked the same.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=os.environ.get("CI") == "true"
)
settings.load_profile("house")

ZONES = (UTC, ZoneInfo("Europe/London"), ZoneInfo("America/New_York"))
LAST_OF_A_DAY = timedelta(seconds=20)


def pytest_runtest_setup() -> None:
    """A test that says "today" has one day from its beginning to its end: none begins just before midnight."""
    for zone in ZONES:
        now = datetime.now(zone)
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), zone)
        if (left := midnight - now) < LAST_OF_A_DAY:
            time.sleep(left.total_seconds() + 0.1)
