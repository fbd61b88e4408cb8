"""Asking again repairs what a lost callback left behind, with as few questions as Twilio allows."""

from __future__ import annotations

from collections.abc import Callable

from whatsapp_logs import Draft, Status, WhatsAppService
from whatsapp_logs.message import Source, StatusReport
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
