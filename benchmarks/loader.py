"""What reading images costs an epoch of ResNet-18 at 96 pixels: over the same steps on batches that are ready.

    python benchmarks/loader.py --flowers FOLDER            about ten minutes on two cores
    python benchmarks/loader.py --flowers FOLDER --quick    one turn of eight batches

FOLDER holds train-*.parquet and test-*.parquet of photos. They are written to a temporary folder as files, since those
are what streams, and read as a run reads them. A turn trains so many batches from each arm; all arms take turns in one
process, so the machine's noise meets them alike, and the loader's share is the median over turns of 1 - ready / arm.
Seconds are of the processor as well as of the clock: on a machine that others use too, the former are the ones to read.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from output import show
from torch import Tensor, nn

from cpg_core.data import fetch
from cpg_core.data.batches import train_batches
from cpg_core.data.fields import Augment
from cpg_core.data.kept import NOTHING_KEPT, Keep
from cpg_core.data.load import choose
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.model.network import build
from cpg_core.storage.kept_blocks import KeptBlocks

SIZE, THREADS = 96, 2
AUGMENTS = {"plain": Augment(flip=True), "crops": Augment(random_resized_crop=True, flip=True)}
Batches = Iterable[tuple[Tensor, Tensor]]


def as_files(shards: Path, folder: Path) -> None:
    """Write the images of parquet files as files, a folder a class."""
    for part in ("train", "test"):
        listing = ParquetSource(kind="parquet", folder=shards).list_part(part)  # type: ignore[arg-type]
        rows, labels = choose(listing, listing.names)
        for row, label, item in zip(rows, labels, listing.read(rows), strict=True):
            home = folder / part / f"{label:03d}"
            home.mkdir(parents=True, exist_ok=True)
            assert isinstance(item.content, bytes)
            (home / f"{row:05d}.jpg").write_bytes(item.content)


def read(folder: Path, augment: Augment, keep: Keep, cache_bytes: int) -> TaskData:
    """A task of all images in a folder."""
    spec = TaskSpec(name="photos", source=FolderSource(kind="folder", folder=folder), augment=augment)
    return load_task_data(
        spec, image_size=SIZE, channels=3, val_fraction=0.1, seed=0, keep=keep, cache_bytes=cache_bytes
    )


def trainer(width: float, classes: int) -> Callable[[Batches], tuple[float, float]]:
    """A network that is trained by the batches that it is called with: seconds of the clock, and of the processor."""
    network = build("resnet18", width, classes, "loader").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def train(batches: Batches) -> tuple[float, float]:
        clock, processor = time.perf_counter(), time.process_time()
        for images, labels in batches:
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        return time.perf_counter() - clock, time.process_time() - processor

    return train


def counting(decoded: list[Path]) -> None:
    """Have every file that an epoch decodes noted."""
    decode = fetch.decode

    def counted(file: Path, channels: int, where: str) -> object:
        decoded.append(file)
        return decode(file, channels, where)

    fetch.decode = counted  # type: ignore[assignment]


Seconds = dict[str, tuple[float, float]]


def turns(arms: dict[str, TaskData], options: argparse.Namespace) -> Iterator[Seconds]:
    """In each turn, what the same steps take on ready batches and from each arm."""
    train = trainer(options.width, len(arms["cache"].classes))
    for turn in range(options.turns + 1):
        ready = list(islice(train_batches(arms["cache"], options.batch, turn, "cpu"), options.steps))
        found = {"ready": train(ready)}
        for name, data in arms.items():
            found[name] = train(islice(train_batches(data, options.batch, turn, "cpu"), options.steps))
        if turn:  # the first warms up
            yield found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flowers", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--width", type=float, default=1.0, help="channels over the published network's")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="batches of a turn")
    parser.add_argument("--quick", action="store_true", help="one turn")
    options = parser.parse_args()
    options.turns = 1 if options.quick else options.turns
    torch.set_num_threads(THREADS)
    decoded: list[Path] = []
    counting(decoded)
    home = Path(tempfile.mkdtemp(prefix="loader-"))
    rows, figures = [], {}
    try:
        as_files(options.flowers, home / "photos")
        for name, augment in AUGMENTS.items():
            kept = KeptBlocks(home / name, "benchmark")
            arms = {
                "cache": read(home / "photos", augment, kept, 2**33),
                "files": read(home / "photos", augment, NOTHING_KEPT, 0),
            }
            taken = list(turns(arms, options))
            for arm, data in arms.items():
                shares = [median(1 - turn["ready"][k] / turn[arm][k] for turn in taken) for k in (0, 1)]
                decoded.clear()
                for _ in train_batches(data, options.batch, 99, "cpu"):
                    pass
                row = {"clock": round(shares[0], 4), "processor": round(shares[1], 4), "decoded": len(decoded)}
                figures[f"{name}, {arm}"] = row
                rows.append({"images from": f"{name}, {arm}", **row})
    finally:
        shutil.rmtree(home)
    frame = pd.DataFrame(rows)
    title = f"The loader's share of an epoch (ResNet-18, width {options.width:g}, {SIZE} pixels, batch {options.batch})"
    show(f"{title}, and files decoded in an epoch", frame, figures)


if __name__ == "__main__":
    main()
