"""Policies: a policy's page, its schedule as PDF, and sending that to the client."""

from __future__ import annotations

from datetime import date

from flask import Blueprint, abort, render_template, url_for
from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.wrappers import Response

from portal import confirming, documents, later, searching, sending
from portal.access import requires
from portal.database import database
from portal.paging import LIMIT, Edge, Page, page_of, wanted_edge
from portal.policy import Policy
from portal.today import office_today
from whatsapp_logs import Right
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.web import content_disposition

policies = Blueprint("policies", __name__, url_prefix="/policies")


SELECT = """
    SELECT p.policy_id, p.policy_number, p.product, p.insurer, p.insured, p.sum_insured, p.excess, p.premium,
           p.currency, p.starts_on, p.ends_on, p.status,
           c.client_id, c.name AS client_name, c.phone AS client_phone, c.address AS client_address
    FROM policies AS p JOIN clients AS c USING (client_id)
"""


@policies.get("/")
@requires(Right.SEE)
def index() -> str | Response:
    """A page of policies by number, all or those searched for."""
    if searching.typed():
        return searching.lead_to(".index", searching.typed())
    text = searching.wanted()
    with database() as conn:
        page = search(conn, text, edge=wanted_edge())
    return render_template("policies.html", q=text, page=page)


@policies.post("/")
@requires(Right.SEE)
def search_for() -> Response:
    """The search form, posted: what somebody searches for stands in no address."""
    return searching.lead_to(".index", searching.typed())


@policies.get("/<int:policy_id>")
@requires(Right.SEE)
def show(policy_id: int) -> str:
    """One policy: facts, document, messages."""
    return render_template("policy.html", policy=_found(policy_id))


@policies.get("/<int:policy_id>/document.pdf")
@requires(Right.TEXTS)
def document(policy_id: int) -> Response:
    """The policy schedule, to read in the browser."""
    policy = _found(policy_id)
    response = Response(documents.policy_schedule(policy), mimetype="application/pdf")
    response.headers["Content-Disposition"] = content_disposition("inline", f"{policy.policy_number}.pdf")
    return response


@policies.post("/<int:policy_id>/send")
@requires(Right.SEND)
def send_document(policy_id: int) -> Response | str | tuple[str, int]:
    """Queue the policy schedule for the client; asks first when the policy covers nothing, or it was sent just now."""
    policy = _found(policy_id)
    back_to = url_for("policies.show", policy_id=policy_id)
    try:
        letter = later.timed(sending.policy_document(policy, documents.policy_schedule(policy)))
    except InvalidInput as error:
        return render_template("policy.html", policy=policy, problem=error.reason), 400
    with database() as conn:
        doubts = confirming.doubts(conn, letter, ended=confirming.ended(policy, office_today()))
        if doubts:
            return confirming.ask(doubts, letter, back_to=back_to, fields=later.fields())
        return sending.send(letter, back_to=back_to, conn=conn)


def find(conn: Connection, policy_id: int) -> Policy | None:
    """The policy of that id."""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        return cursor.execute(f"{SELECT} WHERE p.policy_id = %s".encode(), (policy_id,)).fetchone()


def many(conn: Connection, policy_ids: list[int]) -> list[Policy]:
    """The policies of these ids."""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        return cursor.execute(f"{SELECT} WHERE p.policy_id = ANY (%s)".encode(), (policy_ids,)).fetchall()


def search(conn: Connection, text: str, *, edge: Edge) -> Page[Policy]:
    """A page of policies whose number, insurer or holder's name contains the text."""
    where = ["TRUE"]
    if text:
        where.append("strpos(lower(p.policy_number || ' ' || p.insurer || ' ' || c.name), lower(%(text)s)) > 0")
    if edge.row_id is not None:
        where.append(
            f"p.policy_number {edge.comparison} (SELECT policy_number FROM policies WHERE policy_id = %(edge)s)"  # noqa: S608 - words of ours; values are parameters
        )
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        found = cursor.execute(
            f"{SELECT} WHERE {' AND '.join(where)} ORDER BY p.policy_number {edge.order} LIMIT %(limit)s".encode(),
            {"text": text, "edge": edge.row_id, "limit": LIMIT},
        ).fetchall()
    return page_of(found, edge, lambda policy: policy.policy_id)


def ids_by_number(conn: Connection, text: str, *, limit: int = 8) -> list[int]:
    """Policies whose number contains the text."""
    rows = conn.execute(
        """
        SELECT policy_id FROM policies WHERE strpos(lower(policy_number), lower(%(text)s)) > 0
        ORDER BY policy_number LIMIT %(limit)s
        """,
        {"text": text, "limit": limit},
    )
    return [row[0] for row in rows]


def of_client(conn: Connection, client_id: int, *, today: date) -> list[Policy]:
    """A client's policies: those in force first, the next renewal on top."""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        return cursor.execute(
            f"""
            {SELECT} WHERE p.client_id = %(client_id)s
            ORDER BY NOT (p.status = 'active' AND %(today)s BETWEEN p.starts_on AND p.ends_on), p.ends_on, p.policy_id
            """.encode(),
            {"client_id": client_id, "today": today},
        ).fetchall()


def numbers(conn: Connection, policy_ids: list[str]) -> dict[str, str]:
    """The policy numbers of these policies, for the feature's lists; it writes ids as text."""
    rows = conn.execute(
        "SELECT policy_id::text, policy_number FROM policies WHERE policy_id = ANY(%s::integer[])", (policy_ids,)
    )
    return dict(rows.fetchall())


def _found(policy_id: int) -> Policy:
    with database() as conn:
        policy = find(conn, policy_id)
    return policy or abort(404)
