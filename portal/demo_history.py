"""Three months of messages that the invented office has sent, so that the log of a first run is not empty."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from psycopg import Connection
from psycopg.rows import class_row

from portal import demo_data as data
from portal import policies, sending
from portal.policy import Policy
from whatsapp_logs import Source, StatusReport, WhatsAppService

DAYS = 90
MESSAGES = 240  # 4 ms each: seeding stays at about a second
# Messages this young are asked about by "refresh all"; the provider does not know invented ones, so all of them have ended.
STILL_ASKED = timedelta(days=8)
PRICE_USD = Decimal("-0.005")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message of the past, with what Twilio reported about it."""

    sid: str
    policy: Policy
    message_type: str
    body: str
    created_by: str
    created_at: datetime
    reports: list[StatusReport]


def write(conn: Connection, service: WhatsAppService, chance: random.Random, *, zone: ZoneInfo) -> list[StatusReport]:
    """Log the messages in the caller's transaction; returns the reports for `record_all` once that is committed."""
    with conn.cursor(row_factory=class_row(Policy)) as cursor:
        known = cursor.execute(f"{policies.SELECT} ORDER BY p.policy_id".encode()).fetchall()
    reports = []
    for sent in _imagine(known, chance, zone=zone, now=datetime.now(UTC)):
        service.log_message(
            conn=conn,
            message_sid=sent.sid,
            to=sent.policy.client_phone,
            message_type=sent.message_type,
            body=sent.body,
            policy_id=None if sent.message_type == "general" else sent.policy.policy_id,
            client_id=sent.policy.client_id,
            created_by=sent.created_by,
            created_at=sent.created_at,
        )
        reports += sent.reports
    return reports


def record_all(service: WhatsAppService, reports: list[StatusReport]) -> None:
    """Store what Twilio said of the messages."""
    service.record(reports, source=Source.IMPORT)


def _imagine(known: list[Policy], chance: random.Random, *, zone: ZoneInfo, now: datetime) -> Iterator[Sent]:
    ordinary = [policy for policy in known if policy.client_phone not in data.REMARKABLE_PHONES.values()]
    unreachable = [policy for policy in known if policy.client_phone in data.UNREACHABLE]
    for moment in _moments(chance, zone=zone, now=now):
        policy = chance.choice(unreachable if chance.random() < 0.03 else ordinary)
        message_type = _type(policy, moment.date(), chance)
        sid = f"SM{chance.getrandbits(128):032x}"
        failure = data.UNREACHABLE.get(policy.client_phone)
        if message_type == "general" and failure is None and chance.random() < 0.1:
            failure = data.WINDOW_CLOSED
        yield Sent(
            sid=sid,
            policy=policy,
            message_type=message_type,
            body=_body(policy, message_type, chance),
            created_by=chance.choice(("arjun.agent", "arjun.agent", "arjun.agent", "anna.admin")),
            created_at=moment,
            reports=_failed(sid, moment, *failure) if failure else _arrived(sid, moment, chance, now=now),
        )


def _moments(chance: random.Random, *, zone: ZoneInfo, now: datetime) -> list[datetime]:
    """Times in office hours of the last working days, in order; none in the last hour."""
    moments: list[datetime] = []
    while len(moments) < MESSAGES:
        day = (now - timedelta(days=chance.randint(0, DAYS))).astimezone(zone).date()
        clock = time(
            chance.choice((8, 9, 9, 10, 10, 11, 13, 14, 15, 16, 17)), chance.randint(0, 59), chance.randint(0, 59)
        )
        moment = datetime.combine(day, clock, zone).astimezone(UTC)
        if day.weekday() < 5 and moment < now - timedelta(hours=1):
            moments.append(moment)
    return sorted(moments)


def _type(policy: Policy, day: date, chance: random.Random) -> str:
    if chance.random() < 0.15:
        return "general"
    is_near = 0 <= (policy.ends_on - day).days <= 45
    return "renewal_reminder" if is_near else "policy_document"


def _body(policy: Policy, message_type: str, chance: random.Random) -> str:
    if message_type == "general":
        return chance.choice(data.WORDS_BY_HAND).format(first_name=policy.client_name.split()[0])
    if message_type == "renewal_reminder":
        return sending.reminder_text(policy)
    # Nothing is attached to the past: these words promise nothing that the log could not show.
    return data.DOCUMENT_READY.format(first_name=policy.client_name.split()[0], number=policy.policy_number)


def _failed(sid: str, created_at: datetime, word: str, code: str, text: str) -> list[StatusReport]:
    failed_at = created_at + timedelta(seconds=2)
    report = StatusReport(
        provider_status=word, provider_id=sid, error_code=code, error_message=text, happened_at=failed_at
    )
    return [report]


def _arrived(sid: str, created_at: datetime, chance: random.Random, *, now: datetime) -> list[StatusReport]:
    """Sent and delivered within seconds or minutes; most are read, at once or in the evening."""
    sent_at = created_at + timedelta(seconds=chance.uniform(0.8, 4))
    delivered_at = sent_at + timedelta(seconds=chance.choice((chance.uniform(0.7, 6), chance.uniform(2, 900))))
    reports = [
        StatusReport(provider_status="sent", provider_id=sid, happened_at=sent_at),
        StatusReport(
            provider_status="delivered",
            provider_id=sid,
            happened_at=delivered_at,
            price=PRICE_USD,
            price_unit="USD",
            num_segments=1,
        ),
    ]
    if chance.random() < 0.78 or now - created_at < STILL_ASKED:  # else receipts are off, or nobody looked
        wait_s = chance.choice((chance.uniform(4, 240), chance.uniform(120, 9 * 3600)))
        read_at = min(delivered_at + timedelta(seconds=wait_s), now)
        reports.append(StatusReport(provider_status="read", provider_id=sid, happened_at=read_at))
    return reports
