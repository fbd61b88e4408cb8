"""A campaign from its table to its end: what each row becomes, who may let it go, and what the people see of it."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial

import psycopg
import pytest

from tests.bot.office import ASHA, BRUNO, Office
from tests.campaign_tables import MAPPING, NOTICE, fill_catalogue, people, prepared, set_going
from tests.service_fixtures import Person, work_until_idle
from whatsapp_logs import Config, Draft, MessageFilter, Status, WhatsAppService, campaign_run, campaigns
from whatsapp_logs.campaign_files import Table
from whatsapp_logs.catalogue import filled
from whatsapp_logs.errors import InvalidInput, MessageNotFound, NotAllowed
from whatsapp_logs.filters import Addressee
from whatsapp_logs.message import Path, Template
from whatsapp_logs.store import campaigns as rows
from whatsapp_logs.store.campaigns import Campaign, Progress, Recipient
from whatsapp_logs.twilio.simulator import Simulator

COLUMNS = ("Mobile number", "Client name", "Notice")


@pytest.fixture
def catalogue(dsn: str) -> dict[str, int]:
    return fill_catalogue(dsn)


@pytest.fixture
def notice(catalogue: dict[str, int]) -> int:
    return catalogue["general_notice"]


@pytest.fixture
def strict(config: Config) -> Iterator[WhatsAppService]:
    """A service with every rule of the gate, but for the night."""
    service = WhatsAppService(replace(config, gate_off=frozenset(), quiet_hours=None, sender_rate=500))
    yield service
    service.close()


def known(service: WhatsAppService, campaign_id: int) -> Campaign:
    with service.transaction() as conn:
        return campaigns.known(conn, campaign_id)


def progress(service: WhatsAppService, campaign_id: int) -> Progress:
    with service.transaction() as conn:
        return rows.progress(conn, campaigns.known(conn, campaign_id))


def table(service: WhatsAppService, campaign_id: int) -> list[Recipient]:
    with service.transaction() as conn:
        return rows.rows(conn, campaigns.known(conn, campaign_id), limit=100_000)


def left_out(service: WhatsAppService, campaign_id: int) -> dict[int, str | None]:
    return {row.position: row.problem for row in table(service, campaign_id) if row.problem}


# --- what each row becomes ---


def test_each_row_is_checked_and_the_reason_stands_beside_it(strict: WhatsAppService, notice: int) -> None:
    strict.send(Draft(to="+447700900155", body="Hello"))
    given = Table(
        COLUMNS,
        (
            ("07700 900150", "Asha", "one."),
            ("no number", "Asha", "one."),
            ("07700 900151", "", "one."),
            ("+447700900150", "Asha", "one."),  # the first row's very message
            ("+447700900150", "Asha", "two."),  # another message to the same number
            ("4.47701E+11", "Asha", "one."),
            ("919876543210", "Asha", "one."),  # a spreadsheet has taken its plus away
            ("07700 900152", "A\nsha", "words   with     blanks\tand a tab."),
        ),
    )
    campaign_id = prepared(strict, given, notice)
    assert left_out(strict, campaign_id) == {
        2: "invalid_number",
        3: "variables_missing",
        4: "duplicate_row",
        6: "invalid_number",
    }
    found = {row.position: row for row in table(strict, campaign_id)}
    assert found[7].address == "+919876543210"
    assert found[8].variables == {"1": "A sha", "2": "words with blanks and a tab."}
    assert "row 1" in str(found[4].reason)
    assert "Excel has shortened" in str(found[6].reason)
    forecast = known(strict, campaign_id).forecast
    assert forecast is not None
    assert (forecast["rows"], forecast["reached"], forecast["several"]) == (8, 4, 1)


def test_who_has_asked_us_to_stop_is_left_out(strict: WhatsAppService, notice: int, dsn: str) -> None:
    opt_out(dsn, "+15550101000")
    campaign_id = prepared(strict, people(2), notice)
    assert left_out(strict, campaign_id) == {1: "opted_out"}


def test_what_went_to_the_same_number_today_is_not_sent_twice(
    strict: WhatsAppService, notice: int, work: Callable[[], None]
) -> None:
    first = prepared(strict, people(3), notice)
    set_going(strict, first)
    work_until_idle(strict)
    second = prepared(strict, people(4), notice)
    assert left_out(strict, second) == {1: "duplicate", 2: "duplicate", 3: "duplicate"}


def test_more_than_the_cap_to_one_customer_is_flagged_before_it_is_sent(strict: WhatsAppService, notice: int) -> None:
    given = Table(COLUMNS, tuple(("+447700900150", "Asha", f"notice {n}.") for n in range(12)))
    campaign_id = prepared(strict, given, notice)
    assert left_out(strict, campaign_id) == {11: "too_many", 12: "too_many"}
    set_going(strict, campaign_id)
    work_until_idle(strict)
    assert progress(strict, campaign_id).by_status == {Status.SENDING: 10}


def test_advertising_goes_only_to_those_who_agreed(strict: WhatsAppService, dsn: str) -> None:
    marketing = fill_catalogue(dsn, category="MARKETING")["general_notice"]
    campaign_id = prepared(strict, people(2), marketing)
    assert set(left_out(strict, campaign_id).values()) == {"no_marketing_consent"}


def test_with_consent_required_always_a_campaign_reaches_only_those_who_agreed(
    config: Config, notice: int, simulator: Simulator
) -> None:
    service = WhatsAppService(replace(config, gate_off=frozenset(), quiet_hours=None, consent_required="always"))
    for number in ("+15550101001", "+15550101002"):
        service.record_consent(address=number, kind="opt_in", wording="Ticked the box", recorded_by="anna")
    campaign_id = prepared(service, people(3), notice)
    assert left_out(service, campaign_id) == {1: "no_consent"}
    set_going(service, campaign_id)
    service.record_consent(address="+15550101001", kind="opt_out", wording="By phone", recorded_by="anna")
    work_until_idle(service)
    assert [message.to for message in simulator.messages()] == ["whatsapp:+15550101002"]
    service.close()


def test_the_daily_limit_and_the_price_are_foretold(config: Config, catalogue: dict[str, int]) -> None:
    limited = replace(config, gate_off=frozenset(), quiet_hours=None, daily_customers=3)
    service = WhatsAppService(replace(limited, prices=Config.from_env(ENV | {"PRICES": "utility=0.02"}).prices))
    forecast = known(service, prepared(service, people(5), catalogue["general_notice"])).forecast
    service.close()
    assert forecast is not None
    assert (forecast["begins"], forecast["tomorrow"], forecast["price"]) == (5, 2, "0.125")


ENV = {"DATABASE_URL": "postgresql:///x", "SECRET_KEY": "x" * 20}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "  "}, "name"),
        ({"template_id": 10**9}, "template"),
        ({"mapping": {"to": 3, "fields": MAPPING["fields"]}}, "to"),
        ({"mapping": {"fields": MAPPING["fields"]}}, "to"),
        ({"mapping": {"to": 0, "fields": {"1": {"column": 1}}}}, "field-2"),
        ({"mapping": {"to": 0, "fields": {"1": {"column": 1}, "2": {"column": 9}}}}, "field-2"),
        ({"message_type": "a type!"}, "message_type"),
    ],
)
def test_a_meaning_that_lacks_something_is_refused_by_name(
    changes: dict[str, object], field: str, service: WhatsAppService, notice: int
) -> None:
    campaign_id = service.begin_campaign(people(2), name="Spring", source="a.csv", created_by="anna")
    meaning = {"name": "Spring", "template_id": notice, "message_type": "general", "mapping": MAPPING, "person": "anna"}
    with pytest.raises(InvalidInput) as refused:
        service.map_campaign(campaign_id, **(meaning | changes))
    assert refused.value.field == field


def test_a_template_that_is_not_approved_cannot_be_chosen(service: WhatsAppService, dsn: str) -> None:
    pending = fill_catalogue(dsn, approval="pending")["general_notice"]
    with pytest.raises(InvalidInput, match="approved"):
        prepared(service, people(1), pending)


def test_fields_may_be_filled_with_words_for_all(
    service: WhatsAppService, notice: int, work: Callable[[], None]
) -> None:
    campaign_id = service.begin_campaign(people(2), name="Spring", source="a.csv", created_by="anna")
    mapping = {"to": 0, "fields": {"1": {"column": 1}, "2": {"text": "we are closed on  Monday."}}}
    service.map_campaign(
        campaign_id, name="Spring", template_id=notice, message_type="general", mapping=mapping, person="anna"
    )
    set_going(service, campaign_id)
    work()
    bodies = {message.body for message in service.page(MessageFilter()).messages}
    assert bodies == {
        f"Hello Client {n}, a notice from your insurance office: we are closed on Monday. Please reply if you have a question."
        for n in (1000, 1001)
    }


def test_a_new_table_supersedes_the_one_before(service: WhatsAppService, notice: int, work: Callable[[], None]) -> None:
    campaign_id = prepared(service, people(5), notice)
    service.replace_campaign_table(campaign_id, people(2, first=50), source="b.csv", person="anna")
    with pytest.raises(InvalidInput, match="Check the rows first"):
        service.start_campaign(campaign_id, person="anna")
    assert known(service, campaign_id).mapping == MAPPING
    service.check_campaign(campaign_id)
    set_going(service, campaign_id)
    work()
    assert {message.recipient for message in service.page(MessageFilter()).messages} == {"+15550101050", "+15550101051"}


def test_those_whom_the_portal_chooses_keep_their_client_and_policy(
    service: WhatsAppService, catalogue: dict[str, int], dsn: str, work: Callable[[], None]
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO clients (client_id, name, phone, email, address) OVERRIDING SYSTEM VALUE
            VALUES (7, 'Asha', '+447700900150', '', '')
            """
        )
    found = [Addressee(to="+447700900150", client_id=7, fields={"Client name": "Asha", "Notice": "one."})]
    campaign_id = service.begin_campaign_with(
        found, name="Due", source="due soon", wanted={"days": "30"}, created_by="anna"
    )
    service.map_campaign(
        campaign_id,
        name="Due",
        template_id=catalogue["general_notice"],
        message_type="general",
        mapping=MAPPING,
        person="anna",
    )
    set_going(service, campaign_id)
    work()
    (message,) = service.page(MessageFilter(client_id="7")).messages
    assert message.campaign_id == campaign_id
    with pytest.raises(InvalidInput, match="Nobody fits"):
        service.begin_campaign_with([], name="Due", source="none", wanted={}, created_by="anna")


