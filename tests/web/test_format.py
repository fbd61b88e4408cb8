"""Words for people: shares, times across zones and clock changes, gaps, WhatsApp's marks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp_logs.web import format

LONDON, KOLKATA = ZoneInfo("Europe/London"), ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 11, 23, 15, 4, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("part", "whole", "down", "up"),
    [
        (0, 0, "–", "–"),
        (0, 5, "0 %", "0 %"),
        (5, 5, "100 %", "100 %"),
        (9_999, 10_000, "99.9 %", "99.9 %"),  # 100 % is said of all only
        (1, 10_000, "< 0.1 %", "0.1 %"),
        (15, 240, "6.2 %", "6.3 %"),
    ],
)
def test_a_share_is_never_flattered(part, whole, down, up):
    assert format.percent(part, whole).replace("\u202f", " ") == down
    assert format.percent_up(part, whole).replace("\u202f", " ") == up


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=-3), "just now"),
        (timedelta(seconds=44), "just now"),
        (timedelta(seconds=45), "1 min ago"),
        (timedelta(minutes=59), "59 min ago"),
        (timedelta(hours=3), "3 h ago"),
        (timedelta(hours=15, minutes=5), "yesterday"),
        (timedelta(days=6), "6 days ago"),
        (timedelta(days=7), "16 Nov"),
        (timedelta(days=365), "23 Nov 2025"),
    ],
)
def test_how_long_ago(ago, words):
    assert format.relative(NOW - ago, zone=LONDON, now=NOW) == words


def test_a_moment_is_told_in_the_viewers_zone_by_name():
    moment = datetime(2026, 7, 1, 23, 30, tzinfo=UTC)
    assert format.full(moment, zone=LONDON) == "Thu 2 Jul 2026, 00:30:00 BST"
    assert format.full(moment, zone=KOLKATA) == "Thu 2 Jul 2026, 05:00:00 IST"
    assert format.full(moment, zone=ZoneInfo("America/Sao_Paulo")).endswith("20:30:00 UTC-03")
    assert format.clock(moment, zone=LONDON, now=NOW) == "2 Jul, 00:30"
    assert format.clock(NOW, zone=LONDON, now=NOW) == "15:04"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "at once"), (59, "59 s"), (90, "1 min 30 s"), (1800, "30 min"), (4800, "1 h 20 min"), (3 * 86400, "3 days")],
)
def test_gaps(seconds, words):
    assert format.gap(NOW, NOW + timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("*bold* and _italic_ and ~gone~", "<b>bold</b> and <i>italic</i> and <s>gone</s>"),
        ("2*3*4 snake_case_name", "2*3*4 snake_case_name"),
        ("* list\n* list", "* list\n* list"),
        ("*<script>*", "<b>&lt;script&gt;</b>"),
    ],
)
def test_whatsapps_marks(text, html):
    assert format.as_whatsapp(text) == html


@given(st.text())
def test_whatever_is_written_only_our_three_tags_come_out(text):
    html = format.as_whatsapp(text)
    for tag in ("b", "i", "s"):
        assert html.count(f"<{tag}>") == html.count(f"</{tag}>")
        html = html.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    assert "<" not in html
    assert ">" not in html
