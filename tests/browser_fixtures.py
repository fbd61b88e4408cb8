"""Fixtures: a real Chromium, one per worker, a fresh context per page.

`visit`   `visit("agent", "/whatsapp_logs", width=390, dark=True)`: a page of `live`, signed in; after the test nothing may
          have been reported against the content security policy, and no script may have failed. With `clock_stands`
          the page's clock goes on when the test says so (`page.clock`): what the page promises in seconds is asked by it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests import chromium
from tests.start.processes import PATIENCE_S

Visit = Callable[..., Page]
PATIENCE_MS = PATIENCE_S * 1000
expect.set_options(
    timeout=PATIENCE_MS
)  # what a page promises in seconds is asked of the page's own clock, not of the machine's


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The worker's Chromium."""
    program = chromium.find()
    if program is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(chromium.MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, live: str) -> Iterator[Visit]:
    """A function that opens a path of the live app as somebody with this role (None: nobody)."""
    contexts, complaints = [], []

    def open_page(
        role: str | None,
        path: str,
        *,
        width: int = 1440,
        height: int = 900,
        dark: bool = False,
        clock_stands: bool = False,
        **options: Any,
    ) -> Page:
        context = browser.new_context(
            base_url=live,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            timezone_id=options.pop("timezone_id", "Europe/London"),
            **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        if role is not None:
            context.request.get(f"/sign_in/{role}")
        page = context.new_page()
        page.on(
            "console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if clock_stands:
            page.clock.install(time=datetime.now(UTC))
            page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=1))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
