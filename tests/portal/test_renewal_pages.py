"""Renewals' pages: rules that are seen before they send, the queue of who was not reached, and the report "told in time?"."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from werkzeug.test import TestResponse

from portal import database, demo, reminders, telling, unreached
from portal.app import create_app
from portal.config import PortalConfig
from tests.portal.conftest import COOKIE, SECRET_KEY, Browser, Office
from tests.postgres_keeper import APP_ROLE
from whatsapp_logs import Config, Source, StatusReport, WhatsAppService, receive
from whatsapp_logs.config import GATE_RULES
from whatsapp_logs.message import Inbound

LONDON = ZoneInfo("Europe/London")


class Bureau(Office):
    """An office of these tests' own, without demonstration clients."""

    @property
    def today(self) -> date:
        return datetime.now(LONDON).date()

    def do(self, sql: str, *values: object) -> None:
        with psycopg.connect(self.dsn) as conn:
            conn.execute(sql.encode(), values)

    def policy(self, days: int, name: str = "Asha Rao", phone: str = "+447700900123") -> int:
        (client,) = self.row(
            "INSERT INTO clients (name, phone, address) VALUES (%(name)s, %(phone)s, 'x') RETURNING client_id",
            name=name, phone=phone,
        )  # fmt: skip
        ends_on = self.today + timedelta(days=days)
        (policy,) = self.row(
            """
            INSERT INTO policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium, currency,
                                  starts_on, ends_on, status)
            VALUES (%(client)s, 'HOM-' || %(client)s, 'home', 'Beacon', 'A house', 1, 1, 100, 'GBP', %(begins)s, %(ends)s, 'active')
            RETURNING policy_id
            """,
            client=client, begins=ends_on - timedelta(days=364), ends=ends_on,
        )  # fmt: skip
        assert isinstance(policy, int)
        with self.service.transaction() as conn:
            reminders.note_dues(conn, self.today, back_days=90)
        return policy

    def reminder(
        self, policy: int, *told: str, ago: float = 0, code: str | None = None, to: str = "+447700900123"
    ) -> int:
        """A reminder that was sent so many days ago, with what was reported of it then."""
        at = datetime.now(UTC) - timedelta(days=ago)
        sid = f"SM{policy:016x}{int(ago * 100):016x}"
        message = self.service.log_message(
            message_sid=sid,
            to=to,
            message_type="renewal_reminder",
            body="x",
            policy_id=policy,
            created_at=at,
        )
        for word in told:
            report = StatusReport(provider_status=word, provider_id=sid, error_code=code, happened_at=at)
            self.service.record([report], source=Source.IMPORT)
        return message.id


@pytest.fixture
def bureau(dsn: str) -> Iterator[Bureau]:
    with psycopg.connect(dsn) as conn:
        demo._add_people(conn)
    app_dsn = make_conninfo(dsn, user=APP_ROLE)
    service = WhatsAppService(
        Config(
            database_url=app_dsn, secret_key=SECRET_KEY, twilio_account_sid="AC" + "b" * 32, twilio_auth_token="test-token-0002",
            twilio_whatsapp_from="whatsapp:+15550100100", twilio_api_base_url="http://127.0.0.1:9", gate_off=GATE_RULES,
            templates={"renewal_reminder": "HX" + "2" * 32, "renewal_reminder_document": "HX" + "3" * 32},
        )
    )  # fmt: skip
    config = PortalConfig(database_url=app_dsn, secret_key=SECRET_KEY, require_second_factor="nobody")
    app = create_app(config, service=service)
    yield Bureau(app, dsn, service)
    database.close(app)
    service.close()


@pytest.fixture
def person(bureau: Bureau) -> Callable[[str], Browser]:
    def open_browser(username: str) -> Browser:
        opened = Browser(bureau.app.test_client())
        if username not in bureau.cookies:
            signing_in = Browser(bureau.app.test_client())
            signing_in.sign_in(username)
            cookie = signing_in.client.get_cookie(COOKIE)
            assert cookie
            bureau.cookies[username] = cookie.value
        opened.client.set_cookie(COOKIE, bureau.cookies[username])
        return opened

    return open_browser


USUAL = {"from-1": "client_name", "from-2": "policy_number", "from-3": "due_date"}


def write_rule(
    anna: Browser, days: str = "30", letter: str = "renewal_reminder/", rule: str = "", **typed: str
) -> TestResponse:
    """Fill in the form of a rule, a new one or one that is there, and send it."""
    page = f"/renewals/rules/{rule + '/change' if rule else 'new'}?letter={letter}"
    return anna.submit(page, f"/renewals/rules/{rule}", **{"days_before": days, "do": "save"} | USUAL | typed)


