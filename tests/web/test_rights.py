"""Rights, not roles: numbers and texts are two things, and a host may put together any set."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from whatsapp_logs import Right, Viewer, WhatsAppLogs, WhatsAppService

NUMBER, TEXT = "7700 900123", "Strictly between us"
Open = Callable[[Iterable[Right]], FlaskClient]


@pytest.fixture
def with_rights(service: WhatsAppService) -> Open:
    """A function from rights to the browser of somebody who has exactly these."""

    def open_browser(rights: Iterable[Right]) -> FlaskClient:
        app, viewer = Flask("a_host"), Viewer("somebody", frozenset(rights))
        app.config.update(SECRET_KEY=service.config.secret_key)
        WhatsAppLogs(service).init_app(app, current_user=lambda: viewer)
        return app.test_client()

    return open_browser


@pytest.mark.parametrize("sees_number", [True, False])
@pytest.mark.parametrize("sees_text", [True, False])
def test_numbers_and_texts_are_seen_by_a_right_of_their_own(logged, with_rights: Open, sees_number, sees_text):
    message = logged("delivered", to="+447700900123", body=TEXT)
    rights = (
        {Right.SEE, Right.EXPORT}
        | ({Right.NUMBERS} if sees_number else set())
        | ({Right.TEXTS} if sees_text else set())
    )
    person = with_rights(rights)
    for path in ("/whatsapp_logs", f"/whatsapp_logs/messages/{message.id}"):
        html = person.get(path).text
        assert (NUMBER in html) == sees_number, path
        assert (TEXT in html) == sees_text, path
    told = person.get(f"/api/whatsapp/message_details/{message.provider_id}").get_json()["message"]
    assert ("900123" in told["to"], told["body"] == TEXT) == (sees_number, sees_text)
    (row,) = csv.DictReader(io.StringIO(person.get("/whatsapp_logs/export").get_data().decode("utf-8-sig")))
    assert ("900123" in row["Recipient"], row["Message"] == TEXT) == (sees_number, sees_text)


def test_a_file_says_who_took_it_away_and_when(logged, with_rights: Open):
    logged()
    header, *rows = with_rights(Right).get("/whatsapp_logs/export").get_data().decode("utf-8-sig").splitlines()
    (mark,) = [title for title in next(csv.reader([header])) if title.startswith("Exported ")]
    assert mark.endswith(" UTC by somebody")
    assert len(rows) == 1
