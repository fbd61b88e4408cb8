"""A page of the log with its counts, under every filter: ours, the first portal's way, and ours at a tenth of the rows.

Ours is all that the page shows, its cards too. Where the first portal takes long for its list, that is the measure; where it is
quick, its page is: the list and its cards. What the list alone comes to stands below it.

"Flat" is asked of every page. Where a tenth of the messages shows fewer rows, the line says how many: a longer answer takes longer
to read, however large the log is. Beside each of these stands a busy client, number or policy, whose pages are full in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from benches import cards
from benches.measure import Line, interleaved, timed
from benches.place import Place
from whatsapp_logs import Config, MessageFilter, Status, WhatsAppService
from whatsapp_logs.filters import Cursor

ROUNDS = 31
SETTLED = 11  # calls after which a statement is prepared and its plan made for good, of both
SLOW_S = 0.2  # where the first portal takes longer than this, ours has to take a hundredth of it


@dataclass(frozen=True, slots=True)
class Case:
    """A filter, and how deep in the log the page lies (0 = newest, 1 = oldest)."""

    name: str
    wanted: MessageFilter
    depth: float = 0.0


def measure(place: Place) -> Iterator[Line]:
    """Two or three lines a case."""
    with ExitStack() as stack:
        service, tenth = (_service(stack, place.dsn(rows)) for rows in (place.rows, place.tenth))
        conn = stack.enter_context(psycopg.connect(place.dsn(), autocommit=True, row_factory=dict_row))
        cards_s = timed(lambda: cards.count_as_the_first_portal(conn))
        for case in _cases(conn):
            times = interleaved(
                place.rounds(ROUNDS),
                first=place.rounds(SETTLED),
                ours=lambda c=case: read(service, c),
                tenth=lambda c=case: read(tenth, c),
            )  # type: ignore[misc]
            list_s = _median_s(place, lambda c=case: _list_as_the_first_portal(conn, c, place.rows))  # type: ignore[misc]
            ms, name = times["ours"] * 1000, f"page {case.name} ÷ first portal's"
            if list_s > SLOW_S:
                yield Line(name, ms, "ms", times["ours"] / list_s, "<= 0.01")
            else:
                yield Line(name, ms, "ms", times["ours"] / (list_s + cards_s), "<= 1")
                yield Line(f"{name} list alone", ms, "ms", times["ours"] / list_s)
            yield _flat(service, tenth, case, times)


def read(service: WhatsAppService, case: Case) -> int:
    """What the page asks of the log; how many rows it shows."""
    before = None
    if case.depth:
        since = datetime.now(UTC) - timedelta(days=3 * 365.24 * case.depth)
        before = Cursor(since, 0)
    return len(service.overview(case.wanted, before=before).page.messages)


def _flat(ours: WhatsAppService, tenth: WhatsAppService, case: Case, times: dict[str, float]) -> Line:
    """Our page beside that of a tenth of the messages."""
    shown, fewer = read(ours, case), read(tenth, case)
    rows = "" if shown == fewer else f", {shown} rows ÷ {fewer}"
    name = f"page {case.name} ÷ at a tenth of the rows{rows}"
    return Line(name, times["ours"] * 1000, "ms", times["ours"] / times["tenth"], "<= 1.5")


def _median_s(place: Place, call: Callable[[], None]) -> float:
    """The median of a few, where they are quick; minutes are not taken twice."""
    once = timed(call)
    return once if once > SLOW_S else interleaved(place.rounds(ROUNDS), first=place.rounds(SETTLED), call=call)["call"]


def _list_as_the_first_portal(conn: psycopg.Connection[Any], case: Case, rows: int) -> None:
    wanted, where, values = case.wanted, ["true"], {}
    for name, condition, value in (
        ("statuses", "status = ANY (%(statuses)s)", [status.value for status in wanted.statuses]),
        ("types", "message_type = ANY (%(types)s)", list(wanted.types)),
        ("phone", "phone_number ILIKE %(phone)s", wanted.phone and f"%{wanted.phone}%"),
        ("since", "sent_at >= %(since)s", wanted.since),
        ("until", "sent_at < %(until)s", wanted.until),
        ("client", "client_id = %(client)s", wanted.client_id and int(wanted.client_id)),
        ("policy", "policy_id = %(policy)s", wanted.policy_id and int(wanted.policy_id)),
        ("code", "error_code = %(code)s", wanted.error_code),
    ):
        if value:
            where.append(condition)
            values[name] = value
    conditions = " AND ".join(where)
    values["offset"] = int(rows * case.depth * 0.95)
    conn.execute(f"SELECT count(*) FROM first_portal.whatsapp_logs WHERE {conditions}".encode(), values).fetchone()
    conn.execute(
        f"SELECT * FROM first_portal.whatsapp_logs WHERE {conditions} ORDER BY sent_at DESC LIMIT 50 OFFSET %(offset)s".encode(),
        values,
    ).fetchall()


def _cases(conn: psycopg.Connection[Any]) -> Iterator[Case]:
    today = datetime.now(UTC).date()
    week, month = {"date_from": today - timedelta(days=6)}, {"date_from": today - timedelta(days=29)}
    old = {"date_from": today - timedelta(days=700), "date_to": today - timedelta(days=671)}
    row = conn.execute(
        "SELECT recipient, client_id, policy_id FROM whatsapp_logs.messages WHERE direction = 'outbound' AND client_id > 1000"
        " ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert row is not None
    phone, client_id, policy_id = row["recipient"].removeprefix("+"), str(row["client_id"]), str(row["policy_id"])
    busy, busy_phone = 3, conn.execute("SELECT bench.phone(3)").fetchone()["phone"].removeprefix("+")  # type: ignore[index]
    failed, undelivered, delivered, read_ = Status.FAILED, Status.UNDELIVERED, Status.DELIVERED, Status.READ

    def case(name: str, depth: float = 0.0, **wanted: Any) -> Case:
        return Case(name, MessageFilter(**wanted), depth)

    yield case("first")
    yield case("middle", 0.5)
    yield case("last", 1.0)
    for status in (Status.QUEUED, Status.SENT, delivered, read_, failed, undelivered, Status.CANCELED):
        yield case(f"status {status}", statuses=(status,))
    yield case("status failed and undelivered", statuses=(failed, undelivered))
    yield case("status delivered and failed", statuses=(failed, delivered))
    for name in ("policy_document", "general", "claim_notice", "unheard_of"):
        yield case(f"type {name}", types=(name,))
    yield case("week", **week)
    yield case("old month", **old)
    yield case("status delivered, month", statuses=(delivered,), **month)
    yield case("status failed, old month", statuses=(failed,), **old)
    yield case("type general, old month", types=("general",), **old)
    yield case("status failed, type general", statuses=(failed,), types=("general",))
    yield case("status failed, type claim_notice", statuses=(failed,), types=("claim_notice",))
    yield case("status read, type general, old month", statuses=(read_,), types=("general",), **old)
    yield case("error 63003", error_code="63003")
    yield case("error that never was", error_code="99999")
    yield case("phone whole", phone=phone)
    yield case("phone last 4", phone=phone[-4:])
    yield case("phone 5 in the middle", phone=phone[4:9])
    yield case("phone whole, busy", phone=busy_phone)
    yield case("phone 5 in the middle, busy", phone=busy_phone[1:6])
    yield case("phone 3", phone=phone[-3:])
    yield case("phone none found", phone="000111222333")
    yield case("phone last 4, status failed", phone=phone[-4:], statuses=(failed,))
    yield case("phone last 4, type general, month", phone=phone[-4:], types=("general",), **month)
    yield case("phone last 4, type general, month, busy", phone=busy_phone[-4:], types=("general",), **month)
    yield case("client", client_id=client_id)
    yield case("policy", policy_id=policy_id)
    yield case("client, busy", client_id=str(busy))
    yield case("policy, busy", policy_id=str(busy))
    yield case("client, status failed", client_id=client_id, statuses=(failed,))
    yield case("client, status read, busy", client_id=str(busy), statuses=(read_,))


def _service(stack: ExitStack, dsn: str) -> WhatsAppService:
    return stack.enter_context(closing(WhatsAppService(Config(database_url=dsn, secret_key="only for reading"))))
