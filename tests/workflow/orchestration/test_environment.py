"""Telemetry of all three tools is off, however they are started from here, unless the user turns it on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from core.tiny import ROOT

OFF = {"prefect server": False, "prefect client": False, "mlflow": False, "dvc": False}
ON = dict.fromkeys(OFF, True)
TURNED_ON = {
    "DO_NOT_TRACK": "0",
    "DVC_NO_ANALYTICS": "",
    "MLFLOW_DISABLE_TELEMETRY": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
}
LOOK = """
import json, os, pathlib, site, sys
root, away, turned_on = pathlib.Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
os.chdir(away)
from dvc.analytics import is_enabled
from mlflow.telemetry.utils import is_telemetry_disabled
from prefect._internal.analytics.enabled import is_telemetry_enabled
from prefect.settings import Settings
from flows.environment import prepare, prepare_mlflow

before = {name: value for name, value in os.environ.items() if name not in turned_on}  # telemetry.pth was read

def after(change, folder=away, user=None):
    os.environ.clear()
    os.environ.update({**before, **(user or {})})
    os.chdir(folder)
    change()
    return {
        "prefect server": Settings().server.analytics_enabled, "prefect client": is_telemetry_enabled(),
        "mlflow": not is_telemetry_disabled(), "dvc": is_enabled(),
    }

def installed():
    site.addsitedir(str(root))

print(json.dumps({
    "nothing": after(lambda: None),
    "prepare": after(lambda: prepare(pathlib.Path(away))),
    "prepare_mlflow": after(prepare_mlflow),
    "telemetry.pth": after(installed),
    "the files at the root": after(lambda: None, root),
    "prepare, turned on": after(lambda: prepare(pathlib.Path(away)), user=turned_on),
    "telemetry.pth, turned on": after(installed, user=turned_on),
} | {
    f"prepare, {name} turned on": after(lambda: prepare(pathlib.Path(away)), user={name: value})
    for name, value in turned_on.items()
}))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bool]]:
    """What each tool says of its telemetry in a process of its own, whose environment says nothing of it."""
    away = tmp_path_factory.mktemp("away")
    found = subprocess.run(
        [sys.executable, "-c", LOOK, str(ROOT), str(away), json.dumps(TURNED_ON)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(away), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


def test_the_look_sees_what_is_on(seen: dict[str, dict[str, bool]]) -> None:
    assert seen["nothing"] == ON


@pytest.mark.parametrize("what", ("prepare", "prepare_mlflow", "telemetry.pth"))
def test_it_is_off(seen: dict[str, dict[str, bool]], what: str) -> None:
    assert seen[what] == OFF


def test_the_files_at_the_root_hold_for_what_is_started_there(seen: dict[str, dict[str, bool]]) -> None:
    assert seen["the files at the root"] == {**ON, "prefect server": False, "dvc": False}


@pytest.mark.parametrize("what", ("prepare, turned on", "telemetry.pth, turned on"))
def test_the_user_turns_it_on(seen: dict[str, dict[str, bool]], what: str) -> None:
    assert seen[what] == ON


def test_each_has_a_switch_of_its_own(seen: dict[str, dict[str, bool]]) -> None:
    for name, tool in zip(TURNED_ON, ("prefect client", "dvc", "mlflow", "prefect server"), strict=True):
        assert seen[f"prepare, {name} turned on"] == {**OFF, tool: True}


def test_processes_started_from_here_import_nothing_of_the_callers_folder(tmp_path: Path) -> None:
    """Such as the workers of `cpg compare`, which begin as `python -c`. Without the setting they do."""
    (tmp_path / "queue.py").touch()
    look, variables = "import queue; print(queue.__file__)", dict(os.environ)

    def found(env: dict[str, str]) -> Path:
        done = subprocess.run(
            [sys.executable, "-c", look], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        )
        return Path(done.stdout.strip())

    assert variables.pop("PYTHONSAFEPATH") == "1"
    assert found(variables) == tmp_path / "queue.py"
    assert found({**variables, "PYTHONSAFEPATH": "1"}).parent != tmp_path
