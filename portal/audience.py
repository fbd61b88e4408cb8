"""Whom a campaign can be sent to by what the portal knows: policies by their day of renewal, by product, by insurer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from psycopg.rows import class_row

from portal.database import reading
from portal.demo_data import PRODUCTS
from portal.format import long_date
from portal.policies import SELECT
from portal.policy import Policy
from portal.today import office_today
from whatsapp_logs import Addressee, Audience, AudienceField

_MOST = 50_001  # one more than a campaign takes: so that it can say that there are too many
_DAYS = ("7", "14", "30", "60", "90")


def audience() -> Audience:
    """The questions, and who fits their answers."""
    return Audience(
        fields=(
            AudienceField(
                name="days", label="Policy ends within", choices=tuple((day, f"{day} days") for day in _DAYS)
            ),
            AudienceField(name="product", label="Product", choices=tuple((name, name) for name in PRODUCTS)),
        ),
        find=_find,
    )


def _find(wanted: Mapping[str, str]) -> Iterator[Addressee]:
    """A row for each active policy that fits, the soonest to end first."""
    today = office_today()
    where, parameters = ["p.status = 'active'", "p.ends_on >= %(today)s"], {"today": today, "limit": _MOST}
    if wanted.get("days"):
        where.append("p.ends_on <= %(until)s")
        parameters["until"] = today + timedelta(days=int(wanted["days"]))
    if wanted.get("product"):
        where.append("p.product = %(product)s")
        parameters["product"] = wanted["product"]
    with reading() as conn, conn.cursor(row_factory=class_row(Policy)) as cursor:
        found = cursor.execute(
            f"{SELECT} WHERE {' AND '.join(where)} ORDER BY p.ends_on, p.policy_id LIMIT %(limit)s".encode(), parameters
        ).fetchall()
    return (_addressee(policy) for policy in found)


def _addressee(policy: Policy) -> Addressee:
    return Addressee(
        to=policy.client_phone,
        client_id=policy.client_id,
        policy_id=policy.policy_id,
        fields={
            "Client name": policy.client_name,
            "Policy number": policy.policy_number,
            "Renewal date": long_date(policy.ends_on),
            "Product": policy.product,
            "Insurer": policy.insurer,
        },
    )
