"""What customers can send: the webhook's form, field by field, and Twilio's way of giving out their files."""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
from typing import Any

import pytest
import requests
from twilio.rest.content.v1.content import ContentList

from tests.start.processes import PATIENCE_S
from tests.twilio.account import ACCOUNT, CUSTOMER, PDF, SENDER, SERVICE, TOKEN, control, refusal, remind
from whatsapp_logs.twilio.simulator import Button, File, ListItem, Location, Simulator, Writing
from whatsapp_logs.twilio.simulator.rules import REPLY_KNOWN_S

PICTURE = b"\x89PNG a scratched door"
USER_ID = "GB.a1B2c3"


@pytest.fixture(autouse=True)
def told(twilio, receiver):
    twilio.settings.inbound_url = f"{receiver.url}/in"


def form(twilio: Simulator, receiver: Any) -> dict[str, str]:
    """The form of the newest inbound webhook, once everything has been answered."""
    twilio.wait_idle()
    assert all(post.valid for post in receiver.received)
    return [post.params for post in receiver.received if post.path == "/in"][-1]


def offer(twilio: Simulator, client: Any, kind: str, shape: dict[str, Any], *, approved: bool) -> str:
    """A message with something to press, on the customer's phone."""
    values = {"friendly_name": "menu", "language": "en", "types": {kind: shape}}
    content = client.content.v1.contents.create(content_create_request=ContentList.ContentCreateRequest(values))
    if approved:
        twilio.approve_template(content.sid)
    sid = client.messages.create(to=CUSTOMER, from_=SENDER, content_sid=content.sid).sid
    twilio.wait_for(sid, "read")
    return sid


class TestFiles:
    def test_are_named_in_the_webhook_and_given_out_to_the_login_only(self, twilio, client, receiver):
        files = [File("image/png", PICTURE), File("application/pdf", PDF)]
        sid = twilio.receive(CUSTOMER, Writing("The damage", files=files))
        told = form(twilio, receiver)
        assert (told["NumMedia"], told["Body"], told["MessageType"]) == ("2", "The damage", "image")
        assert (told["MediaContentType0"], told["MediaContentType1"]) == ("image/png", "application/pdf")
        assert told["MessageSid"] == sid
        assert sid.startswith("MM")
        assert f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media/ME" in told["MediaUrl0"]
        assert requests.get(told["MediaUrl0"], timeout=PATIENCE_S).status_code == 401
        assert requests.get(told["MediaUrl0"], auth=(ACCOUNT, "wrong"), timeout=PATIENCE_S).status_code == 401
        answer = requests.get(told["MediaUrl1"], auth=(ACCOUNT, TOKEN), timeout=PATIENCE_S)
        assert (answer.content, answer.headers["Content-Type"]) == (PDF, "application/pdf")
        assert client.messages(sid).fetch().num_media == "2"
        assert [item.content_type for item in client.messages(sid).media.list()] == ["image/png", "application/pdf"]

    def test_come_from_a_signed_address_that_needs_no_login_and_cannot_be_altered(self, twilio, receiver):
        twilio.receive(CUSTOMER, Writing(files=[File("image/png", PICTURE)]))
        url = form(twilio, receiver)["MediaUrl0"]
        moved = requests.get(url, auth=(ACCOUNT, TOKEN), allow_redirects=False, timeout=PATIENCE_S)
        assert (moved.status_code, moved.content) == (307, b"")
        signed = twilio.base_url + moved.headers["Location"]
        assert requests.get(signed, timeout=PATIENCE_S).content == PICTURE
        assert requests.get(signed.replace("Expires=", "Expires=9"), timeout=PATIENCE_S).status_code == 403
        assert requests.get(signed.partition("?")[0], timeout=PATIENCE_S).status_code == 403

    def test_can_be_public_and_can_be_deleted(self, twilio, client, receiver):
        twilio.settings.media_auth = False
        sid = twilio.receive(CUSTOMER, Writing(files=[File("image/png", PICTURE)]))
        url = form(twilio, receiver)["MediaUrl0"]
        assert requests.get(url, timeout=PATIENCE_S).content == PICTURE
        (item,) = client.messages(sid).media.list()
        assert client.messages(sid).media(item.sid).delete() is True
        assert requests.get(url, timeout=PATIENCE_S).status_code == 404

    def test_over_16_mb_are_refused(self, twilio):
        with pytest.raises(ValueError, match="16 MB"):
            twilio.receive(CUSTOMER, Writing(files=[File("application/pdf", bytes(16 * 1024 * 1024 + 1))]))
        assert twilio.messages() == []

    @pytest.mark.parametrize(
        ("content_type", "kind"),
        [("image/webp", "sticker"), ("audio/ogg", "audio"), ("video/mp4", "video"), ("text/vcard", "document")],
    )
    def test_have_whatsapps_words_for_their_kind(self, twilio, receiver, content_type, kind):
        twilio.receive(CUSTOMER, Writing(files=[File(content_type, b"x")]))
        assert form(twilio, receiver)["MessageType"] == kind


