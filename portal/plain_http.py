"""Where the portal is meant to be reached by https, nobody's pages travel readable: who comes by http is led on, or refused."""

from __future__ import annotations

import ipaddress
import logging

from flask import Flask, redirect, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

log = logging.getLogger(__name__)

_LOOKING = ("GET", "HEAD")
# What only proxies send. Without TRUSTED_PROXIES none is believed, but then it is the proxy that knows how people came.
_BY_PROXY = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via")
_REFUSED = "This portal is open by https only. Nothing was changed. Open it by its address with https:// and try again."


def init_app(app: Flask, *, trusted_proxies: int, public_base_url: str) -> None:
    """Lead pages asked for by plain http to https, refuse everything else. Probes, and Twilio, prove themselves."""
    public = public_base_url if public_base_url.startswith("https:") else None

    def check() -> Response | None:
        if not _is_plain(trusted_proxies) or (request.endpoint or "").startswith("whatsapp_machines."):
            return None
        if public and request.method in _LOOKING and not request.path.startswith("/api/"):
            return redirect(public + request.full_path.rstrip("?"), 308)  # never to what the request calls its host
        log.warning("refused endpoint=%s address=%s: plain http", request.endpoint, request.remote_addr)
        raise BadRequest(_REFUSED)

    app.before_request(check)


def _is_plain(trusted_proxies: int) -> bool:
    """Whether somebody elsewhere came by http. Of a proxy that says nothing about it, it is not known."""
    if request.scheme == "https":
        return False
    if trusted_proxies:
        said = [word.strip().lower() for word in request.headers.get("X-Forwarded-Proto", "").split(",")]
        return said[-trusted_proxies:][:1] == ["http"]
    return not _is_this_machine(request.remote_addr or "") and not any(name in request.headers for name in _BY_PROXY)


def _is_this_machine(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return not address  # a socket: whoever is asked through it is on this machine
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
