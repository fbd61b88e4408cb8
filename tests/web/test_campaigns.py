"""The pages of a campaign: who sees and presses what, what is refused and said, and what leaves the house as a file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from html import unescape

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests import service_fixtures
from tests.campaign_tables import fill_catalogue, people, prepared, set_going, xlsx
from tests.service_fixtures import Person, make_portal
from whatsapp_logs import Addressee, Audience, AudienceField, MessageFilter, Right, WhatsAppService
from whatsapp_logs.access_log import AccessFilter

SignIn = Callable[[str], Person]
ROOT = "/whatsapp_logs/campaigns"


@pytest.fixture
def notice(dsn: str) -> int:
    return fill_catalogue(dsn)["general_notice"]


@pytest.fixture
def agent(signed_in: SignIn) -> Person:
    return signed_in("agent")


def words(answer: TestResponse) -> str:
    """What the page says, without its tags."""
    main = answer.text.partition("<body")[2]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def upload(person: Person, content: bytes, name: str = "people.csv", **form: str) -> TestResponse:
    return person.post(ROOT, data=form | {"file": (io.BytesIO(content), name)}, content_type="multipart/form-data")


def table_of(rows: list[tuple[str, str, str]]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("Mobile", "Client name", "Notice"), *rows])
    return out.getvalue().encode()


THREE = [("07700 900150", "Asha", "one."), ("no number", "=Ben", "one."), ("07700 900151", "Cara", "two.")]
MEANING = {"do": "save", "name": "Spring", "to": "0", "field-1": "1", "field-2": "2", "message_type": "general"}


def test_from_a_table_to_its_messages(
    agent: Person, notice: int, service: WhatsAppService, work: Callable[[], None]
) -> None:
    begun = upload(agent, xlsx([("Mobile", "Client name", "Notice"), *THREE]), "people.xlsx")
    assert begun.status_code == 303
    fields = begun.headers["Location"]
    assert "Hello Asha, a notice from your insurance office: one." in words(agent.get(f"{fields}?template={notice}"))
    shown = agent.post(
        fields, data=MEANING | {"template": str(notice), "do": "show", "field-2": "", "text-2": "for all."}
    )
    assert "Hello Asha, a notice from your insurance office: for all." in words(shown)
    saved = agent.post(fields, data=MEANING | {"template": str(notice)})
    page = words(agent.get(saved.headers["Location"]))
    assert "Would be reached 2" in page
    assert "Left out 1" in page
    assert "1 Not a phone number" in page
    assert "about 0.01 USD" in page
    agent.post(f"{ROOT}/1/test", data={"to": "07700 900199"})
    assert "The test is on its way to you" in words(agent.get(f"{ROOT}/1"))
    agent.post(f"{ROOT}/1/start")
    work()
    assert service.count(MessageFilter(campaign_id="1")) == 2
    page = agent.get(f"{ROOT}/1")
    assert "Done" in words(page)
    assert (
        'href="/whatsapp_logs?status=sending&amp;status=sent&amp;campaign=1"' in page.text
        or "On the way 2" in words(page)
    )
    assert "Only campaign 1" in words(agent.get("/whatsapp_logs?campaign=1"))
    (message, *_) = service.page(MessageFilter(campaign_id="1")).messages
    assert "campaign 1" in words(agent.get(f"/whatsapp_logs/messages/{message.id}"))


def test_each_figure_leads_to_exactly_the_messages_that_it_counts(
    agent: Person, notice: int, service: WhatsAppService, work: Callable[[], None]
) -> None:
    campaign_id = prepared(service, people(5), notice)
    set_going(service, campaign_id)
    work()
    page = agent.get(f"{ROOT}/{campaign_id}").text
    found = re.findall(r"<dt>([^<]+)</dt><dd><a[^>]*href=\"([^\"]+)\">(\d+)</a>", page)
    assert found
    for _, href, count in found:
        rows = re.findall(r"data-wl-row=", agent.get(unescape(href)).text)
        assert len(rows) == int(count)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "a.csv", "Choose the table|empty"),
        (b"x" * 99 + b"\n1\n" * 50_001, "a.csv", "50,000"),
        (b"%PDF-1.7", "a.pdf", "no table"),
    ],
)
def test_a_file_that_is_no_table_is_refused_beside_the_form(
    agent: Person, content: bytes, name: str, said: str
) -> None:
    answer = upload(agent, content, name)
    assert answer.status_code == 400
    assert re.search(said, words(answer))
    assert 'aria-invalid="true"' in answer.text


def test_a_meaning_that_lacks_something_is_said_beside_its_field(agent: Person, notice: int) -> None:
    fields = upload(agent, table_of(THREE)).headers["Location"]
    answer = agent.post(fields, data=MEANING | {"template": str(notice), "field-2": "", "text-2": " "})
    assert answer.status_code == 400
    assert "Choose what “notice” is filled with." in words(answer)
    assert re.search(r'name="field-2" aria-invalid="true"', answer.text)
    assert agent.post(fields, data=MEANING | {"template": "x"}).status_code == 400


def test_without_an_approved_template_the_page_says_what_is_missing(agent: Person) -> None:
    fields = upload(agent, table_of(THREE)).headers["Location"]
    assert "No approved template" in words(agent.get(fields))


def test_a_large_one_is_released_by_somebody_else(
    signed_in: SignIn, agent: Person, notice: int, service: WhatsAppService
) -> None:
    campaign_id = prepared(service, people(60), notice, person="agent@office.example.test")
    agent.post(f"{ROOT}/{campaign_id}/start")
    assert "somebody else with the right to release" in words(agent.get(f"{ROOT}/{campaign_id}"))
    assert agent.post(f"{ROOT}/{campaign_id}/release").status_code == 403
    admin = signed_in("administrator")
    assert "Release: send to 60 people" in words(admin.get(f"{ROOT}/{campaign_id}"))
    assert admin.post(f"{ROOT}/{campaign_id}/release").status_code == 303
    assert "Released. It has begun." in words(admin.get(f"{ROOT}/{campaign_id}"))


def test_an_administrator_cannot_release_what_they_prepared(
    signed_in: SignIn, notice: int, service: WhatsAppService
) -> None:
    admin = signed_in("administrator")
    campaign_id = prepared(service, people(60), notice, person="administrator@office.example.test")
    admin.post(f"{ROOT}/{campaign_id}/start")
    assert "Release: send" not in words(admin.get(f"{ROOT}/{campaign_id}"))
    answer = admin.post(f"{ROOT}/{campaign_id}/release")
    assert answer.status_code == 403
    assert "prepared this campaign yourself" in words(answer)


def test_the_same_table_again_has_to_be_ticked(
    agent: Person, notice: int, service: WhatsAppService, work: Callable[[], None]
) -> None:
    set_going(service, prepared(service, people(3), notice))
    work()
    again = prepared(service, people(3), notice)
    assert "This very table was sent already" in words(agent.get(f"{ROOT}/{again}"))
    agent.post(f"{ROOT}/{again}/start")
    assert "was sent already" in words(agent.get(f"{ROOT}/{again}"))
    assert "Draft" in words(agent.get(f"{ROOT}/{again}"))
    agent.post(f"{ROOT}/{again}/start", data={"again": "yes"})
    assert "Running" in words(agent.get(f"{ROOT}/{again}"))


def test_paused_gone_on_with_and_canceled(agent: Person, notice: int, service: WhatsAppService) -> None:
    campaign_id = prepared(service, people(3), notice)
    set_going(service, campaign_id)
    for press, says in (
        ("pause", "Paused"),
        ("resume", "Running"),
        ("cancel", "Canceled"),
        ("cancel", "ended already"),
    ):
        agent.post(f"{ROOT}/{campaign_id}/{press}")
        assert says in words(agent.get(f"{ROOT}/{campaign_id}"))


def test_a_script_gets_the_part_that_moves_and_nothing_while_nothing_moves(
    agent: Person, notice: int, service: WhatsAppService
) -> None:
    campaign_id = prepared(service, people(3), notice)
    set_going(service, campaign_id)
    page = agent.get(f"{ROOT}/{campaign_id}").text
    found = re.search(rf'hx-get="({ROOT}/{campaign_id}\?seen=\w+)"', page)
    assert found
    assert agent.get(found[1], headers={"HX-Request": "true"}).status_code == 204
    service.pause_campaign(campaign_id, person="ben")
    answer = agent.get(found[1], headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "Paused" in answer.text


def test_the_failed_ones_are_tried_again_from_the_page(
    agent: Person, notice: int, service: WhatsAppService, simulator, work: Callable[[], None]
) -> None:
    campaign_id = prepared(service, people(3), notice)
    simulator.settings.create_error = "429"
    set_going(service, campaign_id)
    service.cancel_campaign(campaign_id, person="ben")
    assert "Try" not in words(agent.get(f"{ROOT}/{campaign_id}"))
    agent.post(f"{ROOT}/{campaign_id}/retry", data={"kinds": "later"})
    assert "Nobody is left" in words(agent.get(f"{ROOT}/{campaign_id}"))
    agent.post(f"{ROOT}/{campaign_id}/retry", data={"kinds": "everybody"})
    assert "Choose whom" in words(agent.get(f"{ROOT}/{campaign_id}"))


def test_the_own_table_comes_back_with_the_problem_beside_each(
    agent: Person, notice: int, service: WhatsAppService, work: Callable[[], None]
) -> None:
    fields = upload(agent, table_of(THREE)).headers["Location"]
    agent.post(fields, data=MEANING | {"template": str(notice)})
    answer = agent.get(f"{ROOT}/1/recipients.csv?only=left_out")
    rows = list(csv.reader(io.StringIO(answer.get_data().decode("utf-8-sig"), newline="")))
    assert rows[0] == ["Mobile", "Client name", "Notice", "Problem"]
    assert rows[1][:3] == ["no number", "'=Ben", "one."]
    assert rows[1][3].startswith("This is not a phone number")
    assert len(rows) == 2
    agent.post(f"{ROOT}/1/start")
    work()
    answer = agent.get(f"{ROOT}/1/recipients.csv")
    rows = list(csv.reader(io.StringIO(answer.get_data().decode("utf-8-sig"), newline="")))
    assert rows[0][3:] == ["Result", "Code", "Reason"]
    assert [row[3] for row in rows[1:]] == ["Sending", "Left out", "Sending"]
    (look, *_) = service.accesses(AccessFilter())
    assert (look.act, look.about) == ("exported", {"campaign": 1, "format": "csv"})


def test_who_may_not_see_numbers_sees_none_and_gets_no_file(
    signed_in: SignIn, notice: int, service: WhatsAppService, work: Callable[[], None]
) -> None:
    campaign_id = prepared(service, people(3), notice)
    viewer = signed_in("viewer")
    set_going(service, campaign_id)
    work()
    for path in (
        f"{ROOT}/{campaign_id}",
        f"{ROOT}/{campaign_id}/recipients",
        f"{ROOT}/{campaign_id}/recipients?only=left_out",
    ):
        answer = viewer.get(path)
        assert answer.status_code == 200
        assert "555" not in words(answer)
        assert "Client 10" not in words(answer)
    assert viewer.get(f"{ROOT}/{campaign_id}/recipients.csv").status_code == 403
    assert viewer.get(f"{ROOT}/new").status_code == 403
    for press in ("start", "pause", "cancel", "retry", "release", "check", "test", "back", "resume", "table", "fields"):
        assert viewer.post(f"{ROOT}/{campaign_id}/{press}").status_code == 403


def test_who_prepares_campaigns_without_seeing_numbers_and_texts_sees_no_row_of_anybodys_table(
    signed_in: SignIn, notice: int, service: WhatsAppService, monkeypatch: pytest.MonkeyPatch
) -> None:
    rights = frozenset({Right.SEE, Right.CAMPAIGNS})
    monkeypatch.setattr(service_fixtures, "ROLES", {**service_fixtures.ROLES, "preparer": rights})
    preparer = signed_in("preparer")
    campaign_id = prepared(service, people(3), notice)
    address = f"{ROOT}/{campaign_id}/fields"
    shown = preparer.post(address, data=MEANING | {"template": str(notice), "do": "show"})
    for answer in (preparer.get(address), preparer.get(f"{address}?template={notice}"), shown):
        assert answer.status_code == 200
        assert "Client name" in words(answer)
        for somebodys in ("Client 1000", "555", "notice 1000"):
            assert somebodys not in answer.text


def test_recipients_are_turned_page_by_page(agent: Person, notice: int, service: WhatsAppService) -> None:
    campaign_id = prepared(service, people(70), notice)
    page = agent.get(f"{ROOT}/{campaign_id}/recipients")
    more = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert more
    assert "Client 1049" in words(page)
    rest = words(agent.get(unescape(more[1])))
    assert "Client 1050" in rest
    assert "Client 1049" not in rest
    assert agent.get(f"{ROOT}/{campaign_id}/recipients?after=x").status_code == 400


def test_what_is_chosen_from_the_portal_is_asked_and_found(service: WhatsAppService, notice: int) -> None:
    asked: list[dict[str, str]] = []

    def find(wanted):
        asked.append(dict(wanted))
        return [Addressee(to="+447700900150", fields={"Client name": "Asha"})] if wanted else []

    fields = (
        AudienceField(name="days", label="Ends within", choices=(("30", "30 days"),)),
        AudienceField(name="least", label="Least premium"),
    )
    app = make_portal(service, audience=Audience(fields=fields, find=find))
    person = person_of(app)
    assert "Ends within" in words(person.get(f"{ROOT}/new"))
    form = {"from": "audience", "audience-days": "30", "audience-least": "100"}
    assert person.post(ROOT, data=form).status_code == 303
    assert asked == [{"days": "30", "least": "100"}]
    for wrong, said in (
        ({"audience-days": "31"}, "offered"),
        ({"audience-least": "x"}, "whole number"),
        ({}, "Nobody fits"),
    ):
        answer = person.post(ROOT, data={"from": "audience"} | wrong)
        assert answer.status_code == 400
        assert said in words(answer)


def person_of(app: Flask) -> Person:
    person = Person(app, response_wrapper=app.response_class)
    person.token = person.get("/sign_in/agent").text
    return person


@pytest.mark.parametrize("path", ["", "/fields", "/recipients", "/recipients.csv"])
def test_what_is_not_there_is_not_found(agent: Person, path: str) -> None:
    for number in (7, 10**18, 10**30):
        assert agent.get(f"{ROOT}/{number}{path}").status_code == 404


def test_nothing_of_a_table_is_taken_for_markup(agent: Person, notice: int) -> None:
    nasty = "<script>alert(1)</script>"
    fields = upload(agent, table_of([("07700 900150", nasty, nasty), (nasty, nasty, nasty)]), f"{nasty}.csv").headers[
        "Location"
    ]
    for answer in (
        agent.get(f"{fields}?template={notice}"),
        agent.post(fields, data=MEANING | {"template": str(notice), "name": nasty}, follow_redirects=True),
        agent.get(f"{ROOT}/1/recipients"),
        agent.get(ROOT),
    ):
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;alert" in answer.text
