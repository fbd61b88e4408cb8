"""Which webhooks are made, when, and how often: Twilio's habits, bent as the settings and magic numbers say."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.callbacks import Outcome, Sender, status_params
from whatsapp_logs.twilio.simulator.database import Database
from whatsapp_logs.twilio.simulator.ledger import Message
from whatsapp_logs.twilio.simulator.queue import Callback, Queue, Timer
from whatsapp_logs.twilio.simulator.settings import Settings

REORDER_SPAN_S = 6.0  # longer than the way from sent to read, so that any order can come out


class Reporter:
    """Queues callbacks, hands the due ones to the sender threads and keeps what became of them."""

    def __init__(
        self, account_sid: str, auth_token: str, *, database: Database, settings: Settings, seed: int | None,
        pace: Callable[[], float], set_timer: Callable[[float, str, str], None], answered: Callable[[Callback, bytes], None],
    ) -> None:  # fmt: skip
        self._account_sid, self._database, self._settings = account_sid, database, settings
        self._queue = Queue(database)
        self._random = random.Random(seed)  # noqa: S311 - chance, no secret
        self._set_timer, self._answered = set_timer, answered
        self._sender = Sender(auth_token, attempted=self._record_attempt, done=self._finish, pace=pace)

    def stop(self) -> None:
        self._sender.stop()

    def report(self, message: Message) -> None:
        """Queue the callback for the status a message has just reached, unless Twilio is silent about it."""
        status = message.status
        if not message.status_callback or status in rules.SILENT or (status == "queued" and not message.service_sid):
            return
        params = status_params(self._account_sid, message, status)
        magic, token = rules.magic_for(message.to), secrets.token_hex(16)
        if magic.callbacks == "lost" or self._happens(self._settings.drop_rate):
            dropped = self._queue.add_callback("status", message.sid, status, message.status_callback, params,
                                               token, "dropped")  # fmt: skip
            self._queue.add_attempt(dropped, 0, at=time.time(), answer=None, problem="dropped on purpose")
        elif magic.callbacks == "doubled and reversed":
            self._stash(message, params, token)
        else:
            wait_s = self._random.uniform(*self._settings.delay_s)
            if self._happens(self._settings.reorder_rate):
                wait_s += self._random.uniform(0.0, REORDER_SPAN_S)
            for _ in range(2 if self._happens(self._settings.double_rate) else 1):
                self._put("status", message.sid, status, message.status_callback, params, token, wait_s)

    def report_inbound(self, message: Message, url: str, params: dict[str, str]) -> None:
        """Queue the webhook that tells the account what a customer wrote."""
        self._put("inbound", message.sid, "received", url, params, secrets.token_hex(16), 0.0)

    def send(self, timer: Timer) -> None:
        """A callback is due: hand it to its sender thread, or hold it back."""
        callback = self._queue.find_callback(int(timer.ref))
        if callback is None or callback.state != "pending":
            self._queue.remove_timer(timer.id)
        elif self._settings.hold and callback.kind == "status":
            self._queue.set_state(callback.id, "held")
            self._queue.remove_timer(timer.id)
        else:
            self._sender.send(callback)  # the timer stays until it is done: a killed simulator sends it again

    def release(self) -> int:
        """Let go of every callback that was held back; returns how many."""
        with self._database.transaction():
            held = self._queue.callbacks_in("held")
            for callback in held:
                self._queue.set_state(callback.id, "pending")
                self._set_timer(0.0, "callback", str(callback.id))
        return len(held)

    def _stash(self, message: Message, params: dict[str, str], token: str) -> None:
        """Keep callbacks until the message's last one, then send all of them backwards, each twice."""
        url = message.status_callback or ""
        self._queue.add_callback("status", message.sid, message.status, url, params, token, "stashed")
        if message.steps:
            return
        for stashed in reversed(self._queue.callbacks_in("stashed", message_sid=message.sid)):
            self._queue.set_state(stashed.id, "done")
            for _ in range(2):
                self._put("status", stashed.message_sid, stashed.status, url, stashed.params, stashed.token, 0.0)

    def _put(
        self, kind: str, sid: str, status: str, url: str, params: dict[str, str], token: str, wait_s: float
    ) -> None:
        callback_id = self._queue.add_callback(kind, sid, status, url, params, token, "pending")
        self._set_timer(wait_s, "callback", str(callback_id))

    def _record_attempt(self, callback: Callback, attempt: int, outcome: Outcome) -> None:
        with self._database.changed:
            if not self._database.closed:
                self._queue.add_attempt(
                    callback.id, attempt, at=time.time(), answer=outcome.answer, problem=outcome.problem
                )

    def _finish(self, callback: Callback, outcome: Outcome) -> None:
        with self._database.changed:
            if self._database.closed:  # stopped while a slow receiver was thinking
                return
            with self._database.transaction():
                self._queue.set_state(callback.id, "done")
                self._queue.remove_callback_timer(callback.id)
                if callback.kind == "inbound" and outcome.answer == 200:
                    self._answered(callback, outcome.body)

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate
