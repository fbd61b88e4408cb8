"""The list as a file: CSV of any length, streamed, and Excel where its writer is installed (the extra `xlsx`).

Rows are read in pieces, each a keyset page of the list under a COPY of its own. So memory is a piece's; while a reader is slow, no
connection of the pool waits for him, no statement runs and no snapshot keeps vacuum from its work; and who goes away leaves nothing
running. A message is told as it stands when its piece is read. Its place (created_at, id) never changes, so that none is told twice
and none left out; what arrives meanwhile is newer than the first row, and in no file.

A file that broke off says so in its last line, and the error is raised: most servers then cut the connection, granian ends the
answer as if nothing had been. A whole file has no last line of its own: from the second line on it is messages, for programs too.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from psycopg import Connection

from whatsapp_logs import wording
from whatsapp_logs.errors import Busy, InvalidInput, WhatsAppLogsError
from whatsapp_logs.export_names import Names, Naming, csv_cell, csv_value, with_names
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.store import counts, exports, messages
from whatsapp_logs.store.exports import Telling
from whatsapp_logs.store.selection import select
from whatsapp_logs.twilio.error_codes import all_codes

log = logging.getLogger(__name__)

CSV, XLSX = "csv", "xlsx"
MAX_SHEET_ROWS = 1_048_575  # Excel's limit, less the header
_AT_ONCE = 2
# Rows; the first byte is not to wait. 10 000 lines are some 4 MB, and so are 2 500 rows of values.
_FIRST_PIECE, _PIECE, _PIECE_OF_VALUES = 500, 10_000, 2_500
_BLOCK_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # without it Excel reads UTF-8 as the code page of its country
_WIDTHS = {"Time": 19, "Recipient": 17, "Sender": 17, "Reason": 34, "Message": 60, "Message SID": 36}

Transactions = Callable[[], AbstractContextManager[Connection[Any]]]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """For whom a file is made. The portal's names are asked for by the thousand; without them there are ids alone."""

    name: str
    zone: ZoneInfo
    sees_numbers: bool = True
    sees_texts: bool = True
    client_names: Names | None = None
    policy_names: Names | None = None


class Exports:
    """The exports of a process: few at a time, so that threads, processor and disk are left for everybody else."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._free = BoundedSemaphore(_AT_ONCE)

    def file(self, wanted: MessageFilter, reader: Reader, *, form: str) -> Generator[bytes]:
        """The file, block by block: read it to its end, or close it.

        Raises Busy, InvalidInput or DatabaseAway with the first block, and later whatever cut it off.
        """
        if not self._free.acquire(blocking=False):
            raise Busy()
        try:
            yield from (xlsx_blocks if form == XLSX else csv_blocks)(self._transactions, wanted, reader)
        finally:
            self._free.release()


@cache
def can_write_xlsx() -> bool:
    """Whether the writer of Excel files is installed."""
    return importlib.util.find_spec("rustpy_xlsxwriter") is not None


def csv_blocks(transactions: Transactions, wanted: MessageFilter, reader: Reader) -> Iterator[bytes]:
    """The list as CSV: UTF-8 with its mark, CRLF, a header; a piece to a block."""
    with _logged(CSV, wanted, reader) as done:
        telling = telling_for(transactions, wanted, reader)
        clients = Naming(reader.client_names, to_id=csv_value, to_cell=csv_cell, or_id=False)
        policies = Naming(reader.policy_names, to_id=csv_value, to_cell=csv_cell, or_id=True)
        head = _BYTE_ORDER_MARK + b",".join(csv_cell(column.title) for column in exports.columns(telling)) + b"\r\n"
        try:
            for lines in _pieces(transactions, exports.csv_lines, wanted, telling, piece=_PIECE):
                named = with_names(lines, clients, policies) if telling.keys else lines
                done.rows += len(lines)
                yield head + b"".join([line[:-1] + b"\r\n" for line in named])
                head = b""
        except Exception as error:
            if not head:
                reason = str(error) if isinstance(error, WhatsAppLogsError) else "An error of the program."
                yield csv_cell(f"NOT COMPLETE after {done.rows} messages: export again. {reason}") + b"\r\n"
            raise


def xlsx_blocks(transactions: Transactions, wanted: MessageFilter, reader: Reader) -> Iterator[bytes]:
    """The list as an Excel file, which is whole before its first block. Raises InvalidInput for one that cannot be."""
    if not can_write_xlsx():
        raise InvalidInput("format", "Excel files need the package rustpy-xlsxwriter, which is missing. Take CSV.")
    with _logged(XLSX, wanted, reader) as done, tempfile.TemporaryDirectory(prefix="whatsapp-logs-") as folder:
        if _count(transactions, wanted) > MAX_SHEET_ROWS:
            raise _too_long()
        telling = telling_for(transactions, wanted, reader)
        target = Path(folder) / "messages.xlsx"
        _write_sheet(_records(transactions, wanted, reader, telling, done), telling, target)
        with target.open("rb") as file:
            target.unlink()  # whatever happens now, nobody finds it
            while block := file.read(_BLOCK_BYTES):
                yield block


def telling_for(transactions: Transactions, wanted: MessageFilter, reader: Reader) -> Telling:
    """The words of a file: the page's, and the reader's zone (UTC, said in the header, should the server not know it)."""
    with transactions() as conn:
        return Telling(
            zone=reader.zone.key if exports.knows_zone(conn, reader.zone.key) else "UTC",
            now=datetime.now(UTC),
            direction=wanted.direction,
            hides_numbers=not reader.sees_numbers,
            hides_texts=not reader.sees_texts,
            reader=reader.name,
            keys=reader.client_names is not None or reader.policy_names is not None,
            types={name: wording.message_type(name) for name in counts.totals(conn).types},
            reasons={advice.code: advice.title for advice in all_codes()},
        )


def _pieces(
    transactions: Transactions,
    read: Callable[..., tuple[list[Row], Cursor | None]],
    wanted: MessageFilter,
    telling: Telling,
    *,
    piece: int,
) -> Iterator[list[Row]]:
    """The list from its newest row to its oldest; a piece's connection is given back before anybody waits for the reader."""
    before, limit = None, _FIRST_PIECE
    while True:
        with transactions() as conn:
            rows, before = read(conn, wanted, telling, before=before, limit=limit)
        yield rows
        if before is None:
            return
        limit = piece


