"""From a query string to a filter and back to one; days are the viewer's, the last one included."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp_logs.errors import InvalidInput
from whatsapp_logs.filters import Cursor, MessageFilter
from whatsapp_logs.message import Status

LONDON, KOLKATA, NEW_YORK = ZoneInfo("Europe/London"), ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York")


def read(zone: ZoneInfo = LONDON, **query: str | list[str]) -> MessageFilter:
    return MessageFilter.from_query(
        {name: [value] if isinstance(value, str) else value for name, value in query.items()}, zone=zone
    )


def test_a_filter_survives_the_way_through_a_url() -> None:
    wanted = read(
        status=["failed", "read"],
        type="general",
        date_from="2026-11-01",
        date_to="2026-11-23",
        client="A-17",
        error_code="63003",
    )
    pairs = wanted.to_query()
    again = MessageFilter.from_query({name: [v for n, v in pairs if n == name] for name, _ in pairs}, zone=LONDON)
    assert again == wanted


def test_the_first_portals_query_names_still_answer() -> None:
    wanted = read(
        status_filter="delivered", message_type_filter="policy_document", date_from="2026-11-01", date_to="2026-11-02"
    )
    assert wanted.statuses == (Status.DELIVERED,)
    assert wanted.types == ("policy_document",)
    assert read(status_filter="all", message_type_filter="").is_empty


def test_mistake_5_the_last_day_of_a_range_is_included() -> None:
    wanted = read(KOLKATA, date_from="2026-11-23", date_to="2026-11-23")
    assert wanted.since == datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    assert wanted.until == datetime(2026, 11, 23, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-07-01", 24), ("2028-02-29", 24)]
)
def test_a_day_is_as_long_as_the_clocks_make_it(day: str, hours: int) -> None:
    wanted = read(LONDON, date_from=day, date_to=day)
    assert wanted.until is not None
    assert wanted.since is not None
    assert wanted.until - wanted.since == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("status", {"status": "teleported"}),
        ("status", {"status": "' or 1=1 --"}),
        ("type", {"type": "%"}),
        ("type", {"type": "a\x00b"}),
        ("type", {"type": "x" * 1_000_000}),
        ("date_from", {"date_from": "yesterday"}),
        ("date_from", {"date_from": "2026-02-30"}),
        ("date_from", {"date_from": "0001-01-01"}),
        ("date_to", {"date_to": "9999-12-31"}),
        ("date_to", {"date_from": "2026-11-23", "date_to": "2026-11-22"}),
        ("client", {"client": "1; DROP TABLE clients"}),
        ("direction", {"direction": "sideways"}),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(field: str, query: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(LONDON, **query)
    assert refused.value.field == field


def test_the_phone_never_stands_in_the_query() -> None:
    wanted = MessageFilter.from_query({}, zone=LONDON, phone="7700900123")
    assert not wanted.is_empty
    assert "7700900123" not in str(wanted.to_query())


@given(st.integers(0, 10**16), st.integers(1, 2**63 - 1))
def test_a_cursor_survives_the_way_through_a_url(microseconds: int, message_id: int) -> None:
    cursor = Cursor(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds), message_id)
    assert Cursor.decode(cursor.encode()) == cursor


@given(st.text(max_size=60))
def test_a_damaged_cursor_is_refused_or_read_but_never_a_crash(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert Cursor.decode(text).encode()


def test_a_day_is_a_day_whatever_the_zone() -> None:
    assert read(NEW_YORK, date_from="2026-11-23").date_from == date(2026, 11, 23)
