"""The rules of reminders: a page with who made and changed them, what they would send today, and switching them on and off.

What a rule sends and fills in is written on a page of its own, with the words as a client would read them beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from flask import Blueprint, abort, redirect, render_template, request, url_for
from psycopg import Connection
from psycopg.types.json import Jsonb
from werkzeug.wrappers import Response

from portal import letters, policies, reminders, renewals, runs, sending
from portal.access import me, portal_config, requires
from portal.database import database
from portal.format import short_date
from portal.letters import Letter
from portal.notes import say
from portal.policy import Policy
from portal.reminders import Rule
from portal.today import office_today
from whatsapp_logs import Right

renewal_rules = Blueprint("renewal_rules", __name__, url_prefix="/renewals/rules")

PREVIEWED = 200
DEFAULT_TYPE = "renewal_reminder"
_TYPE = re.compile(r"renewal_[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A rule as somebody writes it; `problems` says by the form's field what is wrong, and nothing is kept while there are any."""

    letter: Letter
    days_before: str = ""
    message_type: str = DEFAULT_TYPE
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    document: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Any]:
        """What is kept of it."""
        return {
            "days_before": int(self.days_before),
            "template": self.letter.name,
            "language": self.letter.language,
            "fields": Jsonb(self.fields),
            "document": self.document,
            "message_type": self.message_type,
            "by": me().username,
        }


@renewal_rules.get("/")
@requires(Right.SEE)
def index() -> str:
    """All rules, and what was made lately."""
    return _page()


@renewal_rules.get("/new")
@requires(Right.RELEASE)
def new() -> str:
    """The form of a new rule: which template, when, and what fills it in."""
    known = letters.every(sending.service())
    letter = _chosen(known, request.args.get("letter", ""))
    wanted = (
        Wanted(letter=letter, fields=letters.guess(letter), document=_document(letter, "papers")) if letter else None
    )
    return _form(known, wanted)


@renewal_rules.post("/")
@requires(Right.RELEASE)
def add() -> Response | str | tuple[str, int]:
    """A new rule; it is paused until somebody has seen what it would send."""
    known = letters.every(sending.service())
    wanted = _typed(known)
    if wanted.problems or request.form.get("do") == "show":
        return _form(known, wanted), 400 if wanted.problems else 200
    with database() as conn:
        row = conn.execute(
            """
            INSERT INTO renewal_rules (days_before, template, language, fields, document, message_type, created_by, changed_by)
            VALUES (%(days_before)s, %(template)s, %(language)s, %(fields)s, %(document)s, %(message_type)s, %(by)s, %(by)s)
            RETURNING rule_id
            """,
            wanted.columns,
        ).fetchone()
        assert row is not None
        _note(conn, row[0], f"made: {_told(wanted)}")
    say("The rule is there, and paused. Look at what it would send, then switch it on.", "ok")
    return redirect(url_for("renewal_rules.preview", rule_id=row[0]), 303)


@renewal_rules.get("/<int:rule_id>/change")
@requires(Right.RELEASE)
def edit(rule_id: int) -> str:
    """The form of a rule that is there; with another template, as far as its fields' names tell."""
    known = letters.every(sending.service())
    with database() as conn:
        rule = _found(conn, rule_id)
    own = letters.of_rule(known, rule.template, rule.language)
    letter = _chosen(known, request.args.get("letter", "")) or own
    if letter is None:
        return _form(known, None, rule=rule)
    kept = {key: given for key, given in rule.fields.items() if key in letter.fields} if letter == own else {}
    wanted = Wanted(
        letter=letter,
        days_before=str(rule.days_before),
        message_type=rule.message_type,
        fields=letters.guess(letter) | kept,
        document=_document(letter, rule.document or "papers"),
    )
    return _form(known, wanted, rule=rule)


@renewal_rules.post("/<int:rule_id>")
@requires(Right.RELEASE)
def change(rule_id: int) -> Response | str | tuple[str, int]:
    """Change when a rule reminds and what it sends. What it has sent already is not sent again."""
    known = letters.every(sending.service())
    wanted = _typed(known)
    with database() as conn:
        before = _found(conn, rule_id)
        if wanted.problems or request.form.get("do") == "show":
            return _form(known, wanted, rule=before), 400 if wanted.problems else 200
        try:
            conn.execute(
                """
                UPDATE renewal_rules
                SET days_before = %(days_before)s, template = %(template)s, language = %(language)s, fields = %(fields)s,
                    document = %(document)s, message_type = %(message_type)s, changed_by = %(by)s, changed_at = now(),
                    active_since = CASE WHEN is_active THEN %(today)s END
                WHERE rule_id = %(rule)s
                """,
                wanted.columns | {"rule": rule_id, "today": office_today()},
            )
        except psycopg.errors.UniqueViolation:
            conn.rollback()
            return _form(
                known, replace(wanted, problems={"days_before": _taken(int(wanted.days_before))}), rule=before
            ), 409
        was = f"{in_words(before.days_before)}, {'; '.join(_sends(known, before))}"
        _note(conn, rule_id, f"changed: {was} → {_told(wanted)}")
    say("Changed.", "ok")
    return redirect(url_for("renewal_rules.index"), 303)


