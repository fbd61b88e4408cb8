"""The doctor names the sick part and its cure, and one sick part hides no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.start.processes import PATIENCE_S
from whatsapp_logs import Config
from whatsapp_logs.doctor import Finding, examine


@pytest.fixture
def stranger(dsn: str) -> Iterator[str]:
    """The test's database as somebody who may look at none of our tables."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("CREATE ROLE doctors_stranger LOGIN")
        yield make_conninfo(dsn, user="doctors_stranger")
        conn.execute("DROP ROLE doctors_stranger")


def sick(config: Config) -> dict[str, str]:
    findings: list[Finding] = examine(replace(config, pool_timeout_s=0.5))
    return {finding.part: finding.words for finding in findings if not finding.is_well}


def test_a_healthy_house_lacks_only_the_worker_that_nobody_started(config: Config, live: str) -> None:
    found = sick(config)
    assert found.keys() == {"worker"}
    assert "No worker runs" in found["worker"]


def test_with_a_worker_the_callbacks_whole_way_is_tried(config: Config, live: str, worker: None) -> None:
    assert sick(config) == {}


def test_a_database_that_cannot_be_reached_is_said_once_with_the_reason(config: Config, dsn: str, live: str) -> None:
    away = replace(config, database_url=make_conninfo(dsn, dbname="no_such_database"))
    findings = examine(away)
    assert [(finding.part, finding.is_well) for finding in findings] == [("database", False), ("twilio", True)]
    assert 'database "no_such_database" does not exist' in findings[0].words


def test_a_wrong_host_is_said_in_one_sentence_within_seconds() -> None:
    env = {
        **os.environ,
        "DATABASE_URL": "postgresql://portal@no-such-host.invalid/portal?sslmode=require",
        "SECRET_KEY": "k" * 32,
    }
    env |= {"TWILIO_ACCOUNT_SID": "", "TWILIO_AUTH_TOKEN": "", "TWILIO_WHATSAPP_FROM": ""}
    command = [sys.executable, "-m", "whatsapp_logs", "doctor"]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 1
    assert ran.stdout.count("BAD") == 2  # the database, and Twilio without credentials
    assert "no-such-host.invalid" in ran.stdout
    assert ran.stderr == ""


def test_a_login_that_may_not_see_the_tables_hides_no_other_part(config: Config, stranger: str, live: str) -> None:
    found = sick(replace(config, database_url=stranger))
    assert "permission denied" in found["schema"]
    assert "clock" not in found or "permission denied" in found["clock"]
    assert "twilio" not in found


def test_wrong_credentials_and_a_stranger_at_the_public_address_are_told_apart(config: Config) -> None:
    found = sick(replace(config, twilio_auth_token="wrong", public_base_url=config.twilio_api_base_url))
    assert "credentials" in found["twilio"]
    assert "not as this program does" in found["callbacks"]
