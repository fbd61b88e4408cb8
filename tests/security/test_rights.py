"""Every route × every role, and what belongs to somebody else: nobody gets more than was declared for them."""

from __future__ import annotations

from collections.abc import Set
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Blueprint, Flask
from werkzeug.routing import Rule

from portal import access, demo, people
from tests.portal.conftest import COOKIE, Browser
from tests.security.target import Target
from whatsapp_logs import ROLES, Right, Viewer, WhatsAppLogs, WhatsAppService
from whatsapp_logs.web import pages
from whatsapp_logs.web.access import requires

PEOPLE = [(username, role) for username, _, role in demo.DEMO_SIGN_INS]
# Asked for without a session: static files, the sign-in, the API's description, and what machines prove themselves to.
OPEN = frozenset({
    "static", "whatsapp_logs.static", "auth.sign_in", "auth.begin", "health.show", "whatsapp_logs.api_openapi",
    "whatsapp_machines.livez", "whatsapp_machines.readyz", "whatsapp_machines.metrics", "whatsapp_machines.status_callback",
    "whatsapp_machines.inbound", "whatsapp_machines.document",
    "invitation.arrive", "invitation.show", "invitation.accept",  # whoever has the link
    "second_factor.check",  # the password was right, the code is still to come
})  # fmt: skip


def rules(target: Target) -> list[Rule]:
    return [rule for rule in target.app.url_map.iter_rules() if rule.endpoint not in OPEN | {"second_factor.ask"}]


def needed(target: Target, rule: Rule) -> Right | people.OwnRight:
    """The right that the route declares, in the portal's way or in the feature's."""
    view = target.app.view_functions[rule.endpoint]
    declared = access.declared(view)
    right = declared.right if declared else view.whatsapp_logs_requires  # type: ignore[attr-defined]
    assert right is not None, rule.endpoint
    return right


def method(rule: Rule) -> str:
    return "POST" if "POST" in (rule.methods or ()) else "GET"


def path(rule: Rule, value: object = 1) -> str:
    found = rule.rule
    for name in rule.arguments:
        found = found.replace(f"<int:{name}>", str(value)).replace(f"<{name}>", str(value))
    return found


def test_fault_21_the_routes_without_a_session_are_these_and_no_others(target: Target) -> None:
    stranger = target.app.test_client()
    answered = set()
    for rule in target.app.url_map.iter_rules():
        answer = stranger.open(path(rule), method=method(rule), buffered=True)
        turned_away = answer.status_code == 401 or urlsplit(answer.location or "").path == "/sign-in"
        if not turned_away:
            answered.add(rule.endpoint)
    assert answered == OPEN


@pytest.mark.parametrize(("username", "role"), PEOPLE)
def test_fault_21_each_role_may_call_exactly_the_routes_that_its_rights_open(
    target: Target, username: str, role: str
) -> None:
    assert routes_that_answer_wrongly(target, username, ROLES[role] | people.OWN_RIGHTS[role]) == []


def routes_that_answer_wrongly(
    target: Target, username: str, rights: Set[Right | people.OwnRight]
) -> list[tuple[str, int]]:
    """Every route that is open to the person without one of these rights, or closed in spite of one."""
    person, wrong = target.signed_in(username), []
    for rule in rules(target):
        # A change without its token: 400 says "you may, but not like this", 403 "you may not".
        answer = person.client.open(path(rule), method=method(rule), buffered=True)
        may = needed(target, rule) in rights
        expected = {400} if may and method(rule) == "POST" else {200, 302, 303, 400, 404} if may else {403}
        if answer.status_code not in expected:
            wrong.append((rule.rule, answer.status_code))
    return wrong


def test_fault_21_a_role_of_the_offices_own_may_call_exactly_the_routes_that_its_rights_open(target: Target) -> None:
    rights = {Right.SEE, Right.TEXTS, Right.EXPORT, people.OwnRight.EDIT_CLIENTS}
    with psycopg.connect(target.dsn) as conn:
        conn.execute(
            "INSERT INTO roles (role, rights) VALUES ('night desk', %s)",
            ([people.short_name(each) for each in rights],),
        )
        people.add(conn, username="nina.night", name="Nina", role="night desk", timezone="UTC", password=demo.PASSWORD)
    assert routes_that_answer_wrongly(target, "nina.night", rights) == []


