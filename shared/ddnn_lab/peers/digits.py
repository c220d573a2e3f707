"""Digits that mnist5k does not have, out of a file of MNIST: many to choose a network by, and a second test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ddnn.data import Dataset, load

__all__ = ["Digits", "read"]

_CHOOSING: Final = 20_000


@dataclass(frozen=True)
class Digits:
    """Of the file, cut into the same views."""

    choosing: Dataset
    """Training digits that mnist5k has not."""
    test: Dataset


def read(file: Path, known: Dataset) -> Digits:
    """The digits of `file` without those `known`, which are told by their pixels."""
    found = load(str(file), grid="3x2")
    rest = found.take(np.flatnonzero(found.split != "test"))
    seen = set(_pixels(known))
    fresh = [row for row, pixels in enumerate(_pixels(rest)) if pixels not in seen]
    return Digits(rest.take(fresh[:_CHOOSING]), found.subset("test"))


def _pixels(data: Dataset) -> list[bytes]:
    return [b"".join(view[row].tobytes() for view in data.views) for row in range(len(data))]
