"""Questions to be pressed, on Twilio's wire: buttons, lists, old ones, numbers typed all the same, text where it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from tests.bot.office import ASHA, Office
from tests.bot.test_answering import answered, said, write
from tests.service_fixtures import work_until_idle
from whatsapp_logs import WhatsAppService, bot_words, interactive, jobs, making
from whatsapp_logs.bot_words import OLD_MENU
from whatsapp_logs.store import interactive as contents
from whatsapp_logs.twilio.simulator import Simulator
from whatsapp_logs.twilio.simulator.ledger import Message

Say = Callable[[str], list[Message]]


@pytest.fixture
def service(service: WhatsAppService) -> WhatsAppService:
    """The gate asks about templates, as in earnest."""
    return WhatsAppService(replace(service.config, gate_off=frozenset({"quiet_hours"})), records=service.desk.records)


@pytest.fixture
def say(service: WhatsAppService, simulator: Simulator, live: str) -> Say:
    """A function that lets Asha type something, or press what `sid:number` names; returns what arrives at her phone."""
    simulator.settings.inbound_url = f"{live}/whatsapp/inbound"
    with service.transaction() as conn:
        making.want_usual(conn)
    work_until_idle(service)

    def write(words: str) -> list[Message]:
        before = len(answered(simulator))
        sid, _, choice = words.partition(":")
        if choice:
            (wanted,) = [one.id for one in simulator.message(sid).choices if one.id.endswith(f":{choice}")]
            simulator.press(sid, wanted)
        else:
            simulator.receive(f"whatsapp:{ASHA}", words)
        simulator.wait_idle()
        work_until_idle(service)
        simulator.wait_idle()
        return answered(simulator)[before:]

    return write


def titles(message: Message) -> list[str]:
    return [one.title for one in message.choices]


def test_menu_identity_list_and_document_by_pressing(say: Say, service: WhatsAppService, office: Office) -> None:
    (menu,) = say("Hi")
    assert titles(menu) == ["My policies", "A policy document", "Renewal dates", "Talk to a person"]
    assert {one.kind for one in menu.choices} == {"list"}
    assert menu.body == bot_words.menu("Harbour Lane"), "the words are those of the text, numbers and all"
    (asked,) = say(f"{menu.sid}:2")
    assert asked.body == bot_words.ASK_NUMBER
    say("MOT-26-001")
    (which,) = say("24 March 1980")
    assert titles(which) == ["MOT-26-001", "HOM-26-002", "Beginning"]
    assert {one.kind for one in which.choices} == {"reply"}, "three are buttons"
    assert len(say(f"{which.sid}:1")) == 2
    assert len(say(f"{which.sid}:2")) == 2, "the same list once more"
    assert office.given_out == [("1", "11"), ("1", "12")]
    (menu,) = say("menu")
    (old,) = say(f"{which.sid}:1")
    assert old.body.startswith(OLD_MENU), "a newer list counts"
    assert titles(old) == titles(menu)
    (dates,) = say("3")
    assert titles(dates) == ["Talk to a person", "Beginning"], "a number that is typed is understood as before"
    assert office.given_out == [("1", "11"), ("1", "12")]
    bodies = [one.body for one in service.desk.chat(service.desk.ids_of([ASHA])[ASHA]).messages]
    assert menu.body in bodies, "the log holds what the phone shows"


def test_what_twilio_keeps_holds_nothing_of_anybody(say: Say, simulator: Simulator, service: WhatsAppService) -> None:
    for words in ("Hi", "1", "MOT-26-001", "24 March 1980", "1"):
        say(words)
    kept = [one for one in simulator.templates() if one.friendly_name.startswith("bot_")]
    assert len(kept) == len({one.name for one in interactive.usual()})
    assert "MOT-26" not in repr(kept)
    assert "Harbour" not in repr(kept)
    assert not [one for one in service.template_entries() if one.latest.name.startswith("bot_")], (
        "nobody is to choose these"
    )


def test_a_shape_that_is_not_there_yet_is_sent_as_text_and_made(
    say: Say, service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM whatsapp_logs.interactive_contents")
    (menu,) = say("Hi")
    assert (menu.choices, menu.body) == ((), bot_words.menu("Harbour Lane"))
    (menu,) = say("Hi")
    assert len(menu.choices) == 4


def test_what_twilio_does_not_take_or_gives_up_stays_text(
    say: Say, service: WhatsAppService, simulator: Simulator, dsn: str
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            UPDATE whatsapp_logs.interactive_contents
            SET content_sid = NULL, tried_at = NULL, content = jsonb_set(content, '{actions}', '[]')
            """
        )
    (menu,) = say("Hi")
    assert menu.choices == ()
    service.make_contents()
    with service.transaction() as conn:
        assert conn.execute(
            "SELECT count(*) FROM whatsapp_logs.interactive_contents WHERE problem LIKE 'Twilio does not take%%'"
        ).fetchone() != (0,)
        assert contents.wanted(conn, now=jobs.datetime.now(jobs.UTC), limit=99) == [], "not asked again every minute"
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM whatsapp_logs.interactive_contents")
    say("Hi")
    assert len(say("Hi")[0].choices) == 4
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "UPDATE whatsapp_logs.template_versions SET approval = 'deleted' WHERE content_type LIKE '%picker'"
        )
    assert say("Hi")[0].choices == (), "the gate refuses it, and the text goes out"
    simulator.go_away()
    with psycopg.connect(dsn) as conn:
        conn.execute("DELETE FROM whatsapp_logs.interactive_contents")
    with service.transaction() as conn:
        making.want_usual(conn)
    service.make_contents()  # says in the log that Twilio is away, and fails nobody's job
    simulator.come_back()


def test_an_office_may_do_without(service: WhatsAppService, simulator: Simulator, office: Office) -> None:
    plain = WhatsAppService(replace(service.config, bot_buttons=False), records=office)
    with plain.transaction() as conn:
        making.want_usual(conn)
    work_until_idle(plain)
    simulator.receive(f"whatsapp:{ASHA}", "Hi")
    write(plain, "Hi", sid="SM1")
    work_until_idle(plain)
    assert said(plain)[-1].template_sid is None
    write(service, "Hi", sid="SM2")
    work_until_idle(service)
    assert said(service)[-1].template_sid is not None, "the others' would have been one to press"
    plain.close()