@pytest.mark.parametrize(("username", "role"), PEOPLE)
def test_fault_21_the_id_of_what_is_not_there_is_not_found_whoever_asks(
    target: Target, username: str, role: str
) -> None:
    person, wrong = target.signed_in(username), []
    for rule in rules(target):
        if method(rule) == "POST" or not rule.arguments or rule.arguments == {"filename"}:
            continue
        for value in (0, 10**9, 10**12, 10**30, "x", "-1"):
            answer = person.get(path(rule, value))
            if answer.status_code not in (403, 404):
                wrong.append((path(rule, value), answer.status_code))
    assert wrong == []


def test_fault_21_a_session_of_somebody_who_was_removed_or_signed_out_opens_nothing(target: Target) -> None:
    kept = {}
    for username, is_removed in (("gone.girl", True), ("out.andabout", False)):
        with psycopg.connect(target.dsn) as conn:
            people.add(
                conn,
                username=username,
                name="X",
                role="administrator",
                timezone="Europe/London",
                password="long enough",
            )
        person = Browser(target.app.test_client())
        assert person.sign_in(username, "long enough").status_code == 302
        cookie = person.client.get_cookie(COOKIE)
        assert cookie is not None
        kept[username] = cookie.value
        with psycopg.connect(target.dsn) as conn:
            if is_removed:
                conn.execute("DELETE FROM people WHERE username = %s", (username,))
        if not is_removed:
            person.submit("/", "/sign-out")
    for cookie_value in kept.values():
        thief = target.app.test_client()
        thief.set_cookie(COOKIE, cookie_value)
        for rule in rules(target):
            answer = thief.open(path(rule), method=method(rule), buffered=True)
            assert answer.status_code in (302, 401), rule.rule
            assert answer.status_code == 401 or urlsplit(answer.location or "").path == "/sign-in", rule.rule


def test_fault_21_a_changed_cookie_is_nobodys(target: Target) -> None:
    target.signed_in("vera.viewer")
    cookie = target.cookies["vera.viewer"]
    payload, _, rest = cookie[1:].partition(".")
    for forged in (cookie[:-3] + "AAA", "." + payload[:-2] + "AA." + rest, cookie + "x", "", "." * 5, payload):
        thief = target.app.test_client()
        thief.set_cookie(COOKIE, forged)
        assert thief.get("/whatsapp_logs").status_code == 302


def test_fault_21_a_phone_search_of_somebody_else_is_not_opened(target: Target) -> None:
    theirs, mine = target.signed_in("anna.admin"), target.signed_in("arjun.agent")
    token = target.token_of(theirs)
    link = theirs.post("/whatsapp_logs", {"phone": "7700900", "csrf_token": token}).location
    assert link is not None
    assert theirs.get(link).status_code == 200
    assert mine.get(link).status_code == 400


def test_fault_21_a_new_route_that_declares_no_right_stops_the_program(
    service: WhatsAppService, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = pages.register

    def with_another(blueprint: Blueprint) -> None:
        register(blueprint)
        blueprint.add_url_rule("/whatsapp_logs/new", "new", lambda: "secret")

    monkeypatch.setattr("whatsapp_logs.web.pages.register", with_another)
    with pytest.raises(RuntimeError, match=r"routes without a declared right: whatsapp_logs\.new"):
        WhatsAppLogs(service).init_app(Flask("forgetful"), current_user=lambda: Viewer("x", ROLES["administrator"]))


def test_fault_21_a_right_that_is_no_right_opens_nothing(
    service: WhatsAppService, monkeypatch: pytest.MonkeyPatch
) -> None:
    @requires("everything")  # type: ignore[arg-type]
    def careless() -> str:
        return "secret"

    register = pages.register

    def with_another(blueprint: Blueprint) -> None:
        register(blueprint)
        blueprint.add_url_rule("/whatsapp_logs/new", "new", careless)

    monkeypatch.setattr("whatsapp_logs.web.pages.register", with_another)
    app = Flask("careless")
    app.secret_key = "x"
    WhatsAppLogs(service).init_app(app, current_user=lambda: Viewer("x", ROLES["administrator"]))
    assert app.test_client().get("/whatsapp_logs/new").status_code == 403
