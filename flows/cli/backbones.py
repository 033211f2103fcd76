"""The command that lists backbones."""

from __future__ import annotations

from typing import Annotated

import typer

Family = Annotated[
    str | None, typer.Argument(metavar="[FAMILY]", help="A package whose networks are listed in their place.")
]


def list_backbones(family: Family = None) -> None:
    """List the backbones that a sequence may name: what they take, how large they are, and whether they can grow.

    Weights are what task 1 may begin from: `backbone: {name: resnet50, weights: IMAGENET1K_V2}`.

    Parameters are counted at width 1, without the head. A sequence names one as `backbone: resnet18`, or with an input
    size other than its own: `backbone: {name: resnet18, size: 96}`.
    """
    from cpg_core.backbones import family_names
    from cpg_core.config.suggestions import unknown
    from flows.console.backbones import backbones
    from flows.console.tables import print_table

    if family is not None and family not in family_names():
        raise unknown("family of backbones", family, family_names())
    table, refused = backbones(family)
    print_table(table)
    for reason in refused:
        typer.echo(f"not to be used: {reason}")
    if family is None:
        for other in family_names():
            typer.echo(
                f"{other}/NETWORK: a network of that package, at its own width; cpg backbones {other} lists them"
            )
