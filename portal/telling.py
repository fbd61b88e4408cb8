"""Who was told of a due date, by what, and when: what the work queue and the report ask of the log's public view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import Connection
from werkzeug.exceptions import BadRequest

from whatsapp_logs.store.consent_events import latest_word

# A reminder belongs to the due date around which it was sent; of a yearly renewal no other is as near.
DAYS_BEFORE, DAYS_AFTER = 120, 60
_NOTED_BACK_DAYS, _READ_BACK_DAYS = 400, 30  # of due dates that have passed: who knew, who has read it
OPTED_OUT = ("opted_out", "21610", "63014", "63033")
# A list asks the log about so many due dates at most; what came of the others stands in their rows, or on the next page.
EXAMINED = 1000
WRONG_NUMBER = ("invalid_number", "21211", "21614", "63003", "63024")

# `d` is a row of renewal_dues; `m` is what the log has of its reminders, by rule or by hand. The view's times are UTC, naive.
MESSAGES = f"""
    LEFT JOIN LATERAL (
        SELECT count(*) AS sent,
               min(l.delivered_at) AT TIME ZONE 'UTC' AS delivered_at,
               min(l.read_at) AT TIME ZONE 'UTC' AS read_at,
               (array_agg(l.log_id ORDER BY l.delivered_at, l.log_id) FILTER (WHERE l.delivered_at IS NOT NULL))[1] AS told_id,
               (array_agg(l.log_id ORDER BY l.log_id DESC))[1] AS last_id,
               (array_agg(l.status ORDER BY l.log_id DESC))[1] AS last_status,
               (array_agg(l.error_code ORDER BY l.log_id DESC))[1] AS last_error,
               (array_agg(l.error_message ORDER BY l.log_id DESC))[1] AS last_text,
               (array_agg(l.phone_number ORDER BY l.log_id DESC))[1] AS last_to,
               (array_agg(l.created_at ORDER BY l.log_id DESC))[1] AT TIME ZONE 'UTC' AS last_at
        FROM public.whatsapp_logs AS l
        WHERE l.policy_id = d.policy_id AND l.message_type LIKE 'renewal%%'
          AND l.created_at BETWEEN d.due_on - {DAYS_BEFORE} AND d.due_on + {DAYS_AFTER}
    ) AS m ON true"""  # noqa: S608 - numbers of ours


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a list of due dates: after this policy's."""

    due_on: date
    policy_id: int

    def encode(self) -> str:
        """The place as one word of an address."""
        return f"{self.due_on.isoformat()}_{self.policy_id}"

    def parameters(self, name: str) -> dict[str, Any]:
        """The place for a condition: `(due_on, policy_id) > (%(name_due)s, %(name_policy)s)`."""
        return {f"{name}_due": self.due_on, f"{name}_policy": self.policy_id}

    @classmethod
    def decode(cls, text: str | None) -> Place | None:
        """The place of such a word; None for none. Raises BadRequest for any other."""
        if not text:
            return None
        day, _, number = text.partition("_")
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise BadRequest("This page address is damaged. Go back to the first page.")
        return cls(day_of(day, "This page address is damaged. Go back to the first page."), int(number))


def day_of(text: str, otherwise: str) -> date:
    """A date as forms and addresses write it. Raises BadRequest with the words given."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequest(otherwise) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A due date with its policy and holder, and what was told of it."""

    policy_id: int
    due_on: date
    policy_number: str
    client_id: int
    client_name: str
    client_phone: str
    assigned_to: str | None
    done_at: datetime | None
    done_by: str | None
    done_how: str | None
    delivered_at: datetime | None
    read_at: datetime | None
    told_id: int | None
    last_id: int | None
    last_status: str | None
    last_text: str | None
    last_at: datetime | None
    opted_out_at: datetime | None
    opted_out_by: str | None
    opted_out_words: str | None
    state: str

    @property
    def opted_out(self) -> str | None:
        """By what they asked us to stop, as the ledger of consent has it: for after "opted out on …"."""
        if self.opted_out_at is None or self.opted_out_by is None:
            return None
        if self.opted_out_by in ("stop_word", "opt_out_type"):
            return f" by {(self.opted_out_words or 'STOP').strip().upper()[:20]}"
        return " by blocking us on WhatsApp" if self.opted_out_by.startswith("error") else ", told a member of staff"


