"""A day compared with Twilio's own list, in both directions; what one side did not know is repaired and written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.service_fixtures import work_until_idle
from tests.test_refresh import send_many
from whatsapp_logs import Config, Draft, Message, MessageFilter, Status, WhatsAppService, housekeeping, restore
from whatsapp_logs.errors import ProviderAway
from whatsapp_logs.message import ProviderMessage, Source, StatusReport
from whatsapp_logs.store import reconciliations
from whatsapp_logs.store.reconciliations import Reconciliation
from whatsapp_logs.twilio.gateway import TwilioGateway
from whatsapp_logs.twilio.simulator import Simulator

Work = Callable[[], None]
CUSTOMER = "+447700900222"


def today() -> date:
    return datetime.now(UTC).date()


def reconcile(service: WhatsAppService, day: date | None = None) -> Reconciliation:
    run = service.reconcile_day(day or today(), started_by="asha")
    service.run_reconciliation(run.id)
    return service.reconciliation(run.id)


def differences(service: WhatsAppService, run: Reconciliation) -> list[tuple[str, int | None]]:
    return [(one.kind, one.message_id) for one in service.differences(run.id)]


def send_without_us(simulator: Simulator, service: WhatsAppService, body: str = "Sent by another program") -> str:
    """Another program sends with the same account and number; returns the SID."""
    client = service.gateway._client()  # type: ignore[attr-defined]  # Twilio's own library, as anybody has it
    sent = client.messages.create(
        to=f"whatsapp:{CUSTOMER}",
        from_=service.config.twilio_whatsapp_from,
        content_sid=service.config.templates["general_notice"],
        content_variables='{"1": "Asha", "2": "' + body + '"}',
    )
    simulator.wait_idle()
    return str(sent.sid)


def all_messages(service: WhatsAppService) -> list[Message]:
    pages = [service.page(MessageFilter(direction=direction), limit=1000) for direction in ("outbound", "inbound")]
    return [message for page in pages for message in page.messages]


def assert_equal_to_the_ledger(service: WhatsAppService, simulator: Simulator) -> None:
    theirs = sorted((one.sid, Status.from_provider(one.status)) for one in simulator.messages())
    assert sorted((str(one.provider_id), one.status) for one in all_messages(service)) == theirs


def test_a_day_on_which_both_sides_agree_says_so(service: WhatsAppService, simulator: Simulator, work: Work) -> None:
    send_many(service, work, simulator, 3)
    service.run_refresh(service.refresh_all(started_by=None).id)
    run = reconcile(service)
    assert (run.theirs, run.ours, run.equal) == (3, 3, 3)
    assert run.is_clean
    assert service.differences(run.id) == []


def test_a_message_only_twilio_knows_is_imported_and_marked(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    [ours] = send_many(service, work, simulator, 1)
    service.refresh_message(service.message(ours))
    sid = send_without_us(simulator, service)
    run = reconcile(service)
    assert (run.theirs, run.ours, run.equal, run.imported) == (2, 1, 1, 1)
    found = service.message_by_sid(sid)
    assert (found.direction, found.recipient, found.status) == ("outbound", CUSTOMER, Status.READ)
    assert "Sent by another program" in (found.body or "")
    assert {event.source for event in service.timeline(found.id)} == {Source.RECONCILE}
    assert service.found_at_provider(found.id) is not None
    assert service.found_at_provider(ours) is None
    again = reconcile(service)
    assert (again.theirs, again.ours, again.equal, again.imported) == (2, 2, 2, 0)


def test_a_customers_message_whose_webhook_was_lost_is_imported_as_one_received(
    service: WhatsAppService, simulator: Simulator
) -> None:
    sid = simulator.receive(CUSTOMER, "Is my policy renewed?")
    assert reconcile(service).imported == 1
    found = service.message_by_sid(sid)
    assert (found.direction, found.sender, found.status) == ("inbound", CUSTOMER, Status.RECEIVED)
    assert found.body == "Is my policy renewed?"


def test_a_report_that_was_parked_moves_to_the_imported_message(service: WhatsAppService, simulator: Simulator) -> None:
    sid = send_without_us(simulator, service)
    service.record([StatusReport(provider_status="delivered", provider_id=sid)], source=Source.CALLBACK)
    assert len(service.unmatched()) == 1
    reconcile(service)
    assert service.unmatched() == []
    assert Source.CALLBACK in {event.source for event in service.timeline(service.message_by_sid(sid).id)}


def test_a_message_the_list_does_not_show_is_asked_for_by_sid_before_anything_is_said(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    ids = send_many(service, work, simulator, 2)
    simulator.settings.list_lag_s = 3600
    run = reconcile(service)
    assert (run.theirs, run.ours, run.unknown_to_provider) == (2, 2, 0)
    assert {service.message(message_id).status for message_id in ids} == {Status.READ}


def test_a_message_unknown_to_twilio_is_noted_and_keeps_its_status(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    [message_id] = send_many(service, work, simulator, 1)
    before = service.message(message_id)
    simulator.ledger.delete(str(before.provider_id))
    run = reconcile(service)
    assert (run.theirs, run.ours, run.equal, run.unknown_to_provider) == (0, 1, 0, 1)
    assert differences(service, run) == [("unknown_to_provider", message_id)]
    assert service.message(message_id).status is before.status
    assert "not_found" in {event.provider_status for event in service.timeline(message_id)}


def test_what_was_brought_in_from_elsewhere_is_not_asked_for(service: WhatsAppService) -> None:
    imported = service.log_message(message_sid="SM" + "f" * 32, to=CUSTOMER)
    service.record([StatusReport(provider_status="read", provider_id=imported.provider_id)], source=Source.IMPORT)
    assert reconcile(service).is_clean
    assert "not_found" not in {event.provider_status for event in service.timeline(imported.id)}


def test_a_status_and_a_price_that_differ_are_recorded(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    [lost, paid] = send_many(service, work, simulator, 2)
    service.refresh_message(service.message(paid))
    simulator.ledger.change(str(service.message(paid).provider_id), price="-0.09900")
    run = reconcile(service)
    assert (run.theirs, run.ours, run.equal, run.status_differed, run.price_differed) == (2, 2, 0, 1, 1)
    assert differences(service, run) == [("status", lost), ("price", paid)]
    assert service.message(lost).status is Status.READ
    assert service.message(paid).price == Decimal("-0.099")
    assert reconcile(service).is_clean


def test_a_price_that_only_asking_tells_is_learnt_and_is_no_difference(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    [message_id] = send_many(service, work, simulator, 1)
    sid = service.message(message_id).provider_id
    service.record(
        [StatusReport(provider_status=word, provider_id=sid) for word in ("sent", "delivered", "read")],
        source=Source.CALLBACK,
    )
    run = reconcile(service)
    assert (run.equal, run.price_differed, run.prices_learnt) == (1, 0, 1)
    assert service.message(message_id).price is not None


def test_a_stranger_that_may_be_a_message_with_a_lost_answer_finds_that_message(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    simulator.settings.create_error, simulator.settings.drop_rate = "500_after_accept", 1.0
    [message_id] = send_many(service, work, simulator, 1)
    assert service.message(message_id).is_unconfirmed
    run = reconcile(service)
    assert (run.theirs, run.ours, run.imported, run.attached) == (1, 1, 0, 1)
    assert service.message(message_id).status is Status.READ
    assert len(all_messages(service)) == 1


def test_a_message_that_is_just_being_handed_over_is_not_taken_for_a_stranger(
    service: WhatsAppService, simulator: Simulator, work: Work, dsn: str
) -> None:
    send_many(service, work, simulator, 1)
    with psycopg.connect(dsn) as conn:  # as if the answer of the create call were still under way
        conn.execute("ALTER TABLE whatsapp_logs.status_events DISABLE TRIGGER USER")
        conn.execute("DELETE FROM whatsapp_logs.status_events WHERE provider_id IS NOT NULL")
        conn.execute("ALTER TABLE whatsapp_logs.status_events ENABLE TRIGGER USER")
        conn.execute("UPDATE whatsapp_logs.messages SET provider_id = NULL, status = 'queued'")
    run = reconcile(service)
    assert (run.imported, [kind for kind, _ in differences(service, run)]) == (0, ["held_back"])
    assert len(all_messages(service)) == 1


def test_a_message_that_is_proved_not_to_be_at_twilio_holds_no_stranger_back(
    service: WhatsAppService, simulator: Simulator
) -> None:
    waiting = queue_one(service, CUSTOMER)
    simulator.settings.create_error = "429"
    service.deliver([waiting])
    simulator.settings.create_error = None
    send_without_us(simulator, service)
    assert reconcile(service).imported == 1
    assert service.message(waiting).provider_id is None


def test_text_messages_and_other_numbers_of_the_account_are_not_this_logs(
    service: WhatsAppService, simulator: Simulator
) -> None:
    for changes in ({"from_": "whatsapp:+15550100177"}, {"from_": "+15550100100", "to": CUSTOMER}):
        simulator.ledger.change(send_without_us(simulator, service), **changes)
    run = reconcile(service)
    assert (run.theirs, run.imported, run.other_senders) == (0, 0, 1)


def test_a_busy_twilio_pauses_the_run_with_its_reason_and_it_goes_on_later(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    send_many(service, work, simulator, 1)
    send_without_us(simulator, service)
    simulator.settings.read_error = "429"
    run = reconcile(service)
    assert not run.is_finished
    assert "429" in (run.problem or "")
    assert run.retry_at is not None
    simulator.settings.read_error = None
    with service.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.reconciliations SET retry_at = now()")
    housekeeping.keep_watch(service)
    work()
    done = service.reconciliation(run.id)
    assert (done.theirs, done.ours, done.imported, done.problem) == (2, 1, 1, None)


class FetchAway(TwilioGateway):
    """Twilio's list answers, its messages one by one do not."""

    def fetch(self, provider_id: str) -> ProviderMessage:
        raise ProviderAway("Twilio is busy (429). Try again in a few minutes.")


