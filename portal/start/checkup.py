"""`./run doctor`: the log's own examination, with this folder's settings and in the words of `./run`.

While the portal does not run, only what lies in this folder is looked at: never another portal that happens to listen at
the same address, and nothing is made that is not there yet.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from portal.start.environment import FIRST_PORT, Place, Ports, running_ports
from portal.start.everything import check_configuration
from portal.start.postgres import Server

STOPPED = "The portal of this folder is not running: start it with ./run"
# Parts of a running portal, and how its commands are called here.
_RUNNING_ONLY = ("worker", "callbacks")
_OUR_COMMANDS = {
    "python run_whatsapp_migration.py --apply": "./run migrate",
    "`python -m whatsapp_logs worker`": "`./run`, or one more worker by `./run worker`",
}


def examine(place: Place) -> int:
    """Print a line for each part; returns the exit status: 0 when all is well."""
    check_configuration(place)
    logging.getLogger().setLevel(logging.CRITICAL)  # the findings are the output
    from whatsapp_logs import doctor
    from whatsapp_logs.config import Config

    ports = running_ports(place)
    findings = []
    if ports is None:
        left_out = [*_RUNNING_ONLY, *(["twilio"] if place.simulated else [])]
        findings.append(doctor.Finding("portal", False, STOPPED))
    else:
        left_out = []
        findings.append(doctor.Finding("portal", True, f"It runs at http://127.0.0.1:{ports.web}."))
    with _database(place) as url:
        if url is None:
            left_out += ["database", "schema", "clock", "worker", "callbacks"]
            findings.append(doctor.Finding("database", False, "There is none yet: the first ./run makes it."))
        known = ports or Ports(FIRST_PORT, FIRST_PORT + 1)
        env = place.environment(known, database_url=url or "postgresql:///none", keep=False)
        findings += doctor.examine(Config.from_env(env), without=left_out)
    for finding in findings:
        print(_in_our_words(str(finding)))
    return 0 if all(finding.is_well for finding in findings) else 1


@contextmanager
def _database(place: Place) -> Iterator[str | None]:
    """The address of the database, started for this once if need be; None when this folder has none yet."""
    if not place.own_database:
        yield place.given["DATABASE_URL"]
    elif not (place.data_dir / "postgres").is_dir():
        yield None
    else:
        server = Server(place.data_dir / "postgres")
        if not server.has_data:
            yield None
            return
        with server:
            yield server.dsn


def _in_our_words(line: str) -> str:
    for command, ours in _OUR_COMMANDS.items():
        line = line.replace(command, ours)
    return line
