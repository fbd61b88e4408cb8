"""Nothing that is read grows with the log: on 200 000 messages each page looks at what it shows, and counts stop where they say.

The log is an office's three years (benches/seed.py). What a read looked at is what PostgreSQL says it fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from benches import seed
from whatsapp_logs import Config, Draft, MessageFilter, Status, WhatsAppService, refresh
from whatsapp_logs.access_log import AccessFilter, Act
from whatsapp_logs.filters import Cursor
from whatsapp_logs.store import refreshes
from whatsapp_logs.store.selection import COUNT_LIMIT, SCATTERED_COUNT_LIMIT

pytestmark = pytest.mark.slow
ROWS, LOOKS = 200_000, 50_000
# A year of an office of twenty: messages opened, searches, and an export each fifth day.
_LOOKS = """
    INSERT INTO whatsapp_logs.accesses (at, person, act, message_id, subjects, address)
    SELECT now() - n * interval '10 minutes', 'person-' || n %% 20, CASE WHEN n %% 700 = 0 THEN 'exported' ELSE 'opened' END,
           CASE WHEN n %% 700 <> 0 THEN n END,
           CASE WHEN n %% 700 <> 0 THEN ARRAY['client:' || n %% 2000, 'number:' || md5(n::text)] ELSE '{}' END, '127.0.0.1'
    FROM generate_series(1, %(looks)s) AS n"""
# Everybody who was ever written to has answered once; one in a hundred waits for a person.
_CONVERSATIONS = """
    INSERT INTO whatsapp_logs.conversations (address, our_number, last_inbound_at, waiting_since)
    SELECT recipient, 'ours', max(created_at), CASE WHEN row_number() OVER () %% 100 = 0 THEN max(created_at) END
    FROM whatsapp_logs.messages WHERE direction = 'outbound' GROUP BY recipient"""
TODAY = datetime.now(UTC).date()
MONTH = {"date_from": TODAY - timedelta(days=30)}
OLD_MONTH = {"date_from": TODAY - timedelta(days=700), "date_to": TODAY - timedelta(days=671)}
RARE_TYPE, FAILED, READ = ("claim_notice",), (Status.FAILED,), (Status.READ,)
FILTERS = [
    MessageFilter(),
    MessageFilter(direction="inbound"),
    *(MessageFilter(statuses=(status,)) for status in Status if status not in ("scheduled", "received")),
    MessageFilter(statuses=(Status.FAILED, Status.UNDELIVERED)),
    MessageFilter(statuses=(Status.FAILED, Status.DELIVERED)),
    MessageFilter(types=("general",)),
    MessageFilter(types=RARE_TYPE),
    MessageFilter(types=("unheard_of",)),
    MessageFilter(types=("it's 50%(type)s", "general")),
    MessageFilter(types=("general", "claim_notice")),
    MessageFilter(**MONTH),
    MessageFilter(**OLD_MONTH),
    MessageFilter(date_to=TODAY - timedelta(days=1000)),
    MessageFilter(statuses=READ, types=("general",), **OLD_MONTH),
    MessageFilter(statuses=FAILED, **OLD_MONTH),
    MessageFilter(statuses=FAILED, types=("general",)),
    MessageFilter(statuses=FAILED, types=RARE_TYPE),
    MessageFilter(error_code="63003"),
    MessageFilter(error_code="99999"),
    MessageFilter(error_code="63016", types=("renewal_reminder",), **MONTH),
    MessageFilter(phone="12015550142"),
    MessageFilter(phone="0142"),
    MessageFilter(phone="2015550"),
    MessageFilter(phone="014"),
    MessageFilter(phone="014", statuses=FAILED),
    MessageFilter(phone="000111222333"),
    MessageFilter(phone="0142", direction="inbound"),
    MessageFilter(phone="201555014"),
    MessageFilter(phone="201555014", statuses=READ),
    MessageFilter(phone="20155501", statuses=READ),
    MessageFilter(phone="20155501", statuses=(Status.CANCELED,), types=("general",)),
    MessageFilter(phone="20155501", statuses=READ, types=("general",), **OLD_MONTH),
    MessageFilter(phone="20155501", error_code="63016"),
    MessageFilter(client_id="142"),
    MessageFilter(policy_id="142"),
    MessageFilter(client_id="142", statuses=FAILED),
]


@pytest.fixture(scope="module")
def filled(new_database: Callable[[], str]) -> str:
    """The DSN of a log with three years in it; read only."""
    dsn = new_database()
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS bench CASCADE")
    seed.fill(dsn, ROWS, whole=False)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(_LOOKS, {"looks": LOOKS})
        conn.execute(_CONVERSATIONS.replace("%%", "%"))
        conn.execute("VACUUM ANALYZE whatsapp_logs.accesses, whatsapp_logs.conversations")
    return dsn


@pytest.fixture(scope="module")
def log(filled: str) -> Iterator[WhatsAppService]:
    with closing(WhatsAppService(Config(database_url=filled, secret_key="for reading only", pool_size=1))) as service:
        yield service


def looked_at(log: WhatsAppService, read: Callable[[], object]) -> tuple[int, int]:
    """How many scans of whole tables a read made, and how many rows it fetched or passed by, once plans are settled."""
    for _ in range(6):  # a plan may change when it is made for good
        read()
    before = _statistics(log)
    read()
    return tuple(after - earlier for after, earlier in zip(_statistics(log), before, strict=True))  # type: ignore[return-value]


def _statistics(log: WhatsAppService) -> tuple[int, int]:
    with log.transaction() as conn:
        conn.execute("SELECT pg_stat_force_next_flush()")
    with log.transaction() as conn:
        row = conn.execute(
            """
            SELECT sum(t.seq_scan)::int, (SELECT sum(i.idx_tup_read)::int FROM pg_stat_user_indexes AS i
                                          WHERE i.schemaname = 'whatsapp_logs' AND i.relname <> 'addresses')
            FROM pg_stat_user_tables AS t
            WHERE t.schemaname = 'whatsapp_logs'
              AND t.relname IN ('messages', 'rare_statuses', 'status_events', 'accesses', 'conversations')
            """
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def said(wanted: MessageFilter) -> str:
    shown = {name: getattr(wanted, name) for name in MessageFilter.__dataclass_fields__ if name != "zone"}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value and value != "outbound") or "all"


@pytest.mark.parametrize("wanted", FILTERS, ids=said)
def test_a_page_looks_at_little_more_than_it_shows(wanted: MessageFilter, log: WhatsAppService) -> None:
    middle = Cursor(datetime.now(UTC) - timedelta(days=500), 0)
    for before in (None, middle):
        whole, rows = looked_at(log, lambda before=before: log.page(wanted, before=before))  # type: ignore[misc]
        assert whole == 0
        assert rows < (25_000 if wanted.phone in ("014", "0142") else 3_000)


@pytest.mark.parametrize("statuses", [FAILED, (Status.FAILED, Status.UNDELIVERED)])
@pytest.mark.parametrize("type_", ["general", *RARE_TYPE, "unheard_of"])
def test_a_page_of_the_failures_of_one_type_looks_at_just_these(
    statuses: tuple[Status, ...], type_: str, log: WhatsAppService
) -> None:
    wanted = MessageFilter(statuses=statuses, types=(type_,))
    shown = len(log.page(wanted).messages)
    whole, rows = looked_at(log, lambda: log.page(wanted))
    assert whole == 0
    # Each is looked at in the side list and by its key; four are what asking for this looks at.
    assert rows <= 2 * (shown + 1) * len(statuses) + 4


def test_no_statement_is_planned_anew_at_each_call(log: WhatsAppService) -> None:
    """A plan is made once and for everybody: what is tried here is what an office gets, at the first call and at the thousandth."""
    for _ in range(12):
        for wanted in (
            MessageFilter(),
            MessageFilter(types=RARE_TYPE),
            MessageFilter(phone="0142"),
            MessageFilter(**MONTH),
        ):
            log.overview(wanted)
    with log.transaction() as conn:
        row = conn.execute(
            """
            SELECT count(*), sum(generic_plans)::int, sum(custom_plans)::int,
                   current_setting('jit'), current_setting('max_parallel_workers_per_gather')
            FROM pg_prepared_statements
            """
        ).fetchone()
    assert row is not None
    prepared, once, anew, *begun = row
    assert (prepared > 4, once > 40, anew) == (True, True, 0), row
    assert begun == ["off", "0"], "for fifty rows neither is worth its beginning"


def test_alarms_look_at_no_more_of_what_was_too_late_than_they_tell_of(
    log: WhatsAppService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another code, of which there are many, as if these were scheduled messages that came too late."""
    monkeypatch.setattr("whatsapp_logs.store.alarms.COUNT_UP_TO", 10)
    before = looked_at(log, log.readings)
    monkeypatch.setattr("whatsapp_logs.store.alarms.TOO_LATE", "63016")
    with log.transaction() as conn:
        row = conn.execute("SELECT count(*) FROM whatsapp_logs.rare_statuses WHERE error_code = '63016'").fetchone()
    assert row is not None
    assert row[0] > 400
    now = looked_at(log, log.readings)
    assert (now[0], now[1] <= before[1] + 2 * 10) == (before[0], True), (now, before)


