"""What it costs to recall: load a run of twenty tasks, switch between them, predict one image.

    python benchmarks/recall.py            20 tasks of VGG16-BN at a quarter of its width, some minutes to learn
    python benchmarks/recall.py --quick    4 tasks of the digits network, seconds

The tasks are two digits of scikit-learn's each, learned in an epoch a stage: what they know does not matter here. A
plain module's load is that of one network's safetensors file into a fresh module; its forward is one image through
that module. Both sides of a ratio take turns, on one thread; medians are told.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from statistics import median
from time import perf_counter

import pandas as pd
import torch
from output import show
from safetensors.torch import load_file, save_file

from cpg_core.config.settings import load_settings
from cpg_core.data.sources.digits import DigitsSource
from cpg_core.data.spec import TaskSpec
from cpg_core.machine import versions
from cpg_core.model.network import Network, empty
from cpg_core.recall.predictor import Serving
from cpg_core.recall.recall import recalled
from cpg_core.runner import learn_sequence
from cpg_core.storage.run import Run
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import open_or_new, open_run
from cpg_core.training.reporter import Silent

PARAMS = Path(__file__).parents[1] / "params.yaml"
SHORT = (
    "compute.threads=1", "compute.device=cpu", "base_width=0.25", "pick_train.epochs=1",
    "pick_train.score_freeze_epoch=1", "prune.epochs=1", "prune.prune_epochs=1", "prune.targets=[0.9]",
    "prune.min_sparsity=0.9", "retrain.epochs=1",
)  # fmt: skip
TURNS = 5


def spec_of(count: int, backbone: str) -> RunSpec:
    """A run of tasks that are learned as fast as can be."""
    pairs = [(str(a), str(b)) for a in range(10) for b in range(10) if a != b]
    source = DigitsSource(kind="digits")
    tasks = tuple(TaskSpec(name=f"pair-{k:02d}", source=source, classes=pairs[k]) for k in range(count))
    return RunSpec(
        name="recall", sequence="recall", ordering="0", method="cpg", backbone={"name": backbone}, profile="digits",
        seed=1, goals={task.name: 0.0 for task in tasks}, settings=load_settings(PARAMS, "digits", SHORT), tasks=tasks,
        versions=versions(), git_commit=None,
    )  # fmt: skip


def timed(work: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call, the mean of so many."""
    began = perf_counter()
    for _ in range(times):
        work()
    return (perf_counter() - began) / times


def plain_load(file: Path, run: Run, like: Network) -> Network:
    """One network from a file, into a fresh module."""
    record = run.record(1)
    network = empty(run.spec.backbone, record.width, len(record.classes), like.objective)
    network.load_state_dict(load_file(file))
    return network.eval()


def measure(root: Path, name: str, folder: Path) -> dict[str, list[float]]:
    """Milliseconds of each side, a number a turn."""
    run = open_run(root, name)
    network = recalled(run, run.record(1).name)[1]
    file = folder / "plain.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, file)
    turns = [turn(root, name, file, deepcopy(network)) for _ in range(TURNS)]
    return {what: [1000 * each[what] for each in turns] for what in turns[0]}


def turn(root: Path, name: str, file: Path, plain: Network) -> dict[str, float]:
    """Seconds of each side once; the run is opened anew, so that nothing of it is known yet."""
    run = open_run(root, name)
    tasks = [record.name for record in run.records()]
    pixels = torch.zeros(1, run.input.channels, run.input.size, run.input.size, dtype=torch.uint8)
    image = pixels.float().contiguous(memory_format=torch.channels_last)
    served: list[Serving] = []

    def switch() -> None:
        for task in tasks:
            served[0].switch(task)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return plain(image)

    return {
        "plain load": timed(lambda: plain_load(file, run, plain)),
        "load the run": timed(lambda: served.append(Serving(run))),
        "first switch to a task": timed(switch) / len(tasks),
        "copy of the weights": timed(lambda: [tensor.clone() for tensor in plain.state_dict().values()], 20),
        "switch back to a task": timed(switch) / len(tasks),
        "plain forward": timed(forward, 20),
        "predict one image": timed(lambda: served[0].answer_pixels(tasks[-1], pixels), 20),
    }


OVER = {
    "load the run": "plain load",
    "first switch to a task": "plain load",
    "switch back to a task": "copy of the weights",
    "predict one image": "plain forward",
}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 tasks of the digits network")
    parser.add_argument("--root", type=Path, help="a folder of results that is there, with the run that --run names")
    parser.add_argument("--run", default="recall", help="of --root")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = given.root or Path(folder)
        if given.root is None:
            learn_sequence(
                open_or_new(root, spec_of(*((4, "digits_cnn") if given.quick else (20, "vgg16_bn")))), Silent()
            )
        found = {what: median(times) for what, times in measure(root, given.run, Path(folder)).items()}
        tasks = open_run(root, given.run).frozen()
    rows = [
        {"what": what, "ms": round(found[what], 3), "over": over, "its ms": round(found[over], 3),
         "ratio": round(found[what] / found[over], 4)}
        for what, over in OVER.items()
    ]  # fmt: skip
    figures = {"tasks": tasks, **{row["what"].replace(" ", "_"): row["ratio"] for row in rows}}
    show(f"Recall: a run of {tasks} tasks", pd.DataFrame(rows), figures)


if __name__ == "__main__":
    main()
