"""Fixtures: `target`, the portal with its invented office, one per module of this package, to be attacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.security.target import Target, opened


@pytest.fixture(scope="module")
def target(new_database: Callable[[], str]) -> Iterator[Target]:
    with opened(new_database()) as portal:
        yield portal
