"""What reading images costs an epoch of ResNet-18 at 96 pixels.

    python benchmarks/loader.py --flowers FOLDER            some minutes on two cores
    python benchmarks/loader.py --flowers FOLDER --quick    two steps of each

FOLDER holds train-*.parquet and test-*.parquet of photos. Some are written to a temporary folder as files, since those
are what streams, and are read as a run reads them: kept decoded in the cache, or decoded in each epoch.

`work` is the loader's share of all processor seconds: those that batches take by themselves, all threads counted, over
these and those of the same steps on ready batches. Seconds of the processor are the ones to compare on a machine that
others use too. `waiting` is the share of the clock in which the network waits for a batch, in a loop of both.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from output import show
from torch import Tensor, nn

from cpg_core.data.batches import train_batches
from cpg_core.data.fields import Augment
from cpg_core.data.reading import fetch
from cpg_core.data.reading.block_cache import NOTHING_KEPT, Keep
from cpg_core.data.reading.load import choose
from cpg_core.data.sources.folder import FolderSource
from cpg_core.data.sources.parquet import ParquetSource
from cpg_core.data.spec import TaskSpec
from cpg_core.data.task import TaskData, load_task_data
from cpg_core.model.network import build
from cpg_core.storage.kept_blocks import KeptBlocks

SIZE, THREADS = 96, 2
AUGMENTS = {"plain": Augment(flip=True), "crops": Augment(random_resized_crop=True, flip=True)}
Batches = Iterable[tuple[Tensor, Tensor]]


def as_files(shards: Path, folder: Path, classes: int) -> None:
    """Write the images of the first classes of parquet files as files, a folder a class."""
    for part in ("train", "test"):
        listing = ParquetSource(kind="parquet", folder=shards).list_part(part)  # type: ignore[arg-type]
        rows, labels = choose(listing, listing.names[:classes])
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


def trainer(width: float, classes: int) -> Callable[[Tensor, Tensor], None]:
    """A network that is trained by a step a call."""
    network = build("resnet18", width, classes, "loader").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(images: Tensor, labels: Tensor) -> None:
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def counting(decoded: list[Path]) -> None:
    """Have every file that an epoch decodes noted."""
    decode = fetch.decode

    def counted(file: Path, channels: int, where: str) -> object:
        decoded.append(file)
        return decode(file, channels, where)

    fetch.decode = counted  # type: ignore[assignment]


def waiting_share(batches: Batches, step: Callable[[Tensor, Tensor], None]) -> float:
    """The share of a loop's time in which it waits for the next batch."""
    began = at = time.perf_counter()
    waited = 0.0
    for images, labels in batches:
        waited += time.perf_counter() - at
        step(images, labels)
        at = time.perf_counter()
    return waited / (time.perf_counter() - began)


def processor_seconds(work: Callable[[], object]) -> float:
    """Of all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measured(data: TaskData, options: argparse.Namespace, decoded: list[Path]) -> dict[str, float]:
    """The shares of one way to get images, and how many files an epoch decodes."""
    step = trainer(options.width, len(data.classes))

    def some(epoch: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        return islice(train_batches(data, options.batch, epoch, "cpu"), count)

    ready = list(some(0, options.steps + 1))
    step(*ready.pop())  # warms up
    network = processor_seconds(lambda: [step(*batch) for batch in ready]) / len(ready)
    decoded.clear()
    batches = 0

    def whole_epoch() -> None:
        nonlocal batches
        batches = sum(1 for _ in train_batches(data, options.batch, 1, "cpu"))

    loader = processor_seconds(whole_epoch) / batches
    files = len(decoded)
    waiting = waiting_share(some(2, options.steps), step)
    return {
        "network_seconds": round(network, 3),
        "loader_seconds": round(loader, 4),
        "work": round(loader / (loader + network), 4),
        "waiting": round(waiting, 4),
        "decoded": files,
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flowers", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--width", type=float, default=1.0, help="channels over the published network's")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=16, help="that are trained for each figure")
    parser.add_argument("--classes", type=int, default=30, help="whose images are read")
    parser.add_argument("--quick", action="store_true", help="two steps")
    options = parser.parse_args()
    options.steps = 2 if options.quick else options.steps
    torch.set_num_threads(THREADS)
    decoded: list[Path] = []
    counting(decoded)
    home = Path(tempfile.mkdtemp(prefix="loader-"))
    figures: dict[str, object] = {}
    rows = []
    try:
        as_files(options.flowers, home / "photos", options.classes)
        for name, augment in AUGMENTS.items():
            for arm, keep in (("cache", KeptBlocks(home / name, "benchmark")), ("files", NOTHING_KEPT)):
                found = measured(read(home / "photos", augment, keep, 2**33), options, decoded)
                figures[f"{name}, {arm}"] = found
                rows.append({"images": f"{name}, {arm}", **found})
    finally:
        shutil.rmtree(home)
    title = f"The loader's share of an epoch (ResNet-18, width {options.width:g}, {SIZE} pixels, batch {options.batch})"
    show(title, pd.DataFrame(rows), figures)


if __name__ == "__main__":
    main()
