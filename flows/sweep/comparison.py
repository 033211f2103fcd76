"""From lists of methods, orderings, goals and seeds to the runs that they mean, checked before anything starts."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from cpg_core.config.profiles import overridden
from cpg_core.errors import CpgError
from cpg_core.storage.run import RUN
from cpg_core.storage.run_spec import RunSpec
from cpg_core.storage.runs import existing_run, open_run
from flows.request import SequenceRequest, resolve

THREADS = "compute.threads"
ANY_GOAL = 0.5


@dataclass(frozen=True)
class Comparison:
    """What to compare: the options of `cpg compare`, which are the parameters of the flow.

    `goals` without any means the profile's. Seeds are whole numbers, or their text.
    """

    sequence: str
    methods: tuple[str, ...] = ("cpg",)
    orderings: tuple[int | str, ...] = ("0",)
    goals: tuple[float | str, ...] = ()
    seeds: tuple[int | str, ...] = (1,)
    profile: str | None = None
    tasks: int | str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many runs that makes."""
        return len(self.methods) * len(self.orderings) * max(1, len(self.goals)) * len(self.seeds)


@dataclass(frozen=True)
class Planned:
    """One run of a comparison, and the request that `cpg run` would make of it."""

    request: SequenceRequest
    spec: RunSpec

    def command(self, root: Path) -> str:
        """The command that learns this run alone, or goes on with it."""
        asked = self.request
        options = {"profile": asked.profile, "tasks": asked.tasks, "goal": asked.goal, "method": asked.method}
        options |= {"ordering": asked.ordering, "seed": asked.seed, "root": None if root == Path() else str(root)}
        words = ["cpg", "run", asked.sequence]
        words += [text for name, value in options.items() if value is not None for text in (f"--{name}", str(value))]
        return shlex.join([*words, *(text for override in asked.overrides for text in ("--set", override))])


def plan(wanted: Comparison, root: Path, share: int, known: Iterable[str] = ()) -> list[Planned]:
    """The runs: every method with every ordering, goal and seed, in that order.

    Args:
        wanted: what to compare.
        root: the folder of results.
        share: the threads that each of the runs learned at one time may take.
        known: mistakes that were found before.

    Raises:
        CpgError: naming all that is wrong, of every value and every run.
    """
    mistakes = [*known, *_lists(wanted)]
    planned: list[Planned] = []
    of_runs: list[str] = []
    if not mistakes:
        for request in requests(wanted):
            with _noted(of_runs):
                planned.append(_planned(request, root, share))
        of_runs += _shared_names(planned)
    if mistakes or of_runs:
        # Told by value where values are wrong: each would be told again for every run that has it.
        mistakes += _values(wanted, root) or of_runs
        distinct = list(dict.fromkeys(mistakes))
        raise CpgError(distinct[0] if len(distinct) == 1 else _together(distinct))
    return planned


def listed(text: str | None) -> tuple[str, ...]:
    """`cpg,pae` as its parts."""
    return () if text is None else tuple(part.strip() for part in text.split(","))


def requests(wanted: Comparison) -> list[SequenceRequest]:
    """The product of the four lists, each as `cpg run` would ask for it."""
    goals = wanted.goals or (None,)
    return [
        SequenceRequest(
            wanted.sequence, method, goal, wanted.profile, ordering, wanted.tasks, int(seed), None, wanted.overrides
        )
        for method, ordering, goal, seed in product(wanted.methods, wanted.orderings, goals, wanted.seeds)
    ]


def threads_for(asked: int, *, chosen: bool, begun: int | None, share: int) -> int:
    """The threads of a run: part of what decides its bits, so one with frozen tasks keeps those that it began with.

    Args:
        asked: what its settings say.
        chosen: somebody chose that number; otherwise it is the profile's, which is taken as the most.
        begun: the threads of the run's frozen tasks, if it has any.
        share: what each run of the comparison may take.
    """
    if chosen:
        return asked
    return min(asked, share) if begun is None else begun


