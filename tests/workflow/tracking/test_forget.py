"""Of a forgotten task nothing is left in MLflow: no run, no artifact, no registered model that holds it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cpg_core.recall.forget import carry_out, plan
from cpg_core.storage.files import sha256
from cpg_core.storage.manage import rename
from cpg_core.storage.run import RECORD, Run
from cpg_core.storage.runs import open_run
from flows.cli.erase import erase_elsewhere
from flows.tracking import sync as syncing
from flows.tracking.address import database_address
from flows.tracking.sync import sync

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def models(client: MlflowClient, experiment: str) -> set[str]:
    """The ids of the models of runs named so."""
    found = client.search_logged_models([experiment])
    names = {model.model_id: client.get_run(model.source_run_id).info.run_name for model in found}
    return {model for model, name in names.items() if name == "shrunk"}


def test_runs_and_models_are_deleted_and_the_run_is_recorded_anew(
    unbroken: Run, tmp_path: Path, mlflow_store: str
) -> None:
    from mlflow.tracking import MlflowClient

    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "shrunk")
    run = open_run(tmp_path, "shrunk")
    sync(run)
    client, delta = MlflowClient(tracking_uri=mlflow_store), (run.task_folder(1) / "delta.safetensors").read_bytes()
    (experiment,) = client.search_experiments(filter_string=f"name = '{run.spec.sequence}'")
    before = models(client, experiment.experiment_id)
    said = list[str]()
    assert erase_elsewhere(carry_out(plan(run, "zero-one")), said.append, pushed=False) == []
    assert any("model shrunk, version 1" in line for line in said)
    (after,) = client.search_model_versions("name = 'shrunk'")
    assert after.description == "Tasks: two-three"
    kept = models(client, experiment.experiment_id)
    assert len(before) == len(kept) == 1 and before != kept
    files = [path for path in (tmp_path / "mlartifacts").rglob("*") if path.is_file()]
    assert files and all(delta != path.read_bytes() for path in files)
    found = client.search_runs([experiment.experiment_id], "tags.run = 'shrunk'")
    assert sorted(r.info.run_name for r in found) == ["001-two-three", "shrunk"]


@pytest.mark.parametrize("ends", [RuntimeError, KeyboardInterrupt])
def test_where_recording_anew_breaks_off_the_same_call_records_it(
    unbroken: Run, tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch, ends: type[BaseException]
) -> None:
    from mlflow.tracking import MlflowClient

    name = f"interrupted-{ends.__name__}"
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / name)
    sync(open_run(tmp_path, name))
    after = carry_out(plan(open_run(tmp_path, name), "two-three"))

    def broken(*_: object) -> None:
        raise ends

    with monkeypatch.context() as patch:
        patch.setattr(syncing, "_send", broken)
        with suppress(KeyboardInterrupt):
            assert any("in MLflow at" in problem for problem in erase_elsewhere(after, lambda _: None, pushed=False))
    assert open_run(tmp_path, name).spec.forgotten[0].left.records
    client = MlflowClient(tracking_uri=mlflow_store)
    (experiment,) = client.search_experiments(filter_string=f"name = '{unbroken.spec.sequence}'")

    def entries() -> list[str]:
        found = client.search_runs([experiment.experiment_id], f"tags.run = '{name}'")
        return sorted(str(run.info.run_name) for run in found)

    assert entries() == []
    assert erase_elsewhere(after, lambda _: None, pushed=False) == []
    assert entries() == ["001-zero-one", name]
    assert not open_run(tmp_path, name).spec.forgotten[0].left


def own_client(run: Run) -> MlflowClient:
    """Of the database of the root of a run."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=database_address(run.root / "mlflow.db"))


