"""How runs are stored: `cpg size` tells where the bytes are, `cpg convert` stores a run otherwise."""

from __future__ import annotations

import typer

from flows.cli import options
from flows.cli.runs import opened


def size(name: options.RunName, root: options.ReadRoot = options.HERE) -> None:
    """Tell where the bytes of a run are, by task and kind, and what each setting of `store` would save."""
    import pandas as pd

    from cpg_core.recall.metrics import MEGABYTE
    from cpg_core.recall.sizes import by_kind, by_setting, one_network
    from flows.console.tables import print_table

    run = opened(root, name)
    if run.frozen() == 0:
        typer.echo(f"{name}: no task learned yet")
        return
    tasks = by_kind(run)
    total = pd.DataFrame([{"task": "all", **tasks.drop(columns="task").sum()}])
    print_table(pd.concat([tasks, total]))
    network, taken = one_network(run), int(tasks["bytes"].sum())
    typer.echo(
        f"{taken / MEGABYTE:.2f} MB, x{taken / network:.2f} of one network of the base width in float32 "
        f"({network / MEGABYTE:.2f} MB)\n"
    )
    print_table(by_setting(run))


def convert(
    name: options.RunName,
    to: options.ConvertedRun,
    values: options.Values = "float32",
    private: options.Private = "float32",
    masks: options.Masks = "entropy",
    root: options.ReadRoot = options.HERE,
) -> None:
    """Store a frozen run otherwise, as a run of its own, and tell every task's accuracy before and after.

    A task that met its goal and would miss it when rounded is stored exactly. Where the folder of results is under DVC,
    so is the run that it makes; it is not recorded in MLflow.
    """
    import pandas as pd

    from cpg_core.config.schema import check
    from cpg_core.config.store import Store
    from cpg_core.recall.convert import convert as converted
    from cpg_core.recall.metrics import percent
    from cpg_core.storage.runs import open_run
    from flows.console.tables import print_table
    from flows.console.terminal import reading_bar
    from flows.versioning.sync import choose_version

    store = check({"values": values, "private": private, "masks": masks}, Store, "cpg convert")
    run = opened(root, name)
    with reading_bar() as bar:
        tasks = converted(run, to, store, lambda done, total: bar(name, done, total))
    choose_version(root)(open_run(root, to), lambda note: typer.echo(f"note: {note}", err=True))
    print_table(
        pd.DataFrame(
            {
                "task": after.name,
                "test % before": percent(before.test_accuracy),
                "test % after": percent(after.test_accuracy),
                f"{after.goal_split} % before": percent(before.accuracy),
                f"{after.goal_split} % after": percent(after.accuracy),
                "goal %": percent(after.goal),
                "bytes before": before.delta_bytes,
                "bytes after": after.delta_bytes,
                "stored": after.stored.values if after.stored else "float32",
            }
            for before, after in tasks
        )
    )
    old, new = (sum(pair[k].delta_bytes for pair in tasks) for k in (0, 1))
    typer.echo(f"{to}: {new:,} bytes, {new / old:.1%} of the {old:,} of {name}")
    exactly = [after.name for _, after in tasks if after.stored and after.stored.missed is not None]
    if exactly:
        typer.echo(f"stored exactly, since the rounded model missed the goal: {', '.join(exactly)}")
