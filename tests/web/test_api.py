"""The JSON API: the specification's addresses, shapes and sentences; who may; what it says when something is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from pydantic import BaseModel

from tests.service_fixtures import Person, make_portal
from tests.start.processes import PATIENCE_S, wait_until
from tests.web.reading import figure, words
from tests.web.twilio_calls import CUSTOMER, Twilio, inbound_form, sid
from whatsapp_logs import Config, Draft, Message, Source, Status, StatusReport, WhatsAppService
from whatsapp_logs.twilio.simulator import Simulator
from whatsapp_logs.web import api
from whatsapp_logs.web.api import OPERATIONS

API = "/api/whatsapp"
SignedIn = Callable[[str], Person]
REMINDER = {"1": "Asha", "2": "POL-7", "3": "12 May"}


WAITS = {name: getattr(api, name) for name in ("_WAIT_FOR_RUN_S", "_WAIT_FOR_TWILIO_S")}


@pytest.fixture(autouse=True)
def _patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is going to happen is waited for, however slow the machine is; what is not, is not."""
    monkeypatch.setattr(api, "_WAIT_FOR_TWILIO_S", PATIENCE_S)
    monkeypatch.setattr(api, "_WAIT_FOR_RUN_S", PATIENCE_S if "worker" in request.fixturenames else 0.05)


@pytest.fixture
def agent(signed_in: SignedIn) -> Person:
    return signed_in("agent")


@pytest.fixture
def remind(service: WhatsAppService, work: Callable[[], None], simulator: Simulator) -> Callable[[], Message]:
    """Send a reminder, let Twilio finish with it, and hand back our row, which knows nothing of it: the callbacks are lost."""

    def send() -> Message:
        body = "Hello Asha, your policy POL-7 is due"
        draft = Draft(to=CUSTOMER, body=body, template=service.template("renewal_reminder", REMINDER), created_by="Ann")
        message = service.send(draft)
        work()
        wait_until(
            lambda: bool(service.message(message.id).provider_id)
        )  # a `worker` of the test's may have taken the job
        simulator.wait_idle()
        return service.message(message.id)

    return send


@pytest.fixture(autouse=True)
def _lost_callbacks(simulator: Simulator) -> None:
    simulator.settings.drop_rate = 1.0


class TestRefreshAll:
    def test_it_tells_how_many_were_updated(self, agent, remind, worker):
        remind()
        answer = agent.post(f"{API}/refresh_all_statuses")
        assert answer.status_code == 200
        told = answer.json
        assert (told["success"], told["updated_count"], told["total_count"]) == (True, 1, 1)
        assert told["message"] == "Updated 1 of 1 messages."
        assert told["finished"] is True

    def test_mistake_2_delivered_messages_are_asked_again_so_that_read_is_learnt(
        self, agent, service, simulator, remind, worker
    ):
        simulator.settings.auto_read = False
        message = remind()
        agent.post(f"{API}/refresh_all_statuses")
        assert service.message(message.id).status is Status.DELIVERED
        simulator.mark_read(message.provider_id)
        assert agent.post(f"{API}/refresh_all_statuses").json["updated_count"] == 1
        assert service.message(message.id).status is Status.READ

    def test_with_nothing_pending_it_says_so(self, agent, worker):
        told = agent.post(f"{API}/refresh_all_statuses").json
        assert (told["updated_count"], told["total_count"], told["message"]) == (0, 0, "No message is pending.")

    def test_mistake_3_a_long_run_is_answered_within_2_s_with_a_place_to_watch_it(self, agent, remind, work):
        remind()
        assert WAITS["_WAIT_FOR_RUN_S"] < 2  # no worker is there: the run takes for ever
        told = agent.post(f"{API}/refresh_all_statuses").json
        assert (told["success"], told["finished"]) == (True, False)
        work()
        done = agent.get(told["progress_url"]).json
        assert (done["finished"], done["updated_count"], done["total_count"]) == (True, 1, 1)

    def test_a_second_click_joins_the_run(self, agent, service):
        first = service.refresh_all(started_by="somebody else")
        assert agent.post(f"{API}/refresh_all_statuses").json["refresh_id"] == first.id

    def test_a_run_that_twilio_interrupts_is_503_and_says_why(self, agent, remind, simulator, worker):
        remind()
        simulator.go_away()
        answer = agent.post(f"{API}/refresh_all_statuses")
        assert answer.status_code == 503
        assert (answer.json["success"], answer.json["message"]) == (
            False,
            "Twilio cannot be reached. Try again in a few minutes.",
        )
        progress = agent.get(answer.json["progress_url"])
        assert (progress.status_code, progress.json["success"]) == (200, False)

    @pytest.mark.parametrize("number", ["999", "9" * 19, "9" * 40, "9" * 5000, "-1", "true", "%00", "１"])
    def test_progress_of_no_run_is_404_in_json(self, agent, number):
        answer = agent.get(f"{API}/refreshes/{number}")
        assert (answer.status_code, answer.json["success"]) == (404, False)


