"""What a sequence says of its backbone: `resnet18`, or `{name: resnet18, size: 96}`."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from cpg_core.config.schema import Strict


class BackboneSpec(Strict):
    """A backbone by its name, and what is other than its defaults.

    Attributes:
        name: of a file in `cpg_core.backbones`, or `FAMILY/NETWORK`, such as `torchvision/mobilenet_v3_small`.
        size: pixels a side of its input; None: the backbone's default.
    """

    name: str
    size: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _of_its_name(cls, raw: object) -> object:
        if isinstance(raw, str):
            return {"name": raw}
        if not isinstance(raw, dict | BackboneSpec):
            raise ValueError(f"expected a name, such as resnet18, or {{name: resnet18, size: 96}}, got {raw!r}")
        return raw

    @model_serializer(mode="wrap")
    def _as_its_name(self, handler: SerializerFunctionWrapHandler) -> Any:  # noqa: ANN401  (what JSON can hold)
        """Its name alone where all else is the default, as in runs of before anything else could be said."""
        said = {name: value for name, value in handler(self).items() if value is not None}
        return said if len(said) > 1 else self.name

    def __str__(self) -> str:
        """For people: `resnet18`, or `resnet18 (size 96)`."""
        return self.name if self.size is None else f"{self.name} (size {self.size})"
