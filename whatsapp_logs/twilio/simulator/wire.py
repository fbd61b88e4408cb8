"""The shapes on Twilio's wire: requests, answers, errors, and each resource as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal
from urllib.parse import parse_qs

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.contents import Content
from whatsapp_logs.twilio.simulator.ledger import Media, Message


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `headers` are looked up without regard to case by the server before they get here."""

    method: str
    path: str
    query_string: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(self.query_string, keep_blank_values=True).items()}

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, or a misbehaviour: `then` = hang keeps the caller waiting and cuts, cut closes without a word."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Literal["answer", "hang", "cut"] = "answer"


class ApiError(Exception):
    """An error that Twilio answers at once, with its HTTP status and its own code."""

    def __init__(self, status: int, code: int, message: str | None = None) -> None:
        super().__init__(message or rules.error_text(code) or "")
        self.status, self.code = status, code


GATEWAY_PAGE = Response(
    503,
    b"<html><head><title>503 Service Unavailable</title></head><body><h1>503 Service Unavailable</h1></body></html>",
    "text/html",
)
CUT = Response(then="cut")
HANG = Response(then="hang")


def answer(value: object, *, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode())


def refuse(error: ApiError) -> Response:
    return answer(
        {
            "code": error.code,
            "message": str(error),
            "more_info": f"https://www.twilio.com/docs/errors/{error.code}",
            "status": error.status,
        },
        status=error.status,
    )


def message_json(account_sid: str, message: Message) -> dict[str, object]:
    uri = f"/{rules.API_VERSION}/Accounts/{account_sid}/Messages/{message.sid}"
    waiting_for_sender = message.from_ is None
    return {
        "account_sid": account_sid,
        "api_version": rules.API_VERSION,
        "body": message.body,
        "date_created": rfc2822(message.created_at),
        "date_sent": rfc2822(message.sent_at),
        "date_updated": rfc2822(message.updated_at),
        "direction": message.direction,
        "error_code": message.error_code,
        "error_message": rules.error_text(message.error_code),
        "from": message.from_,
        "messaging_service_sid": message.service_sid,
        "num_media": str(len(message.media_urls)),
        "num_segments": "0" if waiting_for_sender else str(message.num_segments),
        "price": message.price,
        "price_unit": "USD",
        "sid": message.sid,
        "status": message.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": message.to,
        "uri": f"{uri}.json",
    }


def media_json(account_sid: str, media: Media) -> dict[str, object]:
    return {
        "sid": media.sid,
        "account_sid": account_sid,
        "parent_sid": media.message_sid,
        "content_type": media.content_type,
        "date_created": rfc2822(media.created_at),
        "date_updated": rfc2822(media.created_at),
        "uri": f"/{rules.API_VERSION}/Accounts/{account_sid}/Messages/{media.message_sid}/Media/{media.sid}.json",
    }


def page_json(
    key: str, items: list[dict[str, object]], *, uri: str, page: int, page_size: int, next_uri: str | None
) -> dict[str, object]:
    """A list page; `uri` is the address of the list without paging parameters."""
    joint = "&" if "?" in uri else "?"
    first = f"{uri}{joint}PageSize={page_size}&Page=0"
    return {
        key: items,
        "first_page_uri": first,
        "next_page_uri": next_uri,
        "previous_page_uri": None,
        "uri": first if page == 0 else f"{uri}{joint}PageSize={page_size}&Page={page}",
        "page": page,
        "page_size": page_size,
        "start": page * page_size,
        "end": page * page_size + max(len(items) - 1, 0),
    }


def content_json(account_sid: str, content: Content, base_url: str) -> dict[str, object]:
    url = f"{base_url}/v1/Content/{content.sid}"
    return {
        **_content_fields(account_sid, content),
        "url": url,
        "links": {
            "approval_create": f"{url}/ApprovalRequests/whatsapp",
            "approval_fetch": f"{url}/ApprovalRequests",
        },
    }


def content_and_approval_json(account_sid: str, content: Content) -> dict[str, object]:
    return {**_content_fields(account_sid, content), "approval_requests": whatsapp_approval(content)}


def approval_json(account_sid: str, content: Content, base_url: str) -> dict[str, object]:
    return {
        "sid": content.sid,
        "account_sid": account_sid,
        "whatsapp": {"type": "whatsapp", **whatsapp_approval(content), "flows": None},
        "url": f"{base_url}/v1/Content/{content.sid}/ApprovalRequests",
    }


def whatsapp_approval(content: Content) -> dict[str, object]:
    return {
        "name": content.name,
        "category": content.category,
        "content_type": content.content_type if content.name else "",
        "status": content.status,
        "rejection_reason": content.rejection_reason,
        "allow_category_change": content.allow_category_change,
    }


def _content_fields(account_sid: str, content: Content) -> dict[str, object]:
    return {
        "sid": content.sid,
        "account_sid": account_sid,
        "friendly_name": content.friendly_name,
        "language": content.language,
        "variables": dict(content.variables),
        "types": content.types,
        "date_created": iso8601(content.created_at),
        "date_updated": iso8601(content.updated_at),
    }


def iso8601(at: float) -> str:
    """The Content API's date: UTC, whole seconds (`2026-01-05T09:00:00Z`)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def rfc2822(at: float | None) -> str | None:
    """Twilio's date: GMT, whole seconds (`Thu, 24 Aug 2023 05:01:45 +0000`)."""
    return None if at is None else formatdate(int(at), localtime=False, usegmt=False).replace("-0000", "+0000")


def request_id() -> str:
    return f"RQ{time.time_ns():032x}"
