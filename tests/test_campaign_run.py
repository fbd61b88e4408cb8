"""The runner: at the number's rate and no faster, stopped and gone on with at any moment, killed; each recipient at most once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.campaign_tables import MAPPING, fill_catalogue, people, prepared, set_going
from tests.faults.test_provider_away import Slow
from tests.service_fixtures import work_until_idle
from tests.start.processes import wait_until
from whatsapp_logs import Config, Draft, MessageFilter, Status, WhatsAppService, campaign_run, campaigns, jobs, send
from whatsapp_logs.errors import NotSent
from whatsapp_logs.filters import Addressee
from whatsapp_logs.store import alarms, queue, senders
from whatsapp_logs.store import campaigns as rows
from whatsapp_logs.store.campaigns import Campaign, Progress
from whatsapp_logs.twilio.gateway import TwilioGateway
from whatsapp_logs.twilio.simulator import Simulator

_PATIENCE_S = 120
FAST = 500


@pytest.fixture
def notice(dsn: str) -> int:
    return fill_catalogue(dsn)["general_notice"]


@pytest.fixture
def fast(config: Config) -> Iterator[WhatsAppService]:
    service = WhatsAppService(replace(config, sender_rate=FAST))
    yield service
    service.close()


def known(service: WhatsAppService, campaign_id: int) -> Campaign:
    with service.transaction() as conn:
        return campaigns.known(conn, campaign_id)


def progress(service: WhatsAppService, campaign_id: int) -> Progress:
    with service.transaction() as conn:
        return rows.progress(conn, campaigns.known(conn, campaign_id))


def sent_to(simulator: Simulator) -> Counter[str]:
    return Counter(message.to for message in simulator.messages())


@contextmanager
def at_work(service: WhatsAppService) -> Iterator[threading.Thread]:
    """Jobs are done in a thread meanwhile; at the end it is waited for."""
    thread = threading.Thread(target=work_until_idle, args=(service,))
    thread.start()
    yield thread
    thread.join()


def halting(config: Config, *, after: int) -> tuple[WhatsAppService, Callable[[], AbstractContextManager[None]]]:
    """A service whose Twilio takes so many messages and then keeps the next ones waiting, and what is done meanwhile."""
    slow = Slow(TwilioGateway(config), after=after)

    @contextmanager
    def halfway() -> Iterator[None]:
        try:
            wait_until(lambda: slow.waiting > 0)
            yield
        finally:
            slow.answer.set()

    return WhatsAppService(config, gateway=slow), halfway


# --- rate ---


def test_the_rate_is_kept_in_every_second(config: Config, simulator: Simulator, notice: int, dsn: str) -> None:
    rate, count = 40, 120
    service = WhatsAppService(replace(config, sender_rate=rate))
    set_going(service, prepared(service, people(count), notice))
    work_until_idle(service)
    service.close()
    assert len(simulator.messages()) == count
    with psycopg.connect(dsn) as conn:  # when it left: it may be under way for any time
        claims = conn.execute("SELECT extract(epoch FROM claimed_at)::float8 FROM whatsapp_logs.messages").fetchall()
    at = [moment for (moment,) in claims]
    assert len(at) == count
    most = max(sum(start <= moment < start + 1 for moment in at) for start in at)
    assert most <= rate * 1.15  # a moment passes between a claim and its count


def test_however_many_take_turns_at_once_nobody_gets_the_same_one(service: WhatsAppService) -> None:
    rate, each, takers = 100, 10, 4
    number = service.config.sender
    ids = [service.send(Draft(to="+15550101000", body=f"No. {n}")).id for n in range(takers)]

    def take(message_id: int) -> None:
        for _ in range(each):
            with service.transaction() as conn:
                assert senders.take_turn(conn, number, message_id, rate=rate) is not None

    begun = datetime.now(UTC)
    with ThreadPoolExecutor(takers) as pool:
        list(pool.map(take, ids))
    with service.transaction() as conn:
        assert senders.turns_left(conn, number, rate=rate, within_s=0.01) == 0
        assert senders.take_turns(conn, number, 5, rate=rate) > 0
        row = conn.execute("SELECT free_at FROM whatsapp_logs.senders").fetchone()
    assert row is not None
    assert row[0] - begun >= timedelta(seconds=(takers * each + 5) / rate)


def test_a_message_that_does_not_wait_takes_no_turn(service: WhatsAppService, simulator: Simulator) -> None:
    service.config = replace(service.config, sender_rate=1)
    later = service.send(Draft(to="+15550101000", body="Later", send_at=datetime.now(UTC) + timedelta(hours=1)))
    now = service.send(Draft(to="+15550101001", body="Now"))

    def turns() -> list[datetime]:
        with service.transaction() as conn:
            return [row[0] for row in conn.execute("SELECT free_at FROM whatsapp_logs.senders").fetchall()]

    before = turns()
    service.deliver([later.id, 10**9])
    assert turns() == before
    service.deliver([now.id])
    taken = turns()
    assert taken != before
    service.deliver([now.id])
    assert turns() == taken
    assert len(simulator.messages()) == 1


def test_single_messages_and_campaigns_keep_one_rate_and_people_come_first(
    service: WhatsAppService, simulator: Simulator, notice: int, worker: None
) -> None:
    """At Twilio's own rate and a short queue there: one more than the rate, and it refuses with 21611."""
    rate, singles, many = 25, 50, 75
    simulator.settings.update({"messages_per_s": rate, "queue_limit": 8, "daily_customers": singles + many})
    service.config = replace(service.config, sender_rate=rate)
    campaign_id = prepared(service, people(many), notice)
    template = service.template("general_notice", {"1": "Asha", "2": "we are closed."})
    set_going(service, campaign_id)
    wait_until(lambda: len(simulator.messages()) >= 10)
    asked = [service.send(Draft(to=f"+15550102{n:03d}", body="Hi", template=template)).id for n in range(singles)]
    wait_until(lambda: all(service.message(id_).provider_id for id_ in asked), timeout_s=_PATIENCE_S)
    left_of_the_campaign = singles + many - len(simulator.messages())
    wait_until(lambda: known(service, campaign_id).state == "done", timeout_s=_PATIENCE_S)
    at = sorted(message.created_at for message in simulator.messages())
    most = max(sum(start <= moment < start + 1 for moment in at) for start in at)
    failed = service.page(MessageFilter(statuses=(Status.FAILED,))).messages
    print(f"at most {most} in a second at {rate}; {left_of_the_campaign} of the campaign waited for {singles} singles")
    assert [message.error_code for message in failed] == []
    assert len(at) == singles + many
    assert most <= rate * 1.15  # what was under way for a different time arrives closer together than it left
    assert at[-1] - at[0] < len(at) / rate * 1.5
    assert left_of_the_campaign > 20


