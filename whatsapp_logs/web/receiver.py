"""Twilio's calls without Flask, for campaigns that bring thousands of them a second: two routes, for granian, by its protocol.

    granian --interface rsgi --host 127.0.0.1 --port 8001 whatsapp_logs.web.receiver:app

A proxy sends POST /whatsapp/status_callback and /whatsapp/inbound there and everything else to the portal, whose own routes stay:
both read and prove a call by `twilio.callback`, write by the same verbs (`track.record`, `receive`) and may run beside each other.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import parse_qs

from whatsapp_logs import links, phone, self_test
from whatsapp_logs.errors import MessageNotFound, WhatsAppLogsError
from whatsapp_logs.gathering import MOST, write_each
from whatsapp_logs.message import Inbound, Recorded, Source, StatusReport
from whatsapp_logs.service import WhatsAppService
from whatsapp_logs.twilio import callback
from whatsapp_logs.twilio.signature import Form
from whatsapp_logs.web.errors import RETRY_AFTER_S, http_status
from whatsapp_logs.web.limits import UNPROVEN_PER_MINUTE, Limit, TooMany
from whatsapp_logs.web.refusals import Refusals

log = logging.getLogger(__name__)

_NO_SNIFF = ("x-content-type-options", "nosniff")


class _TooLarge(WhatsAppLogsError):
    """The body is larger than any callback's."""


Told = TypeVar("Told")
Outcome = TypeVar("Outcome")
_MOST_HEARD = 50  # customers' messages of one transaction: each is some ten statements, and statuses wait meanwhile
_TEXT, _XML = "text/plain; charset=utf-8", "text/xml; charset=utf-8"


class _Together(Generic[Told, Outcome]):
    """What comes while something is being written is written together, next, in the order in which it was read.

    The loop reads and proves the next calls while a thread waits for the commit of these: on two cores a quarter less work a call
    than when the loop waits itself. One process has one writer, so it takes all that is there: a commit's fixed part is then shared
    by most.
    """

    def __init__(self, write: Callable[[Sequence[Told]], list[Outcome]], *, most: int, writer: Executor) -> None:
        self._write_all, self._most, self._writer = write, most, writer
        self._waiting: list[tuple[Told, asyncio.Future[Outcome]]] = []
        self._is_writing = False

    def write(self, one: Told) -> asyncio.Future[Outcome]:
        """Done once it is committed."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[Outcome] = loop.create_future()
        self._waiting.append((one, written))
        if not self._is_writing:
            self._is_writing = True
            loop.call_soon(self._begin)  # behind all calls that can be read now
        return written

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        told = [one for one, _ in batch]
        try:
            writing = asyncio.get_running_loop().run_in_executor(self._writer, write_each, self._write_all, told)
        except RuntimeError as error:  # the writer has been ended
            self._is_writing = False
            self._answer(batch, [error] * len(batch))
            raise
        writing.add_done_callback(lambda done: self._end(batch, done))

    def _end(self, batch: list[tuple[Told, asyncio.Future[Outcome]]], done: asyncio.Future[Any]) -> None:
        try:
            self._answer(batch, done.result())
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody is to wait for an answer that does not come
            self._answer(batch, [error] * len(batch))
        finally:
            if self._waiting:
                self._begin()
            else:
                self._is_writing = False

    @staticmethod
    def _answer(batch: list[tuple[Told, asyncio.Future[Outcome]]], outcomes: Sequence[Outcome | Exception]) -> None:
        for (_, written), outcome in zip(batch, outcomes, strict=True):
            if written.done():  # its caller has hung up; what it told is kept
                continue
            if isinstance(outcome, Exception):
                written.set_exception(outcome)
            else:
                written.set_result(outcome)


class Scope(Protocol):
    """What RSGI tells of a request; https://github.com/emmett-framework/granian/blob/master/docs/spec/RSGI.md."""

    method: str
    path: str
    query_string: str
    client: str
    headers: Any


