"""`./run`: database, migrations, demo data, simulator, worker and web server, until somebody stops it."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import time
from collections.abc import Callable, Mapping

from portal.start.environment import (
    FIRST_PORT,
    HOST,
    MARK,
    CannotStart,
    Place,
    Ports,
    choose_ports,
    note_ports,
    only_one,
    port_problems,
)
from portal.start.postgres import PostgresUnavailable, Server
from portal.start.processes import Child, StartFailed, Supervisor

PAGE_TIMEOUT_S = 60.0
DATABASE_PAUSE_S = 10.0
BLOCKING_THREADS = 4  # Of granian: each answers one request at a time.


def start(given: Mapping[str, str]) -> None:
    """Run the portal until Ctrl-C or SIGTERM; CannotStart, PostgresUnavailable or StartFailed say why not."""
    place = Place.from_env(given)
    os.umask(0o077)  # What the parts write (logs, the simulator's messages) is for their owner alone.
    with only_one(place):
        check_configuration(place)
        ports = choose_ports(place)
        note_ports(place, ports)
        supervisor = Supervisor(place.log, tell=tell)
        server = Server(place.data_dir / "postgres") if place.own_database else None
        try:
            _start_all(place, ports, supervisor, server)
            if not supervisor.stop_wishes:
                tell(welcome(place, ports))
            supervisor.run()
            tell("\nStopping ...")
        finally:
            supervisor.stop()
            if server:
                server.stop()
    tell("Stopped.")


def _start_all(place: Place, ports: Ports, supervisor: Supervisor, server: Server | None) -> None:
    owner_url = server.start() if server else place.given.get("MIGRATION_DATABASE_URL") or place.given["DATABASE_URL"]
    database_url = server.app_dsn if server else place.given["DATABASE_URL"]
    env = place.environment(ports, database_url=database_url) | {MARK: str(place.data_dir)}
    python = [sys.executable, "-m"]
    if place.simulated:
        state = place.data_dir / "simulator.sqlite"
        simulator = ["whatsapp_logs.twilio.simulator", "--port", str(ports.simulator), "--state", str(state)]
        supervisor.add(Child("simulator", [*python, *simulator], env))
    prepare = [*python, "portal.start.prepare", *(["--demo"] if place.is_demo else [])]
    supervisor.complete(Child("prepare", prepare, env | {"MIGRATION_DATABASE_URL": owner_url}))
    if supervisor.stop_wishes:
        return
    supervisor.add(Child("worker", [*python, "whatsapp_logs", "worker"], env))
    supervisor.add(Child("web", web_command(ports), env))
    _await_page(supervisor, ports)
    if place.is_demo:
        supervisor.complete(Child("customers", [*python, "portal.start.customers"], env))
    supervisor.started()
    if server:
        supervisor.check_often(_keeps_up(server))


def check_configuration(place: Place) -> None:
    """Raise CannotStart with every problem of the settings at once: the start's, the portal's and the log's."""
    from portal.config import PortalConfig
    from whatsapp_logs.config import Config
    from whatsapp_logs.errors import ConfigError

    url = place.given.get("DATABASE_URL") or "postgresql:///the-embedded-one"
    env = place.environment(Ports(FIRST_PORT, FIRST_PORT + 1), database_url=url, keep=False)
    problems = port_problems(place)
    for settings in (Config, PortalConfig):
        try:
            settings.from_env(env)
        except ConfigError as found:
            problems += found.problems
    if problems:
        named = {problem.partition(" ")[0]: problem for problem in reversed(problems)}  # one sentence for each setting
        raise CannotStart(
            f"{ConfigError(list(reversed(named.values())))}\n"
            "Settings come from the environment and from .env; .env.example explains each."
        )


def web_command(ports: Ports) -> list[str]:
    """The web server's command line: one process beside granian's own, with a few threads."""
    options = {
        "--interface": "wsgi",
        "--host": HOST,
        "--port": str(ports.web),
        "--workers": "1",
        "--blocking-threads": str(BLOCKING_THREADS),
        "--workers-kill-timeout": "5",
        "--log-level": "warning",
    }
    words = (word for pair in options.items() for word in pair)
    return [sys.executable, "-m", "granian", *words, "portal.start.web:app"]


def welcome(place: Place, ports: Ports) -> str:
    """What the person at the terminal needs: where, as whom, and how it ends."""
    lines = ["", f"  The portal is ready:   http://{HOST}:{ports.web}", ""]
    if place.own_database and not place.is_demo:
        lines += ["  Give yourself a sign-in:  ./run person YOUR.NAME administrator", ""]
    if place.is_demo:
        from portal import demo

        lines += [f"  {line}" for line in demo.sign_ins()]
        if place.is_demo and not place.given.get("REQUIRE_SECOND_FACTOR"):
            lines += ["  Nobody here needs a second factor; in earnest administrators do (REQUIRE_SECOND_FACTOR)."]
        lines += [""]
    if place.simulated:
        lines += [f"  Customers' phones:     http://{HOST}:{ports.simulator}   (simulated: nothing reaches WhatsApp)"]
    lines += [f"  Log of all parts:      {place.log}", "  Stop with Ctrl-C. More: ./run help"]
    return "\n".join(lines)


def tell(text: str) -> None:
    """Say something at the terminal, if it is still there."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _await_page(supervisor: Supervisor, ports: Ports) -> None:
    deadline = time.monotonic() + PAGE_TIMEOUT_S
    supervisor.run(until=lambda: _page_answers(ports) or time.monotonic() > deadline)
    if time.monotonic() > deadline:
        raise StartFailed(f"The page did not answer within {PAGE_TIMEOUT_S:g} s.")


def _page_answers(ports: Ports) -> bool:
    connection = http.client.HTTPConnection(HOST, ports.web, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def _keeps_up(server: Server) -> Callable[[], None]:
    """Return a check that starts the server again when it has ended, and after a failure not at once."""
    not_before = 0.0

    def check() -> None:
        nonlocal not_before
        if time.monotonic() < not_before or not server.ended():
            return
        tell("PostgreSQL ended; it starts again.")
        try:
            server.start()
        except PostgresUnavailable as problem:
            tell(str(problem))
            not_before = time.monotonic() + DATABASE_PAUSE_S

    return check
