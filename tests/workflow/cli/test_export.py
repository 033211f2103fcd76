"""`cpg export`: files that answer as recall does, what they cost, and a word for every mistake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cpg_core.recall.export import task as exporting
from cpg_core.recall.export.formats import FORMATS, Answers, Numbers, Pixels
from cpg_core.recall.export.network import PlainNetwork
from cpg_core.storage.run import Run
from workflow.asking import cpg


def test_every_task_becomes_a_file_with_its_cost_before_and_after(unbroken: Run, tmp_path: Path) -> None:
    read = [unbroken.spec.name, "--root", unbroken.root]
    done = cpg("export", *read, "--all", "--format", "pt2", "--to", tmp_path / "tasks")
    assert (done.exit_code, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "tasks").iterdir()) == ["two-three.pt2", "zero-one.pt2"]
    heading, *rows = done.stdout.splitlines()
    assert heading.split("  ")[0] == "task" and "multiply-adds" in heading and "ms an image" in heading
    assert [row.split()[:2] for row in rows[:4]] == [
        [name, network] for name in ("zero-one", "two-three") for network in ("dense", "exported")
    ]
    assert "as recall on 72 test images" in rows[4]


def test_of_all_tasks_those_that_can_be_are_exported(
    unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "zero-one.pt2").mkdir()
    monkeypatch.setattr(exporting, "milliseconds", lambda *_: 1.0)
    done = cpg("export", unbroken.spec.name, "--root", unbroken.root, "--all", "--format", "pt2", "--to", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'zero-one.pt2'}: cannot be written")
    assert (tmp_path / "two-three.pt2").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "x.onnx"], "expected --task NAME and a file for --to, or --all and a folder"),
        (["--all", "--task", "two-three", "--to", "x"], "expected --task NAME and a file for --to, or --all and a"),
        (["--all", "--format", "pth", "--to", "x"], "--format pth: expected onnx or pt2"),
        (["--task", "two-three", "--to", "x.pth"], "x.pth: expected a file that ends in .onnx or .pt2"),
        (["--task", "two-tree", "--to", "x.onnx"], "did you mean 'two-three'"),
    ],
)
def test_mistakes_are_told_in_a_line(words: list[str], says: str, unbroken: Run) -> None:
    done = cpg("export", unbroken.spec.name, "--root", unbroken.root, *words)
    assert done.exit_code == 2
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_a_network_that_no_file_can_hold_stops_no_other(
    unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FORMATS[".pt2"]

    def write(
        network: PlainNetwork, shape: tuple[int, ...], output: str, metadata: Mapping[str, str], path: Path
    ) -> None:
        if metadata["task"] == "zero-one":
            raise RuntimeError("a branch on the image\nmore of it")
        real.write(network, shape, output, metadata, path)

    monkeypatch.setitem(FORMATS, ".pt2", replace(real, write=write))
    done = cpg("export", unbroken.spec.name, "--root", unbroken.root, "--all", "--format", "pt2", "--to", tmp_path)
    assert "zero-one.pt2: this backbone cannot be exported to .pt2: a branch on the image" in done.stderr
    assert (done.exit_code, "fault of cpg" in done.stderr) == (1, False)
    assert [file.name for file in tmp_path.iterdir()] == ["two-three.pt2"]


@pytest.mark.parametrize("late", [False, True])
def test_a_file_that_its_reader_cannot_run_stops_no_other(
    unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    real = FORMATS[".pt2"]

    def load(path: Path) -> Answers:
        answers = real.load(path)

        def answer(_: Pixels) -> Numbers:
            raise RuntimeError("no kernel for this layer\nmore of it")

        if not path.name.startswith(".zero-one"):
            return answers
        return answer if late else answer(np.zeros(()))

    monkeypatch.setitem(FORMATS, ".pt2", replace(real, load=load))
    done = cpg("export", unbroken.spec.name, "--root", unbroken.root, "--all", "--format", "pt2", "--to", tmp_path)
    assert "zero-one.pt2: this backbone is written to .pt2, and its reader cannot run it: no kernel" in done.stderr
    assert (done.exit_code, "fault of cpg" in done.stderr) == (1, False)
    assert [file.name for file in tmp_path.iterdir()] == ["two-three.pt2"]
