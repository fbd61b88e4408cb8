"""The portal's settings, from the environment. Those of WhatsApp and Twilio belong to the feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from portal.oidc_settings import OidcSettings
from portal.sealing import Seal
from whatsapp_logs import config
from whatsapp_logs.errors import ConfigError

OFFICE = "Harbour & Lane Insurance Brokers"
SECOND_FACTOR_FOR = ("administrators", "everyone", "nobody")
_LONGEST_IDLE = 12 * 60
_SWITCHES = {"": False, "0": False, "false": False, "no": False, "off": False} | dict.fromkeys(
    ("1", "true", "yes", "on"), True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalConfig:
    """What one running portal needs to know; `timezone` decides which day "today" is."""

    database_url: str
    secret_key: str
    previous_secret_key: str = field(default="", repr=False)
    timezone: str = "Europe/London"
    region: str = "GB"
    secure_cookies: bool = False
    require_second_factor: str = SECOND_FACTOR_FOR[0]
    session_idle_minutes: int = 60
    trusted_proxies: int = 0  # in front of the portal, each adding the caller's address to X-Forwarded-For
    cookie_name: str = "portal_session"
    oidc: OidcSettings | None = None

    @property
    def seal(self) -> Seal:
        """What seals second factors' secrets."""
        return Seal(secret_key=self.secret_key, previous_secret_key=self.previous_secret_key)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> PortalConfig:
        """Read `env` (default: the environment over `.env`); ConfigError tells everything that is missing or wrong."""
        env = environment() if env is None else env
        problems = [f"{name} is not set." for name in ("DATABASE_URL", "SECRET_KEY") if not env.get(name)]
        timezone = env.get("DISPLAY_TIMEZONE") or "Europe/London"
        try:
            ZoneInfo(timezone)
        except (KeyError, ValueError):
            problems.append(f"DISPLAY_TIMEZONE is not a time zone: {timezone!r}; write it like Europe/London.")
        switch = env.get("SECURE_COOKIES", "").strip().lower()
        is_https = env.get("PUBLIC_BASE_URL", "").strip().lower().startswith("https:")
        is_secure = _SWITCHES.get(switch, False) if switch else is_https
        if switch not in _SWITCHES:
            problems.append(f"SECURE_COOKIES is {switch!r}: write 1 or 0.")
        factor_for = env.get("REQUIRE_SECOND_FACTOR", "").strip().lower() or SECOND_FACTOR_FOR[0]
        if factor_for not in SECOND_FACTOR_FOR:
            problems.append(f"REQUIRE_SECOND_FACTOR is {factor_for!r}: write administrators, everyone or nobody.")
        proxies = env.get("TRUSTED_PROXIES", "").strip() or "0"
        if proxies not in {str(n) for n in range(6)}:
            problems.append(f"TRUSTED_PROXIES is {proxies!r}: write how many proxies stand in front, from 0 to 5.")
        idle = env.get("SESSION_IDLE_MINUTES", "").strip() or "60"
        if not (idle.isascii() and idle.isdigit() and 0 < int(idle) <= _LONGEST_IDLE):
            problems.append(f"SESSION_IDLE_MINUTES is {idle!r}: write a number from 1 to {_LONGEST_IDLE}.")
        oidc, problems_of_oidc = OidcSettings.from_env(env)
        problems += problems_of_oidc
        if problems:
            raise ConfigError(problems)
        return cls(
            database_url=env["DATABASE_URL"],
            secret_key=env["SECRET_KEY"],
            previous_secret_key=env.get("PREVIOUS_SECRET_KEY", ""),
            timezone=timezone,
            region=env.get("DEFAULT_REGION") or "GB",
            secure_cookies=is_secure,
            require_second_factor=factor_for,
            session_idle_minutes=int(idle),
            trusted_proxies=int(proxies),
            # Browsers keep cookies per host, not per port: two portals on one machine must not sign each other out.
            cookie_name=_cookie_name(env.get("PORT", ""), is_secure=is_secure),
            oidc=oidc,
        )


def _cookie_name(port: str, *, is_secure: bool) -> str:
    """Over https with the prefix that keeps every other host, and every page without https, from setting it."""
    return ("__Host-" if is_secure else "") + f"portal_session_{port}".rstrip("_")


def environment() -> dict[str, str]:
    """The process's environment over the `.env` file of the working directory, as the feature reads it."""
    return config.environment()
