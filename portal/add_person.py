"""Give somebody a way in: `python -m portal.add_person USERNAME ROLE [--name NAME] [--timezone ZONE] [--reset-second-factor]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import psycopg
from psycopg import Connection

from portal import invitations, people, roles, second_factors, sign_ins
from whatsapp_logs import database_address
from whatsapp_logs.errors import WhatsAppLogsError


def main(argv: Sequence[str]) -> int:
    """Print the person's link, once; returns the exit status."""
    given = _arguments(argv)
    if problem := database_address.problem("DATABASE_URL", os.environ["DATABASE_URL"]):
        print(f"run person: {problem}", file=sys.stderr)
        return 1
    try:
        with psycopg.connect(os.environ["DATABASE_URL"], application_name="portal person") as conn:
            if not roles.keep(conn, given.role):
                print(
                    f"run person: there is no role {given.role}. There are: {', '.join(roles.names(conn))}.",
                    file=sys.stderr,
                )
                return 1
            token = _let_in(conn, given)
    except (psycopg.OperationalError, WhatsAppLogsError) as problem:
        print(f"run person: the database cannot be reached: {problem}", file=sys.stderr)
        return 1
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        print("run person: the database has no portal yet. Run `./run migrate` first.", file=sys.stderr)
        return 1
    address = os.environ.get("PUBLIC_BASE_URL", "").rstrip("/") or "<the portal's address>"
    print(
        f"A link for {given.username} ({given.role}) to choose a password; once, within {invitations.LASTS_HOURS} hours:"
    )
    print(f"{address}{invitations.PATH}/{token}")
    return 0


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run person", description="Give somebody a way in, or a new one: a link with which they choose a password."
    )
    parser.add_argument("username", type=str.lower, help="what they type to sign in, like asha.rao")
    parser.add_argument("role", type=str.lower, help="administrator, agent, compliance, viewer, or a role of your own")
    parser.add_argument("--name", help="how the portal calls them (default: from the user name)")
    parser.add_argument("--timezone", default=os.environ.get("DISPLAY_TIMEZONE") or "UTC", help="like Europe/London")
    parser.add_argument(
        "--reset-second-factor", action="store_true", help="they have lost their phone and their recovery codes"
    )
    return parser.parse_args(argv)


def _let_in(conn: Connection, given: argparse.Namespace) -> str:
    name = given.name or given.username.replace(".", " ").title()
    user_id = people.add(conn, username=given.username, name=name, role=given.role, timezone=given.timezone)
    if given.reset_second_factor:
        second_factors.remove(conn, user_id)
        sign_ins.end_all(conn, user_id)
    return invitations.make(conn, user_id)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
