"""Events to show to devices: a bundle's golden ones, a file's, a data set's; and each as request bodies."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final, Self

import numpy as np

from ddnn.archive import Archive
from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadData, BadInput
from ddnn.evaluation.scores import fits
from ddnn.picture import is_picture
from ddnn.seal import write_atomically
from ddnn.types import Array
from ddnn.wire.tensors import datatype_of

__all__ = [
    "Event",
    "demonstration",
    "events_of",
    "file_of",
    "golden_events",
    "read_events",
    "request_text",
    "shuffled",
    "write_requests",
]


_PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing at one moment."""

    name: str  #: its row in the data set, as the table shows it
    label: int | None  #: the true class, where known
    views: tuple[Array | None, ...]
    """What each device sees, without a batch axis, or a photograph, an object; None where a device sees nothing."""

    @classmethod
    def of(cls, data: Dataset, row: int) -> Self:
        """The event in `row` of a data set."""
        views = tuple(view[row] if seen else None for view, seen in zip(data.views, data.present[row], strict=True))
        name = f"#{int(data.index[row])}" if data.names is None else str(data.names[row])
        return cls(name, int(data.y[row]), views)


def golden_events(bundle: Bundle) -> Dataset:
    """The real events that come with `bundle`."""
    golden = bundle.golden
    return Dataset(
        name="golden",
        views=tuple(golden[f"view_{device}"] for device in range(len(bundle.topology.devices))),
        y=golden["y"],
        y_dev=golden["y_dev"],
        present=golden["present"].astype(np.bool_),
        classes=bundle.manifest.classes,
        split=np.full(len(golden["y"]), "test"),
        grid=None,
        index=golden["index"],
        fingerprint=bundle.fingerprint,
        source={},
        names=golden.get("name"),
    )


def demonstration(bundle: Bundle) -> list[Event]:
    """The same as sensors show them: photographs, where the bundle has some, are files."""
    data, golden, shown = golden_events(bundle), bundle.golden, list[Event]()
    for row in range(len(data)):
        event = Event.of(data, row)
        files = [golden[f"photograph_{i}"][row] if f"photograph_{i}" in golden else None for i in range(data.devices)]
        pairs = zip(event.views, files, strict=True)
        views = [view if file is None or view is None else _photograph(file) for view, file in pairs]
        shown.append(replace(event, views=tuple(views)))
    return shown


def file_of(view: Array) -> bytes | None:
    """The file that a photograph is; None for a view."""
    return view.item() if view.dtype == np.object_ else None


def _photograph(file: bytes) -> Array:
    return np.array(file, np.object_)


def events_of(bundle: Bundle, data: Dataset, split: str = "test") -> Dataset:
    """The events of one split of `data`, or of `all`; raise `BadData` unless they fit `bundle`."""
    part = data if split == "all" else data.subset(split)
    fits(bundle, part)
    return part


def shuffled(data: Dataset | Sequence[Event], number: int | None = None, seed: int = 0) -> Iterator[Event]:
    """`number` of the events, shuffled, for files are often sorted; again when they run out; 0 = no end."""
    order = random.Random(seed).sample(range(len(data)), len(data))
    for place in range(len(data)) if number is None else range(number) if number else count():
        row = order[place % len(data)]
        yield Event.of(data, row) if isinstance(data, Dataset) else data[row]


def read_events(files: Sequence[Path], shapes: Sequence[tuple[int, ...]]) -> list[Event]:
    """Read events for D devices whose views have `shapes`: photographs of one, or a file of arrays; raise `BadData`."""
    if missing := next((file for file in files if not file.exists()), None):
        raise BadData(f"{missing} does not exist; expected photographs of one event, or one file of arrays")
    if len(files) == 1 and not _is_picture(files[0]):
        if files[0].suffix.lower() in _PICTURES:
            raise BadData(f"{files[0]} is no JPEG, PNG or WebP, whatever its name says; expected a photograph")
        return _read_arrays(files[0], shapes)
    if other := next((file for file in files if not _is_picture(file)), None):
        raise BadData(f"{other} is no JPEG, PNG or WebP; expected photographs alone, or one file of arrays")
    if len(files) > len(shapes):
        raise BadData(f"there are {len(files)} photographs for {len(shapes)} devices; expected one each at most")
    absent = [None] * (len(shapes) - len(files))
    return [Event(files[0].stem, None, (*[_photograph(file.read_bytes()) for file in files], *absent))]


