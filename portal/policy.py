"""What a policy is; its pages are in `policies`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


class Standing(StrEnum):
    """Where a policy stands on a day. What the office has recorded says nothing of a date that has passed meanwhile."""

    IN_FORCE = "in force"
    LATER = "starts later"
    EXPIRED = "expired"
    LAPSED = "lapsed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A contract of insurance with its holder. `ends_on` is the last day of cover, when renewal is due."""

    policy_id: int
    policy_number: str
    product: str
    insurer: str
    insured: str
    sum_insured: Decimal
    excess: Decimal
    premium: Decimal
    currency: str
    starts_on: date
    ends_on: date
    status: str
    client_id: int
    client_name: str
    client_phone: str
    client_address: str

    def standing(self, today: date) -> Standing:
        """Whether the policy covers anything on that day, and if not, why."""
        if self.status != "active":
            return Standing(self.status)
        if today < self.starts_on:
            return Standing.LATER
        return Standing.IN_FORCE if today <= self.ends_on else Standing.EXPIRED

    @property
    def is_renewable(self) -> bool:
        """Whether there is something to renew: also when the last day of cover has just passed."""
        return self.status == "active"
