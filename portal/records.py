"""The office's records as the bot asks for them (RECORDS=portal.records:make): identity, policies, documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from psycopg_pool import ConnectionPool

from portal import documents, policies
from portal.config import OFFICE, PortalConfig
from portal.policy import Policy, Standing
from whatsapp_logs import MediaFile, PolicyFacts, config

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_POSTCODE = re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]?[0-9][A-Z]{2}$")
_WAIT_S = 3.0


class OfficeRecords:
    """Reads the portal's own tables, with two connections of its own."""

    office = OFFICE

    def __init__(self, database_url: str, *, timezone: str, transaction_pooler: bool = False) -> None:
        self._zone = ZoneInfo(timezone)
        settings = {"connect_timeout": int(_WAIT_S), "application_name": "portal records", "autocommit": True}
        self._pool = ConnectionPool(
            database_url,
            min_size=0,
            max_size=2,
            timeout=_WAIT_S,
            kwargs=settings | ({"prepare_threshold": None} if transaction_pooler else {}),
            check=ConnectionPool.check_connection,
            open=True,
            name="portal records",
        )

    def client_of(self, address: str) -> str | None:
        """The one client of this number."""
        with self._pool.connection() as conn:
            found = conn.execute("SELECT client_id FROM clients WHERE phone = %s LIMIT 2", (address,)).fetchall()
        return str(found[0][0]) if len(found) == 1 else None

    def clients_of(self, addresses: Sequence[str]) -> dict[str, str]:
        """The same for many: those numbers that exactly one client has, each with that client's id."""
        with self._pool.connection() as conn:
            found = conn.execute(
                "SELECT phone, min(client_id) FROM clients WHERE phone = ANY (%s) GROUP BY phone HAVING count(*) = 1",
                (list(addresses),),
            ).fetchall()
        return {phone: str(client_id) for phone, client_id in found}

    def identify(self, address: str, *, policy_number: str, detail: str) -> str | None:
        """Number on file, policy number, and date of birth (or, for a client without one, the postcode): all of one client."""
        with self._pool.connection() as conn:
            found = conn.execute(
                """
                SELECT c.client_id, c.date_of_birth, c.address FROM clients AS c JOIN policies AS p USING (client_id)
                WHERE c.phone = %(phone)s AND upper(regexp_replace(p.policy_number, '[^A-Za-z0-9]', '', 'g')) = ANY (%(numbers)s)
                """,
                {"phone": address, "numbers": _numbers(policy_number)},
            ).fetchall()
        matching = [row[0] for row in found if _matches(detail, born=row[1], address=row[2])]
        return str(matching[0]) if len(set(matching)) == 1 else None

    def policies(self, client_id: str, *, address: str) -> list[PolicyFacts]:
        """The client's policies, while the number is still theirs."""
        return [_facts(policy, self._today()) for policy in self._of(client_id, address)]

    def document(self, client_id: str, policy_id: str, *, address: str) -> MediaFile | None:
        """The schedule of one of this client's policies."""
        policy = next((one for one in self._of(client_id, address) if str(one.policy_id) == policy_id), None)
        if policy is None:
            return None
        content = documents.policy_schedule(policy)
        return MediaFile(content=content, content_type="application/pdf", filename=f"{policy.policy_number}.pdf")

    def close(self) -> None:
        """Give the connections back."""
        self._pool.close()

    def _of(self, client_id: str, address: str) -> list[Policy]:
        with self._pool.connection() as conn:
            owned = policies.of_client(conn, int(client_id), today=self._today())
        return [policy for policy in owned if policy.client_phone == address]

    def _today(self) -> date:
        return datetime.now(self._zone).date()


def make() -> OfficeRecords:
    """The records of the portal that the environment names."""
    settings, feature = PortalConfig.from_env(), config.Config.from_env()
    return OfficeRecords(
        settings.database_url, timezone=settings.timezone, transaction_pooler=feature.transaction_pooler
    )


def read_date(text: str) -> date | None:
    """A day as people write it: 24 March 1980, 24.3.1980, 24/03/1980, 1980-03-24. The day stands before the month."""
    words = re.findall(r"[0-9]+|[a-z]+", text.casefold())
    words = [word for word in words if word not in ("st", "nd", "rd", "th", "of")]
    if len(words) != 3:
        return None
    names = [word[:3] for word in words if word[:3] in _MONTHS]
    numbers = [int(word) for word in words if word.isascii() and word.isdecimal() and len(word) <= 4]
    if len(names) == 1 and len(numbers) == 2:
        day, year, month = min(numbers), max(numbers), _MONTHS.index(names[0]) + 1
    elif len(numbers) == 3:
        (year, month, day) = numbers if numbers[0] > 31 else numbers[::-1]
    else:
        return None
    try:
        return date(year, month, day) if year > 1800 else None
    except ValueError:
        return None


def _numbers(typed: str) -> list[str]:
    """What may be meant as a policy number: all of it, and without the words around it."""
    plain = _plain(typed)
    around = "".join(_plain(word) for word in typed.split() if any(char.isdigit() for char in word))
    return list(dict.fromkeys(one for one in (plain, around) if one))


def _matches(detail: str, *, born: date | None, address: str) -> bool:
    if born is not None:
        return read_date(detail) == born
    postcode = _POSTCODE.search(_plain(address))
    return postcode is not None and _plain(detail) == postcode[0]


def _plain(text: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", text.upper())


def _facts(policy: Policy, today: date) -> PolicyFacts:
    standing = policy.standing(today)
    return PolicyFacts(
        id=str(policy.policy_id),
        number=policy.policy_number,
        label=documents.TITLES[policy.product],
        ends_on=policy.ends_on,
        standing="" if standing is Standing.IN_FORCE else str(standing),
    )
