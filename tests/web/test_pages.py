"""The log's pages as a browser without JavaScript gets them, on the real database."""

from __future__ import annotations

from whatsapp_logs import Draft, Source, StatusReport


def test_the_page_shows_a_message_with_its_words(service, signed_in):
    service.send(Draft(to="+447700900123", body="Your policy is attached.", message_type="policy_document"))
    page = signed_in("agent").get("/whatsapp_logs")
    assert page.status_code == 200
    for words in ("+44 7700 900123", "Your policy is attached.", "Policy document", "Queued"):
        assert words in page.text


def test_details_and_the_other_pages_answer(service, signed_in):
    message = service.send(Draft(to="+447700900123", body="Hello"))
    service.record(
        [StatusReport(provider_status="failed", message_id=message.id, error_code="63003")], source=Source.CALLBACK
    )
    agent = signed_in("agent")
    for path in (f"/whatsapp_logs/messages/{message.id}", "/whatsapp_logs/unmatched", "/whatsapp_logs/live"):
        assert agent.get(path).status_code == 200, path
    assert agent.post(f"/whatsapp_logs/messages/{message.id}/resend").status_code == 200
    assert agent.get("/whatsapp_logs/messages/999").status_code == 404
    assert agent.post("/whatsapp_logs/refresh_all").status_code == 303
