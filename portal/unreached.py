"""Who has not been reached: policies due soon whose reminders did not arrive, why, and what somebody does about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.wrappers import Response

from portal import telling
from portal.access import me, requires
from portal.database import database
from portal.notes import say
from portal.telling import Due, Place
from portal.today import office_today
from whatsapp_logs import Right

unreached = Blueprint("unreached", __name__, url_prefix="/renewals/unreached")

BACK_DAYS, AHEAD_DAYS = 14, 30
NOTHING_DAYS = 14  # before the due date: until then a rule may still remind
SILENT_DAYS = 3  # without a receipt, or unread, for so long
SIZE = 25
MAX_NOTE = 500
# Why somebody counts as not reached, the gravest first: what is said of it.
REASONS = {
    "no_number": "No number that could be written to",
    "wrong_number": "The number is wrong, or not on WhatsApp",
    "opted_out": "Asked us to stop, or has blocked us",
    "failed": "The reminder failed",
    "canceled": "The reminder was canceled",
    "no_receipt": f"No receipt for {SILENT_DAYS} days",
    "unread": f"Delivered, but not read for {SILENT_DAYS} days",
    "nothing_sent": f"Due within {NOTHING_DAYS} days, and no reminder was sent",
}
DONE = {"called": "Called: they know", "letter": "Letter sent", "other": "Told otherwise"}
KINDS = {"called": DONE["called"], "no_answer": "Called: no answer", "letter": DONE["letter"], "other": DONE["other"]}

# Whoever has read it knows. Nothing is sent to somebody who has opted out, so that goes before what became of the last reminder;
# a number that was corrected since is not wrong any more.
_STATE = """
    CASE WHEN d.done_at IS NOT NULL THEN 'done'
         WHEN m.read_at IS NOT NULL THEN NULL
         WHEN m.delivered_at >= now() - make_interval(days => %(silent)s) THEN NULL
         WHEN c.phone !~ '^\\+[0-9]{7,15}$' THEN 'no_number'
         WHEN COALESCE(w.kind = 'opt_out', m.last_error = ANY (%(opted_out)s)) THEN 'opted_out'
         WHEN m.delivered_at IS NOT NULL THEN 'unread'
         WHEN m.last_error = ANY (%(wrong_number)s) AND m.last_to = c.phone THEN 'wrong_number'
         WHEN m.last_status IN ('failed', 'undelivered') THEN 'failed'
         WHEN m.last_status = 'canceled' THEN 'canceled'
         WHEN m.sent > 0 THEN CASE WHEN m.last_at < now() - make_interval(days => %(silent)s) THEN 'no_receipt' END
         WHEN d.due_on <= %(today)s + %(nothing)s THEN 'nothing_sent' END"""
_DAYS = f"d.due_on BETWEEN %(today)s - {BACK_DAYS} AND %(today)s + {AHEAD_DAYS}"
_OPEN, _DONE = f"{_DAYS} AND NOT d.is_read AND d.done_at IS NULL", f"{_DAYS} AND d.done_at IS NOT NULL"
_AFTER, _UNTIL = (
    f"(d.due_on, d.policy_id) {sign} (%({name}_due)s, %({name}_policy)s)"
    for sign, name in ((">", "after"), ("<=", "until"))
)


@unreached.get("/")
@requires(Right.SEE)
def index() -> str:
    """The work queue: whose due date is nearest comes first; by reason, or mine only."""
    reason, whose = request.args.get("reason", ""), request.args.get("whose", "")
    if reason not in {"", "done", *REASONS} or whose not in ("", "me", "nobody"):
        abort(400, "The list has no such part. Go back to the whole list.")
    after, today = Place.decode(request.args.get("after")), office_today()
    with database() as conn:
        counts, is_all = count(conn, today)
        shown, more = listed(conn, today, reason=reason, whose=whose, me=me().username, after=after, limit=SIZE)
        notes = _notes(conn, shown)
        people = _people(conn)
    return render_template(
        "unreached.html",
        dues=shown,
        counts=counts,
        total=sum(n for name, n in counts.items() if name != "done"),
        is_all=is_all,
        reason=reason,
        whose=whose,
        next=more.encode() if more else None,
        is_first=after is None,
        today=today,
        reasons=REASONS,
        kinds=KINDS,
        done_words=DONE,
        notes=notes,
        people=people,
        max_note=MAX_NOTE,
    )


@unreached.post("/<int:policy_id>/note")
@requires(Right.SEND)
def note(policy_id: int) -> Response:
    """Write down what somebody did; whoever has been told otherwise leaves the queue."""
    kind, words = request.form.get("kind", ""), request.form.get("note", "").replace("\0", "").strip()
    if kind not in KINDS:
        abort(400, "Choose what was done.")
    if len(words) > MAX_NOTE:
        abort(400, f"A note has up to {MAX_NOTE} characters.")
    due_on = _due_on()
    with database() as conn:
        _known(conn, policy_id, due_on)
        _add_note(conn, policy_id, due_on, kind, words)
        if kind in DONE:
            conn.execute(
                """
                UPDATE renewal_dues
                SET done_at = now(), done_by = %(by)s, done_how = %(how)s, told_on = LEAST(told_on, %(today)s)
                WHERE policy_id = %(policy)s AND due_on = %(due)s AND done_at IS NULL
                """,
                {"policy": policy_id, "due": due_on, "by": me().username, "how": kind, "today": office_today()},
            )
    say("Noted. They know, so this is done." if kind in DONE else "Noted.", "ok")
    return _back()


@unreached.post("/<int:policy_id>/assign")
@requires(Right.SEND)
def assign(policy_id: int) -> Response:
    """Give a case to somebody of the office, or to nobody."""
    due_on, to = _due_on(), request.form.get("to", "")
    with database() as conn:
        _known(conn, policy_id, due_on)
        if to and to not in _people(conn):
            abort(400, "Choose somebody of the office.")
        conn.execute(
            "UPDATE renewal_dues SET assigned_to = %s WHERE policy_id = %s AND due_on = %s",
            (to or None, policy_id, due_on),
        )
        _add_note(conn, policy_id, due_on, "assigned", to)
    say(f"This is {to}’s now." if to else "This is nobody’s now.", "ok")
    return _back()


def count(conn: Connection[Any], today: date) -> tuple[dict[str, int], bool]:
    """How many cases each reason has among the soonest EXAMINED open due dates, and how many are done; whether those are all."""
    until = telling.bound(conn, _OPEN, {"today": today}, most=telling.EXAMINED)
    rows = conn.execute(
        f"""
        SELECT state, count(*) FROM ({_cases(_OPEN, until=until)}) AS soon WHERE state IS NOT NULL GROUP BY state
        UNION ALL
        SELECT 'done', count(*) FROM (
            SELECT FROM renewal_dues AS d JOIN policies AS p USING (policy_id)
            WHERE {_DONE} AND p.status = 'active' AND p.ends_on = d.due_on LIMIT {telling.EXAMINED}
        ) AS done HAVING count(*) > 0
        """.encode(),  # noqa: S608 - words of ours
        _parameters(today) | (until.parameters("until") if until else {}),
    )
    found: dict[str, int] = dict(rows.fetchall())
    return {name: found[name] for name in (*REASONS, "done") if name in found}, until is None


def listed(
    conn: Connection[Any], today: date, *, reason: str, whose: str, me: str, after: Place | None, limit: int
) -> tuple[list[Due], Place | None]:
    """A page of cases, soonest due first, and where to look on: after the last one, or after the last that was examined."""
    where = [_DONE if reason == "done" else _OPEN]
    if whose:
        where.append("d.assigned_to = %(me)s" if whose == "me" else "d.assigned_to IS NULL")
    if after:
        where.append(_AFTER)
    given = _parameters(today) | {"reason": reason, "me": me, "limit": limit + 1}
    given |= after.parameters("after") if after else {}
    until = telling.bound(conn, " AND ".join(where), given, most=telling.EXAMINED)
    given |= until.parameters("until") if until else {}
    with conn.cursor(row_factory=class_row(Due)) as cursor:
        found = cursor.execute(
            f"""
            SELECT * FROM ({_cases(" AND ".join(where), until=until)}) AS soon
            WHERE {"state = %(reason)s" if reason else "state IS NOT NULL"} ORDER BY due_on, policy_id LIMIT %(limit)s
            """.encode(),  # noqa: S608 - words of ours
            given,
        ).fetchall()
    if len(found) > limit:
        return found[:limit], Place(found[limit - 1].due_on, found[limit - 1].policy_id)
    return found, until


def _cases(where: str, *, until: Place | None = None) -> str:
    """The due dates of these conditions that still are their policies', with their state; up to the bound."""
    return f"""
        SELECT {telling.COLUMNS}, {_STATE} AS state
        FROM ({telling.some(where + (f" AND {_UNTIL}" if until else ""), telling.EXAMINED)}) AS d {telling.JOINED}
        WHERE p.status = 'active' AND p.ends_on = d.due_on"""  # noqa: S608 - words of ours


