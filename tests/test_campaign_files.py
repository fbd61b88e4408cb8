"""Tables as offices save them: every encoding, separator and kind of cell; and files that are none, or too much."""

from __future__ import annotations

import csv
import io
import re
import resource
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campaign_tables import xlsx
from whatsapp_logs import campaign_files
from whatsapp_logs.errors import InvalidInput

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
TEXT = "Naïve name;Größe\r\nJosé;12\r\n"
COLUMNS, ROW = ("Naïve name", "Größe"), ("José", "12")


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be").join([b"\xfe\xff", b""]),
        TEXT.encode("latin-1"),
        TEXT.replace(";", ",").encode(),
        TEXT.replace(";", "\t").encode("utf-16"),
        TEXT.replace(";", "|").encode("cp1252"),
        TEXT.replace("\r\n", "\n").encode(),
        TEXT.replace("\r\n", "\r").encode(),
        f"sep=;\r\n{TEXT}".encode(),
        f"\r\n;;\r\n{TEXT}\r\n;;\r\n".encode(),
        '"Naïve name";"Größe"\n"José";"12"'.encode(),
        xlsx([COLUMNS, ROW]),
        xlsx([COLUMNS, ("José", 12)]),
        xlsx([COLUMNS, ("José", 12.0)]),
    ],
)
def test_a_table_is_read_however_it_was_saved(content: bytes) -> None:
    table = campaign_files.read("people.csv", content)
    assert (table.columns, table.rows) == (COLUMNS, (ROW,))


def test_quoted_cells_may_hold_separators_and_line_breaks() -> None:
    table = campaign_files.read("a.csv", b'Name,Words\n"Rao, Asha","one\ntwo ""three"""\n')
    assert table.rows == (("Rao, Asha", 'one\ntwo "three"'),)


def test_the_separator_is_looked_for_outside_of_quotation_marks() -> None:
    assert campaign_files.read("a.csv", b'"Name, first, last";Number\nA;1\n').columns == ("Name, first, last", "Number")


def test_columns_without_a_name_and_with_the_same_name_are_told_apart() -> None:
    table = campaign_files.read("a.csv", b"Name,,Name,Name\nA,B,C,D\n")
    assert table.columns == ("Name", "Column 2", "Name (2)", "Name (3)")


def test_short_rows_are_filled_and_empty_ones_left_out() -> None:
    table = campaign_files.read("a.csv", b"Name,Number\nA\n\n,,,\nB,2,\n")
    assert table.rows == (("A", ""), ("B", "2"))


def test_a_number_of_a_sheet_keeps_its_digits_and_a_formula_is_its_value() -> None:
    table = campaign_files.read("a.xlsx", xlsx([("Number", "n"), (447700900123, 0.5)], formula="1+1"))
    assert table.rows == (("447700900123", "0.5"),)


def test_a_formula_in_csv_stays_the_text_that_it_is() -> None:
    assert campaign_files.read("a.csv", b"Number,Name\n1,=1+1\n").rows == (("1", "=1+1"),)


def test_the_same_table_has_the_same_fingerprint_as_csv_and_as_a_sheet() -> None:
    other = campaign_files.read("b.xlsx", xlsx([COLUMNS, ROW]))
    assert campaign_files.read("a.csv", TEXT.encode()).sha256 == other.sha256
    assert campaign_files.read("a.csv", TEXT.replace("12", "13").encode()).sha256 != other.sha256