def test_two_campaigns_share_the_rate_and_run_beside_each_other(
    config: Config, simulator: Simulator, notice: int
) -> None:
    service = WhatsAppService(replace(config, sender_rate=40))
    first, second = (
        prepared(service, people(100), notice),
        prepared(service, people(20, first=500), notice, person="cara"),
    )
    set_going(service, first)
    set_going(service, second, person="cara")
    work_until_idle(service)
    service.close()
    order = [message.to for message in sorted(simulator.messages(), key=lambda message: message.created_at)]
    small = [place for place, to in enumerate(order) if int(to[-5:]) >= 1500]
    assert len(order) == 120
    assert max(small) < 80  # the small one is through long before the large one ends


def test_a_second_runner_does_nothing_while_the_first_gives_signs_of_life(
    fast: WhatsAppService, simulator: Simulator, notice: int
) -> None:
    set_going(fast, prepared(fast, people(3), notice))
    with fast.transaction() as conn:
        assert senders.take(conn, fast.config.sender, UUID_OF_ANOTHER, silent_s=15) is not None
    fast.run_campaigns()
    assert simulator.messages() == []
    with fast.transaction() as conn:
        assert queue.is_waiting(conn, campaigns.RUNNER)
        conn.execute("UPDATE whatsapp_logs.senders SET heartbeat_at = now() - interval '16 seconds'")
    fast.run_campaigns()
    assert len(simulator.messages()) == 3


def test_a_worker_that_starts_comes_back_to_see_whether_the_runner_has_died(
    fast: WhatsAppService, simulator: Simulator, notice: int, dsn: str
) -> None:
    campaign_id = prepared(fast, people(3), notice)
    set_going(fast, campaign_id)
    with fast.transaction() as conn:
        assert senders.take(conn, fast.config.sender, UUID_OF_ANOTHER, silent_s=15) is not None
        conn.execute("DELETE FROM whatsapp_logs.procrastinate_jobs")  # the dead one's
        campaigns.wake(conn, config=fast.config, now=datetime.now(UTC))
    with psycopg.connect(dsn) as conn:
        (at,) = conn.execute(
            "SELECT scheduled_at FROM whatsapp_logs.procrastinate_jobs WHERE status = 'todo'"
        ).fetchone() or (None,)
        assert at is not None
        assert timedelta(seconds=5) < at - datetime.now(UTC) <= timedelta(seconds=15)


