"""Fixtures for every test; each group has its own module."""

pytest_plugins = ["tests.postgres_fixtures", "tests.service_fixtures", "tests.browser_fixtures"]
