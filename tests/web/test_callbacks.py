"""Twilio's calls: believed only when signed, harmless when repeated, never lost when odd."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from dataclasses import replace
from urllib.parse import quote

import psycopg
import pytest
from flask import Flask, request

from tests.service_fixtures import ACCOUNT_SID, AUTH_TOKEN, SENDER, make_portal
from tests.start.processes import wait_until
from tests.web.twilio_calls import CUSTOMER, Twilio, WithReceiver, inbound_form, sid, signature, status_form
from whatsapp_logs import Config, Draft, Message, Status, WhatsAppService
from whatsapp_logs.web import refusals
from whatsapp_logs.web.limits import UNPROVEN_PER_MINUTE
from whatsapp_logs.web.receiver import Receiver

CALLBACK = "/whatsapp/status_callback"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LOGGERS = ("whatsapp_logs.web.callbacks", "whatsapp_logs.web.receiver")
LONG = random.Random(1).randbytes(4500).hex()  # an index takes long values that compress well, and fails at others
PROOFS = (Status.DELIVERED, Status.READ)


@pytest.fixture(params=["portal", "receiver"])
def twilio(request: pytest.FixtureRequest, app: Flask, config: Config, service: WhatsAppService) -> Twilio:
    """Twilio, calling the portal's route or the receiver before it: what one promises, the other does too."""
    client = app.test_client()
    answering = WithReceiver(client, Receiver(service)) if request.param == "receiver" else client
    return Twilio(answering, config.public_base_url)


@pytest.fixture
def sent(service: WhatsAppService) -> Message:
    """A message that Twilio has."""
    return service.log_message(message_sid=sid(1), to=CUSTOMER, body="Your policy")


def statuses(service: WhatsAppService, message: Message) -> list[str]:
    return [event.provider_status for event in service.timeline(message.id)]


class TestWhatTwilioSigned:
    def test_a_signed_callback_moves_the_message_and_is_answered_204(self, service, twilio, sent):
        answer = twilio.report(sid(1), "delivered", message=sent.id)
        assert (answer.status_code, answer.data) == (204, b"")
        assert service.message(sent.id).status is Status.DELIVERED

    def test_mistake_1_a_sent_message_is_tracked_to_read_by_callbacks_alone(self, service, work, simulator, live):
        draft = Draft(to=CUSTOMER, template=service.template("renewal_reminder", {"1": "A", "2": "B", "3": "C"}))
        message = service.send(draft)
        work()
        simulator.wait_idle()
        assert service.message(message.id).status is Status.READ
        assert {event.source for event in service.timeline(message.id)} == {"send", "callback"}
        assert {callback.answer for callback in simulator.callbacks()} == {204}

    def test_mistake_8_delivered_at_is_when_it_was_delivered_not_when_somebody_looked(self, service, twilio, sent):
        twilio.report(sid(1), "delivered")
        delivered_at = service.message(sent.id).delivered_at
        twilio.report(sid(1), "read")
        message = service.message(sent.id)
        assert delivered_at is not None
        assert (message.delivered_at, message.read_at and message.read_at > delivered_at) == (delivered_at, True)

    def test_the_whole_form_is_kept(self, service, twilio, sent):
        form = [*status_form(sid(1), "sent").items(), ("New", ""), ("Twice", "b"), ("Twice", "a"), ("Ünï", "ø £ +&=%")]
        assert twilio.post(CALLBACK, form).status_code == 204
        payload = service.timeline(sent.id)[-1].payload
        assert payload == {**status_form(sid(1), "sent"), "New": "", "Twice": ["b", "a"], "Ünï": "ø £ +&=%"}

    def test_a_failure_brings_its_code_and_text(self, service, twilio, sent):
        twilio.report(sid(1), "undelivered", ErrorCode="63024", ChannelStatusMessage="Invalid message recipient")
        message = service.message(sent.id)
        assert (message.status, message.error_code) == (Status.UNDELIVERED, "63024")
        assert message.error_message == "Invalid message recipient"

    def test_a_hook_of_the_portal_that_reads_the_form_first_does_no_harm(self, service, config, sent):
        app = make_portal(service)
        app.before_request(lambda: request.form.get("anything") and None)
        assert Twilio(app.test_client(), config.public_base_url).report(sid(1), "sent", New="").status_code == 204

    def test_mistake_16_a_burst_from_one_address_is_taken_whole(self, twilio, sent):
        assert {twilio.report(sid(1), "delivered").status_code for _ in range(300)} == {204}


