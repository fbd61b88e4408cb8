"""The rows of `messages`: written once, moved only by the fold, read by key and by keyset page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from psycopg import Connection, sql
from psycopg import Cursor as Reading
from psycopg.types.json import Jsonb

from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Message, Status
from whatsapp_logs.store.selection import Selection, portal_ids, select
from whatsapp_logs.store.text import storable, storable_json

COLUMNS = """
    m.id, m.direction, m.channel, m.message_type, m.recipient, m.sender, m.body, m.media_url, m.media_id::text AS media_id,
    d.filename AS media_filename, d.content_type AS media_content_type, m.template_sid, m.template_name, m.variables, m.status,
    m.provider, m.provider_id, m.error_code, m.error_message, m.price, m.price_unit, m.num_segments,
    m.policy_id::text AS policy_id, m.client_id::text AS client_id, m.created_by, m.request_key, m.send_at, m.claimed_at,
    m.unconfirmed_at, m.attempts, m.retry_at, m.wait_reason, m.sent_at, m.delivered_at, m.read_at, m.failed_at,
    m.last_status_check, m.resend_of, m.created_at, m.updated_at, m.erased_at, m.path, m.confirmed,
    m.timezone, m.template_version_id, m.campaign_id"""
_SOURCE = "whatsapp_logs.messages AS m LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id"
_INSERT_COLUMNS = (
    "direction", "message_type", "recipient", "sender", "body", "media_url", "media_id", "template_sid", "template_name",
    "media_variable", "variables", "provider_id", "created_by", "request_key", "send_at", "claimed_at", "resend_of",
    "policy_id", "client_id", "created_at", "status", "path", "confirmed", "timezone", "template_version_id",
    "campaign_id",
)  # fmt: skip
_STATUSES = {status.value: status for status in Status}
_FIELDS = frozenset(field.name for field in fields(Message))
_NEXT_IDS = """
    SELECT nextval(s.name) FROM (SELECT pg_get_serial_sequence('whatsapp_logs.messages', 'id')::regclass OFFSET 0) AS s (name),
           generate_series(1, %(n)s::integer)"""
# The first event moves no status: `queued` or `scheduled` is what a new message is. What all rows have in common is told once.
_INSERT_MANY = """
    WITH written AS (
        INSERT INTO whatsapp_logs.messages ({columns}) OVERRIDING SYSTEM VALUE
        SELECT {columns}
        FROM jsonb_populate_recordset(jsonb_populate_record(NULL::whatsapp_logs.messages, %(common)s::jsonb), %(rows)s::jsonb)
        ON CONFLICT DO NOTHING RETURNING id, created_at, status
    ), told AS (
        INSERT INTO whatsapp_logs.status_events (message_id, status, provider_status, source, happened_at, received_at)
        SELECT id, status, status::text, 'send', created_at, created_at FROM written ORDER BY id
    )
    SELECT id FROM written"""
# Where the rows stand in their order in one index, they are read as they stand.
_ROWS_IN_ORDER = f"SELECT {COLUMNS} FROM {_SOURCE} {{walk}}"  # noqa: S608 - words of ours; values are parameters
# Else the page's keys first, whatever way they are found; then these rows, each by its key.
_ROWS_OF_KEYS = f"""
    WITH page AS MATERIALIZED ({{keys}})
    SELECT {COLUMNS} FROM page JOIN whatsapp_logs.messages AS m USING (id) LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id
    ORDER BY page.created_at {{order}}, page.id {{order}}"""  # noqa: S608 - words of ours; values are parameters

# All messages of some numbers at once: how many stand where, if they are fewer than `most`, and beside it those of the page.
# Whether they are, their index tells without the table, where it holds all that is asked.
_ALL_OF_THEM = f"""
    WITH few AS MATERIALIZED (
        SELECT {{may_be_few}} AS they_are
    ), found AS MATERIALIZED (
        SELECT m.created_at, m.id, m.status FROM whatsapp_logs.messages AS m
        WHERE (SELECT they_are FROM few) AND {{where}} LIMIT %(most)s
    ), told AS MATERIALIZED (
        SELECT COALESCE(json_object_agg(status, n), '{{{{}}}}')::text AS counts
        FROM (SELECT status, count(*) AS n FROM found GROUP BY status) AS each_status
        HAVING (SELECT they_are FROM few) AND COALESCE(sum(n), 0) < %(most)s
    ), page AS MATERIALIZED (
        SELECT created_at, id FROM found AS m WHERE EXISTS (SELECT FROM told){{among}}
        ORDER BY created_at {{order}}, id {{order}} LIMIT %(limit)s OFFSET %(offset)s
    )
    SELECT {COLUMNS}, told.counts
    FROM told LEFT JOIN page ON true
    LEFT JOIN whatsapp_logs.messages AS m ON m.id = page.id LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id
    ORDER BY page.created_at {{order}}, page.id {{order}}"""  # noqa: S608 - words of ours; values are parameters


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, newest first, and where its neighbours start (None = there is none)."""

    messages: list[Message]
    newer: Cursor | None
    older: Cursor | None


