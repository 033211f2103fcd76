"""A full disk, signals, two runs on one folder, and settings, data or code that changed while a run was stopped."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from faults_rows import MISTAKE, STOPPED, Bench, Harm, Row, cut, told
from faults_sequence import CPG, ROOT, RUN, Attempt, Starter, arguments, content, environment, unbroken
from PIL import Image

from cpg_core.storage.runs import open_run

CHANGED = "settings, data, code or the model before it changed"
TASKS = {"one": ("0", "1"), "two": ("2", "3"), "three": ("4", "5")}


def full_disk(bench: Bench, sizes_kb: tuple[int, ...] = (24, 64, 128, 400)) -> Iterator[Row]:
    """The disk is full at some moment of the run; then it is not."""
    for size in sizes_kb:
        root = bench.folder / "full"
        root.mkdir()
        words = arguments(root, "--plain", "--no-track")
        with _disk(root, size) as grow:
            place = f"a disk of {size} kB" if grow else f"no file above {size * 256} bytes"
            attempt = bench.start.run(root, words, largest_file_bytes=None if grow else size * 256)
            if grow:
                grow()
            again = bench.start.run(root, words)
            same = again.code == 0 and bench.same(open_run(root, RUN))
            told_why = "the disk is full" in attempt.said if grow else "cannot be written" in attempt.said
        ok = attempt.code == MISTAKE and told_why and "Traceback" not in attempt.said and same
        happened = f"{told(attempt)}; then {'the same bytes' if same else 'OTHER BYTES'}"
        yield Row("disk full", place, "says so; with room, it goes on", happened, ok)
        shutil.rmtree(root)


@contextmanager
def _disk(root: Path, size_kb: int) -> Iterator[object | None]:
    """A small disk at `root`, and what makes it large; None: it may not be mounted here."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(root)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=200m", str(root)], check=True)
    finally:
        subprocess.run(["umount", str(root)], check=True)


def signals(bench: Bench, prefect: Starter | None) -> Iterator[Row]:
    """Ctrl-C and SIGTERM in the middle of an epoch."""
    for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
        for how, start in (("--plain", bench.start), ("under Prefect", prefect)):
            if start is None:
                continue
            root = bench.folder / "signalled"
            words = arguments(root, "--no-track", *(("--plain",) if how == "--plain" else ()))
            attempt = start.run(root, words, moment={"kind": "in prune", "count": 4, "signal": int(number)})
            saved = [path.stem for path in (root / "work").rglob("at-*.json")]
            again = start.run(root, words)
            same = again.code == 0 and bench.same(open_run(root, RUN))
            ok = attempt.code == STOPPED and "what was learned is saved" in attempt.said and bool(saved) and same
            happened = f"exit {attempt.code}, saved {', '.join(saved) or 'NOTHING'}; then {'the same bytes' * same}"
            yield Row(name, how, "stops at a batch, its state saved", happened, ok)
            shutil.rmtree(root)


def two_at_once(bench: Bench) -> Iterator[Row]:
    """A second process on the folder of a run that is being learned."""
    root = bench.folder / "twice"
    words = arguments(root, "--plain", "--no-track")
    command = [*CPG, *words]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL) as first:
        while first.poll() is None and not list((root / "work").rglob("at-*.json")):
            time.sleep(0.01)
        second = bench.start.run(root, words)
        going = first.poll() is None
        code = first.wait()
    same = code == 0 and bench.same(open_run(root, RUN))
    ok = going and second.code == MISTAKE and "another process is learning it" in second.said and same
    yield Row("two at once", "one folder", "the second is refused", f"{told(second)}; the first: exit {code}", ok)
    shutil.rmtree(root)


def changed(bench: Bench) -> Iterator[Row]:
    """Settings, data or code that change while a run is stopped."""
    run = bench.copy(bench.stopped, "changed")
    before = content(run)
    attempt = bench.again(run, "--set", "prune.lr=0.002")
    ok = attempt.code == MISTAKE and "this folder holds another run" in attempt.said and content(run) == before
    yield Row("setting changed", "a task is frozen", "refused, nothing touched", told(attempt), ok)
    yield from _changed_before_a_freeze(bench)
    yield from _changed_code(bench)


def _changed_before_a_freeze(bench: Bench) -> Iterator[Row]:
    for kind, where in (("in prune", "a stage is finished"), ("in pick_train", "a stage is begun")):
        root = bench.folder / "changed"
        shutil.rmtree(root, ignore_errors=True)
        words = arguments(root, "--plain", "--no-track")
        bench.start.run(root, words, moment={"kind": kind, "count": 12})
        attempt = bench.start.run(root, [*words, "--set", "pick_train.lr=0.005"])
        other = unbroken(bench.start, bench.folder / f"other {kind}", "--set", "pick_train.lr=0.005")
        same = attempt.code == 0 and content(open_run(root, RUN)) == content(other)
        ok = same and CHANGED in attempt.said
        yield Row("setting changed", where, "anew, and says so", told(attempt), ok)


