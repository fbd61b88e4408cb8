"""Reminders that leave by themselves: what each rule owes today, each once per policy and due date. No page; the worker runs it.

A due date that went away and came back is told of again where the holder would else be left with the wrong one; see `_GIVEN`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import Connection
from psycopg.rows import class_row

from portal import documents, letters, policies, runs, sending, telling
from portal.letters import Letter
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
    "template": f"The rule’s template could not be sent with for more than {STILL_USEFUL_DAYS} days",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """So many days before a policy is due, its holder is sent this template. `active_since`: what was due before is not made up."""

    rule_id: int
    days_before: int
    template: str
    language: str | None
    fields: Mapping[str, Any]
    document: str | None
    message_type: str
    is_active: bool
    active_since: date | None
    created_by: str
    created_at: datetime
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One reminder that a rule owes: late by so many days; `left_out` says why it is not sent.

    `again` counts the earlier ones of the same date that do not hold any more; `waits` until its template may be sent with.
    """

    rule_id: int
    policy_id: int
    due_on: date
    again: int
    late: int
    waits: bool
    left_out: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run has made and left out."""

    made: int = 0
    left_out: int = 0
    taken_back: int = 0


# A reminder `m` still holds: it was not taken back unsent, and the holder was told no other date after it. In the second case the
# next one is made from the day after the next: within a day the very same words would be refused as a duplicate.
_GIVEN = """
    m.taken_back_at IS NULL AND (m.made_on > %(today)s - 2 OR NOT EXISTS (
        SELECT FROM renewal_reminders AS x WHERE x.policy_id = m.policy_id AND x.due_on <> m.due_on
           AND x.reminder_id > m.reminder_id AND x.message_id IS NOT NULL AND x.taken_back_at IS NULL))"""
# Of every rule the targets of the last weeks that have no reminder yet. Of several that one policy is owed, the one nearest to the
# due date counts; a reminder that came out of the nearer rule before makes up for the farther one too. A rule whose template cannot
# be sent with takes nobody's place, and waits.
_OWED = f"""
    SELECT o.rule_id, o.policy_id, o.due_on, o.again, o.late, o.waits,
           CASE WHEN o.due_on < %(today)s THEN 'passed'
                WHEN NOT o.waits AND (o.place > 1 OR o.is_overtaken) THEN 'superseded'
                WHEN o.late > %(useful)s AND o.again = 0 THEN CASE WHEN o.waits THEN 'template' ELSE 'late' END END AS left_out
    FROM (
        SELECT r.rule_id, p.policy_id, p.ends_on AS due_on, %(today)s - (p.ends_on - r.days_before) AS late,
               r.rule_id = ANY (%(stopped)s) AS waits,
               row_number() OVER (PARTITION BY p.policy_id, r.rule_id = ANY (%(stopped)s) ORDER BY r.days_before) AS place,
               (SELECT count(*)::integer FROM renewal_reminders AS m
                WHERE m.rule_id = r.rule_id AND m.policy_id = p.policy_id AND m.due_on = p.ends_on) AS again,
               EXISTS (SELECT FROM renewal_reminders AS m JOIN renewal_rules AS n ON n.rule_id = m.rule_id
                       WHERE m.policy_id = p.policy_id AND m.due_on = p.ends_on AND m.message_id IS NOT NULL
                         AND n.days_before <= r.days_before AND {_GIVEN}) AS is_overtaken
        FROM renewal_rules AS r
        JOIN policies AS p ON p.status = 'active'
         AND p.ends_on BETWEEN GREATEST(CASE WHEN r.is_active THEN r.active_since ELSE %(today)s END, %(today)s - %(back)s)
                               + r.days_before AND %(today)s + r.days_before
        WHERE (r.is_active OR r.rule_id = %(as_if)s::integer) AND NOT EXISTS (
            SELECT FROM renewal_reminders AS m
            WHERE m.rule_id = r.rule_id AND m.policy_id = p.policy_id AND m.due_on = p.ends_on AND {_GIVEN})
    ) AS o"""  # noqa: S608 - words of ours; values are parameters


def rules(conn: Connection[Any]) -> list[Rule]:
    """All rules, the earliest reminder first; those that are paused among them."""
    with conn.cursor(row_factory=class_row(Rule)) as cursor:
        return cursor.execute(
            """
            SELECT rule_id, days_before, template, language, fields, document, message_type, is_active, active_since, created_by,
                   created_at, changed_by, changed_at
            FROM renewal_rules ORDER BY days_before DESC, rule_id
            """
        ).fetchall()


def stopped(service: WhatsAppService, known: Sequence[Letter], wanted: Sequence[Rule]) -> dict[int, str]:
    """Of these rules, those that cannot send now: why, in words for the office."""
    found = {}
    for rule in wanted:
        letter = letters.of_rule(known, rule.template, rule.language)
        why = letters.problem(service, letter, template=rule.template, language=rule.language, fields=rule.fields)
        if why is not None:
            found[rule.rule_id] = why
    return found


def owed(
    conn: Connection[Any], today: date, *, limit: int, as_if: int | None = None, stopped: Sequence[int] = ()
) -> list[Owed]:
    """What the active rules owe on that day and have not made yet, soonest due first; `as_if` a paused rule were switched on."""
    with conn.cursor(row_factory=class_row(Owed)) as cursor:
        return cursor.execute(
            f"{_OWED} ORDER BY due_on, policy_id, rule_id LIMIT %(limit)s".encode(), _of(today, limit, stopped, as_if)
        ).fetchall()


def waiting(conn: Connection[Any], today: date, stopped: Sequence[int]) -> dict[int, int]:
    """How many reminders wait for the template of each of these rules."""
    if not stopped:
        return {}
    counted = f"SELECT rule_id, count(*) FROM ({_OWED}) AS o WHERE waits AND left_out IS NULL GROUP BY rule_id"  # noqa: S608 - words of ours
    return dict(conn.execute(counted.encode(), _of(today, None, stopped)).fetchall())


def run(service: WhatsAppService, *, zone: ZoneInfo, now: datetime) -> Outcome:
    """Make every reminder that is owed today where the office is. Run twice, late or by two workers at once, each is made once.

    What an outage has left is made up for as far as it is still useful; what is not is noted as left out, with the reason. What
    a template keeps that cannot be sent with waits for it.
    """
    today = now.astimezone(zone).date()
    try:
        return _run(service, today, zone=zone, is_open=now.astimezone(zone).hour in OFFICE_HOURS)
    except Exception as error:
        with service.transaction() as conn:
            runs.note_failure(conn, today, f"{type(error).__name__}: {error}")
        raise


def _run(service: WhatsAppService, today: date, *, zone: ZoneInfo, is_open: bool) -> Outcome:
    with service.transaction() as conn:
        note_dues(conn, today)
        taken_back = _take_back(conn, service)
        telling.note(conn, today, zone=zone)
        if not is_open:
            runs.note_end(conn, today, made=0)
            return Outcome(taken_back=taken_back)
    known = letters.every(service)
    with service.transaction() as conn:
        active = [rule for rule in rules(conn) if rule.is_active]
    waits = list(stopped(service, known, active))
    with service.transaction() as conn:
        left_out = len(_claim(conn, today, waits, of="left_out IS NOT NULL", limit=None))
    made = 0
    while True:
        with service.transaction() as conn:
            claimed = _claim(conn, today, waits, of="left_out IS NULL AND NOT waits", limit=_TOGETHER)
            made += _make(conn, service, known, claimed, today)
        if not claimed:
            break
    with service.transaction() as conn:
        runs.note_end(conn, today, made=made)
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


def drafts(
    conn: Connection[Any], known: Sequence[Letter], wanted: Sequence[Owed], today: date, *, render: bool
) -> list[Draft]:
    """The reminders as they are sent, their letters among those `known`; without `render` a document is only a name."""
    by_rule = {rule.rule_id: rule for rule in rules(conn)}
    ids = [one.policy_id for one in wanted]
    by_policy = {policy.policy_id: policy for policy in policies.many(conn, ids)}
    papers = _papers(conn, ids) if render and any(by_rule[one.rule_id].document == "papers" for one in wanted) else {}
    found = []
    for one in wanted:
        rule, policy = by_rule[one.rule_id], by_policy[one.policy_id]
        letter = letters.of_rule(known, rule.template, rule.language)
        assert letter is not None, "rules whose template cannot be sent with make no drafts"
        paper = None
        if letter.media_variable is not None and render:
            paper = papers.get(policy.policy_id) or _schedule(policy)
        found.append(draft(letter, rule, policy, today, paper=paper, again=one.again))
    return found


def draft(
    letter: Letter, rule: Rule, policy: Policy, today: date, *, paper: Upload | None = None, again: int = 0
) -> Draft:
    """One reminder as it is sent. Without its `paper` a document is only a name: that is enough for the gate to look at."""
    values = letters.values(letter, rule.fields, policy, today)
    if letter.media_variable is not None and paper is None:
        paper = Upload(filename=f"{policy.policy_number}.pdf", content_type="application/pdf", content=b"%PDF-")
    key = f"renewal:{rule.rule_id}:{policy.policy_id}:{policy.ends_on.isoformat()}"
    return Draft(
        to=policy.client_phone,
        message_type=rule.message_type,
        body=letter.text(values, policy),
        media=sending.attached(paper) if letter.media_variable is not None else None,
        template=letter.template(values),
        policy_id=policy.policy_id,
        client_id=policy.client_id,
        created_by=f"renewal rule {rule.rule_id}",
        request_key=f"{key}:{again}" if again else key,
        path=Path.RENEWAL,
    )


def _schedule(policy: Policy) -> Upload:
    content = documents.policy_schedule(policy)
    return Upload(filename=f"{policy.policy_number}.pdf", content_type="application/pdf", content=content)


def _of(today: date, limit: int | None, stopped: Sequence[int], as_if: int | None = None) -> dict[str, Any]:
    back = LOOKED_BACK_DAYS
    return {
        "today": today, "useful": STILL_USEFUL_DAYS, "back": back, "limit": limit, "as_if": as_if, "stopped": list(stopped),
    }  # fmt: skip


def _claim(conn: Connection[Any], today: date, stopped: Sequence[int], *, of: str, limit: int | None) -> list[Owed]:
    """Take the next reminders that are owed: nobody else makes them. One order for all workers, so that they cannot deadlock."""
    with conn.cursor(row_factory=class_row(Owed)) as cursor:
        return cursor.execute(
            f"""
            WITH owed AS MATERIALIZED (
                SELECT * FROM ({_OWED}) AS o WHERE {of} ORDER BY due_on, policy_id, rule_id LIMIT %(limit)s
            ), taken AS (
                INSERT INTO renewal_reminders (rule_id, policy_id, due_on, again, made_on, left_out)
                SELECT rule_id, policy_id, due_on, again, %(today)s, left_out FROM owed ON CONFLICT DO NOTHING
                RETURNING rule_id, policy_id, due_on, again)
            SELECT owed.* FROM taken JOIN owed USING (rule_id, policy_id, due_on, again) ORDER BY due_on, policy_id, rule_id
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            _of(today, limit, stopped),
        ).fetchall()


