"""What `benchmarks/gpu.py` keeps and merges; that its parts run is for its own `--device cpu --quick`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from core.tiny import ROOT


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_results
    import gpu_setup

    yield {"results": gpu_results, "setup": gpu_setup}


def write(gpu: dict[str, ModuleType], folder: Path, found: dict[str, object], **how: object) -> None:
    setup = gpu["setup"].Setup(
        device=torch.device("cpu"),
        real_data=True,
        root=folder,
        ends=0.0,
        **{"precision": "tf32", "quick": False, **how},
    )
    results = gpu["results"].Results(folder, "c", setup)
    for name, value in found.items():
        results.add(name, value)


def task(accuracy: float, compact: float, unchanged: list[bool], **more: object) -> dict[str, object]:
    """A finding of part c."""
    found = {"test_accuracy": accuracy, "compact_accuracy": compact, "paper": 0.5, "seconds": 10.0, "budget_x": 1.5}
    return {**found, "redundancy_x": 0.25, "unchanged_earlier": unchanged, **more}


def test_results_of_several_runs_become_one_file_a_device(gpu: dict[str, ModuleType], tmp_path: Path) -> None:
    fish, flowers, again = task(0.6, 0.7, []), task(0.1, 0.1, [False]), task(0.8, 0.8, [True], seconds=20.0)
    write(gpu, tmp_path / "first", {"001-fish": fish, "002-flowers": flowers, "summary": "of before"})
    write(gpu, tmp_path / "second", {"002-flowers": again})
    write(gpu, tmp_path / "exact", {"001-fish": fish}, precision="float32")
    write(gpu, tmp_path / "quick", {"001-fish": flowers}, quick=True)
    told = gpu["results"].merge([tmp_path / name for name in ("first", "second", "exact", "quick")], tmp_path / "into")
    assert "processor.json" in told
    rows = json.loads((tmp_path / "into/processor.json").read_text())["parts"]["c"]
    assert {name: rows["tf32"][name] for name in ("001-fish", "002-flowers")} == {
        "001-fish": fish,
        "002-flowers": again,
    }
    assert rows["tf32"]["summary"] == {
        "tasks": 2,
        "average": 0.7,
        "compact_average": 0.75,
        "paper_average_of_these": 0.5,
        "seconds_a_task": 15.0,
        "recalled_to_the_bit": True,
        "budget_x": 1.5,
        "redundancy_x": 0.25,
    }
    assert rows["float32"]["001-fish"] == fish
    assert "nothing to merge" in gpu["results"].merge([tmp_path / "quick"], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_summary_tells_of_a_task_that_was_forgotten(gpu: dict[str, ModuleType]) -> None:
    kept = gpu["results"].summary({"001-fish": task(0.6, 0.7, []), "002-flowers": task(0.8, 0.8, [True])})
    lost = gpu["results"].summary({"001-fish": task(0.6, 0.7, []), "002-flowers": task(0.8, 0.8, [False])})
    assert (kept["recalled_to_the_bit"], lost["recalled_to_the_bit"]) == (True, False)


def test_a_part_that_fails_leaves_its_traceback_beside_what_it_found(
    gpu: dict[str, ModuleType], tmp_path: Path
) -> None:
    write(gpu, tmp_path, {"001-fish": 1})
    setup = gpu["setup"].Setup(torch.device("cpu"), "tf32", quick=False, real_data=True, root=tmp_path, ends=0.0)
    results = gpu["results"].Results(tmp_path, "c", setup)
    results.fail("Traceback: no such kernel")
    assert (tmp_path / "c.error.txt").read_text() == "Traceback: no such kernel"
    assert json.loads((tmp_path / "c.json").read_text())["found"] == {"001-fish": 1}


def test_the_goals_are_the_published_row(gpu: dict[str, ModuleType]) -> None:
    row = gpu["setup"].paper_row("fine-Avg")
    assert (len(row), row[0], row[19]) == (20, 0.652, 0.915)


def test_the_clock_asks_to_stop_when_the_time_is_up_and_not_before(gpu: dict[str, ModuleType]) -> None:
    assert gpu["setup"].Clock(ends=time.monotonic() - 1).stop_requested()
    assert not gpu["setup"].Clock(ends=time.monotonic() + 1e6).stop_requested()
    at_two = gpu["setup"].Clock(ends=time.monotonic() + 1e6, stop_at=2)
    assert [at_two.stop_requested() for _ in range(3)] == [False, True, False]
