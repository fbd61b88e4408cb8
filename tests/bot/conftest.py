"""The service with an office's records, so that there is a bot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.bot.office import Office
from whatsapp_logs import Config, WhatsAppService


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def service(config: Config, office: Office, dsn: str) -> Iterator[WhatsAppService]:
    with psycopg.connect(dsn) as conn:
        add_office(conn, office)
    service = WhatsAppService(replace(config, bot_answers_per_minute=1000), records=office)
    yield service
    service.close()


def add_office(conn: psycopg.Connection, office: Office) -> None:
    """The same clients and policies as rows, for messages that point to them."""
    for address, client in office.numbers.items():
        conn.execute(
            """
            INSERT INTO clients (client_id, name, phone, address) OVERRIDING SYSTEM VALUE VALUES (%s, %s, %s, '1 Road')
            """,
            (int(client), f"Client {client}", address),
        )
    for client, owned in office.of_client.items():
        for one in owned:
            conn.execute(
                """
                INSERT INTO policies (policy_id, client_id, policy_number, product, insurer, insured, sum_insured, excess, premium,
                                      currency, starts_on, ends_on, status) OVERRIDING SYSTEM VALUE
                VALUES (%s, %s, %s, 'motor', 'Insurer', 'Car', 1, 1, 1, 'GBP', '2026-01-01', %s, 'active')
                """,
                (int(one.id), int(client), one.number, one.ends_on),
            )