def _is_picture(file: Path) -> bool:
    if not file.is_file():  # a pipe would be waited for
        return False
    try:
        with file.open("rb") as stream:
            return is_picture(stream.read(12))
    except OSError as error:
        raise BadData(f"{file} cannot be read ({error.strerror})") from error


def _read_arrays(file: Path, shapes: Sequence[tuple[int, ...]]) -> list[Event]:
    """Read the events in `file`; raise `BadData` naming the array.

    One event is `X` (D, …), or `X_0` … with each a view; N events have N in front. A device without its `X_i` has no
    view of them.
    """
    with Archive(file) as archive:
        arrays = {name: archive[name] for name in archive if name.split("_")[0] == "X"}
    names = [f"X_{device}" for device in range(len(shapes))]
    if "X" in arrays:
        arrays = dict(zip(names, _by_device(file, arrays["X"], (len(shapes), *shapes[0])), strict=True))
    stray = [name for name in arrays if name not in names]
    if stray or not arrays:
        problem = f"{stray[0]} is in {file}" if stray else f"{file} has no view"
        raise BadData(f"{problem}; expected X, or some of {names[0]} to {names[-1]}")
    named = zip(names, shapes, strict=True)
    views = [_with_rows(name, arrays[name], shape) if name in arrays else None for name, shape in named]
    counts = sorted({len(view) for view in views if view is not None})
    if len(counts) > 1:
        raise BadData(f"{file} has {' and '.join(map(str, counts))} events; expected the same number in every X_i")
    rows = zip(*([None] * counts[0] if view is None else view for view in views), strict=True)
    return [Event(f"#{row}", None, seen) for row, seen in enumerate(rows)]


def _by_device(file: Path, whole: Array, one: tuple[int, ...]) -> list[Array]:
    """The views of each device in `X`; those of one event have the shape `one`."""
    events = whole[None] if whole.shape == one else whole
    if events.ndim != len(one) + 1 or events.shape[1] != one[0]:
        like, problem = ", ".join(map(str, one)), f"X in {file} has shape {whole.shape}"
        raise BadData(f"{problem}; expected ({like}) for one event on {one[0]} devices, or (N, {like})")
    return [events[:, device] for device in range(one[0])]


def _with_rows(name: str, view: Array, shape: tuple[int, ...]) -> Array:
    if view.shape == shape:
        return view[None]
    if view.ndim == len(shape) + 1 and view.shape[1:] == shape and len(view):
        return view
    raise BadData(f"{name} has shape {view.shape}; expected {shape} for one event, or (N, …)")


def request_text(view: Array, event: str | None = None) -> str:
    """The body of one request with one view, a line of text for its last axis; without `event` it is one of its own."""
    shape = [1, *view.shape]
    data = json.dumps(view[None].tolist(), separators=(",", ":")).replace("],[", "],\n [")
    entries = [f'{{"name":"view","shape":{json.dumps(shape)},"datatype":"{datatype_of(view)}","data":\n {data}}}']
    if event is not None:
        entries.append(json.dumps({"name": "event", "shape": [1], "datatype": "BYTES", "data": [event]}))
    return '{"inputs":[' + ",\n ".join(entries) + "]}\n"


def write_requests(folder: Path, event: Event, id: str | None = None) -> list[Path]:
    """Write `device-0.json`, … into `folder`, one for each view there is; return the files."""
    if any(view is not None and view.dtype == np.object_ for view in event.views):
        raise BadInput("a photograph is a request as it is; expected `curl --data-binary @FILE` instead of --save")
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"device-{device}.json": view for device, view in enumerate(event.views) if view is not None}
    for file, view in files.items():
        write_atomically(file, request_text(view, id))
    return [*files]
