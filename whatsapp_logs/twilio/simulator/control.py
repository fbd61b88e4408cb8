"""`/_simulator/…`: what tests, the fault bench and the phone page use beside Twilio's own wire.

GET  /_simulator/messages          every message, oldest first
GET  /_simulator/callbacks         every attempt at a webhook, oldest first
GET  /_simulator/settings          the faults in force;  POST {name: value, …} changes some
POST /_simulator/inbound           a customer writes: {from, body?, name?, media?: [{content_type, base64}], reply_to?, user_id?,
                                   button?: {text, payload?, kind?}, item?: {id, title, description?},
                                   location?: {latitude, longitude, label?, address?}}, or several at once: {messages: […]}
POST /_simulator/press             {sid, choice}         a customer presses a button, or chooses a line, of a message
POST /_simulator/block             {number, blocked?}    a customer blocks (or unblocks) the sender
POST /_simulator/read              {sid}                 a customer reads a delivered message
POST /_simulator/release           send the callbacks that were held, hold no longer
GET  /_simulator/templates         every content template with its approval, newest first
POST /_simulator/templates         {sid, decision, reason?, category?}   decision: approve, reject, pause, unpause, disable
POST /_simulator/away              {seconds}             connections are refused for a while
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from whatsapp_logs.twilio.simulator import rules, wire
from whatsapp_logs.twilio.simulator.inbound import Button, File, ListItem, Location, Writing
from whatsapp_logs.twilio.simulator.wire import Request, Response

if TYPE_CHECKING:
    from whatsapp_logs.twilio.simulator import Simulator

ANSWER_FIRST_S = 0.05  # so that the caller of /away still gets its answer

Values = dict[str, Any]


class Control:
    """Answers the control addresses; a wrong request is told what is wrong with 400."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._routes: dict[tuple[str, str], Callable[[Values], object]] = {
            ("GET", "messages"): lambda _: [asdict(message) for message in simulator.messages()],
            ("GET", "callbacks"): lambda _: [asdict(attempt) for attempt in simulator.callbacks()],
            ("GET", "settings"): lambda _: simulator.settings.as_json(),
            ("POST", "settings"): self._change_settings,
            ("POST", "inbound"): self._receive,
            ("POST", "press"): lambda values: {"sid": simulator.press(str(values["sid"]), str(values["choice"]))},
            ("POST", "block"): self._block,
            ("POST", "read"): self._read,
            ("POST", "release"): lambda _: {"released": simulator.release()},
            ("GET", "templates"): lambda _: [asdict(content) for content in simulator.templates()],
            ("POST", "templates"): self._decide,
            ("POST", "away"): self._go_away,
        }

    def answer(self, request: Request) -> Response:
        route = self._routes.get((request.method, request.path.removeprefix("/_simulator/")))
        if route is None:
            return wire.answer({"error": f"no {request.method} {request.path}"}, status=404)
        try:
            values = json.loads(request.body) if request.body else {}
            if not isinstance(values, dict):
                raise ValueError("the body is a JSON object")
            return wire.answer(route(values))
        except KeyError as missing:
            return wire.answer({"error": f"{missing.args[0]} is missing or unknown"}, status=400)
        except ValueError as wrong:
            return wire.answer({"error": str(wrong)}, status=400)

    def _change_settings(self, values: Values) -> object:
        self._simulator.settings.update(values)
        if not self._simulator.settings.hold:
            self._simulator.release()
        return self._simulator.settings.as_json()

    def _receive(self, values: Values) -> object:
        if "messages" in values:
            return {"sids": self._simulator.receive_together([_writing(message) for message in values["messages"]])}
        return {"sid": self._simulator.receive(*_writing(values))}

    def _block(self, values: Values) -> object:
        number, blocked = _number(values["number"]), bool(values.get("blocked", True))
        (self._simulator.block if blocked else self._simulator.unblock)(number)
        return {"number": number, "blocked": blocked}

    def _read(self, values: Values) -> object:
        self._simulator.mark_read(str(values["sid"]))
        return {"sid": values["sid"], "status": "read"}

    def _decide(self, values: Values) -> object:
        sid, decision, simulator = str(values["sid"]), values["decision"], self._simulator
        category = str(values["category"]) if values.get("category") else None
        decisions: dict[object, Callable[[], None]] = {
            "approve": lambda: simulator.approve_template(sid, category=category),
            "reject": lambda: simulator.reject_template(sid, str(values["reason"])),
            "pause": lambda: simulator.pause_template(sid),
            "unpause": lambda: simulator.unpause_template(sid),
            "disable": lambda: simulator.disable_template(sid),
        }
        if decision not in decisions:
            raise ValueError(f"decision is one of {', '.join(map(str, decisions))}")
        decisions[decision]()
        return asdict(simulator.template(sid))

    def _go_away(self, values: Values) -> object:
        seconds = float(values["seconds"])
        for wait_s, act in (
            (ANSWER_FIRST_S, self._simulator.go_away),
            (ANSWER_FIRST_S + seconds, self._simulator.come_back),
        ):
            timer = threading.Timer(wait_s, act)
            timer.daemon = True
            timer.start()
        return {"away_s": seconds}


def is_from_here(request: Request) -> bool:
    """Whether a request may change something: no web page of another site may play with the phone.

    The Host must be this machine (a name that an attacker's DNS points here is refused), and a browser's request
    must come from our own page.
    """
    host = request.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name not in ("127.0.0.1", "localhost", "[::1]"):
        return False
    if request.method == "GET":
        return True
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and origin in (None, f"http://{host}")


def _writing(values: Values) -> tuple[str, Writing]:
    """Who writes, and what; ValueError or KeyError when it cannot be read."""
    try:
        written = Writing(
            str(values.get("body") or ""), str(values.get("name") or "Customer"),
            [File(str(file["content_type"]), base64.b64decode(file["base64"])) for file in values.get("media") or ()],
            Button(**values["button"]) if values.get("button") else None,
            ListItem(**values["item"]) if values.get("item") else None,
            Location(**values["location"]) if values.get("location") else None,
            values.get("reply_to"), values.get("user_id"),
        )  # fmt: skip
    except TypeError as wrong:
        raise ValueError(f"the message cannot be read: {wrong}") from wrong
    if not (written.words or written.files or written.location):
        raise ValueError("a message has a body, media, a button, an item or a location")
    return _number(values["from"]), written


def _number(value: object) -> str:
    address = str(value).replace(" ", "")
    if rules.is_address(f"whatsapp:{address}"):
        address = f"whatsapp:{address}"
    if not rules.is_address(address):
        raise ValueError("the number is written as +447700900500")
    return address
