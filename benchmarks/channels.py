"""Is a task under channel pruning fast, and as accurate as a dense network? Exported to ONNX, on one thread.

    python benchmarks/channels.py --width 0.25 --seeds 1 2 3     two tasks of CIFAR-100, about 9 minutes a seed
    python benchmarks/channels.py --sequence benchmarks/photos.yaml --width 0.5 --seeds 1 2 3    two of photos
    python benchmarks/channels.py --quick                        digits, a minute

A seed learns the tasks densely, each in a network of its own (method scratch), and then by CPG with `prune.unit:
channel`, held to the validation accuracy of the dense ones less a point. A row is a task after the first: test accuracy
of both, and onnxruntime's time for one image, by the network with all channels and by what was exported. To reach:
twice as fast, at most a point below. Killed, the same command goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean, median

import pandas as pd
from output import show

from cpg_core.recall.export.task import export
from cpg_core.storage.run import Run
from flows.console.terminal import on_terminal
from flows.local_runner import learn
from flows.persist import Persist
from flows.request import SequenceRequest, run_of_request

SETTINGS = (
    "compute.threads=1",
    "grow.max_x=1.0",
    "prune.unit=channel",
    "prune.targets=[0.6, 0.7]",
    "prune.min_sparsity=0.6",
)
"""Of every pool at most 0.4 of its free units are held, so that a task that picks two thirds of the older ones runs on
about half of the channels, and a quarter of the multiply-adds."""
RECOVER = ("prune.epochs=14", "prune.prune_epochs=6")
"""Whole channels take more to recover from than weights do."""
POINT, FASTER, TURNS = 0.01, 2.0, 3


def learned(given: argparse.Namespace, seed: int, method: str, goal: str, settings: tuple[str, ...]) -> Run:
    """A run of the benchmark, learned or gone on with."""
    widths = () if given.width is None else (f"base_width={given.width}",)
    request = SequenceRequest(
        given.sequence,
        method,
        goal,
        given.profile,
        tasks=f"1-{given.tasks}",
        seed=seed,
        run=f"channels-{Path(given.sequence).stem}-{given.width or 'profile'}-{method}-s{seed}",
        overrides=(*widths, *settings),
    )
    run = run_of_request(request, given.root)
    learn(run, on_terminal, Persist(given.root, track=False))
    return run


def rows_of(given: argparse.Namespace, seed: int) -> list[dict[str, object]]:
    """A row a task after the first."""
    dense = learned(given, seed, "scratch", "0.01", ("compute.threads=1",))
    goals = given.root / f"channels-{Path(given.sequence).stem}-s{seed}.json"
    least = {record.name: max(0.01, record.accuracy - POINT) for record in dense.records()}
    goals.write_text(json.dumps(least))
    run = learned(given, seed, "cpg", str(goals.resolve()), (*SETTINGS, *(() if given.quick else RECOVER)))
    return [row(run, dense, seed, index, given.root) for index in range(2, given.tasks + 1)]


def row(run: Run, dense: Run, seed: int, index: int, root: Path) -> dict[str, object]:
    """What a task is and was; times are medians over a few exports, dense and exported in turn."""
    record, alone = run.record(index), dense.record(index)
    turns = [export(run, record.name, root / "channels.onnx") for _ in range(TURNS)]
    before, after = turns[0].before, turns[0].after
    milliseconds = [median(getattr(turn, side).milliseconds for turn in turns) for side in ("before", "after")]
    return {
        "seed": seed,
        "task": record.name,
        "goal": "met" if record.goal_met else "missed",
        "picked %": round(100 * (record.picked or 0.0), 1),
        "channels %": round(100 * after.channels / before.channels, 1),
        "adds %": round(100 * after.multiply_adds / before.multiply_adds, 1),
        "dense ms": round(milliseconds[0], 3),
        "ms": round(milliseconds[1], 3),
        "x": round(milliseconds[0] / milliseconds[1], 2),
        "dense test %": round(100 * alone.test_accuracy, 1),
        "test %": round(100 * record.test_accuracy, 1),
        "points": round(100 * (record.test_accuracy - alone.test_accuracy), 2),
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequence", default="cifar100-20")
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--width", type=float, help="channel width of the network (default: the profile's)")
    parser.add_argument("--tasks", type=int, default=2, metavar="N", help="tasks 1 to N (default: 2)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--root", type=Path, default=Path("work/channels"), help="where the runs go")
    parser.add_argument("--quick", action="store_true", help="digits, profile smoke")
    given = parser.parse_args()
    if given.quick:
        given.sequence, given.profile, given.width = "digits-5", "smoke", 1.0
    given.root.mkdir(parents=True, exist_ok=True)
    rows = [row for seed in given.seeds for row in rows_of(given, seed)]
    frame = pd.DataFrame(rows)
    faster, points = fmean(frame["x"]), fmean(frame["points"])
    figures = {"rows": len(rows), "faster_x": round(faster, 2), "points": round(points, 2)}
    show("Channel pruning", frame, figures | {"ok": faster >= FASTER and points >= -100 * POINT})


if __name__ == "__main__":
    main()
