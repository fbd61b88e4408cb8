"""The simulator behaves as Twilio does, seen through the official SDK and a webhook receiver."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from tests.twilio.receiver import Receiver
from whatsapp_logs.twilio.simulator import POLICY_DOCUMENT, RENEWAL_REMINDER, Simulator

ACCOUNT, TOKEN = "AC" + "a" * 32, "test-token-0001"
SENDER = "whatsapp:+15550100100"
CUSTOMER = "whatsapp:+447700900500"
PDF = b"%PDF-1.4 a policy"


@pytest.fixture
def twilio() -> Iterator[Simulator]:
    with Simulator(ACCOUNT, TOKEN, pace=0.02, seed=1, whatsapp_from=SENDER) as simulator:
        yield simulator


@pytest.fixture
def client(twilio: Simulator) -> Client:
    return connect(twilio)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(TOKEN) as receiver:
        receiver.files["/policy.pdf"] = ("application/pdf", PDF)
        yield receiver


def connect(simulator: Simulator, *, token: str = TOKEN) -> Client:
    client = Client(ACCOUNT, token, http_client=TwilioHttpClient(timeout=5))
    client.api.base_url = client.content.base_url = simulator.base_url
    return client


def remind(client: Client, to: str = CUSTOMER, **more: object):
    return client.messages.create(
        to=to, from_=SENDER, content_sid=RENEWAL_REMINDER,
        content_variables=json.dumps({"1": "Asha", "2": "POL-7", "3": "12 May"}), **more,
    )  # fmt: skip


class TestHappyPath:
    def test_create_answers_queued_and_the_message_is_read_in_the_end(self, twilio, client):
        created = remind(client)
        assert (created.status, created.direction, created.date_sent, created.price) == ("queued", "outbound-api", None, None)
        assert created.body == "Hello Asha, your policy POL-7 is due for renewal on 12 May. Please contact us to renew it in time."
        twilio.wait_for(created.sid, "read")
        fetched = client.messages(created.sid).fetch()
        assert fetched.status == "read"
        assert fetched.date_sent is not None
        assert (fetched.num_segments, fetched.num_media, fetched.price_unit) == ("1", "0", "USD")

    def test_sent_delivered_and_read_are_called_back_signed_in_order(self, twilio, client, receiver):
        created = remind(client, status_callback=f"{receiver.url}/cb?row=17&x=a%20b")
        twilio.wait_for(created.sid, "read")
        twilio.wait_idle()
        assert receiver.statuses() == ["sent", "delivered", "read"]
        assert all(item.valid for item in receiver.received)
        first = receiver.received[0]
        assert first.path == "/cb?row=17&x=a%20b"
        assert first.params | {"ChannelPrefix": "whatsapp", "MessageSid": created.sid} == first.params
        assert [(a.status, a.attempt, a.answer) for a in twilio.callbacks()] == [
            ("sent", 1, 204), ("delivered", 1, 204), ("read", 1, 204)]  # fmt: skip

    def test_list_shows_newest_first(self, client):
        sids = [remind(client, to=f"whatsapp:+44770090060{n}").sid for n in range(3)]
        assert [message.sid for message in client.messages.list(limit=10)] == sids[::-1]

    def test_a_wrong_token_is_refused(self, twilio):
        with pytest.raises(TwilioRestException) as refused:
            remind(connect(twilio, token="wrong"))
        assert (refused.value.status, refused.value.code) == (401, 20003)

    def test_a_policy_document_is_fetched_and_kept(self, twilio, client, receiver):
        created = client.messages.create(
            to=CUSTOMER, from_=SENDER, content_sid=POLICY_DOCUMENT,
            content_variables=json.dumps({"1": "Asha", "2": "POL-7", "3": f"{receiver.url}/policy.pdf"}),
        )  # fmt: skip
        assert twilio.wait_for(created.sid, "read").phone_text.startswith("Hello Asha")
        assert [(item.content_type, item.content) for item in twilio.media(created.sid)] == [("application/pdf", PDF)]
