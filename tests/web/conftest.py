"""Fixtures of the web tests: `agent` at a browser, and `logged` messages at any status and age."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.service_fixtures import Person
from whatsapp_logs import Draft, Message, Source, StatusReport, WhatsAppService


@pytest.fixture
def agent(signed_in: Callable[[str], Person]) -> Person:
    return signed_in("agent")


@pytest.fixture
def logged(service: WhatsAppService) -> Callable[..., Message]:
    """A function that logs one message at a status, created at a moment."""

    def log(status: str = "queued", *, at: datetime | None = None, to: str = "+447700900123", **facts: Any) -> Message:
        report = {name: facts.pop(name) for name in ("error_code", "error_message") if name in facts}
        message = service.send(Draft(to=to, **{"body": "Hello", **facts}))
        if at is not None:
            with service.transaction() as conn:
                conn.execute("UPDATE whatsapp_logs.messages SET created_at = %s WHERE id = %s", (at, message.id))
        told = StatusReport(provider_status=status, message_id=message.id, provider_id=f"SM{message.id:032x}", **report)
        service.record([told], source=Source.CALLBACK)
        return service.message(message.id)

    return log
