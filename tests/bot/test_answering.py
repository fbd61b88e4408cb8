"""From the webhook to the answers at Twilio: one answer to each message, in order, whatever dies or comes twice."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import requests

from tests.bot.office import ASHA, BRUNO, Office
from tests.service_fixtures import work_until_idle
from tests.start.processes import PATIENCE_S, wait_until
from whatsapp_logs import Config, WhatsAppService, bot_words
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.message import REACHED, Draft, Inbound, Message, Path
from whatsapp_logs.store import conversations
from whatsapp_logs.twilio.simulator import Simulator

Work = Callable[[], None]
OURS = "+15550100100"


def write(service: WhatsAppService, text: str, *, sid: str, sender: str = ASHA, **payload: str) -> int:
    """A customer's message, as the webhook's route hands it on."""
    return service.receive(
        Inbound(provider_id=sid, sender=sender, recipient=OURS, body=text or None, profile_name="Asha", payload=payload)
    )


def said(service: WhatsAppService, address: str = ASHA) -> list[Message]:
    """What we have written to the customer, in the order of its writing."""
    held = conversation(service, address)
    return [one for one in service.desk.chat(held.id, limit=500).messages if one.direction == "outbound"]


def conversation(service: WhatsAppService, address: str = ASHA) -> Any:
    with service.transaction() as conn:
        held = conversations.of_address(conn, address, our_number=OURS)
    assert held is not None
    return held


def turns(dsn: str) -> list[tuple[int, str | None]]:
    with psycopg.connect(dsn) as conn:
        return conn.execute("SELECT message_id, outcome FROM whatsapp_logs.turns ORDER BY message_id").fetchall()


def test_a_customer_gets_from_hi_to_the_document(
    service: WhatsAppService, simulator: Simulator, live: str, worker: None, office: Office
) -> None:
    simulator.settings.inbound_url = f"{live}/whatsapp/inbound"
    for n, words in enumerate(("Hi", "2", "MOT-26-001", "24 March 1980", "2"), 1):
        simulator.receive(f"whatsapp:{ASHA}", words)
        wait_until(lambda n=n: len(answered(simulator)) >= n + (n == 5))
    assert [one.body[:21] for one in answered(simulator)][:4] == [
        "This is the assistant", "Before we show anythi", "Thank you. And your d", "*1* Motor insurance, ",
    ]  # fmt: skip
    wait_until(lambda: all(one.status in REACHED for one in said(service)))
    announced, document = said(service)[-2:]
    assert announced.body == "Here is your document HOM-26-002. Please keep it in a safe place."
    assert (document.created_by, document.path, document.policy_id, document.client_id) == ("bot", Path.BOT, "12", "1")
    assert simulator.media(answered(simulator)[-1].sid)[0].content == b"%PDF-1.7 1/12"
    assert office.given_out == [("1", "12")]


def answered(simulator: Simulator) -> list[Any]:
    """What has arrived on the customer's phone, in the order in which Twilio took it."""
    return sorted((one for one in simulator.messages() if one.direction != "inbound"), key=lambda one: one.created_at)


def test_a_webhook_told_twice_is_answered_once(service: WhatsAppService, work: Work, dsn: str) -> None:
    for _ in range(3):
        write(service, "Hi", sid="SM1")
        work()
    assert len(said(service)) == 1
    assert [outcome for _, outcome in turns(dsn)] == ["answered"]


def test_messages_of_one_instant_are_answered_once_each_and_in_order(service: WhatsAppService, config: Config) -> None:
    """Two workers at once, thirty times: `Hi` and what follows it in the same second."""
    others = [WhatsAppService(service.config, records=Office()) for _ in range(2)]
    for n in range(30):
        address = f"+4477009{n:05d}"
        words = ("Hi", "1", "MOT-26-001", "wrong")
        for m, word in enumerate(words):
            write(service, word, sid=f"SM{n}-{m}", sender=address)
        id_ = conversation(service, address).id
        with ThreadPoolExecutor(2) as workers:
            looked_at = list(workers.map(lambda worker, id_=id_: worker.desk.answer(id_), others))
        assert sorted(looked_at) == [0, 4]
        bodies = [one.body for one in said(service, address)]
        assert [(body or "")[:9] for body in bodies] == ["This is t", "Before we", "Thank you", "That does"], n
    for worker in others:
        worker.close()