def _make(
    conn: Connection[Any], service: WhatsAppService, known: Sequence[Letter], wanted: Sequence[Owed], today: date
) -> int:
    """Messages and reminders commit together, or not at all."""
    if not wanted:
        return 0
    ids = service.send_many(drafts(conn, known, wanted, today, render=True), conn=conn)
    conn.execute(
        """
        UPDATE renewal_reminders AS r SET message_id = m.message_id
        FROM unnest(%(rules)s::integer[], %(policies)s::integer[], %(dues)s::date[], %(again)s::integer[], %(ids)s::bigint[])
             AS m (rule_id, policy_id, due_on, again, message_id)
        WHERE r.rule_id = m.rule_id AND r.policy_id = m.policy_id AND r.due_on = m.due_on AND r.again = m.again
        """,
        {
            "rules": [one.rule_id for one in wanted],
            "policies": [one.policy_id for one in wanted],
            "dues": [one.due_on for one in wanted],
            "again": [one.again for one in wanted],
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
    if not rows:
        return 0
    reason = "The policy’s due date has changed, or it is not in force any more"
    ids = service.cancel_scheduled(
        message_ids=[row[0] for row in rows], canceled_by="renewals", reason=reason, conn=conn
    )
    conn.execute("UPDATE renewal_reminders SET taken_back_at = now() WHERE message_id = ANY (%s)", (ids,))
    return len(ids)


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
