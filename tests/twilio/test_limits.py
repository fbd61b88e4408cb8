"""A sender's rate, its queue's limit and the daily tier: off by default, kept when they are asked for."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path

import pytest

from tests.twilio.account import ACCOUNT, SENDER, SERVICE, TOKEN, connect, control, refusal, remind, write
from whatsapp_logs.twilio.simulator import Simulator
from whatsapp_logs.twilio.simulator.database import Database
from whatsapp_logs.twilio.simulator.limits import DAY_S, Limits


def number(n: int) -> str:
    return f"whatsapp:+4477009006{n:02d}"


def test_over_the_senders_rate_messages_wait_as_queued_and_go_out_evenly(twilio, client):
    twilio.pace = 0
    twilio.settings.messages_per_s = 20
    sids = [remind(client, to=number(n)).sid for n in range(10)]
    assert client.messages(sids[-1]).fetch().status == "queued"
    twilio.wait_idle()
    sent = [twilio.message(sid).sent_at for sid in sids]
    assert sent == sorted(sent)
    assert sent[-1] - sent[0] >= 9 / 20 - 0.1


def test_a_full_queue_refuses_and_through_a_service_fails(twilio, client):
    twilio.pace = 0
    control(twilio, "settings", messages_per_s=0.5, queue_limit=3)
    for n in range(3):
        remind(client, to=number(n))
    assert refusal(lambda: remind(client)) == (400, 21611)
    later = remind(client, from_=None, messaging_service_sid=SERVICE)
    assert later.status == "accepted"
    assert twilio.wait_for(later.sid, "failed").error_code == 30001
    assert len(twilio.messages()) == 4
    twilio.settings.queue_limit = 4
    assert remind(client).status == "queued"


def test_the_queue_survives_another_process(tmp_path: Path):
    state = str(tmp_path / "twilio.sqlite")
    limits = {"messages_per_s": 0.1, "queue_limit": 2}
    with Simulator(ACCOUNT, TOKEN, state=state, pace=0, whatsapp_from=SENDER) as before:
        before.settings.update(limits)
        waiting = [remind(connect(before.base_url), to=number(n)).sid for n in range(2)][1]
    with Simulator(ACCOUNT, TOKEN, state=state, pace=0, whatsapp_from=SENDER) as after:
        after.settings.update(limits)
        assert after.message(waiting).status == "queued"
        assert refusal(lambda: remind(connect(after.base_url))) == (400, 21611)


def test_more_customers_than_the_tier_allows_fail(twilio, client):
    twilio.settings.daily_customers = 2
    for n in (0, 1):
        twilio.wait_for(remind(client, to=number(n)).sid, "read")
    assert twilio.wait_for(remind(client, to=number(2)).sid, "failed").error_code == 63018
    twilio.wait_for(remind(client, to=number(0)).sid, "read")  # has been written to today already
    twilio.receive(number(3), "Hello")
    twilio.wait_for(write(client, "Hello", to=number(3)).sid, "read")  # an answer begins nothing


def test_a_customer_counts_for_24_hours():
    limits = Limits(Database(":memory:"))
    assert [limits.may_open(number(n), customers=2, now=n) for n in (0, 1, 2)] == [True, True, False]
    assert not limits.may_open(number(2), customers=2, now=DAY_S - 1)
    assert limits.may_open(number(2), customers=2, now=DAY_S)
    assert not limits.may_open(number(0), customers=2, now=DAY_S)


def test_what_fails_for_another_reason_does_not_count(twilio, client):
    twilio.settings.daily_customers = 1
    assert twilio.wait_for(write(client, to=number(0)).sid, "failed").error_code == 63016
    twilio.wait_for(remind(client, to=number(1)).sid, "read")


@pytest.mark.parametrize("change", [{"messages_per_s": 0}, {"queue_limit": 1.5}, {"daily_customers": True}])
def test_nonsense_is_refused(twilio, change):
    with pytest.raises(urllib.error.HTTPError) as refused:
        control(twilio, "settings", **change)
    assert next(iter(change)) in json.load(refused.value)["error"]


def test_nothing_is_limited_unless_it_is_asked_for(twilio, client):
    twilio.pace = 0
    for n in range(30):
        remind(client, to=number(n))
    twilio.wait_idle()
    assert {message.status for message in twilio.messages()} == {"read"}
