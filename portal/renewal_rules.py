"""The rules of reminders: a page with who made and changed them, what they would send today, and switching them on and off."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import psycopg
from flask import Blueprint, abort, redirect, render_template, request, url_for
from psycopg import Connection
from werkzeug.wrappers import Response

from portal import policies, reminders, sending
from portal.access import me, requires
from portal.database import database
from portal.notes import say
from portal.reminders import Rule
from portal.today import office_today
from whatsapp_logs import Right

renewal_rules = Blueprint("renewal_rules", __name__, url_prefix="/renewals/rules")

PREVIEWED = 200
DEFAULT_TYPE = "renewal_reminder"
# What a rule may send: the template's name, whether the renewal papers go with it, and what that is called.
LETTERS = {
    "renewal_reminder": (False, "Reminder"),
    "renewal_reminder_document": (True, "Reminder with the renewal papers"),
}
_TYPE = re.compile(r"renewal_[a-z_]{1,40}")


@renewal_rules.get("/")
@requires(Right.SEE)
def index() -> str:
    """All rules, and what was made lately."""
    return _page()


@renewal_rules.post("/")
@requires(Right.RELEASE)
def add() -> Response | tuple[str, int]:
    """A new rule; it is paused until somebody has seen what it would send."""
    try:
        typed = _typed()
    except ValueError as problem:
        return _page(problem=str(problem)), 400
    with database() as conn:
        row = conn.execute(
            """
            INSERT INTO renewal_rules (days_before, template, with_document, message_type, created_by, changed_by)
            VALUES (%(days_before)s, %(template)s, %(with_document)s, %(message_type)s, %(by)s, %(by)s) RETURNING rule_id
            """,
            typed | {"by": me().username},
        ).fetchone()
        assert row is not None
        _note(conn, row[0], f"made: {in_words(typed['days_before'])}, {LETTERS[typed['template']][1].lower()}")
    say("The rule is there, and paused. Look at what it would send, then switch it on.", "ok")
    return redirect(url_for("renewal_rules.preview", rule_id=row[0]), 303)


@renewal_rules.post("/<int:rule_id>")
@requires(Right.RELEASE)
def change(rule_id: int) -> Response | tuple[str, int]:
    """Change when a rule reminds and what it sends. What it has sent already is not sent again."""
    try:
        typed = _typed()
    except ValueError as problem:
        return _page(problem=str(problem)), 400
    with database() as conn:
        before = _found(conn, rule_id)
        try:
            conn.execute(
                """
                UPDATE renewal_rules
                SET days_before = %(days_before)s, template = %(template)s, with_document = %(with_document)s,
                    message_type = %(message_type)s, changed_by = %(by)s, changed_at = now(),
                    active_since = CASE WHEN is_active THEN %(today)s END
                WHERE rule_id = %(rule)s
                """,
                typed | {"by": me().username, "rule": rule_id, "today": office_today()},
            )
        except psycopg.errors.UniqueViolation:
            conn.rollback()
            return _page(problem=_taken(typed["days_before"])), 409
        was, now = (
            f"{in_words(days)}, {LETTERS[template][1].lower() if template in LETTERS else template}"
            for days, template in (
                (before.days_before, before.template),
                (typed["days_before"], typed["template"]),
            )
        )
        _note(conn, rule_id, f"changed: {was} → {now}")
    say("Changed.", "ok")
    return redirect(url_for("renewal_rules.index"), 303)


@renewal_rules.post("/<int:rule_id>/switch")
@requires(Right.RELEASE)
def switch(rule_id: int) -> Response | tuple[str, int]:
    """Switch a rule on or off. What became due while it was off is not made up for."""
    is_active = request.form.get("is_active") == "yes"
    with database() as conn:
        rule = _found(conn, rule_id)
        try:
            conn.execute(
                """
                UPDATE renewal_rules
                SET is_active = %(on)s, changed_by = %(by)s, changed_at = now(),
                    active_since = CASE WHEN %(on)s THEN %(today)s ELSE active_since END
                WHERE rule_id = %(rule)s AND is_active <> %(on)s
                """,
                {"on": is_active, "by": me().username, "rule": rule_id, "today": office_today()},
            )
        except psycopg.errors.UniqueViolation:
            conn.rollback()
            return _page(problem=_taken(rule.days_before)), 409
        if rule.is_active is not is_active:
            _note(conn, rule_id, "switched on" if is_active else "paused")
    say("Switched on: it sends from now on." if is_active else "Paused: it sends nothing more.", "ok")
    return redirect(url_for("renewal_rules.index"), 303)


@renewal_rules.get("/preview")
@requires(Right.SEE)
def preview() -> str:
    """What would go out today, with what the gate says of each; of a paused rule, as if it were switched on now."""
    as_if, today = request.args.get("rule_id", type=int), office_today()
    with database() as conn:
        if as_if is not None:
            _found(conn, as_if)
        owed = reminders.owed(conn, today, limit=PREVIEWED + 1, as_if=as_if)
        shown = [one for one in owed[:PREVIEWED] if as_if is None or one.rule_id == as_if]
        drafts = reminders.drafts(conn, sending.service(), shown, render=False)
        known = {policy.policy_id: policy for policy in policies.many(conn, [one.policy_id for one in shown])}
        rules = {rule.rule_id: rule for rule in reminders.rules(conn)}
    verdicts = sending.service().preview_many(drafts) if drafts else []
    rows = list(zip(shown, drafts, verdicts, strict=True))
    counts = {
        "leave": sum(not one.left_out and not verdict.refusal and not verdict.waits for one, _, verdict in rows),
        "wait": sum(bool(not one.left_out and not verdict.refusal and verdict.waits) for one, _, verdict in rows),
        "refused": sum(bool(not one.left_out and verdict.refusal) for one, _, verdict in rows),
        "left_out": sum(bool(one.left_out) for one, _, _ in rows),
    }
    return render_template(
        "renewal_preview.html",
        rows=rows,
        rules=rules,
        rule=rules.get(as_if) if as_if is not None else None,
        policies=known,
        counts=counts,
        has_more=len(owed) > PREVIEWED,
        previewed=PREVIEWED,
        today=today,
        left_out=reminders.LEFT_OUT,
        in_words=in_words,
    )


def in_words(days: int) -> str:
    """ "30 days before", "on the day"."""
    return "on the day" if days == 0 else f"{days} day{'s'[: days != 1]} before"


def _page(*, problem: str | None = None) -> str:
    today = office_today()
    with database() as conn:
        rules = reminders.rules(conn)
        made = _made(conn, today)
        left_out = _left_out(conn, today)
        history = _history(conn)
        last = conn.execute("SELECT max(last_at) FROM renewal_runs").fetchone()
    return render_template(
        "renewal_rules.html",
        rules=rules,
        made=made,
        left_out=left_out,
        left_out_words=reminders.LEFT_OUT,
        history=history,
        last_run=last[0] if last else None,
        problem=problem,
        letters=LETTERS,
        default_type=DEFAULT_TYPE,
        in_words=in_words,
        hours=reminders.OFFICE_HOURS,
    )


def _typed() -> dict[str, Any]:
    """The form's rule. Raises ValueError with what is wrong."""
    days, template = request.form.get("days_before", "").strip(), request.form.get("template", "")
    kind = request.form.get("message_type", "").strip() or DEFAULT_TYPE
    if not (days.isascii() and days.isdecimal() and len(days) < 4 and int(days) <= 365):
        raise ValueError("Write how many days before the due date: a whole number from 0 to 365.")
    if template not in LETTERS:
        raise ValueError("Choose what is sent.")
    if not _TYPE.fullmatch(kind):
        raise ValueError("A type begins with renewal_ and has small letters and underscores, like renewal_reminder.")
    return {
        "days_before": int(days),
        "template": template,
        "with_document": LETTERS[template][0],
        "message_type": kind,
    }


