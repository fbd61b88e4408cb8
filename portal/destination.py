"""Where somebody wanted to go before they were asked something: a path of this portal, never another site's address."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request, url_for


def destination() -> str:
    """What the request carries as `next`, if it is ours; else the dashboard."""
    wanted = request.values.get("next", "")
    parts = urlsplit(wanted.replace("\\", "/"))
    is_ours = wanted.startswith("/") and not parts.scheme and not parts.netloc and wanted.isprintable()
    return wanted if is_ours else url_for("dashboard.show")
