"""Every setting: its name in the environment, its unit, its default. All problems are reported together, in words."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import phonenumbers

from whatsapp_logs import database_address, opening_hours
from whatsapp_logs.errors import ConfigError
from whatsapp_logs.opening_hours import Span

TWILIO_API = "https://api.twilio.com"
TWILIO_CONTENT = "https://content.twilio.com"  # where Twilio keeps templates
_TRANSACTION_POOLER_PORT = 6543  # Supabase's transaction pooler: no prepared statements, no session settings
_TEMPLATE_PREFIX = "TWILIO_TEMPLATE_"
_SID_LENGTH = 34

# The rules of the gate that an office with checks of its own may leave out. Consent is none of them.
GATE_RULES = frozenset({"window", "template", "variables", "duplicate", "frequency", "quiet_hours", "sender_limit"})

# For which messages an agreement has to be in the ledger of consent: advertising, everything that we begin, nothing.
CONSENT_REQUIRED = ("marketing", "always", "none")

# Settings that may stand in a file of their own, as Docker, Kubernetes and systemd hand secrets over.
SECRETS = (
    "DATABASE_URL",
    "MIGRATION_DATABASE_URL",
    "WORKER_DATABASE_URL",
    "SECRET_KEY",
    "PREVIOUS_SECRET_KEY",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "TWILIO_SECONDARY_AUTH_TOKEN",
    "TWILIO_WEBHOOK_KEY",
    "OIDC_CLIENT_SECRET",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one process. Secrets never appear in its `repr`.

    `twilio_*` are all given or all empty: without them the log is readable but nothing can be sent or refreshed.
    `templates` maps a name ("policy_document") to its Twilio Content SID; times are seconds.
    """

    database_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    previous_secret_key: str = field(default="", repr=False)
    worker_database_url: str = field(default="", repr=False)
    twilio_account_sid: str = ""
    twilio_auth_token: str = field(default="", repr=False)
    twilio_secondary_auth_token: str = field(default="", repr=False)
    twilio_webhook_key: str = field(default="", repr=False)
    twilio_whatsapp_from: str = ""
    twilio_api_base_url: str = TWILIO_API
    public_base_url: str = "http://127.0.0.1:8800"
    display_timezone: str = "UTC"
    default_region: str = "GB"
    templates: Mapping[str, str] = field(default_factory=dict)
    transaction_pooler: bool = False
    pool_size: int = 8
    pool_timeout_s: float = 5.0
    statement_timeout_s: float = 15.0
    provider_timeout_s: float = 10.0
    media_link_max_age_s: int = 48 * 3600
    max_media_bytes: int = 16 * 1024 * 1024
    person_calls_per_minute: int = 600
    person_changes_per_minute: int = 120
    metrics_token: str = field(default="", repr=False)
    alarm_worker_silence_s: int = 60
    alarm_queue_age_minutes: int = 10
    alarm_callback_silence_minutes: int = 10
    alarm_parked_age_minutes: int = 60
    alarm_refused_calls_per_hour: int = 1
    gate_off: frozenset[str] = frozenset()
    quiet_hours: tuple[time, time] | None = (time(21), time(8))
    frequency_cap: int = 10
    daily_customers: int = 0
    consent_required: str = "marketing"
    scheduled_too_late_hours: int = 12
    worker_extra: tuple[str, ...] = ()
    sender_rate: int = 20
    campaign_release_from: int = 50
    prices: Mapping[str, Decimal] = field(default_factory=lambda: {"message": Decimal("0.005")})
    price_unit: str = "USD"
    records: str = ""
    office_hours: tuple[Span, ...] = ()
    bot_silent_hours: int = 12
    bot_answers_per_minute: int = 10
    bot_buttons: bool = True
    alarm_waiting_customers_minutes: int = 30

    @property
    def twilio_configured(self) -> bool:
        """Whether messages can be handed over and asked about."""
        return bool(self.twilio_account_sid)

    @property
    def simulated(self) -> bool:
        """Whether Twilio's place is taken by another server, the simulator."""
        return self.twilio_configured and self.twilio_api_base_url.rstrip("/") != TWILIO_API

    @property
    def twilio_content_base_url(self) -> str:
        """Where templates are kept: Twilio has a host of its own for them, the simulator has not."""
        return self.twilio_api_base_url if self.simulated else TWILIO_CONTENT

    @property
    def sender(self) -> str:
        """The office's number in E.164, without the channel's prefix."""
        return self.twilio_whatsapp_from.removeprefix("whatsapp:")

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which times are shown to a viewer who has none of their own."""
        return ZoneInfo(self.display_timezone)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Config:
        """Read the settings from `env` (default: the process's environment over a `.env` file).

        Raises ConfigError with every problem.
        """
        env = environment() if env is None else env
        problems: list[str] = []
        config = cls(
            database_url=_given(env, "DATABASE_URL"),
            worker_database_url=_given(env, "WORKER_DATABASE_URL"),
            secret_key=_given(env, "SECRET_KEY"),
            previous_secret_key=_given(env, "PREVIOUS_SECRET_KEY"),
            twilio_account_sid=_given(env, "TWILIO_ACCOUNT_SID"),
            twilio_auth_token=_given(env, "TWILIO_AUTH_TOKEN"),
            twilio_secondary_auth_token=_given(env, "TWILIO_SECONDARY_AUTH_TOKEN"),
            twilio_webhook_key=_given(env, "TWILIO_WEBHOOK_KEY"),
            twilio_whatsapp_from=_whatsapp_address(_given(env, "TWILIO_WHATSAPP_FROM")),
            twilio_api_base_url=_given(env, "TWILIO_API_BASE_URL").rstrip("/") or TWILIO_API,
            public_base_url=(_given(env, "PUBLIC_BASE_URL") or "http://127.0.0.1:8800").rstrip("/"),
            display_timezone=_given(env, "DISPLAY_TIMEZONE") or "UTC",
            default_region=(_given(env, "DEFAULT_REGION") or "GB").upper(),
            templates=_templates(env),
            transaction_pooler=_uses_transaction_pooler(env),
            pool_size=_whole_number(env, "DATABASE_POOL_SIZE", 8, problems),
            provider_timeout_s=_whole_number(env, "TWILIO_TIMEOUT_S", 10, problems),
            person_calls_per_minute=_whole_number(env, "PERSON_CALLS_PER_MINUTE", 600, problems),
            person_changes_per_minute=_whole_number(env, "PERSON_CHANGES_PER_MINUTE", 120, problems),
            metrics_token=_given(env, "METRICS_TOKEN"),
            alarm_worker_silence_s=_whole_number(env, "ALARM_WORKER_SILENCE_S", 60, problems),
            alarm_queue_age_minutes=_whole_number(env, "ALARM_QUEUE_AGE_MINUTES", 10, problems),
            alarm_callback_silence_minutes=_whole_number(env, "ALARM_CALLBACK_SILENCE_MINUTES", 10, problems),
            alarm_parked_age_minutes=_whole_number(env, "ALARM_PARKED_AGE_MINUTES", 60, problems),
            alarm_refused_calls_per_hour=_whole_number(env, "ALARM_REFUSED_CALLS_PER_HOUR", 1, problems),
            gate_off=frozenset(_given(env, "GATE_OFF").lower().replace(",", " ").split()),
            quiet_hours=_quiet_hours(_given(env, "QUIET_HOURS"), problems),
            frequency_cap=_limit(env, "FREQUENCY_CAP", 10, problems),
            daily_customers=_limit(env, "DAILY_CUSTOMERS", 0, problems),
            scheduled_too_late_hours=_whole_number(env, "SCHEDULED_TOO_LATE_HOURS", 12, problems),
            worker_extra=tuple(_given(env, "WORKER_EXTRA").replace(",", " ").split()),
            consent_required=_consent_required(env, problems),
            sender_rate=_whole_number(env, "SENDER_RATE", 20, problems),
            campaign_release_from=_whole_number(env, "CAMPAIGN_RELEASE_FROM", 50, problems),
            prices=_prices(_given(env, "PRICES"), problems),
            price_unit=(_given(env, "PRICE_UNIT") or "USD").upper(),
            records="" if _given(env, "RECORDS").lower() == "none" else _given(env, "RECORDS"),
            office_hours=_office_hours(_given(env, "OFFICE_HOURS"), problems),
            bot_silent_hours=_whole_number(env, "BOT_SILENT_HOURS", 12, problems),
            bot_answers_per_minute=_whole_number(env, "BOT_ANSWERS_PER_MINUTE", 10, problems),
            bot_buttons=_given(env, "BOT_BUTTONS").lower() not in ("0", "false", "no", "off"),
            alarm_waiting_customers_minutes=_whole_number(env, "ALARM_WAITING_CUSTOMERS_MINUTES", 30, problems),
        )
        problems += _problems_of(config)
        problems += encryption_problems(env)
        if problems:
            raise ConfigError(problems)
        return config


def environment(directory: Path | None = None) -> dict[str, str]:
    """The process's environment over the `.env` file of `directory` (default: the working directory), if there is one."""
    from dotenv import dotenv_values

    file = dotenv_values((directory or Path.cwd()) / ".env")
    return with_files({**{name: value for name, value in file.items() if value is not None}, **os.environ})


def with_files(env: Mapping[str, str]) -> dict[str, str]:
    """`env` with the content of NAME_FILE as NAME, for each secret whose file is named and that is not given itself.

    Raises ConfigError for a file that cannot be read.
    """
    found, problems = dict(env), []
    for name in SECRETS:
        path = env.get(f"{name}_FILE", "").strip()
        if path and not env.get(name, "").strip():
            try:
                found[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{name}_FILE cannot be read: {path}: {getattr(error, 'strerror', None) or error}.")
    if problems:
        raise ConfigError(problems)
    return found


def encryption_problems(env: Mapping[str, str]) -> list[str]:
    """A sentence for each of the database's addresses that goes to another machine without saying how."""
    given = {name: _given(env, name) for name in ("DATABASE_URL", "WORKER_DATABASE_URL", "MIGRATION_DATABASE_URL")}
    found = (database_address.problem(name, address) for name, address in given.items() if address)
    return [problem for problem in found if problem]


def _given(env: Mapping[str, str], name: str) -> str:
    return env.get(name, "").strip()


def _whole_number(env: Mapping[str, str], name: str, default: int, problems: list[str]) -> int:
    text = _given(env, name)
    if not text:
        return default
    if not text.isdecimal() or int(text) == 0:
        problems.append(f"{name} is {text!r}: write a whole number above 0.")
        return default
    return int(text)


def _limit(env: Mapping[str, str], name: str, default: int, problems: list[str]) -> int:
    """A whole number above 0, or the word `none`, which is 0 here: no limit."""
    return 0 if _given(env, name).lower() == "none" else _whole_number(env, name, default, problems)


def _consent_required(env: Mapping[str, str], problems: list[str]) -> str:
    """Of which messages that we begin an agreement has to be in the ledger; MARKETING_NEEDS_OPT_IN is its older name."""
    text = _given(env, "CONSENT_REQUIRED").lower()
    if not text:
        old = _given(env, "MARKETING_NEEDS_OPT_IN").lower()
        return "none" if old in ("0", "false", "no", "off") else "marketing"
    if text not in CONSENT_REQUIRED:
        problems.append(
            f"CONSENT_REQUIRED is {text!r}: write {', '.join(CONSENT_REQUIRED[:-1])} or {CONSENT_REQUIRED[-1]}."
        )
        return "marketing"
    return text


def _quiet_hours(text: str, problems: list[str]) -> tuple[time, time] | None:
    if text.lower() == "none":
        return None
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d) ?- ?([01]?\d|2[0-3]):([0-5]\d)", text or "21:00-08:00")
    if match is None or match.group(1, 2) == match.group(3, 4):
        problems.append(f"QUIET_HOURS is {text!r}: write two times like 21:00-08:00, or none.")
        return None
    return time(int(match[1]), int(match[2])), time(int(match[3]), int(match[4]))


def _prices(text: str, problems: list[str]) -> dict[str, Decimal]:
    """Estimates per message: Twilio's own for each, and WhatsApp's for each template of a category."""
    found = {"message": Decimal("0.005")}
    for part in text.lower().replace(",", " ").split():
        match = re.fullmatch(r"(message|utility|marketing|authentication)=(\d{1,6}(?:\.\d{1,6})?)", part)
        if match is None:
            problems.append(
                f"PRICES has {part!r}: write message=0.005 utility=0.02 marketing=0.08, as they apply to you."
            )
        else:
            found[match[1]] = Decimal(match[2])
    return found


def _office_hours(text: str, problems: list[str]) -> tuple[Span, ...]:
    try:
        return () if text.lower() == "none" else opening_hours.read(text)
    except ValueError:
        problems.append(f"OFFICE_HOURS is {text!r}: write like Mon-Fri 09:00-17:30; Sat 09:00-12:00, or none.")
        return ()


def _whatsapp_address(text: str) -> str:
    return f"whatsapp:{text}" if text.startswith("+") else text


def _templates(env: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(_TEMPLATE_PREFIX).lower(): value.strip()
        for name, value in env.items()
        if name.startswith(_TEMPLATE_PREFIX) and value.strip()
    }


def _uses_transaction_pooler(env: Mapping[str, str]) -> bool:
    if _given(env, "DATABASE_TRANSACTION_POOLER"):
        return _given(env, "DATABASE_TRANSACTION_POOLER").lower() in ("1", "true", "yes", "on")
    try:
        return urlsplit(_given(env, "DATABASE_URL")).port == _TRANSACTION_POOLER_PORT
    except ValueError:
        return False


def _problems_of(config: Config) -> list[str]:
    return [
        *_database_problems(config),
        *_twilio_problems(config),
        *_public_problems(config),
        *_display_problems(config),
        *_gate_problems(config),
        *_worker_problems(config),
        *_bot_problems(config),
    ]


def _database_problems(config: Config) -> list[str]:
    problems = []
    if not config.database_url:
        problems.append(
            "DATABASE_URL is missing: give the PostgreSQL address, like postgresql://user:password@host:5432/name?sslmode=verify-full."
        )
    elif not config.database_url.startswith(("postgresql://", "postgres://")) and "=" not in config.database_url:
        problems.append("DATABASE_URL is not a PostgreSQL address: it starts with postgresql://.")
    if len(config.secret_key) < 16:
        problems.append("SECRET_KEY is missing or shorter than 16 characters: it signs sessions and document links.")
    return problems


def _twilio_problems(config: Config) -> list[str]:
    names = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_WHATSAPP_FROM")
    values = (config.twilio_account_sid, config.twilio_auth_token, config.twilio_whatsapp_from)
    if not any(values):
        return []
    problems = [
        f"{name} is missing while other Twilio settings are there."
        for name, value in zip(names, values, strict=True)
        if not value
    ]
    if values[0] and not (values[0].startswith("AC") and len(values[0]) == _SID_LENGTH):
        problems.append(
            "TWILIO_ACCOUNT_SID does not look like one: AC and 32 more characters (Twilio Console, Account Info)."
        )
    if values[2] and not values[2].startswith("whatsapp:+"):
        problems.append("TWILIO_WHATSAPP_FROM must look like whatsapp:+441234567890.")
    problems += [
        f"{_TEMPLATE_PREFIX}{name.upper()} is {sid!r}: a template's SID is HX and 32 more characters."
        for name, sid in config.templates.items()
        if not (sid.startswith("HX") and len(sid) == _SID_LENGTH)
    ]
    return problems


def _public_problems(config: Config) -> list[str]:
    url = urlsplit(config.public_base_url)
    if url.scheme not in ("http", "https") or not url.hostname:
        return [
            "PUBLIC_BASE_URL must be the address at which Twilio reaches this portal, like https://portal.example.test."
        ]
    problems = []
    if "_" in url.hostname:
        problems.append("PUBLIC_BASE_URL has an underscore in its host name; Twilio refuses such callback addresses.")
    if config.twilio_configured and not config.simulated and not is_public(url.hostname):
        problems.append(
            "PUBLIC_BASE_URL is this machine's or a private network's address: Twilio cannot call it back. "
            "Give the public https address."
        )
    elif config.twilio_configured and not config.simulated and url.scheme != "https":
        problems.append("PUBLIC_BASE_URL is not https: documents and reports would travel readable. Give https://.")
    return problems


def is_public(host: str) -> bool:
    """Whether the host is one that the internet knows: a name, or an address of no private or special range."""
    name = host.rstrip(".")
    if name.rpartition(".")[2] == "localhost":
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        # Whatever ends in a number is an address to those who connect: 127.1, 2130706433, 0x7f000001.
        return re.fullmatch(r"[0-9]+|0x[0-9a-f]*", name.rpartition(".")[2]) is None
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_global and not address.is_multicast


def _display_problems(config: Config) -> list[str]:
    problems = []
    try:
        ZoneInfo(config.display_timezone)
    except (KeyError, ValueError, OSError):
        problems.append(
            f"DISPLAY_TIMEZONE {config.display_timezone!r} is not a time zone: write one like Europe/London."
        )
    if config.default_region not in phonenumbers.SUPPORTED_REGIONS:
        problems.append(f"DEFAULT_REGION {config.default_region!r} is not a country: write two letters like GB.")
    return problems


def _bot_problems(config: Config) -> list[str]:
    if not config.records or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", config.records):
        return []
    return [f"RECORDS is {config.records!r}: write where the office's records are made, as module:function."]


def _gate_problems(config: Config) -> list[str]:
    unknown = sorted(config.gate_off - GATE_RULES)
    if not unknown:
        return []
    return [f"GATE_OFF names {', '.join(unknown)}: it takes {', '.join(sorted(GATE_RULES))}."]


def _worker_problems(config: Config) -> list[str]:
    wrong = [name for name in config.worker_extra if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name)]
    return [f"WORKER_EXTRA has {name!r}: write module:function, like portal.worker:register." for name in wrong]
