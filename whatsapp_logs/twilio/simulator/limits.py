"""How fast a sender sends, and how many customers it may write to in a day: kept in the database, so that both survive."""

from __future__ import annotations

import math

from whatsapp_logs.twilio.simulator.database import Database

DAY_S = 24 * 3600.0


class Limits:
    """A sender has one lane: each message waits until those before it are gone, `per_s` of them a second."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def wait_s(self, sender: str, *, per_s: float, now: float) -> float:
        """Take the next place in the sender's queue; the seconds until it is this message's turn."""
        turn = max(self._free_at(sender), now)
        self._database.run(
            "INSERT OR REPLACE INTO senders (address, free_at) VALUES (?, ?)", (sender, turn + 1 / per_s)
        )
        return turn - now

    def waiting(self, sender: str, *, per_s: float, now: float) -> int:
        """How many messages wait for their turn."""
        return math.ceil(max(self._free_at(sender) - now, 0.0) * per_s)

    def may_open(self, customer: str, *, customers: int, now: float) -> bool:
        """Whether one more conversation may be begun; if so, the customer counts for the next 24 hours."""
        with self._database.transaction():
            recent = (customer, now - DAY_S)
            if self._database.row("SELECT 1 FROM openings WHERE customer = ? AND at > ?", recent) is None:
                found = self._database.row("SELECT count(*) FROM openings WHERE at > ?", (now - DAY_S,))
                if found and int(str(found[0])) >= customers:
                    return False
            self._database.run("INSERT OR REPLACE INTO openings (customer, at) VALUES (?, ?)", (customer, now))
            return True

    def _free_at(self, sender: str) -> float:
        row = self._database.row("SELECT free_at FROM senders WHERE address = ?", (sender,))
        return float(str(row[0])) if row else 0.0