def insert(conn: Connection[Any], **values: Any) -> int | None:
    """Write one message and, for an outgoing one that is queued, its first event; None when its request_key is known already.

    `values` are columns of `messages`; what is left out takes the column's default.
    """
    given = {name: storable(value) for name, value in values.items() if value is not None}
    unknown = given.keys() - set(_INSERT_COLUMNS)
    if unknown:
        raise TypeError(f"not columns of a new message: {sorted(unknown)}")
    if "variables" in given:
        given["variables"] = Jsonb(given["variables"])
    row = conn.execute(
        sql.SQL("INSERT INTO whatsapp_logs.messages ({}) VALUES ({}) ON CONFLICT DO NOTHING RETURNING id").format(
            sql.SQL(", ").join(map(sql.Identifier, given)), sql.SQL(", ").join(map(sql.Placeholder, given))
        ),
        given,
    ).fetchone()
    return None if row is None else int(row[0])


def insert_many(conn: Connection[Any], rows: Sequence[dict[str, Any]]) -> list[int | None]:
    """Write many queued messages and the first event of each, in one statement; ids in their order, None where `request_key` was
    known already. `rows` are columns of `messages`, all the same ones.
    """
    ids = [row[0] for row in conn.execute(_NEXT_IDS, {"n": len(rows)}).fetchall()]
    own = [name for name, value in rows[0].items() if any(row[name] != value for row in rows)]
    common = {name: value for name, value in rows[0].items() if name not in own and value is not None}
    given = [{"id": id_} | {name: row[name] for name in own} for id_, row in zip(ids, rows, strict=True)]
    statement = sql.SQL(_INSERT_MANY).format(columns=sql.SQL(", ").join(map(sql.Identifier, ("id", *common, *own))))
    parameters = {"rows": storable_json(given), "common": storable_json(common)}
    written = {row[0] for row in conn.execute(statement, parameters).fetchall()}
    return [id_ if id_ in written else None for id_ in ids]


def ids_by_request_key(conn: Connection[Any], keys: Sequence[str]) -> dict[str, int]:
    """Which of these requests made a message before."""
    return dict(
        conn.execute(
            "SELECT request_key, id FROM whatsapp_logs.messages WHERE request_key = ANY (%(keys)s)",
            {"keys": list(keys)},
        ).fetchall()
    )


def get(conn: Connection[Any], message_id: int) -> Message | None:
    """The message of that id."""
    return _one(conn, "m.id = %(key)s", message_id)


def by_provider_id(conn: Connection[Any], provider_id: str) -> Message | None:
    """The message of that Twilio SID."""
    return _one(conn, "m.provider_id = %(key)s", provider_id)


def by_request_key(conn: Connection[Any], request_key: str) -> Message | None:
    """The message that this very request made before."""
    return _one(conn, "m.request_key = %(key)s", request_key)


def many(conn: Connection[Any], ids: Sequence[int]) -> list[Message]:
    """The messages of these ids, in ascending order."""
    return fetch(conn, f"SELECT {COLUMNS} FROM {_SOURCE} WHERE m.id = ANY (%(ids)s) ORDER BY m.id", {"ids": list(ids)})  # noqa: S608 - words of ours; values are parameters


