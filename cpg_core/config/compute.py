"""Where and how a run is computed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cpg_core.config.numbers import Count
from cpg_core.config.schema import Strict


class Compute(Strict):
    """Where and how it is computed; part of what decides the bits."""

    device: Literal["auto", "cpu", "cuda"]
    threads: Count = Field(description="Of each process")
    processes: Count = Field(description="Processes that share each batch of a task: one a GPU, or 1")
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        description="Of products in forward and backward passes; weights, updates and losses are float32 always"
    )
    compile: Literal["auto", "always", "never"] = Field(
        description="Compile the optimizer's pass; auto: from a million shared weights on, where a compiler is found"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        description="Threads that decode large images ahead; 0: one a processor"
    )
    cache_bytes: Annotated[int, Field(ge=0)] = Field(
        description="Of decoded large images that are kept on disk while a task is learned, of each part; 0: none"
    )
