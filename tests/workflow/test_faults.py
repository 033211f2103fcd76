"""The fault campaign, small: a killed run ends as an unbroken one, and a broken resume does not go unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import pytest
from core.tiny import ROOT

if TYPE_CHECKING:
    from faults_sequence import Starter

BROKEN = {
    "momentum is not resumed": ("cpg_core.training.optimizer:TaskOptimizer", "load"),
    "epochs are not resumed": ("cpg_core.storage.snapshot:Snapshots", "newest"),
    "stages are not found": ("cpg_core.stages.run_stage:", "_finished"),
}
"""A function of a class or module, in place of which nothing is done."""


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
    owner, function = BROKEN[broken]
    assert callable(getattr(resolve_name(owner), function)), "else each attempt would end by another error"
    code = f"from pkgutil import resolve_name; setattr(resolve_name({owner!r}), {function!r}, lambda *_: None)"
    broken_start = replace(start, code=code)
    tally = campaign(broken_start, None, tmp_path, kills=4, seed=5, kinds=in_the_middle, clock_share=0)
    seen = tally.differences if broken == "momentum is not resumed" else tally.lost
    assert seen.total() > 0
