"""Renewals: what is due, soonest first, and reminding the client, with a document if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, abort, current_app, render_template, request, url_for
from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.wrappers import Response

from portal import policies, sending, uploads
from portal.access import me, requires
from portal.database import database
from portal.policy import Policy
from whatsapp_logs import Right

renewals = Blueprint("renewals", __name__, url_prefix="/renewals")

# Days from today, both ends included.
WINDOWS = {"overdue": (-3650, -1), "30": (0, 30), "60": (0, 60), "90": (0, 90)}
SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalDocument:
    """A paper that somebody uploaded for a policy's renewal; its content is fetched apart."""

    document_id: int
    filename: str
    uploaded_by: str
    uploaded_at: datetime


@renewals.get("/")
@requires(Right.SEE)
def index() -> str:
    """Policies due for renewal, soonest first."""
    chosen = request.args.get("due", "30")
    if chosen not in WINDOWS:
        chosen = "30"
    today = office_today()
    with database() as conn:
        found = due(conn, today, WINDOWS[chosen], limit=SHOWN)
    return render_template("renewals.html", policies=found, chosen=chosen, today=today)


@renewals.get("/<int:policy_id>")
@requires(Right.SEE)
def show(policy_id: int) -> str:
    """One renewal: the reminder as the client will read it, and the form that sends it."""
    return _page(policy_id)


@renewals.post("/<int:policy_id>/remind")
@requires(Right.SEND)
def remind(policy_id: int) -> Response | tuple[str, int]:
    """Queue a reminder; the uploaded document is kept and the message queued together, or neither."""
    try:
        paper = uploads.read(request.files.get("document"))
    except uploads.NotAccepted as error:
        return _page(policy_id, problem=str(error)), 400
    with database() as conn:
        policy = policies.find(conn, policy_id) or abort(404)
        if not policy.is_renewable:
            abort(400, f"Policy {policy.policy_number} is {policy.status}; there is nothing to renew.")
        if paper:
            _keep(conn, policy_id, paper, uploaded_by=me().username)
        letter = sending.renewal_reminder(policy, paper)
        return sending.send(letter, back_to=url_for("renewals.show", policy_id=policy_id), conn=conn)


@renewals.get("/documents/<int:document_id>")
@requires(Right.SEE)
def document(document_id: int) -> Response:
    """An uploaded document, always as a download: it is somebody else's content."""
    with database() as conn:
        row = conn.execute(
            "SELECT filename, content_type, content FROM renewal_documents WHERE document_id = %s", (document_id,)
        ).fetchone()
    filename, content_type, content = row or abort(404)
    response = Response(content, mimetype=content_type)
    response.headers.set("Content-Disposition", "attachment", filename=filename)
    return response


def due(conn: Connection, today: date, window: tuple[int, int], *, limit: int) -> list[Policy]:
    """Policies in force whose cover ends within the window of days around `today`, soonest first."""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        return cursor.execute(
            f"""
            {policies.SELECT}
            WHERE p.status = 'active' AND p.ends_on BETWEEN %(today)s + %(first)s AND %(today)s + %(last)s
            ORDER BY p.ends_on, p.policy_id LIMIT %(limit)s
            """.encode(),
            {"today": today, "first": window[0], "last": window[1], "limit": limit},
        ).fetchall()


def office_today() -> date:
    """Today where the office is."""
    return datetime.now(ZoneInfo(current_app.config["PORTAL"].timezone)).date()


def _page(policy_id: int, *, problem: str | None = None) -> str:
    with database() as conn:
        policy = policies.find(conn, policy_id) or abort(404)
        papers = _documents(conn, policy_id)
    return render_template(
        "renewal.html",
        policy=policy,
        papers=papers,
        today=office_today(),
        text=sending.reminder_text(policy),
        accept=uploads.ACCEPT,
        problem=problem,
    )


def _documents(conn: Connection, policy_id: int) -> list[RenewalDocument]:
    with conn.cursor(row_factory=class_row(RenewalDocument)) as cursor:
        return cursor.execute(
            """
            SELECT document_id, filename, uploaded_by, uploaded_at
            FROM renewal_documents WHERE policy_id = %s ORDER BY uploaded_at DESC, document_id DESC
            """,
            (policy_id,),
        ).fetchall()


def _keep(conn: Connection, policy_id: int, paper: uploads.Upload, *, uploaded_by: str) -> None:
    conn.execute(
        """
        INSERT INTO renewal_documents (policy_id, filename, content_type, content, sha256, uploaded_by)
        VALUES (%(policy_id)s, %(filename)s, %(content_type)s, %(content)s, sha256(%(content)s), %(uploaded_by)s)
        ON CONFLICT (policy_id, sha256) DO NOTHING
        """,
        {
            "policy_id": policy_id,
            "filename": paper.filename,
            "content_type": paper.content_type,
            "content": paper.content,
            "uploaded_by": uploaded_by,
        },
    )
