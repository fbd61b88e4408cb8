"""Fixtures: the product's parts put together as they run, each test with its own database and its own Twilio.

`config`      the test's database (for a role that owns nothing), the simulator as Twilio, and an address of this test's own as
              PUBLIC_BASE_URL.
`service`     WhatsAppService of that configuration.
`simulator`   Twilio, without delays (`pace=0`); with `live` it calls the app back for real.
`app`         a small portal that is not ours: Flask, its own sign-in at /sign_in/<role>, the log moved in.
`signed_in`   `signed_in("agent")`: a test client whose changes carry the CSRF token.
`live`        `app` listening at PUBLIC_BASE_URL, which is returned.
`work`        `work()` does every job that is due, here and now.
`worker`      does jobs as they come, in a thread, until the test ends.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from psycopg.conninfo import make_conninfo
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from tests.postgres_keeper import APP_ROLE
from tests.start.processes import PATIENCE_S, wait_until
from whatsapp_logs import ROLES, Config, Viewer, WhatsAppLogs, WhatsAppService
from whatsapp_logs.config import GATE_RULES
from whatsapp_logs.jobs import make_app
from whatsapp_logs.twilio.simulator import Simulator, templates
from whatsapp_logs.web.access import csrf_token

ACCOUNT_SID, AUTH_TOKEN = "AC" + "a" * 32, "test-token-0001"
SENDER = "whatsapp:+15550100100"
SECRET_KEY = "a secret key for tests only"


class Person(FlaskClient):
    """A browser of a person who is signed in: every change carries the token that its page would carry."""

    token = ""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        if self.token and kwargs.get("method", "GET") not in ("GET", "HEAD"):
            kwargs["headers"] = {"X-CSRFToken": self.token, **(kwargs.get("headers") or {})}
        return super().open(*args, **kwargs)


@pytest.fixture
def address() -> Iterator[socket.socket]:
    """A bound port nobody listens at: connections are refused until `live` does."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(ACCOUNT_SID, AUTH_TOKEN, pace=0, seed=1, whatsapp_from=SENDER) as simulator:
        yield simulator


@pytest.fixture
def config(dsn: str, simulator: Simulator, address: socket.socket) -> Config:
    public_base_url = f"http://127.0.0.1:{address.getsockname()[1]}"
    simulator.settings.media_base_url = public_base_url
    return Config(
        database_url=make_conninfo(dsn, user=APP_ROLE),
        secret_key=SECRET_KEY,
        twilio_account_sid=ACCOUNT_SID,
        twilio_auth_token=AUTH_TOKEN,
        twilio_whatsapp_from=SENDER,
        twilio_api_base_url=simulator.base_url,
        public_base_url=public_base_url,
        templates={
            "policy_document": templates.POLICY_DOCUMENT_BY_PATH,
            "renewal_reminder": templates.RENEWAL_REMINDER,
            "renewal_reminder_document": templates.RENEWAL_REMINDER_DOCUMENT_BY_PATH,
            "general_notice": templates.GENERAL_NOTICE,
        },
        # What a test has to wait for may take as long as a machine that stands still; what is to give up soon says so itself.
        provider_timeout_s=PATIENCE_S,
        pool_timeout_s=PATIENCE_S,
        statement_timeout_s=PATIENCE_S,
        sender_rate=1000,  # tests/test_campaign_run.py has it as it is in earnest
        gate_off=GATE_RULES,  # tests/test_gate.py has them on: here the same words go to the same number, at night, to strangers
    )


@pytest.fixture
def service(config: Config) -> Iterator[WhatsAppService]:
    service = WhatsAppService(config)
    yield service
    service.close()


@pytest.fixture
def app(service: WhatsAppService) -> Flask:
    return make_portal(service)


@pytest.fixture
def signed_in(app: Flask) -> Callable[[str], Person]:
    """A function from a role to that person's browser."""

    def sign_in(role: str) -> Person:
        person = Person(app, response_wrapper=app.response_class)
        person.token = person.get(f"/sign_in/{role}").text
        return person

    return sign_in


@pytest.fixture
def live(app: Flask, address: socket.socket) -> Iterator[str]:
    """The app on the wire, for Twilio's calls and for browsers; its base address."""
    address.listen(128)
    server = make_server("127.0.0.1", 0, app, threaded=True, fd=address.fileno())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def work(service: WhatsAppService) -> Callable[[], None]:
    """Do every job that is due. What the clock starts (sweeps, house-keeping) is left to the tests that are about it."""

    return partial(work_until_idle, service)


@pytest.fixture
def worker(service: WhatsAppService) -> Iterator[None]:
    """Do jobs as they come, as `python -m whatsapp_logs worker` does."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_jobs(service, wait=True, stop=stop),))
    thread.start()
    wait_until(lambda: service.server().worker_silence_s is not None)  # else a test may look before there is a worker
    yield
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def make_portal(service: WhatsAppService, *, started: bool = True, **options: Any) -> Flask:
    """A portal whose people sign in by naming their role; `options` go to `init_app`. Not `started`: without a service."""
    app = Flask("portal_of_the_tests")
    app.config.update(SECRET_KEY=service.config.secret_key, TESTING=True)

    @app.get("/sign_in/<role>")
    def sign_in(role: str) -> str:
        session["role"] = role
        return csrf_token()

    def current_user() -> Viewer | None:
        role = session.get("role")
        return None if role is None else Viewer(f"{role}@office.example.test", ROLES[role])

    WhatsAppLogs(service if started else None).init_app(app, current_user=current_user, **options)
    return app


def work_until_idle(service: WhatsAppService) -> None:
    """Do every job that is due, and those that they bring: a worker that is not to wait may end while a job at hand brings another.

    In a thread of its own, because a browser test has an event loop in this one.
    """
    before: list[tuple[object, ...]] = []
    while (due := _due(service)) and due != before:  # the same ones again: nobody can take them
        thread = threading.Thread(target=_run_jobs, args=(service,), kwargs={"wait": False})
        thread.start()
        thread.join()
        before = due


def _due(service: WhatsAppService) -> list[tuple[object, ...]]:
    with service.transaction() as conn:
        return conn.execute(
            """
            SELECT id, attempts FROM whatsapp_logs.procrastinate_jobs
            WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now()) ORDER BY id
            """
        ).fetchall()


def _run_jobs(service: WhatsAppService, *, wait: bool) -> None:
    asyncio.run(_jobs(service, wait=wait))


async def _jobs(service: WhatsAppService, *, wait: bool, stop: asyncio.Event | None = None) -> None:
    app = make_app(service)
    app.periodic_registry.periodic_tasks.clear()
    async with app.open_async():
        worker = asyncio.create_task(
            app.run_worker_async(
                wait=wait,
                concurrency=4,
                install_signal_handlers=False,
                delete_jobs="successful",
                fetch_job_polling_interval=0.5,
            )
        )
        if stop is not None:
            await asyncio.wait({worker, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            worker.cancel()
        await asyncio.wait({worker})
        if not worker.cancelled():
            worker.result()
