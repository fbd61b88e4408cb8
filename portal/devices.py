"""What a browser calls itself, in words that its owner knows again."""

from __future__ import annotations

import re

# In this order: each claims to be most of those below it.
_BROWSERS = (
    ("Edge", r"\bEdg(e|A|iOS)?/"), ("Opera", r"\bOPR/"), ("Samsung Internet", r"SamsungBrowser/"),
    ("Firefox", r"\b(Firefox|FxiOS)/"), ("Chrome", r"\b(Headless)?(Chrome|CriOS|Chromium)/"), ("Safari", r"\bSafari/"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", r"iPhone"), ("iPad", r"iPad"), ("Android", r"Android"), ("ChromeOS", r"CrOS"), ("Windows", r"Windows"),
    ("Mac", r"Macintosh"), ("Linux", r"Linux|X11"),
)  # fmt: skip


def device(user_agent: str) -> str:
    """Like "Firefox on Windows"; it is only a claim, and good for nothing but recognising."""
    browser = _first(_BROWSERS, user_agent) or "A browser"
    system = _first(_SYSTEMS, user_agent)
    return f"{browser} on {system}" if system else browser


def _first(known: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    return next((name for name, pattern in known if re.search(pattern, user_agent)), None)