# --- stopping and going on ---


def test_paused_nothing_more_leaves_and_resumed_all_of_it(config: Config, simulator: Simulator, notice: int) -> None:
    service, halfway = halting(replace(config, sender_rate=FAST), after=30)
    campaign_id = prepared(service, people(150), notice)
    set_going(service, campaign_id)
    with at_work(service), halfway():
        service.pause_campaign(campaign_id, person="ben")
    stopped_at = len(simulator.messages())
    assert known(service, campaign_id).state == "paused"
    jobs.keep_house(service)  # what rescues lost messages leaves those of a campaign alone
    work_until_idle(service)
    assert len(simulator.messages()) == stopped_at < 150
    service.resume_campaign(campaign_id, person="ben")
    work_until_idle(service)
    assert known(service, campaign_id).state == "done"
    assert set(sent_to(simulator).values()) == {1}
    assert len(simulator.messages()) == 150
    service.close()


def test_canceled_the_rest_stands_in_the_log_as_canceled(config: Config, simulator: Simulator, notice: int) -> None:
    service, halfway = halting(replace(config, sender_rate=FAST), after=30)
    campaign_id = prepared(service, people(150), notice)
    set_going(service, campaign_id)
    with at_work(service), halfway():
        canceled = service.cancel_campaign(campaign_id, person="ben")
    reached = progress(service, campaign_id)
    assert reached.by_status[Status.CANCELED] == canceled > 0
    assert len(simulator.messages()) == 150 - canceled
    assert (reached.messages, reached.waiting) == (150, 0)
    (one, *_) = service.page(MessageFilter(campaign_id=str(campaign_id), statuses=(Status.CANCELED,))).messages
    assert one.error_message == "ben canceled the campaign before this message was handed over."
    jobs.keep_house(service)
    assert len(simulator.messages()) == 150 - canceled
    service.close()


def test_a_claim_is_one_runners_alone(fast: WhatsAppService, notice: int) -> None:
    campaign_id = under_way(fast, 6, notice)
    now, taken = datetime.now(UTC), []
    with fast.transaction() as conn:
        ids = rows.next_due(conn, now=now, limit=6)
        taken.append(rows.claim(conn, ids[:4], now=now))

        def meet() -> None:
            with fast.transaction() as other:
                taken.append(rows.claim(other, ids, now=now))

        rival = threading.Thread(target=meet)
        rival.start()
    rival.join()
    assert [len(each) for each in taken] == [4, 2]
    assert taken[0].isdisjoint(taken[1])
    assert known(fast, campaign_id).state == "running"


def test_what_is_under_way_keeps_a_campaign_open(fast: WhatsAppService, simulator: Simulator, notice: int) -> None:
    campaign_id = under_way(fast, 2, notice)
    claimed = claim_all(fast)
    with fast.transaction() as conn:
        campaigns.wake(conn, config=fast.config, now=datetime.now(UTC))
    assert known(fast, campaign_id).state == "running"
    busy = [send.Answered(cleared, error=NotSent("Twilio is busy (429).")) for cleared in claimed]
    send.write_down_together(fast.transaction, busy)
    fast.run_campaigns()
    assert known(fast, campaign_id).state == "done"
    assert set(sent_to(simulator).values()) == {1}


def test_what_twilio_gives_back_after_the_cancel_is_canceled_too(fast: WhatsAppService, notice: int) -> None:
    campaign_id = under_way(fast, 2, notice)
    claimed = claim_all(fast)
    assert fast.cancel_campaign(campaign_id, person="ben") == 0
    busy = [send.Answered(cleared, error=NotSent("Twilio is busy (429).")) for cleared in claimed]
    send.write_down_together(fast.transaction, busy)
    jobs.keep_house(fast)
    assert progress(fast, campaign_id).by_status == {Status.CANCELED: 2}


def under_way(service: WhatsAppService, count: int, notice: int) -> int:
    """A running campaign whose rows are messages."""
    campaign_id = prepared(service, people(count), notice)
    set_going(service, campaign_id)
    with service.transaction() as conn:
        campaign_run.queue_rows(conn, campaigns.known(conn, campaign_id), config=service.config, limit=1000)
    return campaign_id


