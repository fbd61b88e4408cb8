"""Sending later from the portal's forms: scheduled at the chosen time of the chosen place, or refused beside the field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.portal.conftest import Browser, Office
from whatsapp_logs import Status

Open = Callable[[str | None], Browser]
LONDON, NEW_YORK = ZoneInfo("Europe/London"), ZoneInfo("America/New_York")


def in_days(n: int) -> str:
    return (datetime.now(LONDON).date() + timedelta(days=n)).isoformat()


def american(office: Office) -> int:
    (client_id,) = office.row("SELECT client_id FROM clients WHERE starts_with(phone, '+1') ORDER BY client_id LIMIT 1")
    assert isinstance(client_id, int)
    return client_id


def test_a_message_is_scheduled_at_the_clients_time_and_the_note_says_both(office: Office, browser: Open) -> None:
    client_id, person = american(office), browser("arjun.agent")
    page, form = f"/clients/{client_id}", f"/clients/{client_id}/message"
    answer = person.submit(
        page, form, body="Good morning", later_day=in_days(5), later_time="09:30", later_zone="recipient"
    )
    assert answer.status_code == 303
    message = office.newest()
    assert message.status is Status.SCHEDULED
    assert message.send_at is not None
    assert message.send_at.astimezone(NEW_YORK).time() == time(9, 30)
    note = person.get(page).text
    assert "Scheduled for " in note
    assert "(09:30 where they live)" in note
    assert "Good morning" in person.get("/whatsapp_logs/scheduled").text


def test_the_offices_time_may_be_meant(office: Office, browser: Open) -> None:
    client_id, person = american(office), browser("arjun.agent")
    fields = {"body": "Good day", "later_day": in_days(5), "later_time": "09:30", "later_zone": "office"}
    person.submit(f"/clients/{client_id}", f"/clients/{client_id}/message", **fields)
    message = office.newest()
    assert message.send_at is not None
    assert message.send_at.astimezone(LONDON).time() == time(9, 30)


@pytest.mark.parametrize(
    ("day", "clock", "words"),
    [
        ("2020-01-01", "09:30", "That time has passed"),
        (in_days(3), "", "choose both a day and a time"),
        ("", "09:30", "choose both a day and a time"),
        ("tomorrow", "noon", "Choose a day and a time, like"),
        (in_days(900), "09:30", "more than a year ahead"),
    ],
)
def test_a_time_that_cannot_be_is_refused_in_words_and_nothing_is_lost(
    office: Office, browser: Open, day: str, clock: str, words: str
) -> None:
    before, person = office.message_count(), browser("arjun.agent")
    answer = person.submit("/clients/1", "/clients/1/message", body="Kept words", later_day=day, later_time=clock)
    assert answer.status_code == 400
    assert words in answer.text
    assert "Kept words" in answer.text
    assert office.message_count() == before


def test_a_document_is_scheduled_with_its_pdf_and_a_repeated_form_makes_one(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    fields = person.hidden_fields("/policies/21", "/policies/21/send") | {
        "later": "yes", "later_day": in_days(2), "later_time": "10:00", "later_zone": "office",
    }  # fmt: skip
    before = office.message_count()
    for _ in range(2):
        assert person.post("/policies/21/send", fields).status_code == 303
    message = office.newest()
    assert office.message_count() == before + 1
    assert (message.status, message.media_content_type) == (Status.SCHEDULED, "application/pdf")
    nothing = person.submit("/policies/22", "/policies/22/send", later="yes")
    assert nothing.status_code == 400
    assert "choose both a day and a time" in nothing.text


def test_a_question_before_sending_keeps_the_chosen_time(office: Office, browser: Open) -> None:
    person = browser("arjun.agent")
    assert person.submit("/renewals/31", "/renewals/31/remind").status_code == 303
    fields = {"later_day": in_days(4), "later_time": "11:15", "later_zone": "office"}
    asked = person.submit("/renewals/31", "/renewals/31/remind", **fields)
    assert "Send it again?" in asked.text
    assert 'name="later_time" value="11:15"' in asked.text
    assert "It leaves on " in asked.text


def test_empty_fields_mean_now(office: Office, browser: Open) -> None:
    browser("arjun.agent").submit(
        "/clients/2", "/clients/2/message", body="At once", later_day="", later_time="", later_zone="office"
    )
    assert office.newest().status is Status.QUEUED
    assert office.newest().created_at <= datetime.now(UTC)
