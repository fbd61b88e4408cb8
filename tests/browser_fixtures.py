"""Fixtures: a real Chromium, one per worker, a fresh context per page.

`visit`   `visit("agent", "/whatsapp_logs", width=390, dark=True)`: a page of `live`, signed in; after the test nothing may
          have been reported against the content security policy, and no script may have failed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests import chromium

Visit = Callable[..., Page]


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
        context.set_default_timeout(5000)
        contexts.append(context)
        if role is not None:
            context.request.get(f"/sign_in/{role}")
        page = context.new_page()
        page.on(
            "console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
