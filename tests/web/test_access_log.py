"""Who has looked at what: written down before it is shown, for good, and found again by message, person and client."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import psycopg
import pytest

from tests.service_fixtures import Person, make_portal
from whatsapp_logs import Draft, Found, MediaFile, Message, WhatsAppService, links
from whatsapp_logs.access_log import AccessFilter, Act

Log = Callable[..., Message]
SignIn = Callable[[str], Person]


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
def compliance(signed_in: SignIn) -> Person:
    return signed_in("compliance")


def looks(service: WhatsAppService, **wanted: object) -> list[tuple[str, Act]]:
    """Who did what, oldest first; looks at the access log itself left out."""
    found = service.accesses(AccessFilter(**wanted))  # type: ignore[arg-type]
    return [(look.person.partition("@")[0], look.act) for look in reversed(found) if look.act is not Act.ACCESS_LOG]


def words(person: Person, path: str) -> list[str]:
    """The lines of the page as a reader reads them: person and deed, newest first."""
    html = person.get(path).text
    rows = re.findall(r'class="wl-who">(.*?)</td>\s*<td role="cell" class="wl-what">(.*?)</td>', html, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]+>", "", " ".join(row))).split()) for row in rows]


def test_an_opened_message_says_who_opened_it_and_from_where(service, logged, agent, compliance):
    message = logged(client_id=7)
    agent.get(f"/whatsapp_logs/messages/{message.id}")
    (look,) = service.accesses(AccessFilter(message_id=message.id))
    assert (look.person, look.act, look.address) == ("agent@office.example.test", Act.OPENED, "127.0.0.1")
    assert words(compliance, f"/whatsapp_logs/access?message={message.id}") == [
        f"agent@office.example.test Opened message {message.id} of client 7"
    ]


def test_an_open_page_that_keeps_itself_up_to_date_is_one_look(service, logged, agent):
    message = logged("sent")
    page = agent.get(f"/whatsapp_logs/messages/{message.id}")
    poll = re.search(r'hx-get="([^"]+seen=[^"]+)"', page.text)
    assert poll
    assert agent.get(unescape(poll[1])).status_code == 204
    agent.get(f"/whatsapp_logs/messages/{message.id}?seen=made-up")  # shows it, whatever it claims to have seen
    assert looks(service) == [("agent", Act.OPENED)]


def test_who_claims_to_have_seen_a_message_is_written_down_all_the_same(service, logged, agent):
    message = logged()
    agent.get(f"/whatsapp_logs/messages/{message.id}?seen=made-up", headers={"HX-Request": "true"})
    assert looks(service, message_id=message.id) == [("agent", Act.OPENED)]


def test_a_document_opened_here_or_by_its_link_is_a_look(service, agent, config, live):
    file = MediaFile(filename="policy.pdf", content_type="application/pdf", content=b"%PDF-1.4 synthetic")
    message = service.send(Draft(to="+447700900123", body="Your policy", media=file))
    assert message.media_id is not None
    agent.get(f"/whatsapp_logs/messages/{message.id}/document")
    agent.get("/" + links.media_path(config, message.media_id))
    assert looks(service) == [("agent", Act.DOCUMENT), ("(link)", Act.LINK)]
    assert agent.get("/whatsapp/media/made-up").status_code == 404
    assert len(looks(service)) == 2


def test_a_search_is_kept_without_the_number(service, logged, agent, dsn):
    logged(to="+447700900123")
    agent.post("/whatsapp_logs", data={"phone": "07700 900123"}, follow_redirects=True)
    assert looks(service) == [("agent", Act.SEARCHED)]
    with psycopg.connect(dsn) as conn:
        (row,) = conn.execute("SELECT to_jsonb(a)::text FROM whatsapp_logs.accesses AS a").fetchone() or ("",)
    assert "900123" not in row


def test_everybody_who_may_have_seen_a_clients_messages_is_one_click_away(service, logged, signed_in, compliance):
    theirs, other = logged(client_id=7, to="+447700900123"), logged(client_id=8, to="+447700900456")
    signed_in("agent").get(f"/whatsapp_logs/messages/{theirs.id}")
    signed_in("agent").get(f"/whatsapp_logs/messages/{other.id}")
    signed_in("viewer").get("/whatsapp_logs?client=7")
    signed_in("administrator").post("/whatsapp_logs", data={"phone": "900123"}, follow_redirects=True)
    signed_in("administrator").get("/whatsapp_logs/export?date_from=2019-01-01&date_to=2019-12-31").get_data()  # before
    signed_in("administrator").get("/whatsapp_logs/export").get_data()
    assert looks(service, client_id="7") == [
        ("agent", Act.OPENED),
        ("viewer", Act.LISTED),
        ("administrator", Act.SEARCHED),
        ("administrator", Act.EXPORTED),
    ]
    link = re.search(
        r'href="([^"]+)">who has looked at them', compliance.get(f"/whatsapp_logs/messages/{theirs.id}").text
    )
    assert link
    assert len(words(compliance, unescape(link[1]))) == 5  # compliance's own look is among them


def test_the_api_is_a_way_of_looking_too(service, logged, agent):
    message = logged(client_id=7)
    agent.get(f"/api/whatsapp/message_details/{message.provider_id}")
    agent.get("/api/whatsapp/messages")
    agent.get("/api/whatsapp/messages?client=7")
    assert looks(service) == [("agent", Act.OPENED), ("agent", Act.LISTED)]


def test_looking_at_who_has_looked_is_a_look(service, compliance):
    compliance.get("/whatsapp_logs/access?person=agent@office.example.test")
    (look,) = service.accesses(AccessFilter())
    assert (look.act, look.about) == (Act.ACCESS_LOG, {"person": "agent@office.example.test"})


@pytest.mark.parametrize(
    ("role", "status"), [("administrator", 200), ("compliance", 200), ("agent", 403), ("viewer", 403)]
)
def test_fault_21_only_who_has_the_right_sees_who_has_looked(logged, signed_in, role, status):
    message, person = logged(client_id=7), signed_in(role)
    assert person.get("/whatsapp_logs/access").status_code == status
    for page in ("/whatsapp_logs", "/whatsapp_logs?client=7", f"/whatsapp_logs/messages/{message.id}"):
        assert ("/whatsapp_logs/access" in person.get(page).text) == (status == 200)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE {} SET person = 'nobody'",
        "DELETE FROM {}",
        "TRUNCATE {}",
        "UPDATE {} SET at = now() - interval '1 year'",
    ],
)
def test_nobody_changes_what_was_written_down(logged, agent, dsn, sql):
    agent.get(f"/whatsapp_logs/messages/{logged().id}")
    with psycopg.connect(dsn) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        conn.execute(sql.format("whatsapp_logs.accesses"))


def test_what_cannot_be_written_down_is_not_shown(logged, agent, dsn):
    message = logged(body="Strictly between us")
    with psycopg.connect(dsn) as conn:
        conn.execute("ALTER DATABASE " + conn.info.dbname + " SET default_transaction_read_only = on")
        conn.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    answer = agent.get(f"/whatsapp_logs/messages/{message.id}")
    assert answer.status_code == 503
    assert "Strictly between us" not in answer.text


def test_a_search_by_name_tells_which_clients_were_found(service, logged):
    logged(client_id=7)
    app = make_portal(
        service,
        find=lambda text: Found(client_ids=[7, 9]),
        client_names=lambda ids: {one: f"Client {one}" for one in ids},
    )
    person = Person(app, response_wrapper=app.response_class)
    person.token = person.get("/sign_in/agent").text
    person.post("/whatsapp_logs", data={"whom": "Thompson"})
    (look,) = service.accesses(AccessFilter(client_id="9"))
    assert (look.act, look.subjects) == (Act.SEARCHED, ("client:7", "client:9"))


@pytest.mark.parametrize(
    "query",
    ["message=x", "message=-1", "message=99999999999999999999", "act=stole", "before=x", "client=%00", "date_from=1"],
)
def test_fault_23_an_address_that_means_nothing_is_refused_in_words(compliance, query):
    answer = compliance.get(f"/whatsapp_logs/access?{query}")
    assert answer.status_code == 400
    assert "wl-problem" in answer.text


def test_older_looks_are_a_page_further(service, logged, agent, compliance):
    for _ in range(60):
        agent.get(f"/whatsapp_logs/messages/{logged().id}")
    first = compliance.get("/whatsapp_logs/access?person=agent@office.example.test")
    link = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert link
    assert first.text.count('class="wl-what"') == 50
    assert compliance.get(unescape(link[1])).text.count('class="wl-what"') == 10


@pytest.mark.parametrize("query", ["client=x", "client=99999999999999999999", "policy=x"])
def test_an_id_that_nobody_can_have_is_no_look_at_anybody(service, signed_in, query):
    admin = signed_in("administrator")
    for path in ("/whatsapp_logs", "/whatsapp_logs/export", "/api/whatsapp/messages", "/api/whatsapp/export"):
        assert admin.get(f"{path}?{query}").status_code == 400, path
    assert looks(service) == []