def make_rule(anna: Browser, days: int = 30, template: str = "renewal_reminder") -> str:
    answer = write_rule(anna, str(days), f"{template}/")
    assert answer.status_code == 303, answer.text
    return answer.location.partition("rule_id=")[2]


def cases(page: str) -> list[str]:
    return re.findall(r'<h3><a class="main"[^>]*>([^<]*)</a>', page)


def test_a_new_rule_is_paused_shows_what_it_would_send_and_sends_once_it_is_on(bureau: Bureau, person) -> None:
    bureau.policy(30, "Asha Rao")
    bureau.policy(12, "Noah Williams")
    anna = person("anna.admin")
    rule = make_rule(anna)
    preview = anna.get(f"/renewals/rules/preview?rule_id={rule}").text
    assert "Asha Rao" in preview
    assert "Noah Williams" not in preview
    assert "if it were switched on now" in preview
    assert "Leaves" in preview
    now = datetime.combine(bureau.today, datetime.min.time().replace(hour=10), LONDON).astimezone(UTC)
    assert reminders.run(bureau.service, zone=LONDON, now=now).made == 0
    switch = f"/renewals/rules/{rule}/switch"
    assert anna.submit("/renewals/rules/", switch, is_active="yes").status_code == 303
    assert reminders.run(bureau.service, zone=LONDON, now=now).made == 1
    assert "Nothing: every reminder that is due has been made" in anna.get("/renewals/rules/preview").text
    page = anna.get("/renewals/rules/").text
    assert "Made by anna.admin" in page
    assert "1 today, 1 in 30 days" in page
    assert "Switched on" in page
    anna.submit("/renewals/rules/", switch, is_active="no")
    assert "Paused" in anna.get("/renewals/rules/").text


def test_the_preview_says_of_each_what_the_gate_says(bureau: Bureau, person) -> None:
    bureau.policy(30, "Nobody Reachable", phone="12")
    anna = person("anna.admin")
    preview = anna.get(f"/renewals/rules/preview?rule_id={make_rule(anna)}").text
    assert "Refused" in preview
    assert "too short" in preview


def test_two_rules_for_one_day_are_not_on_at_once_and_it_is_said_which(bureau: Bureau, person) -> None:
    anna = person("anna.admin")
    first, second = make_rule(anna), make_rule(anna, template="renewal_reminder_document")
    assert anna.submit("/renewals/rules/", f"/renewals/rules/{first}/switch", is_active="yes").status_code == 303
    refused = anna.submit("/renewals/rules/", f"/renewals/rules/{second}/switch", is_active="yes")
    assert refused.status_code == 409
    assert "Another rule reminds 30 days before already" in refused.text
    assert write_rule(anna, "14", rule=second).status_code == 303
    assert anna.submit("/renewals/rules/", f"/renewals/rules/{second}/switch", is_active="yes").status_code == 303
    taken = write_rule(anna, "30", rule=second)
    assert taken.status_code == 409
    assert "Another rule reminds 30 days before already" in taken.text
    page = anna.get("/renewals/rules/").text
    assert (
        "Changed: 30 days before, renewal_reminder_document, with the renewal papers; Client name: client’s name"
        in page
    )
    assert "Renewal date: due date → 14 days before, renewal_reminder; Client name:" in page


@pytest.mark.parametrize("days", ["", "-1", "366", "3.5", "٣", "1e2"])
def test_senseless_days_are_refused_in_words(bureau: Bureau, person, days: str) -> None:
    answer = write_rule(person("anna.admin"), days)
    assert answer.status_code == 400
    assert "a whole number from 0 to 365" in answer.text


def catalogue(bureau: Bureau, name: str, body: str, *fields: str, approval: str = "approved") -> None:
    """A template as Twilio has told of it; synchronising is tested elsewhere."""
    variables = Jsonb([{"key": str(n), "name": field, "sample": "x"} for n, field in enumerate(fields, 1)])
    bureau.do(
        """
        WITH t AS (INSERT INTO whatsapp_logs.templates (name, language, created_by) VALUES (%s, 'en_GB', 'twilio') RETURNING id)
        INSERT INTO whatsapp_logs.template_versions
            (template_id, version, content_sid, content_type, body, variables, category, approval, created_by)
        SELECT id, 1, 'HX' || md5(%s), 'twilio/text', %s, %s, 'UTILITY', %s, 'twilio' FROM t
        """,
        name, name, body, variables, approval,
    )  # fmt: skip