# --- what is foretold is what happens ---


@pytest.mark.parametrize("seed", range(6))
def test_what_the_check_foretells_is_what_happens(
    seed: int, config: Config, catalogue: dict[str, int], dsn: str
) -> None:
    chance = random.Random(seed)
    service = WhatsAppService(replace(config, gate_off=frozenset(), quiet_hours=None, frequency_cap=3, sender_rate=500))
    numbers = [f"+1555010{n:04d}" for n in range(2000, 2030)]
    for number in numbers:
        if chance.random() < 0.15:
            opt_out(dsn, number)
        for _ in range(chance.choice((0, 0, 0, 1, 2, 3))):
            words = chance.choice(["one.", "other."])  # "one." may be the very message of a row
            service.send(
                Draft(
                    to=number,
                    path=chance.choice(PATHS),
                    body=filled(NOTICE.body, {"1": "Asha", "2": words}),
                    template=Template(sid=NOTICE.sid, name="general_notice", variables={"1": "Asha", "2": words}),
                )
            )
    texts = ["one.", "two.", "", "three."]
    given = [
        (chance.choice([*numbers, "no number", ""]), chance.choice(["Asha", "Ben", ""]), chance.choice(texts))
        for _ in range(60)
    ]
    campaign_id = prepared(service, Table(COLUMNS, tuple(given)), catalogue["general_notice"])
    forecast = known(service, campaign_id).forecast
    set_going(service, campaign_id)
    work_until_idle(service)
    reached = progress(service, campaign_id)
    service.close()
    assert forecast is not None
    assert reached.by_status.get(Status.SENDING, 0) == reached.messages == forecast["reached"]
    assert reached.left_out == sum(forecast["left_out"].values()) == 60 - forecast["reached"]