def _changed_code(bench: Bench) -> Iterator[Row]:
    run = bench.copy(bench.stopped, "changed")
    copied = bench.folder / "code"
    for name in ("cpg_core", "flows", "data", "params.yaml"):
        take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        take(ROOT / name, copied / name)
    loop = copied / "cpg_core" / "training" / "loop.py"
    loop.write_text(f"{loop.read_text()}# another version\n")
    frozen = {name: found for name, found in content(run).items() if name.startswith("001-")}
    finished = subprocess.run(
        [*CPG, *arguments(run.root, "--plain", "--no-track")],
        cwd=copied, env=environment(PYTHONPATH=str(copied)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    attempt = Attempt(finished.returncode, False, [], finished.stdout + finished.stderr)
    found, whole = content(run), content(bench.whole)
    deltas = all(found[name] == whole[name] for name in whole if name.endswith("delta.safetensors"))
    ok = attempt.code == 0 and CHANGED in attempt.said and deltas and frozen.items() <= found.items()
    yield Row("code changed", "a stage is finished", "anew, and says so", told(attempt), ok)


def data(bench: Bench) -> Iterator[Row]:
    """Parquet files: damaged, or with other content than before."""
    home = bench.folder / "digits"
    home.mkdir()
    sequence = _write_data(home)
    whole = unbroken(bench.start, bench.folder / "parquet", sequence=str(sequence))
    harms: dict[str, Harm] = {"cut in half": cut, "a bit flipped": _flip_an_image}
    for how, harm in harms.items():
        root = bench.folder / "data"
        words = arguments(root, "--plain", "--no-track", sequence=str(sequence))
        path = home / "train-0.parquet"
        sound = path.read_bytes()
        bench.start.run(root, words, moment={"kind": "in retrain", "count": 10})
        frozen = {name: found for name, found in content(open_run(root, RUN)).items() if name.startswith("001-")}
        harm(path)
        attempt = bench.start.run(root, words)
        path.write_bytes(sound)
        kept = frozen.items() <= content(open_run(root, RUN)).items()
        again = bench.start.run(root, words)
        same = again.code == 0 and content(open_run(root, RUN)) == content(whole)
        ok = attempt.code == MISTAKE and path.name in attempt.said and "Traceback" not in attempt.said and kept and same
        happened = f"{told(attempt)}; then {'the same bytes' if same else 'OTHER BYTES'}"
        yield Row(how, "data parquet", "refused and named; fetched again, it goes on", happened, ok)
        shutil.rmtree(root)
    bench.start.run(root, words, moment={"kind": "in retrain", "count": 10})
    _write_data(home, changed="3")
    attempt = bench.start.run(root, words)
    other = unbroken(bench.start, bench.folder / "parquet changed", sequence=str(sequence))
    same = attempt.code == 0 and content(open_run(root, RUN)) == content(other) != content(whole)
    yield Row(
        "data changed", "a stage is finished", "anew, and says so", told(attempt), same and CHANGED in attempt.said
    )


def _write_data(home: Path, changed: str | None = None) -> Path:
    """The digits as parquet files and a sequence of them; with one image of a class altered."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = (digits.images * 15).astype(np.uint8), digits.target.astype(str)
    if changed is not None:
        images[int(np.flatnonzero(labels == changed)[0]), 0, 0] ^= 255
    for part, rows in (("train", np.arange(len(images)) % 4 > 0), ("test", np.arange(len(images)) % 4 == 0)):
        cells = [{"bytes": _png(image), "path": None} for image in images[rows]]
        table = pa.table({"image": cells, "label": labels[rows].tolist()})
        pq.write_table(table, home / f"{part}-0.parquet", compression="none", use_dictionary=False)
    tasks = "".join(f"  - {{name: {name}, classes: {list(classes)}}}\n" for name, classes in TASKS.items())
    path = home / "digits.yaml"
    source = f"source: {{kind: parquet, folder: {home}}}"
    path.write_text(f"name: digits\nbackbone: digits_cnn\nprofile: digits\n{source}\ntasks:\n{tasks}")
    return path


def _flip_an_image(path: Path) -> None:
    """Flip one bit in an image of the second task."""
    table = pq.read_table(path)
    row = table["label"].to_pylist().index(TASKS["two"][0])
    image = table["image"][row].as_py()["bytes"]
    file = bytearray(path.read_bytes())
    file[file.index(image) + len(image) * 3 // 4] ^= 1
    path.write_bytes(file)


def _png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()
