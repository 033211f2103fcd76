"""A method is a point in a small space of policies; the stages, checkpoints and laws are the same for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from cpg_core.config.settings import Settings
from cpg_core.config.suggestions import unknown


@dataclass(frozen=True)
class Method:
    """What a method does where methods differ.

    Attributes:
        name: as given to `--method`.
        picks: which weights of earlier tasks a task uses: those that it learns to pick, or all.
        claims: which weights a task may train: the released ones; those for task 1 only; those into the units that
            the network has just grown by, a column of its own; all of the one network, over what earlier tasks left
            there, as forgetting methods do; or all of a network of its own.
        begins: what those start from: the network as the task before left it, a fresh one, or the network of a
            randomly chosen earlier task.
        grows: on a missed goal until it is met or the network is at its largest, at most once a task and from what
            the task has learned, for every task, or never.
        prune: gradually to the highest sparsity that meets the goal, once by a fixed share, or not at all.
        retrains: learn the picks again beside the compact model.
        reminds: what holds earlier tasks where their weights are trained over: springs at the weights that they need
            (EWC), their answers on the new images (LwF), or nothing.
        splits: units of earlier tasks that a task moved too far are doubled, and put back as they were.
        settings: the groups of settings that are of this method's own; others may not concern it.
        source: the publication.
    """

    name: str
    picks: Literal["learned", "all"]
    claims: Literal["released", "first", "column", "everything", "apart"]
    begins: Literal["before", "fresh", "earlier"]
    grows: Literal["on_miss", "once", "always", "never"]
    prune: Literal["gradual", "one_shot", "none"]
    retrains: bool
    source: str
    reminds: Literal["nothing", "springs", "answers"] = "nothing"
    splits: bool = False
    settings: tuple[str, ...] = ()

    @property
    def forgets(self) -> bool:
        """Whether a later task may change an earlier one: such a method must fail the unforgetting law."""
        return self.claims == "everything"

    @property
    def apart(self) -> bool:
        """Whether each task has a network of its own, so that nothing is shared and nothing can be forgotten."""
        return self.claims == "apart"


CPG = Method(
    name="cpg",
    picks="learned",
    claims="released",
    begins="before",
    grows="on_miss",
    prune="gradual",
    retrains=True,
    source="Hung et al., Compacting, Picking and Growing for Unforgetting Continual Learning, NeurIPS 2019",
)
PAE = Method(
    name="pae",
    picks="all",
    claims="released",
    begins="before",
    grows="on_miss",
    prune="gradual",
    retrains=False,
    source="Hung et al., Increasingly Packing Multiple Facial-Informatics Modules, ICMR 2019",
)
PACKNET = Method(
    name="packnet",
    picks="all",
    claims="released",
    begins="before",
    grows="never",
    prune="one_shot",
    retrains=False,
    settings=("one_shot",),
    source="Mallya and Lazebnik, PackNet: Adding Multiple Tasks to a Single Network, CVPR 2018",
)
SEQUENTIAL = Method(
    name="sequential",
    picks="all",
    claims="everything",
    begins="before",
    grows="never",
    prune="none",
    retrains=False,
    source="the common baseline: one network, trained on in place; it forgets",
)
PIGGYBACK = Method(
    name="piggyback",
    picks="learned",
    claims="first",
    begins="before",
    grows="never",
    prune="none",
    retrains=False,
    source="Mallya, Davis and Lazebnik, Piggyback: Adapting a Single Network to Multiple Tasks, ECCV 2018",
)
PROGRESSIVE = Method(
    name="progressive",
    picks="all",
    claims="column",
    begins="before",
    grows="always",
    prune="none",
    retrains=False,
    settings=("progressive",),
    source="Rusu et al., Progressive Neural Networks, arXiv:1606.04671, 2016",
)
SCRATCH = Method(
    name="scratch",
    picks="all",
    claims="apart",
    begins="fresh",
    grows="never",
    prune="none",
    retrains=False,
    source="independent models, one a task",
)
FINETUNE = Method(
    name="finetune",
    picks="all",
    claims="apart",
    begins="earlier",
    grows="never",
    prune="none",
    retrains=False,
    settings=("finetune",),
    source="independent models, each begun from that of a randomly chosen earlier task",
)
DEN = replace(
    SEQUENTIAL,
    name="den",
    grows="once",
    splits=True,
    settings=("den",),
    source="Yoon et al., Lifelong Learning with Dynamically Expandable Networks, ICLR 2018",
)
EWC = replace(
    SEQUENTIAL,
    name="ewc",
    reminds="springs",
    settings=("ewc",),
    source="Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, PNAS 2017",
)
LWF = replace(
    SEQUENTIAL,
    name="lwf",
    reminds="answers",
    settings=("lwf",),
    source="Li and Hoiem, Learning without Forgetting, ECCV 2016",
)

METHODS = {
    method.name: method
    for method in (CPG, PAE, PACKNET, PIGGYBACK, PROGRESSIVE, SCRATCH, FINETUNE, SEQUENTIAL, DEN, EWC, LWF)
}


def settings_of(method: Method, settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, without the groups that are other methods' own: what a run of `method` rests on."""
    others = {group for other in METHODS.values() for group in other.settings} - set(method.settings)
    return settings.model_dump(mode="json", exclude=others)


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        CpgError: there is none.
    """
    if name not in METHODS:
        raise unknown("method", name, list(METHODS))
    return METHODS[name]
