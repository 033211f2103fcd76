"""What each parameter means, told once: `cpg --help` and the form of the deployments show the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cpg_core.errors import CpgError
from cpg_core.methods import names

PARAMS = Path("params.yaml")
ANSWERS = Path("data/prepared")
"""Where the answers of pretrained networks lie, below the root."""
IMPORT_PROFILE = "photos"
"""What `cpg import` takes unless told another: its rates are for networks that were trained before."""


@dataclass(frozen=True)
class Parameter:
    """One parameter, as text for people and as JSON types for a form.

    Attributes:
        help: what it decides: a sentence without its full stop.
        metavar: what stands for its value in `--help`.
        types: the JSON types that it takes, and the words for a value of each.
        unset: the words for what holds where it is not given; None: it has to be given, or has a default of its own.
        choices: the values that it takes, and the words for each; empty: any.
        minimum: the least number; None: any.
        maximum: the greatest number; None: any.
        many: a list of such values.
    """

    help: str
    metavar: str
    types: Mapping[str, str] = field(default_factory=lambda: {"string": "text"})
    unset: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    minimum: int | None = None
    maximum: int | None = None
    many: bool = False

    @property
    def sentence(self) -> str:
        """The help, and what holds where it is not given."""
        return f"{self.help}; otherwise {self.unset}." if self.unset else f"{self.help}."


SEQUENCE = Parameter("A sequence's name in data/, or the path of its YAML file", "SEQUENCE")
METHOD = Parameter(
    "What learns it; docs/methods.md tells what each method does",
    "NAME",
    choices=dict.fromkeys(names(), ""),  # told by the form alone: to know more of a method loads what learns
)
GOAL = Parameter(
    "The accuracy that each task must reach: a number in [0, 1]; avg, max or top, which the pipeline computes from "
    "models learned apart; or a JSON or YAML file with a number for each task",
    "NUMBER|FILE",
    {"number": "a number", "string": "avg, max, top or a file"},
    unset="the profile's",
    minimum=0,
    maximum=1,
)
PROFILE = Parameter("The settings to learn with, a profile of params.yaml", "NAME", unset="the sequence's")
ORDERING = Parameter(
    "An ordering of the sequence; 0 or default is the order as written",
    "NAME",
    {"integer": "a number", "string": "a name"},
    minimum=0,
)
TASKS = Parameter(
    "Which places of that order to learn, such as 1-3 or 1,4,7-9",
    "PLACES",
    {"string": "places", "integer": "one place"},
    unset="all",
    minimum=1,
)
SEED = Parameter("Decides everything random", "NUMBER", {"integer": "a number"}, minimum=0)
RUN = Parameter("The run's name, and its folder's", "NAME", {"string": "a name"}, unset="made of the other parameters")
OVERRIDES = Parameter("A setting other than the profile's, such as prune.lr=0.001", "SETTING=VALUE", many=True)

METHODS = replace(METHOD, metavar="NAMES", many=True)
ORDERINGS = replace(ORDERING, metavar="NAMES", many=True)
GOALS = replace(GOAL, metavar="NUMBERS|FILES", many=True)
SEEDS = replace(SEED, metavar="NUMBERS", many=True)
WORKERS = Parameter(
    "How many runs at a time; the cores are divided among them", "N", {"integer": "a number"}, "one a core", minimum=1
)
DASK = Parameter(
    "The address of a Dask cluster whose workers learn, such as tcp://10.0.0.1:8786; they must share the folder of "
    "results, and it needs pip install -e '.[dask]'",
    "ADDRESS",
    {"string": "an address"},
    unset="processes of this machine",
)

ROOT = Parameter("The folder of results: checkpoints/, work/, mlflow.db, .prefect/", "FOLDER")
TRACK = Parameter("Record the run in MLflow", "", {"boolean": "yes or no"})
LEARNED_RUN = Parameter("A run's name; `cpg list` tells them", "RUN")
TASK_FILE = Parameter("The task's YAML file: its name, source and classes", "TASK.YAML")


def with_home(path: str | Path) -> Path:
    """A path with `~` and `~user` replaced, which a shell leaves as they are in `--root=~/runs`.

    Raises:
        CpgError: there is no such user, or the path is empty.
    """
    if path == "":
        raise CpgError("an empty path: name a file or a folder, or leave it out")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise CpgError(f"{path}: {error}; write the folder out") from error


def results_folder(path: str | Path) -> Path:
    """A folder of results, as of `with_home`; it need not be there yet.

    Raises:
        CpgError: it is a file, or its name is none that checkpoints can be written to.
    """
    root = with_home(path)
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise CpgError(f"root {str(root)!a}: this name is not valid UTF-8; rename it, or choose another") from error
    if root.exists() and not root.is_dir():
        raise CpgError(f"root {root}: this is a file; name a folder")
    return root


def existing_results(path: str | Path) -> Path:
    """A folder of results to read, as `results_folder`.

    Raises:
        CpgError: as there, or it is not there.
    """
    root = results_folder(path)
    if not root.is_dir():
        raise CpgError(f"root {root}: there is no such folder; check the path")
    return root
