"""Reminders that leave by themselves: what each rule owes today, each once per policy and due date. No page; the worker runs it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import Connection
from psycopg.rows import class_row

from portal import documents, policies, sending
from portal.format import long_date
from portal.policy import Policy
from portal.uploads import Upload
from whatsapp_logs import Draft, Path, WhatsAppService

log = logging.getLogger(__name__)

OFFICE_HOURS = range(8, 20)  # reminders are begun then, where the office is; the gate looks at the customer's own night
STILL_USEFUL_DAYS = 7  # so late a reminder is still sent, after an outage or for a policy that was entered late
LOOKED_BACK_DAYS = 60  # what should have been sent longer ago is not even noted
IN_SIGHT_DAYS = 90  # due dates are noted from so many days before
_TOGETHER = 100
LEFT_OUT = {
    "superseded": "A later rule’s reminder takes its place",
    "passed": "The due date had passed",
    "late": f"It was more than {STILL_USEFUL_DAYS} days late",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """So many days before a policy is due, its holder is sent this template. `active_since`: what was due before is not made up."""

    rule_id: int
    days_before: int
    template: str
    with_document: bool
    message_type: str
    is_active: bool
    active_since: date | None
    created_by: str
    created_at: datetime
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One reminder that a rule owes: late by so many days; `left_out` says why it is not sent."""

    rule_id: int
    policy_id: int
    due_on: date
    late: int
    left_out: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has made and left out."""

    made: int = 0
    left_out: int = 0
    taken_back: int = 0


# Of every rule the targets of the last weeks that have no reminder yet. Of several that one policy is owed, the one nearest to the
# due date counts; a reminder that came out of the nearer rule before makes up for the farther one too.
_OWED = """
    SELECT o.rule_id, o.policy_id, o.due_on, o.late,
           CASE WHEN o.due_on < %(today)s THEN 'passed'
                WHEN o.place > 1 OR o.is_overtaken THEN 'superseded'
                WHEN o.late > %(useful)s THEN 'late' END AS left_out
    FROM (
        SELECT r.rule_id, p.policy_id, p.ends_on AS due_on, %(today)s - (p.ends_on - r.days_before) AS late,
               row_number() OVER (PARTITION BY p.policy_id ORDER BY r.days_before) AS place,
               EXISTS (SELECT FROM renewal_reminders AS m JOIN renewal_rules AS n ON n.rule_id = m.rule_id
                       WHERE m.policy_id = p.policy_id AND m.due_on = p.ends_on AND m.message_id IS NOT NULL
                         AND n.days_before <= r.days_before) AS is_overtaken
        FROM renewal_rules AS r
        JOIN policies AS p ON p.status = 'active'
         AND p.ends_on BETWEEN GREATEST(CASE WHEN r.is_active THEN r.active_since ELSE %(today)s END, %(today)s - %(back)s)
                               + r.days_before AND %(today)s + r.days_before
        WHERE (r.is_active OR r.rule_id = %(as_if)s::integer) AND NOT EXISTS (
            SELECT FROM renewal_reminders AS m
            WHERE m.rule_id = r.rule_id AND m.policy_id = p.policy_id AND m.due_on = p.ends_on)
    ) AS o"""


def rules(conn: Connection[Any]) -> list[Rule]:
    """All rules, the earliest reminder first; those that are paused among them."""
    with conn.cursor(row_factory=class_row(Rule)) as cursor:
        return cursor.execute(
            """
            SELECT rule_id, days_before, template, with_document, message_type, is_active, active_since, created_by, created_at,
                   changed_by, changed_at
            FROM renewal_rules ORDER BY days_before DESC, rule_id
            """
        ).fetchall()


def owed(conn: Connection[Any], today: date, *, limit: int, as_if: int | None = None) -> list[Owed]:
    """What the active rules owe on that day and have not made yet, soonest due first; `as_if` a paused rule were switched on."""
    with conn.cursor(row_factory=class_row(Owed)) as cursor:
        return cursor.execute(
            f"{_OWED} ORDER BY due_on, policy_id, rule_id LIMIT %(limit)s".encode(), _of(today, limit, as_if)
        ).fetchall()


def run(service: WhatsAppService, *, zone: ZoneInfo, now: datetime) -> Outcome:
    """Make every reminder that is owed today where the office is. Run twice, late or by two workers at once, each is made once.

    What an outage has left is made up for as far as it is still useful; what is not is noted as left out, with the reason.
    """
    today = now.astimezone(zone).date()
    with service.transaction() as conn:
        note_dues(conn, today)
        taken_back = _take_back(conn, service)
    if now.astimezone(zone).hour not in OFFICE_HOURS:
        return Outcome(taken_back=taken_back)
    with service.transaction() as conn:
        left_out = sum(one.left_out is not None for one in _claim(conn, today, of="left_out IS NOT NULL", limit=None))
    made = 0
    while True:
        with service.transaction() as conn:
            claimed = _claim(conn, today, of="left_out IS NULL", limit=_TOGETHER)
            made += _make(conn, service, claimed)
        if not claimed:
            break
    with service.transaction() as conn:
        conn.execute(
            "INSERT INTO renewal_runs (day) VALUES (%s) ON CONFLICT (day) DO UPDATE SET last_at = clock_timestamp()",
            (today,),
        )
    if made or left_out:
        log.info("renewals of %s: %s reminders made, %s left out", today, made, left_out)
    return Outcome(made, left_out, taken_back)


def note_dues(conn: Connection[Any], today: date, *, back_days: int = 30) -> int:
    """Note the due dates that have come into sight; returns how many were new."""
    return conn.execute(
        """
        INSERT INTO renewal_dues (policy_id, due_on)
        SELECT p.policy_id, p.ends_on FROM policies AS p
        WHERE p.status = 'active' AND p.ends_on BETWEEN %(today)s - %(back)s AND %(today)s + %(ahead)s
          AND NOT EXISTS (SELECT FROM renewal_dues AS d WHERE d.policy_id = p.policy_id AND d.due_on = p.ends_on)
        ORDER BY p.policy_id ON CONFLICT DO NOTHING
        """,
        {"today": today, "back": back_days, "ahead": IN_SIGHT_DAYS},
    ).rowcount


def drafts(conn: Connection[Any], service: WhatsAppService, wanted: Sequence[Owed], *, render: bool) -> list[Draft]:
    """The reminders as they are sent; without `render` their documents are left out, as a preview needs none."""
    by_rule = {rule.rule_id: rule for rule in rules(conn)}
    ids = [one.policy_id for one in wanted]
    by_policy = {policy.policy_id: policy for policy in policies.many(conn, ids)}
    papers = _papers(conn, ids) if render and any(by_rule[one.rule_id].with_document for one in wanted) else {}
    return [_draft(service, by_rule[one.rule_id], by_policy[one.policy_id], papers, render=render) for one in wanted]


def _of(today: date, limit: int | None, as_if: int | None = None) -> dict[str, Any]:
    back = LOOKED_BACK_DAYS
    return {"today": today, "useful": STILL_USEFUL_DAYS, "back": back, "limit": limit, "as_if": as_if}


def _claim(conn: Connection[Any], today: date, *, of: str, limit: int | None) -> list[Owed]:
    """Take the next reminders that are owed: nobody else makes them. One order for all workers, so that they cannot deadlock."""
    with conn.cursor(row_factory=class_row(Owed)) as cursor:
        return cursor.execute(
            f"""
            WITH owed AS MATERIALIZED (
                SELECT * FROM ({_OWED}) AS o WHERE {of} ORDER BY due_on, policy_id, rule_id LIMIT %(limit)s
            ), taken AS (
                INSERT INTO renewal_reminders (rule_id, policy_id, due_on, made_on, left_out)
                SELECT rule_id, policy_id, due_on, %(today)s, left_out FROM owed ON CONFLICT DO NOTHING
                RETURNING rule_id, policy_id, due_on)
            SELECT owed.* FROM taken JOIN owed USING (rule_id, policy_id, due_on) ORDER BY due_on, policy_id, rule_id
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            _of(today, limit),
        ).fetchall()


