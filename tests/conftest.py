"""Fixtures for every test; each group has its own module."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.postgres_fixtures", "tests.service_fixtures", "tests.browser_fixtures"]

# How long an example takes is the machine's affair. Where a change waits for the outcome everybody is asked the same.
settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=os.environ.get("CI") == "true"
)
settings.load_profile("house")
