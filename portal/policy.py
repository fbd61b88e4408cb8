"""What a policy is; its pages are in `policies`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


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

    @property
    def is_renewable(self) -> bool:
        """Whether there is something to renew."""
        return self.status == "active"