def _make(conn: Connection[Any], service: WhatsAppService, wanted: Sequence[Owed]) -> int:
    """Messages and reminders commit together, or not at all."""
    if not wanted:
        return 0
    ids = service.send_many(drafts(conn, service, wanted, render=True), conn=conn)
    conn.execute(
        """
        UPDATE renewal_reminders AS r SET message_id = m.message_id
        FROM unnest(%(rules)s::integer[], %(policies)s::integer[], %(dues)s::date[], %(ids)s::bigint[])
             AS m (rule_id, policy_id, due_on, message_id)
        WHERE r.rule_id = m.rule_id AND r.policy_id = m.policy_id AND r.due_on = m.due_on
        """,
        {
            "rules": [one.rule_id for one in wanted],
            "policies": [one.policy_id for one in wanted],
            "dues": [one.due_on for one in wanted],
            "ids": ids,
        },
    )
    return len(ids)


def _take_back(conn: Connection[Any], service: WhatsAppService) -> int:
    """Cancel what still waits for its time and is no longer true: the policy has another due date, or is not in force."""
    rows = conn.execute(
        """
        SELECT r.message_id FROM renewal_reminders AS r JOIN policies AS p USING (policy_id)
        WHERE r.made_on > CURRENT_DATE - 7 AND r.message_id IS NOT NULL AND (p.ends_on <> r.due_on OR p.status <> 'active')
        """
    ).fetchall()
    ids = [row[0] for row in rows]
    reason = "The policy’s due date has changed, or it is not in force any more"
    return (
        len(service.cancel_scheduled(message_ids=ids, canceled_by="renewals", reason=reason, conn=conn)) if ids else 0
    )