class TestSecretsThatChange:
    """A portal that knows two auth tokens, and the secret of a webhook key."""

    OTHER, KEY = "test-token-of-tomorrow", "test-secret-of-a-key"
    SHA256 = "key=webhooks_sharedkey_01,algorithm=HMAC_SHA256"

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, twilio_secondary_auth_token=self.OTHER, twilio_webhook_key=self.KEY)

    def answer(self, twilio: Twilio, secret: str, algorithm: str, settings: str = "") -> int:
        form = status_form(sid(1), "read")
        proof = signature(twilio.public_base_url + CALLBACK, form, token=secret, algorithm=algorithm)
        said = {"X-Twilio-Webhooks-Signature-Settings": settings} if settings else {}
        return twilio.post(CALLBACK, form, headers={"X-Twilio-Signature": proof} | said).status_code

    @pytest.mark.parametrize("secret", [AUTH_TOKEN, OTHER])
    def test_both_tokens_are_good_while_one_replaces_the_other(self, service, twilio, sent, secret):
        assert self.answer(twilio, secret, "sha1") == 204
        assert service.message(sent.id).status is Status.READ

    def test_a_call_signed_with_a_webhook_key_is_believed(self, service, twilio, sent):
        assert self.answer(twilio, self.KEY, "sha256", self.SHA256) == 204
        assert service.message(sent.id).status is Status.READ

    @pytest.mark.parametrize(
        ("secret", "algorithm", "settings"),
        [
            (KEY, "sha1", ""),
            (AUTH_TOKEN, "sha256", "algorithm=HMAC_SHA256"),
            (KEY, "sha256", ""),
            (AUTH_TOKEN, "sha1", "algorithm=HMAC_SHA256"),
            (KEY, "md5", "algorithm=HMAC_MD5"),
            (AUTH_TOKEN, "sha1", "algorithm=none"),
            ("", "sha1", ""),
            ("test-token-of-yesterday", "sha1", ""),
        ],
    )
    def test_each_secret_is_good_for_its_own_algorithm_only(self, service, twilio, sent, secret, algorithm, settings):
        assert self.answer(twilio, secret, algorithm, settings) == 403
        assert statuses(service, sent) == ["queued"]

    def test_an_empty_setting_is_no_secret(self, app, service, sent):
        config = replace(service.config, twilio_secondary_auth_token="", twilio_webhook_key="")
        service.config = config
        twilio = Twilio(app.test_client(), config.public_base_url)
        assert self.answer(twilio, "", "sha1") == 403
        assert self.answer(twilio, "", "sha256", self.SHA256) == 403


