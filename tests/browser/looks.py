"""What a page is judged by, once it is there: axe's rules, and its width.

A press that leads elsewhere comes back when the new page has been begun, not when it is there: until then it may be a
document without a body, or without the script that answers the next key. `settled` waits for that; `expect` does too, for
what it names. `evaluate`, `count()`, `all()`, `is_visible()`, `content()` and the keyboard do not wait.
"""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_OF_COLOURS = ["color-contrast", "link-in-text-block"]  # all other rules ask the same of a page in the dark


def settled(page: Page) -> Page:
    """The page, when it is all there: its words, its styles and its scripts."""
    page.wait_for_load_state()
    return page


def violations(page: Page) -> list[str]:
    """What axe finds, in light and in dark colours: the rule and the first element that breaks it."""
    found = []
    settled(page).emulate_media(color_scheme="light", reduced_motion="reduce")
    found += _broken(page, {"type": "tag", "values": _AXE_TAGS})
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    found += [f"dark: {one}" for one in _broken(page, {"type": "rule", "values": _OF_COLOURS})]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    return found


def _broken(page: Page, rules: dict[str, object]) -> list[str]:
    result = Axe().run(page, options={"runOnly": rules})
    return [f"{found['id']}: {found['nodes'][0]['html'][:200]}" for found in result.response["violations"]]


def width_of(page: Page) -> int:
    """How wide the page is; more than its window is to be scrolled sideways."""
    width = settled(page).evaluate("document.documentElement.scrollWidth")
    assert isinstance(width, int)
    return width
