"""The light install: what reads a run works without Prefect, MLflow and DVC, and all else says what to install.

The commands run in a process in which the packages of the extras cannot be imported.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from core.tiny import ROOT
from PIL import Image

from cpg_core.storage.run import Run
from flows.console.failures import EXTRAS
from flows.tracking.address import VARIABLE

ABSENT = (
    *("prefect", "mlflow", "dvc", "fastapi", "uvicorn", "sqlalchemy", "urllib3", "requests"),
    *("matplotlib", "jinja2", "onnx", "onnxruntime", "onnxscript"),
)
"""Packages of the extras, and some that they bring."""
COMMANDS = """
import json, sys

for name in json.loads(sys.argv[1]):
    sys.modules[name] = None  # no import finds it, and whoever looks for it is told that it is not there
from typer.testing import CliRunner
from flows.cli.app import app
for words in json.loads(sys.argv[2]):
    result = CliRunner().invoke(app, words)
    print(json.dumps([result.exit_code, result.stdout, result.stderr]))
"""


class Ended(NamedTuple):
    code: int
    out: str
    error: str


def commands(run: Run, folder: Path) -> dict[str, list[str]]:
    shutil.copytree(run.folder, folder / "checkpoints" / run.spec.name)  # one that may be written beside
    image = folder / "image.png"
    pixels = run.data(2).test.images
    assert pixels is not None
    Image.fromarray(pixels[0, 0].numpy()).save(image)
    root = ["--root", str(run.root)]
    read = [run.spec.name, *root]
    task = [*read, "--task", "two-three"]
    learn = ["digits-5", "--profile", "smoke", "--tasks", "1", "--root", str(folder), "--set", "prune.targets=[0.5]"]
    return {
        "predict": ["predict", *task, str(image), "--json"],
        "audit": ["audit", *read],
        "eval": ["eval", *task],
        "show": ["show", *read],
        "size": ["size", *read],
        "list": ["list", *root],
        "export": ["export", *task, "--to", str(folder / "task.pt2")],
        "run": ["run", *learn, "--plain", "--no-track"],
        "export to onnx": ["export", *task, "--to", str(folder / "task.onnx")],
        "convert": ["convert", run.spec.name, "--to", "converted", "--root", str(folder)],
        "forget": ["forget", "converted", "--task", "two-three", "--yes", "--root", str(folder)],
        "tracked": ["run", *learn, "--plain"],
        "run in a flow": ["run", *learn, "--no-track"],
        "reap": ["reap", *root],
        "reproduce": ["reproduce", "tables", "--root", str(ROOT)],
    }


@pytest.fixture(scope="module")
def ended(unbroken: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    folder = tmp_path_factory.mktemp("light")
    asked = commands(unbroken, folder)
    given = [sys.executable, "-c", COMMANDS, json.dumps(ABSENT), json.dumps(list(asked.values()))]
    paths = {**os.environ, "PYTHONPATH": str(ROOT)}
    paths.pop(VARIABLE, None)  # with it MLflow would be in use
    done = subprocess.run(given, cwd=ROOT, env=paths, capture_output=True, text=True, check=True)
    lines = [Ended(*json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(asked, lines, strict=True))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("predict", '"class": "2"'),
        ("audit", "4 checks, none failed"),
        ("eval", "two-three: accuracy "),
        ("show", "2 of 2 tasks"),
        ("size", "of one network"),
        ("list", "finished"),
        ("export", "as recall on 72 test images"),
        ("run", "1 of 1 tasks"),
        ("convert", "converted: "),
        ("forget", "two-three is forgotten; the other tasks give the same bits"),
    ],
)
def test_what_the_light_install_does(command: str, says: str, ended: dict[str, Ended]) -> None:
    assert (ended[command].code, ended[command].error) == (0, "")
    assert says in ended[command].out


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("export to onnx", "onnx", "onnx"),
        ("run in a flow", "prefect", "workflow"),
        ("tracked", "sqlalchemy", "workflow"),
        ("reap", "prefect", "workflow"),
        ("reproduce", "matplotlib", "workflow"),
    ],
)
def test_what_it_lacks_is_told_in_a_line(command: str, package: str, extra: str, ended: dict[str, Ended]) -> None:
    told = f"needs {package}"
    line = next((line for line in ended[command].error.splitlines() if told in line), str(ended[command]))
    assert line.startswith("error: ") and f"pip install -e '.[{extra}]'" in line
    assert ended[command].code == 1


def test_every_package_of_these_extras_is_told_by_its_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra: [need.partition(">")[0].replace("-", "_") for need in extras[extra]] for extra in ("workflow", "onnx")
    }
    of_others = {"markdown_it_py"}  # rich brings it
    found = {name: extra for extra, names in named.items() for name in names if name not in of_others}
    assert {name: EXTRAS.get(name) for name in found} == found
