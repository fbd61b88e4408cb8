"""The API against its own description: whatever is asked, in the right form or a wrong one, the answer is one that is described."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.schemas import APIOperation

from tests.service_fixtures import Person
from whatsapp_logs import Draft, Source, StatusReport, WhatsAppService
from whatsapp_logs.web.api import OPERATIONS

# Schemathesis itself takes numbers from `random`, which hypothesis seeds.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

load_all_checks()
EXAMPLES = 100  # of each operation and mode: what is asked is the same in every run
CHECKED = CHECKS.get_by_names([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "allow_header_conformance",
])  # fmt: skip
JUDGED = {
    GenerationMode.POSITIVE: CHECKS.get_by_names(["positive_data_acceptance"]),
    GenerationMode.NEGATIVE: CHECKS.get_by_names(["negative_data_rejection"]),
}
# What a filter may say is more than a schema can (a last day before the first): 400 and the field are a right answer to it, and
# blanks around a word are forgiven. What takes no parameters at all, nobody can ask wrongly.
FREELY_ASKED = frozenset({"messages", "export", "stats", "refresh_all_statuses"})
SIDS = [f"SM{n:032x}" for n in range(6)]


@pytest.fixture
def operations(app: Flask, service: WhatsAppService, monkeypatch: pytest.MonkeyPatch) -> dict[str, APIOperation]:
    """What the API says that it does, by name; there are messages in its log."""
    # Nobody works here: the end of a run could only be waited for.
    monkeypatch.setattr("whatsapp_logs.web.api._WAIT_FOR_RUN_S", 0.0)
    for sid, status in zip(SIDS, ("queued", "sent", "delivered", "read", "failed", "undelivered"), strict=True):
        message = service.send(Draft(to="+447700900123", body="Hello"))
        code = "63016" if status == "failed" else None
        report = StatusReport(provider_status=status, message_id=message.id, provider_id=sid, error_code=code)
        service.record([report], source=Source.CALLBACK)
    schema = schemathesis.openapi.from_wsgi("/api/whatsapp/openapi.json", app)
    found = [result.ok() for result in schema.get_all_operations()]
    return {operation.definition.raw["operationId"]: operation for operation in found}


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("name", [operation.name for operation in OPERATIONS if operation.right])
def test_fault_23_every_answer_of_the_api_is_one_that_its_description_knows(
    operations: dict[str, APIOperation], signed_in: Callable[[str], Person], name: str, mode: GenerationMode
) -> None:
    admin = signed_in("administrator")
    cookie = admin.get_cookie("session")
    assert cookie is not None
    checks = [*CHECKED, *([] if name in FREELY_ASKED else JUDGED[mode])]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operations[name].as_strategy(generation_mode=mode), st.sampled_from([None, *SIDS]))
    def ask(case: Case, sid: str | None) -> None:
        if sid and mode is GenerationMode.POSITIVE and "message_sid" in (case.path_parameters or {}):
            case.path_parameters["message_sid"] = sid
        case.call_and_validate(headers={"X-CSRFToken": admin.token}, cookies={"session": cookie.value}, checks=checks)

    ask()
