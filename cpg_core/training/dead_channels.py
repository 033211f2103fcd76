"""Dead channels stay at 0 while a task is trained, so that the network is the one without them."""

from __future__ import annotations

from dataclasses import dataclass

from cpg_core.model.channels.units import Units
from cpg_core.model.network import Network, shared_parameters
from cpg_core.training.optimizer import TaskOptimizer


@dataclass(frozen=True)
class ResetDead:
    """After each step: bias and running statistics of units without a weight that is trained or used."""

    units: Units

    def __call__(self, network: Network, optimizer: TaskOptimizer, step: int, lr: float) -> None:  # noqa: ARG002
        """Whatever the private optimizer did to them."""
        trained = optimizer.trainable()
        used = {name: trained[name] | (value.detach() != 0) for name, value in shared_parameters(network).items()}
        self.units.reset_dead(network, self.units.having(used))
