"""The simulator behaves as Twilio does, seen through the official SDK and a webhook receiver."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from twilio.base.exceptions import TwilioException, TwilioRestException

from tests.start.processes import PATIENCE_S
from tests.twilio.account import (
    ACCOUNT,
    CUSTOMER,
    PDF,
    SENDER,
    SERVICE,
    TOKEN,
    connect,
    control,
    refusal,
    remind,
    write,
)
from whatsapp_logs.twilio.simulator import (
    GENERAL_NOTICE,
    MAGIC,
    POLICY_DOCUMENT,
    POLICY_DOCUMENT_BY_PATH,
    RENEWAL_REMINDER,
    RENEWAL_REMINDER_DOCUMENT,
    Simulator,
)


class TestHappyPath:
    def test_create_answers_queued_and_the_message_is_read_in_the_end(self, twilio, client):
        created = remind(client)
        assert (created.status, created.direction, created.from_) == ("queued", "outbound-api", SENDER)
        assert (created.date_sent, created.price, created.error_code) == (None, None, None)
        assert created.body.startswith("Hello Asha, your policy POL-7 is due for renewal on 12 May.")
        twilio.wait_for(created.sid, "read")
        fetched = client.messages(created.sid).fetch()
        assert (fetched.status, fetched.num_segments, fetched.num_media) == ("read", "1", "0")
        assert abs(fetched.date_sent - datetime.now(UTC)) < timedelta(seconds=10)

    def test_sent_delivered_and_read_are_called_back_signed_in_order(self, twilio, client, receiver):
        created = remind(client, status_callback=f"{receiver.url}/cb?row=17&x=a%20b")
        twilio.wait_for(created.sid, "read")
        twilio.wait_idle()
        assert receiver.statuses() == ["sent", "delivered", "read"]
        assert all(item.valid for item in receiver.received)
        assert {item.path for item in receiver.received} == {"/cb?row=17&x=a%20b"}
        delivered = receiver.received[1].params
        assert delivered["MessageSid"] == delivered["SmsSid"] == created.sid
        assert (delivered["AccountSid"], delivered["From"], delivered["To"]) == (ACCOUNT, SENDER, CUSTOMER)
        assert (delivered["ChannelPrefix"], delivered["EventType"]) == ("whatsapp", "DELIVERED")
        assert delivered["ChannelToAddress"] == "+44770090XXXX"
        assert [(a.status, a.attempt, a.answer) for a in twilio.callbacks()] == [
            ("sent", 1, 204), ("delivered", 1, 204), ("read", 1, 204)]  # fmt: skip

    def test_the_price_comes_after_the_receipt_and_is_a_negative_string(self, twilio, client):
        created = remind(client)
        twilio.wait_for(created.sid, "read")
        deadline = time.monotonic() + PATIENCE_S
        while (fetched := client.messages(created.sid).fetch()).price is None and time.monotonic() < deadline:
            time.sleep(0.005)
        assert (fetched.price, fetched.price_unit) == ("-0.00500", "USD")

    def test_a_text_message_is_delivered_and_never_read(self, twilio, client, receiver):
        created = client.messages.create(
            to="+447700900500", from_="+15550100100", body="x" * 161, status_callback=f"{receiver.url}/cb"
        )
        twilio.wait_idle()
        assert twilio.message(created.sid).status == "delivered"
        assert client.messages(created.sid).fetch().num_segments == "2"
        assert "RawDlrDoneDate" in receiver.received[-1].params
        assert "ChannelPrefix" not in receiver.received[-1].params

    def test_a_messaging_service_picks_the_sender_later_and_reports_queued(self, twilio, client, receiver):
        twilio.pace = 0.05
        created = remind(client, from_=None, messaging_service_sid=SERVICE, status_callback=f"{receiver.url}/cb")
        assert (created.status, created.from_, created.num_segments) == ("accepted", None, "0")
        twilio.wait_idle()
        assert receiver.statuses() == ["queued", "sent", "delivered", "read"]
        assert receiver.received[0].params["MessagingServiceSid"] == SERVICE
        assert client.messages(created.sid).fetch().from_ == SENDER


class TestCreateRefuses:
    @pytest.mark.parametrize(
        ("params", "answer"),
        [
            ({"to": "whatsapp:+44"}, (400, 21211)),
            ({"to": "whatsapp:+15005550001"}, (400, 21211)),
            ({"to": ""}, (400, 21604)),
            ({"from_": "whatsapp:+15550100101"}, (400, 63007)),
            ({"from_": "+15550100100"}, (400, 21910)),
            ({"to": SENDER}, (400, 21266)),
            ({"body": ""}, (400, 21602)),
            ({"body": "x" * 1601}, (400, 21617)),
            ({"body": None, "media_url": ["policy.pdf"]}, (400, 21620)),
            ({"status_callback": "http://bad_host.example.test/cb"}, (400, 21609)),
            ({"status_callback": "nonsense"}, (400, 21609)),
            ({"body": None, "content_sid": "HX" + "f" * 32}, (400, 21655)),
            ({"body": None, "content_sid": RENEWAL_REMINDER, "content_variables": "[1]"}, (400, 21656)),
            ({"body": None, "content_sid": RENEWAL_REMINDER, "content_variables": "{"}, (400, 21656)),
        ],
    )
    def test_with_twilio_codes(self, twilio, client, params, answer):
        assert (
            refusal(lambda: client.messages.create(**{"to": CUSTOMER, "from_": SENDER, "body": "x", **params}))
            == answer
        )
        assert twilio.messages() == []

    def test_without_sender(self, client):
        assert refusal(lambda: client.messages.create(to=CUSTOMER, body="x")) == (400, 21603)

    def test_a_body_of_1600_characters_is_accepted(self, client):
        assert write(client, "x" * 1600).status == "queued"

    def test_a_wrong_token_with_20003(self, twilio):
        assert refusal(lambda: remind(connect(twilio.base_url, token="wrong"))) == (401, 20003)

    def test_error_bodies_have_twilios_four_fields(self, twilio):
        answer = requests.get(f"{twilio.base_url}/2010-04-01/Accounts/{ACCOUNT}/Messages/SM{'0' * 32}.json",
                              auth=(ACCOUNT, TOKEN), timeout=PATIENCE_S)  # fmt: skip
        assert (answer.status_code, set(answer.json())) == (404, {"code", "message", "more_info", "status"})
        assert answer.headers["Twilio-Request-Id"].startswith("RQ")


class TestLists:
    def test_pages_are_newest_first_and_new_messages_shift_nothing(self, client):
        sids = [remind(client, to=f"whatsapp:+447700900{600 + n}").sid for n in range(5)]
        pages = client.messages.page(page_size=2)
        first = [message.sid for message in pages]
        remind(client)
        second = pages.next_page()
        assert first + [message.sid for message in second] == sids[:0:-1]
        third = second.next_page()
        assert [message.sid for message in third] == sids[:1]
        assert third.next_page() is None

    def test_to_and_from_filter(self, twilio, client):
        mine = remind(client).sid
        remind(client, to="whatsapp:+447700900501")
        twilio.receive(CUSTOMER, "Thanks")
        assert [message.sid for message in client.messages.list(to=CUSTOMER, limit=9)] == [mine]
        assert [message.body for message in client.messages.list(from_=CUSTOMER, limit=9)] == ["Thanks"]

    def test_dates_are_inclusive_and_miss_what_is_not_sent_yet(self, twilio, client):
        sent = remind(client).sid
        twilio.wait_for(sent, "read")
        twilio.pace = 100
        waiting = remind(client).sid
        today = datetime.now(UTC).date()
        for bounds in ({"date_sent_after": today}, {"date_sent_before": str(today)}, {"date_sent": today},
                       {"date_sent_after": datetime.now(UTC) - timedelta(minutes=1)}):  # fmt: skip
            assert [message.sid for message in client.messages.list(**bounds, limit=9)] == [sent], bounds
        assert client.messages.list(date_sent_after=today + timedelta(days=1), limit=9) == []
        assert client.messages.list(date_sent_before=today - timedelta(days=1), limit=9) == []
        assert [message.sid for message in client.messages.list(limit=9)] == [waiting, sent]
        twilio.settings.list_hides_unsent = True
        assert [message.sid for message in client.messages.list(limit=9)] == [sent]

    def test_a_lagging_list_misses_fresh_messages_which_fetch_finds(self, twilio, client):
        sid = remind(client).sid
        twilio.settings.list_lag_s = 60
        assert client.messages.list(limit=9) == []
        assert client.messages(sid).fetch().sid == sid

    @pytest.mark.parametrize(("query", "code"), [("PageSize=1001", 20007), ("PageToken=PAnonsense", 21481)])
    def test_bad_paging_is_refused(self, twilio, query, code):
        url = f"{twilio.base_url}/2010-04-01/Accounts/{ACCOUNT}/Messages.json?{query}"
        answer = requests.get(url, auth=(ACCOUNT, TOKEN), timeout=PATIENCE_S)
        assert (answer.status_code, answer.json()["code"]) == (400, code)


class TestUpdateAndDelete:
    def test_a_body_is_redacted_by_an_empty_text_only(self, twilio, client):
        sid = remind(client).sid
        twilio.wait_idle()
        assert refusal(lambda: client.messages(sid).update(body="other words")) == (400, 30400)
        assert client.messages(sid).update(body="").body == ""
        assert client.messages(sid).fetch().body == ""

    def test_a_scheduled_message_is_sent_at_its_time_or_canceled_before(self, twilio, client, receiver):
        twilio.pace = 1
        soon = datetime.now(UTC) + timedelta(minutes=20)
        schedule = {"from_": None, "messaging_service_sid": SERVICE, "schedule_type": "fixed", "send_at": soon,
                    "status_callback": f"{receiver.url}/cb"}  # fmt: skip
        canceled = remind(client, **schedule)
        assert canceled.status == "scheduled"
        assert client.messages(canceled.sid).update(status="canceled").status == "canceled"
        assert refusal(lambda: client.messages(canceled.sid).update(status="canceled")) == (409, 30409)
        twilio.wait_idle()
        assert receiver.statuses() == ["canceled"]
        twilio.pace = 0.00001
        sent = remind(client, **schedule)
        assert twilio.wait_for(sent.sid, "read").sent_at
        assert refusal(lambda: remind(client, **schedule | {"send_at": datetime.now(UTC)})) == (400, 35114)

    def test_a_canceled_message_does_not_disturb_the_next_one(self, twilio, client):
        soon = datetime.now(UTC) + timedelta(minutes=20)
        for pace in (0.0001, 0.001, 0.01):  # 20 minutes become 0.12 seconds; more, if that passes before it is canceled
            twilio.pace = pace
            canceled = remind(client, from_=None, messaging_service_sid=SERVICE, schedule_type="fixed", send_at=soon)
            with contextlib.suppress(TwilioRestException):
                client.messages(canceled.sid).update(status="canceled")
                break
        twilio.pace = 1  # the next step is due in 0.3 seconds, after the forgotten one
        sid = remind(client).sid
        twilio.wait_for(sid, "sending", timeout_s=PATIENCE_S)
        assert twilio.message(canceled.sid).status == "canceled"

    def test_delete_removes_a_message_that_is_through(self, twilio, client):
        twilio.pace = 100
        waiting = remind(client).sid
        assert refusal(lambda: client.messages(waiting).delete()) == (409, 20009)
        twilio.pace = 0
        sid = remind(client).sid
        twilio.wait_for(sid, "read")
        assert client.messages(sid).delete() is True
        assert refusal(lambda: client.messages(sid).fetch()) == (404, 20404)


class TestWhatsAppRules:
    def test_free_text_fails_outside_the_window_and_arrives_inside(self, twilio, client, receiver):
        outside = write(client, status_callback=f"{receiver.url}/cb")
        assert outside.status == "queued"
        assert twilio.wait_for(outside.sid, "failed").error_code == 63016
        twilio.wait_idle()
        assert receiver.received[-1].params["ErrorCode"] == "63016"
        twilio.receive(CUSTOMER, "Hello?")
        twilio.wait_for(write(client).sid, "read")

    def test_stop_refuses_every_later_message_until_start(self, twilio, client):
        twilio.receive(CUSTOMER, " stop ")
        assert refusal(lambda: remind(client)) == (400, 21610)
        accepted = remind(client, from_=None, messaging_service_sid=SERVICE)
        assert twilio.wait_for(accepted.sid, "failed").error_code == 21610
        twilio.receive(CUSTOMER, "START")
        twilio.wait_for(remind(client).sid, "read")

    def test_a_blocked_sender_stays_at_sent(self, twilio, client):
        twilio.block(CUSTOMER)
        sid = remind(client).sid
        twilio.wait_idle()
        assert twilio.message(sid).status == "sent"
        twilio.unblock(CUSTOMER)
        twilio.wait_for(remind(client).sid, "read")

    def test_unread_messages_are_read_by_hand(self, twilio, client, receiver):
        twilio.settings.auto_read = False
        sid = remind(client, status_callback=f"{receiver.url}/cb").sid
        twilio.wait_idle()
        assert twilio.message(sid).status == "delivered"
        twilio.mark_read(sid)
        twilio.wait_idle()
        assert receiver.statuses() == ["sent", "delivered", "read"]

    def test_missing_template_values_show_samples_and_forbidden_ones_fail(self, twilio, client):
        sparse = client.messages.create(to=CUSTOMER, from_=SENDER, content_sid=GENERAL_NOTICE, content_variables="{}")
        assert sparse.body.startswith("Hello Asha Example, a notice")
        for bad in ("two\nlines", "five     blanks"):
            broken = client.messages.create(
                to=CUSTOMER, from_=SENDER, content_sid=GENERAL_NOTICE, content_variables=json.dumps({"2": bad})
            )
            assert twilio.wait_for(broken.sid, "failed").error_code == 63013


class TestMedia:
    def test_a_template_document_is_fetched_kept_and_shown_with_its_text(self, twilio, client, receiver):
        twilio.settings.media_base_url = receiver.url
        for template, last in ((POLICY_DOCUMENT, {"3": f"{receiver.url}/policy.pdf"}),
                               (POLICY_DOCUMENT_BY_PATH, {"3": "policy.pdf"}),
                               (RENEWAL_REMINDER_DOCUMENT, {"3": "12 May", "4": f"{receiver.url}/policy.pdf"})):  # fmt: skip
            variables = json.dumps({"1": "Asha", "2": "POL-7", **last})
            sid = client.messages.create(
                to=CUSTOMER, from_=SENDER, content_sid=template, content_variables=variables
            ).sid
            assert "POL-7" in twilio.wait_for(sid, "read").phone_text
            (item,) = client.messages(sid).media.list(limit=5)
            assert item.content_type == "application/pdf"
            url = f"{twilio.base_url}{client.messages(sid).media(item.sid).fetch().uri.removesuffix('.json')}"
            assert requests.get(url, auth=(ACCOUNT, TOKEN), timeout=PATIENCE_S).content == PDF

    def test_the_body_beside_a_document_is_lost_on_the_phone_only(self, twilio, client, receiver):
        twilio.receive(CUSTOMER, "Please send it")
        sid = write(client, "Here it is", media_url=[f"{receiver.url}/policy.pdf"]).sid
        assert twilio.wait_for(sid, "read").phone_text == ""
        assert client.messages(sid).fetch().body == "Here it is"

    @pytest.mark.parametrize(
        ("path", "file", "code"),
        [
            ("/absent.pdf", None, 63019),
            ("/empty.pdf", ("application/pdf", b""), 63019),
            ("/login.pdf", ("text/html", b"<p>Sign in"), 12300),
            ("/nameless", (None, PDF), 12300),
            ("/archive.zip", ("application/zip", b"PK"), 63021),
            ("/big.pdf", ("application/pdf", bytes(16 * 1024 * 1024 + 1)), 11751),
        ],
    )
    def test_a_file_that_cannot_be_taken_fails_the_message(self, twilio, client, receiver, path, file, code):
        if file:
            receiver.files[path] = file
        twilio.receive(CUSTOMER, "Please send it")
        sid = write(client, "", media_url=[receiver.url + path]).sid
        assert twilio.wait_for(sid, "failed").error_code == code
        assert twilio.media(sid) == []


class TestTemplates:
    def test_contents_and_their_approval_are_listed(self, client):
        contents = {content.friendly_name: content for content in client.content.v1.contents.list()}
        assert contents["policy_document"].sid == POLICY_DOCUMENT
        assert set(contents["renewal_reminder"].variables) == {"1", "2", "3"}
        assert "twilio/media" in client.content.v1.contents(POLICY_DOCUMENT).fetch().types
        approval = client.content.v1.contents(RENEWAL_REMINDER).approval_fetch().fetch()
        assert (approval.whatsapp["status"], approval.whatsapp["category"]) == ("approved", "UTILITY")
        assert refusal(lambda: client.content.v1.contents("HX" + "9" * 32).fetch()) == (404, 20404)


class TestMagicNumbers:
    @pytest.mark.parametrize("magic", [item for item in MAGIC if item.error_code and item.create == "accept"],
                             ids=lambda item: item.number)  # fmt: skip
    def test_failing_numbers_fail_with_their_code(self, twilio, client, receiver, magic):
        twilio.pace = 0
        sid = remind(client, to=f"whatsapp:{magic.number}", status_callback=f"{receiver.url}/cb").sid
        assert twilio.wait_for(sid, magic.ending).error_code == magic.error_code
        twilio.wait_idle()
        last = receiver.received[-1]
        assert (last.valid, last.params["MessageStatus"], last.params["ErrorCode"]) == (
            True, magic.ending, str(magic.error_code))  # fmt: skip
        assert receiver.statuses() == (["sent"] if magic.ending == "undelivered" else []) + [magic.ending]

    @pytest.mark.parametrize(("last_digits", "ending"), [("100", "sent"), ("101", "delivered")])
    def test_some_stop_on_the_way(self, twilio, client, last_digits, ending):
        sid = remind(client, to=f"whatsapp:+447700900{last_digits}").sid
        twilio.wait_idle()
        assert twilio.message(sid).status == ending

    def test_102_answers_429_twice_then_accepts(self, twilio, client):
        to = "whatsapp:+447700900102"
        assert [refusal(lambda: remind(client, to=to)) for _ in range(2)] == [(429, 20429)] * 2
        assert remind(client, to=to).status == "queued"
        assert len(twilio.messages()) == 1

    def test_103_answers_500_and_104_nothing_though_both_were_accepted(self, twilio, client):
        assert refusal(lambda: remind(client, to="whatsapp:+447700900103")) == (500, 20500)
        with pytest.raises(requests.exceptions.ConnectionError):
            remind(client, to="whatsapp:+447700900104")
        twilio.wait_idle()
        assert [message.status for message in twilio.messages()] == ["read", "read"]

    def test_105_loses_every_callback(self, twilio, client, receiver):
        sid = remind(client, to="whatsapp:+447700900105", status_callback=f"{receiver.url}/cb").sid
        twilio.wait_idle()
        assert (twilio.message(sid).status, receiver.received) == ("read", [])
        assert [(a.status, a.attempt, a.answer) for a in twilio.callbacks()] == [
            ("sent", 0, None), ("delivered", 0, None), ("read", 0, None)]  # fmt: skip

    def test_106_doubles_and_reverses_them(self, twilio, client, receiver):
        remind(client, to="whatsapp:+447700900106", status_callback=f"{receiver.url}/cb")
        twilio.wait_idle()
        assert receiver.statuses() == ["read", "read", "delivered", "delivered", "sent", "sent"]
        tokens = [item.headers["I-Twilio-Idempotency-Token"] for item in receiver.received]
        assert len(set(tokens)) == 3

    def test_107_is_slow(self, twilio, client):
        twilio.pace = 0.001
        sid, quick = remind(client, to="whatsapp:+447700900107").sid, remind(client).sid
        twilio.wait_idle()
        slow_s, quick_s = (m.updated_at - m.created_at for m in (twilio.message(sid), twilio.message(quick)))
        assert slow_s > 0.12 > quick_s

    def test_108_and_109_are_refused(self, twilio, client):
        assert refusal(lambda: remind(client, to="whatsapp:+447700900108")) == (400, 21610)
        assert refusal(lambda: remind(client, to="whatsapp:+447700900109")) == (503, 503)
        assert twilio.messages() == []

    def test_110_passes_through_an_unknown_status(self, twilio, client, receiver):
        remind(client, to="whatsapp:+447700900110", status_callback=f"{receiver.url}/cb")
        twilio.wait_idle()
        assert receiver.statuses() == ["sent", "teleported", "delivered", "read"]

    def test_111_signs_a_blank_error_message(self, twilio, client, receiver):
        remind(client, to="whatsapp:+447700900111", status_callback=f"{receiver.url}/cb")
        twilio.wait_idle()
        assert receiver.received[0].params["ErrorMessage"] == ""
        assert receiver.received[0].valid


class TestCallbackRetries:
    @pytest.mark.parametrize(
        ("fragment", "answers", "attempts"),
        [("", [500, 204], [500]), ("#rc=3&rp=all", [500, 404, 204], [500, 404, 204]),
         ("#rc=1&rp=5xx", [503, 503, 204], [503, 503]), ("#rc=3&rp=5xx", [404, 204], [404])],
    )  # fmt: skip
    def test_follow_the_fragment(self, twilio, client, receiver, fragment, answers, attempts):
        receiver.answer = lambda n: (answers[min(n, len(answers) - 1)], b"")
        remind(client, to="whatsapp:+447700900003", status_callback=f"{receiver.url}/cb{fragment}")
        twilio.wait_idle()
        assert [attempt.answer for attempt in twilio.callbacks()] == attempts
        assert all(item.valid for item in receiver.received)
        assert len({item.headers["I-Twilio-Idempotency-Token"] for item in receiver.received}) == 1

    def test_a_refused_connection_is_tried_once_more_by_default(self, twilio, client):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        remind(client, to="whatsapp:+447700900003", status_callback=f"http://127.0.0.1:{port}/cb")
        twilio.wait_idle()
        assert [(a.attempt, a.answer) for a in twilio.callbacks()] == [(1, None), (2, None)]

    def test_a_slow_answer_is_given_up_after_rt(self, twilio, client, receiver):
        given_up = threading.Event()
        receiver.answer = lambda _: (given_up.wait(PATIENCE_S), (204, b""))[1]
        remind(client, to="whatsapp:+447700900003", status_callback=f"{receiver.url}/cb#rt=100")
        twilio.wait_idle()
        given_up.set()
        assert ["no answer" in a.problem for a in twilio.callbacks()] == [True]


class TestFaultsAtRunTime:
    def test_every_callback_can_be_dropped_doubled_or_held(self, twilio, client, receiver):
        callback = {"status_callback": f"{receiver.url}/cb"}
        twilio.settings.drop_rate = 1
        remind(client, **callback)
        twilio.wait_idle()
        assert receiver.received == []
        control(twilio, "settings", drop_rate=0, double_rate=1)
        sid = remind(client, **callback).sid
        twilio.wait_idle()
        assert Counter(receiver.statuses(sid)) == {"sent": 2, "delivered": 2, "read": 2}
        control(twilio, "settings", double_rate=0, hold=True)
        sid = remind(client, **callback).sid
        twilio.wait_idle()
        assert (twilio.message(sid).status, receiver.statuses(sid), twilio.held()) == ("read", [], 3)
        assert control(twilio, "release", now=True) == {"released": 3}
        twilio.wait_idle()
        assert receiver.statuses(sid) == ["sent", "delivered", "read"]

    def test_reordered_callbacks_all_arrive(self, twilio, client, receiver):
        twilio.settings.reorder_rate = 1
        sids = [remind(client, status_callback=f"{receiver.url}/cb").sid for _ in range(20)]
        twilio.wait_idle()
        orders = [receiver.statuses(sid) for sid in sids]
        assert all(sorted(order) == ["delivered", "read", "sent"] for order in orders)
        assert any(order != ["sent", "delivered", "read"] for order in orders)

    @pytest.mark.parametrize(
        ("fault", "answer", "accepted"),
        [
            ("429", (429, 20429), 0),
            ("500", (500, 20500), 0),
            ("html", (503, 503), 0),
            ("500_after_accept", (500, 20500), 1),
        ],
    )
    def test_create_can_be_made_to_fail(self, twilio, client, fault, answer, accepted):
        twilio.settings.create_error = fault
        assert refusal(lambda: remind(client)) == answer
        assert len(twilio.messages()) == accepted

    @pytest.mark.parametrize(
        ("fault", "accepted"), [("refuse", 0), ("cut_after_accept", 1), ("timeout_after_accept", 1)]
    )
    def test_create_can_be_left_without_an_answer(self, twilio, fault, accepted):
        twilio.settings.create_error = fault
        with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ReadTimeout)):
            remind(connect(twilio.base_url, timeout_s=0.2))
        assert len(twilio.messages()) == accepted

    def test_reads_can_be_made_to_fail(self, twilio, client):
        sid = remind(client).sid
        twilio.settings.read_error = "429"
        assert refusal(lambda: client.messages(sid).fetch()) == (429, 20429)
        with pytest.raises(TwilioException) as refused:
            client.messages.list(limit=5)
        assert refused.value.args[1].status_code == 429

    def test_too_many_requests_at_once_are_answered_429(self, twilio):
        twilio.settings.update({"max_concurrent": 1, "latency_s": 0.1})
        with ThreadPoolExecutor(3) as threads:
            creates = [threads.submit(remind, connect(twilio.base_url)) for _ in range(3)]
            refused = [create.exception() for create in creates if create.exception()]
        assert {error.code for error in refused} == {20429}
        assert len(twilio.messages()) == 3 - len(refused) >= 1

    def test_callbacks_can_be_late(self, twilio, client, receiver):
        twilio.settings.update({"delay_s": [10, 10]})
        sid = remind(client, status_callback=f"{receiver.url}/cb").sid
        read = twilio.wait_for(sid, "read")
        twilio.wait_idle()
        assert receiver.statuses() == ["sent", "delivered", "read"]
        assert twilio.callbacks()[-1].at - read.updated_at >= 0.1  # 10 seconds at a pace of 0.01

    def test_an_absent_twilio_refuses_connections_and_comes_back_on_its_port(self, twilio, client):
        sid, address = remind(client).sid, twilio.base_url
        twilio.go_away()
        with pytest.raises(requests.exceptions.ConnectionError):
            client.messages(sid).fetch()
        twilio.come_back()
        assert twilio.base_url == address
        assert client.messages(sid).fetch().sid == sid

    def test_nonsense_settings_are_refused_in_words_and_change_nothing(self, twilio):
        for change in ({"drop_rate": 2}, {"double_rate": 1, "create_error": "teapot"}, {"colour": "red"}):
            with pytest.raises(urllib.error.HTTPError) as refused:
                control(twilio, "settings", **change)
            assert refused.value.code == 400
            assert next(iter(change)) in (text := json.load(refused.value)["error"]) or "create_error" in text
        assert (twilio.settings.drop_rate, twilio.settings.double_rate) == (0, 0)


class TestInbound:
    def test_an_answer_is_posted_signed_and_its_reply_sent(self, twilio, client, receiver):
        twilio.settings.inbound_url = f"{receiver.url}/in"
        receiver.answer = lambda _: (200, b"<Response><Message>We call you back</Message></Response>")
        answer = control(twilio, "inbound", **{"from": "+447700900500", "body": "Call me", "name": "Asha"})
        twilio.wait_idle()
        (post,) = receiver.received
        assert (post.valid, post.path) == (True, "/in")
        assert post.params | {
            "MessageSid": answer["sid"], "From": CUSTOMER, "To": SENDER, "Body": "Call me", "NumMedia": "0",
            "ProfileName": "Asha", "WaId": "447700900500", "SmsStatus": "received",
        } == post.params  # fmt: skip
        reply, received = client.messages.list(limit=5)
        assert (received.direction, received.status) == ("inbound", "received")
        assert (reply.direction, reply.body, reply.status) == ("outbound-reply", "We call you back", "read")
        assert twilio.contact(CUSTOMER).window_is_open(time.time())


class TestThePage:
    def test_shows_the_conversation_escaped_under_a_strict_policy(self, twilio, client, receiver):
        twilio.receive(CUSTOMER, "<script>alert(1)</script>")
        client.messages.create(
            to=CUSTOMER, from_=SENDER, content_sid=POLICY_DOCUMENT,
            content_variables=json.dumps({"3": f"{receiver.url}/policy.pdf"}),
        )  # fmt: skip
        twilio.wait_idle()
        answer = requests.get(f"{twilio.base_url}/", params={"with": CUSTOMER}, timeout=PATIENCE_S)
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "This is a simulator." in answer.text
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;alert" in answer.text
        (media,) = twilio.media(twilio.messages()[-1].sid)
        document = requests.get(f"{twilio.base_url}/phone/media/{media.sid}", timeout=PATIENCE_S)
        assert f"/phone/media/{media.sid}" in answer.text
        assert (document.content, document.headers["Content-Type"]) == (PDF, "application/pdf")

    def test_its_forms_answer_block_and_press_buttons(self, twilio):
        for path, form in (
            ("answer", {"with": "+44 7700 900500", "body": "Hello"}),
            ("block", {"with": CUSTOMER, "blocked": "1"}),
            ("fault", {"fault": "double", "on": "1"}),
        ):
            assert requests.post(f"{twilio.base_url}/phone/{path}", data=form, timeout=PATIENCE_S).status_code == 200
        assert [message.body for message in twilio.messages()] == ["Hello"]
        assert (twilio.contact(CUSTOMER).blocked, twilio.settings.double_rate) == (True, 1.0)

    @pytest.mark.parametrize(
        "headers",
        [{"Origin": "https://evil.example.test"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example.test"}],
    )
    def test_other_sites_cannot_play_with_it(self, twilio, headers):
        for path in ("phone/answer", "_simulator/inbound"):
            answer = requests.post(f"{twilio.base_url}/{path}", data={"with": CUSTOMER, "body": "x"}, headers=headers,
                                   timeout=PATIENCE_S)  # fmt: skip
            assert answer.status_code == 403
        assert twilio.messages() == []


class TestTheProcess:
    def test_messages_and_callbacks_survive_kill_9(self, tmp_path: Path, receiver):
        state = str(tmp_path / "twilio.sqlite")
        process, base_url = self.run("--state", state, "--pace", "0.05")
        client = connect(base_url)
        receiver.answer = lambda _: (204, b"")
        sids = [remind(client, status_callback=f"{receiver.url}/cb").sid for _ in range(10)]
        with receiver.changed:
            receiver.changed.wait_for(lambda: receiver.received, timeout=PATIENCE_S)
        process.kill()
        process.wait()
        with Simulator(ACCOUNT, TOKEN, state=state, pace=0.01) as again:
            again.wait_idle()
            assert [(message.sid, message.status) for message in again.messages()] == [(sid, "read") for sid in sids]
        for sid in sids:
            assert set(receiver.statuses(sid)) == {"sent", "delivered", "read"}
        assert all(item.valid for item in receiver.received)

    def test_a_state_file_of_an_older_simulator_is_read(self, tmp_path: Path):
        state = tmp_path / "twilio.sqlite"
        with Simulator(ACCOUNT, TOKEN, state=str(state), pace=0) as simulator:
            simulator.receive(CUSTOMER, "Hello")
        with closing(sqlite3.connect(state)) as older:
            for statement in ("ALTER TABLE messages DROP COLUMN choices", "ALTER TABLE messages DROP COLUMN menu",
                              "DROP TABLE contents", "DROP TABLE openings", "DROP TABLE senders"):  # fmt: skip
                older.execute(statement)
        with Simulator(ACCOUNT, TOKEN, state=str(state), pace=0) as simulator:
            assert [message.body for message in simulator.messages()] == ["Hello"]
            simulator.wait_for(remind(connect(simulator.base_url)).sid, "read")

    def test_sigterm_ends_it_cleanly(self):
        process, base_url = self.run()
        assert requests.get(base_url, timeout=PATIENCE_S).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0

    def run(self, *options: str) -> tuple[subprocess.Popen[str], str]:
        environment = {**os.environ, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": TOKEN}
        process = subprocess.Popen([sys.executable, "-m", "whatsapp_logs.twilio.simulator", *options],
                                   env=environment, stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert process.stdout
        line = process.stdout.readline()
        assert "nothing leaves this machine" in line
        return process, next(word for word in line.split() if word.startswith("http://"))
