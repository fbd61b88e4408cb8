"""The catalogue of templates: written, submitted, and kept the same as Twilio's, whatever gets lost on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.start.processes import PATIENCE_S
from tests.test_flat import looked_at
from tests.test_gateway import answering
from tests.test_gateway import listen as listen
from tests.twilio.elsewhere import post_content
from whatsapp_logs import Config, Draft, Source, StatusReport, WhatsAppService, cli
from whatsapp_logs.alarms import raised
from whatsapp_logs.catalogue import Version
from whatsapp_logs.drafting import SAMPLE_DOCUMENT, Wanted
from whatsapp_logs.errors import InvalidInput, ProviderAway, Refused, UnknownToProvider
from whatsapp_logs.housekeeping import keep_templates
from whatsapp_logs.jobs import make_app
from whatsapp_logs.store import template_sync
from whatsapp_logs.store import templates as template_rows
from whatsapp_logs.templates import synchronise
from whatsapp_logs.twilio.content import TwilioTemplates
from whatsapp_logs.twilio.simulator import GENERAL_NOTICE, TEMPLATES, Simulator

WANTED = Wanted(
    name="claim_received",
    body="Hello {{1}}, we have received your claim {{2}} and will call you within two days.",
    names={"1": "client name", "2": "claim number"},
    samples={"1": "Asha Example", "2": "CL-0001"},
)


def saved(service: WhatsAppService, wanted: Wanted = WANTED, **more: Any) -> Version:
    template_id = service.save_template(wanted, person="anna.admin", **more)
    return service.template_versions(template_id)[0]


def next_version(service: WhatsAppService, version: Version, wanted: Wanted = WANTED) -> Version:
    return saved(service, wanted, template_id=version.template_id, seen=version.fingerprint)


def approved(service: WhatsAppService, simulator: Simulator, wanted: Wanted = WANTED) -> Version:
    simulator.settings.review_by_hand = True
    version = service.submit_template(saved(service, wanted).id, person="anna.admin")
    simulator.approve_template(version.content_sid or "")
    simulator.settings.review_by_hand = False
    service.synchronise_templates()
    return now(service, version)


def now(service: WhatsAppService, version: Version) -> Version:
    found = service.template_version(version.id)
    assert found is not None
    return found


def history(service: WhatsAppService, version: Version) -> list[tuple[str, str]]:
    events = [event for event in service.template_events(version.template_id) if event.version_id == version.id]
    return [(event.approval, event.told_by) for event in reversed(events)]


def named(service: WhatsAppService) -> dict[str, Version]:
    return {entry.latest.name: entry.latest for entry in service.template_entries()}


def of_twilio(simulator: Simulator, name: str) -> list[str]:
    return [content.sid for content in simulator.templates() if content.friendly_name == name]


class TestSynchronising:
    def test_brings_everything_that_twilio_has_with_usual_names(self, service: WhatsAppService) -> None:
        assert service.template_sync().checked_at is None
        done = service.synchronise_templates(asked_by="anna.admin")
        assert (done.listed, done.new, done.changed) == (len(TEMPLATES), len(TEMPLATES), 0)
        found = named(service)
        assert set(found) == {template.name for template in TEMPLATES.values()}
        document = found["policy_document_by_path"]
        assert [one.name for one in document.fields] == ["client name", "policy number", "document"]
        assert (document.media_variable, document.approval, document.version) == ("3", "approved", 1)
        assert [one.key for one in document.to_fill_in] == ["1", "2"]
        assert document.text() == TEMPLATES[document.content_sid or ""].body.replace("{{1}}", "Asha Example").replace(
            "{{2}}", "POL-0001"
        )
        assert history(service, document) == [("approved", "twilio")]
        sync = service.template_sync()
        assert (sync.listed, sync.problem, sync.asked_by) == (len(TEMPLATES), None, "anna.admin")
        assert sync.checked_at == sync.asked_at

    def test_twice_changes_nothing(self, service: WhatsAppService) -> None:
        service.synchronise_templates()
        before = [entry.latest for entry in service.template_entries()]
        again = service.synchronise_templates()
        assert (again.new, again.changed) == (0, 0)
        after = [entry.latest for entry in service.template_entries()]
        assert [replace(one, checked_at=None) for one in after] == [replace(one, checked_at=None) for one in before]
        assert after[0].checked_at > before[0].checked_at

    def test_reads_every_page(self, service: WhatsAppService, config: Config, simulator: Simulator) -> None:
        for n in range(7):
            post_content(simulator, name=f"made_elsewhere_{n}")
        done = synchronise(service.transaction, TwilioTemplates(config, page_size=3))
        assert done.new == len(TEMPLATES) + 7
        assert {f"made_elsewhere_{n}" for n in range(7)} <= set(named(service))

    def test_names_fields_that_nobody_has_named_by_their_keys(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        post_content(simulator, name="made_elsewhere")
        service.synchronise_templates()
        version = named(service)["made_elsewhere"]
        assert [(one.key, one.name, one.sample) for one in version.fields] == [("1", "1", "Asha"), ("2", "2", "POL-1")]
        assert version.created_by == "twilio"

    def test_gives_a_later_version_the_names_of_the_earlier_one(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        post_content(simulator, name="made_elsewhere")
        service.synchronise_templates()
        first = named(service)["made_elsewhere"]
        service.rename_template_fields(first.id, {"1": "client name", "2": "policy number"})
        post_content(simulator, name="made_elsewhere", body="Good day {{1}}, we have renewed your policy {{2}} today.")
        service.synchronise_templates()
        second = named(service)["made_elsewhere"]
        assert (second.version, [one.name for one in second.fields]) == (2, ["client name", "policy number"])
        service.synchronise_templates()
        assert [one.name for one in now(service, first).fields] == ["client name", "policy number"]

    def test_keeps_languages_of_one_name_apart(self, service: WhatsAppService, simulator: Simulator) -> None:
        post_content(simulator, name="made_elsewhere", language="en")
        post_content(simulator, name="made_elsewhere", language="de")
        service.synchronise_templates()
        found = [e.latest for e in service.template_entries() if e.latest.name == "made_elsewhere"]
        assert sorted((one.language, one.version) for one in found) == [("de", 1), ("en", 1)]

    def test_follows_words_until_they_are_submitted(self, service: WhatsAppService, simulator: Simulator) -> None:
        sid = post_content(simulator, name="made_elsewhere")
        service.synchronise_templates()
        post_content(simulator, sid=sid, body="Dear {{1}}, this was written anew about {{2}} by somebody else.")
        service.synchronise_templates()
        assert "written anew" in named(service)["made_elsewhere"].body

    def test_marks_what_was_deleted_there_and_keeps_it(self, service: WhatsAppService, simulator: Simulator) -> None:
        version = approved(service, simulator)
        post_content(simulator, sid=version.content_sid, delete=True)
        service.synchronise_templates()
        assert now(service, version).approval == "deleted"
        assert history(service, version)[-1] == ("deleted", "twilio")
        assert service.synchronise_templates().changed == 0

    def test_does_not_believe_a_list_that_lags(
        self, service: WhatsAppService, config: Config, simulator: Simulator
    ) -> None:
        version = approved(service, simulator)

        class Lagging(TwilioTemplates):
            def templates(self) -> Any:
                return (one for one in super().templates() if one.sid != version.content_sid)

        synchronise(service.transaction, Lagging(config))
        assert now(service, version).approval == "approved"

    @pytest.mark.parametrize(
        ("happens", "approval"),
        [
            (Simulator.pause_template, "paused"),
            (Simulator.disable_template, "disabled"),
            (lambda simulator, sid: simulator.reject_template(sid, "INVALID_FORMAT: no"), "rejected"),
        ],
    )
    def test_follows_what_whatsapp_decides_later(
        self,
        service: WhatsAppService,
        simulator: Simulator,
        happens: Callable[[Simulator, str], None],
        approval: str,
    ) -> None:
        version = approved(service, simulator)
        happens(simulator, version.content_sid or "")
        assert service.synchronise_templates().changed == 1
        changed = now(service, version)
        assert changed.approval == approval
        assert changed.decided_at > version.decided_at
        assert changed.rejection_reason == ("INVALID_FORMAT: no" if approval == "rejected" else None)
        asked, *later = history(service, version)
        assert asked in [("received", "anna.admin"), ("pending", "anna.admin")]
        assert later == [("approved", "twilio"), (approval, "twilio")]
        simulator.approve_template(version.content_sid or "", category="MARKETING")
        service.synchronise_templates()
        assert (now(service, version).approval, now(service, version).category) == ("approved", "MARKETING")

    def test_says_what_kept_it_from_twilio_and_goes_on_later(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        service.synchronise_templates()
        before = service.template_sync()
        simulator.go_away()
        with pytest.raises(ProviderAway):
            service.synchronise_templates()
        away = service.template_sync()
        assert away.problem == "Twilio cannot be reached. Try again in a few minutes."
        assert away.checked_at == before.checked_at
        assert len(named(service)) == len(TEMPLATES)
        keep_templates(service, only_if_due=False)  # the worker's job ends well: the outage is noted
        simulator.come_back()
        service.synchronise_templates()
        assert service.template_sync().problem is None

    def test_an_old_answer_does_not_undo_a_newer_one(
        self, service: WhatsAppService, config: Config, simulator: Simulator
    ) -> None:
        version = approved(service, simulator)
        listed, stored = threading.Event(), threading.Event()

        class Slow(TwilioTemplates):
            def templates(self) -> Any:
                found = list(super().templates())
                listed.set()
                stored.wait(PATIENCE_S)
                return iter(found)

        slow = threading.Thread(target=synchronise, args=(service.transaction, Slow(config)))
        slow.start()
        listed.wait(PATIENCE_S)
        simulator.pause_template(version.content_sid or "")
        service.synchronise_templates()
        fresh = saved(service, replace(WANTED, name="written_meanwhile"))
        fresh = service.submit_template(fresh.id, person="anna.admin")
        stored.set()
        slow.join()
        assert now(service, version).approval == "paused"
        assert now(service, fresh).approval != "deleted"

    def test_several_at_once_bring_each_template_once(self, service: WhatsAppService, simulator: Simulator) -> None:
        for n in range(20):
            post_content(simulator, name=f"made_elsewhere_{n % 10}")
        problems: list[BaseException] = []

        def run() -> None:
            try:
                service.synchronise_templates()
            except BaseException as problem:  # noqa: BLE001 - whatever it is, the test shows it
                problems.append(problem)

        threads = [threading.Thread(target=run) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        with service.transaction() as conn:
            row = conn.execute(
                "SELECT count(*), count(DISTINCT content_sid), max(version) FROM whatsapp_logs.template_versions"
            ).fetchone()
            events = conn.execute("SELECT count(*) FROM whatsapp_logs.template_events").fetchone()
        assert row == (len(TEMPLATES) + 20, len(TEMPLATES) + 20, 2)
        assert events == (len(TEMPLATES) + 20,)


class TestWriting:
    def test_a_template_is_a_draft_until_it_is_submitted(self, service: WhatsAppService, simulator: Simulator) -> None:
        version = saved(service)
        assert (version.approval, version.version, version.content_sid) == ("draft", 1, None)
        assert (version.created_by, version.text()) == (
            "anna.admin",
            "Hello Asha Example, we have received your claim CL-0001 and will call you within two days.",
        )
        assert of_twilio(simulator, "claim_received") == []

    def test_a_draft_is_changed_in_place_what_was_submitted_is_not(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        first = saved(service)
        shorter = replace(WANTED, body="Hello {{1}}, we have received your claim {{2}} and will call you.")
        changed = next_version(service, first, shorter)
        assert (changed.id, changed.version, changed.body) == (first.id, 1, shorter.body)
        service.submit_template(first.id, person="anna.admin")
        submitted = now(service, first)
        second = next_version(service, submitted)
        assert (second.version, second.approval, second.body) == (2, "draft", WANTED.body)
        assert now(service, first).body == shorter.body

    def test_what_somebody_else_has_changed_meanwhile_is_not_overwritten(self, service: WhatsAppService) -> None:
        version = saved(service)
        next_version(service, version, replace(WANTED, samples={"1": "Ben Example", "2": "CL-0002"}))
        with pytest.raises(InvalidInput, match=r"anna\.admin has changed version 1 while you wrote"):
            next_version(service, version)

    def test_a_name_is_taken_once_in_a_language(self, service: WhatsAppService) -> None:
        saved(service)
        with pytest.raises(InvalidInput, match="There is a template claim_received in this language already"):
            saved(service)
        assert saved(service, replace(WANTED, language="de")).language == "de"

    def test_what_whatsapp_would_object_to_never_gets_into_the_catalogue(self, service: WhatsAppService) -> None:
        with pytest.raises(InvalidInput) as refused:
            saved(service, replace(WANTED, body="{{1}} has a claim {{2}} that we have received today."))
        assert refused.value.field == "body"
        assert named(service) == {}

    def test_fields_are_renamed_without_a_new_version(self, service: WhatsAppService, simulator: Simulator) -> None:
        version = approved(service, simulator)
        service.rename_template_fields(version.id, {"2": "number of the claim"})
        assert [one.name for one in now(service, version).fields] == ["client name", "number of the claim"]
        with pytest.raises(InvalidInput, match="a name of its own"):
            service.rename_template_fields(version.id, {"2": "client name"})


class TestSubmitting:
    def test_creates_and_submits_once(self, service: WhatsAppService, simulator: Simulator) -> None:
        version = service.submit_template(saved(service).id, person="arjun.agent")
        assert version.approval in {"received", "pending", "approved"}  # the simulator is quick
        assert version.submitted_by == "arjun.agent"
        content = simulator.wait_for_template(version.content_sid or "", "approved")
        assert (content.friendly_name, content.name, content.language) == (
            "claim_received",
            "claim_received",
            "en_GB",
        )
        assert content.variables == {"1": "Asha Example", "2": "CL-0001"}
        assert content.types == {"twilio/text": {"body": WANTED.body}}
        with pytest.raises(InvalidInput, match="submitted already"):
            service.submit_template(version.id, person="arjun.agent")
        assert len(of_twilio(simulator, "claim_received")) == 1

    def test_a_document_and_buttons_are_what_twilio_understands(
        self, service: WhatsAppService, simulator: Simulator, config: Config
    ) -> None:
        document = service.submit_template(
            saved(service, replace(WANTED, name="with_paper", has_document=True)).id, person="a"
        )
        content = simulator.wait_for_template(document.content_sid or "", "approved")
        assert content.types == {
            "twilio/media": {"body": WANTED.body, "media": [f"{config.public_base_url}/{{{{3}}}}"]}
        }
        assert content.variables["3"] == SAMPLE_DOCUMENT
        assert document.media_variable == "3"
        buttons = service.submit_template(
            saved(service, replace(WANTED, name="with_buttons", buttons=("Call me", "All fine"))).id, person="a"
        )
        content = simulator.wait_for_template(buttons.content_sid or "", "approved")
        assert [(choice.title, choice.id) for choice in content.as_template().choices] == [
            ("Call me", "call_me"),
            ("All fine", "all_fine"),
        ]
        assert service.synchronise_templates().new == 0, "both are known"
        assert [now(service, one).approval for one in (document, buttons)] == ["approved", "approved"]

    def test_a_rejection_comes_with_its_reason_and_the_next_version_has_another_name(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        wanted = replace(WANTED, body="Hello {{1}}, please REJECT ME about the claim {{2}} that we received.")
        version = service.submit_template(saved(service, wanted).id, person="a")
        simulator.wait_for_template(version.content_sid or "", "rejected")
        service.synchronise_templates()
        rejected = now(service, version)
        assert (rejected.approval, rejected.rejection_reason) == (
            "rejected",
            "ABUSIVE_CONTENT: the text asks to be rejected",
        )
        second = service.submit_template(next_version(service, rejected).id, person="a")
        content = simulator.wait_for_template(second.content_sid or "", "approved")
        assert (content.friendly_name, content.name) == ("claim_received", "claim_received_v2")

    def test_an_answer_that_was_lost_makes_no_second_template(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        version = saved(service)
        service.synchronise_templates()  # so that the attempt's own comparison changes nothing
        with losing(service, "create", times=1), pytest.raises(ProviderAway):
            service.submit_template(version.id, person="a")
        assert len(of_twilio(simulator, "claim_received")) == 1
        with losing(service, "submit", times=1), pytest.raises(ProviderAway):
            service.submit_template(version.id, person="a")
        done = service.submit_template(version.id, person="a")
        assert len(of_twilio(simulator, "claim_received")) == 1
        assert done.content_sid == of_twilio(simulator, "claim_received")[0]
        simulator.wait_for_template(done.content_sid, "approved")

    def test_a_lost_answer_is_found_by_the_clock_too(self, service: WhatsAppService, simulator: Simulator) -> None:
        version = saved(service)
        with losing(service, "create", times=1), pytest.raises(ProviderAway):
            service.submit_template(version.id, person="a")
        service.synchronise_templates()
        found = now(service, version)
        assert (found.approval, found.version) == ("unsubmitted", 1)
        assert found.content_sid == of_twilio(simulator, "claim_received")[0]
        assert len(service.template_versions(version.template_id)) == 1

    def test_two_presses_at_once_are_one_submission(self, service: WhatsAppService, simulator: Simulator) -> None:
        version, outcomes = saved(service), []

        def press() -> None:
            try:
                outcomes.append(service.submit_template(version.id, person="a").approval)
            except InvalidInput as refused:
                outcomes.append(str(refused))

        threads = [threading.Thread(target=press) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(of_twilio(simulator, "claim_received")) == 1
        assert sum(len(outcome.split()) == 1 for outcome in outcomes) == 1, outcomes

    def test_twilios_no_is_said_and_the_version_may_be_submitted_again(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        version = saved(service)
        blocked = post_content(simulator, name="claim_received", language="de")
        post_content(simulator, sid=blocked, submit="claim_received")
        simulator.reject_template(blocked, "NONE")
        with pytest.raises(Refused, match="rejected less than 30 days ago"):
            service.submit_template(version.id, person="a")
        refused = now(service, version)
        assert (refused.approval, refused.submitted_at) == ("unsubmitted", None)
        with pytest.raises(Refused):
            service.submit_template(version.id, person="a")

    def test_twilio_away_leaves_a_draft(self, service: WhatsAppService, simulator: Simulator) -> None:
        version = saved(service)
        simulator.go_away()
        with pytest.raises(ProviderAway):
            service.submit_template(version.id, person="a")
        assert now(service, version).approval == "draft"
        simulator.come_back()
        assert service.submit_template(version.id, person="a").approval not in {"draft", "unsubmitted"}


class TestUsing:
    def test_the_newest_approved_version_of_a_name_is_found_where_the_environment_names_none(
        self, service: WhatsAppService, simulator: Simulator, config: Config
    ) -> None:
        values = {"1": "Ben", "2": "CL-7"}
        assert service.template("claim_received", values) is None
        first = approved(service, simulator)
        found = service.template("claim_received", values)
        assert found is not None
        assert (found.sid, found.name, found.variables) == (first.content_sid, "claim_received", values)
        second = next_version(service, first, replace(WANTED, body=WANTED.body + " Keep this number."))
        assert service.template("claim_received", values) == found, "a draft is not sent with"
        second = service.submit_template(second.id, person="a")
        simulator.wait_for_template(second.content_sid or "", "approved")
        service.synchronise_templates()
        assert service.template("claim_received", values).sid == second.content_sid
        simulator.pause_template(second.content_sid or "")
        service.synchronise_templates()
        assert service.template("claim_received", values).sid == first.content_sid
        service.archive_template(first.template_id, archived_by="anna.admin")
        assert service.template("claim_received", values) is None
        service.archive_template(first.template_id, archived_by=None)
        assert service.template("claim_received", values) is not None
        assert service.template("policy_document", {}).sid == config.templates["policy_document"]

    def test_a_language_is_asked_for_or_the_first_one_is_taken(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        english = approved(service, simulator)
        german = approved(service, simulator, replace(WANTED, language="de"))
        assert service.template("claim_received", {}).sid == english.content_sid
        assert service.template("claim_received", {}, language="de").sid == german.content_sid
        assert service.template("claim_received", {}, language="fr") is None

    def test_a_version_knows_which_field_takes_the_document(
        self, service: WhatsAppService, simulator: Simulator
    ) -> None:
        approved(service, simulator, replace(WANTED, has_document=True))
        assert service.template("claim_received", {}, media_variable="9").media_variable == "3"

    def test_a_message_is_pinned_to_its_version_and_counted(
        self, service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
    ) -> None:
        version = approved(service, simulator)
        template = service.template("claim_received", {"1": "Ben", "2": "CL-7"})
        sent = [service.send(Draft(to="+447700900123", body="x", template=template)) for _ in range(3)]
        assert {message.template_version_id for message in sent} == {version.id}
        work()
        assert {one.content_sid for one in simulator.messages()} == {version.content_sid}
        entry = next(e for e in service.template_entries() if e.latest.name == "claim_received")
        assert (entry.used, entry.approved) == (3, 1)
        assert entry.last_used_at == service.message(sent[-1].id).created_at

    def test_a_message_that_fails_because_of_its_template_has_twilio_asked_at_once(
        self, service: WhatsAppService, simulator: Simulator, work: Callable[[], None]
    ) -> None:
        version = approved(service, simulator)
        work()
        simulator.pause_template(version.content_sid or "")
        template = service.template("claim_received", {"1": "Ben", "2": "CL-7"})
        message = service.send(Draft(to="+447700900123", body="x", template=template))
        work()
        report = StatusReport(provider_status="failed", message_id=message.id, error_code="63041")
        for _ in range(3):
            service.record([report], source=Source.CALLBACK)
        with service.transaction() as conn:
            row = conn.execute(
                "SELECT count(*) FROM whatsapp_logs.procrastinate_jobs"
                " WHERE task_name = 'synchronise_templates' AND status = 'todo'"
            ).fetchone()
            assert row == (1,)
            assert template_sync.is_due(conn)
        work()
        assert now(service, version).approval == "paused"

    def test_a_template_in_use_that_is_stopped_raises_an_alarm_until_it_is_replaced_or_archived(
        self, service: WhatsAppService, simulator: Simulator, config: Config
    ) -> None:
        def alarms() -> list[str]:
            return [a.title for a in raised(service.readings(), config) if a.name == "template_stopped"]

        version = approved(service, simulator)
        simulator.pause_template(version.content_sid or "")
        service.synchronise_templates()
        assert alarms() == [], "nobody has used it"
        simulator.unpause_template(version.content_sid or "")
        service.synchronise_templates()
        service.send(
            Draft(to="+447700900123", body="x", template=service.template("claim_received", {"1": "B", "2": "C"}))
        )
        assert alarms() == []
        simulator.disable_template(version.content_sid or "")
        service.synchronise_templates()
        assert alarms() == ["A template of the last days cannot be sent with any more: claim_received is disabled"]
        service.archive_template(version.template_id, archived_by="a")
        assert alarms() == []
        service.archive_template(version.template_id, archived_by=None)
        second = service.submit_template(next_version(service, now(service, version)).id, person="a")
        simulator.wait_for_template(second.content_sid or "", "approved")
        service.synchronise_templates()
        assert alarms() == []


@pytest.mark.slow
def test_how_often_templates_are_used_costs_no_more_with_a_large_log(
    service: WhatsAppService, simulator: Simulator, config: Config, dsn: str
) -> None:
    """40 000 messages with one template, half of them older than a month: counting stops at 1 000, and scans no table."""
    version = approved(service, simulator)
    service.send(Draft(to="+447700900123", body="x", template=service.template("claim_received", {"1": "B", "2": "C"})))
    with psycopg.connect(dsn) as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages
                   (direction, channel, message_type, recipient, sender, body, status, provider, template_version_id, created_at)
            SELECT m.direction, m.channel, m.message_type, m.recipient, m.sender, m.body, 'sent', m.provider,
                   m.template_version_id, now() - n * interval '2 minutes'
            FROM whatsapp_logs.messages AS m, generate_series(1, 40000) AS n
            """
        )
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("VACUUM ANALYZE whatsapp_logs.messages")
    simulator.disable_template(version.content_sid or "")
    service.synchronise_templates()
    entry = next(e for e in service.template_entries() if e.latest.id == version.id)
    assert (entry.used, service.readings().stopped_templates) == (
        1001,
        ((version.template_id, "claim_received", "disabled"),),
    )
    with closing(
        WhatsAppService(replace(config, pool_size=1))
    ) as alone:  # else another connection's figures are counted too

        def stopped() -> None:
            with alone.transaction() as conn:
                template_rows.stopped(conn, within=timedelta(days=7))

        for read, most in ((alone.template_entries, 1_200), (stopped, 100)):
            scans, rows = looked_at(alone, read)
            assert (scans, rows < most) == (0, True), (read.__name__, scans, rows)


