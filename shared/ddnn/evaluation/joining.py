"""A section that joins children, run for one presence mask after another.

Where it looks at each child by itself first, as a piece of a backbone does, that part runs once for all masks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from ddnn.golden import taken, there
from ddnn.onnx_parts import values_of_each
from ddnn.runtime import Section
from ddnn.topology import SectionSpec, Topology
from ddnn.types import Array, Bools, Ints

__all__ = ["Joining"]

_ROOM: Final = 1 << 30  #: most bytes of what is made of each child that are kept


class Joining:
    """One section over all events of a data set; what it makes of each child is kept, as far as there is room."""

    def __init__(self, file: Path, spec: SectionSpec, present: Bools, batch: int) -> None:
        self._file, self._spec, self._present, self._batch = file, spec, present, batch
        self._names = values_of_each(file.read_bytes())
        self._section = Section(file, wanted=self._names) if self._names else Section(file)
        self._each: dict[str, Array] | None = None

    def run(self, topology: Topology, answers: Mapping[str, Array], rows: Ints) -> dict[str, Array]:
        """What the section says of the events at `rows`, where those below it gave `answers`, for all events."""
        if self._names and self._each is None:
            self._look(topology, answers)
        given = taken(topology, self._spec, answers, rows, wanted=self._section.inputs)
        each = {name: values[rows] for name, values in (self._each or {}).items()}
        return self._section.run(**given, **each)

    def _look(self, topology: Topology, answers: Mapping[str, Array]) -> None:
        """Make of each child what is made of it, and go on with the rest; with too little room, with the whole."""
        some, found = there(topology, self._spec, self._present), dict[str, Array]()
        rows = np.flatnonzero(some.any(axis=1))
        for start in range(0, len(rows), self._batch):
            few = rows[start : start + self._batch]
            given = taken(topology, self._spec, answers, few, wanted=self._section.inputs)
            outputs = self._section.run(**{**given, "present": some[few]})
            if not start:
                found = {name: np.zeros((len(some), *first.shape[1:]), first.dtype) for name, first in outputs.items()}
            if sum(values.nbytes for values in found.values()) > _ROOM:
                self._names, self._section = (), Section(self._file)
                return
            for name, values in outputs.items():
                found[name][few] = values
        self._each = found
        self._section = Section(self._file, given=self._names)
