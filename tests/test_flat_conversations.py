"""200 000 conversations, one of them of 5 000 messages: every page looks at little more than it shows, whatever it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

import psycopg
import pytest

from tests.test_flat import looked_at
from whatsapp_logs import Config, WhatsAppService
from whatsapp_logs.filters import Cursor
from whatsapp_logs.store import conversations

pytestmark = pytest.mark.slow
CONVERSATIONS, LONG = 200_000, 5_000
TALKATIVE = "+15550150000"
# Each customer has written once and was answered once, a minute apart over two years; one in a hundred waits.
_FILL = """
    INSERT INTO whatsapp_logs.messages (id, direction, channel, message_type, recipient, sender, body, status, created_at, path)
    OVERRIDING SYSTEM VALUE
    SELECT n * 2 + d, CASE d WHEN 0 THEN 'inbound' ELSE 'outbound' END, 'whatsapp', 'general',
           CASE d WHEN 0 THEN '+15550100100' ELSE '+1666' || n END, CASE d WHEN 0 THEN '+1666' || n END, 'A word ' || n,
           CASE d WHEN 0 THEN 'received' ELSE 'read' END::whatsapp_logs.status,
           now() - n * interval '5 minutes' + d * interval '1 minute',
           CASE d WHEN 0 THEN 'single' ELSE 'bot' END
    FROM generate_series(1, %(conversations)s) AS n, generate_series(0, 1) AS d;
"""
_CONVERSATIONS = """
    INSERT INTO whatsapp_logs.conversations (address, our_number, last_inbound_id, last_inbound_at, waiting_since)
    SELECT '+1666' || n, '+15550100100', n * 2, now() - n * interval '5 minutes',
           CASE WHEN n %% 100 = 0 THEN now() - n * interval '5 minutes' END
    FROM generate_series(1, %(conversations)s) AS n
"""
_LONG = """
    INSERT INTO whatsapp_logs.messages (direction, channel, message_type, recipient, sender, body, status, created_at, path)
    SELECT CASE n %% 2 WHEN 0 THEN 'inbound' ELSE 'outbound' END, 'whatsapp', 'general',
           CASE n %% 2 WHEN 0 THEN '+15550100100' ELSE %(talkative)s END, CASE n %% 2 WHEN 0 THEN %(talkative)s END, 'word ' || n,
           CASE n %% 2 WHEN 0 THEN 'received' ELSE 'read' END::whatsapp_logs.status,
           now() - (%(long)s - n) * interval '7 minutes', CASE n %% 2 WHEN 0 THEN 'single' ELSE 'reply' END
    FROM generate_series(1, %(long)s) AS n
"""


@pytest.fixture(scope="module")
def log(new_database: Callable[[], str]) -> Iterator[WhatsAppService]:
    dsn = new_database()
    given = {"conversations": CONVERSATIONS, "long": LONG, "talkative": TALKATIVE}
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")  # counts and searches are not what is looked at here
        conn.execute(_FILL, given)
        conn.execute(
            "SELECT setval(pg_get_serial_sequence('whatsapp_logs.messages', 'id'), max(id)) FROM whatsapp_logs.messages"
        )
        conn.execute(_CONVERSATIONS, given)
        conn.execute(_LONG, given)
        conn.execute(
            """
            INSERT INTO whatsapp_logs.conversations (address, our_number, last_inbound_id, last_inbound_at)
            SELECT %(talkative)s, '+15550100100', max(id), now() FROM whatsapp_logs.messages WHERE sender = %(talkative)s
            """,
            given,
        )
        conn.execute("VACUUM ANALYZE whatsapp_logs.messages, whatsapp_logs.conversations")
    config = Config(
        database_url=dsn, secret_key="for reading only", pool_size=1, twilio_whatsapp_from="whatsapp:+15550100100"
    )
    with closing(WhatsAppService(config)) as service:
        yield service


def test_the_list_is_as_short_at_its_end_as_at_its_beginning(log: WhatsAppService) -> None:
    first = log.desk.listed()
    assert (len(first.waiting), len(first.others), log.desk.waiting()) == (100, 30, 100)
    near_the_end = Cursor(log.desk.conversation(CONVERSATIONS - 200).last_inbound_at, CONVERSATIONS - 200)
    for before in (None, first.older, near_the_end):
        read = partial(log.desk.listed, before=before)
        scans, rows = looked_at(log, read)
        assert scans == 0, before
        assert rows < 1_500, rows
        began = time.perf_counter()
        read()
        print(f"{rows} rows, {(time.perf_counter() - began) * 1000:.1f} ms")
    scans, rows = looked_at(log, log.desk.waiting)
    assert (scans, rows <= 101) == (0, True), rows


def test_a_long_conversation_is_read_backwards_page_by_page_to_its_first_word(log: WhatsAppService) -> None:
    (id_,) = log.desk.ids_of([TALKATIVE]).values()
    seen: list[str | None] = []
    before: Cursor | None = None
    pages = 0
    while pages == 0 or before is not None:
        read = partial(log.desk.chat, id_, before=before)
        if pages % 25 == 0:
            scans, rows = looked_at(log, read)
            assert scans == 0, pages
            assert rows < 1_000, rows
            began = time.perf_counter()
            read()
            print(f"page {pages}: {rows} rows, {(time.perf_counter() - began) * 1000:.1f} ms")
        chat = read()
        seen[:0] = [one.body for one in chat.messages]
        before, pages = chat.older, pages + 1
    assert seen == [f"word {n}" for n in range(1, LONG + 1)], "each once, in order"
    assert pages == LONG // 50


def test_whether_a_colleague_was_quicker_is_one_look(log: WhatsAppService) -> None:
    def look() -> object:
        with log.database.reading() as conn:
            return conversations.last_answer(conn, TALKATIVE)

    scans, rows = looked_at(log, look)
    assert (scans, rows < 10) == (0, True), rows
