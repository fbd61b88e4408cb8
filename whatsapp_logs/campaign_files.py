"""An uploaded table of recipients: CSV as offices save it, in any encoding and with any separator, and Excel. No I/O, but for the
program that reads Excel files apart (`sheet_reader`).

Every cell becomes the text that the office sees in it: a formula's value, a day as 12 May 2026, a number without a tail of zeros.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatsapp_logs import sheet_reader
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.sheet_reader import text_of

MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 50_000
MAX_COLUMNS = 60
MAX_CELL = 2_000
_MAX_UNPACKED_BYTES = 200 * 1024 * 1024
_BLOCK = 1 << 20
_SEPARATORS = ",;\t|"
_LONGEST_S = 60.0
_ONE_AT_A_TIME = threading.Lock()  # so that several such files at once need no more memory than one
_TOO_MUCH = (
    "This Excel file holds more than this portal takes. Save the table alone as “CSV UTF-8” and choose that file."
)
_RUNS = "[=+@＝＋－＠-]"
_AT_START, _AFTER_SPLIT = re.compile(rf"^(?=[\t\r\n]| *{_RUNS})"), re.compile(rf"([;\t\r\n])(?= *{_RUNS})")
_ROW_WORDS = f"A campaign takes up to {MAX_ROWS:,} rows."


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts: its headers, and its rows, each as long as the headers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def sha256(self) -> bytes:
        """A fingerprint of what it says, so that a file saved again as another kind is known again."""
        return hashlib.sha256(
            json.dumps([self.columns, self.rows], ensure_ascii=False).encode("utf-8", "replace")
        ).digest()


def read(name: str, content: bytes) -> Table:
    """The table in this file. Raises InvalidInput that says what to do."""
    if not content:
        raise InvalidInput("file", "This file is empty. Choose the table with the recipients.")
    if len(content) > MAX_BYTES:
        raise InvalidInput(
            "file", f"This file has more than {MAX_BYTES >> 20} MB. Remove what is not needed, or split it."
        )
    if content[:4] == b"PK\x03\x04":
        rows = _sheet(content)
    elif content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise InvalidInput(
            "file",
            "This is an Excel file of the old kind, or one with a password. Save it as .xlsx or CSV, without a password.",
        )
    elif content[:4] in (b"%PDF", b"\x89PNG") or name.lower().endswith((".pdf", ".docx", ".png", ".jpg")):
        raise InvalidInput("file", "This is no table. Choose a CSV file, or Excel's .xlsx.")
    else:
        rows = _csv(_text(content))
    return table_of(rows)


def table_of(rows: Iterable[Sequence[Any]]) -> Table:
    """The table of these rows, the first of which that says anything has the headers; empty rows are left out."""
    found = [cells for row in rows if any(cells := tuple(text_of(value) for value in row))]
    if not found:
        raise InvalidInput("file", "This file is empty. Choose the table with the recipients.")
    width = max(len(row) - next((n for n, cell in enumerate(reversed(row)) if cell), len(row)) for row in found)
    if width > MAX_COLUMNS:
        raise InvalidInput("file", f"This table has {width} columns. A campaign takes up to {MAX_COLUMNS}.")
    headers = _headers(found[0], width)
    if len(found) == 1:
        raise InvalidInput(
            "file", "This table has one row only. The first row names the columns; the recipients follow below it."
        )
    if len(found) - 1 > MAX_ROWS:
        raise InvalidInput("file", f"This table has {len(found) - 1:,} rows. {_ROW_WORDS}")
    for number, row in enumerate(found[1:], 1):
        if any(len(cell) > MAX_CELL for cell in row):
            raise InvalidInput(
                "file", f"A cell of row {number} has more than {MAX_CELL:,} characters: is the file's separator right?"
            )
    return Table(headers, tuple((row + ("",) * width)[:width] for row in found[1:]))


def can_read_xlsx() -> bool:
    """Whether the reader of Excel files is installed (the extra `xlsx`)."""
    return importlib.util.find_spec("python_calamine") is not None


def csv_file(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as CSV for Excel; no cell can become a formula there."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([inert(cell) for cell in columns])
    writer.writerows([inert(cell) for cell in row] for row in rows)
    return out.getvalue()


def inert(cell: str) -> str:
    """Told to be text, whatever a spreadsheet would reckon with; a plus before digits is a number's.

    So is a part that becomes a cell of its own where a spreadsheet splits at semicolons, tabs or line breaks.
    """
    if not re.fullmatch(r"\+?[\d ()-]{3,}", cell):
        cell = _AT_START.sub("'", cell)
    return _AFTER_SPLIT.sub(r"\1'", cell)


def _headers(row: Sequence[str], width: int) -> tuple[str, ...]:
    """Each column's name; one that has none is called by its place, one that comes again gets a number."""
    named: list[str] = []
    for place in range(width):
        name = " ".join((row[place] if place < len(row) else "").split())[:100] or f"Column {place + 1}"
        again, number = name, 2
        while again in named:
            again, number = f"{name} ({number})", number + 1
        named.append(again)
    return tuple(named)


