"""Our style and script: one place that names the files, with their content's hash in the address."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import url_for

STYLE = "whatsapp_logs.css"
SCRIPTS = ("vendor/htmx-2.0.11.min.js", "vendor/idiomorph-ext-0.8.0.min.js", "whatsapp_logs.js")


def url(name: str) -> str:
    """The address of a static file; it changes with the content, so that browsers may keep it for ever."""
    return url_for("whatsapp_logs.static", filename=name, v=_fingerprint(name))


def style_url() -> str:
    """The style sheet's address."""
    return url(STYLE)


def script_urls() -> list[str]:
    """The scripts' addresses, in their order."""
    return [url(name) for name in SCRIPTS]


@cache
def _fingerprint(name: str) -> str:
    return hashlib.sha256((Path(__file__).parent / "static" / name).read_bytes()).hexdigest()[:10]
