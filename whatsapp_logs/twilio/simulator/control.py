"""`/_simulator/…`: what tests, the fault bench and the phone page use beside Twilio's own wire.

GET  /_simulator/messages          every message, oldest first
GET  /_simulator/callbacks         every attempt at a webhook, oldest first
GET  /_simulator/settings          the faults in force;  POST {name: value, …} changes some
POST /_simulator/inbound           {from, body, name?}   a customer writes
POST /_simulator/block             {number, blocked?}    a customer blocks (or unblocks) the sender
POST /_simulator/read              {sid}                 a customer reads a delivered message
POST /_simulator/release           send the callbacks that were held, hold no longer
GET  /_simulator/templates         every content template with its approval, newest first
POST /_simulator/templates         {sid, decision, reason?, category?}   decision: approve, reject, pause, unpause, disable
POST /_simulator/away              {seconds}             connections are refused for a while
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from whatsapp_logs.twilio.simulator import rules, wire
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
        customer = _number(values["from"])
        return {"sid": self._simulator.receive(customer, str(values["body"]), name=str(values.get("name", "Customer")))}

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


def _number(value: object) -> str:
    address = str(value).replace(" ", "")
    if not rules.is_address(address):
        raise ValueError("the number is written as +447700900500")
    return address
