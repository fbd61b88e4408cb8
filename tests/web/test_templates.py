"""The pages of templates: what they show whom, what the form says, and what is pinned to a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from flask import render_template_string

from tests.service_fixtures import Person, make_portal
from tests.test_templates import WANTED, approved, next_version, saved
from whatsapp_logs import Config, Draft, Right, WhatsAppService
from whatsapp_logs.config import GATE_RULES
from whatsapp_logs.message import Inbound
from whatsapp_logs.twilio.simulator import Simulator
from whatsapp_logs.web import format, template_words

FORM = {
    "name": "claim_received",
    "language": "en_GB",
    "category": "UTILITY",
    "body": WANTED.body,
    "name_1": "client name",
    "sample_1": "Asha Example",
    "name_2": "claim number",
    "sample_2": "CL-0001",
}
LIST = "/whatsapp_logs/templates"


@pytest.fixture
def admin(signed_in: Callable[[str], Person]) -> Person:
    return signed_in("administrator")


def said(page: object) -> str:
    return " ".join(unescape(page.text).split())  # type: ignore[attr-defined]


class TestTheList:
    def test_is_empty_in_words_and_full_after_a_press(self, admin: Person) -> None:
        assert "Twilio has not been asked yet" in said(admin.get(LIST))
        page = admin.post(f"{LIST}/synchronise", follow_redirects=True)
        assert "Twilio has 6 templates; 6 new here." in said(page)
        assert page.text.count('class="wl-to"') == 6
        assert "Compared with Twilio just now: 6 there." in said(page)
        assert "nothing has changed" in said(admin.post(f"{LIST}/synchronise", follow_redirects=True))

    def test_says_that_twilio_is_away_and_from_when_it_is(self, admin: Person, simulator: Simulator) -> None:
        admin.post(f"{LIST}/synchronise")
        simulator.go_away()
        page = admin.post(f"{LIST}/synchronise", follow_redirects=True)
        assert "Twilio cannot be reached. Try again in a few minutes. What stands here is from" in said(page)
        assert page.text.count("cannot be reached") == 1
        assert page.text.count('class="wl-to"') == 6

    def test_shows_how_often_each_was_used_and_which_version_is_sent(
        self, admin: Person, service: WhatsAppService, simulator: Simulator
    ) -> None:
        version = approved(service, simulator)
        for n in range(3):
            template = service.template("claim_received", {"1": "Ben", "2": f"CL-{n}"})
            service.send(Draft(to="+447700900123", body="x", template=template))
        next_version(service, version)
        page = said(admin.get(LIST))
        assert "Draft" in page
        assert "version 1 is sent" in page
        assert "3<small>last just now</small>" in page

    def test_leaves_archived_ones_to_a_page_of_their_own(self, admin: Person, service: WhatsAppService) -> None:
        version = saved(service)
        one = f"{LIST}/{version.template_id}"
        assert "Archived: it is offered no more" in said(
            admin.post(f"{one}/archive", data={"do": "archive"}, follow_redirects=True)
        )
        assert "claim_received" not in admin.get(LIST).text
        assert "claim_received" in admin.get(f"{LIST}?archived=1").text
        admin.post(f"{one}/archive", data={"do": "restore"})
        assert "claim_received" in admin.get(LIST).text

    def test_without_twilio_says_so(self, config: Config) -> None:
        bare = WhatsAppService(replace(config, twilio_account_sid="", twilio_auth_token="", twilio_whatsapp_from=""))
        person = Person(make_portal(bare))
        person.token = person.get("/sign_in/administrator").text
        assert "Twilio is not configured" in said(person.get(LIST))
        assert "Twilio client not configured." in said(person.post(f"{LIST}/synchronise", follow_redirects=True))
        bare.close()


class TestTheForm:
    def test_saves_a_draft_which_is_then_submitted(
        self, admin: Person, service: WhatsAppService, simulator: Simulator
    ) -> None:
        simulator.settings.review_by_hand = True
        page = admin.post(f"{LIST}/new", data=FORM, follow_redirects=True)
        assert "Saved as a draft." in said(page)
        assert "Hello Asha Example, we have received your claim CL-0001" in said(page)
        (version,) = service.template_versions(1)
        page = admin.post(f"{LIST}/1/submit", data={"seen": version.fingerprint}, follow_redirects=True)
        assert "Version 1 is submitted. WhatsApp decides" in said(page)
        assert "Waiting for approval" in said(page)
        assert "submitted by administrator@office.example.test" in said(page)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"body": "{{1}} has a claim {{2}} that we have received."}, "The text begins with a field."),
            ({"sample_2": ""}, "Give a sample for {{2}}"),
            ({"name_1": ""}, "Say what {{1}} holds"),
            ({"name": "Claim received!"}, "Write a name of small letters"),
            ({"category": ""}, "Choose whether this is"),
            ({"button_1": "x" * 21}, "Write up to 20 characters"),
        ],
    )
    def test_says_each_mistake_at_its_field_and_keeps_what_was_typed(
        self, admin: Person, service: WhatsAppService, change: dict[str, str], sentence: str
    ) -> None:
        page = admin.post(f"{LIST}/new", data=FORM | change)
        assert page.status_code == 400
        (field,) = change
        problem = unescape(page.text).partition(f'id="wl-problem-{field}">')[2].partition("<")[0]
        assert sentence in problem
        assert f'aria-describedby="wl-problem-{field}' in page.text or field == "category"
        assert "CL-0001" in page.text or field == "sample_2"
        assert service.template_entries() == []

    def test_previews_without_javascript_and_without_saving(self, admin: Person, service: WhatsAppService) -> None:
        page = admin.post(f"{LIST}/new", data=FORM | {"do": "preview", "sample_1": "*Zoë*", "has_document": "yes"})
        assert "Hello <b>Zoë</b>, we have received" in page.text
        assert "PDF or picture" in page.text
        assert service.template_entries() == []

    def test_previews_for_a_script_and_says_nothing_of_what_is_not_filled_in_yet(self, admin: Person) -> None:
        page = admin.post(f"{LIST}/preview", data={"body": "Hello {{1}}, we have received {{2}} today from you."})
        assert page.status_code == 200
        assert page.text.lstrip().startswith('<form class="wl-template-form"')
        assert 'name="sample_2"' in page.text
        assert "Give a sample" not in page.text
        page = admin.post(f"{LIST}/preview", data={"body": "{{1}}"})
        assert "begins with a field" in page.text

    def test_shows_markup_as_text(self, admin: Person) -> None:
        nasty = "<script>alert(1)</script>"
        page = admin.post(f"{LIST}/preview", data=dict.fromkeys(FORM, f"{nasty}{{{{1}}}}"))
        assert nasty not in page.text
        assert page.text.count("&lt;script&gt;") > 5

    def test_a_very_long_text_costs_no_more_than_a_screen(self, admin: Person) -> None:
        page = admin.post(f"{LIST}/preview", data={"body": "".join(f"{{{{{n}}}}}" for n in range(100_000))})
        assert page.text.count("<fieldset") < 110
        assert len(page.text) < 200_000

    def test_next_version_is_filled_in_with_the_last_one(
        self, admin: Person, service: WhatsAppService, simulator: Simulator
    ) -> None:
        version = approved(service, simulator, replace(WANTED, buttons=("Call me",)))
        page = admin.get(f"{LIST}/{version.template_id}/edit")
        assert "Version 2 of claim_received" in page.text
        for text in (WANTED.body, 'value="claim number"', 'value="CL-0001"', 'value="Call me"', version.fingerprint):
            assert text in page.text
        changed = FORM | {"seen": version.fingerprint, "body": WANTED.body + " Keep this number.", "name": "ignored"}
        admin.post(f"{LIST}/{version.template_id}/edit", data=changed)
        latest = service.template_versions(version.template_id)[0]
        assert (latest.name, latest.version, latest.approval) == ("claim_received", 2, "draft")
        page = admin.post(f"{LIST}/{version.template_id}/edit", data=changed)
        assert "has changed version 2 while you wrote" in said(page)

    def test_submits_only_what_was_seen(self, admin: Person, service: WhatsAppService, simulator: Simulator) -> None:
        version = saved(service)
        changed = next_version(service, version, replace(WANTED, body=WANTED.body + " Keep this number."))
        page = admin.post(
            f"{LIST}/{version.template_id}/submit", data={"seen": version.fingerprint}, follow_redirects=True
        )
        assert "Nothing was submitted: somebody has changed" in said(page)
        simulator.go_away()
        page = admin.post(
            f"{LIST}/{version.template_id}/submit", data={"seen": changed.fingerprint}, follow_redirects=True
        )
        assert "Nothing is submitted twice: press again later." in said(page)


class TestOne:
    @pytest.mark.parametrize(
        ("body", "reason", "cure"),
        [
            ("Hello {{1}}, please REJECT ME about {{2}} today.", "ABUSIVE_CONTENT", "Write it in other words"),
            ("Hello {{1}}, a special discount for your policy {{2}} today.", None, ""),
        ],
    )
    def test_says_why_whatsapp_refused_it_and_what_to_do(
        self,
        admin: Person,
        service: WhatsAppService,
        simulator: Simulator,
        body: str,
        reason: str | None,
        cure: str,
    ) -> None:
        version = service.submit_template(saved(service, replace(WANTED, body=body)).id, person="a")
        simulator.wait_for_template(version.content_sid or "", "rejected" if reason else "approved")
        service.synchronise_templates()
        page = said(admin.get(f"{LIST}/{version.template_id}"))
        assert (reason or "Approved") in page
        assert cure in page
        assert ("Advertising" in page) == (reason is None), "WhatsApp has changed the category"

    def test_tells_a_script_that_nothing_has_changed(
        self, admin: Person, service: WhatsAppService, simulator: Simulator
    ) -> None:
        simulator.settings.review_by_hand = True
        version = service.submit_template(saved(service).id, person="a")
        page = admin.get(f"{LIST}/{version.template_id}")
        (poll,) = [
            line.partition('hx-get="')[2].partition('"')[0] for line in page.text.splitlines() if "wl:poll" in line
        ]
        assert admin.get(unescape(poll), headers={"HX-Request": "true"}).status_code == 204
        simulator.approve_template(version.content_sid or "")
        service.synchronise_templates()
        block = admin.get(unescape(poll), headers={"HX-Request": "true"})
        assert block.status_code == 200
        assert "Approved" in block.text
        assert "wl:poll" not in block.text

    def test_names_are_changed_in_place(self, admin: Person, service: WhatsAppService, simulator: Simulator) -> None:
        version = approved(service, simulator)
        one = f"{LIST}/{version.template_id}"
        page = admin.post(f"{one}/names", data={"name_1": "who", "name_2": "which claim"}, follow_redirects=True)
        assert "Saved. Senders see these names." in said(page)
        assert 'value="which claim"' in page.text
        page = admin.post(f"{one}/names", data={"name_1": "who", "name_2": "who"}, follow_redirects=True)
        assert "Give each field a name of its own" in said(page)

    def test_a_word_of_twilios_that_nobody_knows_is_shown(self) -> None:
        words = template_words.approval("in_appeal")
        assert (words.icon, words.word, words.tone) == ("question", "In appeal", "warn")

    def test_another_id_is_not_found(self, admin: Person) -> None:
        for template_id in (0, 1, 10**30):
            assert admin.get(f"{LIST}/{template_id}").status_code == 404
            assert admin.get(f"{LIST}/{template_id}/edit").status_code == 404


class TestRights:
    @pytest.mark.parametrize("role", ["agent", "compliance", "viewer"])
    def test_who_sees_the_log_sees_templates_and_changes_none(
        self, signed_in: Callable[[str], Person], service: WhatsAppService, role: str
    ) -> None:
        version = saved(service)
        person, one = signed_in(role), f"{LIST}/{version.template_id}"
        for path in (LIST, one):
            page = person.get(path)
            assert page.status_code == 200
            assert "<form" not in page.text
            assert "/edit" not in page.text
        for path in (f"{LIST}/new", f"{one}/edit"):
            assert person.get(path).status_code == 403
        for path in ("new", "preview", "synchronise"):
            assert person.post(f"{LIST}/{path}", data=FORM).status_code == 403
        for path in ("edit", "submit", "names", "archive"):
            assert person.post(f"{one}/{path}", data=FORM).status_code == 403
        assert service.template_versions(version.template_id) == [version]

    def test_managing_templates_is_a_right_of_its_own(self) -> None:
        assert Right.TEMPLATES.value == "manage message templates"


class TestTheLog:
    def test_a_message_leads_to_the_version_it_was_sent_with(
        self, agent: Person, service: WhatsAppService, simulator: Simulator
    ) -> None:
        version = approved(service, simulator)
        template = service.template("claim_received", {"1": "Ben", "2": "CL-7"})
        message = service.send(Draft(to="+447700900123", body="x", template=template))
        next_version(service, version)
        page = agent.get(f"/whatsapp_logs/messages/{message.id}")
        assert f'href="{LIST}/{version.template_id}#wl-version-1">claim_received, version 1</a>' in page.text
        assert 'id="wl-version-1"' in agent.get(f"{LIST}/{version.template_id}").text

    def test_a_stopped_template_is_on_the_health_page_with_the_way_to_it(
        self, admin: Person, service: WhatsAppService, simulator: Simulator
    ) -> None:
        version = approved(service, simulator)
        template = service.template("claim_received", {"1": "Ben", "2": "CL-7"})
        service.send(Draft(to="+447700900123", body="x", template=template))
        simulator.pause_template(version.content_sid or "")
        service.synchronise_templates()
        alarm = (
            said(admin.get("/whatsapp_logs/health"))
            .partition('id="wl-alarm-template_stopped"')[2]
            .partition("</li>")[0]
        )
        assert "claim_received is paused" in alarm
        assert f'<a href="{LIST}">Templates</a>' in alarm


class TestTheWindow:
    def test_is_told_with_its_countdown_to_whoever_may_look(
        self, config: Config, service: WhatsAppService, signed_in: Callable[[str], Person]
    ) -> None:
        app = make_portal(service)
        app.add_url_rule(
            "/write", view_func=lambda: render_template_string("{{ whatsapp_logs_window('07700 900123') }}")
        )
        person = Person(app)
        assert person.get("/write").text == ""
        person.token = person.get("/sign_in/agent").text
        assert "Approved templates only" in said(person.get("/write"))
        assert "has not written to us" in said(person.get("/write"))
        service.receive(
            Inbound(provider_id="SM" + "1" * 32, sender="+447700900123", recipient=config.sender, body="Hi")
        )
        page = said(person.get("/write"))
        assert "Free text reaches this customer" in page
        assert "for another <span data-wl-left>23 h 5" in page
        until = service.window_until("+447700900123")
        assert until is not None
        assert timedelta(hours=23, minutes=58) < until - datetime.now(UTC) < timedelta(hours=23, minutes=59)
        with service.transaction() as conn:
            conn.execute(
                "UPDATE whatsapp_logs.contacts SET last_inbound_at = now() - interval '23 hours 59 minutes 1 second'"
            )
        assert service.window_until("+447700900123") is None
        assert "This customer last wrote" in said(person.get("/write"))

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [
            (-5, ""),
            (59, "less than a minute"),
            (60, "1 min"),
            (3599, "59 min"),
            (11520, "3 h 12 min"),
        ],
    )
    def test_what_is_left_is_rounded_down(self, seconds: int, words: str) -> None:
        moment = datetime(2026, 11, 26, tzinfo=UTC)
        assert format.left(moment + timedelta(seconds=seconds), now=moment) == words


def test_the_gate_says_why_a_paused_template_is_not_sent(
    config: Config, simulator: Simulator, agent: Person, service: WhatsAppService
) -> None:
    strict = WhatsAppService(replace(config, gate_off=GATE_RULES - {"template"}))
    version = approved(strict, simulator)
    template = strict.template("claim_received", {"1": "Ben", "2": "CL-7"})
    simulator.pause_template(version.content_sid or "")
    strict.synchronise_templates()
    message = strict.send(Draft(to="+447700900123", body="x", template=template))
    assert message.status == "failed"
    page = said(agent.get(f"/whatsapp_logs/messages/{message.id}"))
    assert "WhatsApp has paused the template claim_received because too many people complained about it." in page
    strict.close()
