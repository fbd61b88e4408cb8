"""Reads somebody's Excel file as a program of its own: `python -I sheet_reader.py MAX_ROWS MAX_COLUMNS < file`.

A file of a thousand bytes can ask for all the memory there is: by two cells in far corners, by one long text in a hundred thousand
cells. Then this program ends, and nobody else does. Each row leaves as a line of JSON; the exit status says why there are no more.
It imports the standard library and the reader alone, since `-I` knows no folder of ours.
"""

from __future__ import annotations

import io
import json
import sys
from datetime import date, datetime, time, timedelta
from typing import Any

TOO_MANY_ROWS, TOO_MUCH, DAMAGED = 3, 4, 5
MAX_MEMORY_BYTES = 1024 * 1024 * 1024
MAX_SECONDS = 30
MAX_TEXT = 48 * 1024 * 1024  # characters of all cells together
MAX_CELL = 2_001  # one more than a cell may have, so that it can be said
_UNSEEN = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 0x200B, 0x200E, 0x200F, 0x202A, 0x202C, 0xFEFF])


def text_of(value: Any) -> str:
    """The text that the office sees in a cell."""
    if isinstance(value, str):
        return (value if value.isprintable() else value.translate(_UNSEEN)).strip()
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime) and value.time() != time():
        return f"{value.day} {value:%B %Y %H:%M}"
    if isinstance(value, (datetime, date)):
        return f"{value.day} {value:%B %Y}"
    if isinstance(value, (time, timedelta)):
        return str(value)
    return str(value)


def main(most_rows: int, most_columns: int) -> int:
    """Write the rows of the first sheet that holds any; the exit status."""
    _limit_ourselves()
    import python_calamine

    try:
        book = python_calamine.load_workbook(io.BytesIO(sys.stdin.buffer.read()))
        for name in book.sheet_names:
            sheet = book.get_sheet_by_name(name)
            if sheet.total_height > most_rows:
                print(json.dumps([name, f"{sheet.total_height:,}"]))
                return TOO_MANY_ROWS
            found, status = _write(sheet.iter_rows(), most_columns)
            if found or status:
                return status
    except MemoryError:
        return TOO_MUCH
    except (python_calamine.CalamineError, OSError, ValueError):
        return DAMAGED
    return 0


def _write(rows: Any, most_columns: int) -> tuple[bool, int]:
    """Whether there was a row that says anything, and the status. A row keeps one column too many, so that it can be counted."""
    left, found = MAX_TEXT, False
    for row in rows:
        cells = [text_of(value)[:MAX_CELL] for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if not cells:
            continue
        found = True
        left -= sum(map(len, cells)) + len(cells)
        if left < 0:
            return found, TOO_MUCH
        print(json.dumps(cells[: most_columns + 1]))
    return found, 0


def _limit_ourselves() -> None:
    try:
        import resource
    except ImportError:  # a system without limits
        return
    for limit, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard),) * 2)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