def _taken(days: int) -> str:
    return f"Another rule reminds {in_words(days)} already. Pause that one first: nobody is reminded twice on one day."


def _found(conn: Connection, rule_id: int) -> Rule:
    return next((rule for rule in reminders.rules(conn) if rule.rule_id == rule_id), None) or abort(404)


def _note(conn: Connection, rule_id: int, what: str) -> None:
    conn.execute(
        "INSERT INTO renewal_rule_changes (rule_id, changed_by, what) VALUES (%s, %s, %s)",
        (rule_id, me().username, what),
    )


def _made(conn: Connection, today: date) -> dict[int, tuple[int, int]]:
    """How many reminders each rule has made today, and in the last 30 days."""
    rows = conn.execute(
        """
        SELECT rule_id, count(*) FILTER (WHERE made_on = %(today)s), count(*) FROM renewal_reminders
        WHERE made_on > %(today)s - 30 AND message_id IS NOT NULL GROUP BY rule_id
        """,
        {"today": today},
    )
    return {rule_id: (lately, all_) for rule_id, lately, all_ in rows.fetchall()}


def _left_out(conn: Connection, today: date) -> list[tuple[date, str, int]]:
    """What was left out in the last 30 days: day, reason, how many."""
    return conn.execute(
        """
        SELECT made_on, left_out, count(*) FROM renewal_reminders
        WHERE made_on > %(today)s - 30 AND left_out IS NOT NULL GROUP BY 1, 2 ORDER BY 1 DESC, 2
        """,
        {"today": today},
    ).fetchall()


def _history(conn: Connection) -> dict[int, list[tuple[Any, ...]]]:
    """What was done to each rule, the latest first."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    rows = conn.execute(
        "SELECT rule_id, changed_by, changed_at, what FROM renewal_rule_changes ORDER BY change_id DESC LIMIT 200"
    )
    for rule_id, *told in rows.fetchall():
        found.setdefault(rule_id, []).append(tuple(told))
    return found
