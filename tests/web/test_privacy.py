"""Retention, legal holds and erasure: what was said goes, that it went and what became of it stays, and so do the counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.service_fixtures import Person, make_portal
from tests.web.reading import words
from whatsapp_logs import Draft, MediaFile, Message, MessageFilter, Source, StatusReport
from whatsapp_logs.campaign_files import Table
from whatsapp_logs.errors import InvalidInput, MessageNotFound
from whatsapp_logs.message import Inbound

Log = Callable[..., Message]
TEXT, NUMBER = "Strictly between us", "+447700900123"
OLD = datetime.now(UTC) - timedelta(days=800)


@pytest.fixture(autouse=True)
def nine_clients(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO clients (name, phone, address)
            SELECT 'Client ' || n, '+44770090010' || n, 'Road' FROM generate_series(1, 9) AS n
            """
        )


@pytest.fixture
def admin(signed_in: Callable[[str], Person]) -> Person:
    return signed_in("administrator")


def everything(dsn: str) -> str:
    """All that the log's tables hold, as text."""
    with psycopg.connect(dsn) as conn:
        names = conn.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'whatsapp_logs'::regnamespace AND relkind = 'r'"
        ).fetchall()
        return "\n".join(
            str(conn.execute(f"SELECT string_agg(t::text, chr(10)) FROM whatsapp_logs.{name} AS t").fetchone())
            for (name,) in names
        )


def test_by_rule_texts_numbers_and_documents_go_and_facts_and_counts_stay(service, logged: Log, dsn):
    file = MediaFile(filename="policy-of-asha.pdf", content_type="application/pdf", content=b"%PDF- of Asha")
    old = logged("failed", at=OLD, to=NUMBER, body=TEXT, media=file, error_code="63016", error_message=f"Not {NUMBER}")
    young = logged("read", to="+447700900456", body="Of today")
    before, timeline = service.status_counts(), service.timeline(old.id)
    service.set_retention("general", 24, set_by="anna")
    assert service.run_retention() == 1
    kept = service.message(old.id)
    assert (kept.status, kept.created_at, kept.error_code) == (old.status, OLD, "63016")
    assert kept.provider_id == old.provider_id
    assert kept.erased_at is not None
    for gone in (TEXT, NUMBER[3:], "Asha", "of-asha"):
        assert gone not in everything(dsn), gone
    assert service.message(young.id).body == "Of today"
    assert service.status_counts() == before
    assert [(event.status, event.happened_at) for event in service.timeline(old.id)] == [
        (event.status, event.happened_at) for event in timeline
    ]
    assert service.run_retention() == 0
    (note,) = service.erasures()
    assert (note.kind, note.what, note.erased, note.held) == ("retention", "general", 1, 0)


def test_the_rehearsal_says_what_goes_and_what_stays_and_is_right(service, logged: Log, admin: Person):
    for client in (1, 1, 2):
        logged("delivered", at=OLD, client_id=client)
    logged("delivered", at=OLD)
    service.send(Draft(to=NUMBER, body="still to be sent"))
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET created_at = %s", (OLD,))
    service.place_hold(client_id="1", policy_id=None, reason="Claim 26-0042", placed_by="anna")
    admin.post("/whatsapp_logs/privacy/retention", data={"type": "general", "months": "24"})
    assert "Tonight goes: 2 messages; 2 held, 1 still on their way stay." in words(admin.get("/whatsapp_logs/privacy"))
    assert service.run_retention() == 2
    (note,) = service.erasures()
    assert (note.erased, note.held) == (2, 3)
    (hold,) = service.holds()
    admin.post(f"/whatsapp_logs/privacy/holds/{hold.id}/lift")
    assert service.run_retention() == 2  # what the hold had kept