# --- Excel ------------------------------------------------------------------------------------------------------------


def _records(
    transactions: Transactions, wanted: MessageFilter, reader: Reader, telling: Telling, done: _Done
) -> Iterator[dict[str, Any]]:
    titles = [column.title for column in exports.columns(telling)]
    clients = Naming(reader.client_names, to_id=_or_nothing, to_cell=str, or_id=False)
    policies = Naming(reader.policy_names, to_id=_or_nothing, to_cell=str, or_id=True)
    for rows in _pieces(transactions, exports.rows, wanted, telling, piece=_PIECE_OF_VALUES):
        if telling.keys:
            client, policy = clients.of(row[1] for row in rows), policies.of(row[2] for row in rows)
            rows = [(row[0], client[row[1]], policy[row[2]], *row[3:]) for row in rows]
        for row in rows:
            yield dict(zip(titles, row, strict=True))
        done.rows += len(rows)
        if done.rows > MAX_SHEET_ROWS:
            raise _too_long()
    if not done.rows:
        yield dict.fromkeys(titles)  # the header is made of the first record


def _or_nothing(key: str | None) -> str:
    return key or ""


def _count(transactions: Transactions, wanted: MessageFilter) -> int:
    """How many messages there are, or one more than a sheet has rows."""
    with transactions() as conn:
        if wanted.is_counted:
            return counts.totals(conn).of_filter(wanted)
        exports.allow_time(conn)
        return messages.count_up_to(conn, select(conn, wanted), wanted, limit=MAX_SHEET_ROWS)


def _write_sheet(records: Iterator[dict[str, Any]], telling: Telling, target: Path) -> None:
    """Write row by row: neither rows nor sheet are ever in memory. A text stays a text, whatever it begins with."""
    from rustpy_xlsxwriter import Format, write_worksheet

    columns = exports.columns(telling)
    moment = Format().set_num_format("yyyy-mm-dd hh:mm:ss")
    write_worksheet(
        records,
        target,
        sheet_name="WhatsApp messages",
        freeze_row=1,
        autofilter=True,
        header_format=Format().set_bold(),
        column_widths={column.title: float(_WIDTHS.get(column.title.partition(" (")[0], 14)) for column in columns},
        column_formats={column.title: moment for column in columns if column.is_time},
        ignore_errors=[column.title for column in columns if column.is_text],  # numbers that are texts, on purpose
    )


def _too_long() -> InvalidInput:
    limit = f"An Excel sheet holds {MAX_SHEET_ROWS} messages, and this list has more."
    return InvalidInput("format", f"{limit} Choose fewer days, or take CSV, which has no limit.")


# --- the log of exports -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Done:
    rows: int = 0


@contextmanager
def _logged(form: str, wanted: MessageFilter, reader: Reader) -> Iterator[_Done]:
    """One line per export: who, how much, by which kinds of filter, to which end; never what was searched for."""
    kinds = [
        field.name for field in fields(wanted) if field.name != "zone" and getattr(wanted, field.name) != field.default
    ]
    done, began, end = _Done(), time.monotonic(), "broke off"
    try:
        yield done
        end = "whole"
    except GeneratorExit:
        end = "left by the reader"
        raise
    finally:
        log.info(
            "export %s by %s: %s, %s messages in %.1f s, filter: %s, numbers %s, texts %s",
            form,
            reader.name,
            end,
            done.rows,
            time.monotonic() - began,
            ", ".join(kinds) or "none",
            "shown" if reader.sees_numbers else "hidden",
            "shown" if reader.sees_texts else "hidden",
        )