COLUMNS = """
    d.policy_id, d.due_on, p.policy_number, c.client_id, c.name AS client_name, c.phone AS client_phone, d.assigned_to,
    d.done_at, d.done_by, d.done_how, m.delivered_at, m.read_at, m.told_id, m.last_id, m.last_status, m.last_text, m.last_at,
    CASE WHEN w.kind = 'opt_out' THEN w.happened_at END AS opted_out_at,
    CASE WHEN w.kind = 'opt_out' THEN w.source END AS opted_out_by,
    CASE WHEN w.kind = 'opt_out' THEN w.wording END AS opted_out_words"""
# `d` is given by whoever asks: rows of renewal_dues. OFFSET 0 has each policy and client looked up: for a thousand PostgreSQL would
# rather read all of them, which costs little in a small office and more with every policy that it gets.
JOINED = f"""
    CROSS JOIN LATERAL (SELECT * FROM policies WHERE policies.policy_id = d.policy_id OFFSET 0) AS p
    CROSS JOIN LATERAL (SELECT * FROM clients WHERE clients.client_id = p.client_id OFFSET 0) AS c
    LEFT JOIN LATERAL ({latest_word("c.phone")}) AS w ON true
    {MESSAGES}"""  # noqa: S608 - words of ours


def some(where: str, most: int) -> str:
    """SQL: the due dates of a condition up to a bound. The LIMIT tells PostgreSQL that they are few: else it reads all policies."""
    return f"SELECT * FROM renewal_dues AS d WHERE {where} ORDER BY due_on, policy_id LIMIT {most + 1}"  # noqa: S608 - words of ours


def bound(conn: Connection[Any], where: str, parameters: Mapping[str, Any], *, most: int) -> Place | None:
    """The last of so many due dates that fulfil the condition, soonest first; None where there are no more than that."""
    row = conn.execute(
        f"SELECT due_on, policy_id FROM renewal_dues AS d WHERE {where} ORDER BY due_on, policy_id OFFSET %(n)s LIMIT 1".encode(),  # noqa: S608 - words of ours; values are parameters
        {**parameters, "n": most},
    ).fetchone()
    return None if row is None else Place(*row)


def note(conn: Connection[Any], today: date, *, zone: ZoneInfo) -> int:
    """Write down which holders know by now, so that no list asks the log about them again; returns how many it was news of."""
    locked = conn.execute("SELECT pg_try_advisory_xact_lock(hashtextextended('portal.telling', 0))").fetchone()
    if locked != (True,):
        return 0  # somebody else is at it
    return conn.execute(
        f"""
        UPDATE renewal_dues AS t SET told_on = LEAST(t.told_on, n.told_on), is_read = t.is_read OR n.is_read
        FROM (
            SELECT d.policy_id, d.due_on, (m.delivered_at AT TIME ZONE %(zone)s)::date AS told_on, m.read_at IS NOT NULL AS is_read
            FROM (
                SELECT policy_id, due_on FROM renewal_dues
                WHERE told_on IS NULL AND due_on BETWEEN %(today)s - {_NOTED_BACK_DAYS} AND %(today)s + {DAYS_BEFORE}
                UNION
                SELECT policy_id, due_on FROM renewal_dues
                WHERE NOT is_read AND done_at IS NULL AND due_on BETWEEN %(today)s - {_READ_BACK_DAYS} AND %(today)s + {DAYS_BEFORE}
            ) AS d {MESSAGES}
            WHERE m.sent > 0
        ) AS n
        WHERE t.policy_id = n.policy_id AND t.due_on = n.due_on
          AND ((t.told_on IS NULL AND n.told_on IS NOT NULL) OR (n.is_read AND NOT t.is_read))
        """.encode(),  # noqa: S608 - words and numbers of ours; values are parameters
        {"today": today, "zone": zone.key},
    ).rowcount
