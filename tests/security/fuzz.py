"""`./run fuzz`: a hundred thousand calls that nobody of ours would make.

Exit status 1 when one is answered by an error of ours (5xx), or when one without a signature or a token has changed a row.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

import psycopg
from psycopg.conninfo import make_conninfo
from werkzeug.routing import Rule

from portal.start.postgres import Server
from tests.portal.conftest import COOKIE
from tests.postgres_keeper import FAST_AND_FORGETFUL, TEMPLATE, create_template
from tests.security.nasty import LONG, Nasty
from tests.security.target import ACCOUNT_SID, AUTH_TOKEN, OUR_NUMBER, PUBLIC_BASE_URL, Target, checksums, opened
from tests.start.processes import data_folder
from tests.web.twilio_calls import inbound_form, signature, status_form
from whatsapp_logs import Draft, MediaFile, links
from whatsapp_logs.twilio.simulator import Simulator
from whatsapp_logs.web import api
from whatsapp_logs.web.receiver import Receiver

FORM = "application/x-www-form-urlencoded"
KINDS = (
    FORM, "application/json", "text/plain", "multipart/form-data", "multipart/form-data; boundary=x", "", "\xff", "a" * 500,
    f"{FORM}; charset=utf-16", f"{FORM}; charset=no-such", "application/json; charset=\x00",
)  # fmt: skip
METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "post", "FOO", "")
HEADERS = (
    "Host", "X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "Range", "If-None-Match", "If-Modified-Since", "Accept",
    "Accept-Language", "User-Agent", "Sec-Fetch-Site", "Transfer-Encoding", "Content-Encoding", "Expect", "X-HTTP-Method-Override",
    "HX-Request", "HX-Target", "Authorization",
)  # fmt: skip
# What people's routes read; each call gets some of these, of its own route or of any other.
FIELDS = (
    "status", "status_filter", "type", "message_type_filter", "phone", "phone_filter", "date_from", "date_to",
    "client", "policy",
    "error_code", "direction", "before", "after", "page", "row", "limit", "seen", "format", "whom", "q", "due",
    "next", "message",
)  # fmt: skip
QUERY_FIELDS: dict[str, tuple[str, ...]] = {
    "whatsapp_logs.latest": ("limit", "seen", "client", "policy"),
    "whatsapp_logs.message": ("seen",),
    "whatsapp_logs.api_messages": ("page", "limit", "before", "phone_filter", "status", "date_from", "date_to"),
    "whatsapp_logs.export": ("format", "status", "date_from", "phone_filter"),
    "clients.index": ("q", "after", "before"),
    "policies.index": ("q", "after", "before"),
    "renewals.index": ("due", "after"),
    "renewal_rules.new": ("letter",),
    "renewal_rules.edit": ("letter",),
    "renewal_rules.preview": ("rule_id",),
    "unreached.index": ("reason", "whose", "after"),
    "told.index": ("state", "from", "to", "after"),
    "auth.sign_in": ("next",),
}
FORM_FIELDS: dict[str, tuple[str, ...]] = {
    "whatsapp_logs.search": (*FIELDS[:12], "whom"),
    "whatsapp_logs.reconcile": ("day",),
    "whatsapp_logs.resend": ("confirm", "request_key"),
    "whatsapp_logs.not_sent": ("confirm",),
    "whatsapp_logs.api_refresh_status": ("message_sid",),
    "clients.send_message": ("body", "request_key"),
    "clients.correct": ("name", "phone", "email", "address"),
    "policies.send_document": ("request_key", "sent_after"),
    "renewals.remind": ("request_key", "sent_after", "document_id", "document"),
    "renewal_rules.add": ("letter", "days_before", "from-1", "text-1", "document", "message_type", "do"),
    "renewal_rules.change": ("letter", "days_before", "from-1", "text-1", "document", "message_type", "do"),
    "unreached.note": ("due_on", "kind", "note"),
    "unreached.assign": ("due_on", "to"),
    "auth.begin": ("username", "password", "next"),
    "auth.sign_out": ("next",),
}
# With a token: these end the session, wait for a call of ours through the public address, or hash a password for 0.1 s.
LEFT_OUT = frozenset({"auth.sign_out", "whatsapp_logs.test_callback", "auth.begin"})
SHARES = (
    ("unsigned", 40),
    ("without a token", 12),
    ("looking", 24),
    ("changing", 8),
    ("signed", 4),
    ("looking again", 12),
)
SHOWN = 20


@dataclass
class Outcome:
    """What became of some calls: how many by status, what went wrong, and how to see it again."""

    inputs: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Count another's too."""
        self.inputs += other.inputs
        self.statuses += other.statuses
        self.wrong += other.wrong

    def line(self) -> str:
        """All of it in one line."""
        classes = Counter({f"{status // 100}xx": 0 for status in (200, 300, 400, 500)})
        for status, n in self.statuses.items():
            classes[f"{status // 100}xx"] += n
        told = ", ".join(f"{name} {n}" for name, n in sorted(classes.items()))
        return f"inputs {self.inputs}, {told}, wrong {len(self.wrong)}"


