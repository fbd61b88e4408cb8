"""Who was told of a due date, by what, and when: what the work queue and the report ask of the log's public view."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from werkzeug.exceptions import BadRequest

# A reminder belongs to the due date around which it was sent; of a yearly renewal no other is as near.
DAYS_BEFORE, DAYS_AFTER = 120, 60
OPTED_OUT = ("opted_out", "21610", "63014", "63033")
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
    state: str


COLUMNS = """
    d.policy_id, d.due_on, p.policy_number, c.client_id, c.name AS client_name, c.phone AS client_phone, d.assigned_to,
    d.done_at, d.done_by, d.done_how, m.delivered_at, m.read_at, m.told_id, m.last_id, m.last_status, m.last_text, m.last_at"""
JOINED = f"""
    renewal_dues AS d JOIN policies AS p USING (policy_id) JOIN clients AS c USING (client_id)
    {MESSAGES}"""
