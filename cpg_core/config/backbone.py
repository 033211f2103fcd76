"""What a sequence says of its backbone: `resnet18`, or `{name: resnet18, size: 96, weights: IMAGENET1K_V1}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import (
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from cpg_core.config.paths import expanded
from cpg_core.config.schema import Strict

HUB = "hf://"
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


class BackboneSpec(Strict):
    """A backbone by its name, and what is other than its defaults.

    Attributes:
        name: of a file in `cpg_core.backbones`, or `FAMILY/NETWORK`, such as `torchvision/mobilenet_v3_small`.
        size: pixels a side of its input; None: the backbone's default.
        weights: that task 1 is imported from: a name of `cpg backbones`, a `.pth` or `.safetensors` file, or
            `hf://OWNER/NAME/FILE`; None: task 1 is learned from random weights.
        weights_sha256: of that file, once a run has been made; None before.
    """

    name: str
    size: int | None = Field(default=None, ge=1)
    weights: str | None = None
    weights_sha256: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_its_name(cls, raw: object) -> object:
        if isinstance(raw, str):
            return {"name": raw}
        if not isinstance(raw, dict | BackboneSpec):
            raise ValueError(f"expected a name, such as resnet18, or {{name: resnet18, size: 96}}, got {raw!r}")
        return raw

    @field_validator("weights")
    @classmethod
    def _of_the_folder(cls, weights: str | None, info: ValidationInfo) -> str | None:
        """A relative path of a file is relative to the folder of the file that names it, as of a `Place`."""
        if weights is None or not is_file(weights):
            return weights
        file = expanded(Path(weights))
        return weights if info.context is None else str((info.context["folder"] / file).resolve())

    @model_serializer(mode="wrap")
    def _as_its_name(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:  # noqa: ANN401  (what JSON can hold)
        """The name alone if everything else is default, as older runs store it."""
        said = {name: value for name, value in handler(self).items() if value is not None}
        if self.weights is not None and is_file(self.weights) and info.context is not None:
            folder, file = info.context["folder"].resolve(), Path(self.weights)
            said["weights"] = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
        return said if len(said) > 1 else self.name

    def content(self) -> Any:  # noqa: ANN401  (what JSON can hold)
        """What learning rests on: of a weight file its digest, wherever it lies."""
        placed = self.weights is not None and is_file(self.weights) and self.weights_sha256 is not None
        return (self.model_copy(update={"weights": None}) if placed else self).model_dump(mode="json")

    def __str__(self) -> str:
        """For people: `resnet18`, or `resnet18 (size 96)`."""
        return self.name if self.size is None else f"{self.name} (size {self.size})"


def is_file(weights: str) -> bool:
    """Whether weights are a file on disk, rather than a name or on the Hugging Face hub."""
    return not weights.startswith(HUB) and weights.endswith(SUFFIXES)
