"""A database that has no room or no connection left: said truly, acknowledged by nobody, and over when it is over."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from flask import Flask

from tests.web.twilio_calls import Twilio, sid
from whatsapp_logs import Config, Draft, MessageFilter, WhatsAppService
from whatsapp_logs.errors import DatabaseAway

# What a server with a full disk answers to every write.
NO_ROOM = """
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_room BEFORE INSERT ON whatsapp_logs.status_events FOR EACH STATEMENT EXECUTE FUNCTION no_room()
"""


def test_fault_16_a_full_pool_is_said_at_once_and_passes(config: Config) -> None:
    service = WhatsAppService(replace(config, pool_size=1, pool_timeout_s=0.2))
    with service.transaction(), pytest.raises(DatabaseAway):
        service.page(MessageFilter())
    assert service.page(MessageFilter()).messages == []
    service.close()


def test_fault_16_a_full_disk_acknowledges_nothing_and_says_what_is_the_matter(
    app: Flask, config: Config, service: WhatsAppService, dsn: str
) -> None:
    twilio = Twilio(app.test_client(), config.public_base_url)
    draft = Draft(to="+447700900222", body="x", request_key="form-1")
    message = service.send(replace(draft, request_key="form-0"))
    with psycopg.connect(dsn) as conn:
        conn.execute(NO_ROOM)
    with pytest.raises(DatabaseAway, match="disk is full"):
        service.send(draft)
    assert twilio.report(sid(1), "delivered", message=message.id).status_code == 503
    assert service.count(MessageFilter()) == 1  # reading goes on
    with psycopg.connect(dsn) as conn:
        conn.execute("DROP TRIGGER no_room ON whatsapp_logs.status_events")
    service.send(draft)
    assert twilio.report(sid(1), "delivered", message=message.id).status_code == 204
    assert service.message(message.id).status == "delivered"
    assert service.count(MessageFilter()) == 2
