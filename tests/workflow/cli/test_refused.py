"""What the command line refuses: before anything is written, and in a line that says what to do."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cpg_core.errors import CpgError
from cpg_core.storage.run import Run
from flows.request import resolve
from flows.sweep.comparison import listed
from workflow.asking import arguments, cpg, tiny_request


def mistake(*words: object) -> str:
    result = cpg(*words)
    assert result.exit_code == 2, result.output
    return result.stderr


def test_a_refused_run_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = arguments(tiny_request("compute.device=cuda"), tmp_path)
    assert "finds no GPU" in mistake(*words, "--plain", "--no-track")
    monkeypatch.setenv("PREFECT_API_URL", "no address")
    assert "PREFECT_API_URL" in mistake(*arguments(tiny_request(), tmp_path))
    assert not (tmp_path / "checkpoints").exists()


READING = {
    "list": ["list"],
    "show": ["show", "tiny"],
    "audit": ["audit", "tiny"],
    "eval": ["eval", "tiny", "--task", "zero-one"],
    "predict": ["predict", "tiny", "--task", "zero-one", "image.png"],
    "size": ["size", "tiny"],
    "convert": ["convert", "tiny", "--to", "small"],
    "rename": ["rename", "tiny", "small"],
    "remove": ["remove", "tiny", "--yes"],
    "reap": ["reap"],
    "add": ["add", "tiny", "task.yaml"],
}


@pytest.mark.parametrize("command", READING)
def test_a_root_to_read_is_there(tmp_path: Path, command: str) -> None:
    nowhere = tmp_path / "nowhere"
    said = mistake(*READING[command], "--root", nowhere)
    assert said == f"error: root {nowhere}: there is no such folder; check the path\n"
    assert not nowhere.exists()


def test_a_root_without_runs_is_no_mistake(tmp_path: Path) -> None:
    result = cpg("list", "--root", tmp_path)
    assert (result.exit_code, "no runs in" in result.stdout) == (0, True)


def test_a_root_that_is_a_file_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words in (["run", "digits-5"], ["list"]):
        assert mistake(*words, "--root", tmp_path / "file").endswith("this is a file; name a folder\n")


@pytest.mark.parametrize("name", ["run", "profile", "sequence", "method", "ordering", "tasks", "goal"])
def test_an_empty_name_is_not_the_default(tmp_path: Path, name: str) -> None:
    with pytest.raises(CpgError):
        resolve(replace(tiny_request(), **{name: ""}), tmp_path)


def test_empty_lists_and_addresses_are_not_the_default(tmp_path: Path) -> None:
    assert (listed(None), listed("")) == ((), ("",))
    for option in ("--methods", "--orderings", "--goals", "--seeds", "--dask", "--root"):
        mistake("compare", "digits-5", "--profile", "smoke", "--root", tmp_path, option, "", "--plain")
    mistake("eval", "tiny", "--task", "zero-one", "--data", "", "--root", tmp_path)


@pytest.mark.parametrize("name", ["seed", "method", "ordering", "tasks", "profile", "run"])
def test_an_option_is_not_taken_for_a_setting(tmp_path: Path, name: str) -> None:
    with pytest.raises(CpgError, match=f"^--set {name}=3: .*: --{name} 3$"):
        resolve(tiny_request(f"{name}=3"), tmp_path)


def test_a_wrong_setting_is_told_with_its_option(tmp_path: Path) -> None:
    said = mistake("run", "digits-5", "--set", "prune.lr=abc", "--root", tmp_path)
    assert said.startswith("error: --set prune.lr=abc: prune.lr: Input should be a valid number")


def test_a_sequence_is_not_taken_for_a_task_nor_a_task_for_a_sequence(unbroken: Run, tmp_path: Path) -> None:
    sequence = Path("data/digits-5.yaml")
    said = mistake("add", "tiny", sequence, "--root", unbroken.root)
    assert f"{sequence}: this is a sequence, and one task was expected" in said and f"cpg run {sequence}" in said
    (tmp_path / "task.yaml").write_text("name: more\nsource: {kind: digits}\nclasses: ['1', '2']\n")
    assert "cpg add RUN" in mistake("run", tmp_path / "task.yaml", "--root", tmp_path)


def test_a_copy_whose_name_no_run_may_have_is_renamed_first(unbroken: Run, tmp_path: Path) -> None:
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "bob's")
    (tmp_path / "task.yaml").write_text("name: more\nsource: {kind: digits}\nclasses: ['1', '2']\n")
    said = mistake("add", "bob's", tmp_path / "task.yaml", "--root", tmp_path)
    assert "becomes a folder name" in said and "first: cpg rename" in said
