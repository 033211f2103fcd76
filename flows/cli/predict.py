"""`cpg predict`: what a task says of images, as a table for people, as JSON or CSV for programs."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cpg_core.errors import CpgError
from flows.cli import options
from flows.cli.errors import ExitCode
from flows.cli.runs import opened

if TYPE_CHECKING:
    from cpg_core.recall.image_files import Answered

STDIN = Path("-")


def predict(
    name: options.RunName,
    images: options.Images,
    task: options.TaskName,
    top: options.Top = 1,
    as_json: options.AsJson = False,
    as_csv: options.AsCsv = False,
    root: options.ReadRoot = options.HERE,
) -> None:
    """Tell the class of images, as a task of a run has learned it.

    Images that are read share batches as in one request to the served model, so the answers have the same bits.

    Exit code 1: an image cannot be read; it is named at the end, and the others are answered.
    """
    from cpg_core.recall.image_files import answers, find
    from cpg_core.recall.predictor import Serving
    from flows.console.terminal import reading_bar

    if as_json and as_csv:
        raise CpgError("--json and --csv: expected one of them")
    serving = Serving(opened(root, name), task)
    serving.require(task)
    found = find(_places(images))
    if not found.files and not found.problems:
        raise CpgError("no images: standard input names none")
    rows, problems = list["Answered"](), list[CpgError](found.problems)
    with reading_bar() as bar:
        for item in answers(serving, task, found.files, top, lambda done, total: bar(task, done, total)):
            if isinstance(item, CpgError):
                problems.append(item)
            else:
                rows.append(item)
    if as_json:
        _print(_json(name, task, rows, problems))
    elif as_csv:
        _print(_csv(rows))
    elif rows:
        _print(_table(rows))
    for problem in problems:
        _print(f"error: {problem}", err=True)
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _places(images: Iterable[Path]) -> Iterator[Path]:
    """The paths that are given, and for `-` those on standard input."""
    for place in images:
        if place != STDIN:
            yield place
            continue
        for line in typer.get_binary_stream("stdin"):
            if path := line.rstrip(b"\r\n"):
                yield Path(os.fsdecode(path))


def _table(rows: list[Answered]) -> str:
    """A row an image; probabilities in percent."""
    import pandas as pd

    from cpg_core.recall.metrics import percent
    from flows.console.tables import table_text

    heading, *cells = _lines(rows, "probability{} %", percent)
    return table_text(pd.DataFrame([[_shown(row[0]), *row[1:]] for row in cells], columns=heading))


def _csv(rows: list[Answered]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_lines(rows, "probability{}", float))
    return text.getvalue().rstrip("\n")


def _lines(rows: list[Answered], heading: str, told: Callable[[float], float]) -> Iterator[list[Any]]:
    """A heading, and a row an image: its path, then class and probability, of the likeliest first."""
    ranks = max((len(row.likeliest) for row in rows), default=1)
    numbers = ["", *(f" {rank}" for rank in range(2, ranks + 1))]
    yield ["image", *(name for number in numbers for name in (f"class{number}", heading.format(number)))]
    for row in rows:
        yield [str(row.file), *(cell for label, p in row.likeliest for cell in (label, told(p)))]


def _shown(path: str) -> str:
    """A path to be looked at, whose bytes need not be text."""
    return os.fsencode(path).decode(errors="replace")


def _json(run: str, task: str, rows: list[Answered], problems: list[CpgError]) -> str:
    answered = [
        {"image": str(row.file), "classes": [{"class": label, "probability": p} for label, p in row.likeliest]}
        for row in rows
    ]
    content = {"run": run, "task": task, "images": answered, "unreadable": [str(problem) for problem in problems]}
    return json.dumps(content, indent=1)


def _print(text: str, *, err: bool = False) -> None:
    """As bytes, since the name of a file need not be text."""
    typer.echo(os.fsencode(text), err=err)
