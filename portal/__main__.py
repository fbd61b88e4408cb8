"""`python -m portal`: what `./run` calls."""

from __future__ import annotations

import signal
import subprocess
import sys

from portal.start.environment import FIRST_PORT, ROOT, CannotStart, Place, Ports, running_ports
from portal.start.everything import start, web_command
from portal.start.postgres import PostgresUnavailable, Server
from portal.start.processes import StartFailed

HELP = """\
./run            start everything: PostgreSQL, demo data, Twilio simulator, worker, web server; Ctrl-C stops it
./run test       run the tests (installs what they need); arguments go to pytest
./run faults     the fault bench: 10 000 messages while everything is killed at random; --seed N, --messages N
./run fuzz       100 000 calls that nobody of ours would make; --inputs N, --seed N
./run audit      ask the world's list of known vulnerabilities about every pinned package (needs the internet)
./run bench      every figure beside a baseline; --rows N (default 1 000 000), names of benches
./run check      lint, types and import layers
./run doctor     check database, schema, Twilio, public address, worker and clock, and say what to do
./run migrate    bring the database up to date; with --sql print the log's SQL instead
./run seed       fill an empty database with synthetic demo data
./run person     let somebody in: ./run person USERNAME ROLE prints their link
./run refresh    ask Twilio about every message that is still under way
./run worker     run one more worker
./run serve      run the web server alone
./run simulate   run the Twilio simulator alone
./run reconcile  compare a day's messages with Twilio's list; --day 2026-11-21
./run restored   after restoring an older backup, before ./run: fill the gap, send nothing twice
./run help       show this

Settings come from the environment and from .env (see .env.example). The most used:
  PORT=8810             another address (default 8800, or the next free port)
  DATA_DIR=.data2       another folder for database and logs: two portals side by side
  DATABASE_URL=...      a PostgreSQL of your own instead of the embedded one
  TWILIO_ACCOUNT_SID=.. with TWILIO_AUTH_TOKEN and TWILIO_WHATSAPP_FROM: real messages instead of the simulator
"""
VERBS = (
    "start", "doctor", "migrate", "seed", "person", "refresh", "reconcile", "restored", "worker", "serve", "simulate",
)  # fmt: skip


def main() -> None:
    verb, *arguments = sys.argv[1:] or ["start"]
    if verb in ("help", "-h", "--help"):
        print(HELP, end="")
        return
    if verb not in VERBS:
        print(f"run: there is no command {verb!r}. These are there:\n\n{HELP}", end="", file=sys.stderr)
        sys.exit(2)
    from whatsapp_logs.config import environment
    from whatsapp_logs.errors import ConfigError

    try:
        given = environment(ROOT)
        if verb == "start":
            start(given)
        else:
            sys.exit(run_verb(Place.from_env(given), [verb, *arguments]))
    except (CannotStart, ConfigError, PostgresUnavailable, StartFailed) as problem:
        sys.exit(f"run: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


def run_verb(place: Place, arguments: list[str]) -> int:
    """Run one command as a part of this installation; returns its exit status.

    It sees the database and the simulator of the running portal; when none runs, a database just for this command.
    """
    if arguments == ["doctor"]:
        from portal.start import checkup  # Here: it loads the log, which the other commands leave to their own process.

        return checkup.examine(place)
    if _needs_no_database(arguments):
        return subprocess.call([sys.executable, "-m", "whatsapp_logs", *arguments])
    ports = running_ports(place) or Ports(FIRST_PORT, FIRST_PORT + 1)
    if not place.own_database:
        url = place.given["DATABASE_URL"]
        return _run(arguments, ports, _with_owner(place, ports, url, place.given.get("MIGRATION_DATABASE_URL") or url))
    with Server(place.data_dir / "postgres") as server:
        return _run(arguments, ports, _with_owner(place, ports, server.app_dsn, server.dsn))


def _with_owner(place: Place, ports: Ports, url: str, owner_url: str) -> dict[str, str]:
    """The command's environment; it may migrate, so that it is told who owns the tables."""
    return place.environment(ports, database_url=url) | {"MIGRATION_DATABASE_URL": owner_url}


def _needs_no_database(arguments: list[str]) -> bool:
    return arguments in (["migrate", "--sql"], ["migrate", "--help"], ["migrate", "-h"])


def _run(arguments: list[str], ports: Ports, env: dict[str, str]) -> int:
    python = [sys.executable, "-m"]
    match arguments:
        case ["migrate"]:
            command = [*python, "portal.start.prepare"]
        case ["seed"]:
            command = [*python, "portal.start.prepare", "--demo"]
        case ["person", *rest]:
            command = [*python, "portal.add_person", *rest]
        case ["serve"]:
            command = web_command(ports)
        case _:
            command = [*python, "whatsapp_logs", *arguments]
    process = subprocess.Popen(command, env=env)
    # Whoever ends us means the command; Ctrl-C reaches it from the terminal itself.
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return process.wait()


if __name__ == "__main__":
    main()
