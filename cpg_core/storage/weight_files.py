"""Weight files of others: the one place where `torch.load` is called, with `weights_only=True`, and only to read.

What they hold becomes safetensors as soon as the imported task is frozen.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cpg_core.errors import CpgError, advice, first_line

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training programs put the weights, beside other things."""
OF_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before the names of a network's tensors."""
ANEW = "Write it anew: torch.save(model.state_dict(), FILE)"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of one that `torch.save` wrote, by their names.

    Raises:
        CpgError: there is no such file, it is cut short, it holds more than tensors, or no tensors by name.
    """
    if not path.is_file():
        raise CpgError(f"{path}: there is no such file; check the path of the weights")
    found = _safetensors(path) if path.suffix == ".safetensors" else _saved_by_torch(path)
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()) or not found:
        raise CpgError(f"{path}: expected tensors by their names, as torch.save(model.state_dict(), ...) writes them")
    return _unwrapped({str(name): value for name, value in found.items()})


def _unwrapped(found: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in OF_WRAPPERS:
        if all(name.startswith(prefix) for name in found):
            return _unwrapped({name.removeprefix(prefix): value for name, value in found.items()})
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        what_to_do = advice(error, "it may be cut short, fetch it again")
        raise CpgError(f"{path}: cannot be read as safetensors ({first_line(error)[:120]}); {what_to_do}") from error


def _saved_by_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings(action="ignore"):  # of what other content it holds, which is an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CpgError(
            f"{path}: holds more than tensors, is cut short, or is no file of torch.save; nothing but tensors is "
            f"loaded, since other content can run code. {ANEW}"
        ) from error
    except Exception as error:  # what is no such file, or a damaged one, may fail in any way
        if "TorchScript" in str(error):
            raise CpgError(f"{path}: holds a program (TorchScript), which is not run. {ANEW}") from error
        what_to_do = advice(error, "it may be cut short, fetch it again")
        raise CpgError(f"{path}: cannot be read ({first_line(error)[:120]}); {what_to_do}") from error