def claim_all(service: WhatsAppService) -> Sequence[Any]:
    with service.transaction() as conn:
        ids = rows.next_due(conn, now=datetime.now(UTC), limit=1000)
        return send.claim_together(conn, ids, config=service.config, now=datetime.now(UTC)).cleared


def test_a_campaign_canceled_before_it_was_queued_writes_no_message(fast: WhatsAppService, notice: int) -> None:
    campaign_id = prepared(fast, people(5), notice)
    set_going(fast, campaign_id)
    fast.cancel_campaign(campaign_id, person="anna")
    work_until_idle(fast)
    assert fast.count(MessageFilter()) == 0


def test_paused_while_rows_become_messages_stays_paused(fast: WhatsAppService, notice: int) -> None:
    campaign_id = prepared(fast, people(5), notice)
    set_going(fast, campaign_id)
    fast.pause_campaign(campaign_id, person="anna")
    work_until_idle(fast)
    assert (known(fast, campaign_id).state, fast.count(MessageFilter())) == ("paused", 0)
    fast.resume_campaign(campaign_id, person="anna")
    work_until_idle(fast)
    assert fast.count(MessageFilter()) == 5


def test_a_paused_campaign_is_no_backlog(fast: WhatsAppService, notice: int) -> None:
    campaign_id = prepared(fast, people(5), notice)
    with fast.transaction() as conn:
        rows.change(conn, campaign_id, state="running", released_by="anna", released_at=datetime.now(UTC))
        campaign_run.queue_rows(conn, campaigns.known(conn, campaign_id), config=fast.config, limit=10)
        rows.change(conn, campaign_id, state="paused")
        conn.execute("UPDATE whatsapp_logs.messages SET created_at = now() - interval '2 hours'")
    with fast.transaction() as conn:
        assert alarms.read(conn, callback_silence=timedelta(minutes=10)).waiting.count == 0
        assert send.rescue(conn) == []


def test_a_running_campaign_that_does_not_get_on_raises_an_alarm(fast: WhatsAppService, notice: int) -> None:
    def raised() -> set[str]:
        return {alarm.name for alarm in fast.alarms()} - {"worker_away"}

    campaign_id = prepared(fast, people(5), notice)
    set_going(fast, campaign_id)
    with fast.transaction() as conn:
        campaign_run.queue_rows(conn, campaigns.known(conn, campaign_id), config=fast.config, limit=10)
    assert raised() == set()
    with fast.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.campaigns SET released_at = now() - interval '11 minutes'")
    assert raised() == {"campaign_stands"}
    fast.pause_campaign(campaign_id, person="anna")
    assert raised() == set()
    fast.resume_campaign(campaign_id, person="anna")
    work_until_idle(fast)
    assert raised() == set()


def test_no_single_hand_over_takes_a_campaigns_message(
    fast: WhatsAppService, simulator: Simulator, notice: int
) -> None:
    campaign_id = prepared(fast, people(1), notice)
    with fast.transaction() as conn:
        rows.change(conn, campaign_id, state="paused", released_by="anna", released_at=datetime.now(UTC))
        campaign_run.queue_rows(conn, campaigns.known(conn, campaign_id), config=fast.config, limit=10)
    fast.deliver([message.id for message in fast.page(MessageFilter()).messages])
    assert simulator.messages() == []


def test_a_client_that_is_gone_stops_nobody_elses_message(
    fast: WhatsAppService, simulator: Simulator, notice: int, dsn: str
) -> None:
    found = [
        Addressee(
            to=f"+155501{n:05d}",
            client_id=999 if n == 3007 else None,
            fields={"Client name": "Asha", "Notice": f"{n}."},
        )
        for n in range(3000, 3030)
    ]
    campaign_id = fast.begin_campaign_with(found, name="Due", source="due", wanted={}, created_by="anna")
    fast.map_campaign(
        campaign_id, name="Due", template_id=notice, message_type="general", mapping=MAPPING, person="anna"
    )
    set_going(fast, campaign_id)
    work_until_idle(fast)
    assert known(fast, campaign_id).state == "done"
    assert len(simulator.messages()) == 30


# --- the provider ---