def latest_of_policies(conn: Connection[Any], policy_ids: Sequence[str], *, message_type: str) -> dict[str, Message]:
    """The newest outgoing message of this type of each of these policies that has one, in one statement."""
    with portal_ids(MessageFilter(policy_id="given")):
        found = fetch(
            conn,
            f"""
            SELECT DISTINCT ON (m.policy_id) {COLUMNS} FROM {_SOURCE}
            WHERE m.policy_id = ANY (%(policy_ids)s) AND m.message_type = %(message_type)s AND m.direction = 'outbound'
            ORDER BY m.policy_id, m.created_at DESC, m.id DESC
            """,  # noqa: S608 - words of ours; values are parameters
            {"policy_ids": list(policy_ids), "message_type": message_type},
        )
    return {message.policy_id: message for message in found if message.policy_id is not None}


def media_variable(conn: Connection[Any], message_id: int) -> str | None:
    """The template placeholder that takes this message's document link."""
    row = conn.execute(
        "SELECT media_variable FROM whatsapp_logs.messages WHERE id = %(id)s", {"id": message_id}
    ).fetchone()
    return row[0] if row else None


def page(
    conn: Connection[Any],
    wanted: MessageFilter,
    *,
    before: Cursor | None = None,
    after: Cursor | None = None,
    offset: int = 0,
    limit: int = 50,
    chosen: Selection | None = None,
) -> Page:
    """One page of `wanted`, newest first: the rows older than `before`, or the nearest ones newer than `after`.

    `offset` serves the first portal's page numbers only; it costs what it skips. `chosen` is the filter's selection, if known.
    """
    upwards = after is not None and before is None
    found: list[Message] = []
    for query, parameters in rows_of(
        chosen or select(conn, wanted), cursor=after if upwards else before, upwards=upwards
    ):
        with portal_ids(wanted):
            found = fetch(conn, query, parameters | {"limit": limit + 1, "offset": offset})
        if len(found) > limit:
            break
    return _page(found, before=before, upwards=upwards, offset=offset, limit=limit)


def page_and_counts(
    conn: Connection[Any],
    wanted: MessageFilter,
    chosen: Selection,
    *,
    before: Cursor | None = None,
    after: Cursor | None = None,
    offset: int = 0,
    limit: int = 50,
) -> tuple[Page, dict[Status, int]] | None:
    """As `page`, and `count_by_status` whatever the status, by one look at all messages of the numbers that were `chosen`.

    None when they are more than `chosen.count_limit`. Of some hundred messages, half of what asking for both takes.
    """
    upwards = after is not None and before is None
    words, parameters = chosen.all_of_them(wanted, cursor=after if upwards else before, upwards=upwards)
    parameters |= {"most": chosen.count_limit + 1, "limit": limit + 1, "offset": offset}
    with conn.cursor(row_factory=_filled_beside) as reading, portal_ids(wanted):
        found = reading.execute(sql.SQL(_ALL_OF_THEM).format(**words), parameters).fetchall()
    if not found:
        return None
    counts = {Status(status): int(n) for status, n in json.loads(found[0][1]).items()}
    messages = [message for message, _ in found if message is not None]
    return _page(messages, before=before, upwards=upwards, offset=offset, limit=limit), counts


def _page(found: list[Message], *, before: Cursor | None, upwards: bool, offset: int, limit: int) -> Page:
    has_more, rows = len(found) > limit, found[:limit]
    if upwards:
        rows.reverse()
    first, last = (_cursor(rows[0]), _cursor(rows[-1])) if rows else (None, None)
    has_newer = has_more if upwards else (before is not None or offset > 0)
    has_older = bool(rows) if upwards else has_more
    return Page(rows, first if has_newer else None, last if has_older else None)


def rows_of(
    chosen: Selection, *, cursor: Cursor | None = None, upwards: bool = False
) -> list[tuple[sql.Composed, dict[str, Any]]]:
    """Queries for the COLUMNS of the rows next to the cursor, nearest first; they take %(limit)s and %(offset)s.

    The first one that fills a page is right; the last one is right in any case.
    """
    if chosen.is_one_walk:
        return [rows_in_order(chosen, cursor=cursor, upwards=upwards)]
    order = sql.SQL("ASC" if upwards else "DESC")
    return [
        (sql.SQL(_ROWS_OF_KEYS).format(keys=keys, order=order), parameters)
        for keys, parameters in chosen.keys(cursor=cursor, upwards=upwards)
    ]


