"""Asking before a message goes out that somebody may not want to send: of a policy that has ended, or sent just now."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from flask import render_template, request
from psycopg import Connection

from portal.format import long_date
from portal.policy import Policy, Standing
from portal.sending import FAILURES, Letter, confirmed, request_key, service
from whatsapp_logs import Draft, Message
from whatsapp_logs.gate import Outcome, Rule

RECENTLY = timedelta(minutes=10)
_FIELD = "sent_after"  # What was asked about: the message that was the last one then, or "none".


def doubts(conn: Connection, letter: Letter, *, ended: str | None = None) -> list[str]:
    """What to ask about before this letter is sent, unless the form says that just this was asked.

    The office's own doubts, and those of the gate that every message passes. Holds everybody else who sends the same to the same
    client until `conn` commits: of two who press at once, one is asked.
    """
    draft, key = letter.draft, request_key(letter.draft)
    what = f"send {draft.message_type} {draft.policy_id or draft.client_id}"
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (what,))
    last = _sent_recently(draft)
    if last is not None and last.request_key == key:
        return []  # The button pressed twice: `send` makes one message of it.
    asked = []
    if request.form.get(_FIELD) != _name(last):
        asked += [ended] if ended else []
        asked += [f"This was sent {_ago(last)} ({last.status.capitalize()}). Send it again?"] if last else []
    found = service().preview(replace(draft, confirmed=confirmed())).doubts
    return asked + [doubt.text for doubt in found if not (last is not None and doubt.rule is Rule.DUPLICATE)]


def ask(asked: list[str], letter: Letter, *, back_to: str, fields: dict[str, object] | None = None) -> str:
    """A page with the doubts, whose button sends the same form once more. `fields` stand for what no form can repeat."""
    last = _sent_recently(letter.draft)
    kept = {_FIELD: _name(last), "request_key": request.form["request_key"], **(fields or {})}
    said = service().preview(letter.draft)
    answered = [finding.rule.value for finding in said.findings if finding.outcome is Outcome.ASKS]
    again = last is not None or Rule.DUPLICATE in answered
    return render_template(
        "confirm.html",
        doubts=asked,
        notes=said.notes,
        letter=letter,
        fields=kept,
        answered=answered,
        again=again,
        back_to=back_to,
    )


def ended(policy: Policy, today: date) -> str | None:
    """What is to be known about a policy that covers nothing on that day."""
    match policy.standing(today):
        case Standing.IN_FORCE:
            return None
        case Standing.LATER:
            return f"This policy starts on {long_date(policy.starts_on)}."
        case Standing.CANCELLED:
            return "This policy was cancelled."
        case _:
            return f"This policy ended on {long_date(policy.ends_on)}."


def _sent_recently(draft: Draft) -> Message | None:
    if draft.policy_id is None:
        return None
    found = service().latest_messages(policy_ids=[str(draft.policy_id)], message_type=draft.message_type)
    last = found.get(str(draft.policy_id))
    is_recent = last is not None and datetime.now(UTC) - last.created_at < RECENTLY
    return last if is_recent and last is not None and last.status not in FAILURES else None


def _name(last: Message | None) -> str:
    return str(last.id) if last else "none"


def _ago(message: Message) -> str:
    seconds = max(1, round((datetime.now(UTC) - message.created_at).total_seconds()))
    return f"{seconds} s ago" if seconds < 100 else f"{round(seconds / 60)} minutes ago"