def _parameters(today: date) -> dict[str, Any]:
    return {
        "today": today,
        "silent": SILENT_DAYS,
        "nothing": NOTHING_DAYS,
        "opted_out": list(telling.OPTED_OUT),
        "wrong_number": list(telling.WRONG_NUMBER),
    }


def _notes(conn: Connection, dues: list[Due]) -> Mapping[tuple[int, date], list[tuple[Any, ...]]]:
    rows = conn.execute(
        """
        SELECT n.policy_id, n.due_on, n.kind, n.note, n.noted_by, n.noted_at, n.erased_at IS NOT NULL FROM renewal_notes AS n
        JOIN unnest(%(policies)s::integer[], %(dues)s::date[]) AS d (policy_id, due_on) USING (policy_id, due_on)
        ORDER BY n.note_id
        """,
        {"policies": [due.policy_id for due in dues], "dues": [due.due_on for due in dues]},
    ).fetchall()
    found: dict[tuple[int, date], list[tuple[Any, ...]]] = {}
    for policy_id, due_on, *told in rows:
        found.setdefault((policy_id, due_on), []).append(tuple(told))
    return found


def _people(conn: Connection) -> dict[str, str]:
    """Who may be given a case: everybody of the office who may send, by user name."""
    rows = conn.execute(
        """
        SELECT p.username, p.name FROM people AS p JOIN roles AS r USING (role)
        WHERE p.removed_at IS NULL AND 'send' = ANY (r.rights) ORDER BY p.name
        """
    )
    return dict(rows.fetchall())


def _add_note(conn: Connection, policy_id: int, due_on: date, kind: str, words: str) -> None:
    conn.execute(
        "INSERT INTO renewal_notes (policy_id, due_on, kind, note, noted_by) VALUES (%s, %s, %s, %s, %s)",
        (policy_id, due_on, kind, words, me().username),
    )


def _known(conn: Connection, policy_id: int, due_on: date) -> None:
    row = conn.execute(
        "SELECT FROM renewal_dues WHERE policy_id = %s AND due_on = %s FOR NO KEY UPDATE", (policy_id, due_on)
    ).fetchone()
    if row is None:
        abort(404)


def _due_on() -> date:
    return telling.day_of(request.form.get("due_on", ""), "The form does not say which due date it is about.")


def _back() -> Response:
    return redirect(url_for("unreached.index"), 303)