class Receiver:
    """The application. Its service is made when the server starts, from the environment, unless it is given."""

    def __init__(self, service: WhatsAppService | None = None) -> None:
        self._service = service
        self._refusals = Refusals(lambda calls: self._ready().count_refused(calls))
        self._unproven = Limit(UNPROVEN_PER_MINUTE)
        self._writer = ThreadPoolExecutor(1, "writer")
        self._reports = _Together[StatusReport, Recorded](
            lambda reports: self._ready().record(reports, source=Source.CALLBACK), most=MOST, writer=self._writer
        )
        self._heard = _Together[Inbound, int](
            lambda received: self._ready().receive_all(received), most=_MOST_HEARD, writer=self._writer
        )

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server has started: what was loaded stays, and no collection of garbage looks through it again."""
        self._ready()
        gc.collect()
        gc.freeze()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        """The server ends; all calls are answered."""
        self._writer.shutdown()
        self._ready().close()

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        """Answer one call."""
        wait_s, kind = 0, _TEXT
        try:
            status, text, kind = await self._answer(scope, protocol)
        except _TooLarge:
            status, text = 413, "The form is too large."
        except WhatsAppLogsError as error:
            status, text = http_status(error)[0], str(error)
            wait_s = error.retry_after_s if isinstance(error, TooMany) else RETRY_AFTER_S if status == 503 else 0
            if status >= 500:
                log.error("POST %s: %s", scope.path, error)
        if not text:
            protocol.response_empty(status, [_NO_SNIFF])
            return
        headers = [("content-type", kind), _NO_SNIFF]
        headers += [("retry-after", str(wait_s))] if wait_s else []
        protocol.response_str(status, headers, text)

    async def _answer(self, scope: Scope, protocol: Any) -> tuple[int, str, str]:
        take = {links.STATUS_CALLBACK_PATH: self._take_status, links.INBOUND_PATH: self._take_message}.get(scope.path)
        if take is None:
            return 404, "Only Twilio's calls are received here.", _TEXT
        if scope.method != "POST":
            return 405, "Twilio's calls are posted.", _TEXT
        return await take(self._proven(scope, await _body(scope, protocol)), scope)

    async def _take_status(self, form: Form, scope: Scope) -> tuple[int, str, str]:
        message = parse_qs(scope.query_string).get("message", [""])[0] if scope.query_string else ""
        nonce = links.self_test_nonce(message)
        if nonce is None:
            await self._reports.write(callback.status_report(form, message))
        elif not self._ready().hear_self_test(nonce[: callback.MAX_WORD]):
            raise MessageNotFound(self_test.NOT_BEGUN)
        return 204, "", _TEXT

    async def _take_message(self, form: Form, _scope: Scope) -> tuple[int, str, str]:
        received = callback.inbound(form)
        message_id = await self._heard.write(received)
        log.info("message %s received from %s", message_id, phone.masked(received.sender))
        return 200, callback.NO_REPLY, _XML

    def _proven(self, scope: Scope, body: bytes) -> Form:
        try:
            return callback.proven(
                callback.read_form(body),
                self._ready().config,
                path=scope.path,
                query=scope.query_string,
                header=lambda name: scope.headers.get(name.lower()),
            )
        except callback.NotTwilio as refusal:
            address = scope.client.rpartition(":")[0]
            if self._refusals.add(scope.path, refusal.reason):
                log.warning("refused calls: %s, %s, the first from %s", scope.path, refusal.reason, address)
            if wait_s := self._unproven.take(address):
                raise TooMany(f"{refusal} Too many calls of that kind.", retry_after_s=wait_s) from refusal
            raise

    def _ready(self) -> WhatsAppService:
        if self._service is None:
            self._service = WhatsAppService.from_env()
        return self._service


async def _body(scope: Scope, protocol: Any) -> bytes:
    length = scope.headers.get("content-length") or ""
    if length.isdecimal() and len(length) < 20 and int(length) <= callback.MAX_BODY_BYTES:
        whole: bytes = await protocol()
        return whole
    body = b""
    if not length:  # it comes in pieces
        async for piece in protocol:
            body += piece
            if len(body) > callback.MAX_BODY_BYTES:
                break
        else:
            return body
    raise _TooLarge()


app = Receiver()
