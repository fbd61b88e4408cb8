"""How long after Twilio's callback the open page shows the change: `python -m benches.latency [messages]`.

Starts the whole portal, opens the log in a real Chromium, sends messages one after another, and compares the moment the simulator
began each callback with the moment the row changed in the page. The goal of the product is 2 seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from playwright.sync_api import sync_playwright

from tests import chromium

ROOT = Path(__file__).parents[1]
GOAL_S = 2.0
# row id + status → milliseconds since 1970, for every status the page ever showed
WATCH = """() => {
    window.shown = {};
    const look = () => document.querySelectorAll('#wl-list [data-wl-row]').forEach(row => {
        const key = row.id.replace(/\\D/g, '') + ' ' + row.dataset.wlRow.split(' ')[0];
        window.shown[key] ??= Date.now();
    });
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
    look();
}"""


@contextlib.contextmanager
def started_portal() -> Iterator[tuple[str, str]]:
    """The addresses of a fresh portal and of its simulator."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # Root's PostgreSQL runs as nobody.
        process = subprocess.Popen(
            [sys.executable, "-m", "portal", "start"],
            cwd=ROOT,
            env=os.environ | {"DATA_DIR": folder, "PORT": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout
            for line in process.stdout:
                if "Ctrl-C" in line:
                    break
            ports = json.loads((Path(folder) / "running.json").read_text())
            yield f"http://127.0.0.1:{ports['web']}", f"http://127.0.0.1:{ports['simulator']}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def measure(messages: int) -> list[float]:
    """Seconds from each callback's beginning to the change in the page."""
    with started_portal() as (portal, phones), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find())
        context = browser.new_context(base_url=portal)
        page = context.new_page()
        page.goto("/")
        page.get_by_label("User name").fill("anna.admin")
        page.get_by_label("Password").fill("harbour-lane-demo")
        page.get_by_role("button", name="Sign in").click()
        page.goto("/whatsapp_logs")
        page.evaluate(WATCH)
        for n in range(messages):
            form = context.request.get(f"/policies/{n % 80 + 1}").text()
            fields = dict(re.findall(r'name="(csrf_token|request_key)" value="([^"]+)"', form.split("send", 1)[1]))
            context.request.post(f"/policies/{n % 80 + 1}/send", form=fields)
            page.wait_for_timeout(200)
        page.wait_for_timeout(8000)
        shown = page.evaluate("() => window.shown")
        listed = context.request.get("/api/whatsapp/messages?limit=200").json()["messages"]
        rows = {row["sid"]: row["log_id"] for row in listed if row["sid"]}
        browser.close()
        calls = requests.get(f"{phones}/_simulator/callbacks", timeout=10).json()
    delays = []
    for call in calls:
        seen = shown.get(f"{rows.get(call['sid'])} {call['status']}")
        if seen is not None and call["answer"] == 204:
            delays.append(seen / 1000 - call["at"])
    return delays


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    began = time.monotonic()
    delays = sorted(measure(messages))
    worst, median = delays[-1], statistics.median(delays)
    print(f"{len(delays)} changes of {messages} messages seen in {time.monotonic() - began:.0f} s")
    print(f"callback_to_page_median {median:.2f} s  goal {GOAL_S} {'ok' if median <= GOAL_S else 'short'}")
    print(f"callback_to_page_worst  {worst:.2f} s  goal {GOAL_S} {'ok' if worst <= GOAL_S else 'short'}")


if __name__ == "__main__":
    main()