def test_fault_12_a_busy_provider_is_waited_for_as_a_whole(
    fast: WhatsAppService, simulator: Simulator, notice: int
) -> None:
    campaign_id = prepared(fast, people(100), notice)
    simulator.settings.create_error = "429"
    set_going(fast, campaign_id)
    work_until_idle(fast)
    with fast.transaction() as conn:
        sender = senders.get(conn, fast.config.sender)
        attempts = conn.execute("SELECT sum(attempts) FROM whatsapp_logs.messages").fetchone()
    assert sender is not None
    assert sender.failures >= 1
    assert "429" in str(sender.reason)
    assert attempts is not None
    assert attempts[0] <= campaign_run._MOST_THREADS + 2  # not one try for each of a hundred
    assert progress(fast, campaign_id).waiting == 100
    simulator.settings.create_error = None
    wake(fast)
    assert known(fast, campaign_id).state == "done"
    assert set(sent_to(simulator).values()) == {1}
    assert len(simulator.messages()) == 100


def test_fault_10_lost_answers_stop_it_soon_and_nothing_is_sent_twice(
    fast: WhatsAppService, simulator: Simulator, notice: int
) -> None:
    campaign_id = prepared(fast, people(100), notice)
    simulator.settings.create_error = "500_after_accept"
    set_going(fast, campaign_id)
    work_until_idle(fast)
    simulator.settings.create_error = None
    lost = progress(fast, campaign_id).unconfirmed
    assert 0 < lost <= campaign_run._MOST_THREADS + 2
    wake(fast)
    assert set(sent_to(simulator).values()) == {1}
    assert len(simulator.messages()) == 100
    with fast.transaction() as conn:
        conn.execute("UPDATE whatsapp_logs.messages SET last_status_check = NULL")
    fast.settle_unconfirmed()
    assert progress(fast, campaign_id).unconfirmed == 0


def test_the_daily_limit_is_not_passed_and_the_rest_waits_until_it_may(
    config: Config, simulator: Simulator, notice: int
) -> None:
    limited = replace(config, sender_rate=FAST, daily_customers=30, gate_off=config.gate_off - {"sender_limit"})
    service = WhatsAppService(limited)
    campaign_id = prepared(service, people(100), notice)
    set_going(service, campaign_id)
    work_until_idle(service)
    reached = progress(service, campaign_id)
    assert len(simulator.messages()) == 30
    assert reached.waiting == 70
    assert "30 customers" in str(reached.wait_reason)
    assert reached.next_due_at is not None
    assert reached.next_due_at > datetime.now(UTC) + timedelta(hours=23)
    with service.transaction() as conn:  # a day later
        conn.execute("UPDATE whatsapp_logs.contacts SET last_initiated_at = last_initiated_at - interval '24 hours'")
        conn.execute(
            "UPDATE whatsapp_logs.campaign_recipients SET due_at = due_at - interval '24 hours' WHERE due_at IS NOT NULL"
        )
        campaigns.wake(conn, config=limited, now=datetime.now(UTC))
    work_until_idle(service)
    assert len(simulator.messages()) == 60
    service.close()


