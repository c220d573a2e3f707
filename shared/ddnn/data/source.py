"""From a name to a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ddnn.data import builtin
from ddnn.data.archive import read_archive
from ddnn.data.dataset import Dataset, digest
from ddnn.data.events import Events
from ddnn.data.grid import parse
from ddnn.data.split import SPLIT_NAMES, TEST_SHARE, VALIDATION_SHARE, by_group, mark, named_groups, stratified
from ddnn.errors import BadData
from ddnn.types import Array

__all__ = ["load"]

BUILTIN = ("mnist5k", "synthetic")


def load(
    source: str,
    *,
    grid: str | None = None,
    group_by: str | None = None,
    test_groups: Sequence[str] | None = None,
    seed: int = 0,
    devices: Sequence[int] = (),
) -> Dataset:
    """Load and split the data set `source`: `mnist5k`, `synthetic`, or the path of a `.npz` file.

    `grid` such as `3x2` cuts whole images into views; `group_by` names an array of the file whose groups stay whole,
    or NAME:LENGTH its blocks of that length; `test_groups` says which of them are test;
    `devices` which devices to keep, as `Dataset.of_devices` does.
    Raise `BadData` naming the array that breaks the contract.
    """
    if test_groups and not group_by:
        raise BadData(f"test-groups is {', '.join(test_groups)} without a group-by; expected the name of an array too")
    cells = parse(grid) if grid else None
    if source in BUILTIN:
        if group_by:
            raise BadData(f"group-by {group_by} does not apply to {source}, which has no groups")
        if source == "synthetic" and cells:
            raise BadData(f"grid {grid} does not apply to synthetic, which comes as six views")
        events = builtin.mnist5k(cells) if source == "mnist5k" else builtin.synthetic(seed)
        name = source
    else:
        events = read_archive(Path(source), grid=cells, group_by=group_by)
        name = Path(source).stem
    split = _split(events, name, group_by or "", test_groups or (), seed)
    return Dataset(
        name=name,
        views=events.views,
        y=events.y,
        y_dev=events.y_dev,
        present=events.present,
        classes=events.classes,
        split=split,
        grid=events.grid,
        index=np.arange(len(events.y)),
        fingerprint=digest(events.views, events.y, events.y_dev, events.present, events.classes),
        source={
            "name": source,
            "grid": grid,
            "group_by": group_by,
            "test_groups": list(test_groups) if test_groups else None,
            "seed": seed,
        },
        division=_division(events, group_by, split),
    ).of_devices(devices)


def _division(events: Events, group_by: str | None, split: Array) -> dict[str, Any]:
    """How the events were divided, for reports: who chose test and validation, which groups, how many events."""
    drawn = f"whole groups of {group_by}" if events.groups is not None else "at random within each class"
    held_out = [part for part in SPLIT_NAMES if part != "train"]
    return {
        "test": drawn if events.test is None else "given by the data",
        "validation": drawn if events.validation is None else "given by the data",
        "groups": {part: list(map(str, np.unique(events.groups[split == part]))) for part in held_out}
        if events.groups is not None
        else None,
        "events": {part: int((split == part).sum()) for part in SPLIT_NAMES},
    }


def _split(events: Events, name: str, group_by: str, test_groups: Sequence[str], seed: int) -> Array:
    """(N,) split names: what the source says first, then groups, then at random within each class."""
    y, everything = events.y, np.ones(len(events.y), dtype=bool)
    test = events.test
    if test is not None and test_groups:
        raise BadData(f"test-groups is {', '.join(test_groups)}, but {name} already says which of its events are test")
    if test is None:
        if events.groups is None:
            test = stratified(y, everything, TEST_SHARE, seed)
        elif test_groups:
            test = named_groups(group_by, events.groups, test_groups)
        else:
            test = by_group(events.groups, everything, TEST_SHARE, seed)
    validation = events.validation
    if validation is None:
        if events.groups is None:
            validation = stratified(y, ~test, VALIDATION_SHARE, seed)
        else:
            validation = by_group(events.groups, ~test, VALIDATION_SHARE, seed)
    split = mark(test, validation)
    for part in SPLIT_NAMES:
        if part not in split:
            raise BadData(
                f"{name} leaves no events for {part} out of {len(y)}; expected some in each of {', '.join(SPLIT_NAMES)}"
            )
    unseen = sorted(set(np.unique(y)) - set(np.unique(y[split == "train"])))
    if unseen:
        raise BadData(f"class {events.classes[unseen[0]]} has no event in the training part of {name}; expected some")
    return split
