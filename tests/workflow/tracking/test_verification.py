"""A verification task in MLflow: its figures as metrics, and its answers as those of a served model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from core.people import face_task, people_backbone, people_spec, who_task, write_faces
from core.tiny import learn

from cpg_core.storage.run import Run
from flows.tracking.served_model import RunModel
from flows.tracking.task_run import write_task


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("tracked")
    with people_backbone(root):
        faces = write_faces(root / "faces", trained=20, pictures=4, tested=20)
        yield learn(root, people_spec([face_task(faces), who_task(faces)]))


def metrics(run: Run, index: int) -> dict[str, float]:
    store = MagicMock()
    store.find.return_value = None
    write_task(store, run, index, "parent", "identity")
    (_, written) = store.metrics.call_args.args
    return {name: value for name, _step, value in written}


def test_its_figures_are_metrics(run: Run) -> None:
    found, figures = metrics(run, 1), run.record(1).figures
    assert found["test_accuracy"] == run.record(1).test_accuracy
    assert figures.keys() == {
        "standard_deviation",
        "true_accept_rate",
        "false_accept_rate",
        "roc_area",
        "threshold",
    }
    assert {name: found[name] for name in figures} == figures
    assert not figures.keys() & metrics(run, 2).keys()


def test_the_model_tells_embeddings_and_classes(run: Run) -> None:
    model = RunModel()
    model.load_context(SimpleNamespace(artifacts={"root": str(run.root)}))
    images = run.data(1).test.images
    assert images is not None
    given = images[:2].permute(0, 2, 3, 1).tolist()
    faces, who = (model.predict(None, given, {"task": task}) for task in ("faces", "who"))
    assert faces.keys() == {"task", "embeddings", "similarity", "distance", "threshold", "same"}
    assert who.keys() == {"task", "classes", "predicted", "probabilities"}
    assert json.loads(json.dumps([faces, who])) == [faces, who]


def test_a_classification_has_no_figures_on_disk(run: Run) -> None:
    written = [json.loads((run.task_folder(index) / "record.json").read_text()) for index in (1, 2)]
    assert ["figures" in record for record in written] == [True, False]
    assert ["loss" in record["task"] for record in written] == [True, False]


def test_runs_lie_where_they_are_read(run: Run) -> None:
    """Images inside the root are named relative to it, those of pairs too."""
    stored = json.loads((run.folder / "run.json").read_text())["tasks"][0]
    assert Path(stored["pairs"]["file"]) == Path("faces/pairs.txt")
    assert Path(stored["pairs"]["images"]) == Path("faces/test")
