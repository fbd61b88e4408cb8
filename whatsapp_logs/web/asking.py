"""What a request asks for: the viewer's zone, the filter, the place in the list. A phone number never stands in a URL."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from flask import g, request, url_for

from whatsapp_logs import phone
from whatsapp_logs.config import Config
from whatsapp_logs.errors import InvalidInput, InvalidPhone, MessageNotFound
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Status
from whatsapp_logs.rights import Right, Viewer
from whatsapp_logs.web import current
from whatsapp_logs.web.access import viewer

ROWS = 50
ZONE_COOKIE = "whatsapp_logs_zone"
_MAX_OLD_PAGE = 200
_MAX_ROW = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A list as the request's address asks for it. `row` is the number of the first row shown, counted from 1."""

    wanted: MessageFilter
    phone_token: str = ""
    before: Cursor | None = None
    after: Cursor | None = None
    offset: int = 0
    row: int = 1

    @property
    def is_first_page(self) -> bool:
        """Whether new messages appear on this page."""
        return self.before is None and self.after is None and self.offset == 0

    def url(self, endpoint: str = "whatsapp_logs.page", **extra: Any) -> str:
        """The address of this list's first page, or of another one with `extra` query parameters."""
        pairs = self.wanted.to_query()
        if self.phone_token and self.wanted.phone:
            pairs.append(("phone", self.phone_token))
        pairs += [(name, str(value)) for name, value in extra.items() if value not in (None, "")]
        return _way(endpoint) + (f"?{urlencode(pairs)}" if pairs else "")

    def url_here(self, endpoint: str = "whatsapp_logs.page", **extra: Any) -> str:
        """The address of this very page of the list."""
        here: dict[str, Any] = {"row": self.row} if self.row > 1 else {}
        if self.before:
            here["before"] = self.before.encode()
        if self.after:
            here["after"] = self.after.encode()
        if self.offset:
            here["page"] = self.offset // ROWS + 1
        return self.url(endpoint, **here, **extra)

    def with_filter(self, **changes: Any) -> Asked:
        """The first page of the list with parts of its filter changed."""
        return Asked(wanted=replace(self.wanted, **changes), phone_token=self.phone_token)

    def toggled(self, status: Status) -> Asked:
        """The list with this status taken in, or left out when it was chosen."""
        chosen = set(self.wanted.statuses) ^ {status}
        return self.with_filter(statuses=tuple(sorted(chosen, key=lambda one: one.rank)))

    def whole_log(self, statuses: Sequence[Status] = ()) -> Asked:
        """The list without any filter but these statuses."""
        return Asked(wanted=MessageFilter(statuses=tuple(statuses), zone=self.wanted.zone))


def _way(endpoint: str) -> str:
    """The address of a list's route, asked for once: a page names some of them twenty times."""
    ways: dict[str, str] = g.setdefault("whatsapp_logs_ways", {})
    if endpoint not in ways:
        ways[endpoint] = url_for(endpoint)
    return ways[endpoint]


def asked() -> Asked:
    """Read this request's address; raises InvalidInput naming the parameter that cannot be used."""
    query = request.args.to_dict(flat=False)
    token = request.args.get("phone", "")
    wanted = MessageFilter.from_query(query, zone=zone(viewer()), phone=_recall_phone(token) if token else "")
    before, after = request.args.get("before"), request.args.get("after")
    return Asked(
        wanted=wanted,
        phone_token=token,
        before=Cursor.decode(before, field="before") if before else None,
        after=Cursor.decode(after, field="after") if after else None,
        offset=(_old_page(request.args.get("page", "")) - 1) * ROWS,
        row=_row(request.args.get("row", "")),
    )


def asked_by_form(form: Mapping[str, Sequence[str]]) -> Asked:
    """Read the filter form; its phone number stays behind in the database, and a token goes on."""
    wanted = MessageFilter.from_query(form, zone=zone(viewer()))
    typed = next(iter(form.get("phone", ())), "").strip()
    if not typed:
        return Asked(wanted=wanted)
    searched = searched_phone(typed)
    return Asked(wanted=replace(wanted, phone=searched), phone_token=_remember_phone(searched))


def asked_by_old_phone(text: str) -> Asked:
    """The first portal's address with a phone number in it: read it once more, and never show it again."""
    here = asked()
    searched = searched_phone(text)
    return Asked(wanted=replace(here.wanted, phone=searched), phone_token=_remember_phone(searched))


def asked_by_number(address: str) -> Asked:
    """The list of one customer's number, which the viewer need not see: the page that leads here shows whose it is."""
    wanted = MessageFilter(zone=zone(viewer()), phone=address)
    return Asked(wanted=wanted, phone_token=_remember_phone(address))


def asked_for_everything() -> Asked:
    """The whole log, as this viewer reads it."""
    return Asked(wanted=MessageFilter(zone=zone(viewer())))


def searched_phone(text: str) -> str:
    """What to search for. Who may not see numbers must know the whole one: parts would let them guess the rest."""
    if phone.is_user_id(text):
        return phone.from_provider(text)
    if viewer().may(Right.NUMBERS):
        return phone.search_digits(text)
    try:
        return phone.to_address(text, region=current.service().config.default_region)
    except InvalidPhone as error:
        raise InvalidInput("phone", "You may search by the whole number only.") from error


def zone(person: Viewer) -> ZoneInfo:
    """The zone in which this person reads times: their own, else their browser's, else the office's."""
    for name in (person.timezone, request.cookies.get(f"__Host-{ZONE_COOKIE}"), request.cookies.get(ZONE_COOKIE)):
        if name and re.fullmatch(r"[A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,2}", name):
            try:
                return ZoneInfo(name)
            except (KeyError, ValueError, OSError):  # no such zone on this machine: the next one serves
                continue
    config: Config | None = current.extension().config
    return ZoneInfo("UTC") if config is None else config.zone


def _remember_phone(searched: str) -> str:
    return current.service().remember_search(searched, person=viewer().name)


def _recall_phone(token: str) -> str:
    searched = current.service().recall_search(token[:100], person=viewer().name)
    if searched is None:
        raise InvalidInput(
            "phone",
            "This link holds a phone search of somebody else, or of another day. "
            "A phone number never travels in a link: type it again.",
        )
    return searched


def _old_page(text: str) -> int:
    if not text:
        return 1
    if not re.fullmatch(r"[0-9]{1,30}", text) or int(text) < 1:
        raise InvalidInput("page", "A page number is a whole number from 1 on.")
    if int(text) > _MAX_OLD_PAGE:
        raise MessageNotFound(f"Page numbers end at {_MAX_OLD_PAGE}. Choose a date range, or go on with “Older”.")
    return int(text)


def _row(text: str) -> int:
    if not text:
        return 1
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= _MAX_ROW:
        raise InvalidInput("row", "This page address is damaged. Go back to the first page.")
    return int(text)
