"""The command line. What a command needs is imported when it runs, so that `cpg --help` is instant."""

from __future__ import annotations

import warnings
from functools import partial

import typer

from cpg_core.errors import CpgError
from flows.cli import options, runs, stored
from flows.cli.align import align
from flows.cli.backbones import list_backbones
from flows.cli.errors import ExitCode, OneLineErrors, end_of_learning
from flows.cli.export import export
from flows.cli.forget import forget
from flows.cli.imports import import_network
from flows.cli.predict import predict
from flows.cli.reproduce import app as reproduce
from flows.cli.runs import opened
from flows.console.loading import loading

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Learn a sequence of image tasks into one compact network, and recall every one of them bit for bit.",
)


@app.command()
def run(
    sequence: options.Sequence,
    profile: options.Profile = None,
    tasks: options.Tasks = None,
    goal: options.Goal = None,
    seed: options.Seed = 1,
    method: options.Method = "cpg",
    ordering: options.Ordering = "0",
    name: options.NewRun = None,
    overrides: options.Overrides = None,
    root: options.Root = options.HERE,
    plain: options.Plain = False,
    no_track: options.NoTrack = False,
) -> None:
    """Learn a sequence. The same command again goes on with a run that was stopped or killed.

    It runs as a Prefect flow, on the server that PREFECT_API_URL names or one that lives with the command,
    and is recorded in MLflow: in MLFLOW_TRACKING_URI, or in mlflow.db. Ctrl-C stops it with its state saved.
    Exit code 3: all is learned, but MLflow refused to record it.
    """
    with loading():
        from dataclasses import asdict

        from flows.cli.launch import learn
        from flows.request import SequenceRequest, run_of_request

    request = SequenceRequest(sequence, method, goal, profile, ordering, tasks, seed, name, tuple(overrides or ()))
    given = {**asdict(request), "overrides": list(request.overrides)}
    found = run_of_request(request, root)
    for gone in found.spec.forgotten:
        typer.echo(f"note: task {gone.name or gone.index} was forgotten on {gone.time[:10]}; it is not learned again")
    end_of_learning(learn("sequence", found, given, root, plain=plain, track=not no_track))


@app.command()
def add(
    name: options.RunName,
    task: options.TaskFile,
    goal: options.Goal = None,
    root: options.ReadRoot = options.HERE,
    plain: options.Plain = False,
    no_track: options.NoTrack = False,
) -> None:
    """Learn one more task at the end of a finished run; the tasks before it stay as they are, bit for bit."""
    with loading():
        from flows.cli.launch import learn
        from flows.request import run_with_added_task

    given = {"run": name, "task": str(task), "goal": goal}
    end_of_learning(
        learn("add", run_with_added_task(root, name, task, goal), given, root, plain=plain, track=not no_track)
    )


@app.command()
def compare(
    sequence: options.Sequence,
    methods: options.Methods = "cpg",
    orderings: options.Orderings = "0",
    goals: options.Goals = None,
    seeds: options.Seeds = "1",
    profile: options.Profile = None,
    tasks: options.Tasks = None,
    overrides: options.Overrides = None,
    workers: options.Workers = None,
    dask: options.Dask = None,
    root: options.Root = options.HERE,
    plain: options.Plain = False,
    no_track: options.NoTrack = False,
) -> None:
    """Learn a sequence by every method with every ordering, goal and seed, side by side.

    Each is a run, named as `cpg run` names it. One that fails does not stop the others; Ctrl-C stops all with their
    state saved; the same command again goes on with what is left. A run takes as many threads as its profile says,
    or its share of the cores if that is less: the setting compute.threads of the run, which decides its bits.
    """
    with loading():
        from flows.cli.launch import learn_side_by_side
        from flows.sweep.comparison import Comparison, listed

    names = listed(methods), listed(orderings), listed(goals), listed(seeds)
    wanted = Comparison(sequence, *names, profile, tasks, tuple(overrides or ()))
    end_of_learning(learn_side_by_side(wanted, workers, dask, root, plain=plain, track=not no_track))


