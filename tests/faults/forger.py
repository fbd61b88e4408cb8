"""Somebody who posts callbacks that are not Twilio's, all the time: without a signature, with a wrong one, tampered with."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Self

import requests
from twilio.request_validator import RequestValidator

from whatsapp_logs.links import STATUS_CALLBACK_PATH

MARK = "66666"  # the error code of every forged callback: one event with it is one too many
PAUSE_S = 0.03
GIVE_UP_S = 10


class Forger:
    """Forges in a thread until the end of its block; `answers` counts what the portal said, by HTTP status (0 = nothing)."""

    def __init__(self, env: dict[str, str], *, ledger: Path, seed: int) -> None:
        self.answers: Counter[int] = Counter()
        self._url = env["PUBLIC_BASE_URL"] + STATUS_CALLBACK_PATH
        self._account = env["TWILIO_ACCOUNT_SID"]
        self._right, self._wrong = RequestValidator(env["TWILIO_AUTH_TOKEN"]), RequestValidator("f" * 32)
        self._ledger = ledger
        self._chance = random.Random(f"forger {seed}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="forger", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        session = requests.Session()
        while not self._stopping.wait(PAUSE_S):
            url, form, signature = self._forge(*self._somebody())
            headers = {"User-Agent": "TwilioProxy/1.1"} | ({"X-Twilio-Signature": signature} if signature else {})
            try:
                answer = session.post(url, data=form, headers=headers, timeout=GIVE_UP_S)
                self.answers[answer.status_code] += 1
            except requests.RequestException:
                self.answers[0] += 1

    def _forge(self, sid: str, message_id: str) -> tuple[str, dict[str, str], str | None]:
        url = f"{self._url}?message={message_id}"
        genuine = {"AccountSid": self._account, "MessageSid": sid, "SmsSid": sid, "MessageStatus": "sent"}
        forged = genuine | {"MessageStatus": self._chance.choice(("failed", "read")), "ErrorCode": MARK}
        match self._chance.randrange(5):
            case 0:
                return url, forged, None
            case 1:
                return url, forged, self._wrong.compute_signature(url, forged)
            case 2:  # signed for another message
                return url, forged, self._right.compute_signature(url + "1", forged)
            case 3:  # signed by Twilio, then altered
                return url, forged, self._right.compute_signature(url, genuine)
            case _:  # another account's own Twilio signs with that account's token
                theirs = forged | {"AccountSid": "AC" + "9" * 32}
                return url, theirs, self._wrong.compute_signature(url, theirs)

    def _somebody(self) -> tuple[str, str]:
        """A SID and an id of ours that really exist, once there are some."""
        with closing(sqlite3.connect(f"file:{self._ledger}?mode=ro", uri=True)) as ledger:
            row = ledger.execute(
                "SELECT sid, status_callback FROM messages WHERE n = (SELECT 1 + abs(random()) % max(n) FROM messages)"
            ).fetchone()
        if row is None:
            return "SM" + "0" * 32, "1"
        return row[0], row[1].partition("message=")[2].partition("#")[0]