def test_more_than_a_batch_is_erased_to_the_last(service):
    with service.transaction() as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, body, status, created_at)
            SELECT '+447700900' || lpad(mod(n, 1000)::text, 3, '0'), 'x', 'delivered', %s FROM generate_series(1, 1234) AS n
            """,
            (OLD,),  # all in one moment
        )
    service.set_retention("general", 1, set_by="anna")
    assert service.run_retention() == 1234
    assert service.count(MessageFilter(phone="900")) == 0


def test_what_ended_or_was_imported_after_its_night_goes_the_next_one(service, logged: Log):
    logged("delivered", at=OLD)
    waiting = service.send(Draft(to=NUMBER, body="still to be sent"))
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET created_at = %s WHERE id = %s", (OLD, waiting.id))
    service.set_retention("general", 24, set_by="anna")
    assert service.run_retention() == 1
    told = StatusReport(provider_status="delivered", message_id=waiting.id, provider_id="SM" + "7" * 32)
    service.record([told], source=Source.CALLBACK)
    logged("read", at=OLD - timedelta(days=100))  # found at Twilio long after
    assert service.run_retention() == 2
    assert service.run_retention() == 0


def test_what_is_kept_for_good_again_is_kept(service, logged: Log, admin: Person):
    message = logged("delivered", at=OLD, body=TEXT)
    for months in ("24", ""):
        admin.post("/whatsapp_logs/privacy/retention", data={"type": "general", "months": months})
    assert "Kept for good" in words(admin.get("/whatsapp_logs/privacy"))
    assert service.run_retention() == 0
    assert service.message(message.id).body == TEXT


def test_a_person_is_erased_on_request_after_a_question(service, logged: Log, admin: Person, dsn):
    theirs = logged("read", to=NUMBER, body=TEXT, client_id=7)
    by_number = logged("delivered", to=NUMBER, body="To the same number")
    other = logged("read", to="+447700900456", body="Somebody else", client_id=8)
    form = {"client": "7", "reason": "Request of 26 November"}
    question = admin.post("/whatsapp_logs/privacy/erase", data=form)
    assert "Erase 2 messages." in words(question)
    assert service.message(theirs.id).body == TEXT
    admin.post("/whatsapp_logs/privacy/erase", data={**form, "confirm": "yes"})
    assert NUMBER[3:] not in everything(dsn)
    assert (service.message(theirs.id).client_id, service.message(by_number.id).body) == (None, None)
    assert service.message(other.id).body == "Somebody else"
    (note,) = service.erasures()
    assert (note.person, note.what, note.erased) == ("administrator@office.example.test", "client:7", 2)
    page = words(admin.get(f"/whatsapp_logs/messages/{theirs.id}"))
    assert "text, document and number are gone" in page
    assert "Read" in page
    assert "Erased" in words(admin.get("/whatsapp_logs"))


def test_what_is_kept_of_a_number_beside_its_messages_goes_with_the_last_of_them(service, logged: Log, dsn):
    logged("read", to=NUMBER, body=TEXT, client_id=7)
    inbound = Inbound(
        provider_id="SM" + "e" * 32, sender=NUMBER, recipient="+15550100100", body=TEXT, profile_name="Strictly Asha"
    )
    service.receive(inbound)
    table = Table(("Number", "Words"), ((NUMBER, TEXT), ("+447700900456", "Somebody else")))
    service.begin_campaign(table, name="Notice", source="notice.csv", created_by="anna")
    with psycopg.connect(dsn) as conn:  # as a check of the table leaves it
        conn.execute("UPDATE whatsapp_logs.campaign_recipients SET address = cells ->> 0")
    assert everything(dsn).count(NUMBER) > 5
    service.erase_client("7", reason="Request", person="anna")
    kept = everything(dsn)
    assert (NUMBER in kept, TEXT in kept, "Strictly Asha" in kept) == (False, False, False)
    assert "Somebody else" in kept


def test_that_somebody_asked_us_to_stop_outlives_their_erasure(service, logged: Log):
    logged("read", to=NUMBER, body=TEXT, client_id=7)
    service.receive(Inbound(provider_id="SM" + "e" * 32, sender=NUMBER, recipient="+15550100100", body="STOP"))
    service.erase_client("7", reason="Request", person="anna")
    refused = service.preview(Draft(to=NUMBER, body="Hello")).refusal
    assert refused is not None
    assert refused.code == "opted_out"


def test_what_is_held_is_erased_by_no_request(service, logged: Log):
    held = logged("read", to=NUMBER, body=TEXT, client_id=7)
    service.place_hold(client_id="7", policy_id=None, reason="In court", placed_by="anna")
    done = service.erase_client("7", reason="Request", person="anna")
    assert (done.erased, done.held) == (0, 1)
    assert service.message(held.id).body == TEXT


def test_a_report_that_comes_after_the_erasure_says_nothing_of_the_person_for_long(service, logged: Log, dsn):
    message = logged("delivered", to=NUMBER, body=TEXT, client_id=7)
    service.erase_client("7", reason="Request", person="anna")
    late = StatusReport(
        provider_status="read",
        provider_id=message.provider_id,
        payload={"To": f"whatsapp:{NUMBER}", "MessageStatus": "read"},
    )
    service.record([late], source=Source.CALLBACK)
    assert service.message(message.id).status == "read"
    service.run_retention()
    assert NUMBER[3:] not in everything(dsn)


def test_an_erased_message_is_not_sent_again(service, logged: Log, admin: Person):
    message = logged("failed", to=NUMBER, error_code="63016", client_id=7)
    service.erase_client("7", reason="Request", person="anna")
    assert "Send again" not in admin.get(f"/whatsapp_logs/messages/{message.id}").text
    with pytest.raises(InvalidInput):
        service.send_again(message.id, created_by="anna", request_key="k" * 20)


def test_nobody_changes_the_history_of_erasures_or_an_event_but_by_erasing(service, logged: Log, dsn):
    logged("read", client_id=7)
    service.erase_client("7", reason="Request", person="anna")
    for sql in (
        "DELETE FROM {}.erasures",
        "UPDATE {}.erasures SET erased = 0",
        "UPDATE {}.status_events SET status = 'failed'",
    ):
        with psycopg.connect(dsn) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            conn.execute(sql.format("whatsapp_logs"))


@pytest.mark.parametrize("role", ["agent", "compliance", "viewer"])
def test_fault_21_only_an_administrator_erases_and_holds(service, logged: Log, signed_in, role):
    message = logged("read", body=TEXT, client_id=7)
    person = signed_in(role)
    answers = [
        person.get("/whatsapp_logs/privacy"),
        person.post("/whatsapp_logs/privacy/retention", data={"type": "general", "months": "6"}),
        person.post("/whatsapp_logs/privacy/holds", data={"client": "7", "reason": "mine"}),
        person.post("/whatsapp_logs/privacy/holds/1/lift"),
        person.post("/whatsapp_logs/privacy/erase", data={"client": "7", "reason": "mine", "confirm": "yes"}),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert service.message(message.id).body == TEXT
    assert "/whatsapp_logs/privacy" not in person.get(f"/whatsapp_logs/messages/{message.id}").text


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("retention", {"type": "nothing", "months": "24"}),
        ("retention", {"type": "general", "months": "5"}),
        ("holds", {"reason": "no client"}),
        ("holds", {"client": "7", "reason": ""}),
        ("holds", {"client": "x", "reason": "no such id"}),
        ("erase", {"client": "7", "reason": ""}),
        ("erase", {"policy": "7", "reason": "only clients"}),
        ("erase", {"client": "' or 1=1", "reason": "evil"}),
    ],
)
def test_fault_23_what_cannot_be_done_is_refused_in_words(service, logged: Log, admin: Person, path, form):
    logged("read")
    answer = admin.post(f"/whatsapp_logs/privacy/{path}", data=form)
    assert answer.status_code == 400
    assert service.holds() == []
    assert "wl-problem" in answer.text


def test_a_hold_that_is_not_there_is_not_lifted(service, admin: Person):
    assert admin.post("/whatsapp_logs/privacy/holds/99/lift").status_code == 404
    assert service.lift_hold(99, lifted_by="anna") is False
    with pytest.raises(MessageNotFound):
        service.message(99)


def test_the_rehearsal_tells_of_rows_in_campaigns_that_are_not_sent_yet(service):
    portal = make_portal(service, client_phone={"7": NUMBER}.get)
    admin = Person(portal)
    admin.token = admin.get("/sign_in/administrator").text
    table = Table(("Mobile", "Client"), (("07700 900123", "Asha Rao"), ("07700 900124", "Bruno")))
    service.begin_campaign(table, name="Spring", source="a.csv", created_by="anna")
    page = words(admin.get("/whatsapp_logs/privacy?client=7"))
    assert "Would go: 0 messages and 1 row in tables of campaigns." in page
    asked = words(admin.post("/whatsapp_logs/privacy/erase", data={"client": "7", "reason": "Request"}))
    assert "a row of a campaign that has not been sent to them yet is left out" in asked
    done = {"client": "7", "reason": "Request", "confirm": "yes"}
    said = words(admin.post("/whatsapp_logs/privacy/erase", data=done, follow_redirects=True))
    assert "0 messages and 1 row in tables of campaigns. This cannot be undone." in said
    assert "0 messages, 1 row in tables of campaigns" in words(admin.get("/whatsapp_logs/privacy"))
