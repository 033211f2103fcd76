"""The fault campaign, small: a killed run ends as an unbroken one, and a broken resume does not go unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from core.tiny import ROOT

if TYPE_CHECKING:
    from faults_sequence import Starter

BROKEN = {
    "momentum is not resumed": "from cpg_core.training import optimizer; optimizer.TaskOptimizer.load = lambda *_: None",
    "epochs are not resumed": "from cpg_core.storage.snapshot import Snapshots; Snapshots.newest = lambda *_: None",
    "stages are not found": "import cpg_core.stages.run_stage as stages; stages._finished = lambda *_: None",
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from faults_sequence import starter

        with starter(tmp_path_factory.mktemp("faults") / "logs") as started:
            yield started


def test_killed_it_ends_as_if_it_never_was(start: Starter, tmp_path: Path) -> None:
    from faults_kills import campaign

    tally = campaign(start, None, tmp_path, kills=4, seed=3)
    assert tally.kills.total() == tally.resumes.total() == 4
    assert (tally.differences.total(), tally.lost.total()) == (0, 0)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_resume_is_seen(start: Starter, tmp_path: Path, broken: str) -> None:
    from faults_kills import campaign

    in_the_middle = {"work/at.json": 12}
    broken_start = replace(start, code=BROKEN[broken])
    tally = campaign(broken_start, None, tmp_path, kills=4, seed=3, kinds=in_the_middle, clock_share=0)
    seen = tally.differences if broken == "momentum is not resumed" else tally.lost
    assert seen.total() > 0
