"""Alarms of renewals: each is raised by what it is about, shown where the log's alarms are, and ends with its cause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from portal import alarms, runs
from tests.portal.test_renewal_pages import LONDON, Bureau, catalogue, write_rule
from tests.portal.test_renewal_pages import bureau as bureau
from tests.portal.test_renewal_pages import person as person
from whatsapp_logs.alarms import Alarm


def raised(bureau: Bureau, *, hours: float = 0) -> list[Alarm]:
    return alarms.raised(bureau.service, zone=LONDON, now=datetime.now(UTC) + timedelta(hours=hours))


def names(bureau: Bureau, *, hours: float = 0) -> list[str]:
    return [alarm.name for alarm in raised(bureau, hours=hours)]


def switched_on(bureau: Bureau, person, letter: str = "renewal_reminder/", **typed: str) -> None:
    anna = person("anna.admin")
    rule = write_rule(anna, letter=letter, **typed).location.partition("rule_id=")[2]
    assert anna.submit("/renewals/rules/", f"/renewals/rules/{rule}/switch", is_active="yes").status_code == 303


def ended(bureau: Bureau, *, made: int = 0) -> None:
    with bureau.service.transaction() as conn:
        runs.note_end(conn, bureau.today, made=made)


def test_where_no_rule_is_on_nobody_counts_on_reminders(bureau: Bureau, person) -> None:
    write_rule(person("anna.admin"))
    with bureau.service.transaction() as conn:
        runs.note_failure(conn, bureau.today, "out of paper")
    assert names(bureau, hours=900) == []


def test_reminders_that_have_not_run_for_26_hours_are_told(bureau: Bureau, person) -> None:
    switched_on(bureau, person)
    assert names(bureau) == [], "the worker has not had its time yet"
    assert names(bureau, hours=51) == ["renewals_away"], "never, since the rule is on"
    ended(bureau)
    assert names(bureau, hours=25.9) == []
    (alarm,) = raised(bureau, hours=26.1)
    assert (alarm.name, alarm.is_grave) == ("renewals_away", True)
    assert f"have not run since {bureau.today.day} {bureau.today:%B %Y}" in alarm.title
    ended(bureau)
    assert names(bureau) == []


def test_a_failed_run_is_told_until_one_comes_to_its_end(bureau: Bureau, person) -> None:
    switched_on(bureau, person)
    ended(bureau, made=14)
    with bureau.service.transaction() as conn:
        runs.note_failure(conn, bureau.today, "DiskFull: no space left\nDETAIL: secret")
    (alarm,) = raised(bureau)
    assert alarm.name == "renewals_failed"
    assert alarm.title.endswith(": DiskFull: no space left"), "the first line only"
    page = person("arjun.agent").get("/renewals/rules/").text
    assert "The last run failed" in page
    assert "14 reminders that day" in page
    ended(bureau)
    assert names(bureau) == []
    page = person("arjun.agent").get("/renewals/rules/").text
    assert "Last run: today " in page
    assert "14 reminders that day" in page


def test_a_rule_whose_template_is_stopped_is_told(bureau: Bureau, person) -> None:
    catalogue(bureau, "renewal_price", "Hello {{1}}, call us.", "client name")
    switched_on(bureau, person, "renewal_price/en_GB")
    assert names(bureau) == []
    bureau.do("UPDATE whatsapp_logs.template_versions SET approval = 'disabled'")
    (alarm,) = raised(bureau)
    assert alarm.name == "renewal_template_stopped"
    assert "30 days before: WhatsApp has disabled the template renewal_price for good" in alarm.title
    bureau.do("UPDATE renewal_rules SET is_active = false")
    assert names(bureau) == []


def test_they_are_shown_where_the_logs_alarms_are(bureau: Bureau, person) -> None:
    switched_on(bureau, person)
    ended(bureau)
    with bureau.service.transaction() as conn:
        runs.note_failure(conn, bureau.today, "out of paper")
    page = person("anna.admin").get("/whatsapp_logs/health").text
    assert "The last run of reminders failed" in page
    assert 'id="wl-alarm-renewals_failed"' in page
    assert set(alarms.NAMES) < set(bureau.service.alarm_names())
    assert "renewals_failed" in {alarm.name for alarm in bureau.service.alarms()}
    for alarm in bureau.service.alarms():
        assert alarm.meaning.endswith(".")
        assert alarm.cure.endswith(".")
