"""Every form that is offered to somebody signed in, each of its fields with values that nobody types: never an error of ours.

Each field gets every third value, the next field those after them; with ALL_VALUES=1 all of them, four thousand in two minutes.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from tests.campaign_tables import fill_catalogue, people, prepared
from tests.portal.conftest import Browser
from tests.security.target import OUR_NUMBER, Target
from tests.security.test_rights import method, path, rules
from whatsapp_logs import Draft
from whatsapp_logs.message import Inbound

PAGES_PER_ROUTE = 2
EVERY = 1 if os.environ.get("ALL_VALUES") else 3
VALUES: tuple[str | bytes, ...] = (
    "\0", "a\0b", b"\xed\xa0\x80", b"\xff\xfe", "x" * 70_000, "9" * 400, "9223372036854775808", "2147483648", "-1", "1e9", "²", "٣",
    "0001-01-01", "9999-12-31", "24:00", "99:99", "' or 1=1 --", "%", "{{7*7}}", "{0}", "\r\nX: y", "\u202e\u2028", "😀" * 60, "[]",
    "+", " ", "",
)  # fmt: skip
# What would end the session that asks, or the person whom it is of.
FILE = "file: "
FILES = {"file": b"Mobile,Client name,Notice\r\n07700 900150,Asha,one\r\n", "document": b"%PDF-1.7 of nobody"}
BESIDES = ("template", "field_1", "kinds", "reason", "role", "next", "name", "body", "message_ids", "kind")
NAMES = (
    "a.csv",
    "a\0.csv",
    "../../etc/passwd",
    "..\\a.pdf",
    "a" * 5000 + ".pdf",
    "\u202efdp.exe.pdf",
    "a.pdf\r\nX: y",
    ".",
    " ",
    "a.svg",
    "a.html.pdf",
)
LEFT_ALONE = frozenset(
    {"auth.sign_out", "account.end_sign_in", "account.end_other_sign_ins", "account.change_password"}
)


class Forms(HTMLParser):
    """The forms of a page as (method, action, fields with what stands in them), and where its links lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str, dict[str, str]]] = []
        self.links: list[str] = []
        self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and given.get("href", "").startswith("/"):
            self.links.append(given["href"])
        elif tag == "form":
            self.found.append((given.get("method", "get").lower(), given.get("action", ""), {}))
        elif self.found and given.get("type") == "file":
            self.found[-1][2][FILE + given["name"]] = ""
        elif self.found and tag in ("input", "textarea", "button", "select") and given.get("name"):
            self.found[-1][2].setdefault(given["name"], given.get("value", ""))
            self._select = given["name"] if tag == "select" else ""
        elif (
            self.found
            and tag == "option"
            and self._select
            and (given.get("value") and not self.found[-1][2][self._select])
        ):
            self.found[-1][2][self._select] = given["value"]


def endpoint(target: Target, address: str, verb: str) -> str | None:
    try:
        return target.app.url_map.bind("localhost").match(urlsplit(address).path, method=verb.upper())[0]
    except HTTPException:
        return None


@pytest.fixture(scope="module")
def busy(target: Target) -> Target:
    """The portal with something on every page: a campaign, a conversation, a message for later, templates."""
    versions = fill_catalogue(target.dsn)
    prepared(target.service, people(3), versions["general_notice"])
    target.service.receive(
        Inbound(
            provider_id="SM" + "7" * 32, sender="+447700900123", recipient=OUR_NUMBER, body="Hi", profile_name="A", media=(),
            payload={},
        )
    )  # fmt: skip
    later = datetime.now(UTC) + timedelta(days=2)
    target.service.send(Draft(to="+447700900123", body="Later", send_at=later, created_by="anna.admin"))
    return target


