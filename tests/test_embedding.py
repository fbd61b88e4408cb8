"""The log moves into a portal that is not ours. Every block of code of docs/embedding.md runs here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flask
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import office
from tests.start.processes import PATIENCE_S
from tests.web.twilio_calls import CUSTOMER, Twilio, sid
from whatsapp_logs import ROLES, Config, Draft, Status, Viewer, WhatsAppLogs, WhatsAppService
from whatsapp_logs.errors import DatabaseAway, InvalidInput, LoggingFailed
from whatsapp_logs.jobs import make_app
from whatsapp_logs.store import migrate

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/embedding.md").read_text(encoding="utf-8")
POLICY_IDS = {
    "TEXT clients, BIGINT policies": 9000000001,
    "TEXT clients, UUID policies": "5e000000-0000-4000-8000-000000000001",
}
PDF = b"%PDF-1.7 nobody's policy"


def block(heading: str) -> str:
    """The first block of code below a heading of docs/embedding.md."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert found, f"no code below {heading}"
    return found[1]


@dataclass
class Office:
    """The portal after the move: its app, the names of its module, and what Twilio and its people see."""

    app: Flask
    names: dict[str, Any]
    dsn: str
    policy_id: int | str

    @property
    def whatsapp(self) -> WhatsAppService:
        return self.names["whatsapp"]

    def somebody(self, who: str | None = None) -> FlaskClient:
        client = self.app.test_client()
        if who:
            with client.session_transaction() as session:
                session["staff"] = who
        return client


