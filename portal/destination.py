"""Where somebody wanted to go before they were asked something: a path of this portal, never another site's address."""

from __future__ import annotations

import re

from flask import request, url_for

# One slash, then no other of either kind: browsers and libraries read //, /\ and //// as the beginning of somebody else's address.
_OURS = re.compile(r"/(?![/\\]).*")


def destination() -> str:
    """What the request carries as `next`, if it is ours; else the dashboard."""
    wanted = request.values.get("next", "")
    is_ours = _OURS.fullmatch(wanted) and wanted.isprintable()
    return wanted if is_ours else url_for("dashboard.show")
