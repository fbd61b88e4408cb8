"""Asking again repairs what a lost callback left behind, with as few questions as Twilio allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from whatsapp_logs import Draft, Status, WhatsAppService, jobs, refresh
from whatsapp_logs.channels.base import Gateway
from whatsapp_logs.errors import ProviderAway
from whatsapp_logs.message import ProviderMessage, Source, StatusReport
from whatsapp_logs.store import refreshes
from whatsapp_logs.twilio.simulator import Simulator


def send_many(service: WhatsAppService, work: Callable[[], None], simulator: Simulator, count: int) -> list[int]:
    simulator.settings.drop_rate = 1.0
    template = service.template("renewal_reminder", {"1": "Asha", "2": "POL-7", "3": "1 December"})
    with service.transaction() as conn:
        ids = [
            service.send(Draft(to=f"+44770090{2000 + n}", body="Hello", template=template), conn=conn).id
            for n in range(count)
        ]
    work()
    simulator.wait_idle()
    return ids


def test_mistake_2_read_is_learnt_for_delivered_messages_too(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    [message_id] = send_many(service, work, simulator, 1)
    sid = service.message(message_id).provider_id
    service.record([StatusReport(provider_status="delivered", provider_id=sid)], source=Source.CALLBACK)
    run = service.refresh_all(started_by="asha")
    service.run_refresh(run.id)
    assert service.message(message_id).status is Status.READ


def test_mistake_3_many_are_asked_about_by_the_list_not_one_by_one(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    ids = send_many(service, work, simulator, 60)
    run = service.refresh_all(started_by="asha")
    service.run_refresh(run.id)
    done = service.refresh_progress(run.id)
    assert done is not None
    assert (done.found, done.asked, done.changed, done.problem) == (60, 60, 60, None)
    assert {service.message(message_id).status for message_id in ids} == {Status.READ}
    assert all(service.message(message_id).price is not None for message_id in ids)


def test_a_second_click_joins_the_run_under_way(service: WhatsAppService) -> None:
    first = service.refresh_all(started_by="asha")
    assert service.refresh_all(started_by="bela").id == first.id
    service.run_refresh(first.id)
    assert service.refresh_all(started_by="bela").id != first.id


def test_two_workers_do_not_run_one_refresh_twice(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    run = service.refresh_all(started_by="asha")
    with service.transaction() as conn:
        assert refreshes.take_over(conn, run.id, silent_s=60) is not None
    with service.transaction() as conn:
        assert refreshes.take_over(conn, run.id, silent_s=60) is None
        assert refreshes.take_over(conn, run.id, silent_s=0) is not None


def test_a_twilio_that_is_busy_ends_the_run_with_its_reason(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    send_many(service, work, simulator, 2)
    run = service.refresh_all(started_by="asha")
    simulator.go_away()
    service.run_refresh(run.id)
    done = service.refresh_progress(run.id)
    assert done is not None
    assert done.is_finished
    assert "cannot be reached" in (done.problem or "")


def test_a_message_unknown_to_twilio_keeps_its_status_and_says_so(service: WhatsAppService) -> None:
    foreign = service.log_message(message_sid="SM" + "f" * 32, to="+447700900222", status="sent")
    service.refresh_message(foreign)
    asked = service.message(foreign.id)
    assert asked.status is Status.SENT
    assert asked.last_status_check is not None
    assert [event.provider_status for event in service.timeline(foreign.id)] == ["sent", "not_found"]


def test_mistake_8_what_a_refresh_learns_happened_when_twilio_says(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    [message_id] = send_many(service, work, simulator, 1)
    service.refresh_message(service.message(message_id))
    read = service.message(message_id)
    assert read.read_at is not None
    assert read.last_status_check is not None
    assert read.read_at <= read.last_status_check
    assert read.delivered_at is not None


def test_a_run_that_another_worker_goes_on_with_never_asks_about_more_than_it_found(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    send_many(service, work, simulator, 3)
    run = service.refresh_all(started_by="asha")
    with service.transaction() as conn:
        refreshes.take_over(conn, run.id, silent_s=60)
        refreshes.found(conn, run.id, 3)
        refreshes.progress(conn, run.id, asked=2, changed=0, failed=0)  # and then the worker died
        conn.execute("UPDATE whatsapp_logs.refreshes SET heartbeat_at = heartbeat_at - interval '2 minutes'")
    service.run_refresh(run.id)
    done = service.refresh_progress(run.id)
    assert done is not None
    assert done.is_finished
    assert done.asked == done.found


class Flickering:
    """A gateway that answers some questions and is away for the next."""

    def __init__(self, gateway: Gateway, answers: int, error: Exception) -> None:
        self._gateway, self._left, self._error = gateway, answers, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def fetch(self, provider_id: str) -> ProviderMessage:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return self._gateway.fetch(provider_id)

    def sent_between(self, since: datetime, until: datetime) -> Iterator[ProviderMessage]:
        for listed in self._gateway.sent_between(since, until):
            self._left -= 1
            if self._left < 0:
                raise self._error
            yield listed


@pytest.mark.parametrize("count", [6, 30], ids=["by SID", "by list"])
def test_what_was_answered_before_twilio_went_away_is_kept(
    count: int, service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    send_many(service, work, simulator, count)
    run = service.refresh_all(started_by="asha")
    refresh.run(service.transaction, Flickering(service.gateway, 5, ProviderAway("Twilio is busy (429).")), run.id)
    done = service.refresh_progress(run.id)
    assert done is not None
    assert (done.problem, done.asked) == ("Twilio is busy (429).", 5)
    assert service.status_counts()[Status.READ] == 5


def test_a_defect_ends_the_run_so_that_the_next_click_begins_another(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    send_many(service, work, simulator, 1)
    run = service.refresh_all(started_by="asha")
    with pytest.raises(ZeroDivisionError):
        refresh.run(service.transaction, Flickering(service.gateway, 0, ZeroDivisionError()), run.id)
    done = service.refresh_progress(run.id)
    assert done is not None
    assert done.problem
    assert service.refresh_all(started_by="bela").id != run.id


def test_one_message_of_long_ago_does_not_make_every_refresh_list_the_whole_history(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None], dsn: str
) -> None:
    ids = send_many(service, work, simulator, 25)
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "UPDATE whatsapp_logs.messages SET created_at = created_at - interval '1 year' WHERE id = %s", [ids[0]]
        )
    asked_since = []

    class Watched(Flickering):
        def sent_between(self, since: datetime, until: datetime) -> Iterator[ProviderMessage]:
            asked_since.append(since)
            return super().sent_between(since, until)

    run = service.refresh_all(started_by="asha")
    refresh.run(service.transaction, Watched(service.gateway, 1000, ProviderAway("never")), run.id)
    assert asked_since
    assert datetime.now(UTC) - asked_since[0] < timedelta(days=1)
    assert service.status_counts() == {Status.READ: 25}


def test_a_sweep_repairs_lost_callbacks_unasked_and_asks_old_messages_seldom(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    ids = send_many(service, work, simulator, 3)
    sweep = partial(refresh.sweep, service.transaction, service.gateway)
    now = datetime.now(UTC)
    assert sweep(now=now + timedelta(seconds=60)) == 0  # too fresh: its callbacks may be on the way
    assert sweep(now=now + timedelta(seconds=125)) == 3
    assert {service.message(message_id).status for message_id in ids} == {Status.READ}


@pytest.mark.parametrize(
    ("age", "asked_ago", "due"),
    [(30, 4, True), (600, 30, False), (600, 61, True), (6 * 1440, 1500, True), (34 * 1440, 1500, True)],
)
def test_what_is_due_is_a_matter_of_age(
    age: int, asked_ago: int, due: bool, service: WhatsAppService, dsn: str
) -> None:
    now = datetime.now(UTC)
    sent = service.log_message(
        message_sid="SM" + "d" * 32, to="+447700900222", status="sent", created_at=now - timedelta(minutes=age)
    )
    with psycopg.connect(dsn) as conn:
        checked = now - timedelta(minutes=asked_ago)
        conn.execute("UPDATE whatsapp_logs.messages SET last_status_check = %s WHERE id = %s", [checked, sent.id])
    refresh.sweep(service.transaction, service.gateway, now=now)
    assert was_asked(service, sent.id) is due


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("status", "back", "hours_old", "is_asked"),
    [
        ("delivered", HOUR, 0.5, True),
        ("delivered", HOUR, 2, False),
        ("delivered", DAY, 2, True),
        ("delivered", DAY, 30, False),
        ("delivered", refresh.ASKED_FOR, 30, True),
        ("delivered", refresh.ASKED_FOR, 200, False),
        ("sent", HOUR, 2, False),
        ("sent", DAY, 2, True),
        ("sent", refresh.ASKED_FOR, 34 * 24, True),
        ("sent", refresh.ASKED_FOR, 36 * 24, False),
    ],
)
def test_messages_are_looked_through_the_seldomer_the_older_they_are(
    status: str, back: timedelta, hours_old: float, is_asked: bool, service: WhatsAppService, simulator: Simulator
) -> None:
    now = datetime.now(UTC)
    message = service.log_message(
        message_sid="SM" + "d" * 32, to="+447700900222", status=status, created_at=now - timedelta(hours=hours_old)
    )
    refresh.sweep(service.transaction, service.gateway, back=back, now=now)
    assert was_asked(service, message.id) is is_asked


@pytest.mark.parametrize(
    ("column", "back", "is_asked"),
    [("send_at", HOUR, True), ("sent_at", HOUR, False), ("sent_at", refresh.ASKED_FOR, True)],
)
def test_a_message_made_long_before_it_left_is_as_old_as_its_leaving(
    column: str, back: timedelta, is_asked: bool, service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    """Meant for now, or of a campaign that was paused for ninety days: asked ten minutes ago, half an hour after it left."""
    now = datetime.now(UTC)
    message = sent(
        service, dsn, made=now - timedelta(days=90), **{column: now - HOUR / 2}, last_status_check=now - HOUR / 6
    )
    refresh.sweep(service.transaction, service.gateway, back=back, now=now)
    assert was_asked(service, message) is is_asked


@pytest.mark.parametrize("status", ["scheduled", "queued", "sending"])
def test_what_is_not_even_sent_is_asked_about_as_long_as_twilio_may_know_it(
    status: str, service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    now = datetime.now(UTC)
    known, forgotten = (
        sent(service, dsn, status=status, made=now - timedelta(days=days), last_status_check=now - timedelta(days=2))
        for days in (390, 410)
    )
    refresh.sweep(service.transaction, service.gateway, now=now)
    assert (was_asked(service, known), was_asked(service, forgotten)) == (True, False)


def test_what_was_declared_not_sent_and_is_at_twilio_after_all_is_asked_about_however_long_ago_it_was_made(
    service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    now = datetime.now(UTC)
    declared = {"status": "failed", "error_code": "not_sent", "failed_at": now - HOUR, "unconfirmed_at": now - 3 * HOUR}
    message = sent(service, dsn, made=now - timedelta(days=90), **declared)
    refresh.sweep(service.transaction, service.gateway, back=HOUR, now=now)
    assert was_asked(service, message)


def test_what_is_not_final_does_not_wait_for_what_was_delivered(
    service: WhatsAppService, simulator: Simulator, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "_SWEEP_LIMIT", 2)
    now = datetime.now(UTC)
    old = sent(service, dsn, made=now - timedelta(days=30))
    for hours in range(3):
        sent(service, dsn, status="delivered", made=now - HOUR * (hours + 1), delivered_at=now - HOUR * hours)
    refresh.sweep(service.transaction, service.gateway, now=now)
    assert was_asked(service, old)


def test_the_clock_sweeps_an_hour_a_day_and_a_month(service: WhatsAppService, simulator: Simulator, dsn: str) -> None:
    now = datetime.now(UTC)
    ages = {"sweep": HOUR / 2, "sweep_day": DAY / 2, "sweep_month": 30 * DAY}
    ids = {name: sent(service, dsn, made=now - age) for name, age in ages.items()}
    tasks = jobs.make_app(service).tasks
    asked = []
    for name in ages:
        tasks[name].func(timestamp=0)
        asked.append([one for one, id_ in ids.items() if was_asked(service, id_)])
    assert asked == [["sweep"], ["sweep", "sweep_day"], ["sweep", "sweep_day", "sweep_month"]]


def sent(service: WhatsAppService, dsn: str, *, made: datetime, **columns: Any) -> int:
    """A message that Twilio does not know, with these columns; "sent" unless they say otherwise. Its id."""
    count = sum(service.status_counts().values())
    message = service.log_message(message_sid=f"SM{count:032}", to="+447700900222", status="sent", created_at=made)
    sets = ", ".join(f"{name} = %({name})s" for name in columns)
    with psycopg.connect(dsn) as conn:
        if columns:
            conn.execute(
                f"UPDATE whatsapp_logs.messages SET {sets} WHERE id = %(id)s".encode(), {"id": message.id} | columns
            )
    return message.id


@pytest.mark.parametrize(
    ("days_old", "asked_days_old", "is_asked"),
    [(50, None, True), (100, None, True), (100, 2, True), (100, 31, False), (399, None, True), (401, None, False)],
)
def test_refresh_all_asks_about_a_message_of_long_ago_until_its_end_was_seen(
    days_old: int,
    asked_days_old: int | None,
    is_asked: bool,
    service: WhatsAppService,
    simulator: Simulator,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Brought in from another log, it may have arrived and been read since; WhatsApp gives up after a month, and says nothing."""
    monkeypatch.setattr(refresh, "_READ_TOGETHER", 2)
    now = datetime.now(UTC)
    made = [now - timedelta(days=days_old, minutes=n // 3) for n in range(5)]  # some in the same moment
    ids = [
        service.log_message(message_sid=f"SM{n:032}", to="+447700900222", status="sent", created_at=at).id
        for n, at in enumerate(made)
    ]
    if asked_days_old is not None:
        with psycopg.connect(dsn) as conn:
            conn.execute(
                "UPDATE whatsapp_logs.messages SET last_status_check = created_at + make_interval(days => %s)",
                [asked_days_old],
            )
    for asked in (5 if is_asked else 0, 0):  # a second run has nothing left to ask
        run = service.refresh_all(started_by="asha")
        service.run_refresh(run.id)
        done = service.refresh_progress(run.id)
        assert done is not None
        assert (done.found, done.asked) == (asked, asked)
    assert {was_asked(service, id_) for id_ in ids} == {is_asked}


def test_refresh_all_finds_what_was_made_long_before_it_left_once(
    service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    """Paused for ninety days, for a hundred and fifty, and meant for now 300 days ago: each asked once, and again tomorrow."""
    now = datetime.now(UTC)
    for days, column in ((90, "sent_at"), (150, "sent_at"), (300, "send_at")):
        sent(service, dsn, made=now - timedelta(days=days), **{column: now - DAY})
    for _ in range(2):
        run = service.refresh_all(started_by="asha")
        service.run_refresh(run.id)
        done = service.refresh_progress(run.id)
        assert done is not None
        assert (done.found, done.asked) == (3, 3)


def was_asked(service: WhatsAppService, message_id: int) -> bool:
    """Whether Twilio was asked: it does not know these, and its answer is an event."""
    return any(event.provider_status == "not_found" for event in service.timeline(message_id))


def test_a_busy_twilio_ends_the_sweep_and_the_next_one_goes_on(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    [message_id] = send_many(service, work, simulator, 1)
    later = datetime.now(UTC) + timedelta(minutes=5)
    simulator.go_away()
    assert refresh.sweep(service.transaction, service.gateway, now=later) == 0
    simulator.come_back()
    assert refresh.sweep(service.transaction, service.gateway, now=later) == 1
    assert service.message(message_id).status is Status.READ
