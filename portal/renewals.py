"""Renewals: what is due, soonest first, and reminding the client, with a document if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from flask import Blueprint, abort, render_template, request, url_for
from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.wrappers import Response

from portal import confirming, later, policies, sending, uploads
from portal.access import me, requires
from portal.database import database
from portal.policy import Policy
from portal.telling import Place
from portal.today import office_today
from whatsapp_logs import Message, Right
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.web import content_disposition

renewals = Blueprint("renewals", __name__, url_prefix="/renewals")

# Days from today, both ends included.
WINDOWS = {"overdue": (-3650, -1), "30": (0, 30), "60": (0, 60), "90": (0, 90)}
SIZE = 50


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
    today, after = office_today(), Place.decode(request.args.get("after"))
    with database() as conn:
        found = due(conn, today, WINDOWS[chosen], limit=SIZE + 1, after=after)
    shown = found[:SIZE]
    return render_template(
        "renewals.html",
        policies=shown,
        chosen=chosen,
        today=today,
        reminders=latest_reminders([policy.policy_id for policy in shown]),
        next=Place(shown[-1].ends_on, shown[-1].policy_id).encode() if len(found) > SIZE else None,
        is_first=after is None,
    )


@renewals.get("/<int:policy_id>")
@requires(Right.SEE)
def show(policy_id: int) -> str:
    """One renewal: the reminder as the client will read it, and the form that sends it."""
    return _page(policy_id)


@renewals.post("/<int:policy_id>/remind")
@requires(Right.SEND)
def remind(policy_id: int) -> Response | str | tuple[str, int]:
    """Queue a reminder; the uploaded document is kept and the message queued together, or neither.

    Asks first when a reminder went out just now. The document is kept then too, since no form can repeat a chosen file.
    """
    try:
        paper = uploads.read(request.files.get("document"))
    except uploads.NotAccepted as error:
        return _page(policy_id, problem=str(error)), 400
    with database() as conn:
        policy = policies.find(conn, policy_id) or abort(404)
        if not policy.is_renewable:
            abort(400, f"Policy {policy.policy_number} is {policy.status}; there is nothing to renew.")
        kept_id = request.form.get("document_id", type=int)
        if paper:
            kept_id = _keep(conn, policy_id, paper, uploaded_by=me().username)
        elif kept_id is not None:
            paper = _kept(conn, policy_id, kept_id) or abort(404)
        back_to = url_for("renewals.show", policy_id=policy_id)
        try:
            letter = later.timed(sending.renewal_reminder(policy, paper))
        except InvalidInput as error:
            return _page(policy_id, problem=error.reason), 400
        if doubts := confirming.doubts(conn, letter):
            fields = later.fields() | ({} if kept_id is None else {"document_id": kept_id})
            return confirming.ask(doubts, letter, back_to=back_to, fields=fields)
        return sending.send(letter, back_to=back_to, conn=conn)


@renewals.get("/documents/<int:document_id>")
@requires(Right.TEXTS)
def document(document_id: int) -> Response:
    """An uploaded document, always as a download: it is somebody else's content."""
    with database() as conn:
        row = conn.execute(
            "SELECT filename, content_type, content FROM renewal_documents WHERE document_id = %s", (document_id,)
        ).fetchone()
    filename, content_type, content = row or abort(404)
    response = Response(content, mimetype=content_type)
    response.headers["Content-Disposition"] = content_disposition("attachment", filename)
    return response


def latest_reminders(policy_ids: list[int]) -> dict[int, Message]:
    """The last reminder of each of these policies that has one."""
    found = sending.service().latest_messages(
        policy_ids=[str(policy_id) for policy_id in policy_ids], message_type="renewal_reminder"
    )
    return {int(policy_id): message for policy_id, message in found.items()}


def due(
    conn: Connection, today: date, window: tuple[int, int], *, limit: int, after: Place | None = None
) -> list[Policy]:
    """Policies in force whose cover ends within the window of days around `today`, soonest first."""
    onwards = "AND (p.ends_on, p.policy_id) > (%(after_due)s, %(after_policy)s)" if after else ""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        return cursor.execute(
            f"""
            {policies.SELECT}
            WHERE p.status = 'active' AND p.ends_on BETWEEN %(today)s + %(first)s AND %(today)s + %(last)s {onwards}
            ORDER BY p.ends_on, p.policy_id LIMIT %(limit)s
            """.encode(),
            {"today": today, "first": window[0], "last": window[1], "limit": limit}
            | (after.parameters("after") if after else {}),
        ).fetchall()


def _page(policy_id: int, *, problem: str | None = None) -> str:
    with database() as conn:
        policy = policies.find(conn, policy_id) or abort(404)
        papers = _documents(conn, policy_id)
    return render_template(
        "renewal.html",
        policy=policy,
        papers=papers,
        today=office_today(),
        reminder=latest_reminders([policy_id]).get(policy_id),
        text=sending.reminder_text(policy),
        text_with_document=sending.reminder_text(policy, with_document=True),
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


def _kept(conn: Connection, policy_id: int, document_id: int) -> uploads.Upload | None:
    with conn.cursor(row_factory=class_row(uploads.Upload)) as cursor:
        return cursor.execute(
            """
            SELECT filename, content_type, content
            FROM renewal_documents WHERE document_id = %s AND policy_id = %s
            """,
            (document_id, policy_id),
        ).fetchone()


def _keep(conn: Connection, policy_id: int, paper: uploads.Upload, *, uploaded_by: str) -> int:
    row = conn.execute(
        """
        INSERT INTO renewal_documents (policy_id, filename, content_type, content, sha256, uploaded_by)
        VALUES (%(policy_id)s, %(filename)s, %(content_type)s, %(content)s, sha256(%(content)s), %(uploaded_by)s)
        ON CONFLICT (policy_id, sha256) DO UPDATE SET policy_id = EXCLUDED.policy_id  -- nothing, but it tells the id
        RETURNING document_id
        """,
        {
            "policy_id": policy_id,
            "filename": paper.filename,
            "content_type": paper.content_type,
            "content": paper.content,
            "uploaded_by": uploaded_by,
        },
    ).fetchone()
    assert row is not None
    return int(row[0])
