"""The invented office: complete, invented, filled once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import psycopg

from portal import demo, migrate
from tests.portal.conftest import Office
from whatsapp_logs import ROLES
from whatsapp_logs.twilio.simulator.rules import MAGIC

FICTION = re.compile(r"\+447700900\d{3}|\+1[2-9]\d{2}55501\d{2}")


def test_there_is_a_sign_in_for_every_role() -> None:
    assert {role for _, _, role in demo.DEMO_SIGN_INS} == set(ROLES)
    assert all(username in "\n".join(demo.sign_ins()) for username, _, _ in demo.DEMO_SIGN_INS)


def test_filling_takes_seconds_and_the_second_time_changes_nothing(new_database: Callable[[], str]) -> None:
    dsn = new_database()
    began = time.process_time()  # of our own: the database gets it by COPY
    assert demo.seed(dsn) is True
    assert time.process_time() - began < 8  # about one
    with psycopg.connect(dsn) as conn:
        before = conn.execute("SELECT (SELECT count(*) FROM clients), (SELECT max(policy_id) FROM policies)").fetchone()
        assert demo.seed(dsn) is False
        after = conn.execute("SELECT (SELECT count(*) FROM clients), (SELECT max(policy_id) FROM policies)").fetchone()
    assert before == after == (60, 90)


def test_every_number_is_reserved_for_fiction_and_belongs_to_one_client(office: Office) -> None:
    with psycopg.connect(office.dsn) as conn:
        phones = [phone for (phone,) in conn.execute("SELECT phone FROM clients WHERE client_id <> 50")]
        mails = [mail for (mail,) in conn.execute("SELECT email FROM clients")]
    assert all(FICTION.fullmatch(phone) for phone in phones)
    assert len(set(phones)) == len(phones)
    assert all(mail.endswith("@example.test") for mail in mails)
    assert len(set(mails)) == len(mails)


def test_some_clients_have_the_numbers_at_which_the_simulator_does_something(office: Office) -> None:
    with psycopg.connect(office.dsn) as conn:
        phones = {phone for (phone,) in conn.execute("SELECT phone FROM clients")}
    assert len(phones & {magic.number for magic in MAGIC}) >= 8


def test_the_past_leaves_nothing_that_a_refresh_would_ask_the_provider_in_vain(new_database: Callable[[], str]) -> None:
    dsn = new_database()
    demo.seed(dsn)
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            """
            SELECT status::text, count(*) FILTER (WHERE created_at > now() - interval '7 days'), count(*)
            FROM whatsapp_logs.messages GROUP BY status
            """
        ).fetchall()
    recent, overall = {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}
    assert set(overall) == {"read", "delivered", "failed", "undelivered"}
    assert recent["delivered"] == 0
    assert overall["read"] > overall["delivered"] > overall["failed"] > 0


def test_migrating_twice_changes_nothing(new_database: Callable[[], str]) -> None:
    assert migrate.apply(new_database()) == 0
