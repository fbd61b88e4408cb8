"""The rows of `messages`: written once, moved only by the fold, read by key and by keyset page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Message, Status
from whatsapp_logs.store.text import storable

COLUMNS = """
    m.id, m.direction, m.channel, m.message_type, m.recipient, m.sender, m.body, m.media_url, m.media_id::text AS media_id,
    d.filename AS media_filename, d.content_type AS media_content_type, m.template_sid, m.template_name, m.variables, m.status,
    m.provider, m.provider_id, m.error_code, m.error_message, m.price, m.price_unit, m.num_segments,
    m.policy_id::text AS policy_id, m.client_id::text AS client_id, m.created_by, m.request_key, m.send_at, m.claimed_at,
    m.unconfirmed_at, m.attempts, m.retry_at, m.wait_reason, m.sent_at, m.delivered_at, m.read_at, m.failed_at,
    m.last_status_check, m.resend_of, m.created_at, m.updated_at"""
_SOURCE = "whatsapp_logs.messages AS m LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id"
_INSERT_COLUMNS = (
    "direction", "message_type", "recipient", "sender", "body", "media_url", "media_id", "template_sid", "template_name",
    "media_variable", "variables", "provider_id", "created_by", "request_key", "send_at", "claimed_at", "resend_of",
    "policy_id", "client_id", "created_at", "status",
)  # fmt: skip
_RARE = frozenset(Status) - {Status.DELIVERED, Status.READ, Status.RECEIVED}
_FAILING = (Status.CANCELED, Status.FAILED, Status.UNDELIVERED)
# A phone search that matches more addresses than this walks the time index instead of their rows.
_MAX_ADDRESSES = 500
COUNT_LIMIT = 10_000


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
    return fetch(conn, f"SELECT {COLUMNS} FROM {_SOURCE} WHERE m.id = ANY (%(ids)s) ORDER BY m.id", {"ids": list(ids)})


def latest_of_policies(conn: Connection[Any], policy_ids: Sequence[str], *, message_type: str) -> dict[str, Message]:
    """The newest outgoing message of this type of each of these policies that has one, in one statement."""
    with _portal_ids(MessageFilter(policy_id="given")):
        found = fetch(
            conn,
            f"""
            SELECT DISTINCT ON (m.policy_id) {COLUMNS} FROM {_SOURCE}
            WHERE m.policy_id = ANY (%(policy_ids)s) AND m.message_type = %(message_type)s AND m.direction = 'outbound'
            ORDER BY m.policy_id, m.created_at DESC, m.id DESC
            """,
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
) -> Page:
    """One page of `wanted`, newest first: the rows older than `before`, or the nearest ones newer than `after`.

    `offset` serves the first portal's page numbers only; it costs what it skips.
    """
    upwards = after is not None and before is None
    query, parameters = _page_query(conn, wanted, cursor=after if upwards else before, upwards=upwards)
    with _portal_ids(wanted):
        found = fetch(conn, query, parameters | {"limit": limit + 1, "offset": offset})
    has_more, rows = len(found) > limit, found[:limit]
    if upwards:
        rows.reverse()
    first, last = (_cursor(rows[0]), _cursor(rows[-1])) if rows else (None, None)
    has_newer = has_more if upwards else (before is not None or offset > 0)
    has_older = bool(rows) if upwards else has_more
    return Page(rows, first if has_newer else None, last if has_older else None)


def count_up_to(conn: Connection[Any], wanted: MessageFilter, *, limit: int = COUNT_LIMIT) -> int:
    """How many messages match, but never counting further than `limit` + 1 ("10 000+")."""
    conditions, parameters = _conditions(conn, wanted)
    with _portal_ids(wanted):
        row = conn.execute(
            sql.SQL(
                "SELECT count(*) FROM (SELECT FROM whatsapp_logs.messages AS m WHERE {} LIMIT %(limit)s) AS found"
            ).format(conditions),
            parameters | {"limit": limit + 1},
        ).fetchone()
    return int(row[0]) if row else 0


def count_by_status(
    conn: Connection[Any], wanted: MessageFilter, *, limit: int = COUNT_LIMIT
) -> dict[Status, int] | None:
    """How many of the matching messages stand at each status; None when there are more than `limit`."""
    conditions, parameters = _conditions(conn, wanted)
    with _portal_ids(wanted):
        rows = conn.execute(
            sql.SQL(
                "SELECT status, count(*) FROM (SELECT m.status FROM whatsapp_logs.messages AS m WHERE {} LIMIT %(limit)s)"
                " AS matching GROUP BY status"
            ).format(conditions),
            parameters | {"limit": limit + 1},
        ).fetchall()
    found = {Status(status): int(n) for status, n in rows}
    return found if sum(found.values()) <= limit else None


@contextmanager
def _portal_ids(wanted: MessageFilter) -> Iterator[None]:
    """Ids are text here and have the portal's key types in the table: "x" is no number, and so nobody's id."""
    try:
        yield
    except psycopg.DataError as error:
        field = "client" if wanted.client_id else "policy"
        raise InvalidInput(field, f"The portal has no {field} with this id.") from error


def _one(conn: Connection[Any], condition: str, key: int | str) -> Message | None:
    found = fetch(conn, f"SELECT {COLUMNS} FROM {_SOURCE} WHERE {condition}", {"key": key})
    return found[0] if found else None


def fetch(conn: Connection[Any], query: str | sql.Composed, parameters: dict[str, Any]) -> list[Message]:
    """The messages of a query that selects COLUMNS from `messages AS m` with its `media AS d`."""
    with conn.cursor(row_factory=kwargs_row(_message)) as cursor:
        text = query.encode() if isinstance(query, str) else query
        return cursor.execute(text, parameters).fetchall()


def _message(**row: Any) -> Message:
    row["status"] = Status(row["status"])
    return Message(**row)


def _cursor(message: Message) -> Cursor:
    return Cursor(message.created_at, message.id)


def _page_query(
    conn: Connection[Any], wanted: MessageFilter, *, cursor: Cursor | None, upwards: bool
) -> tuple[sql.Composed, dict[str, Any]]:
    """Rare statuses are read from the side list, one ordered branch each; everything else walks the index that fits."""
    narrow = bool(wanted.phone or wanted.client_id or wanted.policy_id)
    wanted = _with_failures_only(wanted)
    is_rare = bool(wanted.statuses) and not narrow and _RARE.issuperset(wanted.statuses)
    if is_rare:
        conditions, parameters = _conditions(conn, replace(wanted, statuses=()), aside="r")
    else:
        conditions, parameters = _conditions(conn, wanted)
    order, place = sql.SQL("ASC" if upwards else "DESC"), ""
    if cursor is not None:
        place = f" AND ({{t}}.created_at, {{t}}.{{id}}) {'>' if upwards else '<'} (%(at)s, %(id)s)"
        parameters |= {"at": cursor.created_at, "id": cursor.id}
    select = (
        f"SELECT {COLUMNS} FROM {{source}} WHERE {{conditions}}{place}"
        " ORDER BY {t}.created_at {order}, {t}.{id} {order} LIMIT {limit}"
    )

    def branch(source: str, table: str, key: str, where: sql.Composable, limit: str) -> sql.Composed:
        columns = {"t": sql.Identifier(table), "id": sql.Identifier(key)}
        return sql.SQL(select).format(
            source=sql.SQL(source), conditions=where, order=order, limit=sql.SQL(limit), **columns
        )

    if is_rare:
        # OFFSET 0: each row by its key, in the side list's order; left free, the planner reads and sorts the whole log instead.
        source = "whatsapp_logs.rare_statuses AS r CROSS JOIN LATERAL"
        source += " (SELECT * FROM whatsapp_logs.messages WHERE id = r.message_id OFFSET 0) AS m"
        source += " LEFT JOIN whatsapp_logs.media AS d ON d.id = m.media_id"
        branches = [
            sql.SQL("({})").format(
                branch(
                    source,
                    "r",
                    "message_id",
                    sql.SQL("{} AND r.status = {}").format(conditions, status.value),
                    "%(limit)s + %(offset)s",
                )
            )
            for status in wanted.statuses
        ]
        query = sql.SQL("SELECT * FROM ({}) AS merged ORDER BY created_at {order}, id {order}").format(
            sql.SQL(" UNION ALL ").join(branches), order=order
        )
        return sql.SQL("{} LIMIT %(limit)s OFFSET %(offset)s").format(query), parameters
    return sql.SQL("{} OFFSET %(offset)s").format(branch(_SOURCE, "m", "id", conditions, "%(limit)s")), parameters


def _with_failures_only(wanted: MessageFilter) -> MessageFilter:
    """Only what failed has an error code: said aloud, it is found in the side list."""
    if not wanted.error_code:
        return wanted
    failing = tuple(status for status in wanted.statuses or _FAILING if status in _FAILING)
    return replace(wanted, statuses=failing or wanted.statuses)


def _conditions(
    conn: Connection[Any], wanted: MessageFilter, *, aside: str = "m"
) -> tuple[sql.Composed, dict[str, Any]]:
    """The WHERE of the given filters only: `x IS NULL OR …` would cost seconds under a generic plan.

    `aside` is the table that tells when a message was made, its type and its error: `m`, or the side list.
    """
    parts, parameters = [sql.SQL("m.direction = %(direction)s")], {"direction": wanted.direction}
    simple: list[tuple[str, Any, str]] = [
        (
            "statuses",
            [status.value for status in wanted.statuses],
            "m.status = ANY (%(statuses)s::whatsapp_logs.status[])",
        ),
        ("types", list(wanted.types), f"{aside}.message_type = ANY (%(types)s)"),
        ("since", wanted.since, f"{aside}.created_at >= %(since)s"),
        ("until", wanted.until, f"{aside}.created_at < %(until)s"),
        ("client", wanted.client_id, "m.client_id = %(client)s"),
        ("policy", wanted.policy_id, "m.policy_id = %(policy)s"),
        ("error_code", wanted.error_code, f"{aside}.error_code = %(error_code)s"),
    ]
    for name, value, condition in simple:
        if value:
            parts.append(sql.SQL(condition))
            parameters[name] = value
    if wanted.phone:
        parts.append(_phone_condition(conn, wanted, parameters))
    return sql.SQL(" AND ").join(parts), parameters


def _phone_condition(conn: Connection[Any], wanted: MessageFilter, parameters: dict[str, Any]) -> sql.SQL:
    column = "m.sender" if wanted.direction == "inbound" else "m.recipient"
    if not wanted.phone.isdigit():
        parameters["phone"] = wanted.phone
        return sql.SQL(f"{column} = %(phone)s")
    matches = "grams @> whatsapp_logs.grams(%(phone)s) AND digits LIKE '%%' || %(phone)s || '%%'"
    addresses = conn.execute(
        f"SELECT address FROM whatsapp_logs.addresses WHERE {matches} LIMIT {_MAX_ADDRESSES + 1}".encode(),
        {"phone": wanted.phone},
    ).fetchall()
    if len(addresses) <= _MAX_ADDRESSES:
        parameters["addresses"] = [row[0] for row in addresses]
        return sql.SQL(f"{column} = ANY (%(addresses)s)")
    parameters["phone"] = wanted.phone
    return sql.SQL(f"whatsapp_logs.digits({column}) LIKE '%%' || %(phone)s || '%%'")
