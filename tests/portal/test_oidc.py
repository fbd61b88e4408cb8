"""Single sign-on, against an OpenID provider on this machine that really listens."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

import jwt
import psycopg
import pyotp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.utils import base64url_encode
from werkzeug.test import TestResponse

from portal import database, people, second_factors, staff
from portal.app import create_app
from portal.config import PortalConfig
from portal.oidc_settings import CALLBACK_PATH
from tests.portal.conftest import COOKIE, SEAL, Browser, Office
from tests.portal.provider import CLIENT_ID, CLIENT_SECRET, KEY_ID, FakeProvider, running_provider
from whatsapp_logs.errors import ConfigError

PORTAL = "http://127.0.0.1:8800"
ENV = {
    "DATABASE_URL": "postgresql://x",
    "SECRET_KEY": "a secret key of the portal's tests",
    "OIDC_ISSUER": "https://login.example.test",
    "OIDC_CLIENT_ID": CLIENT_ID,
    "OIDC_CLIENT_SECRET": CLIENT_SECRET,
    "OIDC_NAME": "Harbour ID",
}


@dataclass
class Door:
    """A portal with single sign-on, and its provider."""

    office: Office
    provider: FakeProvider

    def browser(self) -> Browser:
        return Browser(self.office.app.test_client())

    def invite(self, username: str) -> int:
        with psycopg.connect(self.office.dsn) as conn:
            conn.execute("DELETE FROM people WHERE username = %s", (username,))
            return people.add(conn, username=username, name=username.title(), role="agent", timezone="UTC")

    def off(self, browser: Browser, path: str = "/sign-in/oidc") -> str:
        """Go to the provider; the address with which it sends back."""
        return _visit(browser.get(path).location)

    def come_in(self, browser: Browser, path: str = "/sign-in/oidc") -> TestResponse:
        return back(browser, self.off(browser, path))


class _Stay(HTTPRedirectHandler):
    def http_error_302(self, _req: Any, fp: Any, _code: int, _msg: str, _headers: Any) -> Any:
        return fp


def _visit(address: str) -> str:
    with build_opener(_Stay).open(address) as answer:
        return str(answer.headers["Location"])


def back(browser: Browser, address: str) -> TestResponse:
    return browser.get(address.removeprefix(PORTAL))


def said(browser: Browser, answer: TestResponse) -> str:
    """The sentence on the sign-in page to which the answer leads; nobody is signed in."""
    assert urlsplit(answer.location).path == "/sign-in"
    page = browser.get(answer.location).text
    assert browser.get("/clients/").location.startswith("/sign-in")
    return " ".join(re.findall(r'<p class="note bad" role="status">([^<]+)', page))


@pytest.fixture
def door(office: Office) -> Iterator[Door]:
    with running_provider(PORTAL + CALLBACK_PATH) as provider:
        config: PortalConfig = office.app.config["PORTAL"]
        oidc = PortalConfig.from_env(ENV | {"OIDC_ISSUER": provider.issuer}).oidc
        app = create_app(replace(config, oidc=oidc), service=office.service)
        yield Door(replace(office, app=app, cookies={}), provider)
        database.close(app)
        with psycopg.connect(office.dsn) as conn:
            conn.execute("DELETE FROM sign_in_attempts")


def test_whoever_was_invited_comes_in_by_single_sign_on_and_goes_where_they_wanted(door: Door) -> None:
    user_id = door.invite("olga.oidc")
    door.provider.sits_there("42", preferred_username="Olga.Oidc")
    browser = door.browser()
    page = browser.get("/sign-in?next=/policies/").text
    assert "Sign in with Harbour ID" in page
    before = browser.client.get_cookie(COOKIE)
    answer = door.come_in(browser, "/sign-in/oidc?next=/policies/")
    assert answer.location == "/policies/"
    assert browser.get("/policies/").status_code == 200
    assert browser.client.get_cookie(COOKIE) != before
    sql = "SELECT user_id FROM oidc_links WHERE issuer = %(issuer)s AND subject = '42'"
    assert door.office.row(sql, issuer=door.provider.issuer) == (user_id,)


def test_the_link_stays_when_the_provider_changes_the_name(door: Door) -> None:
    door.invite("olga.again")
    door.provider.sits_there("43", email="olga.again", email_verified=True)
    assert door.come_in(door.browser()).location == "/"
    door.provider.sits_there("43", email="somebody.else", email_verified=True)
    assert door.come_in(door.browser()).location == "/"


def test_single_sign_on_never_leads_to_another_site(door: Door) -> None:
    door.invite("olga.next")
    door.provider.sits_there("44", preferred_username="olga.next")
    assert door.come_in(door.browser(), "/sign-in/oidc?next=//evil.example.test/").location == "/"


def test_an_address_may_be_a_user_name(door: Door) -> None:
    door.invite("olga@office.example.test")
    door.provider.sits_there("45", email="Olga@office.example.test", email_verified=True)
    assert door.come_in(door.browser()).location == "/"


def test_names_that_the_provider_tells_only_when_asked_for_them_lead_to_the_person_too(door: Door) -> None:
    user_id = door.invite("olga.thin")
    door.provider.sits_there("46")
    door.provider.told_apart = {"sub": "46", "preferred_username": "olga.thin"}
    assert door.come_in(door.browser()).location == "/"
    sql = "SELECT user_id FROM oidc_links WHERE issuer = %(issuer)s AND subject = '46'"
    assert door.office.row(sql, issuer=door.provider.issuer) == (user_id,)


@pytest.mark.parametrize(
    "told", [{"sub": "48", "preferred_username": "olga.thin"}, {"preferred_username": "olga.thin"}]
)
def test_what_is_told_of_somebody_else_is_not_believed(door: Door, told: dict[str, Any]) -> None:
    door.invite("olga.thin")
    door.provider.sits_there("47")
    door.provider.told_apart = told
    browser = door.browser()
    assert "could not be trusted" in said(browser, door.come_in(browser))


def _own_key(door: Door) -> None:
    other = rsa.generate_private_key(65537, 2048)
    door.provider.sign = lambda claims: jwt.encode(claims, other, algorithm="RS256", headers={"kid": KEY_ID})


def _unsigned(door: Door) -> None:
    door.provider.sign = lambda claims: jwt.encode(claims, None, algorithm="none", headers={"kid": KEY_ID})


def _signed_with_public_key(door: Door) -> None:
    """HS256 whose secret everybody knows. Made by hand: the library refuses to."""

    def sign(claims: dict[str, Any]) -> str:
        import hashlib
        import hmac
        import json

        form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        secret = door.provider.key.public_key().public_bytes(*form)
        parts = ({"alg": "HS256", "typ": "JWT", "kid": KEY_ID}, claims)
        signed = b".".join(base64url_encode(json.dumps(part).encode()) for part in parts)
        return (signed + b"." + base64url_encode(hmac.digest(secret, signed, hashlib.sha256))).decode()

    door.provider.sign = sign


LIES = {
    "nonce": lambda door: door.provider.claims.update(nonce="another"),
    "no nonce": lambda door: door.provider.claims.update(nonce=None),
    "another key": _own_key,
    "no signature": _unsigned,
    "HS256 with the public key": _signed_with_public_key,
    "expired": lambda door: door.provider.claims.update(exp=int(time.time()) - 120, iat=int(time.time()) - 400),
    "issued in the future": lambda door: door.provider.claims.update(iat=int(time.time()) + 600),
    "another audience": lambda door: door.provider.claims.update(aud="another"),
    "for several, not for us": lambda door: door.provider.claims.update(aud=[CLIENT_ID, "b"], azp="b"),
    "for several, for nobody in particular": lambda door: door.provider.claims.update(aud=[CLIENT_ID, "b"]),
    "another issuer": lambda door: door.provider.claims.update(iss="https://evil.example.test"),
    "no subject": lambda door: door.provider.claims.update(sub=""),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_proves_nothing_signs_nobody_in(door: Door, lie: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    door.invite("olga.lies")
    door.provider.sits_there("50", email="olga.lies", email_verified=True)
    LIES[lie](door)
    browser = door.browser()
    assert "could not be trusted" in said(browser, door.come_in(browser))
    assert door.office.row("SELECT count(*) FROM oidc_links WHERE subject = '50'") == (0,)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("portal")]
    assert any("single sign-on refused reason=not believed" in line for line in lines)
    assert not any("olga" in line or "eyJ" in line for line in lines)


@pytest.mark.parametrize("state", ["wrong", "", "é"])
def test_an_answer_that_this_browser_did_not_ask_for_is_refused(door: Door, state: str) -> None:
    door.invite("olga.state")
    door.provider.sits_there("51", preferred_username="olga.state")
    browser = door.browser()
    door.off(browser)
    answer = back(browser, f"{CALLBACK_PATH}?{urlencode({'state': state, 'code': 'x'})}")
    assert "begun in another window" in said(browser, answer)
    stranger = door.browser()
    assert "begun in another window" in said(stranger, back(stranger, door.off(door.browser())))
    assert "/token" not in door.provider.asked


def test_a_code_is_good_once_and_for_the_browser_that_has_the_verifier(door: Door) -> None:
    door.invite("olga.code")
    door.provider.sits_there("52", preferred_username="olga.code")
    one, other = door.browser(), door.browser()
    address = door.off(one)
    state = dict(part.split("=") for part in urlsplit(door.off(other)).query.split("&"))["state"]
    code = dict(part.split("=") for part in urlsplit(address).query.split("&"))["code"]
    injected = back(other, f"{CALLBACK_PATH}?state={state}&code={code}")
    assert "could not be trusted" in said(other, injected)  # the verifier is another one's
    address = door.off(one)
    cookie = one.client.get_cookie(COOKIE)
    assert cookie
    assert back(one, address).location == "/"
    thief = door.browser()
    thief.client.set_cookie(COOKIE, cookie.value)
    assert "could not be trusted" in said(thief, back(thief, address))


@pytest.mark.parametrize("account", [
    {"email": "olga.mail"}, {"email": "olga.mail", "email_verified": False}, {"email": "olga.mail", "email_verified": "true"},
    {"email": "olga.mail", "email_verified": False, "preferred_username": "olga.mail"}, {"preferred_username": "nobody"}, {},
    {"preferred_username": "olga.mai\u0130"}, {"preferred_username": ["olga.mail"]},
    {"email": "olga.mail", "email_verified": True, "preferred_username": "arjun.agent"},
])  # fmt: skip
def test_an_account_without_a_verified_name_of_one_of_ours_is_told_to_ask(door: Door, account: dict[str, Any]) -> None:
    door.invite("olga.mail")
    door.provider.sits_there("53", **account)
    browser = door.browser()
    assert "Ask an administrator to invite you" in said(browser, door.come_in(browser))


def test_who_was_removed_is_refused_before_and_after_and_may_be_somebody_else_when_let_in_again(door: Door) -> None:
    user_id = door.invite("olga.gone")
    door.provider.sits_there("54", preferred_username="olga.gone")
    inside = door.browser()
    assert door.come_in(inside).location == "/"
    with psycopg.connect(door.office.dsn) as conn:
        staff.remove(conn, user_id)
    assert inside.get("/").status_code == 302
    browser = door.browser()
    assert "Ask an administrator" in said(browser, door.come_in(browser))
    with psycopg.connect(door.office.dsn) as conn:
        staff.let_in_again(conn, user_id)
    door.provider.sits_there("54", preferred_username="olga.formerly")
    assert "Ask an administrator" in said(browser, door.come_in(browser))


def test_a_second_account_of_the_same_name_cannot_take_a_linked_person(door: Door) -> None:
    door.invite("olga.twice")
    door.provider.sits_there("55", email="olga.twice", email_verified=True)
    assert door.come_in(door.browser()).location == "/"
    door.provider.sits_there("56", email="olga.twice", email_verified=True)
    browser = door.browser()
    assert "Ask an administrator" in said(browser, door.come_in(browser))


def test_a_cancelled_sign_in_says_so(door: Door) -> None:
    door.provider.is_cancelled = True
    browser = door.browser()
    assert said(browser, door.come_in(browser)) == "The sign-in by Harbour ID was cancelled."


@pytest.mark.parametrize("changed", [
    {"issuer": "https://evil.example.test"}, {"token_endpoint": "http://login.example.test/token"}, {"jwks_uri": "file:///x"},
    {"authorization_endpoint": None}, {"userinfo_endpoint": "http://login.example.test/userinfo"},
])  # fmt: skip
def test_a_provider_that_is_not_what_was_configured_is_not_asked_further(door: Door, changed: dict[str, Any]) -> None:
    door.provider.discovery = changed
    browser = door.browser()
    assert "does not answer as it should" in said(browser, browser.get("/sign-in/oidc"))


def test_no_redirect_is_followed_to_other_keys(door: Door) -> None:
    door.invite("olga.moved")
    door.provider.sits_there("60", preferred_username="olga.moved")
    door.provider.discovery = {"jwks_uri": f"{door.provider.issuer}/moved"}
    browser = door.browser()
    assert "does not answer" in said(browser, door.come_in(browser))
    assert door.provider.asked[-1] == "/moved"


def test_a_provider_that_is_away_is_said_to_be_before_and_after_and_the_password_still_works(office: Office) -> None:
    with running_provider(PORTAL + CALLBACK_PATH) as provider:
        oidc = PortalConfig.from_env(ENV | {"OIDC_ISSUER": provider.issuer}).oidc
        app = create_app(replace(office.app.config["PORTAL"], oidc=oidc), service=office.service)
        browser = Browser(app.test_client())
        address = _visit(browser.get("/sign-in/oidc").location)
    assert "does not answer" in said(browser, back(browser, address))
    other = create_app(replace(office.app.config["PORTAL"], oidc=oidc), service=office.service)
    browser = Browser(other.test_client())
    assert "does not answer" in said(browser, browser.get("/sign-in/oidc"))
    assert browser.sign_in("arjun.agent").location == "/"
    for one in (app, other):
        database.close(one)


def test_the_second_factor_is_asked_for_unless_the_provider_has(door: Door) -> None:
    user_id = door.invite("olga.factor")
    with psycopg.connect(door.office.dsn) as conn:
        secret = second_factors.begin(conn, user_id, seal=SEAL)
        assert second_factors.finish(conn, user_id, pyotp.TOTP(secret).now(), at=time.time(), seal=SEAL)
    door.provider.sits_there("57", preferred_username="olga.factor", amr=["pwd"])
    waiting = door.browser()
    assert door.come_in(waiting).location.startswith("/sign-in/code")
    assert waiting.get("/clients/").location.startswith("/sign-in")
    door.provider.sits_there("57", amr=["pwd", "mfa"])
    assert door.come_in(door.browser()).location == "/"


def test_whoever_has_no_password_confirms_at_the_provider_just_now(door: Door) -> None:
    door.invite("olga.confirm")
    door.provider.sits_there("58", preferred_username="olga.confirm")
    browser = door.browser()
    door.come_in(browser)
    asked = browser.get("/account/second-factor").location
    assert asked.startswith("/sign-in/confirm")  # the provider did not say that it has just seen them
    page = browser.get(asked).text
    assert "Confirm with Harbour ID" in page
    assert 'name="password"' not in page
    way = "/sign-in/oidc/confirm?next=/account/second-factor"
    door.provider.sits_there("59")
    assert door.come_in(browser, way).location.startswith("/sign-in/confirm")
    assert "not the account" in browser.get(asked).text
    door.provider.sits_there("58")
    door.provider.claims = {"auth_time": int(time.time()) - 3600}
    assert door.come_in(browser, way).location.startswith("/sign-in/confirm")
    assert "just now" in browser.get(asked).text
    door.provider.claims = {}
    assert door.come_in(browser, way).location == "/account/second-factor"
    assert browser.get("/account/second-factor").status_code == 200


def test_where_it_is_not_configured_there_is_no_button_and_no_page(office: Office) -> None:
    browser = Browser(office.app.test_client())
    assert "oidc" not in browser.get("/sign-in").text
    for path in ("/sign-in/oidc", CALLBACK_PATH, "/sign-in/oidc/confirm"):
        assert browser.get(path).status_code == 404


def test_settings_are_all_there_or_none_and_the_secret_is_never_shown() -> None:
    config = PortalConfig.from_env(ENV)
    assert config.oidc
    assert CLIENT_SECRET not in repr(config)
    assert PortalConfig.from_env({name: ENV[name] for name in ("DATABASE_URL", "SECRET_KEY")}).oidc is None
    wrong = ENV | {"OIDC_CLIENT_SECRET": "", "OIDC_ISSUER": "http://login.example.test", "SECURE_COOKIES": "perhaps"}
    with pytest.raises(ConfigError) as told:
        PortalConfig.from_env(wrong)
    for name in ("OIDC_CLIENT_SECRET", "OIDC_ISSUER", "SECURE_COOKIES"):
        assert name in str(told.value)
