"""Single sign-on against a provider that others wrote (oidc-provider-mock, on Authlib), in real HTTP on both sides."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import oidc_provider_mock
import psycopg
import pytest
import requests
from werkzeug.serving import make_server

from portal import database, people
from portal.app import create_app
from portal.oidc_settings import CALLBACK_PATH, OidcSettings
from tests.portal.conftest import Office

# Of the provider's own making: it is written for an earlier Authlib.
pytestmark = pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")
_ANSWER_WITHIN_S = 60


@dataclass
class Door:
    """A portal that listens, and the provider that it was registered at."""

    office: Office
    portal: str
    provider: str

    def account(self, subject: str, **claims: Any) -> None:
        """Somebody has an account there."""
        asked = requests.put(f"{self.provider}/users/{subject}", json=claims, timeout=_ANSWER_WITHIN_S)
        assert asked.status_code == 204

    def invite(self, username: str) -> int:
        with psycopg.connect(self.office.dsn) as conn:
            conn.execute("DELETE FROM people WHERE username = %s", (username,))
            return people.add(conn, username=username, name=username.title(), role="agent", timezone="UTC")

    def linked(self, subject: str) -> object:
        sql = "SELECT (SELECT user_id FROM oidc_links WHERE issuer = %(issuer)s AND subject = %(subject)s)"
        return self.office.row(sql, issuer=self.provider, subject=subject)[0]


class Person:
    """Somebody at a browser, who keeps cookies and follows no redirect by themselves."""

    def __init__(self, door: Door) -> None:
        self._door, self._session = door, requests.Session()

    def get(self, path: str) -> requests.Response:
        return self._session.get(
            path if path.startswith("http") else self._door.portal + path,
            allow_redirects=False,
            timeout=_ANSWER_WITHIN_S,
        )

    def asked_for(self, path: str = "/sign-in/oidc") -> str:
        """Where the portal sends them off to."""
        answer = self.get(path)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]

    def sign_in_there(self, subject: str, *, path: str = "/sign-in/oidc") -> str:
        """Fill in the provider's own form; the address that it sends back to."""
        there = self.asked_for(path)
        assert "<form" in self.get(there).text
        answer = self._session.post(there, data={"sub": subject}, allow_redirects=False, timeout=_ANSWER_WITHIN_S)
        return answer.headers["Location"]

    def refuse_there(self) -> str:
        answer = self._session.post(
            self.asked_for(), data={"action": "deny"}, allow_redirects=False, timeout=_ANSWER_WITHIN_S
        )
        return answer.headers["Location"]

    def is_in(self) -> bool:
        return self.get("/clients/").status_code == 200

    def told(self, answer: requests.Response) -> str:
        """The sentence on the sign-in page to which the answer leads; nobody is signed in."""
        assert urlsplit(answer.headers["Location"]).path == "/sign-in"
        page = self.get(answer.headers["Location"]).text
        assert not self.is_in()
        return " ".join(re.findall(r'<p class="note bad" role="status">([^<]+)', page))


@contextmanager
def _listening(office: Office, oidc: OidcSettings, at: socket.socket) -> Iterator[None]:
    app = create_app(replace(office.app.config["PORTAL"], oidc=oidc), service=office.service)
    server = make_server("127.0.0.1", at.getsockname()[1], app, threaded=True, fd=at.fileno())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        database.close(app)
        with psycopg.connect(office.dsn) as conn:
            conn.execute("DELETE FROM sign_in_attempts")


@contextmanager
def a_door(office: Office, *, token_age: timedelta = timedelta(minutes=5), **wrong: str) -> Iterator[Door]:
    """Start both; `wrong` are settings of the portal that are not what it was registered with."""
    with ExitStack() as stack:
        ours = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        portal = f"http://127.0.0.1:{ours.getsockname()[1]}"
        server = stack.enter_context(
            oidc_provider_mock.run_server_in_thread(
                require_client_registration=True, require_nonce=True, access_token_max_age=token_age
            )
        )
        provider = f"http://localhost:{server.server_port}"
        registration = {"redirect_uris": [portal + CALLBACK_PATH]}
        client = requests.post(f"{provider}/oauth2/clients", json=registration, timeout=_ANSWER_WITHIN_S).json()
        settings = {
            "issuer": provider,
            "client_id": client["client_id"],
            "client_secret": client["client_secret"],
            "redirect_uri": portal + CALLBACK_PATH,
        }
        stack.enter_context(_listening(office, OidcSettings(**(settings | wrong)), ours))
        yield Door(office, portal, provider)


@pytest.fixture
def door(office: Office) -> Iterator[Door]:
    with a_door(office) as opened:
        yield opened


