"""What a task's YAML says of its validation images, where they are not a random share of each class.

validation: {group: "(track_\\d+)"}                   # no group on both sides; or {column: patient}
validation: {fold: {of: 5, index: 2}}                 # every image is validated on in one of five runs
validation: {files: val.txt}                          # a fixed list of paths inside the train folder
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from cpg_core.config.schema import Strict
from cpg_core.data.fields import Place


class Fold(Strict):
    """The part of the images that is validated on, of so many parts of about one size."""

    of: Annotated[int, Field(ge=2)]
    index: Annotated[int, Field(ge=1)] = Field(description="From 1 on")

    @model_validator(mode="after")
    def _one_of_them(self) -> Fold:
        if self.index > self.of:
            raise ValueError(f"index is {self.index}, and there are folds 1 to {self.of}")
        return self


class Group(Strict):
    """What images belong together by: a person, a patient, the track of a traffic sign.

    Attributes:
        pattern: a regular expression to be found in each image's path inside the train part; its groups in
            parentheses, or what matches where it has none, are the group.
        column: a column of the parquet files, or of `table`.
        table: a CSV file with a line for each image, its column `file` the path inside the train part.
    """

    pattern: str | None = None
    column: str | None = None
    table: Place | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_pattern(cls, raw: object) -> object:
        return {"pattern": raw} if isinstance(raw, str) else raw

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _one_of_them(self) -> Group:
        if (self.pattern is None) == (self.column is None):
            raise ValueError('give a regular expression over paths, "(track_[0-9]+)", or {column: NAME}')
        if self.table is not None and self.column is None:
            raise ValueError("table is read by its column; give {column: NAME, table: FILE.csv}")
        return self

    def __str__(self) -> str:
        """For people."""
        return f"column '{self.column}'" if self.column is not None else f"pattern '{self.pattern}'"


class Validation(Strict):
    """How validation images are chosen of those to train. Without `fold` and `files`, `val_fraction` says how many."""

    group: Group | None = Field(default=None, description="No group on both sides of the split")
    fold: Fold | None = None
    files: Place | None = Field(default=None, description="A text file: a path inside the train part a line")

    @model_validator(mode="after")
    def _one_way(self) -> Validation:
        if self.files is not None and (self.group or self.fold):
            raise ValueError("files names the images one by one; leave group and fold out")
        if self == Validation.model_construct():
            raise ValueError("expected group, fold or files; leave validation out for a random share of each class")
        return self
