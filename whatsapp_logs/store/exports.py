"""Pieces of the list as a file has them: the page's rows, in its order and its words, made by PostgreSQL.

**Inert.** A spreadsheet runs what begins with = + - @ (their full-width twins too), also behind a tab or a line break: such a text
gets an apostrophe in front. So does a part that would become a cell of its own where a spreadsheet splits at semicolons, tabs or
line breaks instead of our commas. Other control characters are shown as their pictures (␛).

**Numbers** are such texts: '+447700900123. Excel and LibreOffice take a bare +447700900123 for a quantity: the plus goes, and where
the column is narrow 4.477E+11 is shown, and saved. With the apostrophe the cell is a text, through saving and opening again;
`phone.to_address` and `phone.search_digits` read over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import ClientCursor, Connection, sql
from psycopg.types.json import Jsonb

from whatsapp_logs import phone, wording
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import FAILURES, FINAL, NOT_SENT, Status
from whatsapp_logs.store import messages
from whatsapp_logs.store.pool import atomic
from whatsapp_logs.store.selection import portal_ids, select

# What runs, or splits; ` *` because some programs trim. Python's `re` and PostgreSQL read these patterns alike.
_RUNS, _SPLITS = "[=+@＝＋－＠-]", r"[;\t\r\n]"
_CONTROLS = r"[\u0001-\u0008\u000b\u000c\u000e-\u001f\u007f]"
AT_START = rf"^(?:[\t\r\n]| *{_RUNS})"
AFTER_SPLIT = rf"({_SPLITS})(?= *{_RUNS})"
PICTURES = {code: 0x2400 + code for code in (*range(1, 9), 11, 12, *range(14, 32))} | {127: 0x2421}
_ODD = rf"{_SPLITS} *{_RUNS}|\n[\t\r\n]|{_CONTROLS}"  # of a row's texts, each after a line break

MAX_CELL = 32_767  # characters, Excel's limit

# Somebody's words; a phone number; words and figures of ours; a moment.
_TEXT, _ADDRESS, _OURS, _TIME = "text", "address", "ours", "time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """How rows are told. `reasons`: error code → its meaning. `keys`: ids of client and policy as second and third column."""

    zone: str
    now: datetime
    direction: str
    hides_numbers: bool
    hides_texts: bool
    reader: str  # who takes the file away
    keys: bool
    types: Mapping[str, str]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the file. `expression` is SQL over a row `m` of the list."""

    title: str
    expression: str
    kind: str = _OURS

    @property
    def is_time(self) -> bool:
        """Whether it holds moments, in the reader's zone."""
        return self.kind == _TIME

    @property
    def is_text(self) -> bool:
        """Whether it holds texts, though they may look like numbers."""
        return self.kind in (_TEXT, _ADDRESS)