@pytest.fixture
def unrecorded(unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that will be recorded in its root's own database."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "own")
    return open_run(tmp_path, "own")


@pytest.fixture
def own(unrecorded: Run) -> Run:
    """A run that is recorded there."""
    sync(unrecorded)
    return unrecorded


def test_files_of_an_entry_that_mlflow_has_marked_as_deleted_go_too(own: Run) -> None:
    """As one that was half written has, in whose place another was written."""
    client = own_client(own)
    (experiment,) = client.search_experiments(filter_string=f"name = '{own.spec.sequence}'")
    (task,) = client.search_runs([experiment.experiment_id], "tags.task = 'two-three'")
    client.delete_run(task.info.run_id)
    sync(own)
    artifacts = own.root / "mlartifacts"
    assert naming("two-three", artifacts)
    assert erase_elsewhere(carry_out(plan(own, "two-three"), keep_name=False), lambda _: None, pushed=False) == []
    assert naming("zero-one", artifacts) and not naming("two-three", artifacts)


@pytest.mark.parametrize("by_hand", [False, True], ids=["by us", "in the page before"])
def test_a_forgotten_task_does_not_come_back_with_an_experiment_that_was_deleted(own: Run, by_hand: bool) -> None:
    client = own_client(own)
    (experiment,) = client.search_experiments(filter_string=f"name = '{own.spec.sequence}'")
    (task,) = client.search_runs([experiment.experiment_id], "tags.task = 'two-three'")
    if by_hand:
        client.delete_run(task.info.run_id)
    after = carry_out(plan(own, "two-three"))
    assert erase_elsewhere(after, lambda _: None, pushed=False) == []
    client.delete_experiment(experiment.experiment_id)
    sync(open_run(own.root, "own"))
    assert client.search_runs([experiment.experiment_id], "tags.task = 'two-three'") == []
    found = client.search_runs([experiment.experiment_id], "tags.run = 'own'")
    assert sorted(str(run.info.run_name) for run in found) == ["001-zero-one", "own"]


def test_files_of_a_model_that_was_deleted_in_the_page_go_too(own: Run) -> None:
    client, delta = own_client(own), (own.task_folder(2) / "delta.safetensors").read_bytes()
    (experiment,) = client.search_experiments(filter_string=f"name = '{own.spec.sequence}'")
    (model,) = client.search_logged_models([experiment.experiment_id])
    client.delete_logged_model(model.model_id)
    assert erase_elsewhere(carry_out(plan(own, "two-three")), lambda _: None, pushed=False) == []
    files = [path for path in (own.root / "mlartifacts").rglob("*") if path.is_file()]
    assert files and all(delta != path.read_bytes() for path in files)


def test_a_version_whose_run_was_removed_goes_by_its_name(own: Run) -> None:
    """As by `mlflow gc` of what was deleted in the page."""
    from mlflow.tracking._tracking_service.utils import _get_store

    client, delta = own_client(own), (own.task_folder(2) / "delta.safetensors").read_bytes()
    (version,) = client.search_model_versions("name = 'own'")
    client.delete_run(version.run_id)
    _get_store(database_address(own.root / "mlflow.db"))._hard_delete_run(version.run_id)
    said = list[str]()
    assert erase_elsewhere(carry_out(plan(own, "two-three")), said.append, pushed=False) == []
    assert any("model own, version 1" in line for line in said)
    assert [found.description for found in client.search_model_versions("name = 'own'")] == ["Tasks: zero-one"]
    assert all(delta != path.read_bytes() for path in (own.root / "mlartifacts").rglob("*") if path.is_file())


def test_a_version_of_before_the_forgotten_task_stays(unrecorded: Run, tmp_path: Path) -> None:
    """Of a run that was finished with one task; the other one was added later."""
    from flows.tracking.erase import erase

    run = unrecorded
    sync(replace(run, spec=run.spec.model_copy(update={"tasks": run.spec.tasks[:1]})))
    sync(run)

    def versions() -> dict[str, str]:
        found = own_client(run).search_model_versions("name = 'own'")
        return {str(version.version): str(version.description) for version in found}

    assert versions() == {"1": "Tasks: zero-one", "2": "Tasks: zero-one, two-three"}
    deleted = erase(run, [sha256(run.task_folder(2) / RECORD)], None)
    assert deleted is not None and deleted[0] == "model own, version 2"
    assert versions() == {"1": "Tasks: zero-one"}
    assert len(list((tmp_path / "mlartifacts").rglob("001-zero-one/delta.safetensors"))) == 1
    assert naming("zero-one", tmp_path / "mlartifacts")


def naming(task: str, folder: Path) -> list[Path]:
    """The files that name a task, in their content or their own name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if task in str(path) or task.encode() in path.read_bytes()]


def test_a_server_that_is_away_is_named_and_asked_again(unbroken: Run, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / "away")
    after = carry_out(plan(open_run(tmp_path, "away"), "zero-one"))
    (problem,) = erase_elsewhere(after, lambda _: None, pushed=False)
    assert problem.startswith("001-zero-one in MLflow at http://127.0.0.1:9")
    assert open_run(tmp_path, "away").spec.forgotten[0].left.records


def test_the_entries_go_that_it_had_under_another_name_and_those_of_a_copy_stay(
    unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # in the root's own database
    for name in ("secret", "copy"):
        shutil.copytree(unbroken.folder, tmp_path / "checkpoints" / name)
        sync(open_run(tmp_path, name))
    rename(tmp_path, "secret", "public")
    said = list[str]()
    assert erase_elsewhere(carry_out(plan(open_run(tmp_path, "public"), "two-three")), said.append, pushed=False) == []
    client = MlflowClient(tracking_uri=database_address(tmp_path / "mlflow.db"))
    (experiment,) = client.search_experiments(filter_string=f"name = '{unbroken.spec.sequence}'")

    def entries(name: str) -> list[str]:
        found = client.search_runs([experiment.experiment_id], f"tags.run = '{name}'")
        return sorted(str(run.info.run_name) for run in found)

    assert entries("secret") == []
    assert entries("public") == ["001-zero-one", "public"]
    assert entries("copy") == ["001-zero-one", "002-two-three", "copy"]
    assert [model.description for model in client.search_model_versions("name = 'copy'")] == [
        "Tasks: zero-one, two-three"
    ]


def test_on_a_shared_server_the_entries_of_the_same_tasks_under_another_name_stay(
    unbroken: Run, tmp_path: Path, mlflow_store: str
) -> None:
    """As a colleague has them, whose folder is not here."""
    from mlflow.tracking import MlflowClient

    for root, name in ((tmp_path / "there", "theirs"), (tmp_path, "mine")):
        shutil.copytree(unbroken.folder, root / "checkpoints" / name)
        sync(open_run(root, name))
    assert erase_elsewhere(carry_out(plan(open_run(tmp_path, "mine"), "two-three")), lambda _: None, pushed=False) == []
    client = MlflowClient(tracking_uri=mlflow_store)
    (experiment,) = client.search_experiments(filter_string=f"name = '{unbroken.spec.sequence}'")
    for name, tasks in (("theirs", ["001-zero-one", "002-two-three"]), ("mine", ["001-zero-one"])):
        found = client.search_runs([experiment.experiment_id], f"tags.run = '{name}'")
        assert sorted(str(run.info.run_name) for run in found) == [*tasks, name]
    (model,) = client.search_model_versions("name = 'theirs'")
    assert model.description == "Tasks: zero-one, two-three"
