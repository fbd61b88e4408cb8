"""Reading the log's pages in tests: rows, figures, words, and the address a page polls."""

from __future__ import annotations

import re
from html import unescape

from werkzeug.test import TestResponse


def rows(answer: TestResponse) -> list[int]:
    """The ids of the messages that a page lists."""
    return [int(found) for found in re.findall(r'id="wl-row-(\d+)"', answer.text)]


def words(answer: TestResponse) -> str:
    """The page's text as a person reads it."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def figure(answer: TestResponse, name: str) -> str:
    found = re.search(rf'id="wl-figure-{name}".*?<b>(.*?)</b>', answer.text, re.DOTALL)
    assert found
    return unescape(found[1])


def poll_url(page: TestResponse) -> str:
    found = re.search(r'hx-get="([^"]+live[^"]+)"', page.text)
    assert found
    return unescape(found[1])
