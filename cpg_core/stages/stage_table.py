"""The stages of Algorithm 1, by name; a method may have others of its own."""

from __future__ import annotations

from collections.abc import Mapping

from cpg_core.stages.check import check
from cpg_core.stages.context import Stage
from cpg_core.stages.grow import grow
from cpg_core.stages.importing.import_weights import import_weights
from cpg_core.stages.pick_train import pick_train
from cpg_core.stages.pruning.prune import prune
from cpg_core.stages.pruning.recover import recover
from cpg_core.stages.retrain import retrain
from cpg_core.storage.records import StageName

STAGES: Mapping[StageName, Stage] = {
    "import": import_weights,
    "pick_train": pick_train,
    "check": check,
    "grow": grow,
    "prune": prune,
    "recover": recover,
    "retrain": retrain,
}
"""`freeze` is not among them: it looks at all tasks, and is done by the leader alone."""
