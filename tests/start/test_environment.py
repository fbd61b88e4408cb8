"""What each process gets, and what never changes behind a user's back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portal.config import PortalConfig
from portal.start.environment import CannotStart, Place, Ports, choose_ports
from whatsapp_logs.config import Config

ROOT = Path(__file__).parents[2]
PORTS = Ports(8800, 8801)
DSN = "postgresql://somebody@/somewhere"
TWILIO = {
    "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_AUTH_TOKEN": "2" * 32,
    "TWILIO_WHATSAPP_FROM": "whatsapp:+447700900001",
    "PUBLIC_BASE_URL": "https://portal.example.test",
}


def test_with_nothing_given_the_configuration_is_whole_and_simulated(tmp_path: Path) -> None:
    config = Config.from_env(place(tmp_path).environment(PORTS, database_url=DSN))
    assert config.simulated
    assert config.twilio_api_base_url == "http://127.0.0.1:8801"
    assert config.public_base_url == "http://127.0.0.1:8800"
    assert set(config.templates) >= {"policy_document", "renewal_reminder"}


def test_secrets_stay_the_same_after_a_restart(tmp_path: Path) -> None:
    first = place(tmp_path).environment(PORTS, database_url=DSN)
    assert place(tmp_path).environment(PORTS, database_url=DSN) == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_two_installations_have_different_secrets(tmp_path: Path) -> None:
    first, second = (place(tmp_path / name).environment(PORTS, database_url=DSN) for name in ("a", "b"))
    for name in ("SECRET_KEY", "TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID"):
        assert first[name] != second[name]


def test_only_the_demo_asks_nobody_for_a_second_factor(tmp_path: Path) -> None:
    def asked(**settings: str) -> str:
        return PortalConfig.from_env(
            place(tmp_path, **settings).environment(PORTS, database_url=DSN)
        ).require_second_factor

    assert asked() == "nobody"
    assert asked(REQUIRE_SECOND_FACTOR="everyone") == "everyone"
    assert asked(DATABASE_URL=DSN) == asked(**TWILIO) == "administrators"


def test_half_written_secrets_are_made_anew(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"secret_')
    Config.from_env(place(tmp_path).environment(PORTS, database_url=DSN))


def test_given_twilio_settings_are_used_and_nothing_is_simulated(tmp_path: Path) -> None:
    config = Config.from_env(place(tmp_path, **TWILIO).environment(PORTS, database_url=DSN))
    assert not config.simulated
    assert config.twilio_account_sid == TWILIO["TWILIO_ACCOUNT_SID"]
    assert config.public_base_url == TWILIO["PUBLIC_BASE_URL"]


def test_a_simulated_portal_never_uses_the_address_of_the_real_one(tmp_path: Path) -> None:
    without_account = {name: value for name, value in TWILIO.items() if name != "TWILIO_ACCOUNT_SID"}
    without_account["TWILIO_AUTH_TOKEN"] = ""
    config = Config.from_env(place(tmp_path, **without_account).environment(PORTS, database_url=DSN))
    assert config.simulated
    assert config.public_base_url == "http://127.0.0.1:8800"


def test_empty_lines_of_an_env_file_count_as_not_given(tmp_path: Path) -> None:
    empty = dict.fromkeys(("DATABASE_URL", "SECRET_KEY", "TWILIO_ACCOUNT_SID", "PORT", "DISPLAY_TIMEZONE"), "")
    Config.from_env(place(tmp_path, **empty).environment(PORTS, database_url=DSN))


@pytest.mark.parametrize("text", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CannotStart, match="PORT is"):
        choose_ports(place(tmp_path, PORT=text))


def test_every_setting_of_the_example_is_one_that_is_read() -> None:
    program = "".join(
        path.read_text() for folder in ("portal", "whatsapp_logs") for path in (ROOT / folder).rglob("*.py")
    )
    names = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert names
    for name in names:
        assert name in program or name.startswith("TWILIO_TEMPLATE_"), name


def test_pins_of_the_portal_and_of_the_tests_do_not_contradict_each_other() -> None:
    dev = pins("dev")
    for smaller in ("runtime", "portal"):
        assert pins(smaller).items() <= dev.items()


def test_pins_name_no_index_and_every_one_has_hashes() -> None:
    for name in ("bootstrap", "runtime", "portal", "dev", "audit"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert "://" not in text
        assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\S)", text))


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE))


def place(data_dir: Path, **given: str) -> Place:
    return Place.from_env({"DATA_DIR": str(data_dir), **given})
