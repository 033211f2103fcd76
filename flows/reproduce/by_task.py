"""Tables with a row a task and a column a method: Table 6 (photos), Table 7 (faces), and Tables 4 and 5 of their data.

Accuracies are percent, those after the last task was learned, the mean over seeds. Of a pretrained network that was
imported without its own data a row has the accuracy on the images that it was imported with, and another its agreement
with the unpruned network. A cell is empty where there is no result, or no labelled image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cpg_core.errors import CpgError
from flows.reproduce.result import RunResult, TaskResult
from flows.reproduce.sizes import counted_with_private_mb

Figure = Callable[[RunResult, int], float | None]
"""Of a run and the shared weights of its base network: a figure of the whole run."""


@dataclass(frozen=True)
class Layout:
    """A pair of tables of the paper.

    Attributes:
        data: file of the table of its data sets, without suffix.
        accuracy: file of the table of accuracies.
        tasks: for our name of a task, the paper's.
        methods: columns.
        figures: rows of whole runs; they stand below the tasks, or where the paper has them.
        sets: for our name of a task, that of its data set; of others as `tasks`.
        counted: the tasks, by our names, of which CPG should reach the fine-tuned model on more than half.
        within: for our name of a task, by how many points CPG may stay below the fine-tuned model.
        note: what to know before comparing accuracies with the paper's; it goes with the table, as its `attrs["note"]`.
    """

    data: str
    accuracy: str
    tasks: dict[str, str]
    methods: tuple[str, ...]
    figures: dict[str, Figure]
    sets: dict[str, str] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    within: dict[str, float] = field(default_factory=dict)
    note: str = ""


def _on_disk(result: RunResult, _base: int) -> float:
    return result.summary["model_mb"]


def _expansion(result: RunResult, _base: int) -> float:
    return result.summary["expansion_x"]


def _redundancy(result: RunResult, _base: int) -> float:
    return result.summary["redundancy_x"]


def _of_pairs(name: str) -> Figure:
    """What the records of the tasks that are tested on pairs tell beside the accuracy, in percent."""

    def figure(result: RunResult, _base: int) -> float | None:
        return _mean([100 * task.figures[name] for task in result.tasks if name in task.figures])

    return figure


FACES = Layout(
    data="table5",
    accuracy="table7",
    tasks={"verification": "Face", "gender": "Gender", "expression": "Expression", "age": "Age"},
    methods=("scratch", "finetune", "cpg"),
    figures={
        "Face sd": _of_pairs("standard_deviation"),
        "Face, true accepts at the false-accept rate": _of_pairs("true_accept_rate"),
        "Face, area below the ROC curve": _of_pairs("roc_area"),
        "Expansion (x)": _expansion,
        "Redundancy (x)": _redundancy,
        "On disk (MB)": _on_disk,
    },
    within={"verification": 3.0, "gender": 1.5, "expression": 1.5, "age": 1.5},
)

PHOTOS = Layout(
    data="table4",
    accuracy="table6",
    tasks={
        "imagenet": "ImageNet",
        "birds": "CUBS",
        "cars": "Stanford Cars",
        "flowers": "Flowers",
        "art": "WikiArt",
        "sketch": "Sketch",
    },
    methods=("scratch", "finetune", "progressive", "packnet", "piggyback", "cpg"),
    figures={"Model size (MB)": counted_with_private_mb, "On disk (MB)": _on_disk},
    counted=("birds", "cars", "flowers", "art", "sketch"),
)

LAYOUTS = {
    "finegrained-6": replace(
        PHOTOS,
        counted=("cars", "flowers", "art", "sketch"),  # of birds there are too few
        sets={
            "imagenet": "ImageNet, a picture a class",
            "birds": "CUB-200, ten species",
            "cars": "Stanford Cars, its training part",
            "flowers": "Flowers, a part",
            "art": "PACS, art painting",
            "sketch": "PACS, sketch",
        },
        note="The paper's rows are of the whole sets, these of small ones (Table 4). ImageNet is not on unseen images: "
        "its 1,000 pictures are probably of the training set, and half of them helped to prune it. Of birds there are "
        "too few to count.",
    ),
    "finegrained-paper": PHOTOS,
    "faces-4": replace(
        FACES,
        sets={
            "verification": "LFW",
            "gender": "UTKFace, gender",
            "expression": "FER2013",
            "age": "UTKFace, age",
        },
    ),
    "faces-paper": replace(
        FACES, sets={"verification": "VGGFace2", "gender": "FotW and IMDB-Wiki", "expression": "AffectNet"}
    ),
}
"""By the sequence."""


def accuracy_table(layout: Layout, results: Mapping[str, RunResult], published: Path, base: int) -> pd.DataFrame:
    """A row a task and source (`paper`, `reproduced`), a column a method; then the figures of whole runs.

    Args:
        layout: which tasks, methods and figures.
        results: all results of a profile.
        published: the folder with the paper's tables.
        base: shared weights of the base network.
    """
    in_order = [result for result in results.values() if result.ordering == "0"]
    by_method = {name: [result for result in in_order if result.method == name] for name in layout.methods}
    rows: dict[str, dict[str, float | None]] = {}
    for name, title in layout.tasks.items():
        rows[title] = {method: _accuracy(runs, name) for method, runs in by_method.items()}
        if any(task.agreement for task in _of_name(results.values(), name)):
            agreement = {method: _agreement(runs, name) for method, runs in by_method.items()}
            rows[f"{title}, agreement"] = agreement
    for title, figure in layout.figures.items():
        rows[title] = {method: _mean([figure(run, base) for run in runs]) for method, runs in by_method.items()}
    found = [{"task": title, "source": "reproduced", **cells} for title, cells in rows.items()]
    whole = _beside(pd.read_csv(published / f"{layout.accuracy}.csv"), pd.DataFrame(found), "task")
    whole.attrs["note"] = layout.note
    return whole


def data_table(layout: Layout, manifest: Path, published: Path, prepare: str = "cpg reproduce prepare") -> pd.DataFrame:
    """How many images and classes: the paper's data sets, and those that were learned from.

    Args:
        layout: which tasks.
        manifest: `data.json`.
        published: the folder with the paper's tables.
        prepare: the command that writes the manifest.

    Raises:
        CpgError: there is no manifest yet.
    """
    if not manifest.exists():
        raise CpgError(f"{manifest}: there is no such file; what writes it: {prepare}")
    found = []
    for name, there in json.loads(manifest.read_text(encoding="utf-8")).items():
        classes = there["classes"]
        counts = {"train": there["train"] + there.get("val", 0), "test": there["test"]}
        counts["classes"] = classes if isinstance(classes, int) else len(classes)
        title = layout.sets.get(name, layout.tasks.get(name, name))
        found.append({"data": title, "source": "reproduced", **counts})
    return _beside(pd.read_csv(published / f"{layout.data}.csv"), pd.DataFrame(found), "data")


def _of_name(runs: Iterable[RunResult], name: str) -> list[TaskResult]:
    return [task for run in runs for task in run.tasks if task.name == name]


def _accuracy(runs: list[RunResult], name: str) -> float | None:
    """In percent; of a task that has no images of its own, by what those that it was imported with show."""
    return _percent([task.by_labels for task in _of_name(runs, name)])


def _agreement(runs: list[RunResult], name: str) -> float | None:
    return _percent([task.final_accuracy for task in _of_name(runs, name)])


def _percent(found: list[float | None]) -> float | None:
    return _mean([None if value is None else 100 * value for value in found])


def _mean(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return round(float(np.mean(there)), 2) if there else None


def _beside(paper: pd.DataFrame, ours: pd.DataFrame, key: str) -> pd.DataFrame:
    """Each of ours below the paper's of the same name, in its order; what the paper has not stays behind its last."""
    names = list(dict.fromkeys(paper[key]))
    last = len(names) - 1
    for name in ours[key]:
        if name not in names:
            names.insert(last + 1, name)
        last = names.index(name)
    order = {name: place for place, name in enumerate(names)}
    whole = pd.concat([paper, ours], ignore_index=True)
    return whole.sort_values(key, key=lambda column: column.map(order), kind="stable", ignore_index=True)
