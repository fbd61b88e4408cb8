"""The page `GET /`: the customers' phones, to see what arrived, answer, block, and make trouble for the callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.ledger import Media, Message
from whatsapp_logs.twilio.simulator.wire import Request, Response

if TYPE_CHECKING:
    from whatsapp_logs.twilio.simulator import Simulator

MAX_CONVERSATIONS, MAX_BUBBLES, MAX_REPORTS = 60, 100, 12

_HERE = Path(__file__).parent
_SAFETY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# Opened in the browser; every other type is downloaded, so that no file can act as a page of the simulator.
_SHOWN_INLINE = ("application/pdf", "image/jpeg", "image/png", "image/webp")
_ASSETS = {"phone.css": "text/css", "phone.js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class Fault:
    """A button of the page: pressed, the setting has `on`; released, it has `off`."""

    name: str
    label: str
    does: str
    setting: str
    on: object
    off: object


FAULTS = (
    Fault("drop", "Drop", "Every callback is lost", "drop_rate", 1.0, 0.0),
    Fault("delay", "Delay", "Each comes 5 to 15 seconds late", "delay_s", (5.0, 15.0), (0.0, 0.0)),
    Fault("double", "Double", "Each comes twice", "double_rate", 1.0, 0.0),
    Fault("reorder", "Reorder", "Later ones overtake earlier ones", "reorder_rate", 1.0, 0.0),
    Fault("hold", "Hold", "Kept back until you let them go", "hold", True, False),
    Fault("unread", "Never read", "Customers leave messages unread", "auto_read", False, True),
)


@dataclass(frozen=True, slots=True)
class Bubble:
    """One message on the customer's screen, with its files."""

    message: Message
    files: list[Media]

    @property
    def arrived(self) -> bool:
        return self.message.direction == "inbound" or self.message.status in ("delivered", "read")

    @property
    def failed(self) -> bool:
        return self.message.status in ("failed", "undelivered")

    @property
    def reason(self) -> str:
        return rules.error_text(self.message.error_code) or "unknown reason"


class Phone:
    """Renders the page and its parts, and takes its forms; every form works without JavaScript."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._pages = Environment(
            loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._pages.filters["clock"] = lambda at: time.strftime("%H:%M", time.localtime(at))
        self._pages.filters["until"] = _until
        self._pages.filters["number"] = rules.bare
        self._forms: dict[str, Callable[[dict[str, str]], None]] = {
            "/phone/answer": self._answer_office,
            "/phone/block": self._block,
            "/phone/read": lambda form: simulator.mark_read(form.get("sid", "")),
            "/phone/fault": self._press,
        }

    def answer(self, request: Request) -> Response:
        name = request.path.removeprefix("/")
        if request.method == "POST":
            return self._take_form(request)
        if request.method != "GET":
            return _text(405, "Method not allowed")
        if name in _ASSETS:
            return Response(200, (_HERE / name).read_bytes(), f"{_ASSETS[name]}; charset=utf-8", _SAFETY)
        if name.startswith("phone/media/"):
            return self._file(name.removeprefix("phone/media/"))
        template = {"": "phone.html", "phone/list": "phone_list.html", "phone/chat": "phone_chat.html",
                    "phone/trouble": "phone_trouble.html"}.get(name)  # fmt: skip
        if template is None:
            return _text(404, "There is no such page on the simulator. Try /")
        return self._page(template, request.query.get("with", ""))

    def _page(self, template: str, chosen: str) -> Response:
        simulator = self._simulator
        conversations = simulator.ledger.conversations(limit=MAX_CONVERSATIONS)
        contact = simulator.contact(chosen) if chosen else None
        html = self._pages.get_template(template).render(
            conversations=conversations,
            chosen=contact.address if contact else None,
            contact=contact,
            window_open=bool(contact and contact.window_is_open(time.time())),
            window_ends=(contact.last_inbound_at or 0.0) + rules.WINDOW_S if contact else 0.0,
            bubbles=self._bubbles(contact.address) if contact else [],
            faults=[(fault, getattr(simulator.settings, fault.setting) == fault.on) for fault in FAULTS],
            held=simulator.held(),
            reports=simulator.callbacks(limit=MAX_REPORTS)[::-1],
            magic=rules.MAGIC,
            query=urlencode({"with": chosen}) if chosen else "",
        )
        return Response(200, html.encode(), "text/html; charset=utf-8", _SAFETY)

    def _bubbles(self, customer: str) -> list[Bubble]:
        ledger = self._simulator.ledger
        messages = ledger.page(["customer = :customer"], {"customer": customer}, limit=MAX_BUBBLES)
        return [
            Bubble(message, ledger.media_of(message.sid) if message.media_urls else []) for message in messages[::-1]
        ]

    def _file(self, sid: str) -> Response:
        media = self._simulator.ledger.find_media(sid)
        if media is None:
            return _text(404, "There is no such file")
        shown = media.content_type in _SHOWN_INLINE
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": "inline" if shown else "attachment",
            "Cache-Control": "no-store",
        }
        return Response(200, media.content, media.content_type, headers)

    def _take_form(self, request: Request) -> Response:
        act = self._forms.get(request.path)
        if act is None:
            return _text(404, "There is no such form on the simulator")
        form = {name: values[-1] for name, values in request.form.items()}
        try:
            act(form)
        except (KeyError, ValueError) as wrong:
            return _text(400, f"That did not work: {wrong.args[0]}")
        chosen = form.get("with", "")
        return Response(303, headers={"Location": f"/?{urlencode({'with': chosen})}" if chosen else "/"})

    def _answer_office(self, form: dict[str, str]) -> None:
        number, body = form.get("with", "").replace(" ", ""), form.get("body", "").strip()
        if not rules.is_address(number):
            raise ValueError("a number is written like +447700900500")
        if body:
            self._simulator.receive(number, body[: rules.MAX_BODY_CHARACTERS])

    def _block(self, form: dict[str, str]) -> None:
        act = self._simulator.block if form.get("blocked") == "1" else self._simulator.unblock
        act(form.get("with", ""))

    def _press(self, form: dict[str, str]) -> None:
        for fault in FAULTS:
            if fault.name == form.get("fault"):
                on = form.get("on") == "1"
                self._simulator.settings.update({fault.setting: fault.on if on else fault.off})
                if not self._simulator.settings.hold:
                    self._simulator.release()


def _until(at: float) -> str:
    """A time of today or tomorrow, in the machine's zone."""
    clock, ends = time.strftime("%H:%M", time.localtime(at)), time.localtime(at).tm_yday
    return clock if ends == time.localtime().tm_yday else f"{clock} tomorrow"


def _text(status: int, words: str) -> Response:
    return Response(status, f"{words}\n".encode(), "text/plain; charset=utf-8", _SAFETY)
