"""The requests to a served model that the documentation shows: bodies that are JSON, of photos of any size."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
from core.tiny import ROOT

BYTES = 200_000
"""More than one word of a command may have on Linux (128 KiB), as most photos are."""
ECHO = 'curl() { test "${@: -2:1} ${@: -1}" = "-d @-" && cat; }\n'
"""In place of curl: what would be sent."""


@pytest.mark.parametrize("page", ["workflow.md", "faces.md", "own_photos.md"])
def test_a_request_holds_whole_photos(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (command,) = re.findall(r"^ +\(printf .*\n.* curl .*/invocations .*$", text, re.MULTILINE)
    assert text.count("/invocations ") == 1
    files = re.findall(r"base64 -w0 (?:~/)?(\S+?);", command)
    for number, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(bytes([number]) * BYTES)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", ECHO + command], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    inputs = [base64.b64decode(given) for given in json.loads(done.stdout)["inputs"]]
    assert inputs == [bytes([number]) * BYTES for number in range(len(files))] != []
