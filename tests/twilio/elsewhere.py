"""Somebody else at the same account: templates that Twilio has and this program has not made."""

from __future__ import annotations

import requests

from tests.service_fixtures import ACCOUNT_SID, AUTH_TOKEN
from whatsapp_logs.twilio.simulator import Simulator

BODY = "Dear {{1}}, your policy {{2}} has been renewed until the date in the schedule."


def post_content(
    twilio: Simulator,
    *,
    name: str = "made_elsewhere",
    body: str = BODY,
    language: str = "en",
    sid: str | None = None,
    delete: bool = False,
    submit: str | None = None,
) -> str:
    """Create a template, or with `sid` change it, `delete` it, or submit it under the name `submit`; returns its SID."""
    values: dict[str, object] = {
        "friendly_name": name,
        "language": language,
        "variables": {"1": "Asha", "2": "POL-1"},
        "types": {"twilio/text": {"body": body}},
    }
    path, method = ("Content", "POST") if sid is None else (f"Content/{sid}", "DELETE" if delete else "PUT")
    if sid is not None and submit is not None:
        path, method, values = f"{path}/ApprovalRequests/whatsapp", "POST", {"name": submit, "category": "UTILITY"}
    answer = requests.request(
        method, f"{twilio.base_url}/v1/{path}", json=values, auth=(ACCOUNT_SID, AUTH_TOKEN), timeout=5
    )
    answer.raise_for_status()
    return sid or str(answer.json()["sid"])