@renewal_rules.post("/<int:rule_id>/switch")
@requires(Right.RELEASE)
def switch(rule_id: int) -> Response | tuple[str, int]:
    """Switch a rule on or off. What became due while it was off is not made up for."""
    is_active = request.form.get("is_active") == "yes"
    with database() as conn:
        rule = _found(conn, rule_id)
        stopped = reminders.stopped(sending.service(), letters.every(sending.service()), [rule])
        if is_active and rule_id in stopped:
            return _page(problem=f"This rule cannot send, so it stays paused. {stopped[rule_id]}"), 409
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
    as_if, today, service = request.args.get("rule_id", type=int), office_today(), sending.service()
    known = letters.every(service)
    with database() as conn:
        if as_if is not None:
            _found(conn, as_if)
        rules = {rule.rule_id: rule for rule in reminders.rules(conn)}
        stopped = reminders.stopped(
            service, known, [rule for rule in rules.values() if rule.is_active or rule.rule_id == as_if]
        )
        owed = reminders.owed(conn, today, limit=PREVIEWED + 1, as_if=as_if, stopped=list(stopped))
        shown = [one for one in owed[:PREVIEWED] if not one.waits and as_if in (None, one.rule_id)]
        drafts = reminders.drafts(conn, known, shown, today, render=False)
        policies_of = {policy.policy_id: policy for policy in policies.many(conn, [one.policy_id for one in shown])}
    verdicts = service.preview_many(drafts) if drafts else []
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
        policies=policies_of,
        stopped={number: why for number, why in stopped.items() if as_if in (None, number)},
        waiting=sum(one.waits and not one.left_out and as_if in (None, one.rule_id) for one in owed[:PREVIEWED]),
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
    today, service = office_today(), sending.service()
    known = letters.every(service)
    with database() as conn:
        rules = reminders.rules(conn)
        stopped = reminders.stopped(service, known, rules)
        waiting = reminders.waiting(conn, today, list(stopped))
        made = _made(conn, today)
        left_out = _left_out(conn, today)
        history = _history(conn)
        last = runs.look(conn)
    return render_template(
        "renewal_rules.html",
        rules=rules,
        letters=known,
        sends={rule.rule_id: _sends(known, rule) for rule in rules},
        stopped=stopped,
        waiting=waiting,
        made=made,
        left_out=left_out,
        left_out_words=reminders.LEFT_OUT,
        history=history,
        runs=last,
        ran=_day_in_words(last, today),
        problem=problem,
        in_words=in_words,
        hours=reminders.OFFICE_HOURS,
    )


def _form(known: list[Letter], wanted: Wanted | None, *, rule: Rule | None = None) -> str:
    """The page on which a rule is written; its words are shown as they are for the policy that is due next."""
    today = office_today()
    with database() as conn:
        policy = next(iter(renewals.due(conn, today, (0, 3650), limit=1)), None) or _invented(today)
    text = None
    if wanted is not None:
        values = letters.values(wanted.letter, wanted.fields, policy, today)
        text = wanted.letter.text(values, policy)
    return render_template(
        "renewal_rule.html",
        letters=known,
        wanted=wanted,
        rule=rule,
        facts={name: label for name, (label, _) in letters.FACTS.items()},
        documents=letters.DOCUMENTS,
        max_words=letters.MAX_WORDS,
        policy=policy,
        text=text,
        in_words=in_words,
    )


def _invented(today: date) -> Policy:
    """A policy to show a letter by, where the office has none yet."""
    ends_on = today + timedelta(days=30)
    return Policy(
        policy_id=0, policy_number="HOM-26-10001", product="home", insurer="Example Mutual", insured="Terraced house",
        sum_insured=Decimal(310000), excess=Decimal(250), premium=Decimal("342.50"), currency="GBP",
        starts_on=ends_on - timedelta(days=364), ends_on=ends_on, status="active",
        client_id=0, client_name="Asha Example", client_phone="", client_address="",
    )  # fmt: skip


def _typed(known: list[Letter]) -> Wanted:
    """The form's rule with what is wrong with it. A template that cannot be sent with any more ends the request."""
    letter = _chosen(known, request.form.get("letter", ""))
    if letter is None:
        abort(400, "Choose what is sent: a template that WhatsApp has approved. Go back and reload the page.")
    days, kind = (
        request.form.get("days_before", "").strip(),
        request.form.get("message_type", "").strip() or DEFAULT_TYPE,
    )
    fields, problems = letters.typed(letter, request.form)
    if not (days.isascii() and days.isdecimal() and len(days) < 4 and int(days) <= 365):
        problems["days_before"] = "Write how many days before the due date: a whole number from 0 to 365."
    if not _TYPE.fullmatch(kind):
        problems["message_type"] = (
            "A type begins with renewal_ and has small letters and underscores, like renewal_reminder."
        )
    document = _document(letter, request.form.get("document", "papers"))
    if letter.media_variable is not None and document is None:
        problems["document"] = "Choose which document goes with it."
    return Wanted(
        letter=letter, days_before=days, message_type=kind, fields=fields, document=document, problems=problems
    )


def _chosen(known: list[Letter], key: str) -> Letter | None:
    return next((letter for letter in known if letter.key == key), None)


def _document(letter: Letter, wanted: str) -> str | None:
    return wanted if letter.media_variable is not None and wanted in letters.DOCUMENTS else None


def _told(wanted: Wanted) -> str:
    sends = letters.in_words(wanted.letter, wanted.letter.name, wanted.fields, wanted.document)
    return f"{in_words(int(wanted.days_before))}, {'; '.join(sends)}"


def _sends(known: list[Letter], rule: Rule) -> tuple[str, str]:
    letter = letters.of_rule(known, rule.template, rule.language)
    return letters.in_words(letter, rule.template, rule.fields, rule.document)


def _day_in_words(last: runs.Runs, today: date) -> str:
    """ "today 06:00, 14 reminders"."""
    if last.last_at is None:
        return ""
    at = last.last_at.astimezone(ZoneInfo(portal_config().timezone))
    day = {0: "today", 1: "yesterday"}.get((today - at.date()).days, short_date(at.date()))
    return f"{day} {at:%H:%M}, {last.made:,} reminder{'s'[: last.made != 1]} that day"


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
