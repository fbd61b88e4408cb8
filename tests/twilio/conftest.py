from __future__ import annotations

from collections.abc import Iterator

import pytest
from twilio.rest import Client

from tests.twilio.account import ACCOUNT, PDF, SENDER, TOKEN, connect
from tests.twilio.receiver import Receiver
from whatsapp_logs.twilio.simulator import Simulator


@pytest.fixture
def twilio() -> Iterator[Simulator]:
    with Simulator(ACCOUNT, TOKEN, pace=0.01, seed=1, whatsapp_from=SENDER) as simulator:
        yield simulator


@pytest.fixture
def client(twilio: Simulator) -> Client:
    return connect(twilio.base_url)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(TOKEN) as receiver:
        receiver.files["/policy.pdf"] = ("application/pdf", PDF)
        yield receiver
