"""Told in time? Each policy and due date: told when, by which message, read when, how many days before; as a page and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, render_template, request
from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.wrappers import Response

from portal import telling
from portal.access import portal_config, requires
from portal.database import database
from portal.telling import Due, Place
from portal.today import office_today
from whatsapp_logs import Right
from whatsapp_logs.campaign_files import inert
from whatsapp_logs.web import content_disposition

told = Blueprint("told", __name__, url_prefix="/renewals/told")

IN_TIME_DAYS = 7  # whoever knows so many days before can still decide
LONGEST_DAYS = 366
SIZE = 50
STATES = {
    "in_time": f"Told {IN_TIME_DAYS} days before or earlier",
    "late": "Told later than that",
    "not_told": "Not told",
    "ahead": "Not told yet, but there is time",
    "dropped": "Renewed, changed or cancelled before anybody told them",
}
_HOW = {"called": "by telephone", "letter": "by letter", "other": "otherwise"}

# On which day somebody knew: as it was noted, or by a message that has been delivered since.
_TOLD_ON = "COALESCE(d.told_on, (m.delivered_at AT TIME ZONE %(zone)s)::date)"
_STATE = f"""
    CASE WHEN {_TOLD_ON} <= d.due_on - {IN_TIME_DAYS} THEN 'in_time'
         WHEN {_TOLD_ON} IS NOT NULL THEN 'late'
         WHEN p.ends_on <> d.due_on OR p.status <> 'active' THEN 'dropped'
         WHEN d.due_on - {IN_TIME_DAYS} > %(today)s THEN 'ahead'
         ELSE 'not_told' END"""
_DAYS = "d.due_on BETWEEN %(first)s AND %(last)s"
_OPEN = f"{_DAYS} AND d.told_on IS NULL"
# Where to look for an answer among what is noted; the others are found by asking the log.
_NOTED = {
    "": _DAYS,
    "in_time": f"{_DAYS} AND d.told_on <= d.due_on - {IN_TIME_DAYS}",
    "late": f"{_DAYS} AND d.told_on > d.due_on - {IN_TIME_DAYS}",
}
# The places first, from the index alone: of an answer that is rare all due dates of the days are looked at.
_NOTED_DUES = """
    SELECT whole.* FROM renewal_dues AS whole JOIN (
        SELECT d.policy_id, d.due_on FROM renewal_dues AS d WHERE {where} ORDER BY d.due_on, d.policy_id LIMIT {limit}
    ) AS place USING (policy_id, due_on)"""
_AFTER = "(d.due_on, d.policy_id) > (%(after_due)s, %(after_policy)s)"
_UNTIL = "(d.due_on, d.policy_id) <= (%(until_due)s, %(until_policy)s)"


@dataclass(frozen=True, slots=True)
class Range:
    """Due dates from one day to another, both included."""

    first: date
    last: date


@told.get("/")
@requires(Right.SEE)
def index() -> str:
    """The report: a number for each answer, and the due dates behind the one that was chosen."""
    wanted, state, today = _range(), _state(), office_today()
    after = Place.decode(request.args.get("after"))
    with database() as conn:
        counts, is_all = count(conn, wanted, today=today)
        shown, more = listed(conn, wanted, today=today, state=state, after=after, limit=SIZE)
    ended = sum(counts.get(name, 0) for name in ("in_time", "late", "not_told"))
    return render_template(
        "told.html",
        dues=shown,
        counts=counts,
        share=f"{counts.get('in_time', 0) / ended:.0%}" if ended and is_all else None,
        is_all=is_all,
        examined=2 * telling.EXAMINED,
        ended=ended,
        wanted=wanted,
        state=state,
        states=STATES,
        presets=_presets(today),
        next=more.encode() if more else None,
        is_first=after is None,
        today=today,
        told_at=told_at,
        days_before=days_before,
        how=_HOW,
        in_time_days=IN_TIME_DAYS,
    )


@told.get("/told-in-time.csv")
@requires(Right.EXPORT)
def export() -> Response:
    """The chosen part of the report as a file."""
    wanted, state, today = _range(), _state(), office_today()
    with database() as conn:
        found = all_of_them(conn, wanted, today=today, state=state)
    response = Response("".join(_lines(found)), mimetype="text/csv")
    name = f"told-in-time-{wanted.first}-{wanted.last}.csv"
    response.headers["Content-Disposition"] = content_disposition("attachment", name)
    return response


def count(conn: Connection[Any], wanted: Range, *, today: date) -> tuple[dict[str, int], bool]:
    """How many due dates there are of each answer, and whether those are all: of open ones twice EXAMINED are looked at.

    Whoever is noted to know is counted from an index; the log is asked about the others only.
    """
    given = _parameters(wanted, today)
    is_all = telling.bound(conn, _OPEN, given, most=2 * telling.EXAMINED) is None
    rows = conn.execute(
        f"""
        SELECT state, sum(n)::integer FROM (
            SELECT CASE WHEN d.told_on <= d.due_on - {IN_TIME_DAYS} THEN 'in_time' ELSE 'late' END AS state, count(*) AS n
            FROM renewal_dues AS d WHERE {_DAYS} AND d.told_on IS NOT NULL GROUP BY 1
            UNION ALL
            SELECT state, count(*) FROM ({_dues(telling.some(_OPEN, 2 * telling.EXAMINED))}) AS open GROUP BY state
        ) AS all_of_them GROUP BY state
        """.encode(),  # noqa: S608 - words of ours
        given,
    )
    found: dict[str, int] = dict(rows.fetchall())
    return {name: found[name] for name in STATES if name in found}, is_all


def listed(
    conn: Connection[Any], wanted: Range, *, today: date, state: str, after: Place | None, limit: int
) -> tuple[list[Due], Place | None]:
    """The due dates of the report, soonest first, and where to look on: after the last one, or after the last that was examined."""
    given = _parameters(wanted, today) | {"state": state}
    given |= after.parameters("after") if after else {}
    onwards = f" AND {_AFTER}" if after else ""
    until = telling.bound(conn, _OPEN + onwards, given, most=telling.EXAMINED) if state else None
    if until:
        given |= until.parameters("until")
        onwards += f" AND {_UNTIL}"
    dues = f"({_NOTED_DUES.format(where=_NOTED.get(state, 'false') + onwards, limit=limit + 1)})"
    if state:
        dues += f" UNION ({telling.some(_OPEN + onwards, telling.EXAMINED)})"
    with conn.cursor(row_factory=class_row(Due)) as cursor:
        found = cursor.execute(
            f"""
            SELECT * FROM ({_dues(dues)}) AS dues
            {"WHERE state = %(state)s" if state else ""} ORDER BY due_on, policy_id LIMIT {limit + 1}
            """.encode(),  # noqa: S608 - words of ours
            given,
        ).fetchall()
    if len(found) > limit:
        return found[:limit], Place(found[limit - 1].due_on, found[limit - 1].policy_id)
    return found, until


def all_of_them(conn: Connection[Any], wanted: Range, *, today: date, state: str) -> list[Due]:
    """The whole report, or the whole of one answer, for a file."""
    condition = "WHERE state = %(state)s" if state else ""
    dues = _dues(f"SELECT * FROM renewal_dues AS d WHERE {_DAYS}")  # noqa: S608 - words of ours
    with conn.cursor(row_factory=class_row(Due)) as cursor:
        return cursor.execute(
            f"SELECT * FROM ({dues}) AS dues {condition} ORDER BY due_on, policy_id".encode(),  # noqa: S608 - words of ours
            _parameters(wanted, today) | {"state": state},
        ).fetchall()


def _dues(source: str) -> str:
    return f"""
        SELECT {telling.COLUMNS}, {_STATE} AS state
        FROM ({source}) AS d {telling.JOINED}"""  # noqa: S608 - words of ours


def told_at(due: Due) -> datetime | None:
    """When they knew."""
    return min((at for at in (due.delivered_at, due.done_at) if at is not None), default=None)


def days_before(due: Due) -> int | None:
    """How many days before the due date they knew; negative when it had passed."""
    at = told_at(due)
    return None if at is None else (due.due_on - at.astimezone(ZoneInfo(portal_config().timezone)).date()).days


def _lines(dues: Iterable[Due]) -> Iterator[str]:
    target = io.StringIO()
    writer = csv.writer(target)
    zone = ZoneInfo(portal_config().timezone)
    target.write("\ufeff")  # so that Excel reads the letters right
    writer.writerow(
        [
            "Due",
            "Policy",
            "Client",
            "Answer",
            f"Told ({zone.key})",
            "By",
            "Message",
            f"Read ({zone.key})",
            "Days before",
        ]
    )
    for due in dues:
        at = told_at(due)
        by_message = at is not None and at == due.delivered_at
        by = "WhatsApp" if by_message else _HOW.get(due.done_how or "", "") if at else ""
        days = days_before(due)
        writer.writerow(
            [
                due.due_on.isoformat(),
                inert(due.policy_number),
                inert(due.client_name),
                STATES[due.state],
                _local(at, zone),
                by,
                due.told_id if by_message else "",
                _local(due.read_at, zone),
                "" if days is None else days,
            ]
        )
    yield target.getvalue()


def _local(at: datetime | None, zone: ZoneInfo) -> str:
    return "" if at is None else f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def _range() -> Range:
    today = office_today()
    given = [request.args.get(name, "") for name in ("from", "to")]
    defaults = (today - timedelta(days=30), today + timedelta(days=30))
    first, last = (
        telling.day_of(text, "Choose two days, like 2027-03-01.") if text else default
        for text, default in zip(given, defaults, strict=True)
    )
    if not timedelta(0) <= last - first <= timedelta(days=LONGEST_DAYS):  # a difference has no last day
        abort(400, f"Choose a first and a last day, up to {LONGEST_DAYS} days apart.")
    return Range(first, last)


def _presets(today: date) -> list[tuple[str, Range]]:
    this = today.replace(day=1)
    before = (this - timedelta(days=1)).replace(day=1)
    following = (this + timedelta(days=32)).replace(day=1)
    return [
        ("Last month", Range(before, this - timedelta(days=1))),
        ("This month", Range(this, following - timedelta(days=1))),
        ("Last 90 days", Range(today - timedelta(days=90), today)),
        ("Next 30 days", Range(today, today + timedelta(days=30))),
    ]


def _state() -> str:
    state = request.args.get("state", "")
    if state not in {"", *STATES}:
        abort(400, "The report has no such part. Go back to the whole report.")
    return state


def _parameters(wanted: Range, today: date) -> dict[str, Any]:
    return {"first": wanted.first, "last": wanted.last, "today": today, "zone": portal_config().timezone}