class TestWhoIsRefused:
    @pytest.mark.parametrize("agent", ["TwilioProxy/1.1", "curl/8"])
    @pytest.mark.parametrize(
        "wrong",
        ["", "x", "ü", "=", signature("https://other.example.test/cb", status_form(sid(1), "read"))],
        ids=["none", "short", "not ascii", "blank", "another address"],
    )
    def test_fault_1_and_mistake_11_a_call_without_the_right_signature_changes_nothing(
        self, service, twilio, sent, wrong, agent
    ):
        headers = {"X-Twilio-Signature": wrong.encode().decode("latin-1"), "User-Agent": agent}
        answer = twilio.post(CALLBACK, status_form(sid(1), "read"), headers=headers)
        assert answer.status_code == 403
        assert answer.mimetype == "text/plain"
        assert statuses(service, sent) == ["queued"]

    def test_no_header_at_all_is_refused(self, twilio):
        assert twilio.client.post(CALLBACK, data=status_form(sid(1), "read")).status_code == 403

    def test_fault_1_many_refusals_are_one_line_without_phone_and_one_count(self, twilio, caplog, service):
        began = time.monotonic()
        with caplog.at_level(logging.WARNING):
            for _ in range(20):
                twilio.post(CALLBACK, status_form(sid(1), "read"), headers={"X-Twilio-Signature": "x"})
        lines = [record.getMessage() for record in caplog.records if record.name in LOGGERS]
        assert 1 <= len(lines) <= 1 + (time.monotonic() - began) // refusals.PAUSE_S
        assert all("signature wrong" in line for line in lines)
        assert "900123" not in caplog.text
        wait_until(lambda: service.readings().refused == {"signature wrong": 20})

    def test_a_stranger_is_asked_to_wait_and_twilio_never_from_the_same_address(self, twilio, sent):
        strangers = []
        while (not strangers or strangers[-1].status_code == 403) and len(strangers) < 10 * UNPROVEN_PER_MINUTE:
            strangers.append(twilio.post(CALLBACK, status_form(sid(1), "read"), headers={"X-Twilio-Signature": "x"}))
        assert len(strangers) > UNPROVEN_PER_MINUTE  # and more where they take longer: one a second is granted
        assert strangers[-1].status_code == 429
        assert int(strangers[-1].headers["Retry-After"]) > 0
        assert twilio.report(sid(1), "delivered", message=sent.id).status_code == 204

    def test_fault_3_each_part_of_a_signed_callback_flipped_in_turn_is_refused(self, config, service, twilio, sent):
        form = status_form(sid(1), "read", ErrorCode="", ErrorMessage="a b")
        path = f"{CALLBACK}?message={sent.id}"
        proof = {"X-Twilio-Signature": signature(config.public_base_url + path, form)}
        altered = [
            form | {name: flipped} for name in form for flipped in (form[name] + "x", form[name].lower()[1:], "z")
        ]
        altered += [{key: value for key, value in form.items() if key != name} for name in form]
        altered += [form | {"Another": ""}, {**form, "MessageStatusr": "ead"}]
        answers = {twilio.post(path, other, headers=proof).status_code for other in altered if other != form}
        for other in (CALLBACK, f"{CALLBACK}?message={sent.id + 1}", f"{path}&x=", f"{CALLBACK}?Message={sent.id}"):
            answers.add(twilio.post(other, form, headers=proof).status_code)
        assert answers == {403}
        assert statuses(service, sent) == ["queued"]
        assert twilio.post(path, form, headers=proof).status_code == 204

    def test_a_field_moved_between_address_and_form_is_refused(self, config, twilio, sent):
        """The signed text has no separators, so `?message=1` + `7AccountSid` reads like `?message=17` + `AccountSid`."""
        form = status_form(sid(1), "read")
        proof = {"X-Twilio-Signature": signature(f"{config.public_base_url}{CALLBACK}?message=17", form)}
        del form["AccountSid"]
        moved = form | {"7AccountSid": ACCOUNT_SID}
        assert signature(f"{config.public_base_url}{CALLBACK}?message=1", moved) == proof["X-Twilio-Signature"]
        assert twilio.post(f"{CALLBACK}?message=1", moved, headers=proof).status_code == 403

    def test_another_account_is_refused_even_with_our_token(self, twilio, service, sent):
        assert twilio.report(sid(1), "read", AccountSid="AC" + "b" * 32).status_code == 403
        assert statuses(service, sent) == ["queued"]

    def test_without_a_token_nobody_can_prove_anything(self, dsn):
        service = WhatsAppService(Config(database_url=dsn, secret_key="k" * 16, public_base_url="http://127.0.0.1:1"))
        form = status_form(sid(1), "read", AccountSid="")
        proof = signature(f"http://127.0.0.1:1{CALLBACK}", form, token="")
        answer = make_portal(service).test_client().post(CALLBACK, data=form, headers={"X-Twilio-Signature": proof})
        assert answer.status_code == 403

    def test_a_page_in_a_browser_cannot_read_the_address(self, twilio):
        assert twilio.client.get(CALLBACK).status_code == 405


