"""A page asks for news, word for word as a second before: while nothing in the database has changed, neither has the answer.

Two hundred open pages ask a hundred times a second. Most of such an answer's time goes into finding out who asks; here that answer
is given again, before the portal begins to work, under conditions that make it the one the portal would give.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import request

from whatsapp_logs.errors import WhatsAppLogsError
from whatsapp_logs.web.asking import Asked

if TYPE_CHECKING:
    from whatsapp_logs.web import WhatsAppLogs

LIVE_PATH = "/whatsapp_logs/live"
_ASK_AGAIN_S = (
    15.0  # the portal says again who that is, though nothing has changed: a session may end by the clock alone
)
_MOST = 2_000
_TOLD = "whatsapp_logs.told"

Headers = list[tuple[str, str]]
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class _Told:
    """An answer "nothing new": to which list, with which fingerprint, in which state of the database."""

    asked: Asked
    seen: str
    state: str


@dataclass(frozen=True, slots=True)
class _Answer:
    told: _Told
    headers: Headers
    at: float


def told(asked: Asked, *, seen: str, state: str) -> None:
    """Note on the request that its answer is "nothing new", for whoever asks the same again."""
    request.environ[_TOLD] = _Told(asked, seen, state)


class SameAgain:
    """Around a portal's WSGI application. Only an answer without content is given again, and only to the same request.

    The same: address, cookies and every other header. For how long: until any transaction in the database (a sign-out is one, where
    sessions live there), until the list shows something else, at most 15 s.
    """

    def __init__(self, application: Application, extension: WhatsAppLogs) -> None:
        self._application, self._extension = application, extension
        self._answers: dict[Hashable, _Answer] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer, or let the application answer."""
        if environ.get("PATH_INFO") != LIVE_PATH or environ.get("REQUEST_METHOD") != "GET":
            return self._application(environ, start_response)
        asker = frozenset(item for item in environ.items() if item[0].startswith(("HTTP_", "REMOTE_ADDR")))
        key = (environ.get("SCRIPT_NAME", ""), environ.get("QUERY_STRING", ""), asker)
        answer = self._answers.get(key)
        if answer is not None and self._still_holds(answer):
            start_response("204 NO CONTENT", list(answer.headers))
            return []

        def remembering(status: str, headers: Headers, *more: Any) -> Any:
            said = environ.get(_TOLD)
            if said is not None and status.startswith("204") and not any(name == "Set-Cookie" for name, _ in headers):
                if len(self._answers) >= _MOST:
                    self._answers.clear()
                self._answers[key] = _Answer(said, list(headers), time.monotonic())
            return start_response(status, headers, *more)

        return self._application(environ, remembering)

    def _still_holds(self, answer: _Answer) -> bool:
        if time.monotonic() - answer.at > _ASK_AGAIN_S:
            return False
        try:
            digest, state = self._extension.news.look(self._extension.service, answer.told.asked)
        except WhatsAppLogsError:  # the application says so, to whom it concerns
            return False
        return (digest, state) == (answer.told.seen, answer.told.state)