class TestRefreshOne:
    @pytest.mark.parametrize("kind", ["json", "data"])
    def test_it_asks_twilio_now(self, agent, service, remind, kind):
        message = remind()
        answer = agent.post(f"{API}/refresh_status", **{kind: {"message_sid": message.provider_id}})
        assert (answer.status_code, answer.json["success"]) == (200, True)
        assert answer.json["message"] == "Status updated: read."
        assert service.message(message.id).status is Status.READ
        again = agent.post(f"{API}/refresh_status", json={"message_sid": message.provider_id}).json
        assert (again["changed"], again["message"]) == (False, "Nothing new: the message is read.")

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({}, "message_sid"), ({"message_sid": ""}, "message_sid"), ({"message_sid": None}, "message_sid"),
            ({"message_sid": 7}, "message_sid"), ({"message_sid": ["SM"]}, "message_sid"), ({"sid": "SM"}, "message_sid"),
            ({"message_sid": "x" * 101}, "message_sid"), ({"message_sid": "a\0b"}, "message_sid"),
            ({"message_sid": "a b"}, "message_sid"), ([], "body"), ("SM", "body"), (7, "body"),
        ],
    )  # fmt: skip
    def test_fault_23_malformed_input_is_400_and_names_the_field(self, agent, given, field):
        answer = agent.post(f"{API}/refresh_status", json=given)
        assert (answer.status_code, answer.json["success"], answer.json["field"]) == (400, False, field)

    def test_broken_json_is_400(self, agent):
        answer = agent.post(f"{API}/refresh_status", data="{", content_type="application/json")
        assert (answer.status_code, answer.json["field"]) == (400, "body")

    def test_a_megabyte_is_400(self, agent):
        assert (
            agent.post(f"{API}/refresh_status", json={"message_sid": sid(1), "more": "x" * 1_000_000}).status_code
            == 400
        )

    @pytest.mark.parametrize("unknown", [sid(5), "' or 1=1--", "%"])
    def test_an_unknown_sid_is_404(self, agent, unknown):
        answer = agent.post(f"{API}/refresh_status", data={"message_sid": unknown.replace(" ", "")})
        assert (answer.status_code, answer.json["success"]) == (404, False)

    def test_twilio_away_is_503(self, agent, remind, simulator):
        message = remind()
        simulator.go_away()
        answer = agent.post(f"{API}/refresh_status", json={"message_sid": message.provider_id})
        assert (answer.status_code, answer.json["success"]) == (503, False)
        assert "Retry-After" in answer.headers