class TestTheClock:
    def test_asks_hourly_sooner_while_a_verdict_is_awaited_and_at_once_at_the_start(
        self, service: WhatsAppService, simulator: Simulator, dsn: str
    ) -> None:
        def is_due() -> bool:
            with service.transaction() as conn:
                return template_sync.is_due(conn)

        def asked(ago: str) -> None:
            with psycopg.connect(dsn) as conn:
                conn.execute(
                    sql.SQL("UPDATE whatsapp_logs.template_sync SET asked_at = now() - {}::interval").format(ago)
                )

        assert is_due()
        keep_templates(service, only_if_due=True)
        assert len(named(service)) == len(TEMPLATES)
        assert not is_due()
        asked("59 minutes")
        assert not is_due()
        asked("61 minutes")
        assert is_due()
        simulator.settings.review_by_hand = True
        version = service.submit_template(saved(service).id, person="a")
        asked("2 minutes")
        assert not is_due()
        asked("4 minutes")
        assert is_due()
        simulator.approve_template(version.content_sid or "")
        keep_templates(service, only_if_due=True)
        asked("4 minutes")
        assert not is_due()
        simulator.go_away()
        keep_templates(service, only_if_due=False)
        asked("4 minutes")
        assert is_due()

    def test_is_the_workers(self, service: WhatsAppService) -> None:
        app = make_app(service)
        assert {"watch_templates", "synchronise_templates"} <= set(app.tasks)


