"""Clients: the list, one client's page, and a message written by hand."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import date

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from psycopg import Connection
from psycopg.rows import class_row
from werkzeug.wrappers import Response

from portal import confirming, contacts, later, policies, searching, sending
from portal.access import me, requires
from portal.contacts import Contact
from portal.database import database
from portal.format import readable_phone
from portal.notes import say
from portal.paging import LIMIT, Edge, Page, page_of, wanted_edge
from portal.people import OwnRight
from portal.today import office_today
from whatsapp_logs import Right
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.gate import Rule

_TITLES = frozenset({"mr", "mrs", "ms", "miss", "mx", "dr"})

clients = Blueprint("clients", __name__, url_prefix="/clients")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Somebody the office insures; `phone` is E.164."""

    client_id: int
    name: str
    phone: str
    email: str | None
    address: str
    date_of_birth: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedClient:
    """A client in the list, with the number of policies in force."""

    client_id: int
    name: str
    phone: str
    town: str
    policies: int


@clients.get("/")
@requires(Right.SEE)
def index() -> str | Response:
    """A page of clients in order of their names, all or those searched for."""
    if searching.typed():
        return searching.lead_to(".index", searching.typed())
    text = searching.wanted()
    with database() as conn:
        page = search(conn, text, with_phone=me().may(Right.NUMBERS), edge=wanted_edge())
    return render_template("clients.html", q=text, page=page)


@clients.post("/")
@requires(Right.SEE)
def search_for() -> Response:
    """The search form, posted: what somebody searches for stands in no address."""
    return searching.lead_to(".index", searching.typed())


@clients.get("/<int:client_id>")
@requires(Right.SEE)
def show(client_id: int) -> str:
    """One client: facts, policies, messages, and the form for a new one."""
    return _page(client_id)


@clients.post("/<int:client_id>/message")
@requires(Right.SEND)
def send_message(client_id: int) -> Response | str | tuple[str, int]:
    """Queue a message written by hand; asks first what the gate asks."""
    bare = request.form.get("how") == "bare"
    body = request.form.get("body", "").replace("\r\n", "\n").replace("\0", "").strip()
    if problem := sending.problem_with(body, bare=bare):
        return _page(client_id, body=body, problem=problem), 400
    with database() as conn:
        client = find(conn, client_id) or abort(404)
        letter = sending.general_message(client.client_id, client.name, client.phone, body, bare=bare)
        back_to = url_for("clients.show", client_id=client_id)
        try:
            letter = later.timed(letter)
        except InvalidInput as error:
            return _page(client_id, body=body, problem=error.reason), 400
        if doubts := confirming.doubts(conn, letter):
            kept = {"body": body, "how": "bare" if bare else ""}
            return confirming.ask(doubts, letter, back_to=back_to, fields=kept | later.fields())
        return sending.send(letter, back_to=back_to, conn=conn)


@clients.get("/<int:client_id>/edit")
@requires(OwnRight.EDIT_CLIENTS)
def edit(client_id: int) -> str:
    """The form with the client's contact details."""
    with database() as conn:
        client = find(conn, client_id) or abort(404)
    typed = {
        "name": client.name,
        "phone": readable_phone(client.phone),
        "email": client.email or "",
        "address": client.address,
    }
    return render_template("client_edit.html", client=client, typed=typed, problems={})


@clients.post("/<int:client_id>/edit")
@requires(OwnRight.EDIT_CLIENTS)
def correct(client_id: int) -> Response | tuple[str, int]:
    """Keep the corrected contact details; messages of the past keep the number they went to."""
    typed = contacts.typed(request.form)
    with database() as conn:
        client = find(conn, client_id) or abort(404)
        try:
            contact = contacts.check(typed, region=current_app.config["PORTAL"].region)
        except contacts.NotAccepted as error:
            return render_template("client_edit.html", client=client, typed=typed, problems=error.problems), 400
        save(conn, client_id, contact)
    if contact.phone != client.phone:
        say(f"Saved. Messages to {contact.name} now go to {readable_phone(contact.phone)}.", "ok")
    else:
        say("Saved.", "ok")
    return redirect(url_for("clients.show", client_id=client_id), 303)


