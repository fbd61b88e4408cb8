"""Lists as Twilio answers them: newest first, filtered by To, From and DateSent, paged by token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.ledger import Ledger, Message
from whatsapp_logs.twilio.simulator.settings import Settings
from whatsapp_logs.twilio.simulator.wire import ApiError, message_json, page_json

_DAY_S = 24 * 3600
_FILTERS = ("To", "From", "DateSent", "DateSent<", "DateSent>")


def list_messages(
    ledger: Ledger, query: Mapping[str, str], *, account_sid: str, settings: Settings, now: float
) -> dict[str, object]:
    """One page of the message list."""
    page_size = read_page_size(query)
    conditions, values = _conditions(query, settings, now)
    before = read_token(query.get("PageToken"))
    if before is not None:
        conditions.append("n < :before")
        values["before"] = before
    found = ledger.page(conditions, values, limit=page_size + 1)
    shown = found[:page_size]
    return page_json(
        "messages",
        [message_json(account_sid, message) for message in shown],
        uri=_uri(account_sid, query),
        page=read_page_number(query),
        page_size=page_size,
        next_uri=_next_uri(account_sid, query, page_size, shown[-1]) if len(found) > page_size else None,
    )


def read_page_size(query: Mapping[str, str]) -> int:
    text = query.get("PageSize") or str(rules.DEFAULT_PAGE_SIZE)
    if not text.isdecimal() or not 1 <= int(text) <= rules.MAX_PAGE_SIZE:
        raise ApiError(400, 20007, f"Page size must be a number from 1 to {rules.MAX_PAGE_SIZE}")
    return int(text)


def _conditions(query: Mapping[str, str], settings: Settings, now: float) -> tuple[list[str], dict[str, object]]:
    conditions: list[str] = []
    values: dict[str, object] = {}
    for name, column in (("To", '"to"'), ("From", "from_")):
        if query.get(name):
            conditions.append(f"{column} = :{name}")
            values[name] = query[name]
    for index, (sign, at) in enumerate(_span(query)):
        conditions.append(f"sent_at {sign} :at{index}")  # rows without date_sent drop out here, as at Twilio
        values[f"at{index}"] = at
    if settings.list_hides_unsent:
        conditions.append("sent_at IS NOT NULL")
    if settings.list_lag_s:
        conditions.append("created_at <= :visible")
        values["visible"] = now - settings.list_lag_s
    return conditions, values


def _span(query: Mapping[str, str]) -> list[tuple[str, float]]:
    """The bounds on date_sent, inclusive. DateSent means a whole GMT day, even when a time is given with it."""
    span: list[tuple[str, float]] = []
    if on := query.get("DateSent"):
        start = _moment(on)[0]
        day = start - start % _DAY_S
        span += [(">=", day), ("<", day + _DAY_S)]
    if after := query.get("DateSent>"):
        span.append((">=", _moment(after)[0]))
    if before := query.get("DateSent<"):
        span.append(("<", _moment(before)[1]))
    return span


def _moment(text: str) -> tuple[float, float]:
    """Start and end (exclusive) of a day, or of the second that a time names; ISO 8601 and RFC 2822 are understood."""
    try:
        at = parsedate_to_datetime(text) if "," in text else datetime.fromisoformat(text)
    except ValueError as error:
        raise ApiError(400, 20001, f"Invalid date {text}") from error
    start = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return start, start + (_DAY_S if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else 1)


def read_token(token: str | None) -> int | None:
    """The `n` of the last message on the page before; the token names it, so new messages shift nothing."""
    if token is None:
        return None
    match = re.fullmatch(r"PA(\d{1,18})", token)
    if not match:
        raise ApiError(400, 21481)
    return int(match[1])


def read_page_number(query: Mapping[str, str]) -> int:
    text = query.get("Page", "0")
    return int(text) if text.isdecimal() and "PageToken" in query else 0


def _uri(account_sid: str, query: Mapping[str, str]) -> str:
    kept = {name: query[name] for name in _FILTERS if query.get(name)}
    path = f"/{rules.API_VERSION}/Accounts/{account_sid}/Messages.json"
    return f"{path}?{urlencode(kept)}" if kept else path


def _next_uri(account_sid: str, query: Mapping[str, str], page_size: int, last: Message) -> str:
    uri = _uri(account_sid, query)
    paging = urlencode({"PageSize": page_size, "Page": read_page_number(query) + 1, "PageToken": f"PA{last.n:018d}"})
    return f"{uri}{'&' if '?' in uri else '?'}{paging}"