class TestBehindAProxy:
    @pytest.mark.parametrize(
        "public",
        ["https://portal.example.test", "https://portal.example.test:8443", "https://example.test/office/whatsapp"],
    )
    def test_fault_4_the_public_address_is_what_was_signed_whatever_the_request_says_of_itself(
        self, config, public, dsn
    ):
        service = WhatsAppService(_at(config, public))
        twilio = Twilio(make_portal(service).test_client(), public)
        answer = twilio.post(
            f"{CALLBACK}?message=5&x=a%20b&y=",
            status_form(sid(1), "sent", Blank=""),
            base_url="http://10.0.0.7:8800",
            headers={"X-Forwarded-Host": "evil.example.test", "X-Forwarded-Proto": "http", "Forwarded": "host=evil"},
        )
        assert answer.status_code == 204
        service.close()

    def test_a_signature_for_the_address_that_the_request_claims_is_refused(self, config):
        service = WhatsAppService(_at(config, "https://portal.example.test"))
        client, form = make_portal(service).test_client(), status_form(sid(1), "sent")
        for claimed in ("http://evil.example.test", "http://portal.example.test", "https://portal.example.test/"):
            headers = {
                "X-Twilio-Signature": signature(claimed + CALLBACK, form),
                "X-Forwarded-Host": "evil.example.test",
                "Host": "evil.example.test",
            }
            assert client.post(CALLBACK, data=form, headers=headers).status_code == 403

    @pytest.mark.parametrize("port", ["", ":443"])
    def test_the_default_port_may_be_signed_or_not(self, config, port):
        service = WhatsAppService(_at(config, "https://portal.example.test"))
        client, form = make_portal(service).test_client(), status_form(sid(1), "sent")
        proof = signature(f"https://portal.example.test{port}{CALLBACK}", form)
        assert client.post(CALLBACK, data=form, headers={"X-Twilio-Signature": proof}).status_code == 204
        service.close()


def _at(config: Config, public: str) -> Config:
    return replace(config, public_base_url=public)