@pytest.fixture(params=office.TABLES)
def tables(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def office_dsn(new_database: Callable[..., str], tables: str) -> str:
    """The portal's own database, in use before the log's tables come."""
    dsn = new_database(migrated=False)
    with psycopg.connect(dsn) as conn:
        conn.execute(office.TABLES[tables])
    migrate.apply(dsn)
    return dsn


@pytest.fixture
def env(config: Config, office_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """The settings that the page asks for, in the environment."""
    settings = {
        "DATABASE_URL": office_dsn,
        "SECRET_KEY": config.secret_key,
        "TWILIO_ACCOUNT_SID": config.twilio_account_sid,
        "TWILIO_AUTH_TOKEN": config.twilio_auth_token,
        "TWILIO_WHATSAPP_FROM": config.twilio_whatsapp_from,
        "TWILIO_API_BASE_URL": config.twilio_api_base_url,
        "PUBLIC_BASE_URL": config.public_base_url,
        "TWILIO_TEMPLATE_POLICY_DOCUMENT": config.templates["policy_document"],
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)  # no .env of ours
    return settings


def move_in(dsn: str, *, policy_id: int | str, protected: str = "never") -> Office:
    """The office with the page's six lines added; `protected` says when its programmer sets up CSRFProtect."""
    app = office.make_office(dsn)
    if protected == "before":
        office.protect(app)
    names: dict[str, Any] = {"app": app, "g": flask.g, "url_for": flask.url_for}
    exec(block("Six lines"), names)
    exec(block("Sending"), names)
    if protected == "after":
        office.protect(app)
    return Office(app, names, dsn, policy_id)


@pytest.fixture(params=["never", "before", "after"])
def moved_in(request: pytest.FixtureRequest, env: dict[str, str], office_dsn: str, tables: str) -> Iterator[Office]:
    here = move_in(office_dsn, policy_id=POLICY_IDS[tables], protected=request.param)
    yield here
    here.whatsapp.close()


@pytest.fixture
def here(env: dict[str, str], office_dsn: str, tables: str) -> Iterator[Office]:
    here = move_in(office_dsn, policy_id=POLICY_IDS[tables])
    yield here
    here.whatsapp.close()


def token(client: FlaskClient) -> str:
    """The token that a page of the log gives to its forms."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/whatsapp_logs").text)
    assert found
    return found[1]


def test_it_takes_six_lines():
    lines = [line for line in block("Six lines").splitlines() if line.strip()]
    assert len(lines) == 6


def test_the_log_shows_in_the_offices_layout_for_its_own_people(here: Office):
    page = here.somebody("ann").get("/whatsapp_logs")
    assert page.status_code == 200
    assert "– Example Insurance Office</title>" in page.text
    assert "Example Insurance Office · Ann Onymous" in page.text
    assert "/static/office.css" in page.text
    assert "/whatsapp_logs/static/" in page.text
    assert "office.css" in here.somebody("ann").get("/static/office.css", follow_redirects=True).request.path


def test_who_is_not_signed_in_goes_to_the_offices_own_sign_in_and_comes_back(here: Office):
    client = here.somebody()
    answer = client.get("/whatsapp_logs?status=failed")
    assert (answer.status_code, answer.location) == (302, "/sign-in?next=/whatsapp_logs?status%3Dfailed")
    back = client.post(answer.location, data={"who": "ann"})
    assert back.location == "/whatsapp_logs?status=failed"
    assert client.get(back.location).status_code == 200


def test_the_offices_roles_decide(here: Office):
    client = here.somebody("vic")
    assert client.get("/api/whatsapp/stats").status_code == 200
    assert client.post("/api/whatsapp/refresh_all_statuses").status_code == 403


def test_the_offices_own_pages_and_errors_stay_its_own(moved_in: Office):
    client = moved_in.somebody("ann")
    assert client.get("/nowhere").text == "The office has no such page."
    home = client.get("/")
    assert home.status_code == 200
    assert "Content-Security-Policy" not in home.headers
    with psycopg.connect(moved_in.dsn) as conn:
        if conn.execute("SELECT to_regclass('public.messages') IS NOT NULL").fetchone() == (True,):
            assert conn.execute("SELECT note FROM public.messages").fetchall() == [("ours",)]


def test_the_offices_own_forms_are_protected_exactly_as_before(moved_in: Office):
    protected = "csrf" in moved_in.app.extensions
    client = moved_in.somebody("ann")
    bare = client.post("/clients", data={"id": "C-1", "name": "No Token"})
    assert bare.status_code == (400 if protected else 200)
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert (found is not None) is protected
    if found:
        answer = client.post("/clients", data={"id": "C-1", "name": "Token", "csrf_token": found[1]})
        assert answer.text == "added"


def test_changes_of_the_log_need_the_sessions_token_whatever_the_office_does(moved_in: Office):
    client = moved_in.somebody("ann")
    refused = client.post("/api/whatsapp/refresh_status", json={"message_sid": sid(1)})
    assert (refused.status_code, refused.json["field"]) == (400, "csrf_token")
    headers = {"X-CSRFToken": token(client)}
    assert client.post("/api/whatsapp/refresh_status", json={"message_sid": sid(1)}, headers=headers).status_code == 404


def test_twilios_calls_pass_the_offices_protection(moved_in: Office, config: Config):
    message = moved_in.whatsapp.log_message(message_sid=sid(1), to=CUSTOMER, client_id="C-0042")
    twilio = Twilio(moved_in.app.test_client(), config.public_base_url)
    assert twilio.report(sid(1), "delivered", message=message.id).status_code == 204
    assert twilio.post("/whatsapp/status_callback", {}, headers={"X-Twilio-Signature": "x"}).status_code == 403
    assert moved_in.whatsapp.message(message.id).status is Status.DELIVERED


def test_sending_carries_the_offices_ids_in_the_offices_transaction(here: Office):
    with here.app.test_request_context():
        flask.g.user = office.STAFF["ann"]
        with psycopg.connect(here.dsn) as conn:
            sent = here.names["send_policy"](
                conn, "C-0042", here.policy_id, phone="07700 900123", pdf=PDF, request_key="form-1"
            )
    message = here.whatsapp.message(sent.id)
    assert (message.client_id, message.policy_id) == ("C-0042", str(here.policy_id))
    assert (message.recipient, message.created_by) == ("+447700900123", "Ann Onymous")
    with psycopg.connect(here.dsn) as conn:
        assert conn.execute("SELECT sent_at IS NOT NULL FROM policies").fetchone() == (True,)
        assert conn.execute("SELECT count(*) FROM whatsapp_logs.procrastinate_jobs").fetchone() == (1,)
        assert conn.execute("SHOW search_path").fetchone() == ('"$user", public',)
    page = here.somebody("ann").get("/whatsapp_logs?client=C-0042").text
    assert "Here is your policy." in page


def test_what_the_office_rolls_back_was_never_sent(here: Office):
    with here.app.test_request_context(), psycopg.connect(here.dsn) as conn:
        flask.g.user = office.STAFF["ann"]
        here.names["send_policy"](conn, "C-0042", here.policy_id, phone="07700 900123", pdf=PDF, request_key="form-1")
        conn.rollback()
    assert here.whatsapp.status_counts() == {}


def test_a_client_the_office_does_not_have_is_refused_and_the_transaction_stays_usable(here: Office):
    with psycopg.connect(here.dsn) as conn:
        with pytest.raises(InvalidInput) as refused:
            here.whatsapp.send(Draft(to=CUSTOMER, body="Hi", client_id="nobody"), conn=conn)
        assert refused.value.field == "client_id"
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_messages_outlive_the_client(here: Office):
    message = here.whatsapp.log_message(message_sid=sid(1), to=CUSTOMER, client_id="C-0042", policy_id=here.policy_id)
    with psycopg.connect(here.dsn) as conn:
        conn.execute("DELETE FROM policies")
        conn.execute("DELETE FROM clients")
    message = here.whatsapp.message(message.id)
    assert (message.client_id, message.policy_id, message.recipient) == (None, None, "+447700900123")


def test_the_words_for_the_offices_templates_show_its_messages(here: Office):
    message = here.whatsapp.log_message(message_sid=sid(1), to=CUSTOMER, client_id="C-0042")
    words = block("On your own pages").split()
    assert "".join(words) in "".join((ROOT / "tests/office/templates/home.html").read_text(encoding="utf-8").split())
    home = here.somebody("ann").get("/").text
    assert f"/whatsapp_logs/messages/{message.id}" in home
    assert "client=C-0042" in home
    assert "Approved templates only" in home
    assert "wl-" not in here.somebody().get("/").text


def test_the_old_tables_code_goes_on_working(here: Office):
    with psycopg.connect(here.dsn) as conn:
        conn.execute(block("The old table"))
        row = conn.execute("SELECT status, client_id, delivered_at IS NOT NULL FROM whatsapp_logs").fetchone()
    assert row == ("delivered", "C-0042", True)
    assert here.whatsapp.message_by_sid("SM00000000000000000000000000000099").body == "Hello"


def test_a_script_uses_the_service_without_flask(here: Office, env: dict[str, str], tmp_path: Path):
    script = "import sys\nsid = sys.argv[1]\n" + block("Scripts and bots") + (
        "\nfrom whatsapp_logs import Draft, Config, Status, StatusReport, Source"
        "\nloaded = {'flask', 'flask_wtf', 'werkzeug', 'pydantic'} & sys.modules.keys()"
        "\nassert not loaded, loaded\n"
    )  # fmt: skip
    environment = {**os.environ, **env, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, sid(7)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    message = here.whatsapp.message_by_sid(sid(7))
    assert (message.client_id, message.created_by, message.body) == ("C-0042", "bot", "Thank you, we have it.")


class TestLogMessage:
    def test_mistake_1_a_message_that_cannot_be_written_down_is_an_error_and_never_silence(self, config: Config):
        away = WhatsAppService(replace(config, database_url="postgresql://nobody@127.0.0.1:9/none", pool_timeout_s=0.1))
        with pytest.raises(LoggingFailed, match=r"^Failed to log WhatsApp message$") as failed:
            away.log_message(message_sid=sid(1), to=CUSTOMER)
        assert isinstance(failed.value.__cause__, DatabaseAway)

    def test_before_the_migration_it_is_the_same_error(self, config: Config, new_database: Callable[..., str]):
        service = WhatsAppService(replace(config, database_url=new_database(migrated=False)))
        with pytest.raises(LoggingFailed) as failed:
            service.log_message(message_sid=sid(1), to=CUSTOMER)
        assert isinstance(failed.value.__cause__, psycopg.errors.UndefinedTable)
        service.close()

    @pytest.mark.parametrize("blank", ["", "  "])
    def test_a_message_without_a_sid_was_not_sent(self, service: WhatsAppService, blank: str):
        with pytest.raises(InvalidInput) as refused:
            service.log_message(message_sid=blank, to=CUSTOMER)
        assert refused.value.field == "message_sid"

    def test_told_by_many_at_once_it_is_one_message(self, service: WhatsAppService):
        ids: list[int] = []
        start = threading.Barrier(8)

        def log() -> None:
            start.wait()
            ids.append(service.log_message(message_sid=sid(1), to=CUSTOMER).id)

        threads = [threading.Thread(target=log) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ids) == 8
        assert len(set(ids)) == 1
        assert service.status_counts() == {Status.QUEUED: 1}


class TestWithoutAService:
    """The portal caught ConfigError and runs without the log."""

    @pytest.fixture
    def office_alone(self, office_dsn: str) -> Office:
        app = office.make_office(office_dsn)
        people = {"ann": Viewer("Ann", ROLES["agent"])}
        log = WhatsAppLogs(None)
        log.init_app(app, current_user=lambda: people.get(flask.session.get("staff", "")), layout="base.html")
        return Office(app, {}, office_dsn, 0)

    def test_the_offices_own_pages_work(self, office_alone: Office):
        home = office_alone.somebody("ann").get("/")
        assert home.status_code == 200
        assert "The message log cannot be reached just now." in home.text

    @pytest.mark.parametrize(
        "path", ["/whatsapp_logs", "/whatsapp_logs/messages/1", "/api/whatsapp/stats", "/whatsapp/media/x"]
    )
    def test_the_log_says_that_it_is_not_available(self, office_alone: Office, path: str):
        answer = office_alone.somebody("ann").get(path)
        assert answer.status_code == 503
        assert "WhatsApp service not available" in answer.text


def test_the_worker_takes_tasks_of_the_portals_own(service: WhatsAppService, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("yourportal_worker")
    exec(block("Tasks of your own"), {"Draft": Draft}, vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    extended = WhatsAppService(replace(service.config, worker_extra=("yourportal_worker:register",)))
    assert "yourportal_greet" in make_app(extended).tasks
