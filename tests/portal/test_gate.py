"""What the gate says on the portal's pages: before anything is written, when something is asked, and what then goes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from portal import database
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import SECRET_KEY, Browser, Office
from whatsapp_logs import Status, WhatsAppService
from whatsapp_logs.message import Inbound, Path
from whatsapp_logs.twilio.simulator import GENERAL_NOTICE

OUR_NUMBER = "+15550100100"


@pytest.fixture(scope="module")
def gated(office: Office) -> Iterator[Office]:
    """The same office with every rule of the gate, at no particular hour."""
    config = replace(
        office.service.config,
        gate_off=frozenset(),
        quiet_hours=None,
        templates={**office.service.config.templates, "general_notice": GENERAL_NOTICE},
    )
    service = WhatsAppService(config)
    app = create_app(PortalConfig(database_url=config.database_url, secret_key=SECRET_KEY), service=service)
    yield Office(app, office.dsn, service)
    database.close(app)
    service.close()


@pytest.fixture
def agent(gated: Office) -> Browser:
    person = Browser(gated.app.test_client())
    assert person.sign_in("arjun.agent").status_code == 302
    return person


@pytest.fixture
def client_id(gated: Office) -> int:
    """A client who has never been written to, and whom no test before has used."""
    (found,) = gated.row(
        """
        SELECT client_id FROM clients AS c
        WHERE NOT EXISTS (SELECT FROM whatsapp_logs.messages AS m WHERE m.recipient = c.phone OR m.sender = c.phone)
          AND EXISTS (SELECT FROM policies AS p WHERE p.client_id = c.client_id AND p.status = 'active'
                      AND current_date BETWEEN p.starts_on AND p.ends_on)
        ORDER BY client_id LIMIT 1
        """
    )
    assert isinstance(found, int)
    return found


@pytest.fixture
def writes(gated: Office, client_id: int) -> Callable[[str], None]:
    """A function by which this client writes to us."""

    def write(text: str) -> None:
        (phone,) = gated.row("SELECT phone FROM clients WHERE client_id = %(id)s", id=client_id)
        sid = f"SM{gated.message_count():032d}"
        gated.service.receive(Inbound(provider_id=sid, sender=str(phone), recipient=OUR_NUMBER, body=text))

    return write


def test_where_an_agreement_is_needed_the_client_page_leads_to_where_it_is_recorded(
    gated: Office, agent: Browser, client_id: int, writes: Callable[[str], None]
) -> None:
    was = gated.service.config
    gated.service.config = replace(was, consent_required="always")
    try:
        page = agent.get(f"/clients/{client_id}").text
        assert f'action="/clients/{client_id}/message"' not in page
        link = f"/whatsapp_logs/consent?client={client_id}"
        assert (
            f'Record the consent, or wait until they write. <a href="{link}">Record the customer&#39;s agreement</a>'
            in page
        )
        assert "this office writes first only to those who agreed" in agent.get(link).text
        token = agent.hidden_fields(f"/clients/{client_id}", "/sign-out")["csrf_token"]
        told = {"client": client_id, "kind": "opt_in", "scope": "all", "wording": "Signed the form of 3 March"}
        assert agent.post("/whatsapp_logs/consent", {"csrf_token": token, **told}).status_code == 303
        assert f'action="/clients/{client_id}/message"' in agent.get(f"/clients/{client_id}").text
    finally:
        gated.service.config = was


def test_a_client_who_asked_us_to_stop_has_no_form_but_a_reason(
    gated: Office, agent: Browser, client_id: int, writes: Callable[[str], None]
) -> None:
    assert f"/clients/{client_id}/message" in agent.get(f"/clients/{client_id}").text
    writes("STOP")
    page = agent.get(f"/clients/{client_id}").text
    assert f'action="/clients/{client_id}/message"' not in page
    assert "This customer asked us to stop on" in page
    (policy_id,) = gated.row(
        """
        SELECT min(policy_id) FROM policies
        WHERE client_id = %(id)s AND status = 'active' AND current_date BETWEEN starts_on AND ends_on
        """,
        id=client_id,
    )
    agent.submit(f"/policies/{policy_id}", f"/policies/{policy_id}/send")
    message = gated.newest()
    assert (message.status, message.error_code) == (Status.FAILED, "opted_out")
    assert "Nothing is sent until they write START" in agent.get(f"/policies/{policy_id}").text
    writes("START")
    assert f'action="/clients/{client_id}/message"' in agent.get(f"/clients/{client_id}").text


def test_within_the_window_words_go_out_as_they_are_written(
    gated: Office, agent: Browser, client_id: int, writes: Callable[[str], None]
) -> None:
    page = agent.get(f"/clients/{client_id}").text
    assert "Free text reaches this customer" not in page
    assert "approved notice, which arrives at any time" in page
    writes("When does my cover end?")
    page = agent.get(f"/clients/{client_id}").text
    assert "Free text reaches this customer" in page
    assert "for another <span data-wl-left>23 h 5" in page
    agent.submit(f"/clients/{client_id}", f"/clients/{client_id}/message", body="On Sunday.", how="bare")
    message = gated.newest()
    assert (message.body, message.template_sid, message.status) == ("On Sunday.", None, Status.QUEUED)
    agent.submit(f"/clients/{client_id}", f"/clients/{client_id}/message", body="On Sunday.", how="")
    assert gated.newest().template_sid == GENERAL_NOTICE


def test_the_same_words_to_the_same_client_are_asked_about_and_then_sent(
    gated: Office, agent: Browser, client_id: int
) -> None:
    form = f"/clients/{client_id}/message"
    agent.submit(f"/clients/{client_id}", form, body="We are closed on Monday")
    first, count = gated.newest(), gated.message_count()
    answer = agent.submit(f"/clients/{client_id}", form, body="We are closed on Monday")
    assert answer.status_code == 200
    assert f"(message {first.id})" in answer.text
    assert "Send again" in answer.text
    assert gated.message_count() == count  # asked, not sent

    fields = agent.hidden_fields_of(answer.text, form)
    assert fields["confirmed"] == "duplicate"
    agent.post(form, fields)
    second = gated.newest()
    assert (second.status, second.confirmed, second.path) == (Status.QUEUED, ["duplicate"], Path.SINGLE)
    agent.post(form, fields)  # the button pressed twice
    assert gated.message_count() == count + 1


def test_what_nobody_was_asked_cannot_be_answered(gated: Office, agent: Browser, client_id: int) -> None:
    fields = agent.hidden_fields(f"/clients/{client_id}", f"/clients/{client_id}/message")
    answer = agent.post(f"/clients/{client_id}/message", {**fields, "body": "x", "confirmed": "everything"})
    assert answer.status_code == 400