def find(conn: Connection, client_id: int) -> Client | None:
    """The client of that id."""
    with conn.cursor(row_factory=class_row(Client)) as cursor:
        return cursor.execute(
            "SELECT client_id, name, phone, email, address, date_of_birth FROM clients WHERE client_id = %s",
            (client_id,),
        ).fetchone()


def save(conn: Connection, client_id: int, contact: Contact) -> None:
    """Replace the client's contact details."""
    conn.execute(
        """
        UPDATE clients SET name = %(name)s, phone = %(phone)s, email = %(email)s, address = %(address)s
        WHERE client_id = %(client_id)s
        """,
        {"client_id": client_id, **asdict(contact)},
    )


def names(conn: Connection, client_ids: list[str]) -> dict[str, str]:
    """The names of these clients, for the feature's lists; it writes ids as text."""
    rows = conn.execute("SELECT client_id::text, name FROM clients WHERE client_id = ANY(%s::integer[])", (client_ids,))
    return dict(rows.fetchall())


def ids_by_name(conn: Connection, text: str, *, limit: int = 8) -> list[int]:
    """Clients whose name has every word of the text; how somebody is addressed is no part of a name."""
    words = [word for word in text.lower().split() if word.rstrip(".") not in _TITLES]
    if not words:
        return []
    rows = conn.execute(
        """
        SELECT client_id FROM clients AS c
        WHERE (SELECT bool_and(strpos(lower(c.name), word) > 0) FROM unnest(%(words)s::text[]) AS word)
        ORDER BY lower(name), client_id LIMIT %(limit)s
        """,
        {"words": words, "limit": limit},
    )
    return [row[0] for row in rows]


def search(conn: Connection, text: str, *, with_phone: bool, edge: Edge) -> Page[ListedClient]:
    """A page of clients whose name, policy number or (`with_phone`) telephone number contains the text.

    Whoever may not see numbers may not search them either: guessing digit by digit would reveal them.
    """
    digits = re.sub(r"\D", "", text).lstrip("0")
    has_phone = with_phone and len(digits) >= 3 and not re.search(r"[^\d\s()+./-]", text)
    where = ["TRUE"]
    if text:
        where.append(
            """(strpos(lower(c.name), lower(%(text)s)) > 0
                OR EXISTS (SELECT FROM policies AS p WHERE p.client_id = c.client_id
                           AND strpos(lower(p.policy_number), lower(%(text)s)) > 0)
                OR (%(has_phone)s AND strpos(c.phone, %(digits)s) > 0))"""
        )
    if edge.row_id is not None:
        where.append(
            f"""(lower(c.name), c.client_id) {edge.comparison}
                (SELECT lower(name), client_id FROM clients WHERE client_id = %(edge)s)"""  # noqa: S608 - words of ours; values are parameters
        )
    with conn.cursor(row_factory=class_row(ListedClient)) as cursor:
        found = cursor.execute(
            f"""
            SELECT c.client_id, c.name, c.phone, split_part(c.address, E'\n', 2) AS town,
                   (SELECT count(*) FROM policies AS p
                    WHERE p.client_id = c.client_id AND p.status = 'active'
                      AND %(today)s BETWEEN p.starts_on AND p.ends_on) AS policies
            FROM clients AS c WHERE {" AND ".join(where)}
            ORDER BY lower(c.name) {edge.order}, c.client_id {edge.order} LIMIT %(limit)s
            """.encode(),  # noqa: S608 - words of ours; values are parameters
            {
                "text": text,
                "digits": digits,
                "has_phone": has_phone,
                "edge": edge.row_id,
                "limit": LIMIT,
                "today": office_today(),
            },
        ).fetchall()
    return page_of(found, edge, lambda client: client.client_id)


def _page(client_id: int, *, body: str = "", problem: str | None = None) -> str:
    with database() as conn:
        client = find(conn, client_id) or abort(404)
        owned = policies.of_client(conn, client_id, today=office_today())
    said = sending.to_client(client_id, client.phone)
    return render_template(
        "client.html",
        client=client,
        policies=owned,
        body=body,
        problem=problem,
        said=said,
        stopped=said.refusal if said.refusal and said.refusal.rule in (Rule.CONSENT, Rule.ADDRESS) else None,
        window_until=said.window_until,
        notice=sending.notice_frame(client.name) if sending.has_notice() else None,
        most=sending.most_characters(bare=said.window_until is not None),
        sentence=sending.as_sentence(body),
    )
