"""The page of what is coming: in its order and by day, in both times, canceled and changed by those who may."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from tests.service_fixtures import Person, make_portal
from whatsapp_logs import Config, Draft, Message, Status, Template, WhatsAppService
from whatsapp_logs.twilio.simulator import RENEWAL_REMINDER

LONDON, NEW_YORK = ZoneInfo("Europe/London"), ZoneInfo("America/New_York")
PATH = "/whatsapp_logs/scheduled"


@pytest.fixture
def service(config: Config):
    service = WhatsAppService(replace(config, display_timezone="Europe/London"))
    yield service
    service.close()


@pytest.fixture
def app(service: WhatsAppService) -> Flask:
    return make_portal(service, client_names=lambda ids: {}, policy_names=lambda ids: {})


@pytest.fixture
def later(service: WhatsAppService) -> Callable[..., Message]:
    def send(days: int = 1, clock: time = time(9), to: str = "+447700900222", **facts: object) -> Message:
        day = datetime.now(LONDON).date() + timedelta(days=days)
        at = datetime.combine(day, clock, LONDON).astimezone(UTC)
        return service.send(Draft(to=to, send_at=at, **({"body": "Hello", "created_by": "arjun"} | facts)))  # type: ignore[arg-type]

    return send


def path_of(message: Message) -> str:
    return f"{PATH}/{message.id}"


def form_of(person: Person, message: Message) -> dict[str, str]:
    """What the form holds before anybody has typed."""
    html = person.get(path_of(message)).text
    found = dict(re.findall(r'<input[^>]* name="(day|time|field_\w+)"[^>]* value="([^"]*)"', html))
    if area := re.search(r"<textarea[^>]*>([^<]*)</textarea>", html):
        found["body"] = area[1]
    return found


def test_what_is_coming_stands_by_day_soonest_first_with_the_recipients_own_time(later, signed_in) -> None:
    later(2, time(8), body="the day after", to="+12125550100")
    later(1, time(18), body="in the evening")
    later(1, time(9), body="in the morning")
    page = signed_in("agent").get(PATH).text
    places = [page.index(words) for words in ("Tomorrow, ", "in the morning", "in the evening", "the day after")]
    assert places == sorted(places)
    assert re.search(r"<small>0[23]:00 in New York</small>", page), "three in the morning there: worth seeing"
    assert page.count(" in New York") == 1
    assert "written by arjun" in page
    assert "3 scheduled" in page


def test_a_long_list_goes_on_page_by_page(later, signed_in, service: WhatsAppService) -> None:
    at = datetime.now(UTC) + timedelta(days=2)
    service.send_many([Draft(to=f"+447700900{n:03}", body=f"number {n:03}.", send_at=at) for n in range(120)])
    person, seen, path = signed_in("agent"), [], PATH
    while path:
        page = person.get(path).text
        seen += re.findall(r"number \d+\.", page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1] if following else ""
    assert seen == [f"number {n:03}." for n in range(120)]
    assert person.get(f"{PATH}?after=nonsense").status_code == 400


def test_what_should_have_left_is_said_first(later, signed_in, service: WhatsAppService) -> None:
    message = later()
    with service.transaction() as conn:
        conn.execute(
            "UPDATE whatsapp_logs.messages SET send_at = now() - interval '1 hour' WHERE id = %s", (message.id,)
        )
    assert "Should have left" in signed_in("agent").get(PATH).text


def test_an_empty_list_says_how_to_fill_it(signed_in) -> None:
    assert "Nothing is scheduled" in signed_in("viewer").get(PATH).text


def test_a_message_is_canceled_from_the_list_by_whoever_may_send(later, signed_in, service: WhatsAppService) -> None:
    message = later()
    assert signed_in("viewer").post(f"{path_of(message)}/cancel").status_code == 403
    assert signed_in("compliance").post(f"{path_of(message)}/cancel").status_code == 403
    agent = signed_in("agent")
    answer = agent.post(f"{path_of(message)}/cancel", follow_redirects=True)
    assert f"Canceled: message {message.id} is not sent." in answer.text
    assert service.message(message.id).status is Status.CANCELED
    again = agent.post(f"{path_of(message)}/cancel", follow_redirects=True)
    assert "Not canceled. It was canceled already, by agent@office.example.test, at" in again.text
    shown = agent.get(f"/whatsapp_logs/messages/{message.id}").text
    assert "by agent@office.example.test" in shown
    assert agent.post(f"{PATH}/{2**63}/cancel").status_code == 404


def test_time_and_text_are_changed_in_a_form_that_begins_with_what_is(
    later, signed_in, service: WhatsAppService
) -> None:
    message, agent = later(1, time(9)), signed_in("agent")
    fields = form_of(agent, message)
    assert fields["time"] == "09:00"
    assert fields["body"] == "Hello"
    day = datetime.now(LONDON).date() + timedelta(days=3)
    answer = agent.post(
        path_of(message), data=fields | {"day": day.isoformat(), "time": "10:30", "body": "Good morning"}
    )
    assert (answer.status_code, answer.location) == (303, PATH)
    changed = service.message(message.id)
    assert changed.send_at == datetime.combine(day, time(10, 30), LONDON).astimezone(UTC)
    assert changed.body == "Good morning"
    story = agent.get(f"/whatsapp_logs/messages/{message.id}").text
    assert "by agent@office.example.test: to leave " in story
    assert "another text" in story


def test_whose_time_is_asked_where_it_makes_a_difference(later, signed_in, service: WhatsAppService) -> None:
    message, agent = later(2, time(18), to="+12125550100"), signed_in("agent")
    page = agent.get(path_of(message)).text
    assert "the recipient’s, in New York" in page
    assert "the office’s, in London" in page
    day = (datetime.now(NEW_YORK).date() + timedelta(days=4)).isoformat()
    agent.post(path_of(message), data={"day": day, "time": "09:15", "zone": "recipient", "body": "Hello"})
    there = service.message(message.id).send_at.astimezone(NEW_YORK)  # type: ignore[union-attr]
    assert (there.date().isoformat(), there.time()) == (day, time(9, 15))
    agent.post(path_of(message), data={"day": day, "time": "09:15", "zone": "office", "body": "Hello"})
    here = service.message(message.id).send_at.astimezone(LONDON)  # type: ignore[union-attr]
    assert (here.date().isoformat(), here.time()) == (day, time(9, 15))


def test_a_past_or_senseless_time_is_refused_beside_the_field_and_nothing_is_lost(later, signed_in) -> None:
    message, agent = later(), signed_in("agent")
    gone = agent.post(path_of(message), data={"day": "2020-02-29", "time": "10:00", "body": "Typed with care"})
    assert gone.status_code == 400
    assert "That time has passed" in gone.text
    assert "Typed with care" in gone.text
    for day, clock in (("", ""), ("2027-02-29", "10:00"), ("2027-03-01", "25:00"), ("x", "y")):
        assert agent.post(path_of(message), data={"day": day, "time": clock}).status_code == 400


def test_a_templates_fields_are_changed_and_its_words_are_not(later, signed_in, service: WhatsAppService) -> None:
    template = Template(
        sid=RENEWAL_REMINDER, name="renewal_reminder", variables={"1": "Asha", "2": "POL-7", "3": "1 May"}
    )
    message = later(body="Hello Asha, your policy POL-7 is due on 1 May.", template=template)
    agent = signed_in("agent")
    fields = form_of(agent, message)
    assert [fields[f"field_{n}"] for n in (1, 2, 3)] == ["Asha", "POL-7", "1 May"]
    agent.post(path_of(message), data=fields | {"field_3": "2 May", "body": "Anything"})
    assert service.message(message.id).body == "Hello Asha, your policy POL-7 is due on 2 May."


def test_what_has_left_is_no_longer_changed_and_says_so(later, signed_in, service: WhatsAppService) -> None:
    message, agent = later(), signed_in("agent")
    with service.transaction() as conn:
        conn.execute(
            "UPDATE whatsapp_logs.messages SET send_at = now() - interval '1 minute' WHERE id = %s", (message.id,)
        )
    service.deliver([message.id])
    answer = agent.get(path_of(message), follow_redirects=True)
    assert "Not to be changed any more. It has left already, at" in answer.text


def test_who_may_not_read_texts_changes_the_time_alone(later, app: Flask, service: WhatsAppService) -> None:
    from whatsapp_logs import Right, Viewer, WhatsAppLogs

    message = later()
    host, viewer = Flask("a_host"), Viewer("somebody", frozenset({Right.SEE, Right.SEND}))
    host.config.update(SECRET_KEY=service.config.secret_key, WTF_CSRF_ENABLED=False)
    WhatsAppLogs(service).init_app(host, current_user=lambda: viewer)
    person = host.test_client()
    for path in (PATH, path_of(message)):
        assert "Hello" not in person.get(path).text
        assert "900222" not in person.get(path).text