def test_messages_that_arrive_while_others_are_answered_are_not_lost(
    service: WhatsAppService, dsn: str, work: Work
) -> None:
    """Webhooks and two workers at the same time: every message has one outcome, whatever overtakes what."""
    write(service, "Hi", sid="SM-first")
    id_, stop = conversation(service).id, threading.Event()

    def answer_on_and_on() -> None:
        while not stop.is_set():
            service.desk.answer(id_)

    with ThreadPoolExecutor(6) as pool:
        loops = [pool.submit(answer_on_and_on) for _ in range(2)]
        told = [pool.submit(write, service, "menu", sid=f"SM-{n}") for n in range(60)]
        ids = {one.result() for one in told}
        stop.set()
        for loop in loops:
            loop.result()
    service.desk.answer(id_)
    outcomes = dict(turns(dsn))
    assert ids < outcomes.keys()
    assert set(outcomes.values()) == {"answered"}
    keys = [one.request_key for one in said(service)]
    assert sorted(keys) == sorted(f"bot:{id_}:0" for id_ in outcomes)


def test_a_webhook_does_not_wait_for_an_answer_in_the_making(service: WhatsAppService, office: Office) -> None:
    write(service, "Hi", sid="SM1")
    asked, go_on = threading.Event(), threading.Event()

    def slowly(_address: str) -> str | None:
        asked.set()
        go_on.wait(PATIENCE_S)
        return None

    office.client_of = slowly  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(service.desk.answer, conversation(service).id)
        assert asked.wait(PATIENCE_S)
        write(service, "2", sid="SM2")  # would hang until the time-out of a lock
        go_on.set()
        answering.result()


KILLED = """
import os, sys
from whatsapp_logs import WhatsAppService, bulk
from whatsapp_logs.store import conversations
from tests.service_fixtures import work_until_idle
from tests.bot.office import Office
service = WhatsAppService.from_env()
service.desk._given = Office()
real, place = bulk.queue_messages, sys.argv[2]
def dies(*arguments, **more):
    if place == "before":
        os.kill(os.getpid(), 9)
    found = real(*arguments, **more)
    os.kill(os.getpid(), 9)
bulk.queue_messages = dies
service.desk.answer(int(sys.argv[1]))
"""


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_worker_killed_while_it_answers_leaves_the_message_to_the_next(
    service: WhatsAppService, config: Config, dsn: str, work: Work, place: str
) -> None:
    write(service, "Hi", sid="SM1")
    id_ = conversation(service).id
    env = {
        "DATABASE_URL": config.database_url, "SECRET_KEY": config.secret_key, "PATH": "/usr/bin", "PYTHONPATH": ".",
    }  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", KILLED, str(id_), place], env=env, check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr.decode()
    assert not said(service)
    assert turns(dsn)[0][1] is None
    work()
    assert len(said(service)) == 1


def test_a_message_whose_job_was_lost_is_found_again(service: WhatsAppService, dsn: str, work: Work) -> None:
    write(service, "Hi", sid="SM1")
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM whatsapp_logs.procrastinate_jobs")
        conn.execute("UPDATE whatsapp_logs.turns SET received_at = now() - interval '40 seconds'")
    service.desk.rescue()
    work()
    assert len(said(service)) == 1


