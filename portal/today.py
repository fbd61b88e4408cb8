"""Which day it is where the office is."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from flask import current_app


def office_today() -> date:
    """Today where the office is."""
    return datetime.now(ZoneInfo(current_app.config["PORTAL"].timezone)).date()
