"""The fault bench, short: real processes, killed at random, and a Twilio that misbehaves. The long run is `./run faults`."""

from __future__ import annotations

import pytest

from tests.faults import bench, schedule
from tests.start.processes import data_folder

pytestmark = pytest.mark.slow
SEED, MESSAGES = 7, 200


def test_fault_16_and_1_9_10_11_12_19_at_once_nothing_is_lost_doubled_wrong_or_forged() -> None:
    with data_folder() as folder:
        report = bench.run(folder, seed=SEED, messages=MESSAGES, rate=100, mean_pause_s=0.3)
    said = "\n".join(report.lines())
    assert said.endswith(f"messages {MESSAGES}, lost 0, doubled 0, wrong 0, forged 0"), said
    assert set(report.tried) == {kind for kind, _ in schedule.KINDS}, said
    assert report.callbacks["dropped"] >= 0.2 * MESSAGES, said
    assert report.forgeries[403] > 0, said
