"""Export a task of a run to a file, and check that the file answers as recall does."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cpg_core.data.augment import normalise
from cpg_core.data.reading.fetch import Order, fetch
from cpg_core.data.reading.reading import Progress, silent
from cpg_core.data.reading.resize import described
from cpg_core.data.splits.split import Split
from cpg_core.errors import CpgError, first_line, one_line
from cpg_core.model.network import Network
from cpg_core.recall.export.cost import counted, milliseconds
from cpg_core.recall.export.formats import INPUT, Answers, Format, Numbers, Pixels, format_of
from cpg_core.recall.export.narrow import without_unused
from cpg_core.recall.export.network import PlainNetwork, plain_network
from cpg_core.recall.recall import recalled
from cpg_core.storage.files import write_by
from cpg_core.storage.records import TaskRecord
from cpg_core.storage.run import Run
from cpg_core.training.evaluation import eval_mode, probe_images

MOST_APART = 1e-4
"""Of an image's logits, over the largest of them."""


@dataclass(frozen=True)
class Cost:
    """What one network costs: output channels, multiply-adds and milliseconds an image, bytes of its file."""

    channels: int
    multiply_adds: int
    bytes: int
    milliseconds: float


@dataclass(frozen=True)
class Checked:
    """How a file answers.

    images: on how many
    apart: by how much an image's logits differ from those of recall, over the largest of them
    others: how many images it gives another class than recall does
    no_test: why they are noise, and not the task's test images; None: they are those
    """

    images: int
    apart: float
    others: int
    no_test: str | None


@dataclass(frozen=True)
class Exported:
    """A task that was exported: the costs of its network with and without the channels that it does not need."""

    task: str
    path: Path
    before: Cost
    after: Cost
    checked: Checked


def export(run: Run, task: str, path: Path, progress: Progress = silent) -> Exported:
    """Write a task as one plain network, in the format that the file's name asks for.

    Raises:
        CpgError: there is no such task or format, it or one before it is damaged, the file cannot be written or
            read back, or what it answers differs from what recall answers: then there is no file.
    """
    form = format_of(path)
    record, network = recalled(run, task)
    reference = network.place(torch.device("cpu"), "float32")
    shape = (run.input.channels, run.input.size, run.input.size)
    dense = plain_network(reference, record)
    narrow = without_unused(dense, shape, form.multiple)
    output = "embeddings" if reference.objective.compares_pairs else "logits"
    metadata = metadata_of(run, record, output)

    def cost(made: PlainNetwork, file: Path) -> Cost:
        return Cost(*counted(made, shape), file.stat().st_size, milliseconds(_read(form, file, path), shape))

    costs: list[Cost] = []
    found: list[Checked] = []

    def write(aside: Path) -> None:
        if narrow is not dense:
            _write(form, dense, shape, output, metadata, aside, path)
            costs.append(cost(dense, aside))
        _write(form, narrow, shape, output, metadata, aside, path)
        costs.append(cost(narrow, aside))
        found.append(checked(_read(form, aside, path), run, record, reference, progress))
        _require(found[0], path)

    write_by(path, write)
    return Exported(task, path, costs[0], costs[-1], found[0])


def _write(
    form: Format,
    network: PlainNetwork,
    shape: tuple[int, ...],
    output: str,
    metadata: Mapping[str, str],
    aside: Path,
    path: Path,
) -> None:
    """Write the file that will be `path`.

    Raises:
        CpgError: the format cannot hold this network, as torch's exporter tells.
    """
    with _foreign_errors(path, f"this backbone cannot be exported to {path.suffix}"):
        form.write(network, shape, output, metadata, aside)


def _read(form: Format, aside: Path, path: Path) -> Answers:
    """The answers of the file that will be `path`.

    Raises:
        CpgError: the format's reader does not take what was written, now or when an answer is asked of it.
    """
    what = f"this backbone is written to {path.suffix}, and its reader cannot run it"
    with _foreign_errors(path, what):
        answers = form.load(aside)

    def answer(pixels: Pixels) -> Numbers:
        with _foreign_errors(path, what):
            return answers(pixels)

    return answer


