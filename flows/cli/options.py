"""The options of the commands, with what `--help` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import parameters
from flows.parameters import Parameter, existing_results, results_folder, with_home


def _help(parameter: Parameter) -> str:
    choices = f" One of {', '.join(parameter.choices)}." if parameter.choices else ""
    several = ""
    if parameter.many:
        several = " May be repeated." if parameter is parameters.OVERRIDES else " Separated by commas."
    return (parameter.sentence + choices + several).replace("[dask]", "\\[dask]")  # in brackets a word is markup


def _option(parameter: Parameter, *names: str, **more: Any) -> Any:  # noqa: ANN401  (as typer types it)
    number = set(parameter.types) == {"integer"} and not parameter.many
    least = parameter.minimum if number else None
    return typer.Option(*names, metavar=parameter.metavar, help=_help(parameter), min=least, **more)


def _argument(parameter: Parameter, **more: Any) -> Any:  # noqa: ANN401
    return typer.Argument(metavar=parameter.metavar, help=_help(parameter), **more)


HERE = Path()
"""The root where none is given."""

RunName = Annotated[str, _argument(parameters.LEARNED_RUN)]
NewName = Annotated[str, typer.Argument(metavar="NEW", help="The name that it gets.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Root = Annotated[Path, _option(parameters.ROOT, parser=results_folder)]
ReadRoot = Annotated[Path, _option(parameters.ROOT, parser=existing_results)]
Goal = Annotated[str | None, _option(parameters.GOAL)]
Plain = Annotated[bool, typer.Option("--plain", help="Learn here and now, without Prefect.")]
NoTrack = Annotated[bool, typer.Option("--no-track", help="Do not record the run in MLflow.")]

Sequence = Annotated[str, _argument(parameters.SEQUENCE)]
Profile = Annotated[str | None, _option(parameters.PROFILE)]
Tasks = Annotated[str | None, _option(parameters.TASKS)]
Seed = Annotated[int, _option(parameters.SEED)]
Method = Annotated[str, _option(parameters.METHOD)]
Ordering = Annotated[str, _option(parameters.ORDERING)]
NewRun = Annotated[str | None, _option(parameters.RUN, "--run")]
Overrides = Annotated[list[str] | None, _option(parameters.OVERRIDES, "--set")]

Methods = Annotated[str, _option(parameters.METHODS)]
Orderings = Annotated[str, _option(parameters.ORDERINGS)]
Goals = Annotated[str | None, _option(parameters.GOALS)]
Seeds = Annotated[str, _option(parameters.SEEDS)]
Workers = Annotated[int | None, _option(parameters.WORKERS)]
Dask = Annotated[str | None, _option(parameters.DASK)]

TaskFile = Annotated[Path, _argument(parameters.TASK_FILE, parser=with_home)]
TaskName = Annotated[str, typer.Option("--task", metavar="NAME", help="Which task of the run.")]
ForgottenTask = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="Which task of the run; otherwise what is left of others.")
]
Pushed = Annotated[bool, typer.Option("--remote", help="Erase from DVC's default remote too.")]
EraseName = Annotated[
    bool, typer.Option("--erase-name", help="Keep neither its name nor its accuracies, but when a task was forgotten.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Images to evaluate on, in folders named after the classes; otherwise test.",
        parser=with_home,
    ),
]
Images = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE|FOLDER|-...",
        help="Image files, folders of them at any depth, or - for paths on standard input, a line each.",
        parser=with_home,
    ),
]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="How many classes to name of each image.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
ExportTo = Annotated[
    Path,
    typer.Option("--to", metavar="FILE|FOLDER", help="Where it is written: FILE.onnx, FILE.pt2.", parser=with_home),
]
ExportTask = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Which task of the run.")]
ExportAll = Annotated[bool, typer.Option("--all", help="Every task, as FOLDER/TASK.onnx.")]
ExportFormat = Annotated[str, typer.Option("--format", metavar="NAME", help="Of the files of --all: onnx or pt2.")]
ConvertedRun = Annotated[str, typer.Option("--to", metavar="NAME", help="The name of the run that it makes.")]
After = Annotated[str, typer.Option("--after", metavar="TASK", help="The frozen task that the branch goes on from.")]
BranchRun = Annotated[str, typer.Option("--run", metavar="NAME", help="The name of the branch.")]
Values = Annotated[
    str, typer.Option(metavar="TYPE", help="Of the tasks' own weights. One of float32, bfloat16, int8 (with scales).")
]
Private = Annotated[str, typer.Option(metavar="TYPE", help="Of batch norm, biases and heads: float32 or bfloat16.")]
Masks = Annotated[str, typer.Option(metavar="CODEC", help="Of positions and picks: entropy or zlib; both are exact.")]
NoRecall = Annotated[bool, typer.Option("--no-recall", help="Do not evaluate the tasks on the model as it is now.")]
ByClass = Annotated[bool, typer.Option("--by-class", help="Print the recall of each class too.")]
Confusion = Annotated[
    Path | None,
    typer.Option(
        "--confusion",
        metavar="PICTURE",
        help="Write a picture of how often each class is taken for each other one: a .png, .pdf or .svg file.",
        parser=with_home,
    ),
]
