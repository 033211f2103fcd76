"""Write `tiny.json` anew: `python tests/golden/regenerate.py` from the root of the project.

Do so only in a change that is meant to alter what is learned (another rule, order of draws, default or split), and
say in its description which figures moved and why. A refactoring, a speed-up or a new torch that moves them by more
than the tolerances of tests/core/test_golden.py has changed the algorithm: find out how before you regenerate.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from cpg_core.storage.run import Run

PATH = Path(__file__).parent / "tiny.json"
HOW: dict[str, Any] = {"tasks": "1-2"}


def figures(run: Run) -> list[dict[str, Any]]:
    """What a run learned, task by task and stage by stage."""
    return [
        {
            "task": record.name,
            "own": record.own,
            "released": record.released,
            "test_accuracy": record.test_accuracy,
            "stages": [
                {
                    "stage": stage.stage,
                    "source": stage.source,
                    "own": stage.own,
                    "loss": [epoch.loss for epoch in stage.epochs],
                    "accuracy": [epoch.accuracy for epoch in stage.epochs],
                    "train_accuracy": [epoch.train_accuracy for epoch in stage.epochs],
                }
                for stage in record.stages
            ],
        }
        for record in run.records()
    ]


def main() -> None:
    """Learn the tiny run and write its figures."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from core.tiny import learn, spec

    with tempfile.TemporaryDirectory() as folder:
        PATH.write_text(json.dumps(figures(learn(Path(folder), spec(**HOW))), indent=1) + "\n")


if __name__ == "__main__":
    main()
