"""How much sooner are eight independent trainings done with two workers than with one?

    python benchmarks/parallel.py            eight trainings of about twenty seconds, about five minutes
    python benchmarks/parallel.py --quick    two of about ten seconds, without Prefect, under a minute

Both sides are the command `cpg compare` as a person gives it, from the start of its process to its end: the Prefect
server, the imports of every worker and the table are in it. Each training takes one thread, as the records tell.
The two sides must give the same bytes; otherwise there is no ratio.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import pandas as pd
from faults_sequence import CPG, ROOT, environment
from output import show

from cpg_core.storage.run import Run
from cpg_core.storage.runs import open_run


def compare(root: Path, seeds: int, epochs: int, workers: int, *, plain: bool) -> float:
    """Seconds that `cpg compare` takes, from process to process."""
    words = ["compare", "digits-5", "--tasks", "1", "--seeds", ",".join(map(str, range(seeds)))]
    words += ["--workers", str(workers), "--root", str(root), "--no-track", "--goals", "0.9"]
    words += ["--set", f"pick_train.epochs={epochs}", "--set", "compute.threads=1", *(["--plain"] if plain else [])]
    began = time.monotonic()
    subprocess.run(
        [*CPG, *words],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.monotonic() - began


def runs(root: Path) -> list[Run]:
    """What was learned, in the order of its names."""
    return [open_run(root, folder.name) for folder in sorted((root / "checkpoints").iterdir())]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two trainings, without Prefect")
    parser.add_argument("--plain", action="store_true", help="without Prefect")
    parser.add_argument("--epochs", type=int, help="of pick_train, which makes the trainings longer")
    given = parser.parse_args()
    seeds, epochs = (2, 400) if given.quick else (8, 800)
    seconds, found = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            root = Path(folder) / str(workers)
            seconds[workers] = compare(root, seeds, given.epochs or epochs, workers, plain=given.plain or given.quick)
            found[workers] = runs(root)
        assert [run.record(1) for run in found[1]] == [run.record(1) for run in found[2]], "the bytes differ"
        threads = {run.record(1).machine.threads for side in found.values() for run in side}
        training = {workers: sum(sum(run.seconds(1).values()) for run in side) for workers, side in found.items()}
    figures: dict[str, object] = {
        "trainings": seeds,
        "threads": max(threads),
        "one_worker_seconds": round(seconds[1], 1),
        "two_workers_seconds": round(seconds[2], 1),
        "one_training_seconds": round(training[1] / seeds, 1),
        "one_training_beside_another_seconds": round(training[2] / seeds, 1),
        "speed_up": round(seconds[1] / seconds[2], 2),
    }
    show(f"{seeds} trainings", pd.DataFrame(figures.items(), columns=["figure", "value"]), figures)


if __name__ == "__main__":
    main()
