"""The phone network: what happens to a message after Twilio has accepted it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from whatsapp_logs.twilio.simulator import approval, inbound, media, rules
from whatsapp_logs.twilio.simulator.callbacks import SENDER_THREADS, lane_of
from whatsapp_logs.twilio.simulator.contacts import Contacts
from whatsapp_logs.twilio.simulator.contents import NAME_BLOCKED_S, Contents
from whatsapp_logs.twilio.simulator.database import Database
from whatsapp_logs.twilio.simulator.inbound import Writing
from whatsapp_logs.twilio.simulator.ledger import Ledger, Media, Message, new_sid
from whatsapp_logs.twilio.simulator.limits import Limits
from whatsapp_logs.twilio.simulator.queue import Callback, Queue, Timer
from whatsapp_logs.twilio.simulator.reporter import Reporter
from whatsapp_logs.twilio.simulator.scheduler import Scheduler
from whatsapp_logs.twilio.simulator.settings import Settings

logger = logging.getLogger(__name__)

FETCH_THREADS = 8


class Network:
    """Moves messages along their steps; all its state is in the database."""

    def __init__(
        self, account_sid: str, auth_token: str, *, database: Database, settings: Settings, pace: float,
        default_sender: str, base_url: Callable[[], str], seed: int | None,
    ) -> None:  # fmt: skip
        self.account_sid, self.default_sender, self._base_url = account_sid, default_sender, base_url
        self.settings, self.pace, self.database = settings, pace, database
        self.ledger, self.contacts, self.queue = Ledger(database), Contacts(database), Queue(database)
        self.contents, self._limits = Contents(database), Limits(database)
        self.reporter = Reporter(
            account_sid, auth_token, database=database, settings=settings, seed=seed,
            pace=lambda: self.pace, set_timer=self._set_timer, answered=self._take_reply,
        )  # fmt: skip
        self._scheduler = Scheduler(self._take)
        self._fetchers = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="simulator-media")
        self._takers = {
            "step": self._take_step,
            "send_at": self._take_step,
            "depart": self._depart,
            "price": self._set_price,
            "review": self._review,
            "callback": self.reporter.send,
        }

    def start(self) -> None:
        """Go on where the last process was stopped or killed."""
        self._scheduler.start(self.queue.timers())
        self.reporter.release()

    def stop(self) -> None:
        self._scheduler.stop()
        self._fetchers.shutdown(wait=True, cancel_futures=True)
        self.reporter.stop()

    def accept(self, message: Message) -> None:
        """Take a message into the ledger and set it on its way."""
        with self.database.transaction():
            self.ledger.add(message)
            if message.send_at:
                self._set_timer(message.send_at - message.created_at, "send_at", message.sid)
            else:
                wait_s = self._wait_for_turn_s(message) if message.status == "queued" else 0.0
                self._set_timer(message.steps[0].after_s, "step", message.sid, wait_s=wait_s)

    def is_full(self, message: Message) -> bool:
        """Whether more messages wait at the sender than the settings allow."""
        per_s, limit = self.settings.messages_per_s, self.settings.queue_limit
        if not per_s or limit is None:
            return False
        return self._limits.waiting(self._sender_of(message), per_s=per_s, now=time.time()) >= limit

    def end_by_hand(self, sid: str, status: str) -> None:
        """Give a message its last status now: read by the customer, or canceled by the account."""
        with self.database.transaction():
            self.queue.remove_timers_of(sid)
            self._move(sid, status=status, steps=())

    def receive(self, writings: Sequence[tuple[str, Writing]]) -> list[str]:
        """Take what customers write, all in the same instant: windows open, STOP and START count, webhooks are called.

        Each message's webhook has a thread of its own (up to callbacks.SENDER_THREADS), as Twilio's have.
        """
        now, sids = time.time(), []
        with self.database.transaction():
            for n, (customer, written) in enumerate(writings):
                sids.append(self._take_in(customer, written, lane=n if len(writings) > 1 else None, now=now))
        return sids

    def _take_in(self, customer: str, written: Writing, *, lane: int | None, now: float) -> str:
        sid = new_sid("MM" if written.files else "SM")
        while lane is not None and lane_of(sid) != lane % SENDER_THREADS:
            sid = new_sid(sid[:2])
        media_sids = [new_sid("ME") for _ in written.files]
        root = f"{self._base_url()}/{rules.API_VERSION}/Accounts/{self.account_sid}/Messages/{sid}/Media"
        urls = tuple(f"{root}/{media_sid}" for media_sid in media_sids)
        message = inbound.message(customer, self._sender_to(customer), written, sid=sid, media_urls=urls, now=now)
        self.ledger.add(message)
        for media_sid, url, file in zip(media_sids, urls, written.files, strict=True):
            self.ledger.add_media(Media(media_sid, sid, url, file.content_type, now, file.content))
        self.contacts.hear_from(customer, name=written.name, now=now)
        kind = rules.opt_out_type(message.body)
        if kind in ("STOP", "START") and (self.settings.stop_opts_out or self.settings.advanced_opt_out):
            self.contacts.opt_out(customer, kind == "STOP")
        if self.settings.inbound_url:
            replied_to = self.ledger.find(written.reply_to) if written.reply_to else None
            params = inbound.params(
                self.account_sid, message, written, replied_to=replied_to, opt_out=self.settings.advanced_opt_out
            )
            self.reporter.report_inbound(message, self.settings.inbound_url, params)
        return sid

    # -- WhatsApp's review of templates --------------------------------------------------------------

    def submit(self, sid: str, *, name: str, category: str, allow_category_change: bool) -> None:
        """Hand a template to WhatsApp: received, soon pending, then decided by `approval.review`."""
        with self.database.transaction():
            self.contents.change(
                sid, name=name, category=category, allow_category_change=int(allow_category_change), status="received",
                updated_at=time.time(),
            )  # fmt: skip
            self._set_timer(approval.PENDING_AFTER_S, "review", sid)

    def decide(self, sid: str, status: str, *, category: str | None = None, reason: str = "") -> None:
        """What WhatsApp says to a template from now on; KeyError when there is none. A rejection blocks its name."""
        with self.database.transaction():
            content = self.contents.find(sid)
            if content is None:
                raise KeyError(sid)
            now = time.time()
            self.contents.change(
                sid, status=status, category=category or content.category or "UTILITY",
                name=content.name or content.friendly_name, rejection_reason=reason, updated_at=now,
            )  # fmt: skip
            if status == "rejected":
                self.contents.block_name(content.name or content.friendly_name, until=now + NAME_BLOCKED_S)

    def _review(self, timer: Timer) -> None:
        self.queue.remove_timer(timer.id)
        content = self.contents.find(timer.ref)
        if content is None:
            return
        if content.status == "received":
            self.contents.change(content.sid, status="pending", updated_at=time.time())
            if not self.settings.review_by_hand:
                self._set_timer(approval.DECIDED_AFTER_S, "review", content.sid)
        elif content.status == "pending":
            verdict = approval.review(content)
            self.decide(content.sid, verdict.status, category=verdict.category, reason=verdict.reason)

    # -- the way of a message --------------------------------------------------------------------------

    def _set_timer(self, after_s: float, kind: str, ref: str, *, wait_s: float = 0.0) -> None:
        """`after_s` goes at the pace, `wait_s` is real time."""
        self._scheduler.add(self.queue.add_timer(time.time() + after_s * self.pace + wait_s, kind, ref))

    def _wait_for_turn_s(self, message: Message) -> float:
        per_s = self.settings.messages_per_s
        return self._limits.wait_s(self._sender_of(message), per_s=per_s, now=time.time()) if per_s else 0.0

    def _sender_of(self, message: Message) -> str:
        return message.from_ or self._sender_to(message.to)

    def _take(self, timers: Sequence[Timer]) -> None:
        with self.database.transaction():
            for timer in timers:
                # Removed timers stay in the heap: what is not in the database any more is not due any more.
                if not self.queue.has_timer(timer.id):
                    continue
                try:
                    self._takers[timer.kind](timer)
                except Exception:  # one bad row must not stop the clock for all the others
                    logger.exception("Timer %s of kind %s could not be handled", timer.id, timer.kind)
                    self.queue.remove_timer(timer.id)

    def _take_step(self, timer: Timer) -> None:
        self.queue.remove_timer(timer.id)
        message = self.ledger.find(timer.ref)
        if message is None or not message.steps:
            return
        step, *rest = message.steps
        wait_s = 0.0
        if step.status == "queued" and self.is_full(message):  # a Messaging Service has picked the sender
            rest = list(rules.failure(rules.magic_for(message.to), 30001))
        elif step.status == "queued":
            wait_s = self._wait_for_turn_s(message)
        changes: dict[str, object] = {"status": step.status, "steps": tuple(rest)}
        if step.error_code:
            changes["error_code"] = step.error_code
        if message.from_ is None:
            changes["from_"] = self._sender_to(message.to)
        if step.status == "sent":
            changes["sent_at"] = message.sent_at or time.time()
        self._move(message.sid, **changes)
        if step.status == "sending":
            self._set_timer(0.0, "depart", message.sid)
        elif rest:
            self._set_timer(rest[0].after_s, "step", message.sid, wait_s=wait_s)
        if step.status == "delivered":
            self._set_timer(rules.PRICE_AFTER_S, "price", message.sid)

    def _move(self, sid: str, **changes: object) -> None:
        self.ledger.change(sid, updated_at=time.time(), **changes)
        message = self.ledger.find(sid)
        if message is not None:
            self.reporter.report(message)

    def _sender_to(self, customer: str) -> str:
        sender = rules.bare(self.default_sender)
        return f"whatsapp:{sender}" if rules.is_whatsapp(customer) else sender

    def _depart(self, timer: Timer) -> None:
        message = self.ledger.find(timer.ref)
        if message is None:
            self.queue.remove_timer(timer.id)
        elif message.media_urls:
            # The timer stays until the file is here, so that a killed simulator fetches it again.
            self._fetchers.submit(self._fetch_and_send, message, timer).add_done_callback(_complain)
        else:
            self._send_off(message, timer, None)

    def _fetch_and_send(self, message: Message, timer: Timer) -> None:
        # Nothing is locked here: the file may come from the very portal that is asking us something now.
        fetched = media.fetch(message.media_urls[0], whatsapp=rules.is_whatsapp(message.to))
        with self.database.transaction():
            self._send_off(message, timer, fetched)

    def _send_off(self, message: Message, timer: Timer, fetched: media.Fetched | None) -> None:
        self.queue.remove_timer(timer.id)
        now = time.time()
        steps = self._steps_after_sending(message, fetched, now)
        changes: dict[str, object] = {"steps": steps}
        if fetched and not fetched.error_code:
            self.ledger.add_media(
                Media(new_sid("ME"), message.sid, message.media_urls[0], fetched.content_type, now, fetched.content)
            )
            free_form = rules.is_whatsapp(message.to) and not message.content_sid
            if free_form and not rules.text_survives(fetched.content_type):
                changes["phone_text"] = ""
        self.ledger.change(message.sid, **changes)
        self._set_timer(steps[0].after_s, "step", message.sid)

    def _steps_after_sending(
        self, message: Message, fetched: media.Fetched | None, now: float
    ) -> tuple[rules.Step, ...]:
        magic, contact = rules.magic_for(message.to), self.contacts.find(message.to)
        whatsapp = rules.is_whatsapp(message.to)
        begins = whatsapp and not contact.window_is_open(now)
        code = message.refused_with or (fetched.error_code if fetched else None)
        if contact.opted_out:
            code = 21610
        elif magic.ending == "failed":
            code = magic.error_code
        elif code is None and whatsapp:
            code = self._whatsapp_refusal(message, outside=begins and self.settings.enforce_window)
        if code is None and begins and not self._may_open(message, now):
            code = 63018
        if code:
            return rules.failure(magic, code)
        return rules.journey(magic, whatsapp=whatsapp, blocked=contact.blocked, receipts=self.settings.auto_read)

    def _may_open(self, message: Message, now: float) -> bool:
        limit = self.settings.daily_customers
        return limit is None or self._limits.may_open(message.to, customers=limit, now=now)

    def _whatsapp_refusal(self, message: Message, *, outside: bool) -> int | None:
        """Free text only inside the window; a template by its state now, and an unapproved one like free text."""
        if not message.content_sid:
            return 63016 if outside else None
        content = self.contents.find(message.content_sid)
        if content is None:  # deleted since
            return 63027
        if content.status in rules.TEMPLATE_REFUSALS:
            return rules.TEMPLATE_REFUSALS[content.status]
        if content.status == "approved":
            return None
        if outside:
            return 63016
        buttons = sum(choice.kind != "list" for choice in message.choices)
        return 63021 if buttons > rules.MAX_SESSION_BUTTONS else None

    def _set_price(self, timer: Timer) -> None:
        self.queue.remove_timer(timer.id)
        self.ledger.change(timer.ref, price=rules.PRICE_USD)

    def _take_reply(self, callback: Callback, answer: bytes) -> None:
        """Send what the account's TwiML answers a customer with; there is no create call for these."""
        asked = self.ledger.find(callback.message_sid)
        if asked is not None:
            for text in inbound.replies(answer):
                self.accept(inbound.reply(asked, text, now=time.time()))


def _complain(fetch: Future[None]) -> None:
    """Say when a fetch broke: its message stays at sending until the next start."""
    if not fetch.cancelled() and (error := fetch.exception()):
        logger.error("A file could not be taken", exc_info=error)