@pytest.mark.parametrize(
    "wanted", [MessageFilter(direction="inbound", **MONTH), MessageFilter(types=RARE_TYPE, **MONTH)], ids=said
)
def test_parts_of_a_day_are_counted_by_the_index_of_what_is_counted(
    wanted: MessageFilter, log: WhatsAppService
) -> None:
    """In a zone whose day is not UTC's: what is received, or of a rare type, is counted without what is not."""
    wanted = replace(wanted, zone=ZoneInfo("Pacific/Kiritimati"))
    shown = len(log.page(wanted).messages)
    whole, rows = looked_at(log, lambda: log.overview(wanted))
    assert whole == 0
    assert rows <= 2 * shown + 20, (rows, shown)


def test_the_failures_of_some_numbers_are_found_without_looking_at_what_arrived(log: WhatsAppService) -> None:
    wanted = MessageFilter(phone="20155501", error_code="63016")
    shown = log.overview(wanted).total
    whole, rows = looked_at(log, lambda: log.overview(wanted))
    assert whole == 0
    assert shown < rows < 250, (rows, shown)


def test_of_many_numbers_only_those_that_are_found_are_looked_at(log: WhatsAppService) -> None:
    with log.transaction() as conn:
        everybody = conn.execute("SELECT count(*) FROM whatsapp_logs.addresses").fetchone()
    before = _addresses_looked_at(log)
    log.page(MessageFilter(phone="12015550142"))
    after = _addresses_looked_at(log)
    assert everybody is not None
    assert (everybody[0] > 30_000, after[0] - before[0], after[1] - before[1] < 20) == (True, 0, True)


