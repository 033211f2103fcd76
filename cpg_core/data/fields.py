"""The parts of a task's definition: where its images come from, how they are augmented and normalised."""

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

from cpg_core.config.schema import Strict

Part = Literal["train", "test"]


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    """Make a relative path relative to the folder of the file that names it."""
    path = path.expanduser()
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
and absolute in memory: the folder of the YAML file that a person writes, or the root of the run that is stored."""

DOWNLOADED = Path("data/raw/torchvision")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_ADDRESS = re.compile(r"(?:(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)?datasets/([^?#]+)(?:[?#].*)?")
HUB_PAGES = re.compile(r"/(tree|blob|resolve|viewer|discussions)/.*")


def _hub_name(repo: str) -> str:
    """The name of a data set on the hub, from its name or the address of its page."""
    address = HUB_ADDRESS.fullmatch(repo.strip())
    name = HUB_PAGES.sub("", address[1] + "/").strip("/") if address else repo.strip()
    if not HUB_NAME.fullmatch(name):
        raise ValueError(f"expected a data set of the Hugging Face hub, such as uoft-cs/cifar100, got {repo!r}")
    return name


class DigitsSource(Strict):
    """The 1,797 digits of scikit-learn, 8x8 grey, with a fixed stratified split: 80 % train, 20 % test."""

    kind: Literal["digits"]


class ParquetSource(Strict):
    """Parquet files in the layout of the Hugging Face hub: `train-*.parquet`, `test-*.parquet`.

    Either `folder` holds them; or they are looked for in `$<env>/<subfolder>`, then in `data/raw/<subfolder>` of the
    working directory, and downloaded there from the hub's `repo` if they are in neither.
    """

    kind: Literal["parquet"]
    folder: Place | None = None
    repo: Annotated[str, AfterValidator(_hub_name)] | None = None
    env: str | None = None
    subfolder: str | None = None
    image: str = "image"
    label: str = "label"

    @model_validator(mode="after")
    def _one_place(self) -> ParquetSource:
        if self.folder is not None and (self.repo or self.env or self.subfolder):
            raise ValueError("give either folder alone, or repo / env / subfolder")
        if self.folder is None and self.subfolder is None:
            raise ValueError("give folder (where the files are), or subfolder with env and/or repo")
        return self


class TorchvisionSource(Strict):
    """A class of `torchvision.datasets` by name, downloaded into `root` when it is not there.

    A dataset that takes `train=` is asked for True and False; one that takes `split=` for `split_names` (train, test).
    `args` go to the dataset as they are.
    """

    kind: Literal["torchvision"]
    dataset: str
    root: Place = DOWNLOADED
    split_names: tuple[str, str] = ("train", "test")
    args: dict[str, str | int | float | bool] = Field(default_factory=dict)


class FolderSource(Strict):
    """Image files in `folder/train/CLASS/` and `folder/test/CLASS/`."""

    kind: Literal["folder"]
    folder: Place


Source = Annotated[DigitsSource | ParquetSource | TorchvisionSource | FolderSource, Field(discriminator="kind")]


class Augment(Strict):
    """What happens to training images, in this order; nothing by default. Lengths in pixels of the backbone's input."""

    random_resized_crop: bool = False
    crop_padding: int = Field(default=0, ge=0)
    flip: bool = False
    cutout: int = Field(default=0, ge=0)


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
