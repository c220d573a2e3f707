"""A `.npz` file, opened without pickles: the contract's own form, Keras' image sets, the paper's MVMC.

One image is cut into a grid of views as the authors' PyTorch code cuts: pad to 32×32, then device i sees rows
16·(i mod 2) … +16 and columns 10·(i div 2) … +10; what is left over at the right and the bottom is unseen.
"""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from ddnn.archive import Archive
from ddnn.data.dataset import Events, check_visible, checked, checked_labels, checked_view, name_classes, numbered
from ddnn.data.split import SPLIT_NAMES, blocks
from ddnn.data.stored import rows_of
from ddnn.errors import BadData
from ddnn.types import Array, Bools, Ints

__all__ = ["boxes", "cut", "parse_grid", "read_archive"]

KERAS: Final = ("x_train", "y_train", "x_test", "y_test")
MVMC_CLASSES: Final = ("car", "bus", "person")
MVMC_VIEWS: Final = [(3, 32, 32)] * 6
MVMC_SPLIT_FILE: Final = "mvmc_split.json"
SIDE: Final = 32  #: images smaller than this are padded to it, equally on both sides
TABLES: Final = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
HOW: Final = "numpy.savez('mine.npz', X=numbers.reshape(N, D, F), y=classes), N rows of D devices with F columns each"


def parse_grid(text: str) -> tuple[int, int]:
    """Read `3x2` as (3 columns, 2 rows)."""
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text.strip().lower())
    if not match:
        raise BadData(f"grid is {text!r}; expected columns x rows such as 3x2")
    return int(match[1]), int(match[2])


