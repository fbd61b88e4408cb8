"""The log inside a Flask application: two blueprints, one table of errors, a few words for templates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from flask import Blueprint, Flask, Response

from whatsapp_logs.config import Config
from whatsapp_logs.errors import ServiceNotAvailable
from whatsapp_logs.filters import Audience, Found
from whatsapp_logs.rights import Viewer
from whatsapp_logs.service import WhatsAppService
from whatsapp_logs.web import (
    access,
    api,
    callbacks,
    campaigns,
    consent,
    conversations,
    errors,
    exports,
    health,
    media,
    pages,
    privacy,
    probes,
    reconciliations,
    scheduled,
    template_pages,
    tokens,
    widgets,
)
from whatsapp_logs.web.access import count_call as count_call
from whatsapp_logs.web.again import SameAgain
from whatsapp_logs.web.file_names import content_disposition as content_disposition
from whatsapp_logs.web.limits import UNPROVEN_PER_MINUTE, Limit, PeopleLimits
from whatsapp_logs.web.limits import TooMany as TooMany
from whatsapp_logs.web.news import News, Strip, Waiting
from whatsapp_logs.web.refusals import Refusals
from whatsapp_logs.web.rows import Rows

# No inline script or style, nothing from elsewhere. A portal whose layout needs more passes its own, or None.
STRICT_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; object-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)

# What every page of ours is sent with: no other site opens, embeds or reads it, and it asks for none of the device's senses.
PAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

Names = Callable[[Iterable[str]], Mapping[str, str]]
Link = Callable[[str], str | None]
Find = Callable[[str], Found]


class WhatsAppLogs:
    """The Flask extension. `service` is shared by all requests of the process.

    None stands for a service that could not be started (a faulty configuration): the portal runs, and the log says so.
    WhatsAppLogs(service).init_app(app, current_user=…) is all a portal needs; everything else has a default.
    """

    def __init__(self, service: WhatsAppService | None) -> None:
        self._service = service
        self.layout = "whatsapp_logs/layout.html"
        self.csp: str | None = STRICT_CSP
        self.current_user: Callable[[], Viewer | None] = lambda: None
        self.sign_in_url: Callable[[str], str] | None = None
        self.confirm_url: Link = lambda _page: None
        self.client_url: Link = lambda _id: None
        self.client_phone: Link = lambda _id: None
        self.policy_url: Link = lambda _id: None
        self.client_names: Names = lambda _ids: {}
        self.policy_names: Names = lambda _ids: {}
        self.has_names = False
        self.find: Find | None = None
        self.audience: Audience | None = None
        self.simulator_url: str | None = None
        self.strip, self.rows, self.waiting = Strip(), Rows(), Waiting()
        self.news = News(self.waiting)
        self.calls_of_tokens = Limit(access.TOKEN_CALLS_PER_MINUTE)
        self.people = PeopleLimits(*_of_people(service))
        self.unproven_calls = Limit(UNPROVEN_PER_MINUTE)
        self.refusals = Refusals(lambda calls: self.service.count_refused(calls))

    @property
    def service(self) -> WhatsAppService:
        """The running service. Raises ServiceNotAvailable."""
        if self._service is None:
            raise ServiceNotAvailable()
        return self._service

    @property
    def config(self) -> Config | None:
        """The running service's settings; None without a service, for what has to work then too."""
        return None if self._service is None else self._service.config

    def init_app(
        self,
        app: Flask,
        *,
        current_user: Callable[[], Viewer | None],
        layout: str | None = None,
        sign_in_url: Callable[[str], str] | None = None,
        confirm_url: Link | None = None,
        client_url: Link | None = None,
        policy_url: Link | None = None,
        client_phone: Link | None = None,
        client_names: Names | None = None,
        policy_names: Names | None = None,
        find: Find | None = None,
        audience: Audience | None = None,
        probes_below: str = "/whatsapp",
        csp: str | None = STRICT_CSP,
    ) -> None:
        """Add the log to `app`.

        `current_user` tells who is signed in (None = nobody) and what they may do. `layout` is a template of the portal with the
        blocks title, head and content. `sign_in_url(next)` is where somebody without a session is sent. `client_url(id)` and
        `client_names(ids)` (likewise for policies) link and name the portal's own records; ids are text, whatever their key type.
        `confirm_url(next)` is where somebody confirms that it is still them before they erase or make a token; None when they have
        just done so.
        `probes_below` is where /livez, /readyz and /metrics go: "" puts them at the portal's root.
        `client_phone(id)` is the client's number by now: a message that failed is sent again to that one.
        `find(text)` tells which clients and policies somebody's words mean: a name, part of a policy number.
        `audience` are the questions by which a campaign's recipients are chosen from the portal's clients and policies.
        """
        self.current_user = current_user
        self.layout = layout or self.layout
        self.csp = csp
        self.sign_in_url = sign_in_url
        self.confirm_url = confirm_url or self.confirm_url
        self.client_url, self.policy_url = client_url or self.client_url, policy_url or self.policy_url
        self.client_phone = client_phone or self.client_phone
        self.find, self.audience = find, audience
        self.client_names, self.policy_names = client_names or self.client_names, policy_names or self.policy_names
        self.has_names = client_names is not None or policy_names is not None
        app.extensions["whatsapp_logs"] = self

        people = Blueprint(
            "whatsapp_logs",
            __name__,
            template_folder="templates",
            static_folder="static",
            static_url_path="/whatsapp_logs/static",
        )
        people.before_request(lambda: access.check_request(current_user))
        people.after_request(self._protect)
        pages.register(people)
        conversations.register(people)
        exports.register(people)
        health.register(people)
        reconciliations.register(people)
        template_pages.register(people)
        scheduled.register(people)
        tokens.register(people)
        privacy.register(people)
        consent.register(people)
        campaigns.register(people)
        api.register(people)
        errors.register(people)

        machines = Blueprint("whatsapp_machines", __name__)
        callbacks.register(machines)
        media.register(machines)
        probes.register(machines, below=probes_below)
        errors.register(machines)
        machines.after_request(_as_it_says)

        app.register_blueprint(people)
        app.register_blueprint(machines)
        self._leave_host_csrf_alone(app, people, machines)
        widgets.register(app)
        app.wsgi_app = SameAgain(app.wsgi_app, self)  # type: ignore[method-assign]
        undeclared = access.undeclared_routes(app, blueprints=(people.name, machines.name))
        if undeclared:
            raise RuntimeError(f"routes without a declared right: {', '.join(undeclared)}")

    def _protect(self, response: Response) -> Response:
        """Headers of every page of ours: personal data is not kept by browsers, nothing foreign runs."""
        headers = PAGE_HEADERS | ({"Content-Security-Policy": self.csp} if self.csp else {})
        for name, value in headers.items():
            response.headers.setdefault(name, value)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response

    @staticmethod
    def _leave_host_csrf_alone(app: Flask, *blueprints: Blueprint) -> None:
        """A portal-wide CSRFProtect would refuse Twilio's signed calls, which carry no token.

        Ours check every change themselves, with the same token. The portal may set its protection up before us or after us.
        """

        def exempt() -> None:
            protection = app.extensions.get("csrf")
            if protection is not None and hasattr(protection, "exempt"):
                for blueprint in blueprints:
                    protection.exempt(blueprint)

        exempt()
        app.before_request(exempt)


def _as_it_says(response: Response) -> Response:
    """What goes to machines is nothing else than it says either, should a browser ask for it."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


def _of_people(service: WhatsAppService | None) -> tuple[int, int]:
    """Calls and changes per person and minute."""
    config = service.config if service else Config(database_url="", secret_key="")
    return config.person_calls_per_minute, config.person_changes_per_minute
