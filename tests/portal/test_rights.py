"""Each route declares what it needs, and each role gets exactly that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.routing import Rule

from portal import access, demo, people
from tests.portal.conftest import Browser, Office
from whatsapp_logs import ROLES, Right

Open = Callable[[str | None], Browser]
IDS = {
    "client_id": 1,
    "sign_in_id": 1,
    "user_id": 1,
    "rule_id": 1,
    "token": "unknown",
    "policy_id": 1,
    "document_id": 1,
    "filename": "portal.css",
}


def own_rules(office: Office) -> list[Rule]:
    return [rule for rule in office.app.url_map.iter_rules() if not access.belongs_to_feature(rule.rule)]


def method_of(rule: Rule) -> str:
    return "POST" if "POST" in (rule.methods or ()) else "GET"


def test_fault_21_every_route_of_the_portal_declares_what_it_needs(office: Office) -> None:
    silent = [r.endpoint for r in own_rules(office) if access.declared(office.app.view_functions[r.endpoint]) is None]
    assert silent == []


def test_fault_21_a_route_that_declares_nothing_is_closed_to_everybody(office: Office) -> None:
    with office.app.test_request_context("/clients/"):
        office.app.preprocess_request()  # declared: asks for a sign-in
    forgotten = type(office.app)("forgotten", root_path=str(Path(access.__file__).parent))
    forgotten.add_url_rule("/secret", "secret", lambda: "secret")
    access.init_app(forgotten)
    assert forgotten.test_client().get("/secret").status_code == 403


@pytest.mark.parametrize(("username", "_password", "role"), demo.DEMO_SIGN_INS)
def test_fault_21_each_role_may_call_exactly_the_routes_that_its_rights_open(
    office: Office, browser: Open, username: str, _password: str, role: str
) -> None:
    person, wrong = browser(username), []
    for rule in own_rules(office):
        declared = access.declared(office.app.view_functions[rule.endpoint])
        if declared is None or declared.right is None:
            continue
        # A change without its token: 400 says "you may, but not like this", 403 "you may not".
        answer = person.client.open(rule.rule if not rule.arguments else _path(rule), method=method_of(rule))
        may = declared.right in ROLES[role] | people.OWN_RIGHTS[role]
        if (answer.status_code == 403) == may or answer.status_code >= 500:
            wrong.append((rule.rule, answer.status_code))
    assert wrong == []


def test_fault_21_nobody_is_let_in_without_a_session(office: Office, browser: Open) -> None:
    stranger, wrong = browser(None), []
    for rule in own_rules(office):
        declared = access.declared(office.app.view_functions[rule.endpoint])
        if declared is None or declared.right is None:
            continue
        answer = stranger.client.open(_path(rule), method=method_of(rule))
        if answer.status_code not in (302, 401) or (answer.location and not answer.location.startswith("/sign-in")):
            wrong.append((rule.rule, answer.status_code))
    assert wrong == []


def test_the_roles_that_change_nothing_see_no_send_button(browser: Open) -> None:
    for page in ("/policies/1", "/clients/1", "/renewals/1"):
        assert "request_key" in browser("arjun.agent").get(page).text
        for username in ("clara.compliance", "vera.viewer"):
            assert "request_key" not in browser(username).get(page).text


def test_a_viewer_finds_no_full_phone_number_on_any_page(office: Office, browser: Open) -> None:
    (phone,) = office.row("SELECT phone FROM clients WHERE client_id = 1")
    assert isinstance(phone, str)
    for page in ("/", "/clients/", "/clients/1", "/policies/1", "/renewals/1"):
        text = browser("vera.viewer").get(page).text
        assert phone[-7:] not in text.replace(" ", "").replace("-", "")
    assert phone[-4:] in browser("vera.viewer").get("/clients/1").text


def test_a_viewer_sees_neither_address_nor_e_mail_and_opens_no_document(office: Office, browser: Open) -> None:
    email, address = office.row("SELECT email, address FROM clients WHERE client_id = 1")
    (document_id,) = office.row(
        """
        INSERT INTO renewal_documents (policy_id, filename, content_type, content, sha256, uploaded_by)
        VALUES (1, 'offer.pdf', 'application/pdf', 'x', sha256('viewer'), 'anna.admin') RETURNING document_id
        """
    )
    street, town = str(address).splitlines()
    viewer = browser("vera.viewer")
    for page in ("/clients/", "/clients/1", "/policies/1", "/renewals/1"):
        text = viewer.get(page).text
        assert str(email) not in text
        assert street not in text
        assert f">{town}<" not in text
        assert "document.pdf" not in text
        assert "/renewals/documents/" not in text
    for document in ("/policies/1/document.pdf", f"/renewals/documents/{document_id}"):
        assert viewer.get(document).status_code == 403
        assert browser("clara.compliance").get(document).status_code == 200


def test_a_viewer_cannot_find_out_a_number_by_searching_its_digits(office: Office, browser: Open) -> None:
    (phone,) = office.row("SELECT phone FROM clients WHERE client_id = 1")
    search = f"/clients/?q={str(phone)[-6:]}"
    for username, finds in (("arjun.agent", True), ("vera.viewer", False)):
        page = browser(username).client.get(search, follow_redirects=True).text
        assert ('href="/clients/1"' in page) == finds


@pytest.mark.parametrize(
    "form", ["/policies/1/send", "/clients/1/message", "/renewals/1/remind", "/clients/1/edit", "/sign-out"]
)
@pytest.mark.parametrize("token", [None, "", "forged"])
def test_fault_22_a_form_without_its_token_changes_nothing(
    office: Office, browser: Open, form: str, token: str | None
) -> None:
    person, before = browser("arjun.agent"), office.message_count()
    fields: dict[str, object] = {"request_key": "k" * 24, "body": "Hello"}
    answer = person.post(form, fields if token is None else {**fields, "csrf_token": token})
    assert answer.status_code == 400
    assert office.message_count() == before
    assert person.get("/").status_code == 200  # still signed in


def test_fault_22_a_token_of_somebody_else_is_refused(office: Office, browser: Open) -> None:
    theirs = browser("anna.admin").hidden_fields("/policies/1", "/policies/1/send")
    before = office.message_count()
    assert browser("arjun.agent").post("/policies/1/send", theirs).status_code == 400
    assert office.message_count() == before


def test_the_right_that_a_send_needs_is_the_features(office: Office) -> None:
    declared = access.declared(office.app.view_functions["policies.send_document"])
    assert declared is not None
    assert declared.right is Right.SEND


def _path(rule: Rule) -> str:
    path = rule.rule
    for name in rule.arguments:
        for converter in ("int:", "path:", ""):
            path = path.replace(f"<{converter}{name}>", str(IDS[name]))
    return path