def boxes(grid: tuple[int, int], height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns that each device sees of an image; device i is at row i mod R, column i div R."""
    (columns, rows), high, wide = grid, height // grid[1], width // grid[0]
    if not high or not wide:
        raise BadData(f"grid is {columns}x{rows}, the image {height}x{width}; expected a grid not finer than the image")
    places = [(i % rows, i // rows) for i in range(columns * rows)]
    return [(slice(high * r, high * (r + 1)), slice(wide * c, wide * (c + 1))) for r, c in places]


def cut(images: Array, grid: tuple[int, int]) -> tuple[Array, ...]:
    """Cut images (N, C, H, W) into one array (N, C, h, w) a device."""
    high, wide = (max(SIDE - side, 0) for side in images.shape[2:])
    padded = np.pad(images, ((0, 0), (0, 0), (high // 2, high - high // 2), (wide // 2, wide - wide // 2)))
    return tuple(np.ascontiguousarray(padded[:, :, r, c]) for r, c in boxes(grid, *padded.shape[2:]))


def _channels_first(name: str, images: Array) -> Array:
    """(N, H, W) or (N, H, W, C) → (N, C, H, W)."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 2, 3, 4):
        return images.transpose(0, 3, 1, 2)
    raise BadData(f"{name} has shape {images.shape}; expected images (N, H, W) or (N, H, W, C) with up to 4 channels")


def read_archive(path: Path, *, grid: tuple[int, int] | None, group_by: str | None) -> Events:
    """Read the events of the file `path`, in whichever form it has."""
    if not path.exists():
        raise BadData(f"{path} does not exist; expected a .npz file or a built-in name (mnist5k, synthetic)")
    if path.suffix.lower() in TABLES:
        raise BadData(f"{path} is a table; expected a .npz file: {HOW}")
    with Archive(path) as archive:
        return _read(archive, grid, group_by)


def _read(archive: Archive, grid: tuple[int, int] | None, group_by: str | None) -> Events:
    path = archive.path
    if any(name in archive for name in KERAS):
        if group_by:
            raise BadData(f"group-by {group_by} does not apply to {path.name}: its test events are given by x_test")
        return _keras(archive, grid)
    if grid:
        found = f"grid {grid[0]}x{grid[1]} does not apply to {path.name}"
        raise BadData(f"{found}; expected an image set with {', '.join(KERAS)}")
    views = _views(archive)
    if "y" not in archive:
        raise BadData(f"y is missing from {path.name}; it holds {', '.join(archive)}")
    y = archive["y"]
    if y.ndim == 2 and "y_dev" not in archive:
        if [view.shape[1:] for view in views] != MVMC_VIEWS:
            expected = f"expected ({len(views[0])},); each device's own classes go into y_dev"
            raise BadData(f"y has shape {y.shape}; {expected}")
        return _mvmc(archive, views, y, group_by)
    return _own(archive, views, y, group_by)


def _views(archive: Archive) -> tuple[Array, ...]:
    """`X` (N, D, …) or `X_0` … `X_{D-1}`, each (N, …)."""
    names = sorted((name for name in archive if name.startswith("X_") and name[2:].isdigit()), key=lambda n: int(n[2:]))
    if "X" in archive:
        if names:
            raise BadData(f"the arrays are X and {', '.join(names)}; expected X alone, or an array for each device")
        whole = archive["X"]
        if whole.ndim not in (3, 4, 5):
            one = "; one device with F numbers is X[:, None]" if whole.ndim == 2 else ""
            raise BadData(f"X has shape {whole.shape}; expected (N, D, C, H, W), (N, D, C, L) or (N, D, F){one}")
        if 0 in whole.shape:
            raise BadData(f"X has shape {whole.shape}, which is empty; expected at least one event, device and element")
        whole = checked_view("X", whole, devices=True)
        each = (whole[:, i] for i in range(whole.shape[1]))
        return tuple(view if isinstance(view, np.memmap) else np.ascontiguousarray(view) for view in each)
    if not names:
        raise BadData(f"X is missing from {archive.path.name}; it holds {', '.join(archive) or 'nothing'}")
    if names != [f"X_{i}" for i in range(len(names))]:
        raise BadData(f"the arrays are {', '.join(names)}; expected X_0 to X_{len(names) - 1} without a gap")
    views = tuple(archive[name] for name in names)
    for name, view in zip(names, views, strict=True):
        if view.ndim not in (2, 3, 4) or 0 in view.shape:
            raise BadData(f"{name} has shape {view.shape}; expected (N, C, H, W), (N, C, L) or (N, F), none empty")
        if len(view) != len(views[0]):
            raise BadData(f"{name} has {len(view)} events; expected {len(views[0])}, as many as X_0")
    return tuple(checked_view(name, view) for name, view in zip(names, views, strict=True))


def _own(archive: Archive, views: tuple[Array, ...], raw: Array, group_by: str | None) -> Events:
    count, devices = len(views[0]), len(views)
    raw, names = numbered(raw, archive.get("classes"))
    y = checked_labels("y", raw, (count,), -1)
    labelled = np.flatnonzero(y >= 0)
    if not len(labelled):
        raise BadData(f"y is -1, no label, in all {count} events of {archive.path.name}; expected some labels")
    classes = name_classes(y[labelled], names)
    every = np.ones((count, devices), dtype=bool)
    present = check_visible("visible", archive.get("visible", every), (count, devices))
    y_dev = np.where(present, y[:, None], -1)
    if "y_dev" in archive:
        y_dev = checked_labels("y_dev", archive["y_dev"], (count, devices), -1)
    if y_dev.max() >= len(classes):
        raise BadData(f"y_dev holds label {y_dev.max()}; expected -1..{len(classes) - 1}")
    test, validation = _named_split(archive, count)
    events = Events(views, y, y_dev, present, classes, test, validation, _groups(archive, group_by, count))
    return events if len(labelled) == count else _of_rows(events, labelled)


def _of_rows(events: Events, rows: Ints) -> Events:
    """Those events that have a label."""
    columns = {name: getattr(events, name)[rows] for name in ("y", "y_dev", "present")}
    given = {"test": events.test, "validation": events.validation, "groups": events.groups}
    columns |= {name: column[rows] for name, column in given.items() if column is not None}
    views = tuple(rows_of(view, rows) for view in events.views)
    return replace(events, views=views, unlabelled=len(events.y) - len(rows), **columns)


def _named_split(archive: Archive, count: int) -> tuple[Bools | None, Bools | None]:
    """The file's own test and validation events, from `split` or `is_test`."""
    if "split" in archive:
        split = checked("split", archive["split"], "US", (count,), "text").astype(str)
        other = sorted(set(split.tolist()) - set(SPLIT_NAMES))
        if other:
            raise BadData(f"split holds {other[0]!r}; expected {', '.join(SPLIT_NAMES)}")
        validation = split == "validation"
        return split == "test", validation if validation.any() else None
    if "is_test" in archive:
        return checked("is_test", archive["is_test"], "b", (count,), "bool"), None
    return None, None


def _groups(archive: Archive, group_by: str | None, count: int) -> Array | None:
    """(N,) the array that `group_by` names, or its blocks of one length for NAME:LENGTH; `row` is the row's number."""
    if group_by is None:
        return None
    name, _, length = group_by.rpartition(":")
    if name and group_by not in archive and (name == "row" or name in archive):
        return blocks(name, archive[name] if name in archive else np.arange(count), length, count)
    if group_by not in archive:
        found = f"group-by names {group_by}, which {archive.path.name} does not hold"
        raise BadData(f"{found}; it holds {', '.join(archive)}")
    return checked(group_by, archive[group_by], "iubUS", (count,), "integers or text")


def _keras(archive: Archive, grid: tuple[int, int] | None) -> Events:
    """`x_train`, `y_train`, `x_test`, `y_test`, cut into the grid's views."""
    missing = [name for name in KERAS if name not in archive]
    if missing:
        raise BadData(f"{missing[0]} is missing from {archive.path.name}; an image set holds {', '.join(KERAS)}")
    if grid is None:
        raise BadData(f"{archive.path.name} is a set of whole images; add --grid 3x2 to cut each into six views")
    parts = []
    for part in ("train", "test"):
        images = archive[f"x_{part}"]
        if 0 in images.shape:
            raise BadData(f"x_{part} has shape {images.shape}, which is empty; expected images")
        images = checked_view(f"x_{part}", _channels_first(f"x_{part}", images))
        labels = archive[f"y_{part}"]
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels  # CIFAR's labels are (N, 1)
        parts.append((images, checked_labels(f"y_{part}", labels, (len(images),), 0)))
    (train, y_train), (test, y_test) = parts
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        expected = f"expected images like x_train's, {train.dtype} {train.shape}"
        raise BadData(f"x_test is {test.dtype} {test.shape}; {expected}")
    y = np.concatenate([y_train, y_test])
    is_test, classes = np.arange(len(y)) >= len(train), name_classes(y, archive.get("classes"))
    return Events.all_seen(cut(np.concatenate([train, test]), grid), y, classes, is_test, grid=grid)


def _mvmc(archive: Archive, views: tuple[Array, ...], raw: Array, group_by: str | None) -> Events:
    """The paper's set: `y` (N, D), 3 where unseen, the largest the event's class; its split in a file beside it."""
    absent = len(MVMC_CLASSES)
    y_dev = checked_labels("y", raw, (len(views[0]), len(views)), 0)
    if y_dev.max() > absent:
        expected = f"expected 0..{absent}, {absent} where a camera does not see the object"
        raise BadData(f"y (N, D) holds {y_dev.max()}; {expected}")
    present = check_visible("y != 3", y_dev != absent, y_dev.shape)
    y_dev = np.where(present, y_dev, -1)
    y = y_dev.max(axis=1)
    name_classes(y, None)
    test, groups = _authors_test(archive.path.parent / MVMC_SPLIT_FILE, len(y)), _groups(archive, group_by, len(y))
    return Events(views, y, y_dev, present, MVMC_CLASSES, test, groups=groups)


def _authors_test(path: Path, count: int) -> Bools | None:
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text("utf-8"))
        train, test = (np.asarray(document[part], dtype=np.int64) for part in ("train", "test"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadData(f"{path} cannot be read ({error!r}); expected JSON with lists of rows, train and test") from error
    if sorted([*train.tolist(), *test.tolist()]) != list(range(count)):
        raise BadData(f"{path} lists {len(train)} + {len(test)} rows; expected each of the {count} events once")
    mask = np.zeros(count, dtype=bool)
    mask[test] = True
    return mask
