"""The commands on runs as folders: list, rename, remove; and those that read one that was copied or broken."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from core.tiny import frozen_bytes

from cpg_core.recall.forget import carry_out, plan
from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run
from flows.cli.erase import erase_elsewhere
from workflow.asking import cpg


@pytest.fixture
def root(unbroken: Run, tmp_path: Path) -> Path:
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "tiny")
    return tmp_path


def break_delta(run: Run, index: int) -> None:
    file = run.task_folder(index) / "delta.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")


def test_a_copy_is_audited_itself(root: Path) -> None:
    shutil.copytree(root / "checkpoints" / "tiny", root / "checkpoints" / "copy")
    assert cpg("audit", "copy", "--root", root).stdout.endswith("4 checks, none failed\n")
    break_delta(open_run(root, "copy"), 2)
    result = cpg("audit", "copy", "--root", root)
    assert (result.exit_code, "FAIL  002-two-three" in result.stdout) == (1, True)
    assert cpg("audit", "tiny", "--root", root).exit_code == 0


def test_an_audit_without_a_frozen_task_fails(root: Path) -> None:
    for task in ("001-zero-one", "002-two-three"):
        shutil.rmtree(root / "checkpoints" / "tiny" / task)
    result = cpg("audit", "tiny", "--root", root)
    assert (result.exit_code, "no task is frozen" in result.stdout) == (1, True)


def test_a_task_that_cannot_be_read_fails_its_row(root: Path) -> None:
    break_delta(open_run(root, "tiny"), 2)
    result = cpg("show", "tiny", "--root", root)
    assert result.exit_code == 1
    rows = [line.split()[0] for line in result.stdout.splitlines()]
    assert rows == ["task", "zero-one", "two-three", "tiny:"]
    assert result.stderr.startswith("error: two-three: ")
    assert "zero-one:" not in result.stderr
    (open_run(root, "tiny").task_folder(2) / "recall.json").write_text("{")
    result = cpg("show", "tiny", "--root", root)
    assert (result.exit_code, "error: tiny: " in result.stderr) == (1, True), result.output


def test_a_task_whose_record_is_gone_fails_its_row_and_the_audit(root: Path) -> None:
    (open_run(root, "tiny").task_folder(1) / "record.json").unlink()
    shown, audited = (cpg(command, "tiny", "--root", root) for command in ("show", "audit"))
    assert (shown.exit_code, audited.exit_code) == (1, 1), shown.output + audited.output
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["task", "zero-one", "two-three"]
    assert "001-zero-one/record.json" in shown.stderr and "FAIL  001-zero-one" in audited.stdout


def test_list_has_a_row_for_each_run_even_a_broken_one(root: Path) -> None:
    shutil.copytree(root / "checkpoints" / "tiny", root / "checkpoints" / "begun")
    shutil.rmtree(root / "checkpoints" / "begun" / "002-two-three")
    shutil.copytree(root / "checkpoints" / "tiny", root / "checkpoints" / "broken")
    (root / "checkpoints" / "broken" / "run.json").write_text("{")
    result = cpg("list", "--root", root)
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if "checkpoints/" in line}
    assert rows["begun"].split()[:4] == ["begun", "checkpoints/begun", "cpg", "1/2"]
    assert rows["begun"].rstrip().endswith("not finished")
    assert rows["tiny"].split()[3] == "2/2"
    assert rows["tiny"].split()[-2:] == ["100.0%", "finished"]
    assert float(rows["broken"].split()[2]) > 0, "what it takes of the disk"
    assert "damaged: " in rows["broken"] and "not valid JSON" in result.stdout


def test_what_was_forgotten_since_a_run_was_opened_is_not_lost(root: Path) -> None:
    first = carry_out(plan(open_run(root, "tiny"), "two-three"))
    carry_out(plan(first, "zero-one"))
    assert erase_elsewhere(first, lambda _: None, pushed=False) == []
    assert [gone.name for gone in open_run(root, "tiny").spec.forgotten] == ["two-three", "zero-one"]


def test_what_is_wrong_with_a_delta_is_told_without_reading_it(root: Path) -> None:
    file = open_run(root, "tiny").task_folder(2) / "delta.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    for harm, said in ((file.touch, " bytes"), (file.unlink, "missing")):
        harm()
        listed = cpg("list", "--root", root).stdout
        assert "damaged: " in listed and "002-two-three/delta.safetensors" in listed and said in listed
        assert "2/2" in listed and "100.0%" in listed
        shown = cpg("show", "tiny", "--no-recall", "--root", root)
        assert (shown.exit_code, said in shown.stderr) == (1, True), shown.output
        assert shown.stdout.endswith("; cannot be recalled: two-three\n")


def test_lost_seconds_hide_nothing(root: Path) -> None:
    (open_run(root, "tiny").task_folder(1) / "seconds.json").unlink()
    assert cpg("list", "--root", root).stdout.rstrip().endswith("100.0%            finished")
    shown = cpg("show", "tiny", "--no-recall", "--root", root)
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert " s (of 1 tasks they are lost)" in shown.stdout
    assert "FAIL  001-zero-one" in cpg("audit", "tiny", "--root", root).stdout


def test_a_run_without_its_run_file_is_the_same_to_every_command(root: Path) -> None:
    shutil.copytree(root / "checkpoints" / "tiny", root / "checkpoints" / "lost")
    (root / "checkpoints" / "lost" / "run.json").unlink()
    (root / "checkpoints" / "photos").mkdir()  # no run
    listed = cpg("list", "--root", root).stdout
    assert [line.split()[0] for line in listed.splitlines() if "checkpoints/" in line] == ["lost", "tiny"]
    assert "damaged: " in listed
    for command in ("show", "audit"):
        said = cpg(command, "lost", "--root", root)
        assert (said.exit_code, "run.json: missing" in said.stderr, "git checkout" in said.stderr) == (2, True, True)
        assert "no run 'photos'" in cpg(command, "photos", "--root", root).stderr
    assert "no run 'photos'" in cpg("remove", "photos", "--yes", "--root", root).stderr
    assert cpg("rename", "lost", "found", "--root", root).exit_code == 0
    assert cpg("remove", "found", "--yes", "--root", root).exit_code == 0


@pytest.mark.parametrize("content", ["", "{", '{"name": "tiny"}'])
def test_a_run_file_that_is_cut_is_told_with_advice(root: Path, content: str) -> None:
    (root / "checkpoints" / "tiny" / "run.json").write_text(content)
    said = cpg("audit", "tiny", "--root", root)
    assert (said.exit_code, "git checkout" in said.stderr) == (2, True)
    assert said.stderr.count("\n") == 1


def test_rename_and_remove(root: Path) -> None:
    before = {name: found for name, found in frozen_bytes(open_run(root, "tiny")).items() if name != "run.json"}
    renamed = cpg("rename", "tiny", "small", "--root", root)
    assert (renamed.exit_code, "--run small" in renamed.stdout) == (0, True)
    after = frozen_bytes(open_run(root, "small"))
    assert {name: found for name, found in after.items() if name != "run.json"} == before
    refused = cpg("remove", "small", "--root", root, answer="n\n")
    assert (refused.exit_code, open_run(root, "small").frozen()) == (1, 2)
    assert refused.stderr.endswith("small is not removed\n")
    assert cpg("remove", "small", "--root", root, answer="y\n").exit_code == 0
    assert cpg("remove", "small", "--root", root, "--yes").exit_code == 2
    assert list((root / "checkpoints").iterdir()) == []


def test_a_task_that_is_refused_stands_in_no_other_tasks_way(root: Path, write_folder: Callable[..., Path]) -> None:
    folder = write_folder({f"{part}/{name}": 12 for part in ("train", "test") for name in ("cat", "dog")}, size=(8, 8))
    (folder / "test" / "cat" / "0.png").write_text("no image")
    task = root / "pets.yaml"
    task.write_text(f"name: pets\nsource: {{kind: folder, folder: {folder}}}\nclasses: [cat, dog]\n")
    add = ("add", "tiny", task, "--root", root, "--plain", "--no-track")
    refused = cpg(*add)
    assert (refused.exit_code, "0.png" in refused.stderr) == (2, True), refused.stderr
    assert len(open_run(root, "tiny").spec.tasks) == 2
    task.write_text(task.read_text().replace("pets", "dogs", 1))
    assert "already" not in cpg(*add).stderr
    shutil.copy(folder / "test" / "cat" / "1.png", folder / "test" / "cat" / "0.png")
    assert cpg(*add).exit_code == 0
    assert open_run(root, "tiny").frozen() == 3


def test_a_branch_is_read_like_any_run_and_keeps_its_base(root: Path) -> None:
    result = cpg("branch", "tiny", "--after", "zero-one", "--run", "side", "--root", root)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("next: cpg add side TASK.YAML\n")
    assert [path.name for path in (root / "checkpoints" / "side").iterdir()] == ["run.json"]
    assert cpg("audit", "side", "--root", root).stdout.endswith("2 checks, none failed\n")
    assert " side " in cpg("list", "--root", root).stdout.replace("\n", " \n ")
    refused = cpg("remove", "tiny", "--yes", "--root", root)
    assert (refused.exit_code, refused.stderr.startswith("error: run 'tiny' is the base of side")) == (2, True)
    renamed = cpg("rename", "tiny", "large", "--root", root)
    assert "branched from it, and still so: side" in renamed.stdout
    assert cpg("audit", "side", "--root", root).exit_code == 0
    shutil.rmtree(root / "checkpoints" / "large")
    gone = cpg("show", "side", "--root", root)
    assert gone.exit_code == 2 and "missing: run side goes on from this task of run tiny" in gone.stderr
    assert "damaged: " in cpg("list", "--root", root).stdout
