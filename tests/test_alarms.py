"""Each alarm is raised by what it is about, says what to do, and ends with its cause."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from portal.start.postgres import SUPERUSER
from tests.test_reconcile import send_without_us
from tests.test_refresh import send_many
from whatsapp_logs import Config, Draft, Source, StatusReport, WhatsAppService
from whatsapp_logs.alarms import names, raised
from whatsapp_logs.message import Inbound
from whatsapp_logs.store.alarms import Backlog, Readings
from whatsapp_logs.twilio.simulator import Simulator

Work = Callable[[], None]


@pytest.fixture
def alarms(service: WhatsAppService) -> Callable[[], set[str]]:
    """The names of the alarms that are raised now; no worker runs in these tests, so that one goes without saying."""
    return lambda: {alarm.name for alarm in service.alarms()} - {"worker_away"}


def back_date(service: WhatsAppService, table: str, **times: str) -> None:
    with psycopg.connect(make_conninfo(service.config.database_url, user=SUPERUSER)) as conn:
        for column, ago in times.items():
            conn.execute(f"UPDATE whatsapp_logs.{table} SET {column} = now() - interval '{ago}'".encode())


def test_a_quiet_log_raises_nothing(alarms: Callable[[], set[str]]) -> None:
    assert alarms() == set()


def test_a_worker_that_is_away_is_told_and_one_that_runs_is_not(service: WhatsAppService) -> None:
    assert [alarm.name for alarm in service.alarms()] == ["worker_away"]
    with service.transaction() as conn:
        conn.execute("INSERT INTO whatsapp_logs.procrastinate_workers DEFAULT VALUES")
    assert service.alarms() == []
    back_date(service, "procrastinate_workers", last_heartbeat="2 minutes")
    [alarm] = service.alarms()
    assert alarm.is_grave
    assert "silent for 2 min" in alarm.title


def test_an_old_queue_is_told_with_its_reason_and_scheduled_messages_are_not_late(
    service: WhatsAppService, alarms: Callable[[], set[str]]
) -> None:
    service.send(Draft(to="+447700900201", body="Now"))
    later = service.send(Draft(to="+447700900202", body="Next week", send_at=datetime.now(UTC) + timedelta(days=7)))
    assert alarms() == set()
    with service.transaction() as conn:
        conn.execute(
            "UPDATE whatsapp_logs.messages SET wait_reason = 'Twilio is busy (429).', created_at = now() - interval '11 min'"
        )
    [alarm] = [alarm for alarm in service.alarms() if alarm.name == "queue_old"]
    assert alarm.title == "1 message waiting to be sent, the oldest for 11 min"
    assert "Twilio is busy (429)." in alarm.meaning
    assert later.send_at is not None


def test_silence_is_an_alarm_only_while_messages_should_have_been_reported(
    service: WhatsAppService, simulator: Simulator, work: Work, alarms: Callable[[], set[str]]
) -> None:
    send_many(service, work, simulator, 3)  # every callback is lost
    assert alarms() == set(), "not yet: they were handed over just now"
    back_date(service, "messages", claimed_at="11 minutes")
    assert alarms() == {"no_callbacks"}
    [alarm] = [alarm for alarm in service.alarms() if alarm.name == "no_callbacks"]
    assert alarm.title == "Twilio has never called back, while 3 messages should have been reported"
    service.receive(
        Inbound(provider_id="SM" + "9" * 32, sender="+447700900204", recipient="+15550100100", body="Hello")
    )
    assert alarms() == {"no_callbacks"}, "a customer's message is no report"
    sid = service.message(1).provider_id
    service.record([StatusReport(provider_status="delivered", provider_id=sid)], source=Source.CALLBACK)
    assert alarms() == set(), "it calls: the others' phones are off"


def test_what_other_code_sent_need_not_call_back(service: WhatsAppService, alarms: Callable[[], set[str]]) -> None:
    service.log_message(message_sid="SM" + "1" * 32, to="+447700900203", status="sent")
    back_date(service, "messages", claimed_at="11 minutes")
    assert alarms() == set()


def test_fault_1_forged_calls_are_counted_per_hour_in_rows_that_do_not_grow(
    service: WhatsAppService, alarms: Callable[[], set[str]]
) -> None:
    for _ in range(50):
        service.count_refused(
            {("/whatsapp/inbound", "no signature"): 1000, ("/whatsapp/inbound", "signature wrong"): 1}
        )
    [alarm] = [alarm for alarm in service.alarms() if alarm.name == "forged_calls"]
    assert "50050 calls refused" in alarm.title
    with service.transaction() as conn:
        assert conn.execute("SELECT count(*) <= 4 FROM whatsapp_logs.refused_calls").fetchone() == (True,)
    back_date(service, "refused_calls", last_at="61 minutes")
    assert alarms() == set()


def test_fault_14_unknown_statuses_and_codes_raise_one_alarm(
    service: WhatsAppService, simulator: Simulator, work: Work, alarms: Callable[[], set[str]]
) -> None:
    [message_id] = send_many(service, work, simulator, 1)
    sid = service.message(message_id).provider_id
    service.record(
        [
            StatusReport(provider_status="teleported", provider_id=sid),
            StatusReport(provider_status="failed", provider_id=sid, error_code="99999"),
            StatusReport(provider_status="not_found", provider_id=sid, error_code="20404"),
        ],
        source=Source.CALLBACK,
    )
    assert alarms() == {"unknown_words"}
    [alarm] = [alarm for alarm in service.alarms() if alarm.name == "unknown_words"]
    assert "status “teleported”, code 99999" in alarm.title


def test_fault_8_reports_of_unknown_messages_are_told_after_an_hour(
    service: WhatsAppService, alarms: Callable[[], set[str]]
) -> None:
    old = datetime.now(UTC) - timedelta(minutes=61)
    report = StatusReport(provider_status="sent", provider_id="SM" + "5" * 32)
    with service.transaction() as conn:
        from whatsapp_logs import track

        track.record(conn, [report], source=Source.CALLBACK, now=old)
    assert alarms() == {"reports_parked"}


def test_unconfirmed_messages_are_told_until_they_are_found(
    service: WhatsAppService, simulator: Simulator, work: Work, alarms: Callable[[], set[str]]
) -> None:
    simulator.settings.create_error = "500_after_accept"
    send_many(service, work, simulator, 1)
    assert alarms() == {"unconfirmed"}
    service.settle_unconfirmed()
    assert alarms() == set()


def test_a_gap_that_reconciliation_found_and_a_day_it_missed_are_told(
    service: WhatsAppService, simulator: Simulator, alarms: Callable[[], set[str]]
) -> None:
    back_date(service, "migrations", applied_at="3 days")
    assert alarms() == {"reconciliation_missing"}
    run = service.reconcile_day(datetime.now(UTC).date() - timedelta(days=1), started_by=None)
    service.run_reconciliation(run.id)
    assert alarms() == set()
    send_without_us(simulator, service)
    run = service.reconcile_day(datetime.now(UTC).date(), started_by=None)
    service.run_reconciliation(run.id)
    assert alarms() == {"reconciliation_gap"}
    run = service.reconcile_day(datetime.now(UTC).date(), started_by=None)
    service.run_reconciliation(run.id)
    assert alarms() == set(), "repaired"


def test_every_alarm_says_what_it_means_and_what_to_do(config: Config) -> None:
    now = datetime(2026, 11, 23, 15, tzinfo=UTC)
    old = Backlog(count=1000, oldest=now - timedelta(days=3), reason=None)
    worst = Readings(
        now=now, worker_silence_s=None, waiting=old, unconfirmed=old, parked=old, last_callback=None, unheard=1,
        refused={"no signature": 3}, unknown_words=("x",), codes=(), watched_since=now - timedelta(days=9),
        reconciled_day=None, gaps=((now.date(), 1, 4),), stopped_templates=((1, "renewal_reminder", "paused"),), too_late=2,
        standing=old, customers=old, files=old, bot_failures=1, robots=1,
    )  # fmt: skip
    found = raised(worst, config)
    assert {alarm.name for alarm in found} == set(names())
    assert [alarm.is_grave for alarm in found] == sorted((alarm.is_grave for alarm in found), reverse=True)
    for alarm in found:
        assert alarm.meaning.endswith("."), alarm.name
        assert alarm.cure.endswith("."), alarm.name
    assert raised(worst, replace(config, twilio_account_sid="")) != found