@app.command()
def prepare(sequence: options.Sequence, root: options.Root = options.HERE) -> None:
    """Fetch and check the images of a sequence, and write down what they are: data/prepared/SEQUENCE.json.

    It tells what is taken of each task, what is left out and why, and names every image that cannot be read.

    What was downloaded to data/raw is put under DVC, so that `dvc push` shares it; data elsewhere are not copied.
    """
    from flows.console.terminal import reading_bar
    from flows.environment import prepare as prepare_environment
    from flows.parameters import with_home
    from flows.request import definitions
    from flows.versioning.prepare import prepare as prepare_images

    prepare_environment(root)
    with reading_bar() as reading:
        home = definitions(root) / "data"
        written = prepare_images(str(with_home(sequence)), home, root, typer.echo, reading)
    typer.echo(f"wrote {written}")


@app.command()
def show(name: options.RunName, no_recall: options.NoRecall = False, root: options.ReadRoot = options.HERE) -> None:
    """Show a run, a row a task: its accuracy at its freeze and on the model as it is now, its goal, and its size.

    Exit code 1: a task cannot be read or recalled.
    """
    from cpg_core.recall.recall import evaluate
    from flows.console.tables import print_table, summary_line, tasks
    from flows.console.terminal import reading_bar

    found = opened(root, name)
    with reading_bar() as reading:

        def recall(task: str) -> float:
            return evaluate(found, task, progress=partial(reading, task))

        table, problems = tasks(found, None if no_recall else recall)
    print_table(table)
    try:
        typer.echo(summary_line(found) + (f"; cannot be recalled: {', '.join(problems)}" if problems else ""))
    except CpgError as error:
        problems[name] = str(error)
    for what, why in problems.items():
        typer.echo(f"error: {what}: {why}", err=True)
    if problems:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def audit(name: options.RunName, root: options.ReadRoot = options.HERE) -> None:
    """Prove from the checkpoints that every task is as it was at its freeze. Exit code 1: one is not."""
    from cpg_core.recall.audit import audit as check

    findings = check(opened(root, name))
    width = max([20, *(len(finding.task) for finding in findings)])
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.task:<{width}} {finding.check:<9} {finding.detail}")
    bad = sum(not finding.ok for finding in findings)
    typer.echo(f"{len(findings)} checks, {bad or 'none'} failed")
    if bad:
        raise typer.Exit(ExitCode.FAILED)


@app.command("eval")
def evaluate(
    name: options.RunName,
    task: options.TaskName,
    data: options.Data = None,
    by_class: options.ByClass = False,
    confusion: options.Confusion = None,
    root: options.ReadRoot = options.HERE,
) -> None:
    """Recall one task of a run and print its accuracy, on its test split or on a folder of images."""
    from cpg_core.recall.recall import evaluated
    from flows.cli.by_class import require_classes, show_by_class
    from flows.console.terminal import reading_bar

    run = opened(root, name)
    if by_class or confusion is not None:
        require_classes(run, task, confusion)
    with reading_bar() as reading:
        found = evaluated(run, task, data, partial(reading, task))
    metric = run.task(task).metric.replace("_", " ")
    typer.echo(f"{task}: {metric} {found.score:.4f}")
    show_by_class(f"{task}: {metric} {found.score:.1%}", found, table=by_class, picture=confusion)


@app.command()
def reap(root: options.ReadRoot = options.HERE) -> None:
    """End flow runs whose process is gone, though the Prefect server takes them for running.

    It tells how each goes on: Prefect can retry those of a deployment, and a command is given again.

    The server is the one that PREFECT_API_URL or Prefect's profile names.
    """
    from flows.environment import prepare

    prepare(root)
    from flows.orchestration.reap import reap as end

    ended = end(root)
    for flow_run in ended:
        retry = f"prefect flow-run retry {flow_run.id}" if flow_run.deployment_id else "give the same cpg command again"
        typer.echo(f"{flow_run.name} ({flow_run.id}): its process is gone; to go on: {retry}")
    typer.echo(f"{len(ended) or 'no'} flow runs had lost their process")


app.command()(predict)
app.command()(export)
app.command()(align)
app.command("list")(runs.list_runs)
app.command("backbones")(list_backbones)
app.command("import")(import_network)
app.command()(stored.size)
app.command()(stored.convert)
app.command()(forget)
app.command()(runs.branch)
app.command()(runs.rename)
app.command()(runs.remove)
app.add_typer(reproduce, name="reproduce")


def main() -> None:
    """The console script."""
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # a large photo; too large is an error
    app()
