"""The formats of an exported network: written, and read back as whoever uses the file reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from cpg_core.errors import CpgError
from cpg_core.machine import deterministic
from cpg_core.recall.export.network import PlainNetwork

Pixels = NDArray[np.uint8]
Numbers = NDArray[np.float32]
Answers = Callable[[Pixels], Numbers]
"""Images uint8 `[N, C, H, W]` to logits or embeddings, float32 `[N, numbers]`, on one thread."""

INPUT = "pixels"
METADATA = "metadata.json"


@dataclass(frozen=True)
class Format:
    """A format.

    write: a network, told the shape of an image and the name of its output, with texts about it by name
    load: reads a file
    multiple: of channels, in which its reader computes fast
    """

    write: Callable[[PlainNetwork, tuple[int, ...], str, Mapping[str, str], Path], None]
    load: Callable[[Path], Answers]
    multiple: int = 1


def program(network: PlainNetwork, shape: tuple[int, ...]) -> ExportedProgram:
    """The network's operations, for batches of any size of images of that shape."""
    pixels = torch.zeros(2, *shape, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(network, (pixels,), dynamic_shapes=({0: torch.export.Dim("images", min=1)},))


def write_onnx(
    network: PlainNetwork, shape: tuple[int, ...], output: str, metadata: Mapping[str, str], path: Path
) -> None:
    """As ONNX, with the metadata as properties of the model."""
    import onnxscript  # noqa: F401  (torch's own message of its absence is long)
    from onnx import helper

    made = torch.onnx.export(
        program(network, shape), dynamo=True, verbose=False, input_names=[INPUT], output_names=[output]
    )
    assert made is not None
    model = made.model_proto
    helper.set_model_props(model, dict(metadata))
    path.write_bytes(model.SerializeToString())


def load_onnx(path: Path) -> Answers:
    """By onnxruntime, on one thread of the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda pixels: cast(Numbers, session.run(None, {INPUT: pixels})[0])


def write_pt2(
    network: PlainNetwork,
    shape: tuple[int, ...],
    output: str,  # noqa: ARG001  (as every format)
    metadata: Mapping[str, str],
    path: Path,
) -> None:
    """As `torch.export` saves it, with the metadata as the extra file `metadata.json`."""
    with path.open("wb") as file:
        torch.export.save(program(network, shape), file, extra_files={METADATA: json.dumps(metadata)})


def load_pt2(path: Path) -> Answers:
    """By `torch.export.load`, on one thread of the processor."""
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    def answer(pixels: Pixels) -> Numbers:
        with deterministic(1), torch.inference_mode():
            return cast(Numbers, module(torch.from_numpy(pixels)).numpy())

    return answer


BLOCK = 8
"""onnxruntime computes convolutions in blocks of 8 channels, or 16; a depthwise one of another number takes the slow
way, six times as long."""
FORMATS = {".onnx": Format(write_onnx, load_onnx, BLOCK), ".pt2": Format(write_pt2, load_pt2)}
"""By the end of a file's name."""


def format_of(path: Path) -> Format:
    """The format that a file's name asks for.

    Raises:
        CpgError: there is no such format.
    """
    if path.suffix not in FORMATS:
        raise CpgError(f"{path}: expected a file that ends in {' or '.join(FORMATS)}")
    return FORMATS[path.suffix]
