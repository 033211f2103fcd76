"""The result files of `gpu.py`: one a part, whole at any time; and all of them merged under the device's name."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from gpu_setup import Setup

from cpg_core.machine import versions

PARTS = ("a", "b", "c", "d")
ROWS = ("c", "d")
"""Parts whose findings are tasks, with a summary over all of them."""


class Results:
    """What a part has found so far: `FOLDER/PART.json`, written anew whenever something is added."""

    def __init__(self, folder: Path, part: str, setup: Setup) -> None:
        self._file, self._error = folder / f"{part}.json", folder / f"{part}.error.txt"
        self._began = time.monotonic()
        self._error.unlink(missing_ok=True)
        self._content: dict[str, Any] = {
            "device": setup.device_name,
            "precision": setup.precision,
            "quick": setup.quick,
            "versions": versions(),
            "found": {},
        }

    def add(self, name: str, value: object) -> None:
        """Keep a finding under a name, and print it."""
        self._content["found"][name] = value
        self._content["seconds"] = round(time.monotonic() - self._began, 1)
        _write(self._file, self._content)
        print(f"{name}: {json.dumps(value)}", flush=True)

    def fail(self, text: str) -> None:
        """Keep what went wrong beside the findings, and print it."""
        self._error.parent.mkdir(parents=True, exist_ok=True)
        self._error.write_text(text)
        print(text, flush=True)


def summary(found: dict[str, dict[str, Any]]) -> dict[str, object]:
    """Means over the tasks of a row, and whether every task was recalled to the bit after each later one."""
    tasks = list(found.values())
    last = tasks[-1]
    compact = [task.get("compact_accuracy") for task in tasks]
    return {
        "tasks": len(tasks),
        "average": round(_mean([task["test_accuracy"] for task in tasks]), 4),
        "compact_average": None if None in compact else round(_mean(compact), 4),
        "paper_average_of_these": round(_mean([task["paper"] for task in tasks]), 4),
        "seconds_a_task": round(_mean([task["seconds"] for task in tasks]), 1),
        "recalled_to_the_bit": all(unchanged for task in tasks for unchanged in task["unchanged_earlier"]),
        "budget_x": last["budget_x"],
        "redundancy_x": last["redundancy_x"],
    }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def merge(folders: list[Path], into: Path) -> str:
    """One file a device from the result files of several runs, a later finding in place of an earlier; what was merged.

    Findings of another precision are kept apart, and quick runs are left out.
    """
    merged: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for part in PARTS:
            file = folder / f"{part}.json"
            if not file.exists() or (content := json.loads(file.read_text()))["quick"]:
                continue
            device = merged.setdefault(content["device"], {"device": content["device"], "versions": {}, "parts": {}})
            device["versions"] |= content["versions"]
            row = device["parts"].setdefault(part, {}).setdefault(content["precision"], {})
            row.update(content["found"])
            if part in ROWS:
                tasks = {name: row[name] for name in sorted(row) if name != "summary"}
                row["summary"] = summary(tasks)
    lines = []
    for name, content in merged.items():
        file = into / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".json")
        _write(file, content)
        lines.append(f"{file}: parts {', '.join(content['parts'])}")
    return "\n".join(lines) or "nothing to merge: no result file of a run that was not --quick"


def _write(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps(content, indent=1) + "\n")
    aside.replace(file)