def test_a_resumed_run_counts_what_its_first_attempt_imported(
    service: WhatsAppService, simulator: Simulator, work: Work
) -> None:
    [_, unlisted] = send_many(service, work, simulator, 2)
    simulator.ledger.change(str(service.message(unlisted).provider_id), sent_at=None)
    send_without_us(simulator, service)
    halting = WhatsAppService(service.config, gateway=FetchAway(service.config))
    run = reconcile(halting)
    halting.close()
    assert run.problem is not None
    assert len(all_messages(service)) == 3
    run = reconcile(service)  # joins the paused one
    assert (run.theirs, run.ours, run.imported, run.status_differed, run.equal) == (3, 2, 1, 2, 0)
    assert len(service.differences(run.id)) == 3


def test_asking_twice_joins_the_run_under_way_and_two_workers_do_not_do_it_twice(service: WhatsAppService) -> None:
    first = service.reconcile_day(today(), started_by="asha")
    assert service.reconcile_day(today(), started_by="bela").id == first.id
    with service.transaction() as conn:
        assert reconciliations.take_over(conn, first.id, silent_s=60) is not None
    with service.transaction() as conn:
        assert reconciliations.take_over(conn, first.id, silent_s=60) is None


def test_the_clock_reconciles_yesterday_once_and_catches_up_after_an_outage(
    service: WhatsAppService, work: Work
) -> None:
    from whatsapp_logs import reconcile as verb

    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def tick(now: datetime) -> list[date]:
        with service.transaction() as conn:
            verb.start_due(conn, now=now)
            conn.execute("UPDATE whatsapp_logs.reconciliations SET started_at = %s WHERE started_at > %s", [now, now])
            conn.execute("UPDATE whatsapp_logs.reconciliations SET finished_at = %s", [now])
        return [run.day for run in service.reconciliations()]

    first = date(2026, 11, 20)
    assert tick(noon) == [first]
    by_hand = service.reconcile_day(
        date(2026, 11, 21), started_by="asha"
    )  # while the day goes on: it counts for nothing
    with service.transaction() as conn:
        done = {"id": by_hand.id, "now": noon}
        conn.execute(
            "UPDATE whatsapp_logs.reconciliations SET started_at = %(now)s, finished_at = %(now)s WHERE id = %(id)s",
            done,
        )
    tick(noon + timedelta(hours=14, minutes=59))
    assert service.reconciliations()[0].id == by_hand.id, "Twilio's list lags: not before three o'clock"
    tick(noon + timedelta(hours=15))
    assert service.reconciliations()[0].id != by_hand.id
    assert tick(noon + timedelta(days=3)) == [date(2026, 11, day) for day in (23, 22, 21, 20)]