def test_whoever_was_invited_comes_in_and_the_account_is_linked_for_good(door: Door) -> None:
    user_id = door.invite("ines.independent")
    door.account("70", preferred_username="ines.independent")
    person = Person(door)
    answer = person.get(person.sign_in_there("70", path="/sign-in/oidc?next=/policies/"))
    assert answer.headers["Location"] == "/policies/"
    assert person.is_in()
    assert door.linked("70") == user_id
    door.account("70", preferred_username="somebody.else", email="else@example.test", email_verified=True)
    later = Person(door)
    assert later.get(later.sign_in_there("70")).headers["Location"] == "/"
    assert later.is_in()


def test_what_the_provider_is_asked_for_has_all_that_protects_it(door: Door) -> None:
    asked = {name: value[0] for name, value in parse_qs(urlsplit(Person(door).asked_for()).query).items()}
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    assert asked["redirect_uri"] == door.portal + CALLBACK_PATH


def test_an_unknown_account_is_told_to_ask_and_an_unverified_address_leads_to_nobody(door: Door) -> None:
    door.invite("ines@example.test")
    door.account("71", email="ines@example.test", email_verified=False)
    person = Person(door)
    assert "Ask an administrator" in person.told(person.get(person.sign_in_there("71")))
    door.account("71", email="ines@example.test", email_verified=True)
    assert person.get(person.sign_in_there("71")).headers["Location"] == "/"


def test_another_browsers_code_is_stopped_by_the_nonce_where_the_provider_checks_no_verifier(door: Door) -> None:
    door.invite("ines.victim")
    door.account("72", preferred_username="ines.victim")
    victim, thief = Person(door), Person(door)
    code = parse_qs(urlsplit(victim.sign_in_there("72")).query)["code"][0]
    state = parse_qs(urlsplit(thief.asked_for()).query)["state"][0]
    assert "could not be trusted" in thief.told(thief.get(f"{CALLBACK_PATH}?state={state}&code={code}"))
    assert door.linked("72") is None


def test_a_code_is_good_once(door: Door) -> None:
    door.invite("ines.once")
    door.account("73", preferred_username="ines.once")
    person = Person(door)
    back = person.sign_in_there("73")
    assert person.get(back).headers["Location"] == "/"
    stranger = Person(door)
    assert "begun in another window" in stranger.told(stranger.get(back))
    code = parse_qs(urlsplit(back).query)["code"][0]
    later = Person(door)
    state = parse_qs(urlsplit(later.asked_for()).query)["state"][0]
    assert "could not be trusted" in later.told(later.get(f"{CALLBACK_PATH}?state={state}&code={code}"))


def test_whoever_says_no_there_is_not_signed_in(door: Door) -> None:
    person = Person(door)
    answer = person.get(person.refuse_there())
    assert urlsplit(answer.headers["Location"]).path == "/sign-in"
    assert not person.is_in()


def test_a_wrong_secret_signs_nobody_in(office: Office) -> None:
    with a_door(office, client_secret="not the one that was registered") as door:
        door.invite("ines.secret")
        door.account("74", preferred_username="ines.secret")
        person = Person(door)
        assert "could not be trusted" in person.told(person.get(person.sign_in_there("74")))
        assert door.linked("74") is None


@pytest.mark.parametrize("wrong", [
    {"client_id": "nobody-registered-this"}, {"redirect_uri": "https://evil.example.test/sign-in/oidc/callback"},
])  # fmt: skip
def test_a_client_or_way_back_that_was_not_registered_is_refused_there(office: Office, wrong: dict[str, str]) -> None:
    with a_door(office, **wrong) as door:
        person = Person(door)
        answer = person.get(person.asked_for())
        assert answer.status_code == 400
        assert "Location" not in answer.headers
        assert not person.is_in()


def test_a_token_that_has_ended_signs_nobody_in(office: Office) -> None:
    with a_door(office, token_age=timedelta(minutes=-5)) as door:
        door.invite("ines.late")
        door.account("75", preferred_username="ines.late")
        person = Person(door)
        assert "could not be trusted" in person.told(person.get(person.sign_in_there("75")))


def test_a_provider_under_another_name_than_was_configured_is_not_asked_further(office: Office) -> None:
    with a_door(office) as door:
        port = urlsplit(door.provider).port
        issuer = f"http://127.0.0.1:{port}/"  # the same server, but it calls itself by another name
        with a_door(office, issuer=issuer) as other:
            person = Person(other)
            answer = person.get("/sign-in/oidc")
            assert "does not answer as it should" in person.told(answer)