@pytest.mark.slow
def test_fault_23_no_field_of_any_form_takes_a_value_to_an_error_of_ours(busy: Target) -> None:
    person = busy.signed_in()
    forms = crawl(busy, person)
    assert len(forms) > 45, sorted(forms)
    for rule in rules(busy):  # what no page offers in this state of things
        if method(rule) == "POST" and rule.endpoint not in LEFT_ALONE:
            forms.setdefault(("post", rule.endpoint), (path(rule), dict.fromkeys(BESIDES, "")))
    token, wrong, tried, turn = busy.token_of(person), [], Counter[str](), 0
    for (verb, name), (action, fields) in sorted(forms.items(), key=lambda form: ("cancel" in form[0][1], form[0])):
        for field in sorted(fields.keys() - {"csrf_token"}):
            turn += 1
            values = (
                NAMES if field.startswith(FILE) else VALUES[:6] if field in BESIDES and not fields[field] else VALUES
            )
            for value in values[turn % EVERY :: EVERY]:
                answer = send(
                    person, verb, action, fields | ({"csrf_token": token} if verb == "post" else {}), {field: value}
                )
                tried[name] += 1
                if answer.status_code >= 500:
                    wrong.append((name, field, value[:20], answer.status_code))
                answer.close()
    print(f"{sum(tried.values())} values in {len(forms)} forms")
    assert not wrong, wrong[:12]
    assert person.get("/").status_code == 200  # still signed in: nothing was tried in vain


def test_fault_23_a_change_of_what_is_not_there_is_refused_whatever_its_id(busy: Target) -> None:
    person, wrong = busy.signed_in(), []
    token = busy.token_of(person)
    for rule in rules(busy):
        if method(rule) != "POST" or not rule.arguments or rule.endpoint in LEFT_ALONE:
            continue
        for value in (0, 2**31, 2**63 - 1, 2**63, 10**30, "x", "-1", "%00", "٩" * 20):
            answer = person.client.post(
                path(rule, value), data={"csrf_token": token, "due_on": "2027-01-01", "kind": "other"}
            )
            if answer.status_code not in (303, 400, 404):  # 303: what is there no more is said on the next page
                wrong.append((path(rule, value), answer.status_code))
    assert not wrong, wrong[:12]


def crawl(target: Target, person: Browser) -> dict[tuple[str, str], tuple[str, dict[str, str]]]:
    """(method, endpoint) → address and fields, from the pages that links lead to."""
    waiting, seen, visits = ["/"], {"/"}, Counter[str]()
    found: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
    starts = [path(rule) for rule in target.app.url_map.iter_rules() if is_page(rule)]
    while waiting or starts:
        address = waiting.pop(0) if waiting else starts.pop(0)
        name = endpoint(target, address, "get")
        if name is None or visits[name] >= PAGES_PER_ROUTE:
            continue
        visits[name] += 1
        answer = person.get(address)
        assert answer.status_code < 500, address
        if answer.mimetype != "text/html":
            answer.close()
            continue
        page = Forms(answer.text)
        for link in page.links:
            if (plain := link.partition("#")[0]) not in seen:
                seen.add(plain)
                waiting.append(plain)
        for verb, action, fields in page.found:
            to = endpoint(target, action or address, verb)
            if to is not None and to not in LEFT_ALONE:
                found.setdefault((verb, to), (action or address, {}))[1].update(fields)
    return found


def is_page(rule: Rule) -> bool:
    return (
        "GET" in (rule.methods or ())
        and rule.endpoint not in ("static", "whatsapp_logs.static")
        and "filename" not in rule.arguments
    )


def send(person: Browser, verb: str, action: str, fields: dict[str, str], odd: dict[str, str | bytes]) -> TestResponse:
    where, _, query = action.partition("?")
    given: dict[str, str | bytes] = {**dict(parse_qsl(query)), **fields, **odd}
    files = {name.removeprefix(FILE): value for name, value in given.items() if name.startswith(FILE)}
    if files:
        plain = {name: value for name, value in given.items() if not name.startswith(FILE)}
        sent = {name: (io.BytesIO(FILES[name]), str(value) or "a.pdf") for name, value in files.items()}
        return person.client.post(where, data={**plain, **sent}, content_type="multipart/form-data")
    encoded = b"&".join(quoted(name) + b"=" + quoted(value) for name, value in given.items())
    if verb == "post":
        return person.client.post(where, data=encoded, content_type="application/x-www-form-urlencoded")
    return person.client.get(where, query_string=encoded.decode())


def quoted(value: str | bytes) -> bytes:
    raw = value if isinstance(value, bytes) else value.encode()
    return re.sub(rb"[^A-Za-z0-9_.-]", lambda found: b"%%%02X" % found[0][0], raw)
