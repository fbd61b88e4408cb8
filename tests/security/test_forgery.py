"""Another site that has somebody's browser send our forms: without the session's token nothing is done."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from portal import demo
from tests.portal.conftest import COOKIE, Browser
from tests.security.target import Target, checksums
from tests.security.test_rights import method, path
from whatsapp_logs import Draft

FIELDS = {
    "request_key": "k" * 24, "body": "Hello", "name": "X", "phone": "+447700900123", "address": "Y", "confirm": "yes",
    "day": "2026-01-01", "message_sid": "SM" + "0" * 32, "username": "anna.admin", "password": demo.PASSWORD,
}  # fmt: skip
ELSEWHERE = {
    "Origin": "https://evil.example.test",
    "Referer": "https://evil.example.test/x",
    "Sec-Fetch-Site": "cross-site",
}


@pytest.fixture
def forms(target: Target) -> list[str]:
    """The addresses of every form of feature and portal, those of machines aside."""
    target.service.send(Draft(to="+447700900123", body="Hello"))
    found = [rule for rule in target.app.url_map.iter_rules() if method(rule) == "POST"]
    return [path(rule) for rule in found if not rule.endpoint.startswith("whatsapp_machines.")]


@pytest.fixture
def victim(target: Target) -> Browser:
    """An administrator who is signed in."""
    return target.signed_in("anna.admin")


def tokens(target: Target) -> dict[str, str | None]:
    """What stands for a token in a form that is not ours."""
    before = Browser(target.app.test_client())
    before.sign_in("anna.admin")
    stale = target.token_of(before)  # of the same person, before they signed in again
    return {
        "none": None,
        "empty": "",
        "made up": "IjEyMyI.aaaa.bbbb",
        "of somebody else": target.token_of(target.signed_in("arjun.agent")),
        "of an earlier session": stale,
        "of nobody's session": str(
            Browser(target.app.test_client()).hidden_fields("/sign-in", "/sign-in")["csrf_token"]
        ),
    }


@pytest.mark.parametrize("headers", [{}, ELSEWHERE], ids=["from here", "from another site"])
def test_fault_22_no_form_is_believed_with_a_token_that_is_not_the_sessions(
    target: Target, forms: list[str], victim: Browser, headers: dict[str, str]
) -> None:
    wrong = tokens(target)
    before = checksums(target.dsn)
    for name, token in wrong.items():
        fields = FIELDS if token is None else {**FIELDS, "csrf_token": token}
        for form in forms:
            answer = victim.client.post(form, data=fields, headers=headers)
            assert answer.status_code == 400, (form, name, answer.status_code)
            if token is not None:
                answer = victim.client.post(form, data=FIELDS, headers={**headers, "X-CSRFToken": token})
                assert answer.status_code == 400, (form, name, answer.status_code)
    assert checksums(target.dsn) == before


def test_fault_22_other_kinds_of_content_are_no_way_round_the_token(
    target: Target, forms: list[str], victim: Browser
) -> None:
    token = target.token_of(victim)
    fields = {**FIELDS, "csrf_token": token}
    before = checksums(target.dsn)
    for form in forms:
        for kind, body in (
            ("application/json", json.dumps(fields)),
            ("text/plain", urlencode(fields)),
            ("text/plain", json.dumps(fields)),
            ("application/xml", "<csrf_token>x</csrf_token>"),
            ("", urlencode(fields)),
        ):
            answer = victim.client.post(form, data=body, content_type=kind, headers=ELSEWHERE)
            assert answer.status_code == 400, (form, kind, answer.status_code)
        # Nor does a token in the address count, which travels on in logs and Referer lines.
        answer = victim.client.post(f"{form}?csrf_token={token}", data=FIELDS)
        assert answer.status_code == 400, (form, answer.status_code)
    assert checksums(target.dsn) == before


def test_fault_22_no_change_is_made_by_looking(target: Target, victim: Browser) -> None:
    before = checksums(target.dsn)
    for rule in target.app.url_map.iter_rules():
        for verb in ("GET", "HEAD", "OPTIONS"):
            victim.client.open(f"{path(rule)}?{urlencode(FIELDS)}", method=verb, buffered=True)
    assert checksums(target.dsn) == before
    for verb in ("PUT", "PATCH", "DELETE"):
        for rule in target.app.url_map.iter_rules():
            assert victim.client.open(path(rule), method=verb).status_code == 405, (rule.rule, verb)


def test_fault_22_a_browser_sends_the_cookie_with_no_form_of_another_site(target: Target) -> None:
    person = Browser(target.app.test_client())
    answer = person.sign_in("arjun.agent")
    (cookie,) = [line for line in answer.headers.getlist("Set-Cookie") if line.startswith(f"{COOKIE}=")]
    assert "SameSite=Lax" in cookie
    assert "Access-Control-Allow-Origin" not in person.client.get("/whatsapp_logs", headers=ELSEWHERE).headers


def test_fault_22_signing_in_needs_a_token_too_and_begins_another_session(target: Target) -> None:
    person = Browser(target.app.test_client())
    assert person.post("/sign-in", {"username": "anna.admin", "password": demo.PASSWORD}).status_code == 400
    planted = person.hidden_fields("/sign-in", "/sign-in")
    assert person.sign_in("anna.admin").status_code == 302
    assert person.post("/clients/1/edit", {**FIELDS, **planted}).status_code == 400