class TestDetails:
    def test_they_are_twilios_own_words_when_it_answers(self, agent, service, remind):
        message = remind()
        answer = agent.get(f"{API}/message_details/{message.provider_id}")
        told = answer.json["message"]
        assert (answer.status_code, answer.json["success"], told["source"]) == (200, True, "twilio")
        expected = {
            "sid": message.provider_id, "status": "read", "provider_status": "read", "error_code": None, "error_message": None,
            "price_unit": "USD", "direction": "outbound-api", "num_segments": 1, "to": CUSTOMER,
            "from": "whatsapp:+15550100100", "created_by": "Ann", "masked": False,
        }  # fmt: skip
        assert {name: told[name] for name in expected} == expected
        assert told["body"].startswith("Hello Asha")
        assert float(told["price"]) < 0
        assert None not in (told["date_sent"], told["date_updated"])

    def test_looking_changes_nothing(self, agent, service, remind):
        message = remind()
        agent.get(f"{API}/message_details/{message.provider_id}")
        assert service.message(message.id) == message

    def test_they_are_ours_when_twilio_is_away(self, agent, remind, simulator):
        message = remind()
        simulator.go_away()
        told = agent.get(f"{API}/message_details/{message.provider_id}").json["message"]
        assert (told["source"], told["status"]) == ("log", message.status)
        assert told["source_note"] == "Twilio cannot be reached. Try again in a few minutes."

    def test_a_slow_twilio_is_not_waited_for(self, agent, remind, simulator, monkeypatch):
        message = remind()
        assert WAITS["_WAIT_FOR_TWILIO_S"] < 1.9
        monkeypatch.setattr(api, "_WAIT_FOR_TWILIO_S", 0.1)
        simulator.settings.latency_s = 3.0
        told = agent.get(f"{API}/message_details/{message.provider_id}").json["message"]
        assert (told["source"], told["source_note"]) == ("log", "Twilio takes too long to answer.")

    def test_what_callbacks_told_is_not_taken_back_by_a_lagging_answer(self, agent, service, remind, simulator):
        simulator.settings.auto_read = False
        message = remind()
        service.record([StatusReport(provider_status="read", provider_id=message.provider_id)], source=Source.CALLBACK)
        told = agent.get(f"{API}/message_details/{message.provider_id}").json["message"]
        assert (told["source"], told["status"], told["provider_status"]) == ("twilio", "read", "delivered")

    def test_a_failure_is_explained_and_its_timeline_told(self, agent, service):
        service.log_message(message_sid=sid(1), to=CUSTOMER)
        failed = StatusReport(provider_status="failed", provider_id=sid(1), error_code="63016", error_message="Window")
        service.record([failed], source=Source.CALLBACK)
        told = agent.get(f"{API}/message_details/{sid(1)}").json["message"]
        assert (told["status"], told["error_code"], told["source_note"]) == (
            "failed",
            "63016",
            "Twilio has no message of this SID.",
        )
        assert told["error_advice"]["action"]
        assert [event["provider_status"] for event in told["timeline"]] == ["queued", "failed"]

    @pytest.mark.parametrize("unknown", [sid(5), "x" * 3000, "%00", "'%20or%201=1", "%25", "ü"])
    def test_an_unknown_sid_is_404(self, agent, unknown):
        answer = agent.get(f"{API}/message_details/{unknown}")
        assert (answer.status_code, answer.json) == (
            404,
            {"success": False, "message": "This message is not in the log."},
        )

    def test_who_may_not_see_numbers_gets_neither_numbers_nor_texts(self, signed_in, service, app, config):
        service.log_message(message_sid=sid(1), to=CUSTOMER, body="secret")
        text = "The 'To' number whatsapp:+447700900123 is not valid; +44 7700 900123"
        failed = StatusReport(provider_status="failed", provider_id=sid(1), error_code="21211", error_message=text)
        service.record([failed], source=Source.CALLBACK)
        Twilio(app.test_client(), config.public_base_url).post("/whatsapp/inbound", inbound_form(sid(2), "secret"))
        viewer = signed_in("viewer")
        for path in (
            f"message_details/{sid(1)}",
            f"message_details/{sid(2)}",
            "messages",
            "messages?direction=inbound",
        ):
            text = viewer.get(f"{API}/{path}").text
            assert "0123" in text
            assert "secret" not in text
            assert "700900123" not in text
            assert "7700 900" not in text


class TestStats:
    def test_figures_are_exact_and_in_flight_is_neither_success_nor_failure(self, agent, service):
        ends = ["delivered", "read", "read", "failed", "undelivered", "canceled", "sent", "sending"]
        for number, word in enumerate(ends, start=1):
            service.log_message(message_sid=sid(number), to=CUSTOMER, status=word)
        answer = agent.get(f"{API}/stats").json
        assert answer["success"] is True
        told = answer["stats"]
        assert (told["total_messages"], told["success_rate"], told["ended_messages"]) == (8, 60.0, 5)
        assert (told["delivered_messages"], told["read_messages"]) == (3, 2)
        assert (told["failed_messages"], told["in_flight_messages"]) == (2, 2)
        assert told["status_counts"] == {
            "scheduled": 0, "queued": 0, "sending": 1, "sent": 1, "canceled": 1, "failed": 1, "undelivered": 1,
            "delivered": 1, "read": 2,
        }  # fmt: skip

    def test_an_empty_log_is_all_zeros(self, agent):
        told = agent.get(f"{API}/stats").json["stats"]
        assert (told["total_messages"], told["success_rate"], told["ended_messages"]) == (0, 0.0, 0)

    def test_the_rate_is_the_pages_own(self, agent, service):
        for number, word in enumerate(("read", "delivered", "failed"), start=1):
            service.log_message(message_sid=sid(number), to=CUSTOMER, status=word)
        page = agent.get("/whatsapp_logs")
        assert figure(page, "rate").replace("\u202f", " ") == "66.6 %"
        assert "33.4" in words(page)  # failed: together they are 100
        assert agent.get(f"{API}/stats").json["stats"]["success_rate"] == 66.6


