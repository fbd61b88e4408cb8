"""Give somebody a sign-in, or a new password: `python -m portal.add_person USERNAME ROLE [--name NAME] [--timezone ZONE]`."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Sequence

import psycopg

from portal import people
from whatsapp_logs import ROLES
from whatsapp_logs.errors import WhatsAppLogsError


def main(argv: Sequence[str]) -> int:
    """Print the person's new password, once; returns the exit status."""
    parser = argparse.ArgumentParser(prog="run person", description="Give somebody a sign-in, or a new password.")
    parser.add_argument("username", type=str.lower, help="what they type to sign in, like asha.rao")
    parser.add_argument("role", choices=list(ROLES))
    parser.add_argument("--name", help="how the portal calls them (default: from the user name)")
    parser.add_argument("--timezone", default=os.environ.get("DISPLAY_TIMEZONE") or "UTC", help="like Europe/London")
    given = parser.parse_args(argv)
    password = secrets.token_urlsafe(12)
    name = given.name or given.username.replace(".", " ").title()
    try:
        with psycopg.connect(os.environ["DATABASE_URL"], application_name="portal person") as conn:
            people.add(
                conn, username=given.username, name=name, role=given.role, timezone=given.timezone, password=password
            )
    except (psycopg.OperationalError, WhatsAppLogsError) as problem:
        print(f"run person: the database cannot be reached: {problem}", file=sys.stderr)
        return 1
    except psycopg.errors.UndefinedTable:
        print("run person: the database has no portal yet. Run `./run migrate` first.", file=sys.stderr)
        return 1
    print(f"{given.username} signs in as {given.role} with the password  {password}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