@pytest.fixture
def backup(dsn: str, postgres: str, config: Config) -> Iterator[Callable[[], WhatsAppService]]:
    """`restored = backup()` copies the database as it is now; `restored()` is a service on the copy."""
    opened: list[WhatsAppService] = []
    name = f"{conninfo_to_dict(dsn)['dbname']}_restored"

    def copy() -> Callable[[], WhatsAppService]:
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {conninfo_to_dict(dsn)['dbname']}".encode())

        def restored() -> WhatsAppService:
            opened.append(WhatsAppService(replace(config, database_url=make_conninfo(dsn, dbname=name))))
            return opened[-1]

        return restored

    yield copy  # type: ignore[misc]
    for service in opened:
        service.close()
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def test_fault_20_after_an_older_backup_reconciliation_equals_twilios_ledger(
    config: Config, simulator: Simulator, backup: Callable[[], Callable[[], WhatsAppService]], dsn: str
) -> None:

    before = WhatsAppService(config)
    send_many(before, partial(work_until_idle, before), simulator, 3)
    before.close()
    restore = backup()
    after = WhatsAppService(config)
    send_many(after, partial(work_until_idle, after), simulator, 5)
    simulator.receive(CUSTOMER, "Thank you")
    simulator.wait_idle()
    after.close()
    restored = restore()
    assert len(all_messages(restored)) == 3
    run = reconcile(restored)
    assert (run.theirs, run.ours, run.imported) == (9, 3, 6)
    assert_equal_to_the_ledger(restored, simulator)
    assert reconcile(restored).is_clean