class TestList:
    @pytest.fixture
    def logged(self, service: WhatsAppService) -> None:
        for number in range(1, 8):
            kind = "policy_document" if number % 2 else "general"
            status = "read" if number < 4 else "sent"
            service.log_message(message_sid=sid(number), to=f"+4477009001{number:02}", message_type=kind, status=status)

    def sids(self, answer: Any) -> list[str]:
        assert answer.status_code == 200, answer.text
        return [message["sid"] for message in answer.json["messages"]]

    def test_pages_follow_each_other_to_the_end(self, agent, logged):
        seen, cursor = [], ""
        while cursor is not None:
            answer = agent.get(f"{API}/messages?limit=3&before={cursor}")
            seen += self.sids(answer)
            cursor = answer.json["next_cursor"]
        assert seen == [sid(n) for n in range(7, 0, -1)]

    @pytest.mark.parametrize(
        ("query", "numbers"),
        [
            ("status=read", [3, 2, 1]), ("status_filter=read&message_type_filter=general", [2]),
            ("status_filter=all", range(7, 0, -1)),
            ("type=general", [6, 4, 2]), ("phone_filter=07700%20900105", [5]), ("phone_filter=00105", [5]),
            ("page=2&limit=5", [2, 1]),
            ("date_from=2200-01-01", []),
        ],
    )  # fmt: skip
    def test_it_answers_to_the_pages_filters_and_to_the_first_portals_names(self, agent, logged, query, numbers):
        assert self.sids(agent.get(f"{API}/messages?{query}")) == [sid(n) for n in numbers]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("status=gone", "status"), ("date_from=31/12/2026", "date_from"), ("limit=0", "limit"), ("limit=201", "limit"),
            ("limit=x", "limit"), ("page=0", "page"), ("page=-1", "page"), ("page=abc", "page"), ("page=٣", "page"),
            ("before=x", "before"), ("phone_filter=12", "phone"), ("type=%00", "type"), ("type=' or 1=1", "type"),
            ("direction=up", "direction"), ("client=%25%27", "client"), ("before=9-" + "9" * 19, "before"),
        ],
    )  # fmt: skip
    def test_fault_23_malformed_input_is_400_and_names_the_field(self, agent, query, field):
        answer = agent.get(f"{API}/messages?{query}")
        assert (answer.status_code, answer.json.get("field")) == (400, field)

    def test_fault_23_a_page_number_beyond_the_last_is_404_or_400(self, agent):
        assert agent.get(f"{API}/messages?page=1000000000000").status_code in (400, 404)


class TestWhoMay:
    CALLS = (
        ("GET", "stats", 200), ("GET", "messages", 200), ("GET", "refreshes/1", 404), ("GET", f"message_details/{sid(1)}", 404),
        ("POST", "refresh_all_statuses", 200), ("POST", "refresh_status", 404),
    )  # fmt: skip

    def test_no_session_is_401_in_json(self, app: Flask):
        for method, path, _ in self.CALLS:
            answer = app.test_client().open(f"{API}/{path}", method=method)
            assert (answer.status_code, answer.json) == (401, {"success": False, "message": "Please sign in."}), path

    @pytest.mark.parametrize("role", ["administrator", "agent", "compliance", "viewer"])
    def test_mistake_11_only_the_authorised_refresh(self, signed_in, worker, role):
        person = signed_in(role)
        for method, path, expected in self.CALLS:
            if method == "POST" and role in ("compliance", "viewer"):
                expected = 403
            answer = person.open(
                f"{API}/{path}", method=method, data={"message_sid": sid(1)} if method == "POST" else None
            )
            assert answer.status_code == expected, (role, path)
            assert answer.is_json

    @pytest.mark.parametrize("token", ["", "x", "foreign"])
    def test_mistake_11_a_change_without_the_sessions_token_is_refused(self, agent, signed_in, service, token):
        agent.token = signed_in("administrator").token if token == "foreign" else token
        for content in ({"json": {"message_sid": sid(1)}}, {"data": {"message_sid": sid(1)}}, {}):
            for path in ("refresh_status", "refresh_all_statuses"):
                answer = agent.post(f"{API}/{path}", **content)
                assert (answer.status_code, answer.json["field"]) == (400, "csrf_token")
        assert service.refresh_progress() is None

    def test_the_token_may_come_as_a_form_field(self, agent):
        token, agent.token = agent.token, ""
        answer = agent.post(f"{API}/refresh_status", data={"message_sid": sid(1), "csrf_token": token})
        assert answer.status_code == 404

    def test_answers_are_kept_by_no_cache(self, agent):
        assert agent.get(f"{API}/stats").headers["Cache-Control"] == "no-store"