def test_a_fault_in_the_records_calls_a_person_and_answers_nothing(
    service: WhatsAppService, dsn: str, work: Work, office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    written = "my number is 42"

    def fails(_address: str) -> str | None:
        raise LookupError(written)

    office.client_of = fails  # type: ignore[method-assign]
    write(service, written, sid="SM1")
    work()
    assert turns(dsn)[0][1] == "error"
    held = conversation(service)
    assert held.waiting_since is not None
    assert held.handed_over_reason == "error"
    assert not said(service)
    assert "LookupError" in caplog.text
    assert written not in caplog.text
    assert [alarm.name for alarm in service.alarms() if alarm.name == "bot_failed"]


def test_what_the_gate_refuses_is_no_fault_of_the_bot(service: WhatsAppService, dsn: str, work: Work) -> None:
    write(service, "STOP", sid="SM1")
    write(service, "Hi", sid="SM2")
    work()
    assert [outcome for _, outcome in turns(dsn)] == ["stopped", "stopped"]
    assert not said(service)
    assert conversation(service).waiting_since is not None, "they wrote after STOP: somebody may call them"
    write(service, "START", sid="SM3")
    work()
    assert (said(service)[0].body or "").startswith(bot_words.WELCOME_BACK)


def test_stop_alone_calls_nobody(service: WhatsAppService, work: Work) -> None:
    write(service, "stop", sid="SM1")
    work()
    assert conversation(service).waiting_since is None


def test_with_staff_the_bot_is_silent_until_it_is_given_back(service: WhatsAppService, dsn: str, work: Work) -> None:
    write(service, "person", sid="SM1")
    work()
    held = conversation(service)
    waiting_since = held.waiting_since
    assert held.handed_over_reason == "asked"
    write(service, "menu", sid="SM2")
    work()
    assert turns(dsn)[1][1] == "for_staff"
    assert len(said(service)) == 1
    assert conversation(service).waiting_since == waiting_since, "they wait since their first word"
    service.desk.give_back(held.id)
    assert conversation(service).waiting_since is None
    write(service, "menu", sid="SM3")
    work()
    assert len(said(service)) == 2


def test_the_bot_comes_back_when_nobody_has_done_anything_for_hours(
    service: WhatsAppService, dsn: str, work: Work
) -> None:
    write(service, "person", sid="SM1")
    work()
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.conversations SET handed_over_at = now() - interval '13 hours'")
    write(service, "menu", sid="SM2")
    work()
    assert len(said(service)) == 2
    assert conversation(service).waiting_since is not None, "a person was promised"


def test_staff_answer_and_the_customer_waits_no_longer(service: WhatsAppService, work: Work) -> None:
    write(service, "person", sid="SM1")
    work()
    id_ = conversation(service).id
    draft = Draft(to="", body="Good morning, how can I help?", created_by="arjun", request_key="k1")
    for _ in range(2):
        service.desk.reply(id_, draft)
    held = conversation(service)
    assert (held.waiting_since, held.handed_over_to) == (None, "arjun")
    replies = [one for one in said(service) if one.path == Path.REPLY]
    assert len(replies) == 1
    write(service, "Thanks, one more thing", sid="SM2")
    work()
    assert conversation(service).waiting_since is not None


def test_staff_are_told_why_and_no_row_is_written_when_the_window_is_closed(
    service: WhatsAppService, dsn: str, config: Config, work: Work
) -> None:
    strict = WhatsAppService(replace(config, gate_off=frozenset()))
    write(service, "Hi", sid="SM1")
    work()
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - interval '25 hours'")
    verdict = strict.desk.reply(conversation(service).id, Draft(to="", body="Hello", created_by="arjun"))
    assert not isinstance(verdict, Message)
    assert verdict.refusal is not None
    assert verdict.refusal.code == "window_closed"
    assert len(said(service)) == 1
    strict.close()


def test_an_old_message_is_for_a_person(service: WhatsAppService, dsn: str, work: Work) -> None:
    write(service, "Hi", sid="SM1")
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.turns SET received_at = now() - interval '16 minutes'")
    work()
    assert turns(dsn)[0][1] == "too_old"
    assert not said(service)
    assert conversation(service).waiting_since is not None
    write(service, "Hi", sid="SM2")
    work()
    assert len(said(service)) == 1, "the next one is answered"


def test_without_records_every_message_waits_for_a_person(config: Config, dsn: str) -> None:
    service = WhatsAppService(config)
    write(service, "Hi", sid="SM1")
    service.desk.answer(conversation(service).id)
    assert turns(dsn)[0][1] == "for_staff"
    assert conversation(service).handed_over_reason == "no_bot"
    service.close()


def test_a_pressed_button_of_an_old_list_is_recognised(service: WhatsAppService, work: Work) -> None:
    old = write(service, "menu", sid="SM1")
    work()
    new = write(service, "menu", sid="SM2")
    work()
    write(service, "My policies", sid="SM3", ButtonPayload=f"m{old}:1", ButtonText="My policies")
    work()
    assert (said(service)[-1].body or "").startswith(bot_words.OLD_MENU)
    write(service, "My policies", sid="SM4", ButtonPayload=f"m{new}:1", ButtonText="My policies")
    work()
    assert (said(service)[-1].body or "").startswith(bot_words.OLD_MENU), "that one is old by now, too"
    write(service, "1", sid="SM5", OriginalRepliedMessageSid=str(said(service)[0].provider_id))
    work()
    assert (said(service)[-1].body or "").startswith(bot_words.OLD_MENU)
    write(service, "1", sid="SM6", OriginalRepliedMessageSid=str(said(service)[-1].provider_id))
    work()
    assert said(service)[-1].body == bot_words.ASK_NUMBER


def test_the_lock_outlives_workers_and_staff(service: WhatsAppService, work: Work, office: Office) -> None:
    write(service, "document", sid="SM0")
    for n in range(3):
        write(service, "MOT-26-001", sid=f"SM1-{n}")
        write(service, "1 May 1999", sid=f"SM2-{n}")
    work()
    assert said(service)[-1].body == bot_words.LOCKED
    held = conversation(service)
    assert held.handed_over_reason == "locked"
    service.desk.give_back(held.id)
    write(service, "document", sid="SM3")
    write(service, "MOT-26-001", sid="SM4")
    write(service, "24 March 1980", sid="SM5")
    work()
    assert not office.given_out
    assert office.asked == 3


def test_a_word_that_comes_after_a_later_one_was_answered_is_for_a_person(
    service: WhatsAppService, dsn: str, work: Work, office: Office
) -> None:
    """Reconciliation may find it within the quarter of an hour in which the bot answers: it was no answer to what is asked now."""
    for n, text in enumerate(("2", "MOT-26-001")):
        write(service, text, sid=f"SM{n}")
        work()
    before = len(said(service))
    write(service, "24 March 1980", sid="SM7")
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.turns SET received_at = now() - interval '5 minutes' WHERE done_at IS NULL")
    work()
    assert [outcome for _, outcome in turns(dsn)][-1] == "answered", "merely late, and the last word: answered"
    before = len(said(service))
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.conversations SET last_inbound_id = 1, last_inbound_at = now()")
        conn.execute("UPDATE whatsapp_logs.turns SET received_at = now() WHERE message_id = 1")
    late = write(service, "1", sid="SM8")
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "UPDATE whatsapp_logs.turns SET received_at = now() - interval '2 minutes' WHERE message_id = %s", (late,)
        )
        conn.execute("UPDATE whatsapp_logs.conversations SET last_inbound_id = 1")
    work()
    assert turns(dsn)[-1] == (late, "too_old")
    assert (len(said(service)), office.given_out) == (before, [])
    assert conversation(service).handed_over_reason == "too_old"