def _addresses_looked_at(log: WhatsAppService) -> tuple[int, int]:
    with log.transaction() as conn:
        conn.execute("SELECT pg_stat_force_next_flush()")
    with log.transaction() as conn:
        row = conn.execute(
            "SELECT seq_scan::int, idx_tup_fetch::int FROM pg_stat_user_tables WHERE relid = 'whatsapp_logs.addresses'::regclass"
        ).fetchone()
    assert row is not None
    return row[0], row[1]


@pytest.mark.parametrize(("back", "most"), [(timedelta(hours=1), 100), (timedelta(days=1), 1_000)])
def test_a_sweep_looks_at_what_is_recent_and_not_at_all_that_never_arrived(
    back: timedelta, most: int, log: WhatsAppService, filled: str
) -> None:
    with psycopg.connect(filled) as conn:
        row = conn.execute("SELECT count(*) FROM whatsapp_logs.rare_statuses WHERE status = 'sent'").fetchone()
    assert row is not None
    assert row[0] > 1_500
    now = datetime.now(UTC)

    def read() -> None:
        with log.transaction() as conn:
            refreshes.due(conn, refresh.days_back(now, back), limit=5_000)

    whole, rows = looked_at(log, read)
    assert whole == 0
    assert rows < most, rows


def test_the_gate_looks_at_a_hundred_messages_of_each_recipient_at_most(log: WhatsAppService, filled: str) -> None:
    with psycopg.connect(filled) as conn:
        found = conn.execute(
            """
            SELECT recipient FROM whatsapp_logs.messages WHERE direction = 'outbound'
            GROUP BY recipient ORDER BY count(*) DESC LIMIT 50
            """
        ).fetchall()
    busiest = [Draft(to=recipient, body="Hello") for (recipient,) in found]
    whole, rows = looked_at(log, lambda: log.preview_many(busiest))
    assert (whole, len(busiest)) == (0, 50)
    assert rows < 50 * 105


@pytest.mark.parametrize("wanted", FILTERS, ids=said)
def test_counts_stop_where_they_say(wanted: MessageFilter, log: WhatsAppService) -> None:
    whole, rows = looked_at(log, lambda: log.overview(wanted))
    assert whole == 0
    assert rows < (25_000 if wanted.phone in ("014", "0142") else 12_500)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
