"""What goes wrong with MLflow stops no learning, is told, and leaves nothing half made."""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from mlflow.entities import Experiment
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache as artifact_places

from cpg_core.storage.files import write_json
from cpg_core.storage.run import RUN, Run
from cpg_core.storage.runs import open_run
from flows.cli.errors import ExitCode
from flows.tracking.address import VARIABLE, database_address, local_folder
from flows.tracking.place import artifact_place
from flows.tracking.sync import Tracker, open_store, sync
from workflow.asking import arguments, cpg, parameters, tiny_request
from workflow.listeners import Keeping, silently

FOLDER = "./mlruns"
"""A place that MLflow refuses."""


@pytest.fixture
def own_store(mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a database of its own, which is a copy of an empty one, since MLflow takes seconds to make it."""
    root = tmp_path / "a?b %41"
    root.mkdir()
    empty = Path(mlflow_store.removeprefix("sqlite:///")).with_name("empty.db")
    if not empty.exists():
        MlflowClient(tracking_uri=database_address(empty)).search_experiments(max_results=1)
    shutil.copy(empty, root / "mlflow.db")
    monkeypatch.delenv(VARIABLE)
    return root


def copied(run: Run, root: Path, name: str = "tiny") -> Run:
    """A copy of a run that is learned, also under another name."""
    shutil.copytree(run.folder, root / "checkpoints" / name)
    spec = run.spec.model_copy(update={"name": name})
    write_json(root / "checkpoints" / name / RUN, spec.model_dump(mode="json"))
    return open_run(root, name)


def kept(client: MlflowClient, run_id: str) -> Path:
    """A file of a run, where MLflow looks for it."""
    folder = local_folder(client.get_run(run_id).info.artifact_uri)
    assert folder is not None and (folder / "results.csv").is_file()
    return folder


def everything_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("mlflow_store")
def test_a_refusal_is_told_before_and_after_learning_with_exit_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, FOLDER)
    words = [*arguments(tiny_request(tasks="1-1"), tmp_path), "--plain"]
    result = cpg(*words)
    assert result.exit_code == ExitCode.INCOMPLETE == 3
    lines = result.output.splitlines()
    assert sum("MLflow refuses" in line for line in lines) == 1
    told = next(number for number, line in enumerate(lines) if "MLflow refuses" in line)
    assert told < next(number for number, line in enumerate(lines) if "pick-train" in line)
    assert "learned, but not recorded in MLflow" in result.stderr and f"{VARIABLE}=sqlite:///" in result.stderr
    assert open_run(tmp_path, "tiny").frozen() == 1
    monkeypatch.undo()
    assert cpg(*words, "--no-track").exit_code == 0


@pytest.mark.usefixtures("mlflow_store", "prefect_server")
def test_a_flow_says_so_in_its_final_state(unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.orchestration.sequence import sequence_flow

    copied(unbroken, tmp_path)
    given = parameters(tiny_request(), tmp_path, track=True)
    monkeypatch.setenv(VARIABLE, FOLDER)
    state = sequence_flow(silently)(**given, return_state=True)
    assert state.is_completed() and state.name == "NotRecorded"
    assert state.message is not None and "learned, but not recorded in MLflow" in state.message
    monkeypatch.undo()
    assert sequence_flow(silently)(**{**given, "track": False}, return_state=True).name == "Completed"


@pytest.mark.usefixtures("mlflow_store")
def test_a_comparison_says_so_once(unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.sweep.comparing import compare
    from flows.sweep.comparison import Comparison, plan
    from workflow.here import here

    wanted = Comparison("digits-5", ("cpg",), ("0",), (0.6,), (1,), tasks="1-2", overrides=tiny_request().overrides)
    (planned,) = runs = plan(wanted, tmp_path, 1, ())
    copied(unbroken, tmp_path, planned.spec.name)
    monkeypatch.setenv(VARIABLE, FOLDER)
    told: list[str] = []
    results = compare(runs, tmp_path, here(), told.append, track=True)
    assert results.error is None
    assert results.unrecorded is not None and planned.spec.name in results.unrecorded
    assert sum("MLflow refuses" in line for line in told) == 1


def test_a_refusal_that_was_mended_is_none(own_store: Path, unbroken: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run, tracker, note = copied(unbroken, own_store), Tracker(), Keeping()
    monkeypatch.setenv(VARIABLE, FOLDER)
    tracker(run, note.note)
    assert tracker.refusal is not None
    monkeypatch.delenv(VARIABLE)
    tracker(run, note.note)
    assert tracker.refusal is None
    assert len(note.notes) == 1


def test_a_root_of_any_name_is_written_to_alone(own_store: Path, unbroken: Run) -> None:
    sync(copied(unbroken, own_store))
    assert everything_in(own_store.parent) == {own_store.name}
    assert everything_in(own_store) >= {"checkpoints", "mlflow.db", "mlartifacts"}
    client = MlflowClient(tracking_uri=database_address(own_store / "mlflow.db"))
    (version,) = client.search_model_versions("name = 'tiny'")
    assert kept(client, version.run_id).is_relative_to(own_store)


def test_a_project_that_was_moved_keeps_its_artifacts_with_it(own_store: Path, unbroken: Run) -> None:
    sync(copied(unbroken, own_store))
    moved = own_store.with_name("moved")
    own_store.rename(moved)
    artifact_places.clear()  # MLflow remembers them for as long as its process lives
    run, note = open_run(moved, "tiny"), Keeping()
    for _ in range(2):
        Tracker()(run, note.note)
    (told,) = note.notes
    assert str(own_store) in told
    assert not own_store.exists()
    client = MlflowClient(tracking_uri=database_address(moved / "mlflow.db"))
    (version,) = client.search_model_versions("name = 'tiny'")
    assert kept(client, version.run_id).is_relative_to(moved)
    assert version.source.startswith((moved / "mlartifacts").as_uri())
    text = sqlite3.connect(moved / "mlflow.db").iterdump()
    assert not any(own_store.as_uri() in line for line in text)


def test_a_place_that_is_gone_is_not_made_anew(
    own_store: Path, unbroken: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that several projects share belongs to none of them."""
    monkeypatch.setenv(VARIABLE, database_address(own_store / "mlflow.db"))
    first = copied(unbroken, tmp_path / "one")
    sync(first)
    shutil.rmtree(first.root)
    tracker, note = Tracker(), Keeping()
    tracker(copied(unbroken, tmp_path / "two"), note.note)
    assert tracker.refusal is not None and "bring it back" in tracker.refusal.advice
    assert not first.root.exists()


def test_a_copy_of_a_run_is_registered_under_its_own_name(own_store: Path, unbroken: Run) -> None:
    for name in ("tiny", "other"):
        sync(copied(unbroken, own_store, name))
    client = MlflowClient(tracking_uri=database_address(own_store / "mlflow.db"))
    assert sorted(model.name for model in client.search_registered_models()) == ["other", "tiny"]
    assert all(len(client.search_model_versions(f"name = '{name}'")) == 1 for name in ("tiny", "other"))


@pytest.mark.parametrize("step", ["log_model_artifacts", "finalize_logged_model", "create_model_version"])
def test_a_broken_registration_leaves_nothing(
    own_store: Path, unbroken: Run, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(unbroken, own_store)

    def broken(*_: object, **__: object) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, pytest.raises(PermissionError):
        patch.setattr(MlflowClient, step, broken)
        sync(run)
    client = MlflowClient(tracking_uri=database_address(own_store / "mlflow.db"))
    (experiment,) = (found.experiment_id for found in client.search_experiments(filter_string="name = 'digits-5'"))
    assert client.search_logged_models([experiment]) == []
    assert list(client.search_registered_models()) == []
    assert list((own_store / "mlartifacts").glob("**/MLmodel")) == []
    sync(run)
    assert len(client.search_logged_models([experiment])) == 1
    assert len(client.search_model_versions("name = 'tiny'")) == 1


def no_rights(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Root may write everything; so SQLite is asked to read only."""
    patch.setenv(VARIABLE, f"sqlite+pysqlite:///file:{root.parent}/ro.db?mode=ro&uri=true")
    shutil.copy(root / "mlflow.db", root.parent / "ro.db")


def a_folder_for_a_database(root: Path, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    (root / "mlflow.db").unlink()
    (root / "mlflow.db").mkdir()


def no_home(root: Path, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """As MLflow is imported; here it is, so that what it says then is said again."""

    def unknown(number: int) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    patch.delenv("HOME")
    patch.setattr(pwd, "getpwuid", unknown)
    patch.setattr("flows.tracking.store.Store", lambda _: Path.home())


def no_database(root: Path, patch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    (root / "mlflow.db").write_bytes(b"no database" * 100)


HELPS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], str]] = {
    "read-only": (no_rights, "writable"),
    "a folder": (a_folder_for_a_database, "writable"),
    "no home": (no_home, "HOME"),
    "no database": (no_database, "move it aside"),
}


@pytest.mark.parametrize("breaks, helps", HELPS.values(), ids=HELPS)
def test_what_helps_is_told_at_once(
    own_store: Path,
    unbroken: Run,
    breaks: Callable[[Path, pytest.MonkeyPatch], None],
    helps: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = copied(unbroken, own_store)
    breaks(own_store, monkeypatch)
    assert helps in (open_store(run) or "")
    tracker = Tracker()
    tracker(run, Keeping().note)
    assert tracker.refusal is not None and helps in tracker.refusal.advice


def test_a_name_that_is_no_utf_8(own_store: Path, unbroken: Run) -> None:
    odd = Path(os.fsdecode(bytes(own_store.parent) + b"/bad\xff"))
    run, tracker, note = copied(unbroken, odd), Tracker(), Keeping()
    tracker(run, note.note)
    assert tracker.refusal is not None and "rename the folder" in tracker.refusal.advice
    note.notes[0].encode()
    assert everything_in(odd) == {"checkpoints"}


def test_a_locked_database_is_an_outage(own_store: Path, unbroken: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{database_address(own_store / 'mlflow.db')}?timeout=0.1"
    monkeypatch.setenv(VARIABLE, address)
    tracker, note = Tracker(), Keeping()
    holder = sqlite3.connect(own_store / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    tracker(copied(unbroken, own_store), note.note)
    holder.rollback()
    assert tracker.refusal is None and "the next time sends everything" in note.notes[0]


@pytest.mark.parametrize("deleted", [False, True], ids=["made", "restored"])
def test_an_experiment_that_another_process_makes_at_the_same_time_is_taken(
    own_store: Path, unbroken: Run, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    run, client = copied(unbroken, own_store), MlflowClient(tracking_uri=database_address(own_store / "mlflow.db"))
    if deleted:
        client.delete_experiment(client.create_experiment("digits-5", artifact_location=artifact_place(own_store)))
    look, seen = MlflowClient.get_experiment_by_name, list[str]()

    def late(self: MlflowClient, name: str) -> Experiment | None:
        """The other process is done once we have looked."""
        found = look(self, name)
        if not seen and found is None:
            client.create_experiment(name, artifact_location=artifact_place(own_store))
        elif not seen and found is not None:
            client.restore_experiment(found.experiment_id)
        seen.append(name)
        return found

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    sync(run)
    assert len(seen) == 2
    (experiment,) = client.search_experiments(filter_string="name = 'digits-5'")
    assert len(client.search_runs([experiment.experiment_id])) == 3