def test_customers_who_wait_too_long_are_an_alarm(service: WhatsAppService, dsn: str, work: Work) -> None:
    write(service, "person", sid="SM1")
    work()
    assert "customers_waiting" not in [alarm.name for alarm in service.alarms()]
    with psycopg.connect(dsn) as conn:
        conn.execute("UPDATE whatsapp_logs.conversations SET waiting_since = now() - interval '31 minutes'")
    assert "customers_waiting" in [alarm.name for alarm in service.alarms()]


def test_a_restored_message_moves_the_window_by_twilios_time_and_is_not_answered(
    service: WhatsAppService, simulator: Simulator, work: Work, dsn: str
) -> None:
    yesterday = datetime.now(UTC) - timedelta(hours=26)
    simulator.receive(f"whatsapp:{ASHA}", "Hi")  # nobody was there to hear it
    for one in simulator.messages():
        simulator.ledger.change(one.sid, created_at=yesterday.timestamp(), sent_at=yesterday.timestamp())
    run = service.reconcile_day(yesterday.date(), started_by="test")
    service.run_reconciliation(run.id)
    work()
    held = conversation(service)
    assert abs(held.last_inbound_at - yesterday) < timedelta(seconds=2)
    assert [outcome for _, outcome in turns(dsn)] == ["too_old"]
    assert not said(service)
    with psycopg.connect(dsn) as conn:
        (last,) = conn.execute("SELECT last_inbound_at FROM whatsapp_logs.contacts").fetchone() or (None,)
    assert abs(last - yesterday) < timedelta(seconds=2)


def test_erasing_reaches_the_conversation(service: WhatsAppService, dsn: str, work: Work) -> None:
    write(service, "Hi", sid="SM1")
    work()
    id_ = conversation(service).id
    with service.transaction() as conn:
        assert conn.execute("SELECT whatsapp_logs.erase_conversations(%s)", ([ASHA],)).fetchone() == (1,)
        assert conn.execute("SELECT whatsapp_logs.erase_conversations(%s)", ([ASHA],)).fetchone() == (0,)
    held = service.desk.conversation(id_)
    assert held.is_erased
    assert (held.profile_name, held.client_id, held.bot) == (None, None, {})
    assert service.desk.chat(id_).messages == []
    service.desk.answer(id_)
    with pytest.raises(Exception, match="erased"):
        service.desk.reply(id_, Draft(to="", body="Hello"))
    write(service, "Hi", sid="SM2")
    assert conversation(service).id != id_


