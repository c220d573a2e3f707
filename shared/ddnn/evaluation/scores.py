"""What every exit says of every event: all sections run offline, in ONNX Runtime.

Legend: N events, D devices, E edges, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ddnn.bundle import Bundle, Topology
from ddnn.data import Dataset
from ddnn.errors import BadData
from ddnn.runtime import Section
from ddnn.types import Array, Bits, Bools, Exit, Floats, Ints, Tier, pack_bits, unpack_bits

__all__ = ["Progress", "Recorder", "Scores", "fits", "record"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of every exit for every event, under one presence mask; rows of what was absent mean nothing."""

    device: Floats | None
    """(N, D, K), each device's own exit; none where raw views go up."""
    local: Floats | None
    """(N, E, K), each edge's devices' scores, fused; none where raw views go up."""
    edge: Floats | None
    """(N, E, K), none when there is no edge section."""
    cloud: Floats
    """(N, K)."""
    present: Bools
    """(N, D), who took part."""
    y: Ints
    """(N,), the class of the event."""
    y_dev: Ints
    """(N, D), the class as the device sees it, -1 when it does not see it."""
    topology: Topology
    source: Mapping[str, Any]
    """Name, fingerprint and split of the data."""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def classes(self) -> int:
        """K."""
        return int(self.cloud.shape[1])

    def of(self, exit: Exit) -> Floats:
        """The scores of an exit that this network has."""
        values = {Exit.DEVICE: self.device, Exit.LOCAL: self.local, Exit.EDGE: self.edge, Exit.CLOUD: self.cloud}[exit]
        if values is None:
            raise ValueError(f"this network has no {exit} exit")
        return values

    def there(self, exit: Exit) -> Bools:
        """Who took part, place by place of an exit: (N, D), (N, E), or (N,) of the cloud."""
        if exit is Exit.CLOUD:
            return np.asarray(self.present.any(axis=1))
        return self.present if exit is Exit.DEVICE else self.edge_present

    def live(self, exit: Exit) -> Ints:
        """How many devices take part in an exit's answer, in the places of `there`."""
        if exit is Exit.DEVICE:
            return self.present.astype(np.int64)
        if exit is Exit.CLOUD:
            return np.asarray(self.present.sum(axis=1))
        return np.stack([self.present[:, edge.devices].sum(axis=1) for edge in self.topology.edges], axis=1)

    def take(self, rows: Ints) -> "Scores":
        """The events at `rows`, in that order."""
        device, local, edge = (None if of is None else of[rows] for of in (self.device, self.local, self.edge))
        return replace(
            self,
            device=device,
            local=local,
            edge=edge,
            cloud=self.cloud[rows],
            present=self.present[rows],
            y=self.y[rows],
            y_dev=self.y_dev[rows],
        )

    @property
    def edge_present(self) -> Bools:
        """(N, E): some device of the edge took part."""
        return np.stack([self.present[:, edge.devices].any(axis=1) for edge in self.topology.edges], axis=1)