class TestAnswers:
    @pytest.mark.parametrize(("approved", "kind"), [(True, "button"), (False, "interactive")])
    def test_a_pressed_button_tells_its_text_its_payload_and_the_message(
        self, twilio, client, receiver, approved, kind
    ):
        twilio.receive(CUSTOMER, "Hi")
        actions = [{"title": "Renewal date", "id": "renewal"}, {"title": "A person", "id": "person"}]
        sid = offer(
            twilio, client, "twilio/quick-reply", {"body": "What is it?", "actions": actions}, approved=approved
        )
        twilio.press(sid, "person")
        told = form(twilio, receiver)
        assert told | {
            "Body": "A person", "ButtonText": "A person", "ButtonPayload": "person", "ButtonType": "REPLY",
            "MessageType": kind, "OriginalRepliedMessageSid": sid, "OriginalRepliedMessageSender": SENDER,
        } == told  # fmt: skip

    def test_a_chosen_line_tells_its_id_and_title(self, twilio, client, receiver):
        twilio.receive(CUSTOMER, "Hi")
        items = [{"item": "POL-1", "id": "policy_1", "description": "Car"}, {"item": "POL-2", "id": "policy_2"}]
        sid = offer(twilio, client, "twilio/list-picker", {"body": "Which?", "button": "Policies", "items": items},
                    approved=False)  # fmt: skip
        assert (twilio.message(sid).menu, [c.description for c in twilio.message(sid).choices]) == (
            "Policies", ["Car", ""])  # fmt: skip
        control(twilio, "press", sid=sid, choice="policy_1")
        told = form(twilio, receiver)
        assert told | {"Body": "POL-1", "ListId": "policy_1", "ListTitle": "POL-1", "MessageType": "interactive",
                       "OriginalRepliedMessageSid": sid} == told  # fmt: skip
        assert "ButtonText" not in told

    def test_only_what_has_arrived_can_be_pressed(self, twilio, client):
        twilio.receive(CUSTOMER, "Hi")
        shape = {"body": "Which?", "actions": [{"title": "This", "id": "this"}]}
        sid = offer(twilio, client, "twilio/quick-reply", shape, approved=False)
        with pytest.raises(ValueError, match="arrived"):
            twilio.press(sid, "that")
        twilio.block(CUSTOMER)
        unseen = client.messages.create(to=CUSTOMER, from_=SENDER, content_sid=twilio.message(sid).content_sid).sid
        twilio.wait_idle()
        with pytest.raises(ValueError, match="arrived"):
            twilio.press(unseen, "this")

    def test_a_reply_names_the_message_unless_it_is_older_than_a_week(self, twilio, client, receiver):
        sid = remind(client).sid
        twilio.wait_for(sid, "read")
        twilio.receive(CUSTOMER, Writing("About this one", reply_to=sid))
        assert form(twilio, receiver)["OriginalRepliedMessageSid"] == sid
        twilio.ledger.change(sid, created_at=time.time() - REPLY_KNOWN_S - 1)
        twilio.receive(CUSTOMER, Writing("And this one?", reply_to=sid))
        assert "OriginalRepliedMessageSid" not in form(twilio, receiver)

    def test_a_place_has_its_coordinates(self, twilio, receiver):
        twilio.receive(CUSTOMER, Writing(location=Location(51.5, -0.12, "The crash")))
        told = form(twilio, receiver)
        assert told | {"Latitude": "51.5", "Longitude": "-0.12", "Label": "The crash", "Body": "",
                       "MessageType": "location"} == told  # fmt: skip
        assert "Address" not in told