def test_a_rule_is_written_for_any_approved_template_its_fields_guessed_and_shown(bureau: Bureau, person) -> None:
    bureau.policy(12, "Noah Williams")
    catalogue(
        bureau,
        "renewal_price",
        "Hello {{1}}, {{2}} costs {{3}}; ask {{4}}.",
        "client name",
        "product",
        "premium",
        "adviser",
    )
    catalogue(bureau, "waits_still", "Hello {{1}}.", "client name", approval="pending")
    anna = person("anna.admin")
    choice = anna.get("/renewals/rules/").text
    assert '<option value="renewal_price/en_GB">renewal_price (en_GB)</option>' in choice
    assert "waits_still" not in choice
    form = anna.get("/renewals/rules/new?letter=renewal_price/en_GB").text
    chosen = re.findall(r'name="from-(\d)".*?(?:<option value="(\w+)" selected>|</select>)', form)
    assert chosen == [("1", "client_name"), ("2", "product"), ("3", "premium"), ("4", "")]
    typed = {"from-1": "first_name", "from-2": "product", "from-3": "premium", "from-4": ""}
    shown = write_rule(anna, letter="renewal_price/en_GB", do="show", **typed, **{"text-4": "Arjun"})
    assert shown.status_code == 200
    assert "Hello Noah, home insurance costs £100.00; ask Arjun." in shown.text
    assert bureau.row("SELECT count(*) FROM renewal_rules") == (0,), "it was only shown"
    saved = write_rule(anna, "12", letter="renewal_price/en_GB", **typed, **{"text-4": "Arjun"})
    assert saved.status_code == 303
    assert "Noah Williams" in anna.get(saved.location).text
    page = anna.get("/renewals/rules/").text
    assert "Client name: client’s first name, Product: product, Premium: premium, Adviser: “Arjun”" in page


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"from-3": ""}, "Choose what “renewal date” is filled with"),
        ({"from-3": "password_hash"}, "Choose what “renewal date” is filled with"),
        ({"from-3": "", "text-3": "two\nlines"}, "has a line break"),
        ({"from-3": "", "text-3": "x" * 201}, "write up to 200"),
        ({"message_type": "policy_document"}, "A type begins with renewal_"),
    ],
)
def test_what_a_rule_lacks_is_said_at_its_field_and_nothing_is_kept(
    bureau: Bureau, person, typed: dict[str, str], words: str
) -> None:
    answer = write_rule(person("anna.admin"), **typed)
    assert answer.status_code == 400
    assert words in answer.text
    assert bureau.row("SELECT count(*) FROM renewal_rules") == (0,)


def test_a_template_that_no_rule_may_send_is_refused_in_words(bureau: Bureau, person) -> None:
    anna = person("anna.admin")
    fields = anna.hidden_fields("/renewals/rules/new?letter=renewal_reminder/", "/renewals/rules/")
    refused = anna.post("/renewals/rules/", fields | {"letter": "one_time_code/en", "days_before": "30"})
    assert refused.status_code == 400
    assert "a template that WhatsApp has approved" in refused.text


def test_a_rule_whose_template_was_stopped_says_why_and_how_many_wait_and_is_not_switched_on(
    bureau: Bureau, person
) -> None:
    catalogue(bureau, "renewal_price", "Hello {{1}}, call us.", "client name")
    bureau.policy(30, "Asha Rao")
    anna = person("anna.admin")
    rule = write_rule(anna, letter="renewal_price/en_GB").location.partition("rule_id=")[2]
    switch = f"/renewals/rules/{rule}/switch"
    assert anna.submit("/renewals/rules/", switch, is_active="yes").status_code == 303
    bureau.do("UPDATE whatsapp_logs.template_versions SET approval = 'paused'")
    page = anna.get("/renewals/rules/").text
    assert (
        "It sends nothing now. WhatsApp has paused the template renewal_price because too many people complained"
        in page
    )
    assert "1 reminder waits, up to a week." in page
    preview = anna.get("/renewals/rules/preview").text
    assert "The rule “30 days before” sends nothing now" in preview
    assert "1 reminder waits for a template, and leaves by itself" in preview
    assert "Choose another one." in anna.get(f"/renewals/rules/{rule}/change").text
    assert anna.submit("/renewals/rules/", switch, is_active="no").status_code == 303
    refused = anna.submit("/renewals/rules/", switch, is_active="yes")
    assert refused.status_code == 409
    assert "This rule cannot send, so it stays paused." in refused.text
    bureau.do("UPDATE whatsapp_logs.template_versions SET approval = 'approved'")
    assert anna.submit("/renewals/rules/", switch, is_active="yes").status_code == 303


