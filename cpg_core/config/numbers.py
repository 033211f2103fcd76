"""Numbers that settings hold, with the range that each may have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
BudgetStep = Annotated[float, Field(ge=0.01)]
"""Budgets are rounded: with a step much finer than any channel growth would never end."""
Count = Annotated[int, Field(ge=1)]