def rows_in_order(
    chosen: Selection, *, cursor: Cursor | None = None, upwards: bool = False
) -> tuple[sql.Composed, dict[str, Any]]:
    """The query for the COLUMNS of the rows next to the cursor, along one index of `messages`."""
    walk, parameters = chosen.walk(cursor=cursor, upwards=upwards)
    return sql.SQL(_ROWS_IN_ORDER).format(walk=walk), parameters


def count_up_to(conn: Connection[Any], chosen: Selection, wanted: MessageFilter, *, limit: int | None = None) -> int:
    """How many messages match, but never counting further than `limit` (default: `chosen.count_limit`) + 1."""
    return sum(_counted(conn, chosen, wanted, chosen.count_limit if limit is None else limit).values())


def count_by_status(conn: Connection[Any], chosen: Selection, wanted: MessageFilter) -> dict[Status, int] | None:
    """How many of the matching messages stand at each status; None when there are more than `chosen.count_limit`."""
    found = _counted(conn, chosen, wanted, chosen.count_limit)
    return found if sum(found.values()) <= chosen.count_limit else None


def _counted(conn: Connection[Any], chosen: Selection, wanted: MessageFilter, limit: int) -> dict[Status, int]:
    # In the page's order, where there is one: else the planner reads a whole table for what it believes to be many rows of it.
    order = sql.SQL("") if chosen.addresses else sql.SQL("ORDER BY {} DESC").format(chosen.created_at)
    query = sql.SQL(
        "SELECT status, count(*) FROM (SELECT {table}.status FROM {source} WHERE {where} {order} LIMIT %(limit)s) AS matching"
        " GROUP BY status"
    ).format(table=sql.Identifier(chosen.table), source=chosen.source, where=chosen.where, order=order)
    with portal_ids(wanted):
        rows = conn.execute(query, chosen.parameters | {"limit": limit + 1}).fetchall()
    return {Status(status): int(n) for status, n in rows}


def _one(conn: Connection[Any], condition: str, key: int | str) -> Message | None:
    found = fetch(conn, f"SELECT {COLUMNS} FROM {_SOURCE} WHERE {condition}", {"key": key})  # noqa: S608 - words of ours; values are parameters
    return found[0] if found else None


def fetch(conn: Connection[Any], query: str | sql.Composed, parameters: dict[str, Any]) -> list[Message]:
    """The messages of a query that selects COLUMNS from `messages AS m` with its `media AS d`."""
    with conn.cursor(row_factory=_filled) as cursor:
        text = query.encode() if isinstance(query, str) else query
        return cursor.execute(text, parameters).fetchall()


def _filled(reading: Reading[Any]) -> Callable[[Sequence[Any]], Message]:
    """Messages filled at once, by the names of the query's columns: a quarter of what forty keyword arguments cost a row."""
    result = reading.pgresult
    assert result is not None
    return _filler([(result.fname(place) or b"").decode() for place in range(result.nfields)])


def _filled_beside(reading: Reading[Any]) -> Callable[[Sequence[Any]], tuple[Message | None, Any]]:
    """The same, or None for a row without one; and beside it the last column, which is no message's."""
    result = reading.pgresult
    assert result is not None
    fill = _filler([(result.fname(place) or b"").decode() for place in range(result.nfields - 1)])
    return lambda row: (None if row[0] is None else fill(row), row[-1])


def _filler(names: list[str]) -> Callable[[Sequence[Any]], Message]:
    assert frozenset(names) == _FIELDS, "what is not asked for would be told as its default"

    new, status = object.__new__, names.index("status")

    def message(row: Sequence[Any]) -> Message:
        made = new(Message)
        values = made.__dict__
        values.update(zip(names, row))  # noqa: B905 - what stands behind the last name is none of it
        values["status"] = _STATUSES[row[status]]
        return made

    return message


def _cursor(message: Message) -> Cursor:
    return Cursor(message.created_at, message.id)