PATHS = (Path.SINGLE, Path.REPLY, Path.RENEWAL)


# --- who may let it go ---


def test_a_small_campaign_starts_at_once_and_a_large_one_waits_for_somebody_else(
    service: WhatsAppService, notice: int
) -> None:
    small, large = prepared(service, people(49), notice), prepared(service, people(50, first=100), notice)
    assert service.start_campaign(small, person="anna").state == "running"
    assert service.start_campaign(large, person="anna").state == "waiting"
    with pytest.raises(NotAllowed, match="yourself"):
        service.release_campaign(large, person="anna")
    assert service.release_campaign(large, person="ben").released_by == "ben"
    with pytest.raises(InvalidInput, match="does not wait"):
        service.release_campaign(large, person="ben")


def test_neither_who_began_nor_who_changed_nor_who_asked_may_release(service: WhatsAppService, notice: int) -> None:
    campaign_id = prepared(service, people(60), notice, person="anna")
    service.map_campaign(
        campaign_id, name="Spring", template_id=notice, message_type="general", mapping=MAPPING, person="cara"
    )
    service.start_campaign(campaign_id, person="dora")
    for person in ("anna", "cara", "dora"):
        with pytest.raises(NotAllowed):
            service.release_campaign(campaign_id, person=person)
    assert service.release_campaign(campaign_id, person="ben").state == "running"


