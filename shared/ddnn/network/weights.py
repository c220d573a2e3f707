"""Weights of a user's own, read into a module."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ddnn.errors import BadConfig

__all__ = ["load_weights"]


def load_weights(module: nn.Module, file: Path, key: str, what: str) -> None:
    """Take the weights in the .safetensors `file` that the table names by `key`; raise `BadConfig` unless they fit."""
    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise BadConfig(f"{key} is {str(file)!r}, which cannot be read ({error}); expected .safetensors") from error
    except RuntimeError as error:
        why = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise BadConfig(f"{key} is {str(file)!r}, whose tensors are not those of the {what}: {why}") from error