def _text(content: bytes) -> str:
    """The file's text: UTF-16 and UTF-8 by their marks, UTF-8 where it is that, else what Windows saves in Western Europe."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings: tuple[str, ...] = ("utf-16",)
    elif content[1:2] == b"\0" and content[:1] != b"\0":
        encodings = ("utf-16-le",)
    else:
        encodings = ("utf-8-sig", "cp1252", "latin-1")
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InvalidInput("file", "The characters of this file cannot be read. Save it as “CSV UTF-8”, or as .xlsx.")


def _csv(text: str) -> list[list[str]]:
    if text.lower().startswith("sep=") and len(text) > 4:  # Excel's own first line
        separator, text = text[4], text.partition("\n")[2]
    else:
        separator = _separator(text)
    try:
        rows = []
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            rows.append(row)
            if len(rows) > MAX_ROWS * 2:
                raise InvalidInput("file", f"This table has more rows than that. {_ROW_WORDS}")
    except csv.Error as error:
        raise InvalidInput(
            "file", "This file cannot be read as a table. Save it as “CSV UTF-8”, or as .xlsx."
        ) from error
    return rows


def _separator(text: str) -> str:
    """What stands between the cells of the first line that says anything, outside quotation marks."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", first)
    return max(_SEPARATORS, key=lambda mark: (bare.count(mark), -_SEPARATORS.index(mark)))


def _sheet(content: bytes) -> list[list[str]]:
    """The rows of an Excel file, read by a program of its own that may use so much memory and time, and no more."""
    _check_size(content)
    if not can_read_xlsx():
        raise InvalidInput(
            "file", "This portal cannot read Excel files. Save the table as “CSV UTF-8” and choose that file."
        )
    command = [_python(), "-I", sheet_reader.__file__, str(MAX_ROWS * 2), str(MAX_COLUMNS)]
    if not _ONE_AT_A_TIME.acquire(timeout=_LONGEST_S):
        raise InvalidInput("file", "Other Excel files are being read just now. Choose yours again in a minute.")
    try:
        done = subprocess.run(  # noqa: S603 - this very Python, and a file of ours
            command, input=content, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidInput("file", _TOO_MUCH) from error
    finally:
        _ONE_AT_A_TIME.release()
    if done.returncode in (0, sheet_reader.TOO_MANY_ROWS):
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        if done.returncode == 0:
            return rows
        name, height = rows[-1]
        raise InvalidInput("file", f"The sheet “{name}” has {height} rows. {_ROW_WORDS}")
    if done.returncode < 0 or done.returncode == sheet_reader.TOO_MUCH:  # ended by its limits
        raise InvalidInput("file", _TOO_MUCH)
    raise InvalidInput("file", "This Excel file is damaged. Open it in Excel, save it again, and choose the new file.")


def _python() -> str:
    """This very Python. Under a server that carries Python within it, sys.executable is the server."""
    found = Path(sys.prefix, "bin", "python3")
    return str(found) if found.exists() else sys.executable


def _check_size(content: bytes) -> None:
    """A small file that unpacks to a huge one is refused; what is unpacked is counted, not what the file says of itself."""
    unpacked = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            if "xl/workbook.xml" not in book.namelist() and "xl/workbook.bin" not in book.namelist():
                raise InvalidInput("file", "This is no Excel file. Choose a CSV file, or Excel's .xlsx.")
            for part in book.infolist():
                with book.open(part) as reading:
                    while block := reading.read(_BLOCK):
                        unpacked += len(block)
                        if unpacked > _MAX_UNPACKED_BYTES:
                            raise InvalidInput(
                                "file", "This Excel file unpacks to more than this portal takes. Save the table as CSV."
                            )
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise InvalidInput(
            "file", "This Excel file is damaged or has a password. Save it again without one."
        ) from error