def test_nothing_of_a_random_crowd_is_lost(service: WhatsAppService, dsn: str, office: Office) -> None:
    """Three customers, two workers, staff who take and give back, webhooks that come twice: each message has one outcome."""
    chance, told = random.Random(3), 0
    words = (
        "Hi",
        "1",
        "2",
        "0",
        "4",
        "MOT-26-001",
        "24 March 1980",
        "TRV-26-003",
        "BS1 0AA",
        "qwertz",
        "STOP",
        "START",
    )
    customers, other = (ASHA, BRUNO, "+447700900604"), WhatsAppService(service.config, records=office)
    with ThreadPoolExecutor(2) as pool:
        for n in range(150):
            address = chance.choice(customers)
            for m in range(chance.choice((1, 1, 2, 3))):
                word = chance.choice(words)
                for _ in range(chance.choice((1, 1, 1, 2))):
                    write(service, word, sid=f"SM{n}-{m}", sender=address)
                told += 1
            id_ = conversation(service, address).id
            list(pool.map(lambda worker, id_=id_: worker.desk.answer(id_), (service, other)))
            if chance.random() < 0.3:
                chance.choice((service.desk.give_back, lambda id_: service.desk.take(id_, person="arjun")))(id_)
    other.close()
    outcomes = turns(dsn)
    assert len(outcomes) == told
    assert None not in dict(outcomes).values()
    with psycopg.connect(dsn) as conn:
        answers = dict(
            conn.execute(
                """
                SELECT split_part(request_key, ':', 2)::bigint, count(*) FROM whatsapp_logs.messages
                WHERE path = 'bot' GROUP BY 1
                """
            ).fetchall()
        )
    silent = {"stopped", "for_staff", "too_old"}
    for message_id, outcome in outcomes:
        assert (message_id in answers) == (outcome not in silent), outcome
        assert answers.get(message_id, 0) <= 2
    assert {"answered", "handed_over", "for_staff", "stopped"} <= {outcome for _, outcome in outcomes}


def test_a_file_that_nobody_sent_cannot_be_asked_for(service: WhatsAppService) -> None:
    with pytest.raises(InvalidInput):
        service.desk.fetch_again(1, 0)


def test_the_menu_has_buttons_where_the_office_has_a_template_for_it(
    service: WhatsAppService, config: Config, simulator: Simulator, work: Work, dsn: str
) -> None:
    content = {
        "friendly_name": "bot_menu",
        "language": "en",
        "variables": {"1": "Office"},
        "types": {
            "twilio/quick-reply": {
                "body": bot_words.menu("{{1}}"),
                "actions": [
                    {"title": "My policies", "id": "policies"},
                    {"title": "A policy document", "id": "documents"},
                    {"title": "Talk to a person", "id": "person"},
                ],
            }
        },
    }
    login = (config.twilio_account_sid, config.twilio_auth_token)
    made = requests.post(f"{simulator.base_url}/v1/Content", json=content, auth=login, timeout=PATIENCE_S)
    made.raise_for_status()
    with_menu = replace(service.config, templates={"bot_menu": made.json()["sid"]}, gate_off=frozenset())
    pressed = WhatsAppService(with_menu, records=Office())
    simulator.receive(f"whatsapp:{ASHA}", "Hi")
    write(pressed, "Hi", sid="SM1")
    work_until_idle(pressed)
    simulator.wait_idle()
    (menu,) = said(pressed)
    assert menu.status != "failed", menu.error_message
    assert menu.template_sid == made.json()["sid"]
    (shown,) = answered(simulator)
    assert shown.status in ("delivered", "read")
    assert shown.body == menu.body
    sid = simulator.press(shown.sid, "documents")
    write(pressed, simulator.message(sid).body, sid=sid, ButtonPayload="documents", OriginalRepliedMessageSid=shown.sid)
    work_until_idle(pressed)
    assert said(pressed)[-1].body == bot_words.ASK_NUMBER
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            WITH t AS (INSERT INTO whatsapp_logs.templates (name, created_by) VALUES ('bot_menu', 'anna') RETURNING id)
            INSERT INTO whatsapp_logs.template_versions
                (template_id, version, content_sid, content_type, body, variables, approval, created_by, checked_at)
            SELECT id, 1, %s, 'twilio/quick-reply', 'x', '[{"key": "1", "name": "office"}]', 'paused', 'anna', now() FROM t
            """,
            (made.json()["sid"],),
        )
    write(pressed, "menu", sid="SM3")
    work_until_idle(pressed)
    last = said(pressed)[-1]
    assert (last.template_sid, last.body) == (None, bot_words.menu("Harbour Lane")), "paused: as text"
    pressed.close()