def test_fault_20_a_message_that_went_out_after_the_backup_is_not_sent_again(
    config: Config, simulator: Simulator, backup: Callable[[], Callable[[], WhatsAppService]]
) -> None:
    before = WhatsAppService(config)
    gone, never = (queue_one(before, f"+44770090030{n}") for n in range(2))
    before.close()
    restore_backup = backup()
    after = WhatsAppService(config)
    after.deliver([gone])
    lost = queue_one(after, "+447700900303")
    after.deliver([lost])
    simulator.wait_idle()
    after.close()

    restored = restore_backup()
    assert restore.prepare(restored.transaction, now=datetime.now(UTC)) == 2
    restored.deliver([gone, never])  # the backup's own jobs
    runs = restore.repair(restored.transaction, restored.gateway, sender=config.sender)
    assert [run.problem for run in runs] == [None, None]
    assert sum(run.imported or 0 for run in runs) == 1
    assert restored.message(gone).status is Status.READ
    assert restored.message(never).is_unconfirmed
    assert len(simulator.messages()) == 2
    assert restore.send_rest(restored.transaction, restored.gateway) == (1, 0)
    restored.deliver([never])
    simulator.wait_idle()
    assert len(simulator.messages()) == 3
    assert reconcile(restored).ours == 3
    assert_equal_to_the_ledger(restored, simulator)


def test_fault_20_a_callback_of_a_lost_message_does_not_meet_a_new_one_of_the_same_id(
    config: Config, backup: Callable[[], Callable[[], WhatsAppService]]
) -> None:
    restore_backup = backup()
    after = WhatsAppService(config)
    lost = [queue_one(after, f"+44770090030{n}") for n in range(5)]
    after.close()
    restored = restore_backup()
    restore.prepare(restored.transaction, now=datetime.now(UTC))
    new = queue_one(restored, "+447700900310")
    told = [
        StatusReport(provider_status="read", message_id=id_, provider_id=f"SM{n:032}") for n, id_ in enumerate(lost)
    ]
    restored.record(told, source=Source.CALLBACK)
    assert new not in lost
    assert restored.message(new).status is Status.QUEUED
    assert len(restored.unmatched()) == 5


def queue_one(service: WhatsAppService, to: str) -> int:
    template = service.template("renewal_reminder", {"1": "Asha", "2": "POL-7", "3": "1 December"})
    return service.send(Draft(to=to, body="Hello", template=template)).id
