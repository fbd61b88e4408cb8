"""The demonstration's customers write their first words: `python -m portal.start.customers`, once.

To an office nobody has written to yet, through the simulator, as real customers would: the bot answers, and one waits for a person.
"""

from __future__ import annotations

import sys

import psycopg
import requests

from whatsapp_logs.config import environment

# Who writes what. The last one wants nothing more.
FIRST_WORDS = (
    ("Amara Diallo", "Hi"),
    ("Kwame Asante", "I would like to talk to a person about the damage to my car"),
    ("Noah Williams", "Thank you, the document has arrived"),
    ("Simone Laurent", "STOP"),
)


def main() -> None:
    env = environment()
    with psycopg.connect(env["DATABASE_URL"], application_name="portal customers") as conn:
        if conn.execute("SELECT FROM whatsapp_logs.conversations LIMIT 1").fetchone() is not None:
            return
        phones: dict[str, str] = dict(conn.execute("SELECT name, phone FROM clients").fetchall())
    written = [{"from": phones[name], "name": name, "body": body} for name, body in FIRST_WORDS if name in phones]
    address = f"{env['TWILIO_API_BASE_URL']}/_simulator/inbound"
    try:
        requests.post(address, json={"messages": written}, timeout=10).raise_for_status()
    except requests.RequestException as problem:
        print(f"The customers could not write: {problem}", file=sys.stderr)  # the portal runs all the same


if __name__ == "__main__":
    main()