def test_who_had_a_hand_in_it_long_ago_may_not_release_it_either(service: WhatsAppService, notice: int) -> None:
    """Cara changed it before Emil did, and Dora asked before Fay did: each has prepared it, whatever came after."""
    campaign_id = prepared(service, people(60), notice, person="anna")
    for person in ("cara", "emil"):
        service.replace_campaign_table(campaign_id, people(61), source="more.csv", person=person)
    service.map_campaign(
        campaign_id, name="Spring", template_id=notice, message_type="general", mapping=MAPPING, person="emil"
    )
    service.check_campaign(campaign_id)
    service.start_campaign(campaign_id, person="dora")
    service.take_campaign_back(campaign_id, person="gero")
    service.check_campaign(campaign_id)
    service.start_campaign(campaign_id, person="fay")
    assert service.campaign(campaign_id).campaign.prepared_by == ["anna", "cara", "emil", "dora", "fay"]
    with service.transaction() as conn:  # as a program from before that column leaves it
        conn.execute("UPDATE whatsapp_logs.campaigns SET prepared_by = '{cara,dora}' WHERE id = %s", [campaign_id])
    for person in ("anna", "cara", "emil", "dora", "fay"):
        with pytest.raises(NotAllowed):
            service.release_campaign(campaign_id, person=person)
    assert service.release_campaign(campaign_id, person="gero").state == "running"


def test_many_small_ones_of_one_person_need_a_release_too(service: WhatsAppService, notice: int) -> None:
    first, second = prepared(service, people(30), notice), prepared(service, people(30, first=100), notice)
    assert service.start_campaign(first, person="anna").state == "running"
    assert service.start_campaign(second, person="anna").state == "waiting"
    third = prepared(service, people(30, first=200), notice, person="ben")
    assert service.start_campaign(third, person="ben").state == "running"


def test_what_waits_for_its_release_cannot_be_changed_until_it_is_taken_back(
    service: WhatsAppService, notice: int
) -> None:
    campaign_id = prepared(service, people(60), notice)
    service.start_campaign(campaign_id, person="anna")
    with pytest.raises(InvalidInput, match="no draft"):
        service.replace_campaign_table(campaign_id, people(3), source="b.csv", person="anna")
    service.take_campaign_back(campaign_id, person="anna")
    service.replace_campaign_table(campaign_id, people(3), source="b.csv", person="anna")
    with pytest.raises(InvalidInput, match="does not wait"):
        service.release_campaign(campaign_id, person="ben")


def test_fault_19_the_table_already_sent_today_asks(
    service: WhatsAppService, notice: int, work: Callable[[], None]
) -> None:
    first = prepared(service, people(3), notice)
    set_going(service, first)
    work()
    second = prepared(service, people(3), notice, name="Again")
    with pytest.raises(campaigns.SentBefore) as asked:
        service.start_campaign(second, person="anna")
    assert asked.value.earlier.id == first
    assert service.start_campaign(second, person="anna", again=True).state == "running"


def test_pressing_start_twice_sends_once(service: WhatsAppService, notice: int, work: Callable[[], None]) -> None:
    campaign_id = prepared(service, people(3), notice)
    service.start_campaign(campaign_id, person="anna")
    with pytest.raises(InvalidInput, match="no draft"):
        service.start_campaign(campaign_id, person="anna")
    work()
    assert service.count(MessageFilter(campaign_id=str(campaign_id))) == 3


