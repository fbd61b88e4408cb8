"""The first page: the office in figures, what is due next, and WhatsApp at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from flask import Blueprint, render_template
from psycopg import Connection
from psycopg.rows import class_row

from portal import renewals
from portal.access import requires
from portal.database import database
from portal.today import office_today
from whatsapp_logs import Right

dashboard = Blueprint("dashboard", __name__)
SOON_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the office has; each number is the length of the list that it links to."""

    clients: int
    policies: int
    due: int
    overdue: int


@dashboard.get("/")
@requires(Right.SEE)
def show() -> str:
    """The dashboard."""
    today = office_today()
    with database() as conn:
        figures = count(conn, today)
        soon = renewals.due(conn, today, renewals.WINDOWS["30"], limit=SOON_SHOWN)
    return render_template("dashboard.html", figures=figures, soon=soon, today=today)


def count(conn: Connection, today: date) -> Figures:
    """The figures as of `today`."""
    with conn.cursor(row_factory=class_row(Figures)) as cursor:
        figures = cursor.execute(
            """
            SELECT (SELECT count(*) FROM clients) AS clients,
                   (SELECT count(*) FROM policies) AS policies,
                   count(*) FILTER (WHERE ends_on >= %(today)s) AS due,
                   count(*) FILTER (WHERE ends_on < %(today)s) AS overdue
            FROM policies WHERE status = 'active' AND ends_on <= %(today)s + 30
            """,
            {"today": today},
        ).fetchone()
    assert figures is not None  # An aggregate always has one row.
    return figures