class TestRepeatsAndOrder:
    def test_fault_2_a_callback_replayed_100_times_is_one_event(self, service, twilio, sent):
        assert {twilio.report(sid(1), "delivered", message=sent.id).status_code for _ in range(100)} == {204}
        assert statuses(service, sent) == ["queued", "delivered"]
        assert service.status_counts() == {Status.DELIVERED: 1}

    def test_mistake_9_every_order_of_the_statuses_ends_read(self, service, twilio):
        words = ("queued", "sending", "sent", "delivered", "read")
        for number, order in enumerate(itertools.permutations(words), start=1):
            service.log_message(message_sid=sid(number), to=CUSTOMER)
            for word in order:
                twilio.report(sid(number), word)
        assert service.status_counts() == {Status.READ: 120}

    @pytest.mark.parametrize("failure", ["failed", "undelivered", "canceled"])
    def test_a_receipt_outranks_a_failure_and_a_failure_everything_before(self, service, twilio, failure):
        words = ("queued", "sending", "sent", "delivered", "read")
        for number, (word, failure_first) in enumerate(itertools.product(words, (True, False)), start=1):
            message = service.log_message(message_sid=sid(number), to=CUSTOMER)
            pair = [(failure, {"ErrorCode": "30008"}), (word, {})]
            for status, more in pair if failure_first else reversed(pair):
                twilio.report(sid(number), status, **more)
            message = service.message(message.id)
            receipt = Status(word) in PROOFS
            assert message.status == (word if receipt else failure)
            assert message.error_code == (None if receipt else "30008")
            assert failure in statuses(service, message)

    def test_50_threads_in_random_order_end_exact(self, service, app, config):
        messages = [service.log_message(message_sid=sid(n), to=CUSTOMER) for n in range(1, 9)]
        calls = [(m.provider_id, word) for m in messages for word in ("sent", "delivered", "read") for _ in range(3)]
        random.Random(4).shuffle(calls)
        answers: list[int] = []

        def post(share: list[tuple[str | None, str]]) -> None:
            twilio = Twilio(app.test_client(), config.public_base_url)
            answers.extend(twilio.report(str(message_sid), word).status_code for message_sid, word in share)

        threads = [threading.Thread(target=post, args=(calls[n::50],)) for n in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [204] * len(calls)
        assert service.status_counts() == {Status.READ: 8}
        assert [len(service.timeline(m.id)) for m in messages] == [4] * 8


class TestEarlyAndUnknown:
    def test_a_callback_that_overtakes_the_create_answer_finds_its_row_by_our_id(self, service, twilio):
        message = service.send(Draft(to=CUSTOMER, body="Hello"))
        twilio.report(sid(7), "sent", message=message.id)
        assert service.message(message.id).provider_id == sid(7)
        assert service.message(message.id).status is Status.SENT

    def test_a_callback_inside_the_create_call_is_not_turned_back(self, service, simulator, live, work):
        simulator.settings.latency_s = 0.2  # the create call answers after the callbacks
        message = service.send(
            Draft(to=CUSTOMER, template=service.template("renewal_reminder", {"1": "A", "2": "B", "3": "C"}))
        )
        work()
        simulator.wait_idle()
        assert service.message(message.id).status is Status.READ

    def test_an_unknown_sid_is_parked_and_adopted_when_the_row_appears(self, service, twilio, conn):
        assert twilio.report(sid(9), "delivered").status_code == 204
        assert parked(conn) == [(sid(9), "delivered")]
        message = service.log_message(message_sid=sid(9), to=CUSTOMER)
        assert message.status is Status.DELIVERED
        assert parked(conn) == []

    @pytest.mark.parametrize("message", ["999999999", "0", "-1", "abc", "", "9" * 30, "٣", "1&message=2"])
    def test_an_odd_id_in_the_address_does_no_harm(self, service, twilio, sent, message):
        answer = twilio.report(sid(1), "sent", message=quote(message, safe="&="))
        assert answer.status_code == 204
        assert service.message(sent.id).status is Status.SENT

    def test_mistake_14_an_attempt_without_a_sid_takes_its_report(self, service, twilio):
        refused = service.send(Draft(to="12", body="Hello"))
        assert (refused.status, refused.provider_id) == (Status.FAILED, None)
        assert twilio.report("", "failed", message=refused.id).status_code == 204


class TestOddButSigned:
    @pytest.mark.parametrize("word", ["teleported", "READ ", "", LONG, "nul\0nul", "<script>", "ünï"])
    def test_any_status_word_is_kept(self, service, twilio, sent, word):
        assert twilio.report(sid(1), word).status_code == 204
        event = service.timeline(sent.id)[-1]
        assert event.payload["MessageStatus"] == word.replace("\0", "␀")

    def test_a_missing_status_is_kept(self, service, twilio, sent):
        form = status_form(sid(1), "sent")
        del form["MessageStatus"], form["SmsStatus"]
        assert twilio.post(CALLBACK, form).status_code == 204
        assert statuses(service, sent) == ["queued", "(none)"]
        assert service.message(sent.id).status is Status.QUEUED

    def test_an_unknown_error_code_is_kept(self, service, twilio, sent):
        assert twilio.report(sid(1), "failed", ErrorCode="99999\0", ErrorMessage="\0" * 9).status_code == 204
        assert service.message(sent.id).error_code == "99999␀"

    def test_a_report_with_nothing_but_the_account_is_kept(self, twilio, conn):
        assert twilio.post(CALLBACK, {"AccountSid": ACCOUNT_SID}).status_code == 204
        assert parked(conn) == [(None, "(none)")]

    def test_long_and_wrong_values_everywhere_are_answered_2xx_or_4xx(self, twilio, sent):
        form = status_form(sid(1), "sent")
        for name, odd in itertools.product([*form, "ErrorCode", "ErrorMessage"], ["", "\0", LONG, "\ud7ff\uffff", "'"]):
            assert twilio.post(CALLBACK, form | {name: odd}).status_code in (204, 403), (name, odd[:9])

    def test_a_body_of_10_mb_is_refused(self, twilio):
        assert twilio.report(sid(1), "sent", Body="x" * 10_000_000).status_code == 413

    def test_10_000_parameters_are_refused(self, twilio):
        form = {f"a{n}": "" for n in range(10_000)}
        assert twilio.post(CALLBACK, form).status_code in (400, 413)
        assert twilio.post(CALLBACK, {f"a{n}": "" for n in range(501)}).status_code == 400

    @pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"%ff%", b"a=%00&&=&=", b'{"a":1}', b"--x"])
    @pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
    def test_bodies_that_are_no_form_are_refused(self, twilio, body, kind):
        answer = twilio.client.post(CALLBACK, data=body, content_type=kind, headers={"X-Twilio-Signature": "x" * 28})
        assert answer.status_code == 403


