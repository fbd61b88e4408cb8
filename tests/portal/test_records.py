"""The portal's records as the bot asks for them: who somebody is, what is theirs, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import psycopg
import pytest

from portal.records import OfficeRecords, read_date
from tests.portal.conftest import Office
from tests.postgres_keeper import APP_ROLE

BORN = date(1980, 3, 24)


@pytest.fixture
def records(office: Office) -> Iterator[OfficeRecords]:
    records = OfficeRecords(psycopg.conninfo.make_conninfo(office.dsn, user=APP_ROLE), timezone="Europe/London")
    yield records
    records.close()


@pytest.fixture
def client(office: Office) -> Iterator[tuple[str, str, str]]:
    """A client's id, number and policy number; born on 24 March 1980."""
    with psycopg.connect(office.dsn) as conn:
        row = conn.execute(
            """
            WITH c AS (INSERT INTO clients (name, phone, address, date_of_birth)
                       VALUES ('Asha Example', '+447700900977', E'1 Road\nBristol BS1 0AA', %s) RETURNING client_id),
            p AS (INSERT INTO policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium, currency,
                                        starts_on, ends_on, status)
                  SELECT client_id, 'MOT-26-90977', 'motor', 'Insurer', 'Car', 1000, 1, 1, 'GBP', current_date - 10,
                         current_date + 300, 'active' FROM c)
            SELECT client_id::text FROM c
            """,
            (BORN,),
        ).fetchone()
    assert row
    yield str(row[0]), "+447700900977", "MOT-26-90977"
    with psycopg.connect(office.dsn) as conn:
        conn.execute("DELETE FROM policies WHERE policy_number = 'MOT-26-90977'")
        conn.execute("DELETE FROM clients WHERE phone IN ('+447700900977', '+447700900978')")


@pytest.mark.parametrize("number", ["MOT-26-90977", "mot 26 90977", " MOT2690977", "my policy is MOT-26-90977"])
@pytest.mark.parametrize("detail", ["24 March 1980", "24/03/1980", "1980-03-24", "24.3.1980", "24th of mar 1980"])
def test_number_policy_and_date_of_birth_together_are_an_identity(records, client, number: str, detail: str) -> None:
    assert records.identify(client[1], policy_number=number, detail=detail) == client[0]


@pytest.mark.parametrize(
    ("address", "number", "detail"),
    [
        ("+447700900977", "MOT-26-90977", "25 March 1980"),
        ("+447700900977", "MOT-26-90977", "BS1 0AA"),
        ("+447700900977", "MOT-26-90977", ""),
        ("+447700900977", "MOT-26-9097", "24 March 1980"),
        ("+447700900977", "%", "24 March 1980"),
        ("+447700900977", "", "24 March 1980"),
        ("+447700900999", "MOT-26-90977", "24 March 1980"),
        ("", "MOT-26-90977", "24 March 1980"),
    ],
)
def test_one_that_is_wrong_is_none(records, client, address: str, number: str, detail: str) -> None:
    assert records.identify(address, policy_number=number, detail=detail) is None


def test_somebody_elses_policy_is_none(records, client, office: Office) -> None:
    (other,) = office.row("SELECT policy_number FROM policies WHERE policy_number <> 'MOT-26-90977' LIMIT 1")
    assert records.identify(client[1], policy_number=str(other), detail="24 March 1980") is None


def test_a_client_without_a_date_of_birth_says_the_postcode(records, client, office: Office) -> None:
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE clients SET date_of_birth = NULL WHERE client_id = %s", (int(client[0]),))
    for detail, found in (("bs1 0aa", client[0]), ("BS10AA", client[0]), ("BS1 0AB", None), ("0AA", None), ("", None)):
        assert records.identify(client[1], policy_number=client[2], detail=detail) == found, detail


def test_policies_and_documents_are_given_to_the_number_on_file_alone(records, client, office: Office) -> None:
    (policy,) = records.policies(client[0], address=client[1])
    assert (policy.number, policy.label, policy.standing) == ("MOT-26-90977", "Motor insurance", "")
    file = records.document(client[0], policy.id, address=client[1])
    assert file is not None
    assert file.content.startswith(b"%PDF")
    assert file.filename == "MOT-26-90977.pdf"
    (other,) = office.row("SELECT policy_id FROM policies WHERE policy_number <> 'MOT-26-90977' LIMIT 1")
    assert records.document(client[0], str(other), address=client[1]) is None
    with psycopg.connect(office.dsn) as conn:
        conn.execute("UPDATE clients SET phone = '+447700900978' WHERE client_id = %s", (int(client[0]),))
    assert records.policies(client[0], address=client[1]) == []
    assert records.document(client[0], policy.id, address=client[1]) is None


def test_a_number_that_two_share_is_nobodys(records, client, office: Office) -> None:
    assert records.client_of(client[1]) == client[0]
    assert records.clients_of([client[1], "+447700900000"]) == {client[1]: client[0]}
    with psycopg.connect(office.dsn) as conn:
        conn.execute("INSERT INTO clients (name, phone, address) VALUES ('Twin', %s, 'Road')", (client[1],))
    assert records.client_of(client[1]) is None
    assert records.client_of("+447700900000") is None
    assert records.clients_of([client[1], "+447700900000"]) == {}


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("24 March 1980", BORN), ("March 24, 1980", BORN), ("24-03-1980", BORN), ("1980/3/24", BORN), ("24 3 80", None),
        ("31 February 1980", None), ("yesterday", None), ("", None), ("24 March", None), ("99999 March 1980", None),
        ("24 march april 1980", None), ("0 March 1980", None),
    ],
)  # fmt: skip
def test_a_day_is_read_as_people_write_it(text: str, day: date | None) -> None:
    assert read_date(text) == day


def test_the_invented_office_has_dates_of_birth(office: Office) -> None:
    assert office.row(
        "SELECT count(*) FILTER (WHERE date_of_birth IS NULL) FROM clients WHERE phone <> '+447700900977'"
    ) == (0,)
