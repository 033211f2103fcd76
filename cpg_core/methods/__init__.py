"""A method is a point in a small space of policies; the stages, checkpoints and laws are the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cpg_core.hints import unknown


@dataclass(frozen=True)
class Method:
    """What a method does where methods differ.

    Attributes:
        name: as given to `--method`.
        picks: which weights of earlier tasks a task uses: those that it learns to pick, or all.
        claims: which weights a task may train: the released ones, or all in place, as forgetting methods do.
        grows: on a missed goal, or never.
        prune: gradually to the highest sparsity that meets the goal, once by a fixed share, or not at all.
        retrains: learn the picks again beside the compact model.
        source: the publication.
    """

    name: str
    picks: Literal["learned", "all"]
    claims: Literal["released", "everything"]
    grows: Literal["on_miss", "never"]
    prune: Literal["gradual", "one_shot", "none"]
    retrains: bool
    source: str

    @property
    def forgets(self) -> bool:
        """Whether a later task may change an earlier one: such a method must fail the unforgetting law."""
        return self.claims == "everything"


CPG = Method(
    name="cpg",
    picks="learned",
    claims="released",
    grows="on_miss",
    prune="gradual",
    retrains=True,
    source="Hung et al., Compacting, Picking and Growing for Unforgetting Continual Learning, NeurIPS 2019",
)
PAE = Method(
    name="pae",
    picks="all",
    claims="released",
    grows="on_miss",
    prune="gradual",
    retrains=False,
    source="Hung et al., Increasingly Packing Multiple Facial-Informatics Modules, ICMR 2019",
)
PACKNET = Method(
    name="packnet",
    picks="all",
    claims="released",
    grows="never",
    prune="one_shot",
    retrains=False,
    source="Mallya and Lazebnik, PackNet: Adding Multiple Tasks to a Single Network, CVPR 2018",
)
SEQUENTIAL = Method(
    name="sequential",
    picks="all",
    claims="everything",
    grows="never",
    prune="none",
    retrains=False,
    source="the common baseline: one network, trained on in place; it forgets",
)

METHODS = {method.name: method for method in (CPG, PAE, PACKNET, SEQUENTIAL)}


def find(name: str) -> Method:
    """The method of that name.

    Raises:
        CpgError: there is none.
    """
    if name not in METHODS:
        raise unknown("method", name, list(METHODS))
    return METHODS[name]
