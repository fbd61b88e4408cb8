"""The first portal's mistakes that a page can make; the numbers are those of its list."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape

import pytest

from tests.service_fixtures import Person, make_portal
from tests.web.reading import figure, rows
from whatsapp_logs import Config, Source, StatusReport, WhatsAppService
from whatsapp_logs.web import asking

XSS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "*<b onclick=alert(1)>*",
    "</textarea></dialog><svg/onload=alert(1)>",
    "\u202eevil\u2028line",
)


def test_mistake_4_the_message_column_holds_the_messages_words(logged, agent):
    logged(body="The words themselves")
    assert "The words themselves" in agent.get("/whatsapp_logs").text


def test_mistake_5_the_last_day_of_a_range_is_included_in_the_viewers_zone(logged, agent):
    inside = logged(at=datetime(2026, 3, 31, 22, 59, 59, tzinfo=UTC))
    outside = logged(at=datetime(2026, 3, 31, 23, 0, 0, tzinfo=UTC))  # 1 April in London's summer time
    agent.set_cookie(asking.ZONE_COOKIE, "Europe/London")
    page = agent.get("/whatsapp_logs?date_from=2026-03-01&date_to=2026-03-31")
    assert rows(page) == [inside.id]
    assert rows(agent.get("/whatsapp_logs?date_from=2026-04-01&date_to=2026-04-01")) == [outside.id]


def test_mistake_6_totals_are_right_above_a_thousand_rows_and_the_rate_leaves_out_rows_in_flight(service, agent):
    with service.transaction() as conn:
        conn.execute(
            """
            INSERT INTO whatsapp_logs.messages (recipient, failed_at, status)
            SELECT '+447700900' || lpad((n % 1000)::text, 3, '0'), CASE WHEN n BETWEEN 901 AND 1000 THEN now() END,
                   (CASE WHEN n <= 900 THEN 'delivered' WHEN n <= 1000 THEN 'failed' ELSE 'sent' END)::whatsapp_logs.status
            FROM generate_series(1, 2500) AS n
            """
        )
    page = agent.get("/whatsapp_logs")
    shown = {name: figure(page, name) for name in ("total", "delivered", "rate", "flight", "failed")}
    assert shown == {
        "total": "2\u202f500",
        "delivered": "900",
        "rate": "90.0\u202f%",
        "flight": "1\u202f500",
        "failed": "100",
    }
    assert "1 – 50 of 2\u202f500" in page.text
    assert "900 delivered or read of 1\u202f000 that reached an end" in unescape(page.text)


def test_mistake_7_a_dead_database_is_said_and_shows_no_zeros(config: Config):
    dead = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:1/nothing", pool_timeout_s=0.2))
    person = Person(make_portal(dead))
    person.get("/sign_in/agent")
    for path in ("/whatsapp_logs", "/whatsapp_logs/messages/1", "/whatsapp_logs/live"):
        answer = person.get(path)
        assert answer.status_code == 503
        assert "The database cannot be reached" in answer.text
        assert "wl-figure" not in answer.text
        assert "No messages" not in answer.text
        assert answer.headers["Retry-After"]
    dead.close()


@pytest.mark.parametrize("evil", XSS)
def test_mistake_10_nothing_from_outside_runs(service, agent, evil):
    message = service.log_message(
        message_sid="SM" + "e" * 32,
        to="+447700900123",
        body=evil,
        created_by=evil[:90],
        message_type=evil[:40],
        media_url=evil,
    )
    told = StatusReport(
        provider_status=evil,
        provider_id=message.provider_id,
        error_code="99999",
        error_message=evil,
        payload={evil: [evil, {"x": evil}]},
    )
    failed = StatusReport(
        provider_status="failed", provider_id=message.provider_id, error_code="99999", error_message=evil
    )
    service.record([told, failed], source=Source.CALLBACK)
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{message.id}"):
        html = agent.get(path).text
        assert not re.search(r"<(script(?! src=)|img|b onclick|svg/)", html), path
        assert 'href="javascript:' not in html
        assert not re.search(r">\s*49\s*<", html)  # an evaluated template