class TestPeople:
    def test_who_hide_their_number_are_an_id(self, twilio, client, receiver):
        twilio.receive(USER_ID, "Hello")
        told = form(twilio, receiver)
        assert told | {"From": f"whatsapp:{USER_ID}", "ExternalUserId": f"whatsapp:{USER_ID}"} == told
        assert "WaId" not in told
        twilio.wait_for(client.messages.create(to=f"whatsapp:{USER_ID}", from_=SENDER, body="Hello").sid, "read")

    def test_with_a_number_bring_the_id_beside_it(self, twilio, receiver):
        twilio.receive(CUSTOMER, Writing("Hello", user_id=USER_ID))
        told = form(twilio, receiver)
        assert (told["From"], told["ExternalUserId"], told["WaId"]) == (
            CUSTOMER, f"whatsapp:{USER_ID}", "447700900500")  # fmt: skip

    def test_write_several_messages_in_the_same_instant(self, twilio, receiver):
        together = threading.Barrier(8)  # every webhook is answered only when all of them are under way
        receiver.answer = lambda _: (together.wait(PATIENCE_S), (204, b""))[1]
        receiver._keep = lambda path, body, headers: receiver.answer(0)
        sids = twilio.receive_together([(CUSTOMER, Writing(f"Message {n}")) for n in range(8)])
        twilio.wait_idle()
        assert [attempt.answer for attempt in twilio.callbacks()] == [204] * 8
        assert len({twilio.message(sid).created_at for sid in sids}) == 1


class TestOptOut:
    def test_advanced_opt_out_names_it_and_fails_later_messages_asynchronously(self, twilio, client, receiver):
        twilio.settings.advanced_opt_out = True
        for body, kind in (("help", "HELP"), ("Stop", "STOP")):
            twilio.receive(CUSTOMER, body)
            assert form(twilio, receiver)["OptOutType"] == kind
        assert twilio.wait_for(remind(client).sid, "failed").error_code == 21610
        twilio.receive(CUSTOMER, "start")
        assert form(twilio, receiver)["OptOutType"] == "START"
        twilio.wait_for(remind(client).sid, "read")
        twilio.receive(CUSTOMER, "please stop calling")
        assert "OptOutType" not in form(twilio, receiver)
        twilio.wait_for(remind(client).sid, "read")

    def test_stop_can_be_left_to_the_account(self, twilio, client, receiver):
        twilio.settings.stop_opts_out = False
        twilio.receive(CUSTOMER, "STOP")
        assert "OptOutType" not in form(twilio, receiver)
        twilio.wait_for(remind(client).sid, "read")
        twilio.settings.stop_opts_out = True
        twilio.receive(CUSTOMER, "STOP")
        assert refusal(lambda: remind(client)) == (400, 21610)
        later = remind(client, from_=None, messaging_service_sid=SERVICE)
        assert twilio.wait_for(later.sid, "failed").error_code == 21610


class TestTheControlRoute:
    def test_sends_everything(self, twilio, receiver):
        file = {"content_type": "image/png", "base64": base64.b64encode(PICTURE).decode()}
        control(twilio, "inbound", **{"from": "+447700900500", "body": "Look", "media": [file]})
        assert form(twilio, receiver)["MediaContentType0"] == "image/png"
        control(twilio, "inbound", **{"from": USER_ID, "button": {"text": "Yes", "payload": "y"}})
        assert form(twilio, receiver)["ButtonPayload"] == "y"
        control(twilio, "inbound", **{"from": "+447700900500", "item": {"id": "1", "title": "One"}})
        assert form(twilio, receiver)["ListTitle"] == "One"
        control(twilio, "inbound", **{"from": "+447700900500", "location": {"latitude": 1, "longitude": 2}})
        assert form(twilio, receiver)["Latitude"] == "1"
        many = [{"from": "+447700900500", "body": str(n)} for n in range(3)]
        assert len(control(twilio, "inbound", messages=many)["sids"]) == 3

    @pytest.mark.parametrize(
        "values",
        [{}, {"button": {"words": "Yes"}}, {"media": [{"base64": "eA=="}]},
         {"media": [{"content_type": "image/png", "base64": "x"}]}],
    )  # fmt: skip
    def test_says_what_is_wrong(self, twilio, values):
        with pytest.raises(urllib.error.HTTPError) as refused:
            control(twilio, "inbound", **{"from": "+447700900500", **values})
        assert refused.value.code == 400
        assert json.load(refused.value)["error"]
        assert twilio.messages() == []


def test_the_words_of_a_writing_are_its_button_or_line():
    assert Writing(button=Button("Yes")).words == "Yes"
    assert Writing(item=ListItem("1", "One")).words == "One"
