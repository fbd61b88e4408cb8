"""The benches run, and each says its figure; how fast is not asked here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benches.__main__ import NAMES
from tests.start.processes import data_folder

pytestmark = pytest.mark.slow
ROWS = 10_000


def test_every_bench_runs_and_says_its_figures() -> None:
    with data_folder() as folder:
        env = os.environ | {"BENCH_DIR": str(folder)}
        command = [sys.executable, "-m", "benches", "--rows", str(ROWS), *NAMES]
        ran = subprocess.run(
            command, cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, timeout=300
        )
    assert ran.returncode in (0, 1), ran.stderr  # 1 = a figure is short, which ten thousand rows say nothing about
    *lines, closing = [line for line in ran.stdout.splitlines() if not line.startswith("#")]
    figures = [re.fullmatch(r"(.+?)\s+\S*\d\S* \S*\s+(-|\S*\d\S*)\s+.*(ok|short)", line) for line in lines]
    assert all(figures), ran.stdout
    assert re.match(rf"{len(lines)} figures, \d+ short", closing)
    told = "\n".join(lines)
    for said in (
        "cards ÷ SELECT 1",
        "page first ÷ first portal's",
        "page phone 3 ÷ at a tenth of the rows",
        "log page over HTTP ÷ the page of an empty log",
        "open pages, nothing changing: share of a core",
        "log page ÷ Django admin's list",
        "status updates that are heap-only",
        "counts by deltas ÷ no counts",
        "psql's COPY",
        "÷ COPY of its rows",
        "campaign run",
        "callbacks ÷ ORM under gunicorn",
        "÷ one a message",
    ):
        assert said in told
    assert re.search(r"cards: statuses whose total differs from count\(\*\) +0 ", told)
