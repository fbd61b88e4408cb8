"""`python -m portal`: what `./run` calls."""

from __future__ import annotations

import os
import subprocess
import sys

from portal.start.environment import ROOT, CannotStart, Place, Ports, running_ports
from portal.start.everything import start
from portal.start.postgres import PostgresUnavailable, Server
from portal.start.processes import StartFailed

HELP = """\
./run            start everything: PostgreSQL, demo data, Twilio simulator, worker, web server; Ctrl-C stops it
./run test       run the tests (installs what they need); arguments go to pytest
./run check      lint, types and import layers
./run doctor     check database, schema, Twilio, public address, worker and clock, and say what to do
./run migrate    bring the database up to date; with --sql print the SQL instead
./run seed       add synthetic demo data
./run refresh    ask Twilio about every message that is still under way
./run export     write the log as CSV
./run worker     run one more worker
./run serve      run the web server alone
./run simulate   run the Twilio simulator alone
./run help       show this

Settings come from the environment and from .env (see .env.example). The most used:
  PORT=8810             another address (default 8800, or the next free port)
  DATA_DIR=.data2       another folder for database and logs: two portals side by side
  DATABASE_URL=...      a PostgreSQL of your own instead of the embedded one
  TWILIO_ACCOUNT_SID=.. with TWILIO_AUTH_TOKEN and TWILIO_WHATSAPP_FROM: real messages instead of the simulator
"""


def main() -> None:
    verb, *arguments = sys.argv[1:] or ["start"]
    if verb in ("help", "-h", "--help"):
        print(HELP, end="")
        return
    from whatsapp_logs.config import environment

    try:
        given = environment(ROOT)
        if verb == "start":
            start(given)
        else:
            sys.exit(run_verb(Place.from_env(given), [verb, *arguments]))
    except (CannotStart, PostgresUnavailable, StartFailed) as problem:
        sys.exit(f"run: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)


def run_verb(place: Place, arguments: list[str]) -> int:
    """Run one command of the feature as a part of this installation; returns its exit status.

    It sees the database and the simulator of the running portal; when none runs, a database just for this command.
    """
    running = running_ports(place)
    ports = running or Ports(8800, 8801)
    command = [sys.executable, "-m", "whatsapp_logs", *arguments]
    if not place.own_database:
        os.execve(command[0], command, place.environment(ports, database_url=place.given["DATABASE_URL"]))
    with Server(place.data_dir / "postgres") as server:
        env = place.environment(ports, database_url=server.dsn)
        return subprocess.run(command, env=env, check=False).returncode


if __name__ == "__main__":
    main()