@pytest.mark.parametrize("wanted", FILTERS, ids=said)
def test_pages_and_counts_are_what_reading_everything_finds(
    wanted: MessageFilter, zone: str, log: WhatsAppService, filled: str
) -> None:
    wanted = replace(wanted, zone=ZoneInfo(zone))
    with psycopg.connect(filled) as conn:
        everything = _everything(conn, wanted)
    found = log.overview(wanted)
    assert [message.id for message in found.page.messages] == [row[0] for row in everything[:50]]
    middle = everything[len(everything) // 2] if everything else (0, datetime.now(UTC), "")
    older = log.overview(wanted, before=Cursor(middle[1], middle[0]))
    assert [message.id for message in older.page.messages] == [
        row[0] for row in everything if (row[1], row[0]) < (middle[1], middle[0])
    ][:50]
    newer = log.overview(wanted, after=Cursor(middle[1], middle[0]))
    assert [m.id for m in newer.page.messages] == [
        row[0] for row in everything if (row[1], row[0]) > (middle[1], middle[0])
    ][-50:]
    for other in (older, newer):  # of very many numbers, only what the page shows is counted
        assert (other.total, other.filtered) == (found.total, found.filtered) or wanted.phone in ("014", "0142")
    if found.is_total_exact:
        assert found.total == len(everything)
    else:  # the first page of numbers so many that nobody counts their messages, or more than are ever counted
        assert len(everything) > found.total in (50, SCATTERED_COUNT_LIMIT, COUNT_LIMIT)
    for status, n in (found.filtered or {}).items():
        if not wanted.statuses:
            assert n == sum(row[2] == status for row in everything)


def test_numbers_of_old_customers_are_found_although_nobody_of_them_was_written_to_lately(
    log: WhatsAppService, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of many numbers is first looked for among the newest messages; what is not there is older."""
    wanted = MessageFilter(phone="014", date_to=TODAY - timedelta(days=900))
    with psycopg.connect(filled) as conn:
        everything = _everything(conn, wanted)
    assert [message.id for message in log.page(wanted).messages] == [row[0] for row in everything[:50]]
    monkeypatch.setattr("whatsapp_logs.store.selection._NEAR_ROWS", 10)
    assert [message.id for message in log.page(wanted).messages] == [row[0] for row in everything[:50]]


def _everything(conn: psycopg.Connection[Any], wanted: MessageFilter) -> list[Any]:
    """What the filter means, said as plainly as SQL can say it."""
    zone = wanted.zone
    first = wanted.date_from or date(1970, 1, 1)
    last = (wanted.date_to or date(9000, 1, 1)) + timedelta(days=1)
    return conn.execute(
        """
        SELECT id, created_at, status::text FROM whatsapp_logs.messages
        WHERE direction = %(direction)s
          AND (%(statuses)s::text[] = '{}' OR status::text = ANY (%(statuses)s))
          AND (%(types)s::text[] = '{}' OR message_type = ANY (%(types)s))
          AND CASE direction WHEN 'inbound' THEN sender ELSE recipient END LIKE '%%' || %(phone)s || '%%'
          AND created_at >= %(first)s AND created_at < %(last)s
          AND (%(client)s = '' OR client_id::text = %(client)s) AND (%(policy)s = '' OR policy_id::text = %(policy)s)
          AND (%(code)s = '' OR error_code = %(code)s)
        ORDER BY created_at DESC, id DESC
        """,
        {
            "direction": wanted.direction,
            "statuses": [status.value for status in wanted.statuses],
            "types": list(wanted.types),
            "phone": wanted.phone,
            "first": datetime.combine(first, datetime.min.time(), zone),
            "last": datetime.combine(last, datetime.min.time(), zone),
            "client": wanted.client_id,
            "policy": wanted.policy_id,
            "code": wanted.error_code,
        },
    ).fetchall()


@pytest.mark.parametrize(
    "wanted",
    [
        AccessFilter(),
        AccessFilter(person="person-3"),
        AccessFilter(acts=(Act.EXPORTED,)),
        AccessFilter(acts=(Act.LINK,)),
        AccessFilter(message_id=142),
        AccessFilter(client_id="142"),
        AccessFilter(since=datetime.now(UTC) - timedelta(days=200), until=datetime.now(UTC) - timedelta(days=199)),
    ],
    ids=["all", "person", "exports", "links", "message", "client", "day"],
)
def test_a_page_of_the_access_log_looks_at_little_more_than_it_shows(
    wanted: AccessFilter, log: WhatsAppService
) -> None:
    scans, rows = looked_at(log, lambda: log.accesses(wanted))
    assert scans == 0
    assert rows < 1_500, rows


def test_who_has_ever_looked_is_walked_and_not_counted(log: WhatsAppService) -> None:
    assert len(log.people_who_looked()) == 20
    scans, rows = looked_at(log, log.people_who_looked)
    assert (scans, rows < 200) == (0, True), rows


def test_erasing_a_client_looks_at_that_clients_messages(log: WhatsAppService) -> None:
    scans, rows = looked_at(log, lambda: log.rehearse_erasure("142"))
    assert scans == 0
    assert rows < 1_000, rows


def test_conversations_look_at_little_more_than_they_show(log: WhatsAppService) -> None:
    found = log.desk.listed()
    assert (len(found.waiting), len(found.others)) == (100, 30)
    middle = Cursor(datetime.now(UTC) - timedelta(days=500), 0)
    for before in (None, middle):
        scans, rows = looked_at(log, lambda before=before: log.desk.listed(before=before))  # type: ignore[misc]
        assert scans == 0
        assert rows < 1_500, rows
    for before in (None, middle):
        read = partial(log.desk.chat, found.others[0].id, before=before)
        scans, rows = looked_at(log, read)
        assert scans == 0
        assert rows < 1_000, rows
