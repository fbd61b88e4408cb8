"""What the simulated WhatsApp knows about each customer: the 24-hour window, opt-outs, blocks."""

from __future__ import annotations

from dataclasses import dataclass

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.database import Database


@dataclass(frozen=True, slots=True)
class Contact:
    """One customer as the account's sender sees them; the account has one WhatsApp sender."""

    address: str
    profile_name: str | None = None
    last_inbound_at: float | None = None
    opted_out: bool = False
    blocked: bool = False
    refused_creates: int = 0

    def window_is_open(self, now: float) -> bool:
        """Whether free text may be sent: the customer wrote within the last 24 hours."""
        return self.last_inbound_at is not None and now - self.last_inbound_at < rules.WINDOW_S


class Contacts:
    """Customers by full address (`whatsapp:+…`, `+…`); unknown ones are ordinary people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, address: str) -> Contact:
        row = self._database.row(
            "SELECT address, profile_name, last_inbound_at, opted_out, blocked, refused_creates"
            " FROM contacts WHERE address = ?",
            (address,),
        )
        if row is None:
            return Contact(address)
        name, last_inbound_at, opted_out, blocked, refused = row[1:]
        return Contact(address, name, last_inbound_at, bool(opted_out), bool(blocked), refused)  # type: ignore[arg-type]

    def hear_from(self, address: str, *, name: str, now: float) -> None:
        """The customer has written: the window opens or is extended."""
        self._set(address, "profile_name", name)
        self._set(address, "last_inbound_at", now)

    def opt_out(self, address: str, opted_out: bool) -> None:
        self._set(address, "opted_out", int(opted_out))

    def block(self, address: str, blocked: bool) -> None:
        self._set(address, "blocked", int(blocked))

    def refuse_create(self, address: str) -> None:
        self._set(address, "refused_creates", self.find(address).refused_creates + 1)

    def _set(self, address: str, column: str, value: object) -> None:
        self._database.run(
            f"INSERT INTO contacts (address, {column}) VALUES (:address, :value)"  # noqa: S608 - words of ours; values are parameters
            f" ON CONFLICT (address) DO UPDATE SET {column} = :value",
            {"address": address, "value": value},
        )