def columns(telling: Telling) -> list[Column]:
    """The file's columns in their order; the last two are the row's place in the list."""
    inbound = telling.direction == "inbound"
    client = _CLIENT_OF_INBOUND if inbound else "m.client_id::text"
    body, document = ("%(hidden)s", "NULL") if telling.hides_texts else ("m.body", "m.media_filename")
    keys = [Column("Client", client), Column("Policy", "m.policy_id::text")] if telling.keys else []
    return [
        _time("Time", "m.created_at", telling),
        *keys,
        Column("Sender" if inbound else "Recipient", _address(inbound, hides=telling.hides_numbers), _ADDRESS),
        Column("Type", "COALESCE(%(type_words)s::jsonb ->> m.message_type, m.message_type)", _TEXT),
        Column("Status", _STATUS),
        Column("Reason", _reason(hides=telling.hides_numbers), _TEXT),
        Column("Message", body, _TEXT),
        Column("Document", document, _TEXT),
        *(_time(title, f"m.{title.lower()}_at", telling) for title in ("Sent", "Delivered", "Read", "Failed")),
        Column("Client id", client, _TEXT),
        Column("Policy id", "m.policy_id::text", _TEXT),
        Column("Error code", "m.error_code", _TEXT),
        Column("Price", "trim_scale(abs(m.price))"),
        Column("Currency", "m.price_unit", _TEXT),
        Column("Segments", "m.num_segments"),
        Column("Template", "COALESCE(m.template_name, m.template_sid)", _TEXT),
        Column("Created by", "m.created_by", _TEXT),
        Column("Sent again as", _SENT_AGAIN_AS),
        # Who took it away, and when: a column without values, so that every line from the second on is a message.
        Column(f"Exported {telling.now:%Y-%m-%d %H:%M} UTC by {telling.reader}", "NULL::text"),
        Column("Message SID", "m.provider_id", _TEXT),
        Column("Log id", "m.id"),
        Column("Exact time (UTC)", """to_char(m.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""),
    ]


def allow_time(conn: Connection[Any]) -> None:
    """Give the statements of this transaction longer than a page's.

    For a filter that few rows match, a piece may have to walk the whole log: at ten million rows more than a page's 15 s. The bound
    is for the reader who waits; nobody else does. JIT would compile for a second before the first row.
    """
    conn.execute(
        "SELECT set_config('statement_timeout', '60s', true), set_config('jit', 'off', true), set_config('datestyle', 'ISO', true)"
    )


def knows_zone(conn: Connection[Any], zone: str) -> bool:
    """Whether the server's own list of time zones has this one."""
    try:
        with atomic(conn):
            conn.execute("SELECT now() AT TIME ZONE %s", (zone,))
    except psycopg.errors.InvalidParameterValue:
        return False
    return True


def csv_lines(
    conn: Connection[Any], wanted: MessageFilter, telling: Telling, *, before: Cursor | None, limit: int
) -> tuple[list[bytes], Cursor | None]:
    """Up to `limit` rows older than `before` as lines of CSV, each ending in a line feed; and where to go on (None: nowhere)."""
    query, parameters = csv_query(conn, wanted, telling, before=before, limit=limit)
    allow_time(conn)
    with portal_ids(wanted), conn.cursor().copy(query, parameters) as copied:
        lines = [bytes(line) for line in copied]  # PostgreSQL sends one row at a time
    if len(lines) < limit:
        return lines, None
    message_id, created_at = lines[-1].decode().rstrip("\n").rsplit(",", 2)[1:]
    return lines, Cursor(datetime.fromisoformat(created_at), int(message_id))


def csv_query(
    conn: Connection[Any], wanted: MessageFilter, telling: Telling, *, before: Cursor | None, limit: int | None
) -> tuple[sql.Composed, dict[str, Any]]:
    """The COPY that makes these lines; without a `limit` all of them."""
    told, parameters = _told(conn, wanted, telling, before=before, limit=limit)
    places = list(enumerate(columns(telling)))
    texts = [f"c{n}" if c.kind == _TEXT else f"ltrim(c{n}, '+')" for n, c in places if c.is_text]
    odd = f"concat_ws(E'\\n', '', {', '.join(texts)}) ~ %(odd)s"
    judged = f"SELECT *, {odd} AS is_odd FROM ({{told}}) AS told {_NEWEST_FIRST} OFFSET 0"  # noqa: S608 - columns of ours; values are parameters
    cells = ", ".join(_cell(f"c{n}", c.kind) for n, c in places)
    query = f"COPY (SELECT {cells} FROM ({judged}) AS judged {_NEWEST_FIRST}) TO STDOUT (FORMAT csv)"  # noqa: S608 - columns of ours; values are parameters
    return sql.SQL(query).format(told=told), parameters


def rows(
    conn: Connection[Any], wanted: MessageFilter, telling: Telling, *, before: Cursor | None, limit: int
) -> tuple[list[tuple[Any, ...]], Cursor | None]:
    """The same as values: texts as they are, times without a zone, numbers; no text is longer than a cell of Excel's."""
    told, parameters = _told(conn, wanted, telling, before=before, limit=limit)
    cells = [_FITTING.format(f"c{n}") if c.is_text else f"c{n}" for n, c in enumerate(columns(telling))]
    query = sql.SQL(f"SELECT {', '.join(cells)} FROM ({{told}}) AS told {_NEWEST_FIRST}").format(told=told)  # noqa: S608 - columns of ours; values are parameters
    allow_time(conn)
    with portal_ids(wanted), ClientCursor(conn) as cursor:  # planned for these very values, as COPY is
        found = cursor.execute(query, parameters).fetchall()
    if len(found) < limit:
        return found, None
    return found, Cursor(datetime.fromisoformat(found[-1][-1]), found[-1][-2])


# Each level has the order of the one below, so that nothing is sorted; OFFSET 0 keeps them apart, so that nothing is done twice.
_NEWEST_FIRST = "ORDER BY created_at DESC, id DESC"


def _told(
    conn: Connection[Any], wanted: MessageFilter, telling: Telling, *, before: Cursor | None, limit: int | None
) -> tuple[sql.Composed, dict[str, Any]]:
    page, parameters = _page(conn, wanted, before=before)
    cells = ", ".join(f"{c.expression} AS c{n}" for n, c in enumerate(columns(telling)))
    query = sql.SQL(f"SELECT {cells}, m.created_at, m.id FROM ({{page}}) AS m {_NEWEST_FIRST} OFFSET 0").format(  # noqa: S608 - columns of ours; values are parameters
        page=page
    )
    words = _words(telling)
    assert words.keys().isdisjoint(parameters)  # else a word would be searched for, or a search told
    return query, parameters | words | {"limit": limit, "offset": 0}


def _page(
    conn: Connection[Any], wanted: MessageFilter, *, before: Cursor | None
) -> tuple[sql.Composed, dict[str, Any]]:
    """The rows of a piece, as those of a page; what is scattered is read along the whole log."""
    chosen = select(conn, wanted)
    if not chosen.is_scattered:
        return messages.rows_of(chosen, cursor=before)[-1]
    # Soon found on the way; the planner would rather look at everything, for every piece.
    conn.execute("SELECT set_config('enable_sort', 'off', true)")
    return messages.rows_in_order(chosen, cursor=before)


def _words(telling: Telling) -> dict[str, Any]:
    return {
        "zone": telling.zone,
        "now": telling.now,
        "type_words": Jsonb(dict(telling.types)),
        "reasons": Jsonb(dict(telling.reasons)),
        "status_words": Jsonb({status.value: wording.status_label(status) for status in Status}),
        "final": [status.value for status in FINAL],
        "failures": [status.value for status in FAILURES],
        "given_up": [status.value for status in FAILURES | {Status.CANCELED}],
        "unconfirmed": wording.UNCONFIRMED,
        "unconfirmed_detail": wording.UNCONFIRMED_DETAIL,
        "waiting": wording.WAITING,
        "waiting_detail": wording.WAITING_DETAIL,
        "scheduled": wording.SCHEDULED,
        "in_doubt": wording.IN_DOUBT,
        "in_doubt_detail": wording.IN_DOUBT_DETAIL,
        "not_sent": NOT_SENT,
        "silent_after": wording.SILENT_AFTER,
        "silent_detail": wording.SILENT_DETAIL,
        "hidden": wording.TEXT_HIDDEN,
        "number": phone.NUMBER_IN_TEXT,
        "mask": phone.MASK,
        "kept": phone.KEPT_CHARACTERS,
        "at_start": AT_START,
        "after_split": AFTER_SPLIT,
        "odd": _ODD,
        "controls": "".join(map(chr, PICTURES)),
        "pictures": "".join(map(chr, PICTURES.values())),
        "max_cell": MAX_CELL,
    }


def _cell(name: str, kind: str) -> str:
    """The column as CSV may have it; only rows in which something is odd pay for being looked at."""
    if kind in (_OURS, _TIME):
        return name
    plain = f"WHEN left({name}, 1) = '+' THEN '''' || {name} ELSE {name}" if kind == _ADDRESS else f"ELSE {name}"
    mended = f"regexp_replace(translate({name}, %(controls)s, %(pictures)s), %(after_split)s, E'\\\\1''', 'g')"
    return f"CASE WHEN is_odd THEN CASE WHEN {name} ~ %(at_start)s THEN '''' ELSE '' END || {mended} {plain} END"


_FITTING = "CASE WHEN length({0}) > %(max_cell)s THEN left({0}, %(max_cell)s - 1) || '…' ELSE {0} END"


def _time(title: str, moment: str, telling: Telling) -> Column:
    return Column(f"{title} ({telling.zone})", f"date_trunc('second', {moment} AT TIME ZONE %(zone)s)", _TIME)


def _address(inbound: bool, *, hides: bool) -> str:
    address = "m.sender" if inbound else "m.recipient"
    if not hides:
        return address
    return (
        f"CASE WHEN length({address}) > %(kept)s THEN %(mask)s || ' ' || right({address}, %(kept)s) ELSE %(mask)s END"
    )


def _reason(*, hides: bool) -> str:
    """What the page says beside a status that asks for attention; times have columns of their own."""
    told = "NULLIF(m.error_message, '')"
    if hides:  # a provider's text may quote the number that it is about
        told = rf"regexp_replace({told}, %(number)s, %(mask)s || E' \\1', 'g')"
    return f"""
        CASE WHEN {_IS_UNCONFIRMED} THEN %(unconfirmed_detail)s
             WHEN {_IS_WAITING} THEN format(%(waiting_detail)s, split_part(m.wait_reason, '.', 1),
                                            date_trunc('second', m.retry_at AT TIME ZONE %(zone)s))
             WHEN m.status = 'sent' AND {_SILENCE} >= %(silent_after)s
             THEN format(%(silent_detail)s, floor(extract(epoch FROM {_SILENCE}) / 86400),
                         CASE WHEN {_SILENCE} >= interval '48 hours' THEN 's' ELSE '' END)
             WHEN {_IS_IN_DOUBT} THEN %(in_doubt_detail)s
             WHEN m.status = ANY (%(failures)s::whatsapp_logs.status[])
             THEN COALESCE(%(reasons)s::jsonb ->> m.error_code, {told}) END"""


_SILENCE = "(%(now)s - COALESCE(m.sent_at, m.created_at))"
_IS_UNCONFIRMED = """(m.unconfirmed_at IS NOT NULL AND m.provider_id IS NULL
                      AND m.status <> 'sent' AND m.status <> ALL (%(final)s::whatsapp_logs.status[]))"""
_IS_IN_DOUBT = "(m.status = 'failed' AND m.error_code = %(not_sent)s AND m.provider_id IS NOT NULL)"
_IS_WAITING = "(m.status = 'queued' AND m.retry_at IS NOT NULL AND m.wait_reason <> '')"
_STATUS = f"""
    CASE WHEN {_IS_UNCONFIRMED} THEN %(unconfirmed)s
         WHEN {_IS_WAITING} THEN %(waiting)s
         WHEN m.send_at > %(now)s AND m.status IN ('scheduled', 'queued') THEN %(scheduled)s
         WHEN {_IS_IN_DOUBT} THEN %(in_doubt)s
         ELSE %(status_words)s::jsonb ->> m.status::text END"""
_SENT_AGAIN_AS = """
    CASE WHEN m.status = ANY (%(given_up)s::whatsapp_logs.status[])
         THEN (SELECT max(again.id) FROM whatsapp_logs.messages AS again WHERE again.resend_of = m.id) END"""
_CLIENT_OF_INBOUND = """
    COALESCE(m.client_id::text, (
        SELECT known.client_id::text FROM whatsapp_logs.messages AS known
        WHERE known.recipient = m.sender AND known.direction = 'outbound' AND known.client_id IS NOT NULL
        ORDER BY known.created_at DESC, known.id DESC LIMIT 1))"""