def _planned(request: SequenceRequest, root: Path, share: int) -> Planned:
    spec = resolve(request, root)
    chosen = any(overridden(override) == THREADS for override in request.overrides)
    begun, finished = _begun(root, spec)
    asked, processes = spec.settings.compute.threads, spec.settings.compute.processes
    threads = threads_for(asked, chosen=chosen, begun=begun, share=max(1, share // processes))
    if threads * processes > share and not finished:
        why = f"run {spec.name} was begun with" if begun == threads else "the settings ask for"
        each = f" in each of {processes} processes" if processes > 1 else ""
        raise CpgError(
            f"{why} {THREADS}={threads}{each}, and with so many workers each has {share} of the cores; "
            "give fewer --workers"
        )
    if threads != asked:
        request = replace(request, overrides=(*request.overrides, f"{THREADS}={threads}"))
        spec = _with_threads(spec, threads)
    there = existing_run(root, spec)
    if there is not None and len(there.spec.tasks) > len(spec.tasks):
        raise CpgError(
            f"run {spec.name} has {len(there.spec.tasks)} tasks, and {len(spec.tasks)} are to be compared; "
            "rename it (cpg rename), or compare all"
        )
    return Planned(request, spec)


def _with_threads(spec: RunSpec, threads: int) -> RunSpec:
    compute = spec.settings.compute.model_copy(update={"threads": threads})
    return spec.model_copy(update={"settings": spec.settings.model_copy(update={"compute": compute})})


def _begun(root: Path, spec: RunSpec) -> tuple[int | None, bool]:
    """The threads that a run's frozen tasks were learned with, and whether it is finished."""
    if not (root / "checkpoints" / spec.name / RUN).exists():
        return None, False
    there = open_run(root, spec.name)
    frozen = there.frozen()
    return (there.spec.settings.compute.threads if frozen else None), frozen >= len(there.spec.tasks)


def _lists(wanted: Comparison) -> Iterable[str]:
    """What is wrong with the lists themselves."""
    for name in ("methods", "orderings", "goals", "seeds"):
        values = getattr(wanted, name)
        if not values and name != "goals":
            yield f"{name}: there are none; list one or more"
        for value, times in Counter(values).items():
            if times > 1:
                yield f"{name}: {value} is listed {times} times; list it once"
    for seed in wanted.seeds:
        if not str(seed).isdecimal():
            yield f"seeds: {seed}: expected a whole number from 0 on"


def _values(wanted: Comparison, root: Path) -> list[str]:
    """What is wrong with each value, beside others that are right: one mistake must not hide another."""
    right = SequenceRequest(
        wanted.sequence, goal=ANY_GOAL, profile=wanted.profile, tasks=wanted.tasks, overrides=wanted.overrides
    )
    tried = [
        right,
        *(replace(right, method=method) for method in wanted.methods),
        *(replace(right, ordering=ordering) for ordering in wanted.orderings),
        *(replace(right, goal=goal) for goal in wanted.goals),
    ]
    mistakes: list[str] = []
    for request in tried:
        with _noted(mistakes):
            resolve(request, root)
    return mistakes


def _shared_names(planned: list[Planned]) -> Iterable[str]:
    for name, times in Counter(one.spec.name for one in planned).items():
        if times > 1:
            yield f"{times} of the runs would be named {name}: values that mean the same, or files of one name"


def _together(mistakes: list[str]) -> str:
    indented = (mistake.replace("\n", "\n    ") for mistake in mistakes)
    return "\n  - ".join([f"{len(mistakes)} mistakes, nothing started:", *indented])


@contextmanager
def _noted(mistakes: list[str]) -> Iterator[None]:
    """Note a mistake that is made inside the block."""
    try:
        yield
    except CpgError as error:
        mistakes.append(str(error))
