"""A real dump, damaged where it hurts, and everything asked of it: each question ends in an answer or a typed error.

This is a sample, a round of each kind. `./glassbox test --fuzz 5000` makes it a campaign: see `campaign/__main__.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.bridge.kernel.campaign.rounds import FILES, KINDS, KNOWN, Campaign, kind_of

ROUNDS = 2


@pytest.fixture(scope="module")
def campaign(dump: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    return Campaign(dump.copy(), tmp_path_factory.mktemp("campaign"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_of_damage_is_answered_or_refused(campaign: Campaign, dump: np.ndarray, kind: str) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(ROUNDS):
        verdict = campaign.run(number, kind)
        assert not verdict.failures, "\n".join(verdict.failures)
        outcomes += verdict.outcomes
    assert outcomes
    if kind in KNOWN:
        assert outcomes["question maps: answered"] + outcomes["question maps: refused"] >= 3 * ROUNDS
        assert any("answered" in name for name in outcomes)
    assert (campaign.ram.data == dump).all(), "what was damaged is mended"


def test_a_round_can_be_run_again_by_itself(campaign: Campaign) -> None:
    first, second = campaign.run(77, "tasks"), campaign.run(77, "tasks")
    assert first.outcomes == second.outcomes


def test_a_campaign_says_what_failed(dump: np.ndarray, tmp_path: Path) -> None:
    """Nothing is as fast as it would have to be here: every round fails, is told, and does not end the campaign."""
    path = tmp_path / "a.ram"
    path.write_bytes(dump.data)
    command = [sys.executable, "-P", "-m", "tests.bridge.kernel.campaign", "2", "--dump", str(path), "--limit=-1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ran = subprocess.run([*command, "--kind", "log"], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    report = json.loads(ran.stdout)
    assert report["kinds"] == {"log": 2}
    assert {failure["round"] for failure in report["failures"]} == {0, 1}
    assert "question log: took" in ran.stderr
    assert path.read_bytes() == dump.tobytes(), "only a copy of a dump is damaged"


def test_every_kind_is_in_the_schedule() -> None:
    assert {kind_of(number) for number in range(4 * len(KINDS))} == set(KINDS)
    assert set(FILES) < set(KINDS)
