"""All problems of a configuration at once, in words; secrets stay out of sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from whatsapp_logs import Config
from whatsapp_logs.config import with_files
from whatsapp_logs.errors import ConfigError

GOOD = {
    "DATABASE_URL": "postgresql://portal:s3cret@db.example.test:5432/portal?sslmode=verify-full",
    "SECRET_KEY": "a-long-and-random-secret",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "token-not-shown",
    "TWILIO_WHATSAPP_FROM": "whatsapp:+15550100100",
    "PUBLIC_BASE_URL": "https://portal.example.test/office",
}


def test_the_specifications_names_are_enough() -> None:
    config = Config.from_env(GOOD)
    assert config.twilio_configured
    assert not config.simulated
    assert config.sender == "+15550100100"


def test_every_problem_is_told_at_once() -> None:
    wrong = {
        "SECRET_KEY": "short",
        "TWILIO_ACCOUNT_SID": "AB123",
        "TWILIO_WHATSAPP_FROM": "447700900000",
        "PUBLIC_BASE_URL": "https://my_portal.example.test",
        "DISPLAY_TIMEZONE": "Mars/Olympus",
        "DEFAULT_REGION": "Atlantis",
        "DATABASE_POOL_SIZE": "many",
        "TWILIO_TIMEOUT_S": "²",
        "TWILIO_TEMPLATE_POLICY_DOCUMENT": "policy",
    }
    with pytest.raises(ConfigError) as told:
        Config.from_env(wrong)
    text = str(told.value)
    for name in [*wrong, "DATABASE_URL", "TWILIO_AUTH_TOKEN"]:
        assert name in text, name
    assert len(told.value.problems) == 11


def test_no_twilio_at_all_is_a_log_that_can_be_read() -> None:
    config = Config.from_env({name: value for name, value in GOOD.items() if not name.startswith("TWILIO_")})
    assert not config.twilio_configured


def test_fault_26_real_twilio_cannot_call_this_machine_back() -> None:
    with pytest.raises(ConfigError, match="PUBLIC_BASE_URL"):
        Config.from_env(GOOD | {"PUBLIC_BASE_URL": "http://localhost:8800"})


def test_real_twilio_is_called_and_calls_back_by_https_only() -> None:
    with pytest.raises(ConfigError, match="PUBLIC_BASE_URL is not https"):
        Config.from_env(GOOD | {"PUBLIC_BASE_URL": "http://portal.example.test"})


def test_supabases_transaction_pooler_is_recognised_by_its_port() -> None:
    pooler = GOOD | {"DATABASE_URL": "postgresql://portal:s3cret@pooler.example.test:6543/portal?sslmode=require"}
    assert Config.from_env(pooler).transaction_pooler
    assert not Config.from_env(GOOD).transaction_pooler


def test_secrets_are_not_in_the_text_of_a_config() -> None:
    text = repr(Config.from_env(GOOD))
    assert "s3cret" not in text
    assert "token-not-shown" not in text
    assert GOOD["SECRET_KEY"] not in text


def test_templates_are_named_after_their_setting() -> None:
    sid = "HX" + "1" * 32
    assert Config.from_env(GOOD | {"TWILIO_TEMPLATE_RENEWAL_REMINDER": sid}).templates == {"renewal_reminder": sid}


def test_whose_agreement_is_needed_is_one_of_three_words() -> None:
    assert Config.from_env(GOOD).consent_required == "marketing"
    assert Config.from_env(GOOD | {"CONSENT_REQUIRED": "Always"}).consent_required == "always"
    assert Config.from_env(GOOD | {"MARKETING_NEEDS_OPT_IN": "off"}).consent_required == "none"
    with pytest.raises(ConfigError, match="write marketing, always or none"):
        Config.from_env(GOOD | {"CONSENT_REQUIRED": "sometimes"})


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("test-token-of-a-file\n")
    named = {"TWILIO_AUTH_TOKEN_FILE": str(file)}
    assert with_files(named)["TWILIO_AUTH_TOKEN"] == "test-token-of-a-file"
    assert with_files(named | {"TWILIO_AUTH_TOKEN": "given"})["TWILIO_AUTH_TOKEN"] == "given"


def test_a_file_that_cannot_be_read_is_named_without_its_content(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SECRET_KEY_FILE cannot be read: .*nowhere: No such file"):
        with_files({"SECRET_KEY_FILE": str(tmp_path / "nowhere")})


UNENCRYPTED = ["", "?sslmode=prefer", "?sslmode=allow", "?host=192.0.2.1", "?hostaddr=192.0.2.1"]


@pytest.mark.parametrize("rest", UNENCRYPTED)
@pytest.mark.parametrize("name", ["DATABASE_URL", "WORKER_DATABASE_URL", "MIGRATION_DATABASE_URL"])
def test_a_database_elsewhere_is_not_asked_in_the_open_unless_somebody_says_so(name: str, rest: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} leads to another machine.*sslmode=require") as told:
        Config.from_env(GOOD | {name: f"postgresql://portal:s3cret@db.example.test:5432/portal{rest}"})
    assert len(told.value.problems) == 1
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("address", [
    "postgresql://u@db.example.test/x?sslmode=require", "postgresql://u@db.example.test/x?sslmode=disable",
    "host=db.example.test sslmode=verify-ca", "postgresql:///x", "postgresql://u@/x?host=%2Frun%2Fpostgresql",
    "host=@abstract dbname=x", "postgresql://u@localhost/x", "postgresql://u@127.0.0.1/x", "postgresql://u@[::1]/x",
    "host=localhost,127.0.0.2 dbname=x",
    "postgresql://u@db.example.test/x?hostaddr=127.0.0.1", "service=office",
])  # fmt: skip
def test_what_is_encrypted_or_stays_on_this_machine_or_was_decided_is_taken(address: str) -> None:
    assert Config.from_env(GOOD | {"DATABASE_URL": address}).database_url == address


@pytest.mark.parametrize("address", ["host=localhost,db.example.test", "host=db.example.test dbname=x"])
def test_one_machine_elsewhere_is_enough_to_ask(address: str) -> None:
    with pytest.raises(ConfigError, match="leads to another machine"):
        Config.from_env(GOOD | {"DATABASE_URL": address})


def test_the_environment_of_libpq_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.test")
    with pytest.raises(ConfigError, match="leads to another machine"):
        Config.from_env(GOOD | {"DATABASE_URL": "postgresql:///portal"})
    monkeypatch.setenv("PGSSLMODE", "require")
    Config.from_env(GOOD | {"DATABASE_URL": "postgresql:///portal"})
