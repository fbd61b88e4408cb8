"""The settings of single sign-on by OpenID Connect: all of them or none."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_NEEDED = ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")
_NAME = "single sign-on"
CALLBACK_PATH = "/sign-in/oidc/callback"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """Which provider is asked, and as whom; `name` is what people call it. `redirect_uri` is registered there."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str
    name: str = _NAME

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> tuple[OidcSettings | None, list[str]]:
        """The settings, or None where there are none; and every problem of them, in words."""
        given = {name: env.get(name, "").strip() for name in (*_NEEDED, "OIDC_NAME")}
        if not any(given.values()):
            return None, []
        problems = [f"{name} is missing while other OIDC settings are there." for name in _NEEDED if not given[name]]
        if given["OIDC_ISSUER"] and not is_safe(given["OIDC_ISSUER"]):
            problems.append("OIDC_ISSUER must be the provider's https address, like https://login.example.test/office.")
        portal = (env.get("PUBLIC_BASE_URL", "").strip() or "http://127.0.0.1:8800").rstrip("/")
        if not is_safe(portal):
            problems.append(
                "PUBLIC_BASE_URL must be https where people come back from single sign-on (OIDC_ISSUER is set)."
            )
        if problems:
            return None, problems
        return cls(
            issuer=given["OIDC_ISSUER"],
            client_id=given["OIDC_CLIENT_ID"],
            client_secret=given["OIDC_CLIENT_SECRET"],
            redirect_uri=portal + CALLBACK_PATH,
            name=given["OIDC_NAME"] or _NAME,
        ), []


def is_safe(url: object) -> bool:
    """Whether what is asked there travels unreadable: by https, or within this machine."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        host = parts.hostname if parts else None
    except ValueError:
        return False
    if parts is None or not host or "@" in parts.netloc or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
