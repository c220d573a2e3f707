"""A file with one event, or a few: `X` or `X_0` … `X_{D-1}` in a `.npz`."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddnn.errors import BadData
from ddnn.fleet.events import Event
from ddnn.types import Array

__all__ = ["read_events"]


def read_events(file: Path, shapes: Sequence[tuple[int, ...]]) -> list[Event]:
    """Read the events in `file` for D devices whose views have `shapes`; raise `BadData` naming the array.

    One event is `X` (D, …), or `X_0` … with each a view; N events have N in front. A device without its `X_i` has no
    view of them.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files if name.startswith("X")}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise BadData(f"{file} cannot be read as .npz ({error})") from error
    views = [
        None if view is None else _with_rows(name, view, shape)
        for (name, view), shape in zip(_views(file, arrays, shapes), shapes, strict=True)
    ]
    rows = {len(view) for view in views if view is not None}
    if len(rows) > 1:
        raise BadData(
            f"{file} has {' and '.join(map(str, sorted(rows)))} events; expected the same number in every X_i"
        )
    return [
        Event(f"#{row}", None, tuple(None if view is None else view[row] for view in views))
        for row in range(rows.pop())
    ]


def _views(file: Path, arrays: dict[str, Array], shapes: Sequence[tuple[int, ...]]) -> list[tuple[str, Array | None]]:
    devices = len(shapes)
    if "X" in arrays:
        whole = arrays["X"]
        axis = whole.ndim - len(shapes[0]) - 1
        if axis not in (0, 1) or whole.shape[axis] != devices:
            like = ", ".join(map(str, shapes[0]))
            raise BadData(
                f"X in {file} has shape {whole.shape}; expected ({devices}, {like}) for one event on {devices} devices,"
                f" or (N, {devices}, {like})"
            )
        return [(f"X, device {device},", np.take(whole, device, axis)) for device in range(devices)]
    names = [f"X_{device}" for device in range(devices)]
    stray = [name for name in arrays if name.startswith("X_") and name not in names]
    if stray or not arrays:
        found = f"{stray[0]} is in {file}" if stray else f"{file} has no view"
        raise BadData(f"{found}; expected X, or some of {names[0]} to {names[-1]}")
    return [(name, arrays.get(name)) for name in names]


def _with_rows(name: str, view: Array, shape: tuple[int, ...]) -> Array:
    if view.shape == shape:
        return view[None]
    if view.ndim == len(shape) + 1 and view.shape[1:] == shape and len(view):
        return view
    raise BadData(f"{name} has shape {view.shape}; expected {shape} for one event, or (N, …)")
