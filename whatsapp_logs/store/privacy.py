"""Rows of retention, legal holds and erasures; what is erased is decided by `whatsapp_logs.erase` in the database."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

COUNT_LIMIT = 10_000  # of a rehearsal: more than these is "10 000+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How long a type's texts, numbers and documents are kept; one that is kept for good has no rule."""

    message_type: str
    months: int
    set_by: str
    set_at: datetime
    cutoff: datetime  # what is older goes tonight


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A client's or a policy's messages are kept, whatever the rules say."""

    id: int
    client_id: str | None
    policy_id: str | None
    reason: str
    placed_by: str
    placed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased, by whom and why."""

    id: int
    at: datetime
    kind: str
    what: str
    reason: str | None
    person: str
    erased: int
    held: int
    campaign_rows: int


@dataclass(frozen=True, slots=True)
class Due:
    """Messages that would be erased, and those that stay: held, or still on their way. Counted up to COUNT_LIMIT together.

    `beside` is what a portal keeps of the person and erases with them: what one is called, and how many.
    `rows` of campaigns' tables would go with them, `rows_kept` stay: held, or their message is on its way.
    """

    erased: int
    held: int
    under_way: int
    is_exact: bool
    beside: tuple[tuple[str, int], ...] = ()
    rows: int = 0
    rows_kept: int = 0


_IS_UNDER_WAY = "m.status IN ('scheduled', 'queued', 'sending')"
_IS_HELD = "whatsapp_logs.is_held(m.client_id::text, m.policy_id::text)"
# Days before the rule's last one that hold more than has been erased: held, imported, or still on its way when their night came.
_DAYS = """
    SELECT c.day FROM (
        SELECT day, n FROM whatsapp_logs.counts WHERE message_type = %(type)s
        UNION ALL SELECT day, n FROM whatsapp_logs.count_deltas WHERE message_type = %(type)s
        UNION ALL SELECT day, -n FROM whatsapp_logs.erased_days WHERE message_type = %(type)s
    ) AS c WHERE c.day <= (%(cutoff)s AT TIME ZONE 'UTC')::date GROUP BY c.day HAVING sum(c.n) > 0 ORDER BY c.day"""
_OF_DAYS = f"""
    SELECT near.* FROM ({_DAYS}) AS d
    CROSS JOIN LATERAL (
        SELECT * FROM whatsapp_logs.messages AS m
        WHERE m.message_type = %(type)s AND m.erased_at IS NULL AND m.created_at < %(cutoff)s
          AND m.created_at >= d.day::timestamp AT TIME ZONE 'UTC' AND m.created_at < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS near LIMIT %(limit)s"""  # noqa: S608 - words of ours; values are parameters
_OF_CLIENT = """
    m.client_id = %(client)s
    OR (m.direction = 'outbound' AND m.recipient = ANY (%(numbers)s) AND m.client_id IS NULL)
    OR (m.direction = 'inbound' AND m.sender = ANY (%(numbers)s) AND m.client_id IS NULL)"""


def rules(conn: Connection[Any]) -> list[Rule]:
    """All rules, by type."""
    with conn.cursor(row_factory=class_row(Rule)) as cursor:
        return cursor.execute(
            """
            SELECT message_type, months, set_by, set_at, now() - make_interval(months => months) AS cutoff
            FROM whatsapp_logs.retention_rules WHERE months IS NOT NULL ORDER BY message_type
            """
        ).fetchall()


def set_rule(conn: Connection[Any], message_type: str, months: int | None, *, set_by: str) -> None:
    """Keep a type's contents for so long; None keeps them for good."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.retention_rules AS r (message_type, months, set_by) VALUES (%(type)s, %(months)s, %(by)s)
        ON CONFLICT (message_type) DO UPDATE SET months = EXCLUDED.months, set_by = EXCLUDED.set_by, set_at = now()
        WHERE r.months IS DISTINCT FROM EXCLUDED.months
        """,
        {"type": message_type, "months": months, "by": set_by},
    )


def due(conn: Connection[Any], rule: Rule) -> Due:
    """What the rule would erase now, and what it would not."""
    return _counted(conn, _OF_DAYS, {"type": rule.message_type, "cutoff": rule.cutoff})


def due_of_client(conn: Connection[Any], client_id: str, numbers: list[str]) -> Due:
    """What erasing this client's messages would erase, and what it would not."""
    given = {"client": client_id, "numbers": numbers}
    found = _counted(
        conn,
        f"SELECT * FROM whatsapp_logs.messages AS m WHERE ({_OF_CLIENT}) AND erased_at IS NULL LIMIT %(limit)s",  # noqa: S608 - words of ours
        given,
    )
    row = conn.execute(
        """
        SELECT count(*) FILTER (WHERE may_go), count(*) FILTER (WHERE NOT may_go)
        FROM whatsapp_logs.campaign_rows_of(%(client)s, %(numbers)s)
        """,
        given,
    ).fetchone()
    return replace(found, rows=row[0], rows_kept=row[1]) if row else found


def days_due(conn: Connection[Any], rule: Rule) -> list[date]:
    """The days (UTC) that hold something which the rule would let go, oldest first; from daily counts, not from the messages."""
    parameters = {"type": rule.message_type, "cutoff": rule.cutoff}
    return [row[0] for row in conn.execute(_DAYS, parameters).fetchall()]


