"""`cpg reproduce ...`: the steps of `dvc.yaml`, which may be run by hand too, for this plan or another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import options
from flows.parameters import PARAMS, with_home

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(no_args_is_help=True, help="The steps of `dvc repro`: the paper's tables, as a plan says.")
FINDINGS = Path("docs/findings")
REPORT = Path("report")

Key = Annotated[str, typer.Argument(metavar="KEY", help="A run of `baselines` or `runs` in the plan.")]
PlanFile = Annotated[
    Path, typer.Option("--plan", parser=with_home, help="The plan: which profile, sequence and runs; below the root.")
]


@app.command()
def prepare(root: options.Root = options.HERE, plan_file: PlanFile = PARAMS) -> None:
    """Fetch and check the images of the sequence; write what there is, and the settings of each method."""
    from flows.reproduce.plan import read_plan, write_settings
    from flows.versioning.prepare import manifest, version_images

    plan = read_plan(root, plan_file)
    for path in write_settings(plan, root):
        typer.echo(f"wrote {path}")
    _write(
        root / plan.folder / "data.json",
        json.dumps(manifest(plan.sequence, root / "data", typer.echo), indent=1) + "\n",
    )
    version_images(plan.sequence, root / "data", root, typer.echo)


@app.command()
def learn(key: Key, root: options.Root = options.HERE, plan_file: PlanFile = PARAMS) -> None:
    """Learn one run of the tables, or go on with it, and write its result.

    Of what it has learned already the images are read again: if they were changed since, it is refused.
    """
    from flows.cli.launch import learn as learn_run
    from flows.console.terminal import reading_bar
    from flows.reproduce.plan import read_plan, require_same_images, run_of_plan
    from flows.reproduce.result_files import write_result

    plan = read_plan(root, plan_file)
    run = run_of_plan(plan, key, root)
    with reading_bar() as reading:
        require_same_images(run, plan, key, reading)
    unrecorded = learn_run("sequence", run, {}, root, plain=True, track=True)
    typer.echo(f"wrote {write_result(plan, key, run, root)}")
    if unrecorded:  # the pipeline goes on: it rests on what is learned, not on who was told
        typer.echo(f"learned, but not recorded in MLflow: {unrecorded}", err=True)


@app.command()
def convert(
    key: Annotated[str, typer.Argument(metavar="KEY", help="One of `conversions` in the plan.")],
    root: options.Root = options.HERE,
    plan_file: PlanFile = PARAMS,
) -> None:
    """Store a finished run of the tables otherwise, judge it anew, and write its result."""
    from flows.console.terminal import reading_bar
    from flows.reproduce.conversions import converted
    from flows.reproduce.plan import read_plan
    from flows.reproduce.result_files import write_result
    from flows.versioning.sync import choose_version

    plan = read_plan(root, plan_file)
    with reading_bar() as bar:
        run = converted(plan, key, root, lambda done, total: bar(key, done, total))
    choose_version(root)(run, lambda note: typer.echo(f"note: {note}", err=True))
    typer.echo(f"wrote {write_result(plan, key, run, root)}")


@app.command()
def goals(root: options.Root = options.HERE, plan_file: PlanFile = PARAMS) -> None:
    """Compute the goals from all baselines: a file each for avg, max and top."""
    from flows.reproduce.goals import goals_of
    from flows.reproduce.plan import read_plan
    from flows.reproduce.result_files import read_baselines

    plan = read_plan(root, plan_file)
    for name, found in goals_of(read_baselines(plan, root), plan.top_margin).items():
        rounded = {task: round(goal, 6) for task, goal in found.items()}
        _write(root / plan.goals_file(name), json.dumps(rounded, indent=1) + "\n")


@app.command()
def tables(root: options.Root = options.HERE, plan_file: PlanFile = PARAMS) -> None:
    """Make the tables and figures from the results that are there."""
    from flows.reproduce.claims_by_task import claims_of
    from flows.reproduce.conversions import pairs
    from flows.reproduce.frames import PUBLISHED, frames
    from flows.reproduce.plan import read_plan
    from flows.reproduce.report.bytes_by_task import bytes_by_task
    from flows.reproduce.report.drawing import save_png, styled
    from flows.reproduce.report.figures import accuracy_and_size, figure_2
    from flows.reproduce.result import as_in_the_profile
    from flows.reproduce.result_files import read_conversions, read_results
    from flows.reproduce.sizes import published_models

    plan = read_plan(root, plan_file)
    results = read_results(plan, root)
    stored = list(pairs(plan, results, read_conversions(plan, root)).values())
    folder = root / plan.folder
    for name, frame in frames(plan, results, root, stored).items():
        _write(folder / f"{name}.csv", frame.to_csv(index=False))
        _write(folder / f"{name}.md", _markdown(frame))
    _write(folder / "summary.json", json.dumps({key: r.summary for key, r in results.items()}, indent=1) + "\n")
    _write(folder / "claims.json", json.dumps([claim.as_json() for claim in claims_of(results)], indent=1) + "\n")
    rows = as_in_the_profile(results)
    with styled():
        if (early := figure_2(rows)) is not None:
            save_png(early, folder / "figure2.png")
        sizes = accuracy_and_size(rows, published_models(root / PUBLISHED, rows), stored)
        save_png(sizes, folder / "accuracy_and_size.png")
        if (by_task := bytes_by_task(rows)) is not None:
            save_png(by_task, folder / "bytes_by_task.png")


@app.command()
def report(root: options.Root = options.HERE, plan_file: PlanFile = PARAMS) -> None:
    """Make the report, one HTML file that shows it all."""
    from flows.reproduce.conversions import pairs
    from flows.reproduce.frames import PUBLISHED, frames
    from flows.reproduce.plan import read_plan
    from flows.reproduce.report.page import page
    from flows.reproduce.result_files import read_conversions, read_results
    from flows.reproduce.sizes import published_models

    plan = read_plan(root, plan_file)
    results = read_results(plan, root)
    stored = list(pairs(plan, results, read_conversions(plan, root)).values())
    findings = root / FINDINGS / f"{plan.profile}.md"
    text = findings.read_text(encoding="utf-8") if findings.exists() else ""
    published = published_models(root / PUBLISHED, results)
    name = "index" if plan_file == PARAMS else plan.profile
    tables = frames(plan, results, root, stored)
    _write(root / REPORT / f"{name}.html", page(plan, results, tables, text, published, stored))


def _markdown(frame: pd.DataFrame) -> str:
    from flows.reproduce.tables import as_text

    table = str(as_text(frame).to_markdown(index=False, disable_numparse=True)) + "\n"
    return f"{table}\n{note}\n" if (note := frame.attrs.get("note")) else table


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {path}")
