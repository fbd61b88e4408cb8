"""What a page is judged by, once it is there: axe's rules, and its width.

A press that leads elsewhere comes back when the new page has been begun, not when it is there: until then it may be a
document without a body, or without the script that answers the next key. `settled` waits for that; `expect` does too, for
what it names. `evaluate`, `count()`, `all()`, `is_visible()`, `content()` and the keyboard do not wait.
"""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def settled(page: Page) -> Page:
    """The page, when it is all there: its words, its styles and its scripts."""
    page.wait_for_load_state()
    return page


def violations(page: Page) -> list[str]:
    """What axe finds: the rule and the first element that breaks it."""
    result = Axe().run(settled(page), options={"runOnly": {"type": "tag", "values": _AXE_TAGS}})
    return [f"{found['id']}: {found['nodes'][0]['html'][:200]}" for found in result.response["violations"]]


def width_of(page: Page) -> int:
    """How wide the page is; more than its window is to be scrolled sideways."""
    width = settled(page).evaluate("document.documentElement.scrollWidth")
    assert isinstance(width, int)
    return width