class TestOutage:
    def test_an_unreachable_database_is_503_so_that_twilio_tries_again(self, config):
        away = replace(config, database_url="postgresql://nobody@127.0.0.1:9/none", pool_timeout_s=0.2)
        service = WhatsAppService(away)
        for path, form in ((CALLBACK, status_form(sid(1), "sent")), ("/whatsapp/inbound", inbound_form(sid(2), "Hi"))):
            answer = Twilio(make_portal(service).test_client(), config.public_base_url).post(path, form)
            assert (answer.status_code, answer.mimetype) == (503, "text/plain")
        service.close()

    def test_the_message_asks_twilio_for_retries(self, service, simulator, work):
        service.send(Draft(to=CUSTOMER, template=service.template("renewal_reminder", {"1": "A", "2": "B", "3": "C"})))
        work()
        simulator.wait_idle()  # nobody listens
        assert max(attempt.attempt for attempt in simulator.callbacks()) == 6


class TestInbound:
    def test_a_customers_message_is_written_down_once_and_answered_with_empty_twiml(self, service, twilio):
        form = inbound_form(sid(3), "Thank you 🙏", Blank="")
        for _ in range(3):
            answer = twilio.post("/whatsapp/inbound", form)
            assert (answer.status_code, answer.mimetype) == (200, "text/xml")
            assert answer.text.endswith("<Response/>")
        message = service.message_by_sid(sid(3))
        assert (message.direction, message.status, message.body) == ("inbound", Status.RECEIVED, "Thank you 🙏")
        assert (message.sender, message.recipient) == (CUSTOMER[9:], SENDER[9:])
        assert [event.payload["ProfileName"] for event in service.timeline(message.id)] == ["Asha"]

    def test_its_file_is_remembered(self, service, twilio):
        more = {"NumMedia": "1", "MediaUrl0": "https://media.example.test/ME1", "MediaContentType0": "image/jpeg"}
        twilio.post("/whatsapp/inbound", inbound_form(sid(3), "", **more))
        assert service.message_by_sid(sid(3)).media_url == "https://media.example.test/ME1"

    def test_a_forged_one_is_refused(self, service, twilio):
        answer = twilio.post("/whatsapp/inbound", inbound_form(sid(3), "Hi"), headers={"X-Twilio-Signature": "x"})
        assert answer.status_code == 403
        assert service.status_counts() == {}

    def test_odd_ones_do_no_harm(self, twilio):
        names = ["From", "To", "Body", "MessageSid", "NumMedia", "MediaUrl0", "ProfileName"]
        for number, (name, odd) in enumerate(itertools.product(names, ["", "\0", LONG]), 10):
            form = inbound_form(sid(number), "Hi") | {name: odd}
            assert twilio.post("/whatsapp/inbound", form).status_code in (200, 400), (name, odd[:9])

    def test_one_without_a_sid_is_refused_because_a_repeat_could_not_be_told(self, twilio):
        form = inbound_form("", "Hi")
        assert twilio.post("/whatsapp/inbound", form).status_code == 400

    def test_the_log_line_has_four_digits_and_no_text(self, twilio, caplog):
        with caplog.at_level(logging.DEBUG, logger="whatsapp_logs"):
            twilio.post("/whatsapp/inbound", inbound_form(sid(3), "my secret"))
        assert "0123" in caplog.text
        assert "700900123" not in caplog.text
        assert "secret" not in caplog.text


def parked(conn: psycopg.Connection[tuple[object, ...]]) -> list[tuple[object, ...]]:
    conn.rollback()
    query = "SELECT provider_id, provider_status FROM whatsapp_logs.status_events WHERE message_id IS NULL ORDER BY id"
    return conn.execute(query).fetchall()
