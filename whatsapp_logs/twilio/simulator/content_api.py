"""Twilio's Content API (`content.twilio.com`): templates, their approval by WhatsApp, lists of both.

Known from Twilio: the shapes, 404 20404, and 92009 for a template that was submitted before. That every other refusal
is a 400 with 20001 and a sentence is unconfirmed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from whatsapp_logs.twilio.simulator import listing, wire
from whatsapp_logs.twilio.simulator.contents import Content
from whatsapp_logs.twilio.simulator.ledger import new_sid
from whatsapp_logs.twilio.simulator.network import Network
from whatsapp_logs.twilio.simulator.wire import ApiError, Request, Response

CATEGORIES = ("UTILITY", "MARKETING", "AUTHENTICATION")
# They answer a customer within the 24 hours; WhatsApp approves no template of these types.
SESSION_ONLY = frozenset({"twilio/list-picker", "twilio/location"})
MAX_ITEMS = 10
_LIMITS = {"item": 24, "id": 200, "description": 72}
_BUTTON_LIMITS = {"title": 20, "id": 200}

_ONE = r"/v1/Content/(?P<sid>HX[0-9a-f]{32})"


class ContentApi:
    def __init__(self, network: Network, read_fault: Callable[[], Response | None]) -> None:
        self._network, self._contents, self._read_fault = network, network.contents, read_fault
        self.routes: tuple[tuple[str, str, Callable[..., Response]], ...] = (
            ("GET", r"/v1/Content", lambda request: self._list(request, with_approvals=False)),
            ("GET", r"/v1/ContentAndApprovals", lambda request: self._list(request, with_approvals=True)),
            ("POST", r"/v1/Content", self._create),
            ("GET", _ONE, self._fetch),
            ("PUT", _ONE, self._update),
            ("DELETE", _ONE, self._delete),
            ("POST", rf"{_ONE}/ApprovalRequests/whatsapp", self._submit),
            ("GET", rf"{_ONE}/ApprovalRequests", self._fetch_approval),
        )

    def _create(self, request: Request) -> Response:
        values, now = _read(request), time.time()
        content = Content(
            new_sid("HX"), str(values.get("friendly_name") or ""), _language(values), _variables(values),
            _types(values), now, now,
        )  # fmt: skip
        self._contents.add(content)
        return self._shown(request, content, status=201)

    def _list(self, request: Request, *, with_approvals: bool) -> Response:
        fault = self._read_fault()
        if fault:
            return fault
        size, query = listing.read_page_size(request.query), request.query
        found = self._contents.page(before=listing.read_token(query.get("PageToken")), limit=size + 1)
        base, account = _base_url(request), self._network.account_sid
        items = [
            wire.content_and_approval_json(account, item) if with_approvals else wire.content_json(account, item, base)
            for item in found[:size]
        ]
        page, url = listing.read_page_number(query), f"{base}{request.path}"
        following = (
            {"PageSize": size, "Page": page + 1, "PageToken": f"PA{found[size - 1].n:018d}"}
            if len(found) > size
            else None
        )
        meta = {
            "page": page, "page_size": size, "first_page_url": f"{url}?PageSize={size}&Page=0",
            "previous_page_url": None, "url": f"{url}?PageSize={size}&Page={page}",
            "next_page_url": f"{url}?{urlencode(following)}" if following else None, "key": "contents",
        }  # fmt: skip
        return wire.answer({"meta": meta, "contents": items})

    def _fetch(self, request: Request, sid: str) -> Response:
        return self._read_fault() or self._shown(request, self._find(request, sid))

    def _update(self, request: Request, sid: str) -> Response:
        if self._find(request, sid).status != "unsubmitted":
            raise ApiError(400, 20001, "A template that was submitted for approval cannot be changed: create a new one")
        values = _read(request)
        changes: dict[str, object] = {"updated_at": time.time()}
        if values.get("friendly_name"):
            changes["friendly_name"] = str(values["friendly_name"])
        if values.get("language"):
            changes["language"] = _language(values)
        if values.get("variables"):
            changes["variables"] = json.dumps(_variables(values))
        if values.get("types"):
            changes["types"] = json.dumps(_types(values))
        self._contents.change(sid, **changes)
        return self._shown(request, self._find(request, sid))

    def _delete(self, request: Request, sid: str) -> Response:
        self._find(request, sid)
        self._contents.delete(sid)
        return Response(204)

    def _submit(self, request: Request, sid: str) -> Response:
        content, values = self._find(request, sid), _read(request)
        name, category = str(values.get("name") or ""), str(values.get("category") or "")
        if not re.fullmatch(r"[a-z0-9_]{1,512}", name):
            raise ApiError(400, 20001, "name is required: lower-case letters, digits and underscores")
        if category not in CATEGORIES:
            raise ApiError(400, 20001, f"category is required: one of {', '.join(CATEGORIES)}")
        if content.status != "unsubmitted":
            raise ApiError(400, 92009)
        if content.content_type in SESSION_ONLY:
            raise ApiError(400, 20001, f"WhatsApp approves no {content.content_type}: it is for open conversations")
        if self._contents.is_blocked(name, time.time()):
            raise ApiError(
                400, 20001, f"A template named {name} was rejected less than 30 days ago: choose another name"
            )
        may_change = values.get("allow_category_change") is not False
        self._network.submit(sid, name=name, category=category, allow_category_change=may_change)
        return wire.answer(wire.whatsapp_approval(self._find(request, sid)), status=201)

    def _fetch_approval(self, request: Request, sid: str) -> Response:
        return self._read_fault() or wire.answer(
            wire.approval_json(self._network.account_sid, self._find(request, sid), _base_url(request))
        )

    def _find(self, request: Request, sid: str) -> Content:
        content = self._contents.find(sid)
        if content is None:
            raise ApiError(404, 20404, f"The requested resource {request.path} was not found")
        return content

    def _shown(self, request: Request, content: Content, *, status: int = 200) -> Response:
        return wire.answer(wire.content_json(self._network.account_sid, content, _base_url(request)), status=status)


def _read(request: Request) -> dict[str, Any]:
    try:
        values = json.loads(request.body)
    except ValueError as error:
        raise ApiError(400, 20001, "The body is JSON") from error
    if not isinstance(values, dict):
        raise ApiError(400, 20001, "The body is a JSON object")
    return values


def _language(values: Mapping[str, Any]) -> str:
    language = str(values.get("language") or "")
    if not re.fullmatch(r"[a-z]{2,3}(_[A-Z]{2,4})?", language):
        raise ApiError(400, 20001, "language is required: a code such as en or en_GB")
    return language


def _variables(values: Mapping[str, Any]) -> dict[str, str]:
    variables = values.get("variables") or {}
    if not isinstance(variables, dict) or any(isinstance(value, dict | list) for value in variables.values()):
        raise ApiError(400, 20001, "variables is an object of keys and sample values")
    return {str(key): "" if value is None else str(value) for key, value in variables.items()}


def _types(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    types = _without_nulls(values.get("types") or {})  # some SDKs write every type and field that they know, as null
    if not isinstance(types, dict) or not types or not all(isinstance(shape, dict) for shape in types.values()):
        raise ApiError(400, 20001, "types is required: an object with at least one content type")
    for kind, shape in types.items():
        if not kind.startswith(("twilio/", "whatsapp/")):
            raise ApiError(400, 20001, f"{kind} is no content type")
        if kind == "twilio/text" and not shape.get("body"):
            raise ApiError(400, 20001, "twilio/text needs a body")
        if kind == "twilio/media" and not shape.get("media"):
            raise ApiError(400, 20001, "twilio/media needs media: a list of addresses")
        if kind in ("twilio/quick-reply", "twilio/call-to-action"):
            _check_choices(kind, shape, "actions", "title", _BUTTON_LIMITS)
        if kind == "twilio/list-picker":
            _check_choices(kind, shape, "items", "item", _LIMITS)
    return types


def _check_choices(kind: str, shape: Mapping[str, Any], key: str, title: str, limits: Mapping[str, int]) -> None:
    choices = shape.get(key)
    if not shape.get("body") or not isinstance(choices, list) or not 1 <= len(choices) <= MAX_ITEMS:
        raise ApiError(400, 20001, f"{kind} needs a body and 1 to {MAX_ITEMS} {key}")
    for choice in choices:
        if not isinstance(choice, dict) or not choice.get(title):
            raise ApiError(400, 20001, f"each of the {key} of {kind} needs a {title}")
        for name, limit in limits.items():
            if len(str(choice.get(name) or "")) > limit:
                raise ApiError(400, 20001, f"{name} of {kind} has at most {limit} characters")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _base_url(request: Request) -> str:
    return f"http://{request.headers.get('host', '127.0.0.1')}"
