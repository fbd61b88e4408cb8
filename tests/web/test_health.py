"""Health, self-test, probes and reconciliations as people and machines see them."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import psycopg
import pytest
from flask import Flask

from tests.service_fixtures import Person, make_portal
from tests.test_reconcile import send_without_us
from tests.test_refresh import send_many
from tests.web.twilio_calls import Twilio, sid
from whatsapp_logs import Config, Source, Status, StatusReport, WhatsAppService, self_test
from whatsapp_logs.twilio.simulator import Simulator

SignIn = Callable[[str], Person]
Work = Callable[[], None]
TOKEN = "a token for the monitoring of the tests"


def text_of(answer: object) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())  # type: ignore[attr-defined]


class TestHealthPage:
    def test_alarms_say_what_to_do_and_the_log_page_says_that_there_are_some(self, signed_in: SignIn) -> None:
        page = text_of(signed_in("agent").get("/whatsapp_logs/health"))
        assert "No worker has ever run" in page
        assert "What to do: Start" in page
        assert "No worker has ever run" in text_of(signed_in("agent").get("/whatsapp_logs"))

    def test_those_who_cannot_do_anything_are_not_alarmed(self, signed_in: SignIn) -> None:
        viewer = signed_in("viewer")
        assert "No worker" not in viewer.get("/whatsapp_logs").text
        assert viewer.get("/whatsapp_logs/health").status_code == 403

    def test_without_alarms_it_says_so(self, signed_in: SignIn, service: WhatsAppService) -> None:
        with service.transaction() as conn:
            conn.execute("INSERT INTO whatsapp_logs.procrastinate_workers DEFAULT VALUES")
        person = signed_in("agent")
        assert "No alarm." in text_of(person.get("/whatsapp_logs/health"))
        assert "wl-notice" not in person.get("/whatsapp_logs").text

    def test_fault_17_during_an_outage_no_page_shows_zeros(self, signed_in: SignIn, service: WhatsAppService) -> None:
        person = signed_in("administrator")
        service.close()
        for path in ("/whatsapp_logs/health", "/whatsapp_logs/reconciliations"):
            answer = person.get(path)
            assert answer.status_code == 503, path
            assert "The database cannot be reached" in text_of(answer)


def test_fault_15_sent_for_a_day_without_a_receipt_says_so_and_late_truth_wins(
    signed_in: SignIn, service: WhatsAppService
) -> None:
    person, sent = signed_in("agent"), {}
    for hours in (23, 25, 49, 31 * 24):
        at = datetime.now(UTC) - timedelta(hours=hours)
        message = service.log_message(message_sid=sid(hours), to="+447700900123", created_at=at)
        report = StatusReport(provider_status="sent", provider_id=message.provider_id, happened_at=at)
        service.record([report], source=Source.CALLBACK)
        sent[hours] = message
    pages = {hours: text_of(person.get(f"/whatsapp_logs/messages/{message.id}")) for hours, message in sent.items()}
    assert "not confirmed" not in pages[23]
    assert "not confirmed for 1 day" in pages[25]
    assert "not confirmed for 2 days" in pages[49]
    assert "not confirmed for 2 days" in text_of(person.get("/whatsapp_logs"))
    assert "goes on trying" not in pages[23]
    for hours in (25, 49):
        assert "It goes on trying until" in pages[hours]
        assert "Do not send it again before that day" in pages[hours]
    assert "Not asked about since WhatsApp stopped trying" in pages[31 * 24]
    assert "goes on trying" not in pages[31 * 24]
    service.record([StatusReport(provider_status="sent", provider_id=sid(31 * 24))], source=Source.REFRESH)
    assert "WhatsApp has given it up" in text_of(person.get(f"/whatsapp_logs/messages/{sent[31 * 24].id}"))
    service.record([StatusReport(provider_status="not_found", provider_id=sid(31 * 24))], source=Source.REFRESH)
    page = text_of(person.get(f"/whatsapp_logs/messages/{sent[31 * 24].id}"))
    assert "Twilio does not know it" in page
    assert "Unknown to Twilio by asking Twilio" in page
    assert "not known here" not in page, "it is a word of ours"
    late = StatusReport(provider_status="delivered", provider_id=sid(49))
    service.record([late], source=Source.CALLBACK)
    page = text_of(person.get(f"/whatsapp_logs/messages/{sent[49].id}"))
    assert "Delivered" in page
    assert "not confirmed" not in page
    assert "goes on trying" not in page
    assert service.message(sent[49].id).status is Status.DELIVERED


class TestSelfTest:
    def test_the_whole_way_is_well_and_leaves_no_row(
        self, live: str, worker: None, signed_in: SignIn, service: WhatsAppService
    ) -> None:
        person = signed_in("administrator")
        page = person.post("/whatsapp_logs/health/callback", follow_redirects=True)
        assert [f"{part} " in text_of(page) for part in ("Name", "Connection", "Path", "Signature", "Worker")] == [
            True
        ] * 5
        assert "fails" not in page.text
        with service.transaction() as conn:
            for table in ("messages", "status_events"):
                assert conn.execute(f"SELECT count(*) FROM whatsapp_logs.{table}".encode()).fetchone() == (0,)
        assert "Signature" not in person.get("/whatsapp_logs/health").text, "a result is shown once"

    def test_only_administrators_may_test(self, signed_in: SignIn) -> None:
        assert signed_in("agent").post("/whatsapp_logs/health/callback").status_code == 403

    def test_a_name_that_dns_does_not_know(self, service: WhatsAppService, config: Config) -> None:
        assert self.broken(service, replace(config, public_base_url="https://portal.invalid")) == (
            "name",
            "DNS does not know portal.invalid. Check PUBLIC_BASE_URL and the name's DNS entry.",
        )

    def test_nobody_listens(self, service: WhatsAppService, config: Config) -> None:
        part, words = self.broken(service, config)
        assert part == "connection"
        assert "takes no connection" in words

    def test_a_certificate_of_somebody_else(self, service: WhatsAppService, config: Config, tls: str) -> None:
        part, words = self.broken(service, replace(config, public_base_url=tls))
        assert part == "connection"
        assert words.startswith("TLS fails")

    @pytest.mark.parametrize(
        ("status", "told"),
        [
            (200, "answers 200"),
            (302, "redirects"),
            (403, "answers 403"),
            (404, "answers 404"),
            (502, "proxy"),
            (503, "503"),
        ],
    )
    def test_a_proxy_that_leads_elsewhere(
        self, service: WhatsAppService, config: Config, stranger: Callable[[int], str], status: int, told: str
    ) -> None:
        part, words = self.broken(service, replace(config, public_base_url=stranger(status)))
        assert part == "path"
        assert told in words

    def test_a_web_server_that_knows_another_token(self, live: str, service: WhatsAppService, config: Config) -> None:
        part, words = self.broken(service, replace(config, twilio_auth_token="another"))
        assert part == "signature"
        assert "TWILIO_AUTH_TOKEN" in words

    def test_a_portal_with_another_database(self, live: str, config: Config, new_database: Callable[[], str]) -> None:
        elsewhere = WhatsAppService(replace(config, database_url=new_database()))
        part, words = self.broken(elsewhere, config)
        elsewhere.close()
        assert part == "path"
        assert "another database" in words

    def test_a_worker_that_is_away(self, live: str, service: WhatsAppService) -> None:
        part, words = self.broken(service, service.config)
        assert part == "worker"
        assert "worker` runs" in words

    def test_a_stranger_cannot_play_a_self_test(self, app: Flask, config: Config) -> None:
        twilio = Twilio(app.test_client(), config.public_base_url)
        path = "/whatsapp/status_callback?message=selftest-" + "0" * 32
        assert twilio.post(path, {"AccountSid": config.twilio_account_sid}).status_code == 404
        assert app.test_client().post(path).status_code == 403

    @staticmethod
    def broken(service: WhatsAppService, config: Config) -> tuple[str, str]:
        *well, last = self_test.run(service.transaction, config, worker_timeout_s=0.3)
        assert all(step.is_well for step in well)
        assert not last.is_well
        return last.part, last.words

    @pytest.fixture
    def stranger(self) -> Iterator[Callable[[int], str]]:
        """Another program at the public address, which answers every call with one status."""
        servers = []

        def start(status: int) -> str:
            class Answer(BaseHTTPRequestHandler):
                def do_POST(self) -> None:
                    self.rfile.read(int(self.headers["Content-Length"]))
                    self.send_response(status)
                    if status == 302:
                        self.send_header("Location", "/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

                def log_message(self, *_: object) -> None:
                    pass

            servers.append(HTTPServer(("127.0.0.1", 0), Answer))
            threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
            return f"http://127.0.0.1:{servers[-1].server_address[1]}"

        yield start
        for server in servers:
            server.shutdown()
            server.server_close()

    @pytest.fixture
    def tls(self) -> Iterator[str]:
        """An address whose handshake fails as one with a wrong certificate does: the server has none."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

            def refuse() -> None:
                connection, _ = listening.accept()
                try:
                    context.wrap_socket(connection, server_side=True)
                except OSError:
                    connection.close()

            threading.Thread(target=refuse, daemon=True).start()
            yield f"https://127.0.0.1:{listening.getsockname()[1]}"


