"""Call ourselves back through the public address, as Twilio would, and say which part fails."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from psycopg import Connection

from whatsapp_logs import links
from whatsapp_logs.config import Config
from whatsapp_logs.errors import DatabaseAway, WhatsAppLogsError
from whatsapp_logs.send import Transactions
from whatsapp_logs.store import queue, self_tests
from whatsapp_logs.twilio.signature import sign

_CALL_TIMEOUT_S = 5.0
_POLL_S = 0.1
NOT_BEGUN = "This self-test was not begun here."
_NOT_SIGNED = "not signed by Twilio"  # our own words of refusal: a proxy's 403 is not ours


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the callback's way, whether it is well, and what was seen or is to be done."""

    part: str
    is_well: bool
    words: str


class _Broken(WhatsAppLogsError):
    """This part of the way fails; those behind it cannot be tried."""


def run(transactions: Transactions, config: Config, *, worker_timeout_s: float = 10.0) -> list[Step]:
    """Try name, connection, path, signature and worker in turn; stops at the first that fails."""
    return list(_steps(transactions, config, worker_timeout_s))


def _steps(transactions: Transactions, config: Config, worker_timeout_s: float) -> Iterator[Step]:
    nonce, answers = secrets.token_hex(16), list[requests.Response]()
    parts: tuple[tuple[str, Callable[[], str]], ...] = (
        ("name", lambda: _name(config)),
        ("connection", lambda: _connection(transactions, config, nonce, answers)),
        ("path", lambda: _path(config, answers[0])),
        ("signature", lambda: _signature(transactions, nonce, answers[0])),
        ("worker", lambda: _worker(transactions, nonce, worker_timeout_s)),
    )
    for part, attempt in parts:
        try:
            yield Step(part, True, attempt())
        except WhatsAppLogsError as error:
            yield Step(part, False, str(error))
            return


def hear(conn: Connection[Any], nonce: str) -> bool:
    """The callback of a test has come, signed: hand it on to a worker; False when nobody has begun such a test."""
    known = self_tests.hear(conn, nonce)
    if known:
        queue.defer(conn, "self_test", nonce=nonce)
    return known


def _name(config: Config) -> str:
    if not config.twilio_configured:
        raise _Broken(
            "There are no Twilio credentials, so nothing is called back. Set TWILIO_ACCOUNT_SID and the others."
        )
    host = urlsplit(config.public_base_url).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise _Broken(f"DNS does not know {host}. Check PUBLIC_BASE_URL and the name's DNS entry.") from error
    return f"{host} can be looked up."


def _connection(transactions: Transactions, config: Config, nonce: str, answers: list[requests.Response]) -> str:
    """Make the one signed call; what it is answered is for the next parts to judge."""
    url = links.self_test_callback(config, nonce)
    form = {
        "MessageSid": "selftest",
        "MessageStatus": "selftest",
        "AccountSid": config.twilio_account_sid,
        "Body": " ü+&=",  # what a proxy that reads and rewrites forms spoils
    }
    with suppress(DatabaseAway), transactions() as conn:  # away from here only? the answer tells
        self_tests.begin(conn, nonce)
    answers.append(_post(url, form, {"X-Twilio-Signature": sign(form, url=url, auth_token=config.twilio_auth_token)}))
    return "The address takes connections" + (", with a valid certificate." if url.startswith("https:") else ".")


def _path(config: Config, answer: requests.Response) -> str:
    url = config.public_base_url + links.STATUS_CALLBACK_PATH
    if answer.status_code == 204 or (answer.status_code == 403 and _NOT_SIGNED in answer.text):
        return f"{url} leads to this program."
    if answer.status_code == 404 and NOT_BEGUN in answer.text:
        raise _Broken("The callback was taken, but not here: PUBLIC_BASE_URL leads to a portal with another database.")
    raise _Broken(_wrong_answer(url, answer))


def _signature(transactions: Transactions, nonce: str, answer: requests.Response) -> str:
    if answer.status_code == 403:
        raise _Broken(
            "A rightly signed callback is refused. The web server has another TWILIO_AUTH_TOKEN, account or PUBLIC_BASE_URL than "
            "this program (restart it after changing them), or the proxy alters the query or the form."
        )
    with transactions() as conn:
        if not self_tests.heard(conn, nonce).by_route:
            raise _Broken("Something answers in this program's place: the callback was taken and not written down.")
    return "A signed callback is believed and written down."


def _worker(transactions: Transactions, nonce: str, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with transactions() as conn:
            if self_tests.heard(conn, nonce).by_worker:
                return "A worker did the job that the callback left."
        time.sleep(_POLL_S)
    raise _Broken(
        f"No worker did the test's job within {timeout_s:g} s. See that `python -m whatsapp_logs worker` runs; a long "
        "queue delays it too. Callbacks themselves are recorded without it."
    )


def _post(url: str, form: dict[str, str], headers: dict[str, str]) -> requests.Response:
    try:
        return requests.post(url, data=form, headers=headers, timeout=_CALL_TIMEOUT_S, allow_redirects=False)
    except requests.exceptions.SSLError as error:
        raise _Broken(
            "TLS fails: the certificate is not for this name, has expired, or its chain is incomplete. Twilio will not call."
        ) from error
    except requests.exceptions.Timeout as error:
        raise _Broken(
            f"Nothing answers within {_CALL_TIMEOUT_S:.0f} s. A firewall drops the call, or the web server is stuck."
        ) from error
    except requests.RequestException as error:
        raise _Broken(
            "The address takes no connection from here. See that the web server and the proxy run, and the port is open."
        ) from error


def _wrong_answer(url: str, answer: requests.Response) -> str:
    if answer.is_redirect:
        return f"{url} redirects: Twilio loses the report. Give the final address in PUBLIC_BASE_URL."
    if answer.status_code in (502, 504):
        return f"The proxy in front of the portal answers {answer.status_code}: the web server behind it is away."
    if answer.status_code == 503:
        return "The portal answers 503: it is reached, but its database is away or not up to date."
    return f"{url} answers {answer.status_code}, not as this program does: the proxy leads elsewhere, or asks for a sign-in first."
