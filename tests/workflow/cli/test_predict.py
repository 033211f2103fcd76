"""`cpg predict`: every image answered as the served model answers it, and those that cannot be read named."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import Result

from cpg_core.recall.image_files import answers, find
from cpg_core.recall.predictor import Serving
from cpg_core.storage.run import Run
from workflow.asking import cpg

TASK = "two-three"
LABELS = ("2", "3")


def predict(run: Run, *words: object, stdin: bytes | None = None) -> Result:
    given = ["predict", run.spec.name, "--task", TASK, "--root", str(run.root), *map(str, words)]
    return cpg(*given, answer=stdin)


@pytest.fixture
def images(unbroken: Run, tmp_path: Path) -> Path:
    """Seven test images of the task as files, the last of them in a folder of its own; a text; a hidden file."""
    pixels = unbroken.data(2).test.images
    assert pixels is not None
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for number in range(7):
        home = folder / "more" if number == 6 else folder
        Image.fromarray(pixels[number, 0].numpy()).save(home / f"[b]{number}.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def served(run: Run, count: int) -> list[list[float]]:
    """The probabilities of the same images, as one request to the served model has them."""
    pixels = run.data(2).test.images
    assert pixels is not None
    told = Serving(run).answer(TASK, pixels[:count].permute(0, 2, 3, 1).numpy()).content["probabilities"]
    assert isinstance(told, list)
    return told


def test_json_has_the_served_answers_to_the_bit(unbroken: Run, images: Path) -> None:
    result = predict(unbroken, images, "--json", "--top", 9)
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert [Path(item["image"]).name for item in found["images"]] == [f"[b]{n}.png" for n in range(7)]
    for item, probabilities in zip(found["images"], served(unbroken, 7), strict=True):
        told = {answer["class"]: answer["probability"] for answer in item["classes"]}
        assert [told[label] for label in LABELS] == probabilities
        assert [answer["probability"] for answer in item["classes"]] == sorted(probabilities, reverse=True)


def test_unreadable_images_leave_the_batches_of_the_others_as_they_are(unbroken: Run, images: Path) -> None:
    """In batches of three, with one that cannot be read among the first three."""
    settings = unbroken.spec.settings.model_copy(update={"eval_batch_size": 3})
    run = Run(unbroken.root, unbroken.spec.model_copy(update={"settings": settings}))
    files = find([images]).files
    (images / "[b]1 broken.png").write_bytes(b"")
    seen: list[tuple[int, int]] = []
    serving = Serving(run)
    batches: list[int] = []
    answer = serving.answer_pixels
    serving.answer_pixels = lambda task, pixels: (batches.append(len(pixels)), answer(task, pixels))[1]  # type: ignore[method-assign]
    found = list(answers(serving, TASK, find([images]).files, 2, lambda done, of: seen.append((done, of))))
    assert (batches, seen) == ([3, 3, 1], [(n, 8) for n in range(1, 9)])
    errors = [item for item in found if isinstance(item, Exception)]
    assert len(errors) == 1 and "[b]1 broken.png: cannot read this image" in str(errors[0])
    answered = [item for item in found if not isinstance(item, Exception)]
    assert [item.file for item in answered] == list(files)
    assert [dict(item.likeliest)["2"] for item in answered] == [row[0] for row in served(run, 7)]


def test_csv_and_paths_on_standard_input(unbroken: Run, images: Path) -> None:
    odd = images / "caf\udce9.png"  # a name that is no UTF-8
    odd.write_bytes((images / "[b]0.png").read_bytes())
    paths = b"%s\n\n%s\r\n" % (bytes(odd), bytes(images / "more"))
    result = predict(unbroken, "-", "--csv", stdin=paths)
    assert result.exit_code == 0, result.output
    header, *rows = csv.reader(io.StringIO(result.stdout_bytes.decode(errors="surrogateescape")))
    assert header == ["image", "class", "probability"]
    assert [row[0] for row in rows] == [str(odd), str(images / "more" / "[b]6.png")]
    assert float(rows[0][2]) == pytest.approx(max(served(unbroken, 1)[0]), abs=1e-6)


def test_a_table_and_exit_code_1_for_what_cannot_be_read(unbroken: Run, images: Path) -> None:
    (images / "none").mkdir()
    long = images / ("x" * 300 + ".png")  # longer than a name may be
    result = predict(unbroken, images / "[b]0.png", images / "notes.txt", images / "gone.png", images / "none", long)
    assert result.exit_code == 1
    head, row = result.stdout.splitlines()
    assert head.split() == ["image", "class", "probability", "%"]
    assert row.startswith(str(images / "[b]0.png")) and row.split()[-2] in LABELS
    said = result.stderr.splitlines()
    assert len(said) == 4 and all(line.startswith("error: ") for line in said)
    for name in ("notes.txt", "gone.png", "none: there are no images", "xxx.png: cannot be read"):
        assert name in "".join(said)


@pytest.mark.parametrize(
    "words, message",
    [
        (("x.png", "--json", "--csv"), "expected one of them"),
        (("-",), "standard input names none"),
        (("x.png", "--task", "two-tree"), "unknown task 'two-tree'; did you mean 'two-three'"),
    ],
)
def test_mistakes(unbroken: Run, words: tuple[str, ...], message: str) -> None:
    result = predict(unbroken, *words, stdin=b"\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
