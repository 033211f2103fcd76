"""A served branch has what it needs of its base."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from cpg_core.recall.predictor import Serving
from cpg_core.storage.run import Run
from cpg_core.storage.runs import branch, open_run
from flows.tracking.registry import copy_checkpoints


def test_the_copy_that_is_served_answers_as_the_branch_does(unbroken: Run, tmp_path: Path) -> None:
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "tiny")
    made = branch(open_run(tmp_path, "tiny"), "zero-one", "side")
    copy_checkpoints(made, tmp_path / "copy")
    files = [path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*.json")]
    assert "checkpoints/side/run.json" in files
    assert {name for name in files if "tiny" in name} == {
        f"checkpoints/tiny/001-zero-one/{name}.json" for name in ("record", "recall", "seconds")
    }
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    there, here = (
        Serving(open_run(root, "side")).answer("zero-one", [image]) for root in (tmp_path / "copy", tmp_path)
    )
    assert there.content == here.content
