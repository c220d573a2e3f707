"""What every exit says of every event: all sections run offline, in ONNX Runtime.

Legend: N events, D devices, E edges, K classes.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.data.stored import at_once
from ddnn.errors import BadData
from ddnn.evaluation.joining import Joining
from ddnn.golden import taken, there
from ddnn.levels import picked
from ddnn.runtime import Section
from ddnn.task import CLASSIFICATION, Task
from ddnn.topology import SectionSpec, Topology
from ddnn.types import Array, Bools, Exit, Floats, Ints, Tier

__all__ = ["Progress", "Recorder", "Scores", "fits", "record"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of every exit for every event, under one presence mask; rows of what was absent mean nothing."""

    device: Floats | None  #: (N, D, K), each device's own exit; none where raw views go up
    local: Floats | None  #: (N, E, K), each edge's devices' scores, fused; none where raw views go up
    edge: Floats | None  #: (N, E, K), none when there is no edge section
    cloud: Floats  #: (N, K)
    present: Bools  #: (N, D), who took part
    y: Ints  #: (N,), the class of the event
    y_dev: Ints  #: (N, D), the class as the device sees it, -1 when it does not see it
    topology: Topology
    source: Mapping[str, Any]  #: name, fingerprint and split of the data
    task: Task = CLASSIFICATION
    view_bytes: Ints | None = None
    """(N, D), what each view takes as it goes up, where the cloud asks for views and these differ in size."""

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

    def labels(self, exit: Exit) -> Ints:
        """What an exit says, in the places of its scores."""
        return self.task.labels(self.of(exit))

    def right(self, labels: Ints) -> Bools:
        """(N, …) whether labels (N, …) are the event's."""
        return self.task.right(labels, self.y.reshape(-1, *[1] * (labels.ndim - 1)))

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
            return np.asarray(self.asked.sum(axis=1))
        return np.stack([self.present[:, edge.devices].sum(axis=1) for edge in self.topology.edges], axis=1)

    def take(self, rows: Ints) -> "Scores":
        """The events at `rows`, in that order."""
        return replace(self, **{name: array[rows] for name, array in self.arrays().items()})

    def arrays(self) -> dict[str, Any]:
        """By name, every array that this network has: the scores of its exits, `present`, `y`, `y_dev`."""
        exits = {exit.value: self.of(exit) for exit in self.topology.exits}
        sizes = {} if self.view_bytes is None else {"view_bytes": self.view_bytes}
        return exits | {"present": self.present, "y": self.y, "y_dev": self.y_dev} | sizes

    @property
    def asked(self) -> Bools:
        """(N, D): whose views the cloud's answer is made of, if it takes views; else who took part."""
        views = self.topology.views
        if views is None or not views.most:
            return self.present
        return picked(self.of(Exit.DEVICE), self.present, views.most, views.pick)

    @property
    def under(self) -> Bools:
        """(N, E, D): the devices that took part under each edge."""
        devices = np.arange(self.present.shape[1])
        return np.stack([self.present & np.isin(devices, edge.devices) for edge in self.topology.edges], axis=1)

    @property
    def edge_present(self) -> Bools:
        """(N, E): some device of the edge took part."""
        return np.stack([self.present[:, edge.devices].any(axis=1) for edge in self.topology.edges], axis=1)


