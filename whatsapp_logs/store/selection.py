"""Which rows a filter means, and the way to them that looks at next to nothing else: side list, some numbers, or the whole log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import Connection, sql

from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Status
from whatsapp_logs.store import counts
from whatsapp_logs.store.words import is_one_of

_RARE = frozenset(Status) - {Status.DELIVERED, Status.READ, Status.RECEIVED}
_FAILING = (Status.CANCELED, Status.FAILED, Status.UNDELIVERED)
_MAX_ADDRESSES = (
    300  # more numbers than these get a page of messages within _NEAR_ROWS, unless all are customers of old
)
_NEAR_ROWS = 20_000
COUNT_LIMIT = 10_000  # of messages that stand together in an index
# Those of several numbers lie anywhere in the table: where it is not in memory, ten thousand of them are ten thousand reads.
SCATTERED_COUNT_LIMIT = 500
# All that a filter may ask of a message; `*` would have PostgreSQL make up a row of every column for each that it looks at.
_ASKED = (
    "m.id, m.created_at, m.direction, m.recipient, m.sender, m.status, m.message_type, m.client_id, m.policy_id, m.campaign_id,"
    " m.error_code, m.failed_at"
)
_ADDRESSES = "grams @> %(grams)s AND digits LIKE '%%' || %(phone)s || '%%'"
# A number's digits stand together; those of a user id may have letters between them.
_HOLDS = "(m.{a} LIKE {p} OR (NOT m.{a} ^@ '+' AND whatsapp_logs.digits(m.{a}) LIKE {p}))"


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of a filter: where they are found, under which conditions, and the parameters of both.

    `table` is `m` (messages) or `r` (the side list, which knows status, type, time and error of what did not arrive).
    """

    table: str
    conditions: sql.Composed
    parameters: dict[str, Any]
    statuses: tuple[Status, ...] = ()  # of the side list: each is read in its own order
    addresses: tuple[str, ...] = ()  # of these numbers only: likewise
    address_column: str = ""
    is_scattered: bool = False  # of so many numbers that counting their messages would look at everything
    is_common: bool = True  # one of the newest messages may well be of these

    @property
    def count_limit(self) -> int:
        """How many messages are counted before "and more" is said."""
        return SCATTERED_COUNT_LIMIT if self.addresses else COUNT_LIMIT

    @property
    def source(self) -> sql.SQL:
        """The table with its short name."""
        return sql.SQL({"m": "whatsapp_logs.messages AS m", "r": "whatsapp_logs.rare_statuses AS r"}[self.table])

    @property
    def id(self) -> sql.Identifier:
        """The message's id in that table."""
        return sql.Identifier(self.table, "id" if self.table == "m" else "message_id")

    @property
    def created_at(self) -> sql.Identifier:
        """When the message was made, in that table."""
        return sql.Identifier(self.table, "created_at")

    @property
    def where(self) -> sql.Composed:
        """All conditions in one."""
        parts = [self.conditions]
        if self.statuses:
            parts.append(is_one_of("r.status", self.statuses))
        if self.addresses:  # a single one by `=`, as `is_one_of` has it
            one_or_more = "m.{} = %(address)s" if len(self.addresses) == 1 else "m.{} = ANY (%(addresses)s)"
            parts.append(sql.SQL(one_or_more).format(sql.Identifier(self.address_column)))
        if self.is_scattered:
            part = sql.SQL("'%%' || %(phone)s || '%%'")
            parts.append(sql.SQL(_HOLDS).format(a=sql.Identifier(self.address_column), p=part))
        return sql.SQL(" AND ").join(parts)

    @property
    def is_one_walk(self) -> bool:
        """Whether the rows stand in their order in one index of `messages`, so that `walk` reads them as it goes."""
        return self.table == "m" and len(self.addresses) <= 1 and not self.is_scattered

    def walk(self, *, cursor: Cursor | None = None, upwards: bool = False) -> tuple[sql.Composed, dict[str, Any]]:
        """Of `messages`, the end of a query for the rows next to the cursor, nearest first: WHERE and what follows it.

        It takes %(limit)s and %(offset)s. A third less work than looking each row up by a key of `keys`.
        """
        place, parameters = self._next_to(cursor, upwards=upwards)
        query = sql.SQL(
            "WHERE {where}{place} ORDER BY m.created_at {order}, m.id {order} LIMIT %(limit)s OFFSET %(offset)s"
        ).format(where=self.where, place=place, order=sql.SQL("ASC" if upwards else "DESC"))
        return query, parameters

    def keys(self, *, cursor: Cursor | None = None, upwards: bool = False) -> list[tuple[sql.Composed, dict[str, Any]]]:
        """Queries for (created_at, id) of the rows next to the cursor, nearest first; they take %(limit)s and %(offset)s.

        The first one that fills a page is right; the last one is right in any case.
        """
        place, parameters = self._next_to(cursor, upwards=upwards)
        order = sql.SQL("ASC" if upwards else "DESC")

        def walk(where: sql.Composable) -> sql.Composed:
            return sql.SQL(
                "(SELECT {at} AS created_at, {id} AS id FROM {source} WHERE {where}{place} ORDER BY {at} {order}, {id} {order}"
                " LIMIT %(limit)s + %(offset)s)"
            ).format(at=self.created_at, id=self.id, source=self.source, where=where, place=place, order=order)

        merged = sql.SQL(
            "SELECT created_at, id FROM ({walks}) AS found ORDER BY created_at {order}, id {order}"
            " LIMIT %(limit)s OFFSET %(offset)s"
        ).format(walks=sql.SQL(" UNION ALL ").join(self._walks(walk)), order=order)
        if not (self.is_scattered and self.is_common):
            return [(merged, parameters)]
        near = sql.SQL(
            "SELECT m.created_at, m.id FROM (SELECT {columns} FROM whatsapp_logs.messages AS m WHERE true{place}"
            " ORDER BY m.created_at {order}, m.id {order} LIMIT {rows}) AS m"
            " WHERE {where} ORDER BY m.created_at {order}, m.id {order} LIMIT %(limit)s OFFSET %(offset)s"
        ).format(columns=sql.SQL(_ASKED), place=place, order=order, rows=_NEAR_ROWS, where=self.where)
        return [(near, parameters), (merged, parameters)]

    def all_of_them(
        self, wanted: MessageFilter, *, cursor: Cursor | None = None, upwards: bool = False
    ) -> tuple[dict[str, sql.Composable], dict[str, Any]]:
        """Of `messages` of some numbers: {where} they are, whatever their status, and {among} them those next to the cursor.

        {may_be_few} asks whether there are fewer than %(most)s, where that costs little; {order} is the page's.
        """
        conditions, parameters = _conditions(wanted.only())
        if wanted.error_code:  # as `select` has it
            conditions = sql.SQL("{} AND m.failed_at IS NOT NULL").format(conditions)
        everything = replace(self, conditions=conditions, parameters=self.parameters | parameters)
        place, parameters = everything._next_to(cursor, upwards=upwards)
        among = sql.SQL(" AND {}").format(is_one_of("m.status", wanted.statuses)) if wanted.statuses else sql.SQL("")
        is_in_index = not (
            wanted.types or wanted.error_code or wanted.client_id or wanted.policy_id or wanted.campaign_id
        )
        number = "(SELECT count(*) FROM (SELECT FROM whatsapp_logs.messages AS m WHERE {} LIMIT %(most)s) AS looked_at) < %(most)s"
        return {
            "may_be_few": sql.SQL(number).format(everything.where) if is_in_index else sql.SQL("true"),
            "where": everything.where,
            "among": among + place,
            "order": sql.SQL("ASC" if upwards else "DESC"),
        }, parameters

    def _next_to(self, cursor: Cursor | None, *, upwards: bool) -> tuple[sql.Composable, dict[str, Any]]:
        """The condition for what lies on that side of the cursor, and all parameters."""
        if cursor is None:
            return sql.SQL(""), dict(self.parameters)
        place = sql.SQL(" AND ({}, {}) {} (%(at)s, %(id)s)").format(
            self.created_at, self.id, sql.SQL(">" if upwards else "<")
        )
        return place, self.parameters | {"at": cursor.created_at, "id": cursor.id}

    def _walks(self, walk: Any) -> list[sql.Composed]:
        """One walk of an index for each status or number: each is in order, so a page of each is enough."""
        if len(self.addresses) > 1 or self.is_scattered:
            own = sql.SQL("{} AND m.{} = a.address").format(self.conditions, sql.Identifier(self.address_column))
            numbers = "unnest(%(addresses)s::text[])"
            if self.is_scattered:
                numbers = f"(SELECT address FROM whatsapp_logs.addresses WHERE {_ADDRESSES})"  # noqa: S608 - words of ours; values are parameters
            each_number = "SELECT near.* FROM {numbers} AS a (address) CROSS JOIN LATERAL {walk} AS near"
            return [sql.SQL(each_number).format(numbers=sql.SQL(numbers), walk=walk(own))]
        if len(self.statuses) > 1:
            each = sql.SQL("{} AND r.status = {}")
            return [walk(each.format(self.conditions, sql.Literal(status.value))) for status in self.statuses]
        return [walk(self.where)]


