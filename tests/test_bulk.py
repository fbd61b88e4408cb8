"""Many messages at once: each becomes what it would have become alone, in a few statements."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from whatsapp_logs import Draft, MediaFile, MessageFilter, Status, WhatsAppService
from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.message import Message, Template
from whatsapp_logs.twilio.simulator import Simulator

PDF = MediaFile(content=b"%PDF-1.7", content_type="application/pdf", filename="policy.pdf")
NOTICE = Template(sid="HX" + "1" * 32, name="notice", variables={"1": "Asha\0", "2": "it’s “due”"}, media_variable="3")
KINDS = [
    Draft(to="+44 7700 900222", body="Hello", created_by="anna"),
    Draft(to="no number", body="Hello"),
    Draft(to="no number", body="Your policy", media=PDF),
    Draft(to="+447700900223", body="Your policy", media=PDF, message_type="policy_document"),
    Draft(to="+447700900224", body="Hello Asha", template=NOTICE, message_type="a type!"),
    Draft(to="+447700900225", body="x" * 5000),
    Draft(to="+447700900226", body="later", send_at=datetime.now(UTC) + timedelta(hours=3)),
    Draft(to="+447700900227", body="NUL \0, and half a pair \ud800"),
]


def content(message: Message) -> Message:
    """The message without what differs between any two."""
    return replace(
        message,
        id=0,
        request_key=None,
        media_id=None,
        created_at=NOW,
        updated_at=NOW,
        failed_at=message.failed_at and NOW,
    )


NOW = datetime.now(UTC)


@pytest.mark.parametrize("draft", KINDS, ids=lambda draft: draft.body[:12].split("\0")[0])
def test_one_of_many_is_what_it_would_be_alone(draft: Draft, service: WhatsAppService) -> None:
    alone = service.send(draft)
    others = [Draft(to="+447700900300", body="other"), draft, Draft(to="nobody", body="other")]
    ids = service.send_many(others)
    among = service.message(ids[1])
    assert content(among) == content(alone)
    assert (among.media_id is None) == (alone.media_id is None)
    told = [(event.provider_status, event.error_code, event.source) for event in service.timeline(alone.id)]
    assert [(event.provider_status, event.error_code, event.source) for event in service.timeline(among.id)] == told


def test_each_of_many_is_handed_over_once(
    service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
) -> None:
    ids = service.send_many([Draft(to=f"+4477009{n:05d}", body=f"Message {n}") for n in range(120, 230)])
    work()
    theirs = {message.sid for message in simulator.messages()}
    assert len(theirs) == 110
    assert {service.message(id_).provider_id for id_ in ids} == theirs
    assert [service.message(id_).body for id_ in ids] == [f"Message {n}" for n in range(120, 230)]


def test_fault_19_a_campaign_asked_for_twice_and_twins_within_it_are_one_message_each(service: WhatsAppService) -> None:
    drafts = [
        Draft(to="+447700900222", body=f"Message {n}", media=PDF, request_key=f"campaign-{n % 30}") for n in range(40)
    ]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: service.send_many(drafts), range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][:10] == answers[0][30:]
    assert service.count(MessageFilter()) == 30


def test_one_unknown_client_leaves_nothing_behind(service: WhatsAppService, dsn: str) -> None:
    with pytest.raises(InvalidInput, match="no such client"):
        service.send_many([Draft(to="+447700900222", body="x"), Draft(to="+447700900222", body="x", client_id=77)])
    with pytest.raises(InvalidInput, match="not one of this portal's"):
        service.send_many([Draft(to="+447700900222", body="x", client_id="x")])
    with psycopg.connect(dsn) as conn:
        left = conn.execute(
            "SELECT (SELECT count(*) FROM whatsapp_logs.messages) + (SELECT count(*) FROM whatsapp_logs.procrastinate_jobs)"
        ).fetchone()
    assert left == (0,)


def test_many_commit_with_the_callers_own_rows_or_not_at_all(service: WhatsAppService) -> None:
    with service.transaction() as conn:
        ids = service.send_many([Draft(to="+447700900222", body="x")], conn=conn)
        assert len(ids) == 1
        conn.rollback()
    assert service.count(MessageFilter()) == 0
    assert service.send_many([]) == []


def test_what_is_to_go_out_later_waits(service: WhatsAppService, work: Callable[[], None]) -> None:
    now, later = service.send_many(
        [Draft(to="+447700900222", body="now"), replace(KINDS[6], send_at=datetime.now(UTC) + timedelta(hours=1))]
    )
    work()
    assert service.message(now).status is not Status.QUEUED
    assert service.message(later).provider_id is None