def test_a_test_goes_to_ones_own_number_again_and_again(
    strict: WhatsAppService, simulator: Simulator, notice: int
) -> None:
    campaign_id = prepared(strict, people(3), notice)
    for _ in range(2):
        strict.test_campaign(campaign_id, to="07700 900199", person="anna")
    work_until_idle(strict)
    assert [message.to for message in simulator.messages()] == ["whatsapp:+447700900199"] * 2
    assert known(strict, campaign_id).test_message_id is not None
    assert strict.count(MessageFilter(campaign_id=str(campaign_id))) == 0


# --- trying again ---


def test_the_failed_ones_are_tried_again_as_a_linked_campaign(
    service: WhatsAppService, notice: int, dsn: str, work: Callable[[], None]
) -> None:
    campaign_id = prepared(service, people(6), notice)
    set_going(service, campaign_id)
    work()
    fail(dsn, "+15550101000", "63018")  # may work later
    fail(dsn, "+15550101001", "63003")  # after a fix
    fail(dsn, "+15550101002", "21610")  # never
    with service.transaction() as conn:
        found = {
            one.code: (one.count, one.retry) for one in campaigns.failures(conn, campaigns.known(conn, campaign_id))
        }
    assert found == {"63018": (1, "later"), "63003": (1, "after_fix"), "21610": (1, "no")}
    again = service.retry_campaign(campaign_id, kinds=frozenset({"later"}), person="anna")
    assert service.retry_campaign(campaign_id, kinds=frozenset({"later"}), person="anna") == again
    assert known(service, again).retry_of == campaign_id
    assert [row.address for row in table(service, again)] == ["+15550101000"]
    set_going(service, again)
    work()
    (message,) = service.page(MessageFilter(campaign_id=str(again))).messages
    assert service.message(message.resend_of or 0).campaign_id == campaign_id
    with pytest.raises(InvalidInput, match="Nobody is left"):
        service.retry_campaign(campaign_id, kinds=frozenset({"later"}), person="anna")
    more = service.retry_campaign(campaign_id, kinds=frozenset({"later", "after_fix"}), person="anna")
    assert [row.address for row in table(service, more)] == ["+15550101001"]


def test_what_may_have_arrived_is_never_tried_again(
    service: WhatsAppService, notice: int, simulator: Simulator, work: Callable[[], None]
) -> None:
    campaign_id = prepared(service, people(1), notice)
    simulator.settings.create_error = "500_after_accept"
    set_going(service, campaign_id)
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.senders SET resume_at = NULL")
    work()
    with pytest.raises(InvalidInput, match="Nobody is left"):
        service.retry_campaign(campaign_id, kinds=frozenset({"later", "after_fix"}), person="anna")


# --- privacy, and what there is not ---


def test_a_number_is_erased_from_every_table_and_the_others_stay(
    service: WhatsAppService, notice: int, work: Callable[[], None]
) -> None:
    sent, draft = prepared(service, people(3), notice), prepared(service, people(3, first=1), notice)
    set_going(service, sent)
    work()
    with service.transaction() as conn:
        assert rows.erase_rows(conn, ["+15550101001"]) == 2
    for campaign_id, position in ((sent, 2), (draft, 1)):
        found = {row.position: row for row in table(service, campaign_id)}
        assert (found[position].cells, found[position].address, found[position].variables) == ([], "erased", None)
        assert found[3].cells
    service.check_campaign(draft)
    assert left_out(service, draft) == {1: "invalid_number"}


def test_tables_are_erased_ninety_days_after_the_end(
    service: WhatsAppService, notice: int, work: Callable[[], None]
) -> None:
    done, running = prepared(service, people(2), notice), prepared(service, people(2, first=9), notice)
    set_going(service, done)
    work()
    set_going(service, running)
    with service.transaction() as conn:
        assert rows.erase_tables(conn, before=datetime.now(UTC) - timedelta(hours=1)) == 0
        assert rows.erase_tables(conn, before=datetime.now(UTC) + timedelta(hours=1)) == 2
        assert rows.erase_tables(conn, before=datetime.now(UTC) + timedelta(hours=1)) == 0
    work()
    assert progress(service, running).messages == 2


def test_there_is_no_such_campaign(service: WhatsAppService) -> None:
    for ask in (service.check_campaign, lambda id_: service.start_campaign(id_, person="anna")):
        with pytest.raises(MessageNotFound):
            ask(77)


