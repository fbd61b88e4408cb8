"""Status callbacks without Flask, for campaigns that bring thousands of them a second: an ASGI application of this one route.

    granian --interface asgi --host 127.0.0.1 --port 8001 whatsapp_logs.web.receiver:app

A proxy sends POST /whatsapp/status_callback there and everything else to the portal, whose own route stays: both check the same
signature (`twilio.callback`), record in the same way (`track.record`) and may run beside each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from whatsapp_logs import links, self_test
from whatsapp_logs.errors import MessageNotFound, WhatsAppLogsError
from whatsapp_logs.gathering import MOST, write_each
from whatsapp_logs.message import Recorded, Source, StatusReport
from whatsapp_logs.service import WhatsAppService
from whatsapp_logs.twilio import callback
from whatsapp_logs.web.errors import RETRY_AFTER_S, http_status
from whatsapp_logs.web.refusals import Refusals

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _TooLarge(WhatsAppLogsError):
    """The body is larger than any callback's."""


class Receiver:
    """The application. Its service is made when the server starts, from the environment, unless it is given."""

    def __init__(self, service: WhatsAppService | None = None) -> None:
        self._service = service
        self._refusals = Refusals(lambda calls: self._ready().count_refused(calls))
        self._waiting: list[tuple[StatusReport, asyncio.Future[Recorded]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, text = 204, ""
        if scope["path"] != links.STATUS_CALLBACK_PATH:
            status, text = 404, "Only status callbacks are received here."
        elif scope["method"] != "POST":
            status, text = 405, "A status callback is posted."
        else:
            try:
                await self._hear(scope, await _body(receive))
            except _TooLarge:
                status, text = 413, "The form is too large."
            except WhatsAppLogsError as error:
                status, text = http_status(error)[0], str(error)
                if status >= 500:
                    log.error("POST %s: %s", scope["path"], error)
        headers = [(b"content-type", b"text/plain; charset=utf-8")] if text else []
        if status == 503:
            headers.append((b"retry-after", str(RETRY_AFTER_S).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    async def _hear(self, scope: Scope, body: bytes) -> None:
        """Returns once the report is committed."""
        service, query = self._ready(), scope["query_string"].decode("latin-1")
        signature = next((value for name, value in scope["headers"] if name == b"x-twilio-signature"), b"")
        try:
            form = callback.proven(
                callback.read_form(body),
                service.config,
                path=links.STATUS_CALLBACK_PATH,
                query=query,
                signature=signature.decode("latin-1"),
            )
        except callback.NotTwilio as refusal:
            if self._refusals.add(links.STATUS_CALLBACK_PATH, refusal.reason):
                client = (scope.get("client") or ("unknown",))[0]
                log.warning("refused calls: %s, %s, the first from %s", scope["path"], refusal.reason, client)
            raise
        message = parse_qs(query).get("message", [""])[0] if query else ""
        nonce = links.self_test_nonce(message)
        if nonce is None:
            await self._record(callback.status_report(form, message))
        elif not await asyncio.to_thread(service.hear_self_test, nonce[: callback.MAX_WORD]):
            raise MessageNotFound(self_test.NOT_BEGUN)

    async def _record(self, report: StatusReport) -> Recorded:
        """Written with all that come while the last ones are being written: one commit, and nobody waits for company."""
        written: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await written

    async def _write(self) -> None:
        write = partial(self._ready().record, source=Source.CALLBACK)
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                outcomes = await asyncio.to_thread(write_each, write, [report for report, _ in batch])
                for (_, written), outcome in zip(batch, outcomes, strict=True):
                    if written.cancelled():  # its caller has hung up; the report is kept
                        continue
                    if isinstance(outcome, Exception):
                        written.set_exception(outcome)
                    else:
                        written.set_result(outcome)
        finally:
            self._writing = None

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            word = (await receive())["type"]
            if word == "lifespan.startup":
                self._ready()
                await send({"type": "lifespan.startup.complete"})
            elif word == "lifespan.shutdown":
                self._ready().close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _ready(self) -> WhatsAppService:
        if self._service is None:
            self._service = WhatsAppService.from_env()
        return self._service


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        part = await receive()
        if part["type"] == "http.disconnect":
            raise _TooLarge()
        body += part.get("body", b"")
        more = part.get("more_body", False)
        if len(body) > callback.MAX_BODY_BYTES:
            raise _TooLarge()
    return body


app = Receiver()