def bomb() -> bytes:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book,
        book.open("xl/workbook.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(210):
            part.write(b" " * (1 << 20))
    return out.getvalue()


def plain_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        book.writestr("hello.txt", "hello")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\r\n,,,\r\n", "empty"),
        ("a.csv", b"Name,Number\n", "one row only"),
        ("a.csv", ("n\n" + "1\n" * 50_001).encode(), "up to 50,000 rows"),
        ("a.csv", ",".join(f"c{n}" for n in range(61)).encode() + b"\n" + b"," * 60 + b"1\n", "up to 60"),
        ("a.csv", b"Name,Number\n" + b"x" * 3000 + b",1\n", "separator"),
        ("a.csv", b'Name,Number\n"' + b"x" * 200_000, "cannot be read as a table|characters"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "password"),
        ("a.pdf", b"%PDF-1.7", "no table"),
        ("a.zip", plain_zip(), "no Excel file"),
        ("a.xlsx", xlsx([COLUMNS, ROW])[:-40], "damaged"),
        ("a.xlsx", b"PK\x03\x04" + b"\0" * 50, "damaged"),
        ("a.xlsx", bomb(), "unpacks to more"),
        ("a.csv", b"x" * (16 * 1024 * 1024 + 1), "more than 16 MB"),
    ],
)
def test_what_is_no_table_is_refused_in_words(name: str, content: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        campaign_files.read(name, content)


def sheet(cells: str, *, before: str = "", strings: str = "") -> bytes:
    """An Excel file of this very XML: of its cells, of what stands before the sheet, of its shared texts."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(xlsx([COLUMNS, ROW]))) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book,
    ):
        for part in old.namelist():
            text = old.read(part).decode()
            if part.endswith("sheet1.xml"):
                text = re.sub(
                    "<sheetData>.*</sheetData>", lambda _: f"<sheetData>{cells}</sheetData>", text, flags=re.S
                )
                text = text.replace("?>", f"?>{before}", 1)
            if part.endswith("workbook.xml.rels"):
                shared = re.sub(r"worksheet(?=\")", "sharedStrings", re.findall("<Relationship .*?/>", text)[0])
                shared = shared.replace('"r1"', '"r2"').replace("worksheets/sheet1.xml", "sharedStrings.xml")
                text = text.replace("</Relationships>", f"{shared}</Relationships>")
            book.writestr(part, text)
        book.writestr("xl/sharedStrings.xml", f'<sst xmlns="{MAIN}">{strings}</sst>')
    return out.getvalue()


def in_rows(place: str, *, cell: str = "<v>1</v>", rows: int, kind: str = "n") -> str:
    return "".join(f'<row r="{n}"><c r="{place}{n}" t="{kind}">{cell}</c></row>' for n in range(1, rows + 1))


@pytest.mark.parametrize(
    "content",
    [
        sheet('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'),
        sheet('<row r="1"><c r="A1"><v>1</v></c></row><row r="90000"><c r="XFD90000"><v>1</v></c></row>'),
        sheet(in_rows("A", cell="<v>0</v>", kind="s", rows=90_000), strings=f"<si><t>{'x' * 100_000}</t></si>"),
        sheet(in_rows("A", cell="<v>0</v>", kind="s", rows=90_000), strings=f"<si><t>{'x' * 1_900}</t></si>"),
    ],
    ids=["17 thousand million cells", "a thousand million cells", "9 GB of one text", "171 MB of one text"],
)
def test_a_small_sheet_that_asks_for_all_memory_is_refused_and_this_process_lives_on(content: bytes) -> None:
    """Each of them ended the whole web server: its reader cannot be told that there is no memory."""
    assert len(content) < 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidInput, match="holds more than this portal takes"):
        campaign_files.read("a.xlsx", content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_sheet_reads_no_file_of_the_machine(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the office's own secret")
    asks = f'<!DOCTYPE worksheet [<!ENTITY x SYSTEM "{secret.as_uri()}"><!ENTITY y "more">]>'
    cells = "".join(f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>a&x;&y;b</t></is></c></row>' for n in (1, 2))
    with suppress(InvalidInput):
        assert "secret" not in repr(campaign_files.read("a.xlsx", sheet(cells, before=asks)))


@given(st.binary(max_size=300))
def test_no_bytes_do_anything_but_be_read_or_refused(content: bytes) -> None:
    with suppress(InvalidInput):
        table = campaign_files.read("a.csv", content)
        assert all(len(row) == len(table.columns) for row in table.rows)


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=("C",)), max_size=9), min_size=2, max_size=2),
        min_size=2,
        max_size=9,
    )
)
def test_every_table_of_texts_survives_being_saved_and_read(rows: list[list[str]]) -> None:
    want = [tuple(cell.strip() for cell in row) for row in rows]
    want = [row for row in want if any(row)]
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    if len(want) < 2 or not all(all(row) for row in want):
        return
    assert list(campaign_files.read("a.csv", out.getvalue().encode()).rows) == want[1:]


@pytest.mark.parametrize("cell", ["=1+1", "+SUM(A1)", "-2+3", "@SUM", "\tx", "\rx"])
def test_fault_25_no_cell_of_the_table_given_back_is_a_formula(cell: str) -> None:
    written = campaign_files.csv_file(["Name"], [[cell], ["+44 7700 900123"]])
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert rows == [["Name"], [f"'{cell}"], ["+44 7700 900123"]]


@pytest.mark.parametrize(
    "cell", ["Anna;=1+1", "Anna;  @SUM(A1)", "a\tb;+1", "Anna\n=1+1", " =1+1", "＝1+1", ";;-2+3", "x;y;=2"]
)
def test_fault_25_nor_is_a_part_of_one_where_a_spreadsheet_splits_at_something_else(cell: str) -> None:
    """A spreadsheet of most of Europe splits at semicolons, and such a cell of ours needs no quotation marks."""
    written = campaign_files.csv_file(["Name"], [[cell]])
    for part in re.split("[,;\t\r\n]", written.replace('"', "")):
        assert not re.match(" *[=+@＝＋－＠-]", part), part


def test_a_server_that_carries_python_within_it_reads_excel_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert (
        campaign_files.read("a.xlsx", xlsx([COLUMNS, ROW])).sha256 == campaign_files.read("a.csv", TEXT.encode()).sha256
    )