@dataclass(frozen=True)
class Call:
    """One request as a server would hand it over; `target` is percent-encoded."""

    method: str
    target: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def environ(self) -> dict[str, Any]:
        """The call in WSGI's words."""
        path, _, query = self.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method, "SCRIPT_NAME": "", "PATH_INFO": _decoded(path), "QUERY_STRING": query,
            "SERVER_NAME": "portal.example.test", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "portal.example.test",
            "CONTENT_LENGTH": str(len(self.body)), "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(self.body), "wsgi.errors": io.StringIO(), "wsgi.multithread": False,
            "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        for name, value in self.headers:
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ

    def __str__(self) -> str:
        return f"{self.method} {self.target[:300]} {dict(self.headers)} {self.body[:200]!r}"


class Fuzz:
    """Calls against one portal, in the parts of SHARES. What is asked depends on `seed` alone."""

    def __init__(self, target: Target, *, seed: object) -> None:
        self.target, self.nasty = target, Nasty(seed)
        self.chance = self.nasty.chance
        self.outcome = Outcome()
        self._receiver, self._loop = Receiver(target.service), asyncio.new_event_loop()
        self._thread = ThreadPoolExecutor(1)  # for the loop: a browser test has left another one in the suite's thread
        rules = [rule for rule in target.app.url_map.iter_rules() if not rule.endpoint.endswith("static")]
        self._readable = [
            rule for rule in rules if "GET" in (rule.methods or ()) and rule.endpoint != "whatsapp_machines.document"
        ]
        self._changing = [
            rule
            for rule in rules
            if "POST" in (rule.methods or ()) and not rule.endpoint.startswith("whatsapp_machines.")
        ]
        self._sessions = [
            self._session(name) for name in ("anna.admin", "arjun.agent", "clara.compliance", "vera.viewer")
        ]
        self._links, self._sids = self._media_links(), self._known_sids()

    def run(self, inputs: int) -> Outcome:
        """Make so many calls; rows are compared around each part that may change none."""
        parts = {"unsigned": self.unsigned, "without a token": self.without_token, "looking": self.looking,
                 "changing": self.changing, "signed": self.signed, "looking again": self.looking}  # fmt: skip
        for name, share in SHARES:
            may_change = name in ("changing", "signed")
            before = {} if may_change else checksums(self.target.dsn)
            for _ in range(inputs * share // 100):
                parts[name]()
            if not may_change:
                after = checksums(self.target.dsn)
                self.outcome.wrong += [
                    f"{name}: {table} has changed" for table in before if before[table] != after[table]
                ]
        self._thread.shutdown()
        self._loop.close()
        return self.outcome

    def unsigned(self) -> None:
        """A call of a stranger: a callback, a customer's message, a document's link, the metrics, or a form of a page."""
        match self.chance.randrange(10):
            case 0 | 1 | 2 | 3:
                path = self.chance.choice((links.STATUS_CALLBACK_PATH, links.INBOUND_PATH))
                self._call(self._forged(path), may_succeed=False)
            case 4 | 5:
                self._receive(self._forged(links.STATUS_CALLBACK_PATH), may_succeed=False)
            case 6 | 7:
                call = Call(self._method("GET"), self._altered_link(), headers=self._odd_headers())
                self._call(call, may_succeed=False)
            case 8:
                token = self.nasty.value().decode("latin-1")
                scheme = self.chance.choice(("", "Bearer ", "Basic "))
                self._call(Call("GET", "/metrics", headers=(("Authorization", scheme + token),)), may_succeed=False)
            case _:
                self._call(self._form(self.chance.choice(self._changing), headers=self._odd_headers()))

    def without_token(self) -> None:
        """A form of somebody signed in, as another site would send it: no token, a made-up one, somebody else's."""
        cookie, _ = self.chance.choice(self._sessions)
        _, foreign = self.chance.choice([one for one in self._sessions if one[0] != cookie])
        rule = self.chance.choice(self._changing)
        given = self.chance.choice((None, "", "forged", foreign, foreign[:-1], self.nasty.text()))
        headers = [
            ("Cookie", f"{COOKIE}={cookie}"),
            ("Origin", "https://evil.example.test"),
            ("Referer", "https://evil.example.test/"),
        ]
        if given is not None and self.chance.random() < 0.5 and given.isascii() and given.isprintable():
            headers.append(("X-CSRFToken", given))
        fields = "" if given is None else f"csrf_token={quote(given)}&"
        self._call(self._form(rule, fields=fields, headers=(*headers, *self._odd_headers())))

    def looking(self) -> None:
        """A page of somebody signed in, with fields that nobody types."""
        cookie, _ = self.chance.choice(self._sessions)
        headers = [("Cookie", f"{COOKIE}={cookie}{self._odd_cookie()}")]
        if self.chance.random() < 0.3:
            headers += [("HX-Request", "true"), ("HX-Current-URL", self.nasty.encoded())]
        rule = self.chance.choice(self._readable)
        names = QUERY_FIELDS.get(rule.endpoint, FIELDS) if self.chance.random() < 0.6 else FIELDS
        query = self.nasty.pairs(names)
        if self.nasty.is_time_for_a_long_one():
            query = f"{self.chance.choice(FIELDS)}={'9' * LONG}"
        target = self._path(rule) + (f"?{query}" if query else "")
        self._call(Call(self._method("GET"), target, headers=(*headers, *self._odd_headers())))

    def changing(self) -> None:
        """A form with its token: what it says may be refused, but never break."""
        cookie, token = self.chance.choice(self._sessions[:2])
        rule = self.chance.choice([rule for rule in self._changing if rule.endpoint not in LEFT_OUT])
        headers = (("Cookie", f"{COOKIE}={cookie}{self._odd_cookie()}"), ("X-CSRFToken", token), *self._odd_headers())
        self._call(self._form(rule, fields=f"csrf_token={token}&", headers=headers, method="POST"))

    def signed(self) -> None:
        """A callback that Twilio has signed and that says what Twilio never said."""
        sid = self.chance.choice((f"SM{self.chance.randrange(50):032x}", self.nasty.text()))
        is_status = self.chance.random() < 0.5
        form = status_form(sid, self.nasty.text()) if is_status else inbound_form(sid, self.nasty.text())
        for name in self.chance.sample(sorted(form), 3):
            form[name] = self.nasty.text()
        form[self.nasty.text()] = self.nasty.text()
        form |= {"AccountSid": ACCOUNT_SID}
        path = f"{links.STATUS_CALLBACK_PATH}?message={self.nasty.encoded()}" if is_status else links.INBOUND_PATH
        signed = signature(PUBLIC_BASE_URL + path, form, token=AUTH_TOKEN)
        headers = (("Content-Type", FORM), ("X-Twilio-Signature", signed))
        call = Call("POST", path, urlencode(form).encode(), headers)
        self._receive(call) if is_status and self.chance.random() < 0.5 else self._call(call)

    # -- what a call is made of ----------------------------------------------------------------------------------------------------

    def _forged(self, path: str) -> Call:
        form = status_form(
            f"SM{self.chance.randrange(50):032x}", self.chance.choice(("failed", "read", self.nasty.text()))
        )
        form |= {"ErrorCode": "66666", "AccountSid": ACCOUNT_SID if self.chance.random() < 0.7 else "AC" + "9" * 32}
        body = urlencode(form).encode()
        match self.chance.randrange(7):
            case 0:
                body = self.nasty.pairs(tuple(form), most=20).encode()
            case 1:
                body = self.chance.randbytes(self.chance.randrange(400))
            case 2:
                body = b"&" * self.chance.choice((1, 499, 500, 501, 60_000)) + body
            case 3:
                body = b""
        if self.nasty.is_time_for_a_long_one():
            body = b"Body=" + b"x" * LONG
        url = f"{path}?message={self.nasty.encoded()}" if self.chance.random() < 0.5 else path
        headers = [
            ("Content-Type", FORM if self.chance.random() < 0.6 else self.chance.choice(KINDS)),
            *self._forged_signature(url, form),
        ]
        if self.chance.random() < 0.1:
            lengths = ("-1", "abc", "", "0", "99999999999", "9" * 5000, str(len(body) + 7), "١", "²")
            headers.append(("Content-Length", self.chance.choice(lengths)))
        return Call(self._method("POST"), url, body, tuple(headers) + self._odd_headers())

    def _forged_signature(self, url: str, form: dict[str, str]) -> list[tuple[str, str]]:
        """None, a wrong one, or a right one of something else."""
        match self.chance.randrange(6):
            case 0:
                return []
            case 1:
                return [("X-Twilio-Signature", self.nasty.value().decode("latin-1"))]
            case 2:
                return [("X-Twilio-Signature", signature(PUBLIC_BASE_URL + url, form, token="another token"))]
            case 3:
                return [("X-Twilio-Signature", signature(f"{PUBLIC_BASE_URL}{url}1", form, token=AUTH_TOKEN))]
            case 4:
                altered = {**form, "ErrorCode": ""}
                return [("X-Twilio-Signature", signature(PUBLIC_BASE_URL + url, altered, token=AUTH_TOKEN))]
            case _:
                settings = self.chance.choice(
                    ("alg=HMAC-SHA256", "alg=none", "alg=", "SHA256", self.nasty.text().encode().decode("latin-1"))
                )
                signed = signature(PUBLIC_BASE_URL + url, form, token="", algorithm="sha256")
                return [("X-Twilio-Signature", signed), ("X-Twilio-Signature-Settings", settings)]

    def _form(
        self, rule: Rule, *, fields: str = "", headers: tuple[tuple[str, str], ...] = (), method: str | None = None
    ) -> Call:
        names = FORM_FIELDS.get(rule.endpoint, FIELDS)
        query = f"?{self.nasty.pairs(FIELDS, most=2)}" if self.chance.random() < 0.2 else ""
        kind, body = FORM, (fields + self.nasty.pairs(names)).encode()
        if "request_key" in names and self.chance.random() < 0.7:  # as on the page, so that the rest is looked at too
            body += b"&request_key=" + b"k" * 20 + str(self.chance.randrange(10**6)).encode()
        match self.chance.randrange(8):
            case 0:
                kind = "application/json"
                body = json.dumps(
                    {name: self.chance.choice((self.nasty.text(), [], {}, None, 1, 10**40)) for name in names}
                ).encode()
            case 1 | 2:
                kind, body = self._multipart(names, fields)
            case 3:
                kind = self.chance.choice(KINDS)
        if self.nasty.is_time_for_a_long_one():
            body += f"&{self.chance.choice(names)}=".encode() + b"x" * LONG
        return Call(method or self._method("POST"), self._path(rule) + query, body, (("Content-Type", kind), *headers))

    def _multipart(self, names: tuple[str, ...], fields: str) -> tuple[str, bytes]:
        boundary = self.chance.choice(("x", "----WebKitFormBoundary", "a" * 70))
        pairs = [part.partition("=")[::2] for part in fields.split("&") if part]
        parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in pairs]
        for name in names:
            head = f'Content-Disposition: form-data; name="{name}"'.encode()
            if name == "document" and self.chance.random() < 0.8:
                ending = self.chance.choice((b".pdf", b".jpg", b".docx", b".exe", b""))
                name_of_file = self.nasty.value().replace(b'"', b"") + ending
                head += b'; filename="' + name_of_file + b'"\r\nContent-Type: application/pdf'
            content = self.chance.choice((b"%PDF-1.7 ", b"\xff\xd8\xff", b"PK\x03\x04", b"")) + self.nasty.value()
            parts.append(head + b"\r\n\r\n" + content)
        body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
        end = f"--{boundary}--".encode() if self.chance.random() < 0.9 else b""
        return f"multipart/form-data; boundary={boundary}", body + end

    def _path(self, rule: Rule) -> str:
        """The route's address: mostly with ids that are there, else with anything."""
        path = rule.rule
        for argument in rule.arguments:
            known = str(self.chance.randrange(1, 40))
            if argument == "message_sid":
                known = self._sids[self.chance.randrange(len(self._sids))]
            value = known if self.chance.random() < 0.7 else self.nasty.encoded()
            for converter in ("int:", "path:", ""):
                path = path.replace(f"<{converter}{argument}>", value)
        return path.replace("?", "%3F").replace("#", "%23")

    def _altered_link(self) -> str:
        link = self.chance.choice(self._links)
        start = link.rindex("/") + 1
        match self.chance.randrange(5):
            case 0:
                return link[:start] + self.nasty.encoded().replace("?", "")
            case 1:
                place = self.chance.randrange(start, len(link) - 2)
                return link[:place] + ("A" if link[place] != "A" else "B") + link[place + 1 :]
            case 2:
                return link[: self.chance.randrange(start, len(link) - 2)]
            case 3:
                other = self.chance.choice(self._links)
                return link.rpartition(".")[0] + "x." + other.rpartition(".")[2]
            case _:
                return link + self.chance.choice((".", "/", "%00", "%2e%2e", "x"))

    def _odd_headers(self) -> tuple[tuple[str, str], ...]:
        if self.chance.random() < 0.7:
            return ()
        return (
            (self.chance.choice(HEADERS), self.nasty.value().decode("latin-1").replace("\n", "").replace("\r", "")),
        )

    def _odd_cookie(self) -> str:
        if self.chance.random() < 0.8:
            return ""
        return f"; whatsapp_logs_zone={self.nasty.value().decode('latin-1')}; {self.nasty.encoded()}"

    def _method(self, usual: str) -> str:
        return usual if self.chance.random() < 0.95 else self.chance.choice(METHODS)

    # -- making the calls ----------------------------------------------------------------------------------------------------------

    def _call(self, call: Call, *, may_succeed: bool = True) -> None:
        said: list[int] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _error: Any = None
        ) -> Callable[[bytes], object]:
            for name, value in headers:  # as a server does, which can send no others
                assert "\n" not in name + value.encode("latin-1").decode("latin-1"), (name, value)
            said.append(int(status[:3]))
            return lambda _data: None

        try:
            with closing(_Body(self.target.app(call.environ(), start_response))) as body:
                for _ in body:
                    pass
        except Exception as error:  # noqa: BLE001 - whatever it is, a server would answer 500
            self._note(call, 599, f"{type(error).__name__}: {error}")
            return
        self._note(call, said[-1] if said else 599, "", may_succeed=may_succeed)

    def _receive(self, call: Call, *, may_succeed: bool = True) -> None:
        rsgi = _Rsgi(call)
        try:
            self._thread.submit(self._loop.run_until_complete, self._receiver.__rsgi__(rsgi, rsgi)).result()
        except Exception as error:  # noqa: BLE001 - whatever it is, granian would answer 500
            self._note(call, 599, f"receiver: {type(error).__name__}: {error}")
            return
        self._note(call, rsgi.status, "receiver", may_succeed=may_succeed)

    def _note(self, call: Call, status: int, text: str, *, may_succeed: bool = True) -> None:
        self.outcome.inputs += 1
        self.outcome.statuses[status] += 1
        if status >= 500 or (status < 300 and call.method in ("GET", "HEAD", "POST") and not may_succeed):
            self.outcome.wrong.append(f"{status} {text[:300]} {call}")

    # -- what there is -------------------------------------------------------------------------------------------------------------

    def _session(self, username: str) -> tuple[str, str]:
        """The cookie and the token of somebody who has signed in."""
        browser = self.target.signed_in(username)
        token = self.target.token_of(browser)
        cookie = browser.client.get_cookie(COOKIE)
        assert cookie is not None
        return cookie.value, token

    def _media_links(self) -> list[str]:
        """Links of documents that are there."""
        service = self.target.service
        found = []
        for n in range(4):
            file = MediaFile(
                content=b"%PDF-1.7 " + str(n).encode(), content_type="application/pdf", filename="policy.pdf"
            )
            message = service.send(Draft(to="+447700900123", media=file))
            assert message.media_id is not None
            found.append("/" + links.media_path(service.config, message.media_id))
        return found

    def _known_sids(self) -> list[str]:
        """Twilio's ids of messages that are there."""
        with psycopg.connect(self.target.dsn) as conn:
            rows = conn.execute(
                "SELECT provider_id FROM whatsapp_logs.messages WHERE provider_id IS NOT NULL ORDER BY id LIMIT 50"
            )
            return [str(row[0]) for row in rows]


