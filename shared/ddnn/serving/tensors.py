"""Tensors as the protocol's metadata describes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ddnn.answers import OUTPUTS

__all__ = ["TensorSpec", "answer_tensors"]


@dataclass(frozen=True)
class TensorSpec:
    """One tensor; -1 in `shape` is the batch, or any size, up to `most` where that is said."""

    name: str
    datatype: str
    shape: Sequence[int]
    optional: bool = False
    most: int = 0

    @property
    def largest(self) -> tuple[int, ...]:
        """Its shape with the largest sizes there may be; the batch stays -1."""
        return (self.shape[0], *(self.most if size == -1 else size for size in self.shape[1:]))

    def metadata(self) -> dict[str, Any]:
        """As the model's metadata has it."""
        entry: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        return {**entry, "parameters": {"optional": True}} if self.optional else entry


def answer_tensors(classes: int, devices: int, *, need_features: bool) -> list[TensorSpec]:
    """What every tier gives; the edge also says whose features it wants."""
    sizes = {"B": -1, "K": classes, "D": devices}
    return [
        TensorSpec(name, datatype, [sizes[letter] for letter in letters])
        for name, (datatype, letters) in OUTPUTS.items()
        if need_features or name != "need_features"
    ]