def select(conn: Connection[Any], wanted: MessageFilter, *, known: Selection | None = None) -> Selection:
    """The way to the rows of a filter. Looks the digits of a number up, unless a selection that is `known` has done it."""
    narrow = bool(wanted.phone or wanted.client_id or wanted.policy_id or wanted.campaign_id)
    wanted = _with_failures_only(wanted)
    is_rare = bool(wanted.statuses) and _RARE.issuperset(wanted.statuses) and wanted.direction == "outbound"
    if is_rare and not narrow and not _has_rarer_type(conn, wanted):
        return _aside(wanted)
    conditions, parameters = _conditions(wanted)
    if not wanted.phone:
        return Selection("m", conditions, parameters)
    if wanted.statuses and set(wanted.statuses) <= set(
        _FAILING
    ):  # said aloud, it is found in an index of failures alone
        conditions = sql.SQL("{} AND m.failed_at IS NOT NULL").format(conditions)
    addresses = _addresses(conn, wanted.phone) if known is None else known.addresses
    column = "sender" if wanted.direction == "inbound" else "recipient"
    if len(addresses) > _MAX_ADDRESSES:
        parameters |= {"phone": wanted.phone, "grams": _grams(wanted.phone)}
        return Selection("m", conditions, parameters, address_column=column, is_scattered=True, is_common=not is_rare)
    if not addresses:
        return Selection("m", sql.SQL("{} AND false").format(conditions), parameters)
    parameters |= {"address": addresses[0]} if len(addresses) == 1 else {"addresses": list(addresses)}
    return Selection("m", conditions, parameters, addresses=addresses, address_column=column)