def _papers(conn: Connection[Any], ids: Sequence[int]) -> dict[int, Upload]:
    """The latest paper that was uploaded for each of these policies since its cover began."""
    rows = conn.execute(
        """
        SELECT DISTINCT ON (d.policy_id) d.policy_id, d.filename, d.content_type, d.content
        FROM renewal_documents AS d JOIN policies AS p USING (policy_id)
        WHERE d.policy_id = ANY (%s) AND d.uploaded_at >= p.starts_on ORDER BY d.policy_id, d.document_id DESC
        """,
        (list(ids),),
    ).fetchall()
    return {row[0]: Upload(filename=row[1], content_type=row[2], content=row[3]) for row in rows}


def _draft(service: WhatsAppService, rule: Rule, policy: Policy, papers: dict[int, Upload], *, render: bool) -> Draft:
    variables = {
        "1": sending.one_line(policy.client_name),
        "2": policy.policy_number,
        "3": long_date(policy.ends_on),
    }
    paper = papers.get(policy.policy_id)
    if rule.with_document and render and paper is None:
        schedule = documents.policy_schedule(policy)
        paper = Upload(filename=f"{policy.policy_number}.pdf", content_type="application/pdf", content=schedule)
    return Draft(
        to=policy.client_phone,
        message_type=rule.message_type,
        body=sending.reminder_text(policy, with_document=rule.with_document),
        media=sending.attached(paper) if rule.with_document else None,
        template=service.template(rule.template, variables, media_variable="4" if rule.with_document else None),
        policy_id=policy.policy_id,
        client_id=policy.client_id,
        created_by=f"renewal rule {rule.rule_id}",
        request_key=f"renewal:{rule.rule_id}:{policy.policy_id}:{policy.ends_on.isoformat()}",
        path=Path.RENEWAL,
    )