def test_agents_see_the_rules_and_do_not_change_them(bureau: Bureau, person) -> None:
    rule = make_rule(person("anna.admin"))
    arjun = person("arjun.agent")
    page = arjun.get("/renewals/rules/").text
    assert "Preview" in page
    assert "Switch on" not in page
    assert arjun.client.post(f"/renewals/rules/{rule}/switch").status_code == 403
    assert arjun.client.post("/renewals/rules/").status_code == 403


def test_the_queue_says_why_each_was_not_reached_soonest_first(bureau: Bureau, person) -> None:
    """Each reason, and those who are in no need of anything."""
    bureau.reminder(bureau.policy(1, "Failed"), "undelivered", ago=2, code="63026")
    blocked = "+447700900124"
    bureau.reminder(bureau.policy(2, "Blocked", phone=blocked), "failed", ago=1, code="63014", to=blocked)
    bureau.reminder(bureau.policy(3, "Wrong"), "failed", ago=1, code="63003")
    bureau.reminder(bureau.policy(4, "Silent"), "sent", ago=4)
    bureau.reminder(bureau.policy(5, "Unread"), "delivered", ago=4)
    bureau.policy(6, "Untold")
    bureau.policy(7, "Numberless", phone="")
    bureau.reminder(bureau.policy(8, "Canceled"), "canceled", ago=1)
    bureau.reminder(bureau.policy(9, "Fresh"), "sent", ago=1)
    bureau.reminder(bureau.policy(10, "Delivered lately"), "delivered", ago=1)
    bureau.reminder(bureau.policy(11, "Has read"), "read", ago=20)
    twice = bureau.policy(12, "Read the first of two")
    bureau.reminder(twice, "read", ago=9)
    bureau.reminder(twice, "failed", ago=1, code="63026")
    bureau.policy(15, "There is time")
    page = person("arjun.agent").get("/renewals/unreached/").text
    assert cases(page) == ["Failed", "Blocked", "Wrong", "Silent", "Unread", "Untold", "Numberless", "Canceled"]
    for words in (
        "All 8",
        "Asked us to stop, or has blocked us 1",
        "The number is wrong, or not on WhatsApp 1",
        "No receipt for 3 days 1",
        "Delivered, but not read for 3 days 1",
        "no reminder was sent 1",
        "No number that could be written to 1",
    ):
        assert words in page, words
    assert cases(person("arjun.agent").get("/renewals/unreached/?reason=unread").text) == ["Unread"]
    assert person("arjun.agent").get("/renewals/unreached/?reason=weather").status_code == 400


def stop(bureau: Bureau, phone: str, *, words: str = "stop ", ago: int = 9) -> None:
    """A customer writes that they want nothing more."""
    at = datetime.now(UTC) - timedelta(days=ago)
    told = Inbound(provider_id=f"SM{phone[1:]:0>32}", sender=phone, recipient=bureau.service.config.sender, body=words)
    with bureau.service.transaction() as conn:
        receive.receive(conn, told, now=at)


def test_who_has_opted_out_is_not_offered_what_the_gate_refuses(bureau: Bureau, person) -> None:
    """Nothing was ever sent to the first; the second has an unread reminder; the third wrote START again."""
    phones = [f"+4477009001{n:02}" for n in range(4)]
    bureau.policy(20, "Stopped", phone=phones[0])
    unread = bureau.policy(5, "Stopped later", phone=phones[1])
    bureau.reminder(unread, "delivered", ago=5, to=phones[1])
    back = bureau.policy(6, "Came back", phone=phones[2])
    bureau.reminder(back, "failed", ago=4, code="63014", to=phones[2])
    told = bureau.policy(7, "By telephone", phone=phones[3])
    stop(bureau, phones[0])
    stop(bureau, phones[1])
    for phone, kind in ((phones[2], "opt_in"), (phones[3], "opt_out")):
        bureau.service.record_consent(address=phone, kind=kind, wording="Said so.", recorded_by="anna.admin")
    page = person("arjun.agent").get("/renewals/unreached/?reason=opted_out").text
    assert cases(page) == ["Stopped later", "By telephone", "Stopped"]
    day = bureau.today - timedelta(days=9)
    assert f"Opted out on {day.day} {day:%B %Y} by STOP" in page
    assert f"{bureau.today.day} {bureau.today:%B %Y}, told a member of staff" in page
    assert page.count("Record a new agreement") == page.count("Nothing can be sent to them.") == 3
    assert page.count(">Call<") == 3
    assert not re.search(r">Send (again|a reminder)", page)
    again = person("arjun.agent").get("/renewals/unreached/?reason=failed").text
    assert cases(again) == ["Came back"], "they agreed again, so that sending is the next step"
    assert "Send again" in again
    assert (
        f'href="/whatsapp_logs/consent?client={bureau.row("SELECT client_id FROM policies WHERE policy_id = %(p)s", p=told)[0]}"'
        in page
    )


