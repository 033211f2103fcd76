"""The parts of a task's definition that all sources share: places, how images are augmented and normalised."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainSerializer,
    SerializationInfo,
    Tag,
    ValidationInfo,
    model_validator,
)

from cpg_core.config.paths import expanded
from cpg_core.config.schema import Strict
from cpg_core.data.reading.resize import Resize

Part = Literal["train", "test", "val"]


class Splits(Strict):
    """What the parts of a data set are called: its folders, or the beginnings of its files' names."""

    train: str = "train"
    test: str = "test"
    val: str | None = Field(default=None, description="null: validation images are held out of train")

    @model_validator(mode="after")
    def _names_apart(self) -> Splits:
        names = [name for name in (self.train, self.test, self.val) if name is not None]
        if odd := [name for name in names if not re.fullmatch(r"[^/\\]+", name) or name in (".", "..")]:
            raise ValueError(f"expected the name of a folder or the beginning of a file's name, got '{odd[0]}'")
        if len(set(names)) < len(names):
            raise ValueError("train, test and val must have different names: an image is in one of them")
        return self

    def name_of(self, part: Part) -> str:
        """What a part is called."""
        name = {"train": self.train, "test": self.test, "val": self.val}[part]
        assert name is not None, "nobody asks for a validation part that has no name"
        return name

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are read."""
        return ("train", "test") if self.val is None else ("train", "test", "val")

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(map(self.name_of, self.parts))


AS_USUAL = Splits()


def is_as_usual(splits: Splits) -> bool:
    """Whether nothing was said: then nothing is written either, as in older runs."""
    return splits == AS_USUAL


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    """Make a relative path relative to the folder of the file that names it; `$NAME/...` lies where a variable says."""
    path = expanded(path)
    if info.context is None or path == DOWNLOADED:  # that one is in the working folder, whoever names it
        return path
    folder: Path = info.context["folder"]
    return (folder / path).resolve()


def _to_folder(path: Path, info: SerializationInfo) -> str:
    """Write a path inside the folder that the file belongs to as a relative one, so that both can move together."""
    if info.context is None:
        return str(path)
    folder: Path = info.context["folder"].resolve()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


Place = Annotated[Path, AfterValidator(_from_folder), PlainSerializer(_to_folder, when_used="json")]
"""Where images lie. Read and written with the context `{"folder": Path}`, it is relative to that folder in the file
and absolute in memory: the folder of the YAML file that a person writes, or the root of the run that is stored. One
that begins with `$NAME` lies in the folder that this variable of the environment names."""

DOWNLOADED = Path("data/raw/torchvision")


class Augment(Strict):
    """What happens to training images, in this order; nothing by default. Lengths in pixels of the backbone's input.

    `resize` is how every image becomes square, those of test too: `crop` keeps its proportions and loses its ends,
    `squash` takes the whole picture, as is usual where it was cut out around the object.
    """

    resize: Resize = Field(default="crop", exclude_if=lambda resize: resize == "crop")
    random_resized_crop: bool = False
    crop_padding: int = Field(default=0, ge=0)
    flip: bool = False
    cutout: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_way_to_crop(self) -> Augment:
        if self.resize == "squash" and self.random_resized_crop:
            raise ValueError("resize: squash takes the whole picture; leave out random_resized_crop, or resize: crop")
        return self


class MeanStd(Strict):
    """Fixed normalisation: one mean and one standard deviation a channel, for pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]

    @model_validator(mode="after")
    def _same_length(self) -> MeanStd:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}; give as many of each")
        return self


def _normalise_tag(value: object) -> str:
    return "fixed" if isinstance(value, dict | MeanStd) else "rule"


Rule = Annotated[Literal["per_task", "none"], Tag("rule")]
Normalise = Annotated[Rule | Annotated[MeanStd, Tag("fixed")], Discriminator(_normalise_tag)]