@contextmanager
def portal_ids(wanted: MessageFilter) -> Iterator[None]:
    """Ids are text here and have the portal's key types in the table: "x" is no number, and so nobody's id."""
    try:
        yield
    except psycopg.DataError as error:
        field = "client" if wanted.client_id else "policy"
        raise InvalidInput(field, f"The portal has no {field} with this id.") from error


def _has_rarer_type(conn: Connection[Any], wanted: MessageFilter) -> bool:
    """Whether looking at the messages of these types is less than looking at those of these statuses."""
    if not wanted.types or wanted.error_code:
        return False
    if len(wanted.types) == 1 and set(wanted.statuses) <= set(_FAILING):  # the side list has an index of just these
        return False
    known = counts.totals(conn)
    of_type = sum(known.by_status(types=wanted.types).values())
    return of_type < sum(n for status, n in known.by_status().items() if status in wanted.statuses)


def _aside(wanted: MessageFilter) -> Selection:
    conditions, parameters = _conditions(replace(wanted, statuses=()), table="r")
    if wanted.error_code:  # has an index of its own, in which all statuses stand together
        conditions = sql.SQL("{} AND {}").format(conditions, is_one_of("r.status", wanted.statuses))
        return Selection("r", conditions, parameters)
    return Selection("r", conditions, parameters, statuses=wanted.statuses)


def _with_failures_only(wanted: MessageFilter) -> MessageFilter:
    """Only what failed has an error code: said aloud, it is found in the side list."""
    if not wanted.error_code:
        return wanted
    failing = tuple(status for status in wanted.statuses or _FAILING if status in _FAILING)
    return replace(wanted, statuses=failing or wanted.statuses)


def _conditions(wanted: MessageFilter, *, table: str = "m") -> tuple[sql.Composed, dict[str, Any]]:
    """The WHERE of the given filters only, but for numbers: `x IS NULL OR …` would cost seconds under a generic plan."""
    given: list[tuple[str, Any, str]] = [
        ("since", wanted.since, f"{table}.created_at >= %(since)s"),
        ("until", wanted.until, f"{table}.created_at < %(until)s"),
        ("client", wanted.client_id, "m.client_id = %(client)s"),
        ("policy", wanted.policy_id, "m.policy_id = %(policy)s"),
        ("campaign", int(wanted.campaign_id or 0), "m.campaign_id = %(campaign)s"),
        ("error_code", wanted.error_code, f"{table}.error_code = %(error_code)s"),
    ]
    parts: list[sql.Composable] = [sql.SQL("true")]
    parameters: dict[str, Any] = {}
    if table == "m":
        # Written out, because an index that holds one direction serves no query that might ask for the other.
        parts = [sql.SQL("m.direction = {}").format(sql.Literal(wanted.direction))]
        if wanted.statuses:
            parts.append(is_one_of("m.status", wanted.statuses))
    if wanted.types:  # written out, because one plan does not suit a type that is rare and one that is not
        parts.append(is_one_of(f"{table}.message_type", wanted.types))
    for name, value, condition in given:
        if value:
            parts.append(sql.SQL(condition))
            parameters[name] = value
    return sql.SQL(" AND ").join(parts), parameters


def _addresses(conn: Connection[Any], phone: str) -> tuple[str, ...]:
    """The addresses that hold these digits, one more than _MAX_ADDRESSES at most; a WhatsApp user id is itself."""
    if not phone.isdigit():
        return (phone,)
    found = conn.execute(
        f"SELECT address FROM whatsapp_logs.addresses WHERE {_ADDRESSES} LIMIT {_MAX_ADDRESSES + 1}".encode(),  # noqa: S608 - words of ours; values are parameters
        {"phone": phone, "grams": _grams(phone)},
    ).fetchall()
    return tuple(row[0] for row in found)


def _grams(digits: str) -> list[str]:
    """Three digits each, that hold all of them: a third of the lists to be compared, and LIKE looks at what is left."""
    places = {*range(0, len(digits) - 2, 3), len(digits) - 3} if len(digits) > 2 else set()
    return sorted({digits[place : place + 3] for place in places})