def test_a_number_that_was_corrected_since_is_not_wrong_any_more(bureau: Bureau, person) -> None:
    policy = bureau.policy(3, "Wrong", phone="+447700900150")
    bureau.reminder(policy, "failed", ago=1, code="63003", to="+447700900150")
    arjun = person("arjun.agent")
    page = arjun.get("/renewals/unreached/").text
    assert "The number is wrong, or not on WhatsApp 1" in page
    assert not re.search(r">Send (again|a reminder)", page), "it would fail again"
    bureau.do("UPDATE clients SET phone = '+447700900151'")
    page = arjun.get("/renewals/unreached/").text
    assert "The reminder failed 1" in page
    assert "Send again" in page


class Counting(psycopg.Cursor[Any]):
    """Counts what is asked of the database."""

    asked = 0

    def execute(self, *given: Any, **more: Any) -> Any:
        Counting.asked += 1
        return super().execute(*given, **more)


def test_a_page_of_the_queue_asks_as_much_for_many_cases_as_for_one(bureau: Bureau) -> None:
    def asked() -> int:
        with psycopg.connect(bureau.dsn, cursor_factory=Counting) as conn:
            Counting.asked = 0
            unreached.listed(conn, bureau.today, reason="", whose="", me="x", after=None, limit=25)
        return Counting.asked

    bureau.policy(3, "One")
    few = asked()
    for n in range(30):
        bureau.policy(4, f"Client {n}")
    assert asked() == few == 2


def test_what_is_noted_is_counted_and_listed_as_what_the_log_says(bureau: Bureau, person) -> None:
    """Before a run has noted them and after it, pages say the same; afterwards the log is not asked about them."""
    bureau.reminder(bureau.policy(5, "Early"), "delivered", "read", ago=20)
    bureau.reminder(bureau.policy(2, "Late"), "delivered", ago=1)
    bureau.policy(3, "Untold")
    clara = person("clara.compliance")

    def seen() -> tuple[list[str], ...]:
        pages = [clara.get(f"/renewals/told/?state={state}").text for state in ("", "in_time", "late", "not_told")]
        queue = clara.get("/renewals/unreached/").text
        return (*(re.findall(r'<td class="lead"><a[^>]*>([^<]*)', page) for page in pages), cases(queue),
                re.findall(r"<b>([\d,+]+)</b>", pages[0]))  # fmt: skip

    before = seen()
    assert before[:5] == (["Late", "Untold", "Early"], ["Early"], ["Late"], ["Untold"], ["Untold"])
    with bureau.service.transaction() as conn:
        assert telling.note(conn, bureau.today, zone=LONDON) == 2
        assert telling.note(conn, bureau.today, zone=LONDON) == 0
    assert seen() == before
    bureau.do("UPDATE whatsapp_logs.messages SET delivered_at = NULL, read_at = NULL")  # nobody asks any more
    assert seen()[1:3] == before[1:3]