def test_who_says_stop_while_it_runs_gets_nothing(config: Config, simulator: Simulator, notice: int, dsn: str) -> None:
    strict = replace(config, gate_off=frozenset(), quiet_hours=None, sender_rate=FAST)
    service, halfway = halting(strict, after=10)
    campaign_id = prepared(service, people(100), notice)
    set_going(service, campaign_id)
    with at_work(service), halfway(), psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.consent_events (address, kind, source, recorded_by, happened_at)
            VALUES ('+15550101099', 'opt_out', 'stop_word', 'the customer', now())
            """
        )
    reached = progress(service, campaign_id)
    assert reached.by_status[Status.FAILED] == 1
    assert "whatsapp:+15550101099" not in sent_to(simulator)
    assert len(simulator.messages()) == 99
    service.close()


def test_nobody_is_told_a_job_for_each_message(fast: WhatsAppService, notice: int, dsn: str) -> None:
    campaign_id = prepared(fast, people(1100), notice)
    set_going(fast, campaign_id)
    with fast.transaction() as conn:
        while campaign_run.queue_rows(conn, campaigns.known(conn, campaign_id), config=fast.config, limit=500):
            pass
    with psycopg.connect(dsn) as conn:
        counted = conn.execute(
            "SELECT (SELECT count(*) FROM whatsapp_logs.messages),"
            " (SELECT array_agg(task_name ORDER BY id) FROM whatsapp_logs.procrastinate_jobs WHERE status = 'todo')"
        ).fetchone()
    assert counted == (1100, [campaigns.CHECK, campaigns.RUNNER])


# --- death ---


@pytest.fixture
def worker_process(config: Config, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """A function that starts `python -m whatsapp_logs worker` on the test's database."""
    env = {
        "GATE_OFF": "window,duplicate,frequency,quiet_hours,template",
        "DATABASE_URL": config.database_url,
        "SECRET_KEY": config.secret_key,
        "TWILIO_ACCOUNT_SID": config.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": config.twilio_auth_token,
        "TWILIO_WHATSAPP_FROM": config.twilio_whatsapp_from,
        "TWILIO_API_BASE_URL": config.twilio_api_base_url,
        "PUBLIC_BASE_URL": config.public_base_url,
        "SENDER_RATE": "200",
    }
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "whatsapp_logs", "worker"],
                cwd=Path(__file__).parents[1],
                env=os.environ | env,
                stdout=log,
                stderr=log,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_fault_11_a_worker_killed_half_way_and_every_recipient_at_most_once(
    kills: int,
    service: WhatsAppService,
    simulator: Simulator,
    notice: int,
    worker_process: Callable[[], subprocess.Popen[bytes]],
) -> None:
    count = 400
    simulator.settings.latency_s = 0.1  # as at Twilio: most of the time something is under way
    campaign_id = prepared(service, people(count), notice)
    set_going(service, campaign_id)
    worker = worker_process()
    for kill in range(1, kills + 1):
        wait_until(lambda share=kill: len(simulator.messages()) >= count * share / (kills + 1), timeout_s=_PATIENCE_S)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        with service.transaction() as conn:  # as if a quarter of a minute had passed: the dead one's place is free
            conn.execute("UPDATE whatsapp_logs.senders SET heartbeat_at = now() - interval '16 seconds'")
            conn.execute(
                "UPDATE whatsapp_logs.procrastinate_jobs SET scheduled_at = scheduled_at - interval '16 seconds'"
            )
        worker = worker_process()
    wait_until(lambda: is_quiet(service), timeout_s=_PATIENCE_S)
    settle_claims(service)
    assert known(service, campaign_id).state == "done"
    reached, theirs = progress(service, campaign_id), sent_to(simulator)
    print(f"{kills} kills: {len(theirs)} of {count} at the provider, {reached.unconfirmed} in doubt")
    assert set(theirs.values()) == {1}
    assert (
        len(theirs) + reached.unconfirmed == count
    )  # what is not at the provider is said to be in doubt: nobody is forgotten
    assert reached.unconfirmed <= kills * 32  # as many as are handed over at once
    assert reached.messages == count


UUID_OF_ANOTHER = UUID(int=7)


def is_quiet(service: WhatsAppService) -> bool:
    """Whether nothing is due, and nobody has claimed anything for some seconds."""
    with service.transaction() as conn:
        row = conn.execute(
            """
            SELECT NOT EXISTS (SELECT FROM whatsapp_logs.campaign_recipients WHERE due_at IS NOT NULL)
               AND NOT EXISTS (SELECT FROM whatsapp_logs.campaigns WHERE queued_up_to < recipients)
               AND NOT EXISTS (SELECT FROM whatsapp_logs.messages WHERE provider_id IS NULL AND claimed_at > now() - interval '3 s')
            """
        ).fetchone()
    return bool(row and row[0])


def settle_claims(service: WhatsAppService) -> None:
    """As if two minutes had passed: claims of the dead become unconfirmed and are looked up."""
    with service.transaction() as conn:
        send.rescue(conn, now=datetime.now(UTC) + timedelta(minutes=3))
        conn.execute("UPDATE whatsapp_logs.messages SET unconfirmed_at = now() WHERE unconfirmed_at > now()")
    service.settle_unconfirmed()
    with service.transaction() as conn:
        campaigns.settle_ends(conn)


def wake(service: WhatsAppService) -> None:
    """Wait until the runner may go on, and have it do so until nothing is due."""
    for _ in range(20):
        with service.transaction() as conn:
            conn.execute("UPDATE whatsapp_logs.senders SET resume_at = now() WHERE resume_at > now()")
            conn.execute(
                "DELETE FROM whatsapp_logs.procrastinate_jobs WHERE task_name = 'run_campaigns' AND status = 'todo'"
            )
            campaigns.wake(conn, config=service.config, now=datetime.now(UTC))
        work_until_idle(service)
        with service.transaction() as conn:
            if not rows.running(conn):
                return