class Recorder:
    """Runs the devices' sections once; each presence mask then costs only what joins them in the others."""

    def __init__(self, bundle: Bundle, data: Dataset, *, batch: int = 256, progress: Progress | None = None) -> None:
        fits(bundle, data)
        self.topology, self._task = bundle.topology, bundle.task
        self._data, self._batch, self._classes = data, at_once(data.views, batch), len(bundle.manifest.classes)
        self._joining = {
            spec.file: Joining(bundle.checked(spec.file), spec, data.present, self._batch)
            for spec in self.topology.sections
            if spec.tier is not Tier.DEVICE
        }
        self.below: dict[str, Array] = {f"view_{index}": view for index, view in enumerate(data.views)}
        """Views, and what the devices' sections say of them, as `ddnn.golden` names it."""
        self._view_bytes = self._files()
        own = [spec for spec in self.topology.sections if spec.tier is Tier.DEVICE]
        sections = {file: Section(bundle.checked(file)) for file in {spec.file for spec in own}}
        for done, spec in enumerate(own):
            self._run(spec, self.below, np.arange(len(data)), sections[spec.file])
            if progress:
                progress("device sections", done + 1, len(own))

    def with_scores(self, codec: str) -> "Recorder":
        """The same for scores that go up in another codec, where they did so as they are; devices run no second time.

        Exact, as rounding comes after the devices' sections.
        """
        other = copy(self)
        other.topology = self.topology.with_scores(codec)
        if (whole := self.below.get("device_scores")) is not None:
            rounded = other.topology.score_codec(Exit.DEVICE).arrived(whole, (self._classes,))
            other.below = {**self.below, "device_scores": rounded}
        return other

    def scores(self, present: Bools | None = None) -> Scores:
        """Run the fusing sections where `present` (N, D) says so; by default, where the data says a device sees."""
        data, topology, answers = self._data, self.topology, self.everything(present)
        mask = answers["present"]
        device, local, edge = (answers.get(f"{exit}_scores") for exit in (Exit.DEVICE, Exit.LOCAL, Exit.EDGE))
        cloud = answers["cloud_scores"][:, 0]
        split = "+".join(map(str, np.unique(data.split)))
        source = {"data": data.name, "fingerprint": data.fingerprint, "split": split}
        return Scores(
            device, local, edge, cloud, mask, data.y, data.y_dev, topology, source, self._task, self._view_bytes
        )

    def everything(self, present: Bools | None = None) -> dict[str, Array]:
        """What `scores` are made of, as `ddnn.golden` names it: `below`, and what all other sections say and send."""
        data, topology = self._data, self.topology
        mask = data.present if present is None else present & data.present
        answers = {**self.below, "present": mask}
        for spec in sorted(topology.sections, key=lambda spec: spec.exit.rank):
            if spec.tier is not Tier.DEVICE:
                self._run(spec, answers, np.flatnonzero(there(topology, spec, mask).any(axis=1)))
        return answers

    def _files(self) -> Ints | None:
        """Make the files that views go up as, where they do, once for all masks; their sizes (N, D)."""
        views = self.topology.views
        if views is None or self.topology.codec(views).datatype != "BYTES":
            return None
        sizes, codec = np.zeros(self._data.present.shape, np.int64), self.topology.codec(views)
        for device, view in enumerate(self._data.views):
            files = np.empty(len(self._data), np.object_)
            files[:] = codec.pack(np.zeros((1, *view.shape[1:]), np.uint8))[0]
            for row in np.flatnonzero(self._data.present[:, device]):
                files[row] = codec.pack(np.asarray(view[row : row + 1]))[0]
                sizes[row, device] = len(files[row])
            self.below[f"file_{device}"] = files
        return sizes

    def _run(self, spec: SectionSpec, answers: dict[str, Array], rows: Ints, device: Section | None = None) -> None:
        """Add to `answers` what a section says of the events at `rows`: its scores, its features as they are sent."""
        count = sum(other.exit is spec.exit for other in self.topology.sections)
        shape, codec = (len(self._data), count), self.topology.score_codec(spec.exit)
        scores = answers.setdefault(f"{spec.exit}_scores", np.zeros((*shape, self._classes), np.float32))
        sent: Array | None = None
        if features := self.topology.features(spec.tier) if spec.features else None:
            row = features.coded.sample(features.shape)
            sent = answers.setdefault(f"{spec.tier}_features", np.zeros((*shape, *row.shape[1:]), row.dtype))
        for start in range(0, len(rows), self._batch):
            few = rows[start : start + self._batch]
            if device:
                outputs = device.run(**taken(self.topology, spec, answers, few))
            else:
                outputs = self._joining[spec.file].run(self.topology, answers, few)
            scores[few, spec.index] = codec.arrived(outputs["scores"], (self._classes,))
            if features and sent is not None:
                sent[few, spec.index] = features.pack(outputs["features"])


def record(
    bundle: Bundle, data: Dataset, *, present: Bools | None = None, batch: int = 256, progress: Progress | None = None
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


def _named(view: Array) -> str:
    return {"uint8": "UINT8", "float32": "FP32"}.get(view.dtype.name, view.dtype.name)
