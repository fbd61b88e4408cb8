"""The log as CSV and as an Excel file, and the one COPY that its CSV is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import psycopg
from psycopg import ClientCursor

from whatsapp_logs import Config, MessageFilter, WhatsAppService, export
from whatsapp_logs.store import exports

READER = export.Reader(name="bench", zone=ZoneInfo("Europe/London"))
EVERYTHING = MessageFilter(zone=READER.zone)


def csv_blocks(dsn: str, wanted: MessageFilter = EVERYTHING) -> Iterator[bytes]:
    """The file as the web server's process makes it."""
    service = WhatsAppService(Config(database_url=dsn, secret_key="a secret of the benches"))
    try:
        yield from service.export(wanted, READER)
    finally:
        service.close()


def xlsx_blocks(dsn: str, wanted: MessageFilter = EVERYTHING) -> Iterator[bytes]:
    """The same for Excel."""
    service = WhatsAppService(Config(database_url=dsn, secret_key="a secret of the benches"))
    try:
        yield from service.export(wanted, READER, form=export.XLSX)
    finally:
        service.close()


def copy_statement(dsn: str, wanted: MessageFilter = EVERYTHING) -> str:
    """One statement that tells all these rows in the same words: `psql -c` of it is the baseline."""
    service = WhatsAppService(Config(database_url=dsn, secret_key="a secret of the benches"))
    telling = export.telling_for(service.transaction, wanted, READER)
    service.close()
    with psycopg.connect(dsn) as conn:
        query, parameters = exports.csv_query(conn, wanted, telling, before=None, limit=None)
        return ClientCursor(conn).mogrify(query, parameters)
