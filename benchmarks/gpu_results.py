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
            device["parts"].setdefault(part, {}).setdefault(content["precision"], {}).update(content["found"])
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
