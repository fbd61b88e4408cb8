"""Sending webhooks as Twilio does: signed, with Twilio's time limits, retried as the URL's fragment asks."""

from __future__ import annotations

import logging
import queue
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urldefrag, urlencode

import urllib3
from twilio.request_validator import RequestValidator

from whatsapp_logs.twilio.simulator import rules
from whatsapp_logs.twilio.simulator.ledger import Message
from whatsapp_logs.twilio.simulator.queue import Callback

logger = logging.getLogger(__name__)

SENDER_THREADS = 16
CONNECT_S, FIRST_BYTE_S, TOTAL_S = 5.0, 15.0, 15.0
MAX_RETRIES = 5
RETRY_PAUSE_S = 0.2
_RETRY_REASONS = frozenset({"4xx", "5xx", "ct", "rt"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and for what a webhook is tried again; the default is Twilio's: once, when connecting failed."""

    retries: int = 1
    reasons: frozenset[str] = frozenset({"ct"})
    connect_s: float = CONNECT_S
    read_s: float = FIRST_BYTE_S
    total_s: float = TOTAL_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt met: an answer with its body, or a problem in words; `reason` is the retry word, None = good."""

    answer: int | None
    problem: str | None
    reason: str | None
    body: bytes = b""


def split_policy(url: str) -> tuple[str, RetryPolicy]:
    """The URL without its fragment, and the connection rules written in it (`#rc=3&rp=5xx,ct&rt=2000`)."""
    bare_url, fragment = urldefrag(url)
    asked = dict(parse_qsl(fragment))
    reasons = frozenset(asked.get("rp", "ct").replace(" ", "").split(","))
    return bare_url, RetryPolicy(
        retries=_whole(asked.get("rc"), default=1, low=0, high=MAX_RETRIES),
        reasons=_RETRY_REASONS if "all" in reasons else reasons & _RETRY_REASONS,
        connect_s=_whole(asked.get("ct"), default=5_000, low=100, high=10_000) / 1000,
        read_s=_whole(asked.get("rt"), default=15_000, low=100, high=15_000) / 1000,
        total_s=_whole(asked.get("tt"), default=15_000, low=100, high=15_000) / 1000,
    )


def status_params(account_sid: str, message: Message, status: str) -> dict[str, str]:
    """The form of a status callback; which fields are there depends on channel and status, as at Twilio."""
    params = {
        "ApiVersion": rules.API_VERSION,
        "AccountSid": account_sid,
        "MessageSid": message.sid,
        "SmsSid": message.sid,
        "MessageStatus": status,
        "SmsStatus": status,
        "From": message.from_ or "",
        "To": message.to,
    }
    if message.service_sid:
        params["MessagingServiceSid"] = message.service_sid
    if status in ("failed", "undelivered") and message.error_code:
        params["ErrorCode"] = str(message.error_code)
        params["ErrorMessage"] = rules.error_text(message.error_code) or ""  # blank, but signed
    if rules.is_whatsapp(message.to):
        params |= _whatsapp_params(message, status)
    elif status in ("delivered", "undelivered"):
        params["RawDlrDoneDate"] = time.strftime("%y%m%d%H%M", time.gmtime())
    return params


def _whatsapp_params(message: Message, status: str) -> dict[str, str]:
    params = {
        "ChannelPrefix": "whatsapp",
        "ChannelInstallSid": "XE" + "0" * 32,
        "ChannelToAddress": rules.bare(message.to)[:-4] + "XXXX",
        "StructuredMessage": "false",
    }
    if status in ("delivered", "undelivered", "read"):
        params["EventType"] = status.upper()
    if status in ("failed", "undelivered"):
        params["ChannelStatusMessage"] = rules.error_text(message.error_code) or "Unknown error"
    return params


def lane_of(message_sid: str) -> int:
    """Which thread sends the callbacks of a message."""
    return zlib.crc32(message_sid.encode()) % SENDER_THREADS


class Sender:
    """A bounded crew of threads; callbacks of one message go through one thread, so they keep their order."""

    def __init__(
        self,
        auth_token: str,
        *,
        attempted: Callable[[Callback, int, Outcome], None],
        done: Callable[[Callback, Outcome], None],
        pace: Callable[[], float],
    ) -> None:
        self._signer = RequestValidator(auth_token)
        self._attempted, self._done, self._pace = attempted, done, pace
        self._http = urllib3.PoolManager(num_pools=16, maxsize=SENDER_THREADS)
        self._stopping = threading.Event()
        self._lanes: list[queue.SimpleQueue[Callback | None]] = [queue.SimpleQueue() for _ in range(SENDER_THREADS)]
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"simulator-callbacks-{number}", daemon=True)
            for number, lane in enumerate(self._lanes)
        ]

    def send(self, callback: Callback) -> None:
        """Send on the message's own lane; called by one thread only, the scheduler's."""
        lane = lane_of(callback.message_sid)
        if self._threads[lane].ident is None:
            self._threads[lane].start()
        self._lanes[lane].put(callback)

    def stop(self) -> None:
        """Send nothing more; what waits stays in the database and is sent after the next start."""
        self._stopping.set()
        for lane in self._lanes:
            lane.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=0.5)  # one that waits for a slow receiver is left to end with the process
        self._http.clear()

    def _run(self, lane: queue.SimpleQueue[Callback | None]) -> None:
        while (callback := lane.get()) is not None and not self._stopping.is_set():
            try:
                self._deliver(callback)
            except Exception:  # a thread that dies would silence every later callback of its lane
                logger.exception("Callback %s could not be handled", callback.id)

    def _deliver(self, callback: Callback) -> None:
        url, policy = split_policy(callback.url)
        headers = self._headers(url, callback)
        body = urlencode(callback.params)
        give_up_at = time.monotonic() + policy.total_s
        outcome = Outcome(None, "no time for an attempt", None)
        for attempt in range(1, policy.retries + 2):
            outcome = self._post(url, body, headers, policy, left_s=give_up_at - time.monotonic())
            self._attempted(callback, attempt, outcome)
            if outcome.reason not in policy.reasons or self._stopping.is_set():
                break
            pause_s = RETRY_PAUSE_S * self._pace()
            if time.monotonic() + pause_s >= give_up_at:
                break
            time.sleep(pause_s)
        self._done(callback, outcome)

    def _headers(self, url: str, callback: Callback) -> Mapping[str, str]:
        return {
            "User-Agent": "TwilioProxy/1.1",
            "Accept": "*/*",
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "X-Twilio-Signature": self._signer.compute_signature(url, callback.params),
            "I-Twilio-Idempotency-Token": callback.token,
        }

    def _post(self, url: str, body: str, headers: Mapping[str, str], policy: RetryPolicy, *, left_s: float) -> Outcome:
        limits = urllib3.Timeout(
            connect=min(policy.connect_s, max(left_s, 0.05)), read=min(policy.read_s, max(left_s, 0.05))
        )
        try:
            answer = self._http.request(
                "POST", url, body=body, headers=headers, timeout=limits, retries=False, redirect=False
            )
        except (urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.NewConnectionError) as error:
            return Outcome(None, f"could not connect ({type(error).__name__})", "ct")
        except (urllib3.exceptions.ReadTimeoutError, urllib3.exceptions.ProtocolError) as error:
            return Outcome(None, f"no answer ({type(error).__name__})", "rt")
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            return Outcome(None, f"not possible ({type(error).__name__})", None)
        reason = f"{answer.status // 100}xx" if answer.status >= 400 else None
        return Outcome(answer.status, None, reason, answer.data)


def _whole(text: str | None, *, default: int, low: int, high: int) -> int:
    if text is None or not text.isdecimal():
        return default
    return min(max(int(text), low), high)
