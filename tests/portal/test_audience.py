"""Whom the portal offers to campaigns: active policies by their end and their product, with what a template may say of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape

import pytest

from portal.audience import audience
from portal.today import office_today
from tests.portal.conftest import Browser, Office

ROOT = "/whatsapp_logs/campaigns"
COUNT = """
    SELECT count(*) FROM policies WHERE status = 'active' AND ends_on BETWEEN %(today)s AND %(until)s
    AND (%(product)s = '' OR product = %(product)s)"""


@pytest.mark.parametrize("wanted", [{"days": "30"}, {"days": "90", "product": "motor"}, {"product": "home"}, {}])
def test_exactly_the_policies_that_fit_are_found(office: Office, wanted: dict[str, str]) -> None:
    with office.app.app_context():
        today = office_today()
        found = list(audience().find(wanted))
    until = today + timedelta(days=int(wanted.get("days", "10000")))
    (count,) = office.row(COUNT, today=today, until=until, product=wanted.get("product", ""))
    assert len(found) == count != 0
    assert len({one.policy_id for one in found}) == count
    for one in found[:20]:
        facts = office.row(
            """
            SELECT c.phone, c.name, p.policy_number, p.product, c.client_id
            FROM policies AS p JOIN clients AS c USING (client_id) WHERE p.policy_id = %(policy)s
            """,
            policy=one.policy_id,
        )
        said = (one.to, one.fields["Client name"], one.fields["Policy number"], one.fields["Product"], one.client_id)
        assert said == facts


def test_an_agent_begins_a_campaign_with_a_choice(office: Office, browser: Callable[[str | None], Browser]) -> None:
    agent = browser("arjun.agent")
    (token,) = set(re.findall(r'name="csrf_token" value="([^"]+)"', agent.get(f"{ROOT}/new").text))
    fields = {"csrf_token": token} | {"from": "audience", "audience-days": "30"}
    begun = agent.post(ROOT, fields)
    assert begun.status_code == 303
    page = unescape(re.sub(r"<[^>]+>", " ", agent.get(begun.location or "").text))
    assert "30 days" in page
    assert "Renewal date" in page
    assert browser("vera.viewer").get(f"{ROOT}/new").status_code == 403