class _Body:
    """An answer's pieces, and its end."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = pieces

    def __iter__(self) -> Any:
        return iter(self._pieces)

    def close(self) -> None:
        getattr(self._pieces, "close", lambda: None)()


class _Rsgi:
    """A call as granian hands it over, and its answer's status."""

    def __init__(self, call: Call) -> None:
        path, _, self.query_string = call.target.partition("?")
        self.method, self.path = call.method, _decoded(path)
        self.client, self.status = "127.0.0.1:1", 599
        self.headers = {name.lower(): value for name, value in call.headers}
        self._body = call.body

    async def __call__(self) -> bytes:
        return self._body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for place in range(0, len(self._body), 10_000):
            yield self._body[place : place + 10_000]

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.status = status

    def response_str(self, status: int, headers: list[tuple[str, str]], text: str) -> None:
        text.encode()
        self.status = status


def attack(dsn: str, *, inputs: int, seed: object) -> Outcome:
    """So many calls against a portal on this migrated, empty database."""
    logging.disable(logging.CRITICAL)  # a hundred thousand refusals would be told
    try:
        simulator = Simulator(ACCOUNT_SID, AUTH_TOKEN, pace=0, seed=1, whatsapp_from=f"whatsapp:{OUR_NUMBER}")
        with simulator, opened(dsn, twilio=simulator.base_url) as target:
            return Fuzz(target, seed=seed).run(inputs)
    finally:
        logging.disable(logging.NOTSET)