def test_the_command_line_synchronises_and_lists(
    config: Config,
    service: WhatsAppService,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Config, "from_env", classmethod(lambda cls, env=None: config))
    assert cli.main(["templates", "sync"]) == 0
    told = capsys.readouterr().out
    assert "Twilio has 6 templates: 6 new here, 0 changed" in told
    assert cli.main(["templates", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("general_notice"))
    assert line.split() == ["general_notice", "en_GB", "version", "1", "approved", GENERAL_NOTICE]
    simulator.go_away()
    assert cli.main(["templates", "sync"]) == 1
    assert "whatsapp_logs templates: Twilio cannot be reached." in capsys.readouterr().err


def test_history_is_only_ever_added_to(service: WhatsAppService) -> None:
    service.synchronise_templates()
    for change in (
        "UPDATE whatsapp_logs.template_events SET approval = 'x'",
        "DELETE FROM whatsapp_logs.template_events",
    ):
        with pytest.raises(psycopg.Error), service.transaction() as conn:
            conn.execute(change)


def test_a_template_that_twilio_does_not_know_is_told_from_an_outage(
    config: Config, simulator: Simulator, listen: Callable[..., str]
) -> None:
    provider = TwilioTemplates(config)
    with pytest.raises(UnknownToProvider):
        provider.template("HX" + "f" * 32)
    proxy = TwilioTemplates(replace(config, twilio_api_base_url=listen(answering(404, "<html>Not here</html>"))))
    simulator.go_away()
    for asked in (provider, proxy):
        with pytest.raises(ProviderAway):
            asked.template("HX" + "f" * 32)
        with pytest.raises(ProviderAway):
            list(asked.templates())


ODD = [
    {"sid": "HX1", "types": None, "variables": None, "approval_requests": None, "date_created": "yesterday"},
    {"sid": "HX2", "types": ["twilio/text"], "variables": ["a"], "approval_requests": [], "friendly_name": 7},
    {
        "sid": "HX3",
        "types": {"twilio/media": {"body": 5, "media": [None]}},
        "approval_requests": {"status": "IN_APPEAL"},
    },
    {"sid": "HX4", "types": {"twilio/quick-reply": {"actions": 5}}, "language": None, "friendly_name": "nul\u0000"},
    {"sid": "HX5", "types": {"twilio/unheard-of": "x"}, "approval_requests": {"status": None, "category": 3}},
]


def test_an_odd_template_keeps_no_other_from_being_seen(
    config: Config, service: WhatsAppService, listen: Callable[..., str]
) -> None:
    answer = json.dumps({"meta": {"key": "contents", "next_page_url": None}, "contents": ODD})
    address = listen(answering(200, answer, "Content-Type: application/json"))
    odd = TwilioTemplates(replace(config, twilio_api_base_url=address))
    assert synchronise(service.transaction, odd).new == len(ODD)
    found = [entry.latest for entry in service.template_entries()]
    assert {one.content_sid for one in found} == {f"HX{n}" for n in range(1, 6)}
    assert {one.approval for one in found} == {"unsubmitted", "in_appeal"}


@pytest.mark.parametrize("body", ["", "[]", "{}", "<html>", '{"contents": [{}], "meta": {"key": "contents"}}'])
def test_an_answer_that_is_none_changes_nothing_and_says_so(
    config: Config, service: WhatsAppService, listen: Callable[..., str], body: str
) -> None:
    service.synchronise_templates()
    answers_badly = TwilioTemplates(replace(config, twilio_api_base_url=listen(answering(200, body))))
    with pytest.raises(ProviderAway):
        synchronise(service.transaction, answers_badly)
    assert len(named(service)) == len(TEMPLATES)
    assert {version.approval for version in named(service).values()} == {"approved"}


class losing:
    """Twilio does what is asked, and its answer never comes: `with losing(service, "create", times=1)`."""

    def __init__(self, service: WhatsAppService, what: str, *, times: int) -> None:
        self.service, self.what, self.left = service, what, times

    def __enter__(self) -> None:
        self.real = real = self.service._templates
        outer = self

        class Losing:
            def __getattr__(self, name: str) -> Any:
                def call(*args: Any, **kwargs: Any) -> Any:
                    answer = getattr(real, name)(*args, **kwargs)
                    if name == outer.what and outer.left:
                        outer.left -= 1
                        raise ProviderAway("Twilio cannot be reached. Try again in a few minutes.")
                    return answer

                return call

        self.service._templates = Losing()  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        self.service._templates = self.real