class TestOutage:
    def test_without_credentials_it_is_the_specifications_sentence(self, config: Config):
        bare = replace(config, twilio_account_sid="", twilio_auth_token="", twilio_whatsapp_from="")
        service = WhatsAppService(bare)
        service.log_message(message_sid=sid(1), to=CUSTOMER)
        agent = _agent(make_portal(service))
        for path, body in (("refresh_all_statuses", {}), ("refresh_status", {"message_sid": sid(1)})):
            answer = agent.post(f"{API}/{path}", json=body)
            assert (answer.status_code, answer.json["message"]) == (503, "Twilio client not configured")
        told = agent.get(f"{API}/message_details/{sid(1)}").json["message"]
        assert (told["source"], told["source_note"]) == ("log", "Twilio client not configured")
        service.close()

    def test_mistake_7_without_the_database_nothing_is_zero(self, config: Config):
        service = WhatsAppService(
            replace(config, database_url="postgresql://nobody@127.0.0.1:9/none", pool_timeout_s=0.1)
        )
        agent = _agent(make_portal(service))
        calls = [
            agent.get(f"{API}/{path}") for path in ("stats", "messages", "refreshes/1", f"message_details/{sid(1)}")
        ]
        calls += [
            agent.post(f"{API}/{path}", json={"message_sid": sid(1)})
            for path in ("refresh_status", "refresh_all_statuses")
        ]
        for answer in calls:
            assert (answer.status_code, answer.json["success"]) == (503, False)
            assert answer.json["message"].startswith("The database cannot be reached.")
            assert "stats" not in answer.json
        service.close()

    def test_without_a_service_it_is_the_specifications_sentence(self, service: WhatsAppService):
        agent = _agent(make_portal(service, started=False))
        answer = agent.get(f"{API}/stats")
        assert (answer.status_code, answer.json["message"]) == (503, "WhatsApp service not available")


class TestDescription:
    @pytest.fixture
    def document(self, app: Flask) -> dict[str, Any]:
        answer = app.test_client().get(f"{API}/openapi.json")  # no session: it is public
        assert answer.status_code == 200
        return answer.json

    def test_every_route_of_the_api_is_described(self, app, document):
        routes = {
            (method, rule.rule.replace("<int:", "<").replace("<", "{").replace(">", "}"))
            for rule in app.url_map.iter_rules()
            for method in rule.methods - {"HEAD", "OPTIONS"}
            if rule.rule.startswith(API)
        }
        described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
        assert routes == described

    def test_it_is_openapi_3_1_and_all_its_references_lead_somewhere(self, document):
        assert document["openapi"] == "3.1.0"
        text = str(document)
        schemas = document["components"]["schemas"]
        references = {part.split("'")[0] for part in text.split("'$ref': '#/components/schemas/")[1:]}
        assert references <= schemas.keys()
        assert "#/$defs" not in text
        names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
        assert len(names) == len(set(names))
        assert {"from", "to", "sid"} <= schemas["MessageDetails"]["properties"].keys()

    def test_every_answer_is_of_the_shape_that_is_described(self, agent, remind, document, worker):
        sids = {"refresh_id": 1, "message_sid": remind().provider_id}
        models = {operation.name: operation.answer for operation in OPERATIONS}
        for path, methods in sorted(document["paths"].items(), reverse=True):  # the refresh before its progress
            for method, operation in methods.items():
                model: type[BaseModel] | None = models[operation["operationId"]]
                if model is None:
                    continue
                answer = agent.open(
                    path.format(**sids), method=method.upper(), json={"message_sid": sids["message_sid"]}
                )
                if operation["operationId"] == "refresh_progress":
                    agent.post(f"{API}/refresh_all_statuses")
                    answer = agent.get(path.format(**sids))
                assert answer.status_code == 200, path
                model.model_validate_json(answer.data, extra="forbid")
                schema = document["components"]["schemas"][model.__name__]
                assert set(schema["required"]) <= answer.json.keys() <= schema["properties"].keys()


def _agent(app: Flask) -> Person:
    person = Person(app, response_wrapper=app.response_class)
    person.token = person.get("/sign_in/agent").text
    return person
