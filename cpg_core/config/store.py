"""How frozen tasks are stored, as the settings say it and as records do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cpg_core.config.schema import Strict


class Store(Strict):
    """How a frozen task is stored. What is rounded is so before the last check of the goal (`docs/format.md`)."""

    values: Literal["float32", "bfloat16", "int8"] = Field(
        description="Of the task's own weights; int8: with a scale an output channel"
    )
    private: Literal["float32", "bfloat16"] = Field(description="Of batch norm, biases and head")
    masks: Literal["zlib", "entropy"] = Field(description="How bits are written; both are exact")