@contextmanager
def _foreign_errors(path: Path, what: str) -> Iterator[None]:
    """Tell in words what exporters and readers raise inside the block: anything, at what they cannot follow.

    Raises:
        CpgError: naming the file.
    """
    try:
        yield
    except (CpgError, OSError, ImportError, MemoryError):
        raise
    except Exception as error:
        why = one_line(first_line(error))
        raise CpgError(f"{path}: {what}: {why}") from error


def metadata_of(run: Run, record: TaskRecord, output: str) -> dict[str, str]:
    """What a file tells of itself, text by name; lists and numbers as JSON."""
    channels, size = run.input.channels, run.input.size
    fitted = described(size, run.spec.tasks[record.index - 1].augment.resize)
    about = {
        "task": record.name,
        "run": run.spec.name,
        "input": f"{INPUT}: uint8 [N, {channels}, {size}, {size}], {'RGB' if channels == 3 else 'grey'}, 0 to 255; "
        f"normalised inside; of an image of another size {fitted}",
        "delta_sha256": record.delta_sha256,
        "test_accuracy": json.dumps(record.test_accuracy),
    }
    if output == "embeddings":
        said = "two images show one person where arccos(cosine) * 4 / pi is below the threshold"
        return about | {
            "output": f"{output}: float32 [N, D]; {said}",
            "threshold": json.dumps(record.figures["threshold"]),
        }
    return about | {
        "output": f"{output}: float32 [N, {len(record.classes)}], in the order of `classes`",
        "classes": json.dumps(record.classes, ensure_ascii=False),
    }


def checked(answers: Answers, run: Run, record: TaskRecord, reference: Network, progress: Progress = silent) -> Checked:
    """How a file answers the task's test images, or noise where they are not at hand."""
    mean, std = torch.tensor(record.mean), torch.tensor(record.std)
    test, no_test = _test_split(run, record, progress)
    batches = iter([_noise(run)]) if test is None else _pixels(test, run.spec.settings.eval_batch_size)
    images, apart, others = 0, torch.zeros(()), 0
    with eval_mode(reference):
        for pixels in batches:
            expected = reference(normalise(pixels, mean, std))
            got = torch.from_numpy(answers(pixels.numpy()))
            largest = expected.abs().amax(dim=1).clamp(min=torch.finfo().tiny)
            apart = torch.maximum(apart, ((got - expected).abs().amax(dim=1) / largest).max())
            others += int((got.argmax(dim=1) != expected.argmax(dim=1)).sum())
            images += len(pixels)
    return Checked(images, float(apart), 0 if reference.objective.compares_pairs else others, no_test)


def _require(found: Checked, path: Path) -> None:
    """That a file answers as recall does.

    Raises:
        CpgError: it does not.
    """
    if not found.apart <= MOST_APART or found.others:
        raise CpgError(
            f"{path}: not exported: what was written answers otherwise than recall. Logits differ by "
            f"{found.apart:.1e} of the largest of an image; {MOST_APART:.0e} is allowed. {found.others} of "
            f"{found.images} images get another class"
        )


def _test_split(run: Run, record: TaskRecord, progress: Progress) -> tuple[Split | None, str | None]:
    """The task's test images, or why they cannot be read."""
    try:
        return run.test_split(record.index, progress), None
    except CpgError as error:
        return None, str(error).partition("\n")[0]


def _pixels(split: Split, batch_size: int) -> Iterator[Tensor]:
    """uint8 `[N, C, H, W]`."""
    return fetch(split, [Order(rows) for rows in torch.split(torch.arange(len(split)), batch_size)])


def _noise(run: Run) -> Tensor:
    """The probe batch as pixels, uint8 `[8, C, H, W]`."""
    noise = probe_images(run.input.channels, run.input.size)
    return ((noise / noise.abs().max() + 1) * 127.5).to(torch.uint8)
