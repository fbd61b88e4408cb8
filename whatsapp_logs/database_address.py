"""What an address of PostgreSQL says about encryption. libpq's own default falls back to none without a word."""

from __future__ import annotations

import ipaddress
import os

ENCRYPTED = ("require", "verify-ca", "verify-full")
_DECIDED = (*ENCRYPTED, "disable")  # "allow" and "prefer" leave it to whoever stands between


def problem(name: str, address: str) -> str | None:
    """What is wrong with the address of the setting `name`: it leaves this machine, and does not say whether it is encrypted."""
    if address.startswith("postgresql:///") and "host" not in address and "PGHOST" not in os.environ:
        return None  # the embedded one, whose starter does without psycopg
    parts = _parts(address)
    if parts is None or "service" in parts or parts.get("sslmode", os.environ.get("PGSSLMODE")) in _DECIDED:
        return None
    hosts = parts.get("hostaddr") or parts.get("host") or os.environ.get("PGHOST", "")
    if all(_is_this_machine(host) for host in hosts.split(",")):
        return None
    return (
        f"{name} leads to another machine and does not insist on encryption: add ?sslmode=verify-full with sslrootcert, "
        "or at least ?sslmode=require; ?sslmode=disable says that the way there is safe without."
    )


def _parts(address: str) -> dict[str, str] | None:
    """The address taken apart as libpq does; None for one that it does not understand, which others complain about."""
    from psycopg import ProgrammingError  # Here: whoever only starts the others need not load it.
    from psycopg.conninfo import conninfo_to_dict

    try:
        return {name: str(value) for name, value in conninfo_to_dict(address).items() if value}
    except ProgrammingError:
        return None


def _is_this_machine(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
