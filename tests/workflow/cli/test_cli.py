"""The commands: what they print, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from core.data.conftest import png
from core.tiny import ROOT, frozen_bytes
from PIL import Image
from waiting import HANG

from cpg_core.data.reading.decode import decode
from cpg_core.recall.audit import Finding
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from flows.cli.app import main
from flows.console.signals import ACKNOWLEDGED
from workflow.asking import arguments, cpg, tiny_request

MISTAKES = {
    "unknown sequence": (["run", "digits-6"], "did you mean 'digits-5'"),
    "unknown sequence to prepare": (["prepare", "digits-6"], "did you mean 'digits-5'"),
    "no such file": (["run", "nowhere.yaml"], "nowhere.yaml"),
    "unknown profile": (["run", "digits-5", "--profile", "digitz"], "did you mean 'digits'"),
    "unknown method": (["run", "digits-5", "--method", "elastic"], "unknown method 'elastic'"),
    "unknown ordering": (["run", "digits-5", "--ordering", "9"], "ordering '9'"),
    "no such task": (["run", "digits-5", "--tasks", "4-7"], "there is no task 6"),
    "tasks unreadable": (["run", "digits-5", "--tasks", "one"], "cannot read 'one'"),
    "goal too high": (["run", "digits-5", "--goal", "75"], "expected an accuracy in [0, 1]"),
    "goal nowhere": (["run", "digits-5", "--goal", "goals.json"], "goals.json"),
    "unknown setting": (["run", "digits-5", "--set", "prune.rate=1"], "unknown setting 'prune.rate'"),
    "unknown group": (["run", "digits-5", "--set", "prun.lr=1"], "did you mean 'prune'"),
    "setting out of range": (["run", "digits-5", "--set", "batch_size=0"], "batch_size"),
    "setting without value": (["run", "digits-5", "--set", "prune.lr"], "expected NAME=VALUE"),
    "unsafe name": (["run", "digits-5", "--run", "../elsewhere"], "becomes a folder name"),
    "no run to show": (["show", "nobody"], "no run 'nobody'"),
    "no run to audit": (["audit", "nobody"], "no run 'nobody'"),
    "no run to evaluate": (["eval", "nobody", "--task", "fish"], "no run 'nobody'"),
    "no run to predict with": (["predict", "nobody", "--task", "fish", "a.png"], "no run 'nobody'"),
    "no run to add to": (["add", "nobody", "task.yaml"], "no run 'nobody'"),
}


@pytest.mark.parametrize("words, message", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_words(words: list[str], message: str, tmp_path: Path) -> None:
    result = cpg(*words, "--root", tmp_path)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "checkpoints").exists()


def test_mistakes_with_a_run(copied: Run) -> None:
    root = copied.root
    task = root / "more.yaml"
    task.write_text("name: zero-one\nsource: {kind: digits}\nclasses: ['4', '9']\n")
    for words, message in (
        (["eval", "tiny", "--task", "zero-two"], "unknown task 'zero-two'"),
        (["eval", "tiny", "--task", "zero-one", "--data", root / "none"], "none"),
        (["add", "tiny", root / "none.yaml"], "none.yaml"),
        (["add", "tiny", task], "has a task 'zero-one' already"),
        ([*arguments(tiny_request(seed=2), root), "--seed", 2], "this folder holds another run"),
    ):
        result = cpg(*words, *(() if words[0] == "run" else ("--root", root)))
        assert (result.exit_code, result.stderr[:7]) == (2, "error: "), result.output
        assert message in result.stderr


def test_unknown_option_and_command() -> None:
    assert cpg("run", "digits-5", "--no-such").exit_code == 2
    assert cpg("learn").exit_code == 2


def test_run_show_audit_eval_add_list(tmp_path: Path) -> None:
    at = ("--root", tmp_path)
    assert "no runs" in cpg("list", *at).stdout
    plain = cpg(*arguments(tiny_request(), tmp_path), "--plain", "--no-track")
    assert plain.exit_code == 0, plain.output
    assert "pick-train zero-one x1.0: " in plain.stdout
    assert "== 2/2 two-three: test accuracy" in plain.stdout
    assert "tiny: 2 of 2 tasks, average accuracy" in plain.stdout
    task = tmp_path / "more.yaml"
    task.write_text("name: more\nsource: {kind: digits}\nclasses: ['4', '9']\n")
    for _ in range(2):  # the same command again finds it learned, and records what the first could not
        assert cpg("add", "tiny", task, "--plain", "--no-track", *at).exit_code == 0
    shown = cpg("show", "tiny", *at)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["task", "zero-one", "two-three", "more", "tiny:"]
    assert "recalled %" in shown.stdout
    assert "recalled %" not in cpg("show", "tiny", "--no-recall", *at).stdout
    record = open_run(tmp_path, "tiny").record(1)
    assert cpg("eval", "tiny", "--task", "zero-one", *at).stdout == f"zero-one: accuracy {record.test_accuracy:.4f}\n"
    assert "6 checks, none failed" in cpg("audit", "tiny", *at).stdout
    assert "3/3" in cpg("list", *at).stdout
    again = cpg(*arguments(tiny_request(), tmp_path), "--plain", "--no-track")
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("tiny: 3 of 3 tasks")


def test_audit_fails_on_a_damaged_file(copied: Run) -> None:
    delta = copied.task_folder(1) / "delta.safetensors"
    content = bytearray(delta.read_bytes())
    content[-1] ^= 1
    delta.write_bytes(content)
    result = cpg("audit", "tiny", "--root", copied.root)
    assert result.exit_code == 1
    assert "FAIL  001-zero-one" in result.stdout


def test_columns_of_an_audit_are_as_wide_as_the_longest_task(copied: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding(task, "files", True, "as written") for task in ("001-a", "002-efficientnet_lite0")]
    monkeypatch.setattr("cpg_core.recall.audit.audit", lambda run: found)  # noqa: ARG005
    lines = cpg("audit", "tiny", "--root", copied.root).stdout.splitlines()
    assert len({line.index(" files") for line in lines[:2]}) == 1


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.usefixtures("prefect_home")
def test_stopped_by_ctrl_c_it_says_how_to_go_on(tmp_path: Path, unbroken: Run) -> None:
    words = [*arguments(tiny_request("pick_train.epochs=3"), tmp_path), "--no-track"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli.app import main; main()", *words],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("check zero-one"):
            process.send_signal(signal.SIGINT)
            break
    rest, errors = process.communicate(timeout=HANG)
    assert process.returncode == 130, rest + errors
    assert errors.splitlines() == [
        ACKNOWLEDGED,
        "stopped; what was learned is saved. Give the same command again to go on.",
    ]
    run = open_run(tmp_path, "tiny")
    assert run.frozen() < 2
    assert cpg(*words, "--plain").exit_code == 0
    assert frozen_bytes(run) == frozen_bytes(unbroken)


def test_a_server_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("flows.orchestration.server.ANSWER_TIMEOUT", 0.1)
    result = cpg(*arguments(tiny_request(), tmp_path), "--no-track")
    assert result.exit_code == 2
    assert "does not answer" in result.stderr


def test_a_large_photo_is_read_without_a_warning_of_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    monkeypatch.setattr("flows.cli.app.app", lambda: decode(png(np.zeros((10, 10, 3), np.uint8)), 3, "a"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        decode(png(np.zeros((10, 10, 3), np.uint8)), 3, "a")
        main()
    assert len(told) == 1  # the first, which no command surrounds


HELP = """
import sys
from flows.cli.app import main
try:
    main()
finally:
    print({"torch", "prefect", "mlflow", "dvc", "pandas"} & set(sys.modules), file=sys.stderr)
"""


def test_help_is_complete_and_imports_nothing_that_takes_long() -> None:
    command = [sys.executable, "-c", HELP, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
    assert "Usage" in done.stdout
    for command in (
        "prepare",
        "run",
        "add",
        "show",
        "audit",
        "eval",
        "predict",
        "size",
        "convert",
        "list",
        "backbones",
        "rename",
        "remove",
    ):
        assert command in cpg("--help").stdout
        assert cpg(command, "--help").exit_code == 0
