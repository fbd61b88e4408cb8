"""Twilio's REST resources: messages and their media; the Content API stands beside."""

from __future__ import annotations

import base64
import hmac
import random
import re
import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode

from whatsapp_logs.twilio.simulator import create, listing, rules, wire
from whatsapp_logs.twilio.simulator.content_api import ContentApi
from whatsapp_logs.twilio.simulator.ledger import Media, Message
from whatsapp_logs.twilio.simulator.network import Network
from whatsapp_logs.twilio.simulator.wire import ApiError, Request, Response

_ACCOUNT = rf"/{rules.API_VERSION}/Accounts/(?P<account>[^/]+)"
_MESSAGE = rf"{_ACCOUNT}/Messages/(?P<sid>[A-Z]{{2}}[0-9a-f]{{32}})"
_MEDIA = rf"{_MESSAGE}/Media/(?P<media>ME[0-9a-f]{{32}})"


class Api:
    """Answers one request at a time of any thread; refusals are raised as ApiError."""

    def __init__(self, network: Network, auth_token: str, *, whatsapp_from: str | None, seed: int | None) -> None:
        self._network, self._ledger, self._settings = network, network.ledger, network.settings
        self._whatsapp_from = whatsapp_from
        self._signing_key = auth_token.encode()
        login = f"{network.account_sid}:{auth_token}".encode()
        self._authorization = f"Basic {base64.b64encode(login).decode()}"
        self._random = random.Random(seed)  # noqa: S311 - chance, no secret
        self._counting = threading.Lock()
        self._running = 0
        routes: tuple[tuple[str, str, Callable[..., Response]], ...] = (
            ("POST", rf"{_ACCOUNT}/Messages\.json", self._create),
            ("GET", rf"{_ACCOUNT}/Messages\.json", self._list),
            ("GET", rf"{_MESSAGE}\.json", self._fetch),
            ("POST", rf"{_MESSAGE}\.json", self._update),
            ("DELETE", rf"{_MESSAGE}\.json", self._delete),
            ("GET", rf"{_MESSAGE}/Media\.json", self._list_media),
            ("GET", rf"{_MEDIA}\.json", self._fetch_media),
            ("DELETE", rf"{_MEDIA}\.json", self._delete_media),
            ("GET", _MEDIA, self._give_out),
            ("GET", r"/media-cdn/(?P<media>ME[0-9a-f]{32})", self._media_bytes),
            *ContentApi(network, self._read_fault).routes,
        )
        self._routes = [(method, re.compile(pattern), answer) for method, pattern, answer in routes]

    def answer(self, request: Request) -> Response:
        """The answer to a request, with the faults that the settings ask for."""
        with self._counting:
            self._running += 1
            running = self._running
        try:
            if self._settings.latency_s:
                time.sleep(self._settings.latency_s)
            limit = self._settings.max_concurrent
            if limit is not None and running > limit:
                raise ApiError(429, 20429)
            return self._route(request)
        except ApiError as error:
            return wire.refuse(error)
        finally:
            with self._counting:
                self._running -= 1

    def _route(self, request: Request) -> Response:
        known_path = False
        for method, pattern, answer in self._routes:
            match = pattern.fullmatch(request.path)
            if not match:
                continue
            known_path = True
            if method == request.method:
                if not self._is_public(answer):
                    self._check_login(request, match.groupdict().get("account"))
                names = {name: value for name, value in match.groupdict().items() if name != "account"}
                return answer(request, **names)
        if known_path:
            raise ApiError(405, 20004)
        raise ApiError(404, 20404, f"The requested resource {request.path} was not found")

    def _is_public(self, answer: Callable[..., Response]) -> bool:
        return answer == self._media_bytes or (answer == self._give_out and not self._settings.media_auth)

    def _check_login(self, request: Request, account: str | None) -> None:
        given = request.headers.get("authorization", "")
        known = hmac.compare_digest(given.encode(), self._authorization.encode())
        if not known or account not in (None, self._network.account_sid):
            raise ApiError(401, 20003)

    # -- messages ----------------------------------------------------------------------------------

    def _create(self, request: Request) -> Response:
        fault = self._settings.create_error if self._happens(self._settings.create_error_rate) else None
        if fault in _REFUSALS:
            return _REFUSALS[fault]
        message = create.read_message(
            request.form,
            contents=self._network.contents,
            settings=self._settings,
            whatsapp_from=self._whatsapp_from,
            now=time.time(),
        )
        refusal = self._refusal(message)
        if refusal:
            return refusal
        with self._network.database.transaction():  # together, so that no other call takes the place in between
            if not message.service_sid and self._network.is_full(message):
                raise ApiError(400, 21611)
            self._network.accept(message)
        fault = fault or {"500 after accept": "500_after_accept", "cut after accept": "cut_after_accept"}.get(
            rules.magic_for(message.to).create
        )
        if fault:
            return _LOST_ANSWERS[fault]
        return wire.answer(wire.message_json(self._network.account_sid, message), status=201)

    def _refusal(self, message: Message) -> Response | None:
        """What the recipient's number or opt-out makes Twilio answer at once instead of accepting."""
        magic = rules.magic_for(message.to)
        if magic.create == "refuse" and magic.error_code:
            raise ApiError(400, magic.error_code)
        if magic.create == "html":
            return wire.GATEWAY_PAGE
        contact = self._network.contacts.find(message.to)
        if magic.create == "429 twice" and contact.refused_creates < 2:
            self._network.contacts.refuse_create(message.to)
            raise ApiError(429, 20429)
        # Through a Messaging Service, and so with Advanced Opt-Out, it fails later.
        if contact.opted_out and not message.service_sid and not self._settings.advanced_opt_out:
            raise ApiError(400, 21610)
        return None

    def _list(self, request: Request) -> Response:
        return self._read_fault() or wire.answer(
            listing.list_messages(
                self._ledger, request.query, account_sid=self._network.account_sid, settings=self._settings,
                now=time.time(),
            )
        )  # fmt: skip

    def _fetch(self, request: Request, sid: str) -> Response:
        return self._read_fault() or self._shown(self._find(request, sid))

    def _update(self, request: Request, sid: str) -> Response:
        message = self._find(request, sid)
        form = request.form
        if ("Status" in form) == ("Body" in form):
            raise ApiError(400, 30400)
        if "Status" in form:
            if form["Status"] != ["canceled"]:
                raise ApiError(400, 30400)
            if message.status != "scheduled":
                raise ApiError(409, 30409)
            self._network.end_by_hand(sid, "canceled")
        else:
            if form["Body"] != [""]:
                raise ApiError(400, 30400)
            self._ledger.change(sid, body="", updated_at=time.time())
        return self._shown(self._find(request, sid))

    def _delete(self, request: Request, sid: str) -> Response:
        if self._find(request, sid).status in rules.NOT_YET_SENT:
            raise ApiError(409, 20009)
        self._ledger.delete(sid)
        return Response(204)

    def _find(self, request: Request, sid: str) -> Message:
        message = self._ledger.find(sid)
        if message is None:
            raise ApiError(404, 20404, f"The requested resource {request.path} was not found")
        return message

    def _shown(self, message: Message) -> Response:
        return wire.answer(wire.message_json(self._network.account_sid, message))

    # -- media -------------------------------------------------------------------------------------

    def _list_media(self, request: Request, sid: str) -> Response:
        self._find(request, sid)
        items = [wire.media_json(self._network.account_sid, media) for media in self._ledger.media_of(sid)]
        size = listing.read_page_size(request.query)
        return wire.answer(
            wire.page_json("media_list", items[:size], uri=request.path, page=0, page_size=size, next_uri=None)
        )

    def _fetch_media(self, request: Request, sid: str, media: str) -> Response:
        return wire.answer(wire.media_json(self._network.account_sid, self._find_media(request, sid, media)))

    def _delete_media(self, request: Request, sid: str, media: str) -> Response:
        self._ledger.delete_media(self._find_media(request, sid, media).sid)
        return Response(204)

    def _give_out(self, request: Request, sid: str, media: str) -> Response:
        """Twilio sends the caller on to a signed address, good for four hours."""
        expires = int(time.time() + rules.SIGNED_URL_S)
        query = urlencode({"Expires": expires, "Signature": self._signature(media, str(expires))})
        return Response(307, headers={"Location": f"/media-cdn/{self._find_media(request, sid, media).sid}?{query}"})

    def _media_bytes(self, request: Request, media: str) -> Response:
        expires, given = request.query.get("Expires", ""), request.query.get("Signature", "")
        signed = hmac.compare_digest(given.encode(), self._signature(media, expires).encode())
        if not signed or not expires.isdecimal() or int(expires) < time.time():
            return Response(403, b"AccessDenied\n", "text/plain")
        found = self._ledger.find_media(media)
        if found is None:
            return Response(404, b"NoSuchKey\n", "text/plain")
        return Response(200, found.content, found.content_type, {"Content-Security-Policy": "sandbox"})

    def _signature(self, media: str, expires: str) -> str:
        return hmac.new(self._signing_key, f"{media}:{expires}".encode(), "sha256").hexdigest()

    def _find_media(self, request: Request, sid: str, media_sid: str) -> Media:
        media = self._ledger.find_media(media_sid)
        if media is None or media.message_sid != sid:
            raise ApiError(404, 20404, f"The requested resource {request.path} was not found")
        return media

    # -- faults ------------------------------------------------------------------------------------

    def _read_fault(self) -> Response | None:
        fault = self._settings.read_error
        return _REFUSALS[fault] if fault and self._happens(self._settings.read_error_rate) else None

    def _happens(self, rate: float) -> bool:
        with self._counting:
            return self._random.random() < rate


_REFUSALS = {
    "429": wire.refuse(ApiError(429, 20429)),
    "500": wire.refuse(ApiError(500, 20500)),
    "html": wire.GATEWAY_PAGE,
    "refuse": wire.CUT,
}
_LOST_ANSWERS = {
    "500_after_accept": wire.refuse(ApiError(500, 20500)),
    "timeout_after_accept": wire.HANG,
    "cut_after_accept": wire.CUT,
}
