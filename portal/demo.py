"""An invented office to try the portal with: people, clients, policies, and three months of messages."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import psycopg
from psycopg import Connection
from werkzeug.security import generate_password_hash

from portal import demo_data as data
from portal import demo_history, reminders
from whatsapp_logs import Config, WhatsAppService

PASSWORD = "harbour-lane-demo"  # noqa: S105 - printed for everybody: the demonstration's
# (user name, password, role): the starter prints them.
DEMO_SIGN_INS = tuple((username, PASSWORD, role) for username, _, role in data.PEOPLE)
TIMEZONE = os.environ.get("DISPLAY_TIMEZONE") or "Europe/London"


def sign_ins() -> list[str]:
    """The sign-ins as lines to print."""
    return [f"{role:<14} {username:<17} {password}" for username, password, role in DEMO_SIGN_INS]


def seed(dsn: str) -> bool:
    """Fill an empty portal; False when there are people already, whose office is then left alone."""
    chance = random.Random(2)  # the same office every time  # noqa: S311 - chance, no secret
    zone = ZoneInfo(TIMEZONE)
    with closing(_service(dsn)) as service:
        with psycopg.connect(dsn, application_name="portal demo") as conn:
            conn.execute("LOCK TABLE people IN EXCLUSIVE MODE")  # two starters at once seed once
            if conn.execute("SELECT EXISTS (SELECT FROM people)").fetchone() == (True,):
                return False
            _add_people(conn)
            client_ids = _add_clients(conn, chance)
            _add_policies(conn, client_ids, chance, today=datetime.now(zone).date())
            _add_rules(conn)
            reminders.note_dues(conn, datetime.now(zone).date(), back_days=90)
            reports = demo_history.write(conn, service, chance, zone=zone)
        demo_history.record_all(service, reports)
    return True


def _service(dsn: str) -> WhatsAppService:
    """A service that only writes down: it needs no provider, but the number that the messages came from."""
    sender = os.environ.get("TWILIO_WHATSAPP_FROM", "")
    return WhatsAppService(Config(database_url=dsn, secret_key="only for writing down", twilio_whatsapp_from=sender))  # noqa: S106 - it signs nothing


def _add_people(conn: Connection) -> None:
    password_hash = generate_password_hash(PASSWORD)  # once: a hash takes 0.1 s, and the demo's password is no secret
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO people (username, name, role, password_hash, timezone) VALUES (%s, %s, %s, %s, %s)",
            [(username, name, role, password_hash, TIMEZONE) for username, name, role in data.PEOPLE],
        )


def _add_clients(conn: Connection, chance: random.Random) -> list[int]:
    phones, ages = _phones(), random.Random(3)  # chance, no secret  # noqa: S311
    rows = []
    for name in data.NAMES:
        mailbox = data.plain(name).lower().replace(" ", ".")
        street, town = f"{chance.randint(2, 148)} {chance.choice(data.STREETS)}", chance.choice(data.TOWNS)
        phone = data.REMARKABLE_PHONES.get(name) or next(phones)
        born = date(1950, 1, 1) + timedelta(days=ages.randrange(52 * 365))
        rows.append((name, phone, f"{mailbox}@example.test", f"{street}\n{town}", born))
    sql = "INSERT INTO clients (name, phone, email, address, date_of_birth) VALUES (%s, %s, %s, %s, %s) RETURNING client_id"
    return _insert(conn, sql, rows)


def _add_policies(conn: Connection, client_ids: list[int], chance: random.Random, *, today: date) -> None:
    # Everybody has one policy, every second one more; renewals lie thickest around today.
    holders = [*client_ids, *client_ids[::2]]
    rows = []
    for number, client_id in enumerate(holders):
        product = data.PRODUCTS[chance.choice(data.MOST_SOLD)]
        ends_on = today + timedelta(days=_days_until_renewal(number, chance))
        starts_on = ends_on - timedelta(days=365) + timedelta(days=1)
        total = Decimal(chance.randint(*product.premium)) + Decimal(chance.randint(0, 99)) / 100
        rows.append(
            (client_id, f"{product.prefix}-{starts_on:%y}-{20417 + number * 37}", product.name,
             chance.choice(product.insurers), chance.choice(product.insured), chance.choice(product.sums),
             product.excess, total, "GBP", starts_on, ends_on, _status(ends_on, today, number))
        )  # fmt: skip
    _insert(
        conn,
        """
        INSERT INTO policies (client_id, policy_number, product, insurer, insured, sum_insured, excess, premium,
                              currency, starts_on, ends_on, status)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING policy_id
        """,
        rows,
    )


def _add_rules(conn: Connection) -> None:
    """Paused, so that nothing is sent which nobody asked for."""
    _insert(
        conn,
        """
        INSERT INTO renewal_rules (days_before, template, document, fields, message_type, created_by, changed_by)
        VALUES (%s, %s, %s, '{"1": {"from": "client_name"}, "2": {"from": "policy_number"}, "3": {"from": "due_date"}}',
                'renewal_reminder', 'anna.admin', 'anna.admin') RETURNING rule_id
        """,
        [(30, "renewal_reminder_document", "papers"), (14, "renewal_reminder", None), (3, "renewal_reminder", None)],
    )


def _days_until_renewal(number: int, chance: random.Random) -> int:
    """Days from today: one third within a month, a few overdue, the rest over the year."""
    if number % 3 == 0:
        return chance.randint(1, 30)
    return chance.randint(-12, -1) if number % 15 == 1 else chance.randint(31, 350) if number % 15 != 2 else -40


def _status(ends_on: date, today: date, number: int) -> str:
    if ends_on < today - timedelta(days=30):
        return "lapsed"
    return "cancelled" if number % 29 == 28 else "active"


def _phones() -> Iterator[str]:
    """Numbers that are kept free for fiction: most British (Ofcom), some American (555-01xx)."""
    for n in range(100):
        yield f"+4477009{200 + n * 7:05d}" if n % 6 != 5 else f"+1{data.AMERICAN_AREAS[n % 4]}555{100 + n:04d}"


def _insert(conn: Connection, sql: str, rows: Sequence[tuple[object, ...]]) -> list[int]:
    """Insert the rows in one round trip; returns their new ids in order."""
    ids = []
    with conn.cursor() as cursor:
        cursor.executemany(sql.encode(), rows, returning=True)
        while True:
            ids += [row[0] for row in cursor.fetchall()]
            if not cursor.nextset():
                return ids
