"""A Twilio that lives on this machine: its wire, its WhatsApp rules, its signed callbacks, and nothing leaves.

    with Simulator(account_sid, auth_token, pace=0.05) as twilio:
        client.api.base_url = twilio.base_url       # the official SDK; only the address differs
        client.messages.create(...)
        twilio.wait_idle()
        twilio.messages()

Magic recipients are in `rules.MAGIC`, faults in `Settings`, the templates that are
there from the start in `templates.TEMPLATES`, the reviewers' magic words in `approval`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from whatsapp_logs.twilio.simulator import rules, wire
from whatsapp_logs.twilio.simulator.api import Api
from whatsapp_logs.twilio.simulator.contacts import Contact
from whatsapp_logs.twilio.simulator.contents import Content
from whatsapp_logs.twilio.simulator.control import Control, is_from_here
from whatsapp_logs.twilio.simulator.database import Database
from whatsapp_logs.twilio.simulator.inbound import Button, File, ListItem, Location, Writing
from whatsapp_logs.twilio.simulator.ledger import Ledger, Media, Message
from whatsapp_logs.twilio.simulator.network import Network
from whatsapp_logs.twilio.simulator.phone import Phone
from whatsapp_logs.twilio.simulator.queue import Attempt
from whatsapp_logs.twilio.simulator.rules import MAGIC, Magic
from whatsapp_logs.twilio.simulator.server import HttpServer
from whatsapp_logs.twilio.simulator.settings import Settings
from whatsapp_logs.twilio.simulator.templates import (
    GENERAL_NOTICE,
    POLICY_DOCUMENT,
    POLICY_DOCUMENT_BY_PATH,
    RENEWAL_REMINDER,
    RENEWAL_REMINDER_DOCUMENT,
    TEMPLATES,
    Choice,
)
from whatsapp_logs.twilio.simulator.wire import Request, Response

__all__ = [
    "DEFAULT_SENDER",
    "GENERAL_NOTICE",
    "MAGIC",
    "POLICY_DOCUMENT",
    "POLICY_DOCUMENT_BY_PATH",
    "RENEWAL_REMINDER",
    "RENEWAL_REMINDER_DOCUMENT",
    "TEMPLATES",
    "Attempt",
    "Button",
    "Choice",
    "Contact",
    "Content",
    "File",
    "ListItem",
    "Location",
    "Magic",
    "Media",
    "Message",
    "Settings",
    "Simulator",
    "Writing",
]

DEFAULT_SENDER = "whatsapp:+15550100100"


class Simulator:
    """One simulated Twilio account with one WhatsApp sender.

    `state` is the path of a SQLite file, or ":memory:"; with a file, messages and everything still to happen survive
    kill -9 of the process. `pace` multiplies every delay (0 = at once). `whatsapp_from`: when given, WhatsApp
    messages from any other sender are refused with 63007. `seed` makes the random faults repeatable.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        state: str = ":memory:",
        pace: float = 1.0,
        seed: int | None = None,
        whatsapp_from: str | None = None,
    ) -> None:
        self.settings = Settings()
        self._host, self._port = host, port
        self._database = Database(state)
        self._network = Network(
            account_sid, auth_token, database=self._database, settings=self.settings, pace=pace,
            default_sender=whatsapp_from or DEFAULT_SENDER, base_url=lambda: self.base_url, seed=seed,
        )  # fmt: skip
        self._api = Api(self._network, auth_token, whatsapp_from=whatsapp_from, seed=seed)
        self._control, self._phone = Control(self), Phone(self)
        self._http: HttpServer | None = None

    def start(self) -> Self:
        """Answer requests and go on with what the last process left; returns itself."""
        self.come_back()  # first: when the port is taken, another process may still be at work on the same state
        self._network.start()
        return self

    def stop(self) -> None:
        """Close every connection and stop; what was still to happen is in the state file."""
        self.go_away()
        self._network.stop()
        self._database.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """The address to give to the SDK, without a slash at the end."""
        return f"http://{self._host}:{self._port}"

    @property
    def pace(self) -> float:
        return self._network.pace

    @pace.setter
    def pace(self, pace: float) -> None:
        self._network.pace = pace

    @property
    def ledger(self) -> Ledger:
        return self._network.ledger

    # -- outages -----------------------------------------------------------------------------------

    def go_away(self) -> None:
        """Refuse connections until `come_back`; messages move on and callbacks are sent all the same."""
        if self._http:
            self._http.stop()
            self._http = None

    def come_back(self) -> None:
        """Listen, on the same port as before."""
        if self._http is None:
            self._http = HttpServer(self._host, self._port, self._answer, hang_s=lambda: self.settings.hang_s)
            self._port = self._http.port
            self._http.start()

    # -- what Twilio knows -------------------------------------------------------------------------

    def messages(self) -> list[Message]:
        """Every message, oldest first."""
        return self.ledger.all()

    def message(self, sid: str) -> Message:
        """One message; KeyError when there is none."""
        found = self.ledger.find(sid)
        if found is None:
            raise KeyError(sid)
        return found

    def media(self, sid: str) -> list[Media]:
        """The files fetched for a message, with their bytes."""
        found = (self.ledger.find_media(item.sid) for item in self.ledger.media_of(sid))
        return [item for item in found if item]

    def callbacks(self, *, limit: int | None = None) -> list[Attempt]:
        """Every attempt at a webhook (the newest `limit`), oldest first; dropped ones are there with attempt 0."""
        return self._network.queue.attempts(limit=limit)

    # -- playing the customer ----------------------------------------------------------------------

    def receive(self, customer: str, body: str | Writing, *, name: str = "Asha Example") -> str:
        """The customer writes to the account's sender; returns the SID of the inbound message.

        `customer` is a number, or a user id without one (`GB.…`). A `Writing` in place of a text can have files, a
        pressed button, a chosen line of a list, a place, and be a reply; ValueError when a file is too big.
        """
        return self.receive_together([(customer, Writing(body, name) if isinstance(body, str) else body)])[0]

    def receive_together(self, writings: Sequence[tuple[str, Writing]]) -> list[str]:
        """Several messages, of one customer or many, in the same instant: their webhooks come at the same time."""
        for _, written in writings:
            if any(len(file.content) > rules.MAX_MEDIA_BYTES for file in written.files):
                raise ValueError("WhatsApp takes no file over 16 MB")
        return self._network.receive([(_address(customer), written) for customer, written in writings])

    def press(self, sid: str, choice_id: str, *, name: str = "Asha Example") -> str:
        """The customer presses a button, or chooses a line, of a message that has arrived; returns the answer's SID."""
        message = self.message(sid)
        choice = next(
            (item for item in message.choices if item.id == choice_id and item.kind in ("reply", "list")), None
        )
        if choice is None or message.status not in ("delivered", "read"):
            raise ValueError("only a button or line of a message that has arrived can be pressed")
        if choice.kind == "list":
            line = ListItem(choice.id, choice.title, choice.description)
            return self.receive(message.customer, Writing(name=name, item=line, reply_to=sid))
        content = self._network.contents.find(message.content_sid or "")
        button = Button(choice.title, choice.id, of_template=bool(content and content.status == "approved"))
        return self.receive(message.customer, Writing(name=name, button=button, reply_to=sid))

    def block(self, customer: str) -> None:
        """The customer blocks the sender: messages stay at sent."""
        self._network.contacts.block(_address(customer), True)

    def unblock(self, customer: str) -> None:
        self._network.contacts.block(_address(customer), False)

    def mark_read(self, sid: str) -> None:
        """The customer reads a message that has been delivered; ValueError when it has not."""
        if self.message(sid).status != "delivered":
            raise ValueError("only a delivered message can be read")
        self._network.end_by_hand(sid, "read")

    def contact(self, customer: str) -> Contact:
        """What is known of a customer: window, opt-out, block."""
        return self._network.contacts.find(_address(customer))

    # -- playing WhatsApp's reviewers ----------------------------------------------------------------

    def templates(self) -> list[Content]:
        """Every content template with its approval, newest first."""
        return self._network.contents.page(before=None, limit=1_000_000)

    def template(self, sid: str) -> Content:
        """One content template; KeyError when there is none."""
        found = self._network.contents.find(sid)
        if found is None:
            raise KeyError(sid)
        return found

    def approve_template(self, sid: str, *, category: str | None = None) -> None:
        """WhatsApp takes the template, perhaps under another category, whatever the rules say."""
        self._network.decide(sid, "approved", category=category)

    def reject_template(self, sid: str, reason: str) -> None:
        self._network.decide(sid, "rejected", reason=reason)

    def pause_template(self, sid: str) -> None:
        """Customers complained: messages with it fail with 63041 until it is unpaused."""
        self._network.decide(sid, "paused")

    def unpause_template(self, sid: str) -> None:
        self._network.decide(sid, "approved")

    def disable_template(self, sid: str) -> None:
        """For good: messages with it fail with 63042."""
        self._network.decide(sid, "disabled")

    def wait_for_template(self, sid: str, status: str, *, timeout_s: float = 60.0) -> Content:
        """Wait until a template has a status; TimeoutError says what it has instead."""
        if not self._wait(lambda: self.template(sid).status == status, timeout_s):
            raise TimeoutError(f"{sid} is {self.template(sid).status}, not {status}, after {timeout_s} s")
        return self.template(sid)

    # -- callbacks by hand -------------------------------------------------------------------------

    def hold(self) -> None:
        """Keep status callbacks back from now on."""
        self.settings.hold = True

    def held(self) -> int:
        """How many callbacks are kept back."""
        return self._network.queue.count_held()

    def release(self) -> int:
        """Send what was held back, and hold no longer; returns how many there were."""
        self.settings.hold = False
        return self._network.reporter.release()

    # -- waiting -----------------------------------------------------------------------------------

    def wait_for(self, sid: str, status: str, *, timeout_s: float = 60.0) -> Message:
        """Wait until a message has a status; TimeoutError says what it has instead."""
        if not self._wait(lambda: self.message(sid).status == status, timeout_s):
            raise TimeoutError(f"{sid} is {self.message(sid).status}, not {status}, after {timeout_s} s")
        return self.message(sid)

    def wait_idle(self, *, timeout_s: float = 60.0) -> None:
        """Wait until nothing is under way: every step taken, every callback answered, given up, held or dropped."""
        if not self._wait(self._network.queue.is_idle, timeout_s):
            raise TimeoutError(f"messages or callbacks are still under way after {timeout_s} s")

    def _answer(self, request: Request) -> Response:
        """Twilio's own addresses, or the simulator's, which only this machine's own pages and programs may use."""
        if request.path.startswith((f"/{rules.API_VERSION}/", "/v1/", "/media-cdn/")):
            return self._api.answer(request)
        if not is_from_here(request):
            return wire.answer({"error": "only this machine may play with the phone"}, status=403)
        if request.path.startswith("/_simulator/"):
            return self._control.answer(request)
        return self._phone.answer(request)

    def _wait(self, met: Callable[[], bool], timeout_s: float) -> bool:
        give_up_at = time.monotonic() + timeout_s
        with self._database.changed:
            while not met():
                left_s = give_up_at - time.monotonic()
                if left_s <= 0:
                    return False
                self._database.changed.wait(left_s)
            return True


def _address(customer: str) -> str:
    """A bare number means WhatsApp."""
    return customer if rules.is_whatsapp(customer) else f"whatsapp:{customer}"
