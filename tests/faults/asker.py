"""Asks for every message until each is acknowledged: `python -m tests.faults.asker WISHES PROGRESS RATE`.

The office in a process of its own: batches through the service, single ones through the portal's forms. It may be killed
at any moment; started again it goes on a little before where it was, so that some are asked for again.
"""

from __future__ import annotations

import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import requests

from portal.demo import PASSWORD
from tests.faults.schedule import Wish
from whatsapp_logs import Config, Draft, WhatsAppService
from whatsapp_logs.errors import DatabaseAway

BATCH = 25
ASKED_AGAIN = 40
PAUSE_S = 0.1
USER = "arjun.agent"


def main() -> None:
    plan, progress, rate = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    wishes = [Wish(**fields) for fields in json.loads(plan.read_text())]
    service = WhatsAppService(Config.from_env())
    with ThreadPoolExecutor(1) as at_the_portal:  # so that a web server that is away stops nobody else
        office = Office(service.config.public_base_url, service)
        by_form = at_the_portal.submit(office.ask, [wish for wish in wishes if wish.client_id is not None])
        begin = max(0, read_progress(progress) - ASKED_AGAIN)
        for first in range(begin, len(wishes), BATCH):
            began = time.monotonic()
            batch = wishes[first : first + BATCH]
            ask(service, [wish for wish in batch if wish.client_id is None])
            note_progress(progress, min(first + BATCH, len(wishes) - 1))
            time.sleep(max(0.0, BATCH / rate - (time.monotonic() - began)))
        by_form.result()
    note_progress(progress, len(wishes))
    service.close()


def read_progress(file: Path) -> int:
    """How many were acknowledged when this was last written down."""
    return int(file.read_text()) if file.exists() else 0


def note_progress(file: Path, count: int) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(str(count))
    draft.replace(file)  # at once: never half a number


def ask(service: WhatsAppService, wishes: list[Wish]) -> None:
    """One transaction for all of them, again and again until it is acknowledged."""
    drafts = [as_draft(service, wish) for wish in wishes]
    while True:
        try:
            with service.transaction() as conn:
                for draft in drafts:
                    service.send(draft, conn=conn)
            return
        except DatabaseAway:
            time.sleep(PAUSE_S)


def as_draft(service: WhatsAppService, wish: Wish) -> Draft:
    """The wish as free text, or within the approved notice, with the text as its reader will see it."""
    notice = service.template("general_notice", {"1": "Asha", "2": wish.words}) if wish.template else None
    before, after = "Hello Asha, a notice from your insurance office: ", " Please reply if you have a question."
    return Draft(
        to=wish.to,
        body=f"{before}{wish.words}{after}" if notice else wish.words,
        template=notice,
        request_key=wish.key,
        created_by=USER,
    )


class Office:
    """Somebody at the portal, who presses the button again until the portal has answered."""

    def __init__(self, address: str, service: WhatsAppService) -> None:
        self._address, self._service = address, service
        self._session: requests.Session | None = None

    def ask(self, wishes: list[Wish]) -> None:
        """Send the form of each client's page until the portal says that it has the message."""
        for wish in wishes:
            while not self._asked(wish):
                time.sleep(PAUSE_S)

    def _asked(self, wish: Wish) -> bool:
        page = f"/clients/{wish.client_id}"
        try:
            session = self._signed_in()
            if session is None:
                return False
            shown = session.get(self._address + page, timeout=20).text
            fields = hidden_fields(shown, f"{page}/message")
            if not fields:
                if "Nothing is sent until they write START" not in shown:
                    return False
                # Whom Twilio has told us of has no form any more; the wish stands in the log all the same, refused.
                draft = Draft(to=wish.to, body=wish.words, request_key=f"{wish.key}-portal", created_by=USER)
                self._service.send(draft)
                return True
            form = {**fields, "request_key": f"{wish.key}-portal", "body": wish.words}
            answer = session.post(f"{self._address}{page}/message", data=form, timeout=20, allow_redirects=False)
            return answer.status_code == 303 and answer.headers["Location"].endswith(page)
        except (requests.RequestException, DatabaseAway):
            return False

    def _signed_in(self) -> requests.Session | None:
        if self._session is None:
            session = requests.Session()
            fields = hidden_fields(session.get(f"{self._address}/sign-in", timeout=20).text, "/sign-in")
            person = {**fields, "username": USER, "password": PASSWORD}
            answer = session.post(f"{self._address}/sign-in", data=person, timeout=20, allow_redirects=False)
            self._session = session if answer.status_code == 302 else None
        return self._session


def hidden_fields(html: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that posts to `action`; none when the page has no such form."""
    form = re.search(rf'<form method="post" action="{re.escape(action)}".*?</form>', html, re.DOTALL)
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[0]) if form else []
    return {name: unescape(value) for name, value in found}


if __name__ == "__main__":
    main()