def test_of_more_open_due_dates_than_are_examined_pages_say_at_least_and_lead_on(
    bureau: Bureau, person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "EXAMINED", 10)
    for n in range(24):
        bureau.policy(1 + n // 5, f"Client {n:02}")
    failed = bureau.policy(12, "Failed")
    bureau.reminder(failed, "failed", ago=1, code="63026")
    arjun = person("arjun.agent")
    page = arjun.get("/renewals/unreached/").text
    assert "All 11+" in page
    assert "no reminder was sent 11+" in page
    path, found = "/renewals/unreached/?reason=failed", []
    while path:
        page = arjun.get(path).text
        found += cases(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = unescape(following[1]) if following else ""
    assert found == ["Failed"], "what lies behind the bound is on a later page"
    page = arjun.get("/renewals/told/?state=not_told").text
    assert "More than 20 due dates of these days are still open" in page
    assert "<b>21+</b>" in page
    path, found = "/renewals/told/?state=not_told", []
    while path:
        page = arjun.get(path).text
        found += re.findall(r'<td class="lead"><a[^>]*>([^<]*)', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = unescape(following[1]) if following else ""
    assert found == [f"Client {n:02}" for n in range(24)], "each once, and none left out"


def test_last_years_reminder_does_not_count_for_this_year(bureau: Bureau, person) -> None:
    bureau.reminder(bureau.policy(5, "Read last year"), "read", ago=340)
    assert cases(person("arjun.agent").get("/renewals/unreached/").text) == ["Read last year"]


def test_each_case_offers_its_next_step(bureau: Bureau, person) -> None:
    bureau.reminder(bureau.policy(3, "Wrong"), "failed", ago=1, code="63003")
    bureau.reminder(bureau.policy(5, "Unread"), "delivered", ago=4)
    wrong, unread = person("arjun.agent").get("/renewals/unreached/").text.split("Unread</a>", 1)
    assert re.search(r'href="/clients/\d+/edit">Correct the number', wrong)
    assert "Correct the number" not in unread
    assert re.search(r'href="/renewals/\d+">Send again', unread)
    watching = person("vera.viewer").get("/renewals/unreached/").text
    assert "Send again" not in watching
    assert "Note what was done" not in watching


def test_a_call_ends_a_case_and_no_answer_does_not(bureau: Bureau, person) -> None:
    policy, arjun = bureau.policy(5, "Untold"), person("arjun.agent")
    form = f"/renewals/unreached/{policy}/note"
    arjun.submit("/renewals/unreached/", form, kind="no_answer", note="Voice mail")
    page = arjun.get("/renewals/unreached/").text
    assert cases(page) == ["Untold"]
    assert "Called: no answer: Voice mail — arjun.agent" in page
    arjun.submit("/renewals/unreached/", form, kind="called", note="Renews by card")
    page = arjun.get("/renewals/unreached/").text
    assert cases(page) == []
    assert "Done 1" in page
    done = arjun.get("/renewals/unreached/?reason=done").text
    assert "Called: they know" in done
    assert "Renews by card" in done
    fields = {
        "csrf_token": arjun.hidden_fields("/clients/1", "/clients/1/message")["csrf_token"],
        "due_on": str(bureau.today),
    }
    assert arjun.post(form, fields | {"kind": "called"}).status_code == 404, "another due date"
    assert arjun.post(form, fields | {"kind": "bribed"}).status_code == 400
    assert arjun.post(form, fields | {"kind": "called", "due_on": "x"}).status_code == 400
    assert arjun.post(form, fields | {"kind": "called", "note": "x" * 501}).status_code == 400


def test_a_case_is_given_to_somebody_and_everybody_sees_whose_it_is(bureau: Bureau, person) -> None:
    mine, other = bureau.policy(5, "Mine"), bureau.policy(6, "Other")
    arjun = person("arjun.agent")
    arjun.submit("/renewals/unreached/", f"/renewals/unreached/{mine}/assign", to="arjun.agent")
    assert cases(arjun.get("/renewals/unreached/?whose=me").text) == ["Mine"]
    assert cases(arjun.get("/renewals/unreached/?whose=nobody").text) == ["Other"]
    assert "Arjun Mehta sees to it." in person("vera.viewer").get("/renewals/unreached/").text
    arjun.submit("/renewals/unreached/", f"/renewals/unreached/{mine}/assign", to="")
    assert cases(arjun.get("/renewals/unreached/?whose=me").text) == []
    refused = arjun.submit("/renewals/unreached/", f"/renewals/unreached/{other}/assign", to="vera.viewer")
    assert refused.status_code == 400, "who may not send cannot see to it"


def test_a_long_queue_goes_on_page_by_page(bureau: Bureau, person) -> None:
    names = [f"Client {n:02}" for n in range(60)]
    for n, name in enumerate(names):
        bureau.policy(1 + n // 20, name)
    seen, path, arjun = [], "/renewals/unreached/", person("arjun.agent")
    while path:
        page = arjun.get(path).text
        seen += cases(page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = following[1] if following else ""
    assert seen == names
    assert arjun.get("/renewals/unreached/?after=2027-01-01_x").status_code == 400


def test_the_report_tells_when_each_knew_and_its_numbers_are_the_lengths_of_their_lists(bureau: Bureau, person) -> None:
    early = bureau.reminder(bureau.policy(5, "Early"), "delivered", "read", ago=20)
    bureau.reminder(bureau.policy(2, "Late"), "delivered", ago=1)
    bureau.policy(3, "Untold")
    bureau.reminder(bureau.policy(-4, "Too late"), "delivered", ago=1)
    bureau.policy(20, "Not yet")
    gone = bureau.policy(4, "Gone")
    bureau.do("UPDATE policies SET status = 'cancelled' WHERE policy_id = %s", gone)
    called = bureau.policy(9, "Called")
    arjun = person("arjun.agent")
    arjun.submit("/renewals/unreached/", f"/renewals/unreached/{called}/note", kind="called")
    page = arjun.get("/renewals/told/").text
    assert '<b class="big">40%</b> of 5 due dates' in page
    counted = dict(re.findall(r'state=(\w+)[^"]*"[^>]*><b>(\d+)</b>', page))
    assert counted == {"in_time": "2", "late": "2", "not_told": "1", "ahead": "1", "dropped": "1"}
    for state, n in counted.items():
        part = arjun.get(f"/renewals/told/?state={state}").text
        assert len(re.findall(r'<td class="lead">', part)) == int(n), state
    part = arjun.get("/renewals/told/?state=in_time").text
    assert f"Message {early}</a>" in part
    assert ">25<" in part.replace("<span>", "").replace("</span>", ""), "days before"
    assert "by telephone" in part


def test_a_renewed_policys_old_due_date_stays_in_the_report(bureau: Bureau, person) -> None:
    policy = bureau.policy(-10, "Renewed")
    bureau.reminder(policy, "delivered", ago=30)
    bureau.do("UPDATE policies SET ends_on = ends_on + 365, starts_on = starts_on + 365 WHERE policy_id = %s", policy)
    page = person("arjun.agent").get("/renewals/told/?state=in_time").text
    assert "Renewed" in page


def test_the_file_holds_what_the_page_shows_and_no_formula(bureau: Bureau, person) -> None:
    bureau.reminder(bureau.policy(5, "=HYPERLINK(1)"), "delivered", ago=20)
    bureau.policy(3, "Untold;=1+1")
    assert person("arjun.agent").get("/renewals/told/told-in-time.csv").status_code == 403, "agents take no files away"
    answer = person("clara.compliance").get("/renewals/told/told-in-time.csv")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    rows = list(csv.DictReader(io.StringIO(answer.get_data().decode("utf-8-sig"))))
    told = [(row["Client"], row["Days before"], row["By"]) for row in rows]
    assert told == [("Untold;'=1+1", "", ""), ("'=HYPERLINK(1)", "25", "WhatsApp")]
    part = person("clara.compliance").get("/renewals/told/told-in-time.csv?state=not_told")
    assert len(list(csv.DictReader(io.StringIO(part.get_data().decode("utf-8-sig"))))) == 1


@pytest.mark.parametrize(
    "query",
    [
        "from=x",
        "from=2027-02-30",
        "from=2027-03-01&to=2027-02-01",
        "from=2020-01-01&to=2027-01-01",
        "state=x",
        "from=0001-01-01&to=9999-12-31",
    ],
)
def test_a_range_that_cannot_be_is_refused_in_words(bureau: Bureau, person, query: str) -> None:
    assert person("arjun.agent").get(f"/renewals/told/?{query}").status_code == 400


def noted(bureau: Bureau, arjun: Browser, policy: int, words: str) -> None:
    arjun.submit("/renewals/unreached/", f"/renewals/unreached/{policy}/note", kind="no_answer", note=words)


def notes(bureau: Bureau) -> list[tuple[object, ...]]:
    with psycopg.connect(bureau.dsn) as conn:
        return conn.execute("SELECT kind, note, erased_at IS NOT NULL FROM renewal_notes ORDER BY note_id").fetchall()


def client_of(bureau: Bureau, policy: int) -> str:
    return str(bureau.row("SELECT client_id FROM policies WHERE policy_id = %(p)s", p=policy)[0])


def test_the_erasure_of_a_person_empties_the_notes_about_them_and_its_rehearsal_counts_them(
    bureau: Bureau, person
) -> None:
    theirs, other = bureau.policy(5, "Asha Rao"), bureau.policy(6, "Somebody else")
    arjun, anna = person("arjun.agent"), person("anna.admin")
    noted(bureau, arjun, theirs, "In hospital until May")
    noted(bureau, arjun, theirs, "Ask her sister")
    noted(bureau, arjun, other, "Voice mail")
    arjun.submit("/renewals/unreached/", f"/renewals/unreached/{theirs}/assign", to="arjun.agent")
    client = client_of(bureau, theirs)
    page = f"/whatsapp_logs/privacy?client={client}"
    assert "Would go: 0 messages and 2 renewal notes." in anna.get(page).text
    assert bureau.service.rehearse_erasure(client).beside == (("renewal note", 2),)
    form = "/whatsapp_logs/privacy/erase"
    token = re.search(r'name="csrf_token" value="([^"]+)"', anna.get(page).text)
    assert token
    fields: dict[str, object] = {"csrf_token": token[1], "client": client, "reason": "Request of 26 November"}
    asked = anna.post(form, fields)
    assert "Erase 0 messages and 2 renewal notes." in asked.text
    assert notes(bureau)[0][1] == "In hospital until May", "it was only asked"
    assert anna.post(form, fields | {"confirm": "yes"}).status_code == 303
    assert notes(bureau) == [
        ("no_answer", "", True), ("no_answer", "", True), ("no_answer", "Voice mail", False), ("assigned", "arjun.agent", False),
    ]  # fmt: skip
    queue = arjun.get("/renewals/unreached/").text
    assert "In hospital" not in queue
    assert queue.count("what was noted is erased") == 2
    assert "Voice mail" in queue
    assert bureau.service.rehearse_erasure(client).beside == (("renewal note", 0),)


@pytest.mark.parametrize("whose", ["client", "policy"])
def test_notes_of_what_is_held_stay(bureau: Bureau, person, whose: str) -> None:
    policy = bureau.policy(5, "Asha Rao")
    noted(bureau, person("arjun.agent"), policy, "In hospital until May")
    client = client_of(bureau, policy)
    held = (
        {"client_id": client, "policy_id": None} if whose == "client" else {"client_id": None, "policy_id": str(policy)}
    )
    bureau.service.place_hold(reason="In court", placed_by="anna", **held)
    bureau.service.erase_client(client, reason="Request", person="anna")
    assert notes(bureau) == [("no_answer", "In hospital until May", False)]


def test_nobody_changes_a_note_but_by_erasing_it(bureau: Bureau, person) -> None:
    noted(bureau, person("arjun.agent"), bureau.policy(5, "Asha Rao"), "Voice mail")
    for sql, error in (
        ("UPDATE renewal_notes SET note = 'They know', erased_at = now()", psycopg.errors.RestrictViolation),
        ("UPDATE renewal_notes SET note = ''", psycopg.errors.RestrictViolation),
        ("UPDATE renewal_notes SET kind = 'called'", psycopg.errors.InsufficientPrivilege),
        ("DELETE FROM renewal_notes", psycopg.errors.InsufficientPrivilege),
    ):
        with psycopg.connect(bureau.service.config.database_url) as conn, pytest.raises(error):
            conn.execute(sql.encode())
    assert notes(bureau) == [("no_answer", "Voice mail", False)]


def test_a_long_list_of_due_policies_goes_on_page_by_page_to_its_end(bureau: Bureau, person) -> None:
    names = [f"Client {n:03}" for n in range(120)]
    for n, name in enumerate(names):
        bureau.policy(1 + n // 60, name)
    seen, path, arjun = [], "/renewals/", person("arjun.agent")
    while path:
        page = arjun.get(path).text
        seen += re.findall(r'<td class="lead"><a[^>]*>([^<]*)', page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        path = unescape(following[1]) if following else ""
    assert seen == names
    assert arjun.get("/renewals/?after=x_1").status_code == 400


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_that_a_date_can_be_are_days(bureau: Bureau, person, day: str) -> None:
    assert person("arjun.agent").get(f"/renewals/told/?from={day}&to={day}").status_code == 200


@pytest.mark.slow
def test_the_queue_reads_as_many_rows_in_a_large_office_as_in_a_small_one(bureau: Bureau) -> None:
    """Once its holders have read their reminders, a due date costs nothing; policies are looked up, not read through."""

    def read_rows() -> int:
        with psycopg.connect(bureau.dsn) as conn:
            conn.execute("ANALYZE")
            unreached.count(conn, bureau.today)
            unreached.listed(conn, bureau.today, reason="failed", whose="", me="x", after=None, limit=25)
            row = conn.execute(
                """
                SELECT sum(pg_stat_get_xact_tuples_returned(c.oid))::integer FROM pg_class AS c
                WHERE c.relname IN ('policies', 'clients', 'renewal_dues', 'messages') AND c.relkind = 'r'
                """
            ).fetchone()
        assert row
        return int(row[0])

    for n in range(30):
        bureau.policy(1 + n % 5, f"Client {n}")
    small = read_rows()
    bureau.do(
        """
        INSERT INTO policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium, currency,
                              starts_on, ends_on, status)
        SELECT 1, 'BIG-' || n, 'home', 'Beacon', 'A house', 1, 1, 100, 'GBP', CURRENT_DATE - 300,
               CURRENT_DATE + mod(n, 30), 'active'
        FROM generate_series(1, 20000) AS n
        """
    )
    bureau.do(
        """
        INSERT INTO renewal_dues (policy_id, due_on, told_on, is_read)
        SELECT policy_id, ends_on, CURRENT_DATE, true FROM policies WHERE starts_with(policy_number, 'BIG-')
        """
    )
    assert read_rows() <= small + 100