def test_at_night_it_waits_for_the_morning_of_the_recipient(
    config: Config, catalogue: dict[str, int], simulator: Simulator
) -> None:
    always_night = (time(0, 1), time(0, 0))
    service = WhatsAppService(replace(config, gate_off=frozenset(), quiet_hours=always_night))
    campaign_id = prepared(service, people(3), catalogue["general_notice"])
    forecast = known(service, campaign_id).forecast
    set_going(service, campaign_id)
    work_until_idle(service)
    waiting = progress(service, campaign_id)
    service.close()
    assert forecast is not None
    assert forecast["waits"] == {"quiet_hours": 3}
    assert (waiting.waiting, waiting.handed_over) == (3, 0)
    assert waiting.next_due_at is not None
    assert waiting.next_due_at > datetime.now(UTC)
    assert "night" in str(waiting.wait_reason)
    assert simulator.messages() == []


def opt_out(dsn: str, address: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.consent_events (address, kind, source, recorded_by, happened_at)
            VALUES (%s, 'opt_out', 'stop_word', 'the customer', now())
            """,
            [address],
        )


def fail(dsn: str, address: str, code: str) -> None:
    report = '[{"message_id": %d, "provider_status": "failed", "status": "failed", "error_code": "%s", "error_message": "no"}]'
    with psycopg.connect(dsn) as conn:
        row = conn.execute("SELECT id FROM whatsapp_logs.messages WHERE recipient = %s", [address]).fetchone()
        assert row
        conn.execute("SELECT whatsapp_logs.record(%s::jsonb, 'callback')", [report % (row[0], code)])


def test_counts_add_up(service: WhatsAppService, notice: int, work: Callable[[], None], dsn: str) -> None:
    campaign_id = prepared(service, people(5), notice)
    set_going(service, campaign_id)
    work()
    fail(dsn, "+15550101000", "63003")
    wanted = MessageFilter(campaign_id=str(campaign_id))
    counted = Counter(message.status for message in service.page(wanted).messages)
    assert counted == progress(service, campaign_id).by_status
    assert service.count(wanted.only(Status.FAILED)) == 1
    assert MessageFilter.from_query({"campaign": [str(campaign_id)]}, zone=wanted.zone) == wanted
    assert ("campaign", str(campaign_id)) in wanted.to_query()


def test_of_two_campaigns_that_one_person_starts_at_once_the_second_counts_the_first(
    config: Config, notice: int, dsn: str
) -> None:
    """Each by itself is small; together they need somebody else, however close to each other they are begun."""
    service = WhatsAppService(replace(config, campaign_release_from=5))
    first = prepared(service, people(3), notice)
    second = prepared(service, people(3, first=100), notice, name="Spring too")
    with service.transaction() as conn, ThreadPoolExecutor(1) as pool:
        assert campaigns.start(conn, first, person="anna", config=service.config).state == "running"
        begun = pool.submit(service.start_campaign, second, person="anna")
        while not begun.done() and not _somebody_waits(dsn):
            wait([begun], timeout=0.01)
        assert not begun.done()
        conn.commit()
        assert begun.result(timeout=20).state == "waiting"
    service.close()


def _somebody_waits(dsn: str) -> bool:
    ours = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    with psycopg.connect(dsn) as conn:
        waiting = conn.execute(f"SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND {ours}".encode())
        return waiting.fetchone() is not None


# --- whose rows they are ---


@pytest.fixture
def office(dsn: str) -> Office:
    """Records of three clients that the portal has too."""
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "INSERT INTO clients (name, phone, address) SELECT 'No ' || n, 'unused' || n, 'Road' FROM generate_series(1, 3) AS n"
        )
    return Office()


def test_rows_of_an_uploaded_table_are_linked_to_whom_the_numbers_belong(
    config: Config, notice: int, office: Office
) -> None:
    service = WhatsAppService(config, records=office)
    given = Table(
        COLUMNS,
        (
            ("07700 900601", "Asha", "one."),
            ("+447700900602", "Bruno", "two."),
            ("+447700900603", "Nobody", "three."),
            ("no number", "Nobody", "four."),
        ),
    )
    campaign_id = prepared(service, given, notice)
    assert [row.client_id for row in table(service, campaign_id)] == ["1", "2", None, None]
    office.numbers = {BRUNO: "3"}  # Asha has another number by now, and Bruno's is a third one's
    service.check_campaign(campaign_id)
    assert [row.client_id for row in table(service, campaign_id)] == [None, "3", None, None]
    office.numbers = {ASHA: "1", BRUNO: "2"}
    service.check_campaign(campaign_id)
    set_going(service, campaign_id)
    work_until_idle(service)
    assert [(one.recipient, one.client_id) for one in service.page(MessageFilter(client_id="1")).messages] == [
        (ASHA, "1")
    ]
    assert service.page(MessageFilter(client_id="2")).messages[0].recipient == BRUNO
    service.close()


def test_rows_that_the_portal_has_chosen_keep_the_client_it_named(config: Config, notice: int, office: Office) -> None:
    service = WhatsAppService(config, records=office)
    found = [Addressee(to=ASHA, client_id=3, fields={"Client name": "Asha", "Notice": "one."})]
    campaign_id = service.begin_campaign_with(found, name="Due", source="due", wanted={}, created_by="anna")
    service.map_campaign(
        campaign_id, name="Due", template_id=notice, message_type="general", mapping=MAPPING, person="anna"
    )
    assert [row.client_id for row in table(service, campaign_id)] == ["3"]
    service.close()


@pytest.mark.parametrize("state", ["uploaded", "checked", "waiting", "paused"])
def test_erasing_a_client_reaches_tables_that_are_not_sent_yet_and_they_are_left_out(
    state: str, config: Config, notice: int, office: Office, simulator: Simulator, dsn: str
) -> None:
    service = WhatsAppService(replace(config, campaign_release_from=1), records=office)
    rows_ = (("07700 900601", "Asha Rao", "one."), ("07700 900602", "Bruno", "two."), ("07700 900603", "Cleo", "3."))
    campaign_id = service.begin_campaign(Table(COLUMNS, rows_), name="S", source="a.csv", created_by="anna")
    if state != "uploaded":
        service.map_campaign(
            campaign_id, name="S", template_id=notice, message_type="general", mapping=MAPPING, person="anna"
        )
    if state in ("waiting", "paused"):
        service.start_campaign(campaign_id, person="anna")
    if state == "paused":
        service.release_campaign(campaign_id, person="ben")
        service.pause_campaign(campaign_id, person="ben")
    told = service.rehearse_erasure("1", number="07700 900601")
    assert (told.erased, told.rows, told.rows_kept) == (0, 1, 0)
    done = service.erase_client("1", reason="Request", person="anna", number="07700 900601")
    assert (done.rows, service.rehearse_erasure("1", number="07700 900601").rows) == (1, 0)
    assert service.erasures()[0].campaign_rows == 1
    with psycopg.connect(dsn) as conn:
        kept = conn.execute("SELECT string_agg(r::text, ' ') FROM whatsapp_logs.campaign_recipients AS r").fetchone()
    assert kept is not None
    assert not any(word in kept[0] for word in ("900601", "Asha"))
    assert all(word in kept[0] for word in ("900602", "900603", "Bruno"))
    if state in ("uploaded", "checked"):
        service.map_campaign(
            campaign_id, name="S", template_id=notice, message_type="general", mapping=MAPPING, person="anna"
        )
        assert (known(service, campaign_id).forecast or {})["left_out"] == {"erased": 1}
        service.start_campaign(campaign_id, person="anna")
    if state == "paused":
        service.resume_campaign(campaign_id, person="ben")
    else:
        service.release_campaign(campaign_id, person="ben")
    work_until_idle(service)
    assert {message.to for message in simulator.messages()} == {f"whatsapp:{BRUNO}", "whatsapp:+447700900603"}
    assert known(service, campaign_id).state == "done"
    service.close()


def test_rows_whose_message_is_on_its_way_or_that_are_held_stay_and_are_told(
    config: Config, notice: int, office: Office
) -> None:
    service = WhatsAppService(config, records=office)
    given = Table(COLUMNS, ((ASHA, "Asha", "one."), (BRUNO, "Bruno", "two.")))
    sent, draft = prepared(service, given, notice), prepared(service, given, notice)
    set_going(service, sent)
    with service.transaction() as conn:
        campaign_run.queue_rows(conn, campaigns.known(conn, sent), config=config, limit=10)
    told = service.rehearse_erasure("1", number=ASHA)
    assert (told.under_way, told.rows, told.rows_kept) == (1, 1, 1)
    service.place_hold(client_id="1", policy_id=None, reason="Claim", placed_by="anna")
    assert service.erase_client("1", reason="Request", person="anna", number=ASHA).rows == 0
    assert table(service, draft)[0].client_id == "1"
    service.close()


def test_who_shares_a_number_with_somebody_else_does_not_take_their_row_along(
    config: Config, notice: int, office: Office
) -> None:
    service = WhatsAppService(config, records=office)
    campaign_id = prepared(service, Table(COLUMNS, ((BRUNO, "Bruno", "two."),)), notice)
    assert service.erase_client("1", reason="Request", person="anna", number=BRUNO).rows == 0
    assert table(service, campaign_id)[0].cells[1] == "Bruno"
    service.close()


# --- a large table is checked by the worker ---


def large(count: int = 2300) -> Table:
    """So many people; the very same row stands in both of the check's first two steps, and one number is none."""
    given = list(people(count).rows)
    given[1500] = given[3]
    given[1700] = ("no number", "Asha", "one.")
    return Table(COLUMNS, tuple(given))


def asked(service: WhatsAppService, notice: int) -> int:
    """A large campaign whose check has been asked for."""
    campaign_id = service.begin_campaign(large(), name="Spring", source="a.csv", created_by="anna")
    meaning = {"name": "Spring", "template_id": notice, "message_type": "general", "mapping": MAPPING, "person": "anna"}
    assert service.map_campaign(campaign_id, **meaning) is False
    return campaign_id


def test_the_worker_finds_of_a_large_table_what_one_look_finds(
    strict: WhatsAppService, notice: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign_id = asked(strict, notice)
    assert known(strict, campaign_id).forecast is None
    for press in (strict.start_campaign, partial(strict.test_campaign, to="+447700900100")):
        with pytest.raises(InvalidInput, match="still being checked"):
            press(campaign_id, person="anna")
    work_until_idle(strict)
    in_steps, left = known(strict, campaign_id).forecast, left_out(strict, campaign_id)
    assert left == {1501: "duplicate_row", 1701: "invalid_number"}
    monkeypatch.setattr(campaigns, "CHECKED_AT_ONCE", 10_000)
    assert strict.check_campaign(campaign_id) is True
    assert (known(strict, campaign_id).forecast, left_out(strict, campaign_id)) == (in_steps, left)
    assert known(strict, campaign_id).check_asked_at is None


def test_how_far_a_check_is_can_be_seen_while_it_runs(strict: WhatsAppService, notice: int) -> None:
    campaign_id, seen = asked(strict, notice), []

    @contextmanager
    def watched() -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        with strict.transaction() as conn:
            yield conn
        seen.append(known(strict, campaign_id).checked_up_to)

    at = known(strict, campaign_id).check_asked_at
    assert at is not None
    campaigns.check_in_steps(watched, campaign_id, asked_at=at, config=strict.config, owners=None)
    assert seen == [1000, 2000, 2300, 2300]


def test_a_check_is_given_up_when_the_table_has_changed_since(strict: WhatsAppService, notice: int) -> None:
    campaign_id = asked(strict, notice)
    strict.replace_campaign_table(campaign_id, people(1200), source="b.csv", person="anna")
    work_until_idle(strict)
    assert (known(strict, campaign_id).forecast, known(strict, campaign_id).check_asked_at) == (None, None)
    assert strict.check_campaign(campaign_id) is False
    work_until_idle(strict)
    assert (known(strict, campaign_id).forecast or {})["reached"] == 1200


def test_the_page_says_how_far_a_check_is_and_shows_what_it_found(
    service: WhatsAppService, notice: int, signed_in: Callable[[str], Person], work: Callable[[], None]
) -> None:
    campaign_id, agent = asked(service, notice), signed_in("agent")
    page = f"/whatsapp_logs/campaigns/{campaign_id}"
    shown = agent.get(page).text
    assert "Checking the rows: <b>0 of 2" in shown
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in shown
    assert "Look again" in shown
    assert "What would happen" not in shown
    poll = re.search(r'hx-get="([^"]+checking=1)"', shown)
    assert poll is not None
    address = poll[1].replace("&amp;", "&")
    assert agent.get(address, headers={"HX-Request": "true"}).status_code == 204
    work()
    assert agent.get(address, headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"
    assert "What would happen" in agent.get(page).text
