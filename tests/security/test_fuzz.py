"""A short run of `./run fuzz`: calls that nobody of ours would make are answered, and change nothing."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.security import fuzz
from tests.security.target import Target, checksums

INPUTS = 1_500


def test_fault_23_whatever_is_asked_is_answered_and_changes_nothing_unsigned(
    new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whatsapp_logs.web.api._WAIT_FOR_RUN_S", 0.0)  # nobody works here: a run's end would never come
    outcome = fuzz.attack(new_database(), inputs=INPUTS, seed="suite")
    assert outcome.wrong == []
    assert outcome.inputs == INPUTS
    # Each kind of answer was met: what is always refused at the door tests nothing behind it.
    assert {200, 204, 303, 400, 401, 403, 404, 405, 413} <= set(outcome.statuses)


def test_the_fuzz_sees_a_row_that_has_changed(target: Target) -> None:
    before = checksums(target.dsn)
    assert checksums(target.dsn) == before
    with psycopg.connect(target.dsn) as conn:
        conn.execute("UPDATE clients SET email = 'x@example.test' WHERE client_id = 7")
    after = checksums(target.dsn)
    assert [table for table in before if before[table] != after[table]] == ["public.clients"]