def erase_next(conn: Connection[Any], rule: Rule, day: date, *, after: int, limit: int) -> tuple[int, int, int | None]:
    """Erase the next messages of a day: how many went, how many stay, and the id to go on after (None: that was the day)."""
    rows = conn.execute(
        """
        SELECT m.id FROM whatsapp_logs.messages AS m
        WHERE m.message_type = %(type)s AND m.erased_at IS NULL AND m.created_at < %(cutoff)s AND m.id > %(after)s
          AND m.created_at >= %(day)s::timestamp AT TIME ZONE 'UTC' AND m.created_at < (%(day)s + 1)::timestamp AT TIME ZONE 'UTC'
        ORDER BY m.id LIMIT %(limit)s
        """,
        {"type": rule.message_type, "cutoff": rule.cutoff, "day": day, "after": after, "limit": limit},
    ).fetchall()
    ids = [row[0] for row in rows]
    erased = _erase(conn, ids, unlink=False)
    return erased, len(ids) - erased, ids[-1] if len(ids) == limit else None


def erase_client(conn: Connection[Any], client_id: str, numbers: list[str]) -> int:
    """Erase a client's messages, and those to and from their numbers that name nobody; returns how many went."""
    rows = conn.execute(
        f"SELECT m.id FROM whatsapp_logs.messages AS m WHERE ({_OF_CLIENT}) AND m.erased_at IS NULL".encode(),  # noqa: S608 - words of ours
        {"client": client_id, "numbers": numbers},
    ).fetchall()
    return _erase(conn, [row[0] for row in rows], unlink=True)


def erase_campaign_rows(conn: Connection[Any], client_id: str, numbers: list[str]) -> int:
    """Erase a client's rows in the tables of campaigns, sent or not; returns how many. See the function."""
    row = conn.execute(
        "SELECT whatsapp_logs.erase_campaign_rows_of(%(client)s, %(numbers)s)",
        {"client": client_id, "numbers": numbers},
    ).fetchone()
    return int(row[0]) if row else 0


def erase_reports(conn: Connection[Any], *, before: datetime | None) -> int:
    """Erase what late and unmatched reports say; see the function."""
    row = conn.execute("SELECT whatsapp_logs.erase_reports(%(before)s)", {"before": before}).fetchone()
    return int(row[0]) if row else 0


def note(
    conn: Connection[Any],
    *,
    kind: str,
    what: str,
    reason: str | None,
    person: str,
    erased: int,
    held: int,
    campaign_rows: int = 0,
) -> None:
    """Write down what was erased."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.erasures (kind, what, reason, person, erased, held, campaign_rows)
        VALUES (%(kind)s, %(what)s, %(reason)s, %(person)s, %(erased)s, %(held)s, %(rows)s)
        """,
        {"kind": kind, "what": what, "reason": reason, "person": person, "erased": erased, "held": held}
        | {"rows": campaign_rows},
    )


def erasures(conn: Connection[Any], *, limit: int = 50) -> list[Erasure]:
    """What was erased, the latest first."""
    with conn.cursor(row_factory=class_row(Erasure)) as cursor:
        return cursor.execute(
            """
            SELECT id, at, kind, what, reason, person, erased, held, campaign_rows FROM whatsapp_logs.erasures
            ORDER BY id DESC LIMIT %(limit)s
            """,
            {"limit": limit},
        ).fetchall()


def holds(conn: Connection[Any]) -> list[Hold]:
    """The holds in force, the latest first."""
    with conn.cursor(row_factory=class_row(Hold)) as cursor:
        return cursor.execute(
            """
            SELECT id, client_id, policy_id, reason, placed_by, placed_at FROM whatsapp_logs.legal_holds
            WHERE lifted_at IS NULL ORDER BY id DESC
            """
        ).fetchall()


def place_hold(
    conn: Connection[Any], *, client_id: str | None, policy_id: str | None, reason: str, placed_by: str
) -> None:
    """Hold a client's or a policy's messages from now on."""
    conn.execute(
        """
        INSERT INTO whatsapp_logs.legal_holds (client_id, policy_id, reason, placed_by)
        VALUES (%(client)s, %(policy)s, %(reason)s, %(by)s)
        """,
        {"client": client_id, "policy": policy_id, "reason": reason, "by": placed_by},
    )


def lift_hold(conn: Connection[Any], hold_id: int, *, lifted_by: str) -> bool:
    """End a hold; what it kept goes by its rule the next night. False when there is none."""
    done = conn.execute(
        "UPDATE whatsapp_logs.legal_holds SET lifted_by = %(by)s, lifted_at = now() WHERE id = %(id)s AND lifted_at IS NULL",
        {"id": hold_id, "by": lifted_by},
    )
    return done.rowcount > 0


def _erase(conn: Connection[Any], ids: list[int], *, unlink: bool) -> int:
    row = conn.execute("SELECT whatsapp_logs.erase(%(ids)s, %(unlink)s)", {"ids": ids, "unlink": unlink}).fetchone()
    return int(row[0]) if row else 0


def _counted(conn: Connection[Any], messages: str, parameters: dict[str, Any]) -> Due:
    row = conn.execute(
        f"""
        SELECT count(*) FILTER (WHERE NOT {_IS_HELD} AND NOT {_IS_UNDER_WAY}), count(*) FILTER (WHERE {_IS_HELD}),
               count(*) FILTER (WHERE {_IS_UNDER_WAY} AND NOT {_IS_HELD}), count(*) < %(limit)s
        FROM ({messages}) AS m
        """.encode(),  # noqa: S608 - words of ours; values are parameters
        parameters | {"limit": COUNT_LIMIT},
    ).fetchone()
    assert row is not None
    return Due(*row)