def main() -> int:
    options = _parser().parse_args()
    began = time.monotonic()
    total = Outcome()
    with data_folder() as folder:
        server = Server(folder / "postgres", settings=FAST_AND_FORGETFUL)
        try:
            dsn = server.start()
            create_template(dsn)
            jobs = [
                (_database(dsn, n), options.inputs // options.processes, f"{options.seed}.{n}")
                for n in range(options.processes)
            ]
            with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
                for outcome in pool.imap_unordered(_job, jobs):
                    total.add(outcome)
        finally:
            server.stop()
    for line in total.wrong[:SHOWN]:
        print(line)
    print(f"statuses: {', '.join(f'{status} × {n}' for status, n in sorted(total.statuses.items()))}")
    print(f"seed {options.seed}, {total.line()}, {time.monotonic() - began:.0f} s")
    return 1 if total.wrong else 0


def _job(job: tuple[str, int, str]) -> Outcome:
    dsn, inputs, seed = job
    api._WAIT_FOR_RUN_S = 0.0  # there is no worker whose end could be waited for
    return attack(dsn, inputs=inputs, seed=seed)


def _database(dsn: str, number: int) -> str:
    name = f"fuzz_{number}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
    return make_conninfo(dsn, dbname=name)


def _decoded(path: str) -> str:
    """The path as WSGI has it: its bytes, each as one character."""
    return unquote_to_bytes(path).decode("latin-1")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="how many calls (default: 100000)")
    parser.add_argument("--seed", type=int, default=1, help="what is asked (default: 1)")
    parser.add_argument(
        "--processes", type=int, default=2, help="how many ask at a time, each a portal of its own (default: 2)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
