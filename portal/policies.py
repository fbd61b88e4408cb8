"""Policies: a policy's page, its schedule as PDF, and sending that to the client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from flask import Blueprint, abort, render_template, url_for
from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.wrappers import Response

from portal import documents, sending
from portal.access import requires
from portal.database import database
from whatsapp_logs import Right

policies = Blueprint("policies", __name__, url_prefix="/policies")
LATEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A contract of insurance with its holder. `ends_on` is the last day of cover, when renewal is due."""

    policy_id: int
    policy_number: str
    product: str
    insurer: str
    insured: str
    sum_insured: Decimal
    excess: Decimal
    premium: Decimal
    currency: str
    starts_on: date
    ends_on: date
    status: str
    client_id: int
    client_name: str
    client_phone: str
    client_address: str


SELECT = """
    SELECT p.policy_id, p.policy_number, p.product, p.insurer, p.insured, p.sum_insured, p.excess, p.premium,
           p.currency, p.starts_on, p.ends_on, p.status,
           c.client_id, c.name AS client_name, c.phone AS client_phone, c.address AS client_address
    FROM policies AS p JOIN clients AS c USING (client_id)
"""


@policies.get("/")
@requires(Right.SEE)
def index() -> str:
    """All policies, by number."""
    with database() as conn, conn.cursor(row_factory=class_row(Policy)) as cursor:
        found = cursor.execute(f"{SELECT} ORDER BY p.policy_number LIMIT {LATEST}".encode()).fetchall()
    return render_template("policies.html", policies=found)


@policies.get("/<int:policy_id>")
@requires(Right.SEE)
def show(policy_id: int) -> str:
    """One policy: facts, document, messages."""
    return render_template("policy.html", policy=_found(policy_id))


@policies.get("/<int:policy_id>/document.pdf")
@requires(Right.SEE)
def document(policy_id: int) -> Response:
    """The policy schedule, to read in the browser."""
    policy = _found(policy_id)
    return Response(
        documents.policy_schedule(policy),
        mimetype="application/pdf",
        headers={"Content-Disposition": f'inline; filename="{policy.policy_number}.pdf"'},
    )


@policies.post("/<int:policy_id>/send")
@requires(Right.SEND)
def send_document(policy_id: int) -> Response:
    """Queue the policy schedule for the client."""
    policy = _found(policy_id)
    letter = sending.policy_document(policy, documents.policy_schedule(policy))
    return sending.send(letter, back_to=url_for("policies.show", policy_id=policy_id))


def find(conn: Connection, policy_id: int) -> Policy | None:
    """The policy of that id."""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        return cursor.execute(f"{SELECT} WHERE p.policy_id = %s".encode(), (policy_id,)).fetchone()


def of_client(conn: Connection, client_id: int) -> list[Policy]:
    """A client's policies: those in force first, the next renewal on top."""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        return cursor.execute(
            f"{SELECT} WHERE p.client_id = %s ORDER BY p.status <> 'active', p.ends_on, p.policy_id".encode(),
            (client_id,),
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
