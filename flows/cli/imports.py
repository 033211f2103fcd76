"""`cpg import`: a pretrained network as task 1 of a run, without the data that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cpg_core.errors import CpgError
from flows.cli import options
from flows.cli.errors import end_of_learning
from flows.parameters import IMPORT_PROFILE, with_home

Backbone = Annotated[str, typer.Argument(metavar="BACKBONE", help="A backbone of `cpg backbones`.")]
Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="NAME|FILE",
        help="A name of `cpg backbones`, a .pth or .safetensors file, or hf://OWNER/NAME/FILE.",
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="FOLDER",
        parser=with_home,
        help="Unlabelled images or parquet files (column `image`), at any depth: half to recover with, half to judge; "
        "needed unless all weights are kept.",
    ),
]
RunName = Annotated[str, typer.Option("--run", metavar="NAME", help="The name of the run.")]
Keep = Annotated[float, typer.Option("--keep", metavar="SHARE", help="Share of its weights that the network keeps.")]
Size = Annotated[int | None, typer.Option("--size", metavar="PIXELS", help="A side of its input; otherwise its own.")]
Classes = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        parser=with_home,
        help="A class name a line; otherwise as the weights have them.",
    ),
]
Mean = Annotated[str | None, typer.Option("--mean", metavar="NUMBERS", help="Of pixels in [0, 1], a channel each.")]
Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="A profile of params.yaml.")]
Std = Annotated[str | None, typer.Option("--std", metavar="NUMBERS", help="Likewise.")]


def import_network(
    backbone: Backbone,
    weights: Weights,
    run: RunName,
    keep: Keep,
    images: Images = None,
    size: Size = None,
    classes: Classes = None,
    mean: Mean = None,
    std: Std = None,
    method: options.Method = "cpg",
    profile: Profile = IMPORT_PROFILE,
    seed: options.Seed = 1,
    overrides: options.Overrides = None,
    root: options.Root = options.HERE,
    plain: options.Plain = False,
    no_track: options.NoTrack = False,
) -> None:
    """Make a pretrained network task 1 of a new run, to which `cpg add` adds tasks that pick from it.

    It needs no data of the network's own: its weights are pruned by magnitude to the share that is kept, and what is
    kept recovers on any images by what the unpruned network answered. The accuracy of this task is the share of
    other images on which it answers as the unpruned network does. With `--keep 1` it needs no images either, and
    later tasks have no weights of their own but those of a network that grows.
    """
    from flows.cli.import_request import ImportRequest, imported
    from flows.cli.launch import learn
    from flows.console.terminal import reading_bar

    numbers = _numbers("--mean", mean), _numbers("--std", std)
    request = ImportRequest(
        backbone,
        weights,
        images,
        run,
        keep,
        size,
        classes,
        *numbers,
        method,
        profile,
        seed,
        tuple(overrides or ()),
    )
    with reading_bar() as bar:
        made = imported(request, root, lambda done, total: bar(backbone, done, total))
    given = {"sequence": backbone, "run": run, "method": method, "profile": request.profile, "seed": seed}
    unrecorded = learn("sequence", made, given, root, plain=plain, track=not no_track)
    typer.echo(f"next: cpg add {run} TASK.YAML")
    end_of_learning(unrecorded)


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    """Numbers with commas between them.

    Raises:
        CpgError: they are not.
    """
    try:
        return tuple(float(number) for number in text.split(",")) if text else ()
    except ValueError as error:
        raise CpgError(f"{option} {text}: expected numbers such as 0.485,0.456,0.406") from error
