"""Repack CIFAR-100 into few small files, for a machine that nothing can be downloaded to.

    python benchmarks/carry.py --data FOLDER --out FOLDER [--parts 2]

FOLDER holds the parquet files of the data set. Each part holds the train and test images of consecutive tasks of
cifar100-20 as lossless WebP, about 2.7 MB a task: the same pixels in the same order, so that a task read from the
parts has the digest that it has when read from the original files. `benchmarks/gpu.py --data OUT` reads them.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from cpg_core.data.spec import load_sequence

ROOT = Path(__file__).parents[1]


def repacked(content: bytes) -> bytes:
    """The same pixels as a lossless WebP file."""
    packed = io.BytesIO()
    Image.open(io.BytesIO(content)).save(packed, "WEBP", lossless=True, exact=True, method=4, quality=75)
    return packed.getvalue()


def write_part(rows: pa.Table, labels: list[int], path: Path) -> None:
    """The rows of some classes, in the order of the original."""
    chosen = rows.filter(pc.is_in(rows["fine_label"], pa.array(labels)))
    images = [{"bytes": repacked(image["bytes"])} for image in chosen["img"].to_pylist()]
    columns = {"img": pa.array(images), "fine_label": chosen["fine_label"]}
    table = pa.table(columns).replace_schema_metadata(rows.schema.metadata)  # it names the classes
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="none", row_group_size=1000)
    print(f"{path}: {len(chosen)} images, {path.stat().st_size / 2**20:.1f} MB", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=2)
    options = parser.parse_args()
    tasks = load_sequence("cifar100-20", ROOT / "data").tasks
    for split in ("train", "test"):
        files = sorted(options.data.rglob(f"{split}-*.parquet"))
        rows = pa.concat_tables([pq.read_table(file) for file in files])
        names = pq.read_schema(files[0])
        known = json.loads(names.metadata[b"huggingface"])["info"]["features"]["fine_label"]["names"]
        for part in range(options.parts):
            some = tasks[part * len(tasks) // options.parts : (part + 1) * len(tasks) // options.parts]
            labels = [known.index(name) for task in some for name in task.classes or ()]
            write_part(rows, labels, options.out / f"part{part + 1}" / f"{split}-part{part + 1}.parquet")


if __name__ == "__main__":
    main()
