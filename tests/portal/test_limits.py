"""How much one signed-in person may do in a minute: on the portal's pages and the log's together, wherever they are signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.portal.conftest import Browser, Office
from whatsapp_logs.web.limits import PeopleLimits

Open = Callable[[str | None], Browser]


@pytest.fixture
def limit(office: Office) -> Iterator[Callable[[int, int], None]]:
    """A function that sets how many calls and how many changes are left to everybody."""
    extension = office.app.extensions["whatsapp_logs"]
    before = extension.people

    def set_limits(calls: int, changes: int) -> None:
        extension.people = PeopleLimits(calls, changes, clock=lambda: 0.0)  # within one moment, however long it takes

    yield set_limits
    extension.people = before


def test_pages_of_portal_and_log_count_together_and_the_page_says_when_to_go_on(
    browser: Open, limit: Callable[[int, int], None]
) -> None:
    here, there, other = browser("arjun.agent"), browser("arjun.agent"), browser("vera.viewer")
    limit(3, 3)
    assert [here.get("/clients/").status_code, here.get("/whatsapp_logs").status_code] == [200, 200]
    assert [there.get("/policies/").status_code, there.get("/policies/").status_code] == [200, 429]
    answer = here.get("/clients/")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "more than 3 pages in a minute. Wait" in answer.text
    assert 'href="/clients/">Try again' in answer.text
    assert here.get("/whatsapp_logs").status_code == 429
    assert other.get("/clients/").status_code == 200
    assert browser(None).get("/sign-in").status_code == 200


def test_a_message_too_many_is_not_sent_and_can_be_sent_with_one_press(
    office: Office, browser: Open, limit: Callable[[int, int], None]
) -> None:
    agent = browser("arjun.agent")
    fields = agent.hidden_fields("/clients/13", "/clients/13/message")
    second = agent.hidden_fields("/clients/13", "/clients/13/message")
    limit(100, 1)
    before = office.message_count()
    assert agent.post("/clients/13/message", {**fields, "body": "One"}).status_code == 303
    refused = agent.post("/clients/13/message", {**second, "body": "Two"})
    assert refused.status_code == 429
    assert "this one was not done" in refused.text
    assert '<blockquote class="bubble">Two</blockquote>' in refused.text
    assert office.message_count() == before + 1
    assert agent.get("/clients/13").status_code == 200
    limit(100, 1)
    assert agent.post("/clients/13/message", {**second, "body": "Two"}).status_code == 303
    assert office.message_count() == before + 2
