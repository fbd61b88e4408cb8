"""The portal as a Flask application: its pages, its protection, and WhatsApp Logs moved in."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask, Response, current_app, g, request, url_for
from flask_wtf.csrf import generate_csrf
from werkzeug.middleware.proxy_fix import ProxyFix

from portal import access, alarms, database, erasing, errors, format, notes, oidc, plain_http, sending
from portal.account import account
from portal.auth import auth
from portal.clients import clients
from portal.config import OFFICE, PortalConfig
from portal.dashboard import dashboard
from portal.feature import move_in
from portal.health import health
from portal.invitation import invitation
from portal.people import OwnRight, Person
from portal.policies import policies
from portal.renewal_rules import renewal_rules
from portal.renewals import renewals
from portal.roles_pages import roles_pages
from portal.second_factor import second_factor
from portal.staff_pages import staff_pages
from portal.today import office_today
from portal.told import told
from portal.unreached import unreached
from whatsapp_logs import Right, WhatsAppService
from whatsapp_logs.web import PAGE_HEADERS

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_YEAR_S = 365 * 24 * 3600


def create_app(config: PortalConfig | None = None, *, service: WhatsAppService | None = None) -> Flask:
    """The portal, configured from the environment unless told otherwise."""
    config = config or PortalConfig.from_env()
    app = Flask(__name__)
    app.config.update(
        PORTAL=config,
        SECRET_KEY=config.secret_key,
        SECRET_KEY_FALLBACKS=[config.previous_secret_key] if config.previous_secret_key else None,
        SESSION_COOKIE_NAME=config.cookie_name,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=config.secure_cookies,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
        SESSION_REFRESH_EACH_REQUEST=False,  # the sign-in ends where the database says; a cookie with each poll tells nothing new
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session: nobody loses a form to a lunch break
        MAX_CONTENT_LENGTH=17 * 1024 * 1024,  # a file of 16 MB with its form
        SEND_FILE_MAX_AGE_DEFAULT=_YEAR_S,  # `asset` puts the file's hash into its address
    )
    service = service or WhatsAppService.from_env()
    database.init_app(app, config.database_url, transaction_pooler=service.config.transaction_pooler)
    if config.secure_cookies:
        plain_http.init_app(app, trusted_proxies=config.trusted_proxies, public_base_url=service.config.public_base_url)
    access.init_app(app)
    errors.init_app(app)
    format.init_app(app)
    notes.init_app(app)
    people_pages = (auth, invitation, second_factor, account, staff_pages, roles_pages)
    renewal_pages = (renewals, renewal_rules, unreached, told)
    for blueprint in (*people_pages, dashboard, clients, policies, *renewal_pages, health):
        app.register_blueprint(blueprint)
    if config.oidc:
        oidc.init_app(app, config.oidc)
    sending.init_app(app, service)
    move_in(app, service)
    erasing.join_in(service)
    alarms.watch(service, zone=ZoneInfo(config.timezone))
    app.context_processor(lambda: _for_templates(service))
    app.after_request(_protect)
    if config.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=config.trusted_proxies, x_proto=0)  # type: ignore[method-assign]
    return app


def _for_templates(service: WhatsAppService) -> dict[str, Any]:
    person = g.get("person")
    return {
        "office": OFFICE,
        "person": person,
        "somebody": person or _somebody(),
        "Right": Right,
        "OwnRight": OwnRight,
        "may": lambda right: bool(person and person.may(right)),
        "phone": _phone,
        "asset": lambda name: url_for("static", filename=name, v=_fingerprint(name)),
        "csrf_token": generate_csrf,
        "days_away": format.days_away,
        "office_today": office_today,
        "simulator_url": _simulator_url(service),
    }


def _somebody() -> Person | None:
    """Whoever has signed in, but may do nothing yet: their second factor is due."""
    sign_in = g.get("sign_in")
    return sign_in.person if sign_in and not sign_in.waits_for_code else None


def _phone(number: str) -> str:
    person = g.get("person")
    return format.readable_phone(number) if person and person.may(Right.NUMBERS) else format.masked_phone(number)


def _simulator_url(service: WhatsAppService) -> str | None:
    return service.config.twilio_api_base_url if service.config.simulated else None


@cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((Path(__file__).parent / "static" / name).read_bytes()).hexdigest()[:12]


def _protect(response: Response) -> Response:
    """Headers of every answer; where the feature has set its own, those stay."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if not (request.endpoint or "").startswith("whatsapp_machines."):
        for name, value in (PAGE_HEADERS | {"X-Frame-Options": "DENY"}).items():
            response.headers.setdefault(name, value)
    if current_app.config["SESSION_COOKIE_SECURE"]:
        response.headers.setdefault("Strict-Transport-Security", f"max-age={_YEAR_S}")
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", CSP)
    return response
