"""The options of the commands, with what `--help` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpg_core.methods import names

RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's name; `cpg list` tells them.")]
Root = Annotated[
    Path,
    typer.Option(metavar="FOLDER", help="Holds the results: checkpoints/, work/, mlflow.db, .prefect/."),
]
Goal = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|FILE",
        help="The accuracy each task must reach, in [0, 1], or a JSON or YAML file with one a task "
        "[default: the profile's].",
    ),
]
Plain = Annotated[bool, typer.Option("--plain", help="Learn here and now, without Prefect.")]
NoTrack = Annotated[bool, typer.Option("--no-track", help="Do not record the run in MLflow.")]

Sequence = Annotated[str, typer.Argument(metavar="SEQUENCE", help="A sequence's name in data/, or a YAML file.")]
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The settings to learn with, from params.yaml; otherwise the sequence's."),
]
Tasks = Annotated[
    str | None,
    typer.Option(metavar="PLACES", help="Which tasks of the ordering, such as 1-3 or 1,4,7-9; otherwise all."),
]
Seed = Annotated[int, typer.Option(min=0, help="Decides everything random.")]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help=f"One of {', '.join(names())}; docs/methods.md tells what each does.",
    ),
]
Ordering = Annotated[str, typer.Option(metavar="NAME", help="An ordering of the sequence; 0: as written.")]
NewRun = Annotated[
    str | None,
    typer.Option("--run", metavar="NAME", help="The run's name; otherwise made of the options above."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SETTING=VALUE", help="A setting other than the profile's; may be repeated."),
]

Methods = Annotated[
    str, typer.Option(metavar="NAMES", help="Methods, such as cpg,pae,packnet; `cpg run --help` tells them.")
]
Orderings = Annotated[str, typer.Option(metavar="NAMES", help="Orderings of the sequence; 0: as written.")]
Goals = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBERS|FILES",
        help="Accuracies that each task must reach, in [0, 1], or files with one a task; otherwise the profile's.",
    ),
]
Seeds = Annotated[str, typer.Option(metavar="NUMBERS", help="Seeds, such as 1,2,3.")]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", help="Runs at a time; the cores are divided among them; otherwise one a core."),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Learn on the workers of a Dask cluster, such as tcp://10.0.0.1:8786, which must share the folder of "
        "results; needs pip install 'cpg\\[dask]'.",
    ),
]

TaskFile = Annotated[Path, typer.Argument(metavar="TASK.YAML", help="The task: its name, source and classes.")]
TaskName = Annotated[str, typer.Option("--task", metavar="NAME", help="Which task of the run.")]
Data = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Images to evaluate on, in folders named after the classes; otherwise test."),
]
NoRecall = Annotated[bool, typer.Option("--no-recall", help="Do not evaluate the tasks on the model as it is now.")]
