"""Reading exports in tests: CSV as a program reads it, and the sheet of an Excel file cell by cell."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable
from datetime import datetime, timedelta
from xml.etree import ElementTree

_FIRST_DAY = datetime(1899, 12, 30)  # noqa: DTZ001 - of a sheet, which knows no zones
_NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_csv(blocks: Iterable[bytes]) -> list[dict[str, str]]:
    """The file's rows; it must be UTF-8 with its mark, and every line of it must end in CRLF."""
    data = b"".join(blocks)
    assert data.startswith(b"\xef\xbb\xbf")
    text = data.decode("utf-8-sig")
    assert text.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def read_xlsx(blocks: Iterable[bytes]) -> list[dict[str, object]]:
    """The sheet's rows: texts as str, numbers as float, moments as datetime; there must be no formula in it."""
    with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
        formats = ElementTree.fromstring(book.read("xl/styles.xml")).find(f"{_NS}cellXfs")
    assert sheet.find(f".//{_NS}f") is None
    assert formats is not None
    moments = {str(n) for n, one in enumerate(formats) if int(one.get("numFmtId", "0")) >= 164}
    rows = [dict(map(_cell(moments), row)) for row in sheet.iter(f"{_NS}row")]
    titles, *others = rows
    return [{str(title): row.get(column) for column, title in titles.items()} for row in others]


def _cell(moments: set[str]):
    def read(cell: ElementTree.Element) -> tuple[str, object]:
        column, text, value = re.sub(r"\d", "", cell.get("r", "")), cell.find(f".//{_NS}t"), cell.find(f"{_NS}v")
        if text is not None:
            return column, text.text or ""
        if value is None or value.text is None:
            return column, None
        if cell.get("s") in moments:
            return column, _FIRST_DAY + timedelta(seconds=round(float(value.text) * 86400))
        return column, float(value.text)

    return read
