"""The page `GET /`: the customers' phones, to see what arrived, answer, block, and make trouble for the callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as Headers
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.inbound import File, Writing
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
    "Referrer-Policy": "same-origin",  # with no-referrer a browser without script says that its form comes from "null"
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
    def has_list(self) -> bool:
        return any(choice.kind == "list" for choice in self.message.choices)

    @property
    def failed(self) -> bool:
        return self.message.status in ("failed", "undelivered")

    @property
    def reason(self) -> str:
        return rules.error_text(self.message.error_code) or "unknown reason"


class Form(dict[str, str]):
    """The fields of a form, and the files that came with it."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(fields or {})
        self.files: list[File] = []


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
        self._forms: dict[str, Callable[[Form], None]] = {
            "/phone/answer": self._answer_office,
            "/phone/press": self._press_choice,
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
        form = _read_form(request)
        try:
            act(form)
        except (KeyError, ValueError) as wrong:
            return _text(400, f"That did not work: {wrong.args[0]}")
        chosen = form.get("with", "")
        return Response(303, headers={"Location": f"/?{urlencode({'with': chosen})}" if chosen else "/"})

    def _answer_office(self, form: Form) -> None:
        number, body = form.get("with", "").replace(" ", ""), form.get("body", "").strip()
        if not rules.is_address(number):
            raise ValueError("a number is written like +447700900500")
        if body or form.files:
            self._simulator.receive(number, Writing(body[: rules.MAX_BODY_CHARACTERS], files=form.files))

    def _press_choice(self, form: Form) -> None:
        self._simulator.press(form.get("sid", ""), form.get("choice", ""))

    def _block(self, form: Form) -> None:
        act = self._simulator.block if form.get("blocked") == "1" else self._simulator.unblock
        act(form.get("with", ""))

    def _press(self, form: Form) -> None:
        for fault in FAULTS:
            if fault.name == form.get("fault"):
                on = form.get("on") == "1"
                self._simulator.settings.update({fault.setting: fault.on if on else fault.off})
                if not self._simulator.settings.hold:
                    self._simulator.release()


def _read_form(request: Request) -> Form:
    """The fields and files of a form, as a browser sends either kind; the last value of a name counts."""
    kind = Headers()
    kind["Content-Type"] = request.headers.get("content-type", "")
    boundary = kind.get_boundary()
    if kind.get_content_type() != "multipart/form-data" or not boundary:
        return Form({name: values[-1] for name, values in request.form.items()})
    form = Form()
    for part in request.body.split(b"--" + boundary.encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        fields = message_from_bytes(head + b"\r\n\r\n")
        name = str(fields.get_param("name", header="content-disposition"))
        if fields.get_filename() is None:
            form[name] = content.decode("utf-8", "replace")
        elif content:
            form.files.append(File(fields.get_content_type(), content))
    return form


def _until(at: float) -> str:
    """A time of today or tomorrow, in the machine's zone."""
    clock, ends = time.strftime("%H:%M", time.localtime(at)), time.localtime(at).tm_yday
    return clock if ends == time.localtime().tm_yday else f"{clock} tomorrow"


def _text(status: int, words: str) -> Response:
    return Response(status, f"{words}\n".encode(), "text/plain; charset=utf-8", _SAFETY)