class Recorder:
    """Runs the devices' sections once; each presence mask then costs only the fusing sections."""

    def __init__(self, bundle: Bundle, data: Dataset, *, batch: int = 256, progress: Progress | None = None) -> None:
        fits(bundle, data)
        self.topology = topology = bundle.topology
        self._data, self._batch, self._classes = data, batch, len(bundle.manifest.classes)
        self._fusing = [
            {role: Section(file) for role, file in bundle.sections(Tier.EDGE, index).items()}
            for index in range(len(topology.edges))
        ]
        self._cloud = Section(bundle.sections(Tier.CLOUD)["section"])
        count, cut = len(topology.devices), topology.device_cut
        self.device_scores: Floats | None = None
        """(N, D, K), none where raw views go up."""
        self.device_features: Bits | None = None
        """(N, D, bytes), packed; none where raw views go up."""
        if cut is None:
            return
        self.device_scores = np.empty((len(data), count, self._classes), np.float32)
        self.device_features = np.empty((len(data), count, cut.bytes), np.uint8)
        loaded: dict[Path, Section] = {}  # devices may share one file
        for index in range(count):
            section = loaded.setdefault(file := bundle.sections(Tier.DEVICE, index)["section"], Section(file))
            for rows in self._batches(np.arange(len(data))):
                scores, features = _run(section, view=data.views[index][rows])
                self.device_scores[rows, index], self.device_features[rows, index] = scores, pack_bits(features)
            if progress:
                progress("device sections", index + 1, count)

    def scores(self, present: Bools | None = None) -> Scores:
        """Run the fusing sections where `present` (N, D) says so; by default, where the data says a device sees."""
        data, topology = self._data, self.topology
        mask = data.present if present is None else present & data.present
        by_edge = np.stack([mask[:, spec.devices].any(axis=1) for spec in topology.edges], axis=1)
        local, edge, up = self._edges(mask, by_edge)
        children = mask if up is None else by_edge
        cloud = np.zeros((len(data), self._classes), np.float32)
        for rows in self._batches(np.flatnonzero(mask.any(axis=1))):
            packed = self.device_features if up is None else up
            if packed is None or topology.cloud_cut is None:
                inputs = {"view": np.stack([view[rows] for view in data.views], axis=1)}
            else:
                inputs = {"features": unpack_bits(packed[rows], topology.cloud_cut.bits)}
            (cloud[rows],) = _run(self._cloud, **inputs, present=children[rows])
        return Scores(self.device_scores, local, edge, cloud, mask, data.y, data.y_dev, topology, _source(data))

    def _edges(self, mask: Bools, by_edge: Bools) -> tuple[Floats | None, Floats | None, Bits | None]:
        """Scores of the local exits and of the edge exits, (N, E, K), and packed features (N, E, bytes)."""
        topology = self.topology
        if self.device_scores is None or self.device_features is None or topology.device_cut is None:
            return None, None, None
        local = np.zeros((*by_edge.shape, self._classes), np.float32)
        edge = np.zeros_like(local) if topology.edge_cut else None
        up = np.zeros((*by_edge.shape, topology.edge_cut.bytes), np.uint8) if topology.edge_cut else None
        for index, (spec, sections) in enumerate(zip(topology.edges, self._fusing, strict=True)):
            for rows in self._batches(np.flatnonzero(by_edge[:, index])):
                who = np.ix_(rows, np.asarray(spec.devices))
                (local[rows, index],) = _run(sections["local"], scores=self.device_scores[who], present=mask[who])
                if edge is not None and up is not None:
                    bits = unpack_bits(self.device_features[who], topology.device_cut.bits)
                    edge[rows, index], features = _run(sections["section"], features=bits, present=mask[who])
                    up[rows, index] = pack_bits(features)
        return local, edge, up

    def _batches(self, rows: Ints) -> list[Ints]:
        return [rows[start : start + self._batch] for start in range(0, len(rows), self._batch)]


def record(
    bundle: Bundle,
    data: Dataset,
    *,
    present: Bools | None = None,
    batch: int = 256,
    progress: Progress | None = None,
) -> Scores:
    """Run every section of `bundle` on `data`, with only the devices that `present` (N, D) names and that see.

    Raises `BadData` when the events do not fit the bundle.
    """
    return Recorder(bundle, data, batch=batch, progress=progress).scores(present)


def fits(bundle: Bundle, data: Dataset) -> None:
    """Raise `BadData`, naming what differs, unless the events of `data` are what the network takes."""
    specs, classes = bundle.topology.devices, len(bundle.manifest.classes)
    if not len(data):
        raise BadData(f"{data.name}: there are no events in this split; expected at least one")
    if len(data.views) != len(specs):
        raise BadData(f"{data.name}: has {len(data.views)} devices; the bundle was trained with {len(specs)}")
    for index, (spec, view) in enumerate(zip(specs, data.views, strict=True)):
        if view.shape[1:] != spec.view.shape or view.dtype != spec.view.numpy_dtype:
            raise BadData(
                f"{data.name}: the view of device {index} is {_named(view)} {view.shape[1:]};"
                f" the bundle expects {spec.view.dtype} {spec.view.shape}"
            )
    if data.y.max() >= classes:
        raise BadData(f"{data.name}: y holds class {data.y.max()}; the bundle knows classes 0 to {classes - 1}")


def _run(section: Section, **inputs: Array) -> list[Array]:
    """Outputs in the section's order: scores, then features if it has them."""
    return list(section.run(**inputs).values())


def _named(view: Array) -> str:
    return {"uint8": "UINT8", "float32": "FP32"}.get(view.dtype.name, view.dtype.name)


def _source(data: Dataset) -> dict[str, Any]:
    splits = np.unique(data.split)
    return {"data": data.name, "fingerprint": data.fingerprint, "split": "+".join(map(str, splits))}
