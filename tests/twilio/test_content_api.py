"""The Content API as Twilio's SDK meets it: templates, WhatsApp's verdict on them, and what that does to messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from twilio.rest.content.v1.content import ContentList
from twilio.rest.content.v1.content.approval_create import ApprovalCreateList

from tests.start.processes import PATIENCE_S
from tests.twilio.account import ACCOUNT, CUSTOMER, SENDER, TOKEN, control, refusal
from whatsapp_logs.twilio.simulator import GENERAL_NOTICE, POLICY_DOCUMENT, TEMPLATES, Simulator

GOOD = "Dear {{1}}, your policy {{2}} has been renewed until the date in the schedule."
SAMPLES = {"1": "Asha", "2": "POL-1"}
BUTTONS = [{"title": "Call me", "id": "call_{{2}}"}, {"title": "All fine", "id": "fine"}]


def create(client: Any, body: str = GOOD, variables: Mapping[str, str] | None = SAMPLES, **more: Any) -> str:
    values = {"friendly_name": "renewed", "language": "en", "variables": variables,
              "types": {"twilio/text": {"body": body}}, **more}  # fmt: skip
    return client.content.v1.contents.create(content_create_request=ContentList.ContentCreateRequest(values)).sid


def submit(client: Any, sid: str, *, name: str = "renewed", category: str = "UTILITY") -> Any:
    request = ApprovalCreateList.ContentApprovalRequest({"name": name, "category": category})
    return client.content.v1.contents(sid).approval_create.create(content_approval_request=request)


def send(client: Any, sid: str, **more: Any) -> Any:
    variables = json.dumps({"1": "Ravi", "2": "POL-2"})
    return client.messages.create(to=CUSTOMER, from_=SENDER, content_sid=sid, content_variables=variables, **more)


def post(twilio: Simulator, path: str, values: object, method: str = "POST") -> requests.Response:
    return requests.request(
        method, f"{twilio.base_url}/v1/{path}", json=values, auth=(ACCOUNT, TOKEN), timeout=PATIENCE_S
    )


class TestTemplates:
    def test_are_created_fetched_changed_and_deleted_by_the_official_sdk(self, client):
        sid = create(client)
        fetched = client.content.v1.contents(sid).fetch()
        assert (fetched.friendly_name, fetched.language, fetched.variables) == ("renewed", "en", SAMPLES)
        assert fetched.types == {"twilio/text": {"body": GOOD}}
        assert abs(fetched.date_created - datetime.now(UTC)) < timedelta(seconds=10)
        assert fetched.links["approval_create"].endswith(f"/v1/Content/{sid}/ApprovalRequests/whatsapp")
        change = ContentList.ContentUpdateRequest({"language": "en_GB", "friendly_name": "renewed_2"})
        changed = client.content.v1.contents(sid).update(content_update_request=change)
        assert (changed.language, changed.friendly_name, changed.variables) == ("en_GB", "renewed_2", SAMPLES)
        assert client.content.v1.contents(sid).delete() is True
        assert refusal(lambda: client.content.v1.contents(sid).fetch()) == (404, 20404)
        assert refusal(lambda: client.content.v1.contents(sid).delete()) == (404, 20404)

    def test_lists_page_by_token_newest_first_beside_the_predefined_ones(self, client):
        sids = [create(client) for _ in range(5)]
        for contents in (client.content.v1.contents, client.content.v1.content_and_approvals):
            first = contents.page(page_size=3)
            create(client)  # a new one shifts nothing behind the token
            found = [item.sid for item in first]
            second = first.next_page()
            found += [item.sid for item in second]
            assert [sid for sid in found if sid in sids][-3:] == sids[2::-1]
            assert len({item.sid for item in contents.list()} & set(TEMPLATES)) == len(TEMPLATES)
        assert second.next_page() is not None

    def test_list_pages_name_their_key_and_end(self, twilio):
        answer = requests.get(
            f"{twilio.base_url}/v1/ContentAndApprovals", auth=(ACCOUNT, TOKEN), timeout=PATIENCE_S
        ).json()
        assert (answer["meta"]["key"], answer["meta"]["next_page_url"]) == ("contents", None)
        notice = next(item for item in answer["contents"] if item["sid"] == GENERAL_NOTICE)
        assert notice["approval_requests"] | {"status": "approved", "name": "general_notice", "category": "UTILITY",
                                              "rejection_reason": ""} == notice["approval_requests"]  # fmt: skip
        assert notice["date_created"].endswith("Z")

    @pytest.mark.parametrize(
        "change",
        [
            {"language": None},
            {"language": "english"},
            {"types": None},
            {"types": {"twilio/text": {}}},
            {"types": {"twilio/media": {"body": "A file"}}},
            {"types": {"teapot": {"body": "x"}}},
            {"variables": ["Asha"]},
            {"types": {"twilio/quick-reply": {"body": "x", "actions": []}}},
            {"types": {"twilio/quick-reply": {"body": "x", "actions": [{"title": "x" * 21, "id": "a"}]}}},
            {"types": {"twilio/list-picker": {"body": "x", "button": "b", "items": [{"id": "no title"}]}}},
        ],
    )
    def test_that_lack_something_are_refused_with_400_and_a_sentence(self, twilio, change):
        good = {"friendly_name": "x", "language": "en", "types": {"twilio/text": {"body": "x"}}}
        assert post(twilio, "Content", good).status_code == 201
        answer = post(twilio, "Content", {**good, **change})
        assert (answer.status_code, answer.json()["code"]) == (400, 20001)
        assert len(answer.json()["message"].split()) > 3
        assert len(twilio.templates()) == len(TEMPLATES) + 1

    def test_forget_fields_that_are_null(self, twilio):
        action = {"title": "Fine", "id": "fine", "url": None}
        types = {"twilio/quick-reply": {"body": "All well?", "actions": [action]}, "twilio/card": None}
        answer = post(twilio, "Content", {"language": "en", "types": types, "variables": None})
        kept = {"body": "All well?", "actions": [{"title": "Fine", "id": "fine"}]}
        assert answer.json()["types"] == {"twilio/quick-reply": kept}

    def test_need_the_accounts_login(self, twilio):
        assert (
            requests.get(f"{twilio.base_url}/v1/Content", auth=(ACCOUNT, "wrong"), timeout=PATIENCE_S).status_code
            == 401
        )

    def test_and_their_approval_survive_another_process(self, tmp_path: Path, client, twilio):
        state = str(tmp_path / "twilio.sqlite")
        with Simulator(ACCOUNT, TOKEN, state=state, pace=0.001) as before:
            client.content.base_url = before.base_url
            sid = create(client)
            before.pace = 1000
            submit(client, sid)
            before.pause_template(POLICY_DOCUMENT)
        with Simulator(ACCOUNT, TOKEN, state=state, pace=0.001) as after:
            assert after.template(sid).status == "received"
            assert after.template(POLICY_DOCUMENT).status == "paused"
            assert len(after.templates()) == len(TEMPLATES) + 1


class TestApproval:
    def test_goes_from_received_over_pending_to_approved(self, twilio, client):
        sid = create(client)
        approvals = client.content.v1.contents(sid).approval_fetch()
        assert approvals.fetch().whatsapp["status"] == "unsubmitted"
        twilio.settings.review_by_hand = True
        submitted = submit(client, sid)
        assert (submitted.status, submitted.name, submitted.category) == ("received", "renewed", "UTILITY")
        assert (submitted.content_type, submitted.rejection_reason) == ("twilio/text", "")
        twilio.wait_for_template(sid, "pending")
        twilio.wait_idle()
        assert approvals.fetch().whatsapp["status"] == "pending"
        twilio.approve_template(sid)
        assert approvals.fetch().whatsapp["status"] == "approved"

    def test_comes_by_itself_and_only_once_asked_for(self, twilio, client):
        sid = create(client)
        submit(client, sid)
        twilio.wait_for_template(sid, "approved")
        assert refusal(lambda: submit(client, sid)) == (400, 92009)
        assert post(twilio, f"Content/{sid}", {"language": "de"}, "PUT").status_code == 400

    @pytest.mark.parametrize(
        ("body", "variables", "reason"),
        [
            ("Dear {{1}} {{2}}, we have renewed the policy you hold with us.", SAMPLES, "side by side"),
            ("Dear {{1}}{{2}}, we have renewed the policy you hold with us.", SAMPLES, "side by side"),
            ("{{1}}, we have renewed the policy you hold with us.", {"1": "a"}, "first or last"),
            ("We have renewed the policy you hold with us, {{1}}", {"1": "a"}, "first or last"),
            ("Hello {{1}} and {{2}} today", SAMPLES, "at least 5 fixed words, the text has 3"),
            ("Dear {{1}}, your policy {{3}} has been renewed for a year.", {"1": "a", "3": "b"}, "without a gap"),
            ("Dear {{2}}, your policy has been renewed for a year.", {"2": "b"}, "without a gap"),
            (GOOD, {"1": "Asha"}, "no sample for {{2}}"),
            (GOOD, {"1": "Asha", "2": " "}, "no sample for {{2}}"),
            ("Dear {{your name}}, your policy has been renewed.", {}, "malformed"),
            ("Please reject me whatever else is right.", {}, "asks to be rejected"),
            ("x " * 513, {}, "1024 characters"),
        ],
    )
    def test_is_refused_when_a_rule_of_variables_is_broken(self, twilio, client, body, variables, reason):
        sid = create(client, body, variables)
        submit(client, sid)
        rejected = twilio.wait_for_template(sid, "rejected")
        assert reason in rejected.rejection_reason
        shown = next(item for item in client.content.v1.content_and_approvals.list() if item.sid == sid)
        assert shown.approval_requests["rejection_reason"] == rejected.rejection_reason

    @pytest.mark.parametrize(
        ("url", "status"),
        [("https://media.example.test/files/{{2}}", "approved"), ("https://media.example.test/a-{{2}}", "rejected")],
    )
    def test_wants_a_variable_in_a_files_address_to_follow_a_slash(self, twilio, client, url, status):
        body = "Dear {{1}}, here are the papers of your policy."
        sid = create(client, types={"twilio/media": {"body": body, "media": [url]}})
        submit(client, sid)
        twilio.wait_for_template(sid, status)

    def test_moves_a_template_that_advertises_to_marketing(self, twilio, client):
        sid = create(client, "Dear {{1}}, we have an offer for your policy {{2}} this month only.")
        submit(client, sid)
        assert twilio.wait_for_template(sid, "approved").category == "MARKETING"
        assert client.content.v1.contents(sid).approval_fetch().fetch().whatsapp["category"] == "MARKETING"

    def test_is_refused_when_the_category_may_not_change(self, twilio, client):
        sid = create(client, "Dear {{1}}, we have an offer for your policy {{2}} this month only.")
        values = {"name": "an_offer", "category": "UTILITY", "allow_category_change": False}
        assert post(twilio, f"Content/{sid}/ApprovalRequests/whatsapp", values).status_code == 201
        assert "INCORRECT_CATEGORY" in twilio.wait_for_template(sid, "rejected").rejection_reason

    def test_blocks_the_name_of_a_rejected_template_for_others_too(self, twilio, client):
        first, second = create(client, "Please reject me now."), create(client)
        submit(client, first, name="unlucky")
        twilio.wait_for_template(first, "rejected")
        client.content.v1.contents(first).delete()
        assert refusal(lambda: submit(client, second, name="unlucky")) == (400, 20001)
        assert submit(client, second, name="luckier").status == "received"

    @pytest.mark.parametrize(
        "values",
        [{"name": "A name", "category": "UTILITY"}, {"category": "UTILITY"}, {"name": "a", "category": "NEWS"}],
    )
    def test_needs_a_name_and_a_category(self, twilio, client, values):
        sid = create(client)
        assert post(twilio, f"Content/{sid}/ApprovalRequests/whatsapp", values).status_code == 400
        assert twilio.template(sid).status == "unsubmitted"

    def test_is_not_to_be_had_for_lists(self, twilio, client):
        items = {"body": "Choose", "button": "Menu", "items": [{"item": "One", "id": "1", "description": ""}]}
        sid = create(client, types={"twilio/list-picker": items})
        assert refusal(lambda: submit(client, sid)) == (400, 20001)

    def test_is_given_refused_and_taken_back_by_hand(self, twilio, client):
        sid = create(client)
        twilio.settings.review_by_hand = True
        submit(client, sid)
        for decision, status in (("reject", "rejected"), ("approve", "approved"), ("pause", "paused"),
                                 ("unpause", "approved"), ("disable", "disabled")):  # fmt: skip
            answer = control(twilio, "templates", sid=sid, decision=decision, reason="Too vague")
            assert (answer["status"], twilio.template(sid).status) == (status, status)
            assert answer["rejection_reason"] == ("Too vague" if status == "rejected" else "")
        assert control(twilio, "templates")[0]["sid"] == sid
        twilio.wait_idle()
        assert twilio.template(sid).status == "disabled"  # the reviewers' own verdict is not waited for any more


class TestMessages:
    @pytest.mark.parametrize(
        ("decision", "code"), [("rejected", 63040), ("paused", 63041), ("disabled", 63042), ("unsubmitted", 63016)]
    )
    def test_with_a_template_that_may_not_be_used_are_accepted_and_fail(self, twilio, client, decision, code):
        sid = create(client)
        {"rejected": lambda: twilio.reject_template(sid, "no"), "paused": lambda: twilio.pause_template(sid),
         "disabled": lambda: twilio.disable_template(sid), "unsubmitted": lambda: None}[decision]()  # fmt: skip
        sent = send(client, sid)
        assert sent.status == "queued"
        assert twilio.wait_for(sent.sid, "failed").error_code == code

    def test_with_an_approved_template_arrive_until_it_is_paused(self, twilio, client):
        sid = create(client)
        twilio.approve_template(sid)
        sent = send(client, sid)
        assert sent.body == "Dear Ravi, your policy POL-2 has been renewed until the date in the schedule."
        twilio.wait_for(sent.sid, "read")
        twilio.pause_template(sid)
        twilio.wait_for(send(client, sid).sid, "failed")
        twilio.unpause_template(sid)
        twilio.wait_for(send(client, sid).sid, "read")

    def test_are_judged_when_they_are_sent_not_when_they_are_accepted(self, twilio, client):
        twilio.pace = 3  # the message departs in a second, whatever else this machine is doing
        sid = create(client)
        twilio.approve_template(sid)
        sent = send(client, sid)
        twilio.disable_template(sid)
        twilio.pace = 0
        assert twilio.wait_for(sent.sid, "failed").error_code == 63042

    def test_with_a_deleted_template_fail_and_later_ones_are_refused(self, twilio, client):
        twilio.pace = 3  # the message departs in a second, whatever else this machine is doing
        sid = create(client)
        twilio.approve_template(sid)
        sent = send(client, sid)
        client.content.v1.contents(sid).delete()
        twilio.pace = 0
        assert twilio.wait_for(sent.sid, "failed").error_code == 63027
        assert refusal(lambda: send(client, sid)) == (400, 21655)

    def test_need_no_approval_inside_the_window_but_have_at_most_three_buttons_then(self, twilio, client):
        twilio.receive(CUSTOMER, "Hello")
        three = create(client, types={"twilio/quick-reply": {"body": GOOD, "actions": BUTTONS}})
        four = create(client, types={"twilio/quick-reply": {"body": GOOD, "actions": BUTTONS * 2}})
        twilio.wait_for(send(client, three).sid, "read")
        assert twilio.wait_for(send(client, four).sid, "failed").error_code == 63021
        twilio.approve_template(four)
        twilio.wait_for(send(client, four).sid, "read")

    def test_bring_the_buttons_filled_in(self, twilio, client):
        types = {"twilio/quick-reply": {"body": GOOD, "actions": BUTTONS}, "twilio/text": {"body": "plain"}}
        sid = create(client, types=types)
        twilio.approve_template(sid)
        message = twilio.message(send(client, sid).sid)
        assert message.body.startswith("Dear Ravi")
        assert [(c.kind, c.title, c.id) for c in message.choices] == [
            ("reply", "Call me", "call_POL-2"), ("reply", "All fine", "fine")]  # fmt: skip

    def test_show_the_sample_of_a_missing_value_without_a_word_of_warning(self, twilio, client):
        sid = create(client)
        twilio.approve_template(sid)
        sent = client.messages.create(to=CUSTOMER, from_=SENDER, content_sid=sid, content_variables='{"1":"Ravi"}')
        assert sent.body.startswith("Dear Ravi, your policy POL-1 ")
        twilio.wait_for(sent.sid, "read")

    @pytest.mark.parametrize("value", ["two\nlines", "a\ttab", "five     blanks"])
    def test_with_a_value_that_whatsapp_forbids_fail(self, twilio, client, value):
        sid = create(client)
        twilio.approve_template(sid)
        variables = json.dumps({"1": value, "2": "POL-2"})
        sent = client.messages.create(to=CUSTOMER, from_=SENDER, content_sid=sid, content_variables=variables)
        assert sent.status == "queued"
        assert twilio.wait_for(sent.sid, "failed").error_code == 63013