class TestProbes:
    def test_livez_answers_whatever_is_away_and_readyz_says_what(self, config: Config, dsn: str) -> None:
        service = WhatsAppService(config)
        client = make_portal(service).test_client()
        assert (client.get("/whatsapp/livez").status_code, client.get("/whatsapp/readyz").text) == (200, "ready\n")
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("DELETE FROM whatsapp_logs.migrations WHERE version > 5")
        behind = client.get("/whatsapp/readyz")
        assert behind.status_code == 503
        assert "run_whatsapp_migration.py --apply" in behind.text
        service.close()
        assert client.get("/whatsapp/readyz").status_code == 503
        assert "database" in client.get("/whatsapp/readyz").text
        assert client.get("/whatsapp/livez").text == "ok\n"

    def test_a_portal_may_have_them_at_its_root(self, service: WhatsAppService) -> None:
        client = make_portal(service, probes_below="").test_client()
        assert client.get("/livez").text == "ok\n"
        assert client.get("/readyz").text == "ready\n"
        assert client.get("/metrics").status_code == 403

    def test_metrics_are_for_those_who_know_the_token(self, config: Config) -> None:
        for given, told in (("", "Set METRICS_TOKEN"), (TOKEN, "need METRICS_TOKEN")):
            service = WhatsAppService(replace(config, metrics_token=given))
            answer = make_portal(service).test_client().get("/whatsapp/metrics", headers={"Authorization": "Bearer "})
            service.close()
            assert answer.status_code == 403
            assert told in answer.text

    def test_metrics_count_and_name_nobody(
        self, config: Config, simulator: Simulator, service: WhatsAppService, work: Work
    ) -> None:
        send_many(service, work, simulator, 2)
        watched = WhatsAppService(replace(config, metrics_token=TOKEN))
        answer = (
            make_portal(watched).test_client().get("/whatsapp/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        )
        watched.close()
        assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
        lines = answer.text.splitlines()
        assert (
            'whatsapp_logs_messages{status="sending"} 2' in lines
            or 'whatsapp_logs_messages{status="queued"} 2' in lines
        )
        assert 'whatsapp_logs_alarm{name="worker_away"} 1' in lines
        assert 'whatsapp_logs_alarm{name="no_callbacks"} 0' in lines
        assert "whatsapp_logs_queue_age_seconds 0" in lines
        for line in lines:
            assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|whatsapp_logs_\w+(\{\w+="[\w -]+"\})? -?[\d.e+]+', line), line
        assert "7700" not in answer.text


class TestReconciliationPages:
    def test_a_day_is_asked_for_done_and_told(
        self, signed_in: SignIn, service: WhatsAppService, simulator: Simulator, work: Work
    ) -> None:
        [ours] = send_many(service, work, simulator, 1)
        service.refresh_message(service.message(ours))
        foreign = send_without_us(simulator, service)
        person = signed_in("administrator")
        day = datetime.now(UTC).date()
        going = person.post("/whatsapp_logs/reconciliations", data={"day": day.isoformat()}, follow_redirects=True)
        assert f"Comparing {day.day} {day:%b}" in text_of(going)
        work()
        address = going.request.path
        page = text_of(person.get(address))
        assert f"Reconciled {day.day} {day:%b}: 2 at Twilio, 1 here" in page
        assert "Imported, and marked as found at Twilio." in page
        assert f"Reconciled {day.day} {day:%b}" in text_of(person.get("/whatsapp_logs/reconciliations"))
        found = service.message_by_sid(foreign)
        assert "not sent by this portal" in text_of(person.get(f"/whatsapp_logs/messages/{found.id}"))
        assert "not sent by this portal" not in text_of(person.get(f"/whatsapp_logs/messages/{ours}"))
        person.post("/whatsapp_logs/reconciliations", data={"day": day.isoformat()})
        work()
        assert f"Reconciled {day.day} {day:%b}: 2 = 2" in text_of(person.get("/whatsapp_logs/reconciliations"))

    def test_a_paused_run_says_why_and_when_it_goes_on(
        self, signed_in: SignIn, service: WhatsAppService, simulator: Simulator
    ) -> None:
        simulator.settings.read_error = "429"
        run = service.reconcile_day(datetime.now(UTC).date(), started_by=None)
        service.run_reconciliation(run.id)
        page = text_of(signed_in("viewer").get(f"/whatsapp_logs/reconciliations/{run.id}"))
        assert "Twilio is busy (429)" in page
        assert "goes on by itself at" in page

    def test_only_administrators_ask_and_only_for_days_there_were(self, signed_in: SignIn) -> None:
        path = "/whatsapp_logs/reconciliations"
        assert signed_in("agent").post(path, data={"day": "2026-11-20"}).status_code == 403
        person = signed_in("administrator")
        for wrong in ("", "yesterday", "9999-01-01", "2026-13-01"):
            assert person.post(path, data={"day": wrong}).status_code == 400, wrong
        for address in ("99", "9" * 25):
            assert person.get(f"{path}/{address}").status_code == 404

    def test_a_long_list_of_differences_is_cut_with_a_word(self, signed_in: SignIn, service: WhatsAppService) -> None:
        run = service.reconcile_day(datetime.now(UTC).date(), started_by=None)
        with service.transaction() as conn:
            conn.execute(
                "INSERT INTO whatsapp_logs.reconciliation_differences (reconciliation_id, provider_id, kind, theirs) "
                "SELECT %s, 'SM' || n, 'imported', 'sent' FROM generate_series(1, 501) AS n",
                [run.id],
            )
        page = signed_in("viewer").get(f"/whatsapp_logs/reconciliations/{run.id}")
        assert "The first 500 are shown" in page.text
        assert page.text.count("<li>") == 500
        assert sid(1) not in page.text
